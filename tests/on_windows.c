#include "tests/on_windows.h"

#include <fcntl.h>
#include <string.h>
#include <windows.h>

#include "engine/base/system.h"

#undef fclose

enum { STREAMS_MAX = 16, TRIES = 100 };

int _CRT_fmode = _O_BINARY; /* what tests write is what they read */

static struct {
    FILE *stream;
    char **text;
    size_t *n_bytes;
} streams[STREAMS_MAX];

char *mkdtemp(char *name)
{
    static unsigned n;
    char *end = name + strlen(name) - 6;
    for (int i = 0; i < TRIES; i++) {
        snprintf(end, 7, "%06x", (unsigned)(GetCurrentProcessId() << 8 ^ GetTickCount() ^ ++n) & 0xffffff);
        if (CreateDirectoryA(name, NULL))
            return name;
    }
    return NULL;
}

int symlink(const char *to, const char *path)
{
    return CopyFileA(to, path, TRUE) ? 0 : -1;
}

FILE *open_memstream(char **text, size_t *n_bytes)
{
    int i = 0;
    while (i < STREAMS_MAX && streams[i].stream)
        i++;
    FILE *stream = i < STREAMS_MAX ? memory_open(text, n_bytes) : NULL;
    if (stream) {
        streams[i].stream = stream;
        streams[i].text = text;
        streams[i].n_bytes = n_bytes;
    }
    return stream;
}

int test_fclose(FILE *stream)
{
    for (int i = 0; i < STREAMS_MAX; i++)
        if (streams[i].stream == stream) {
            streams[i].stream = NULL;
            return memory_close(stream, streams[i].text, streams[i].n_bytes) ? 0 : EOF;
        }
    return fclose(stream);
}
