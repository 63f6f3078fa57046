/* A short name for the content of a model folder, for results that are compared later. */
#include "bench/sweep/model_hash.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { END_BYTES = 1 << 20, PATH_BYTES = 4096 };

/* Name, size, beginning and end of a file. */
static enum mn_status fold_file(const char *dir, const char *name, uint64_t *hash, const struct mn_log *log)
{
    char path[PATH_BYTES + 256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = malloc(END_BYTES);
    enum mn_status status = !bytes ? log_fail(log, MN_ERR_MEMORY, "out of host memory for a hash")
                            : file ? MN_OK
                                   : log_fail(log, MN_ERR_FILE, "%s: cannot be opened: %s", path, strerror(errno));
    if (!status) {
        size_t n = fread(bytes, 1, END_BYTES, file);
        *hash = hash_bytes(hash_bytes(*hash, name, strlen(name)), bytes, n);
        if (fseek(file, 0, SEEK_END) == 0) {
            const long size = ftell(file);
            *hash = hash_bytes(*hash, &size, sizeof size);
            if (size > END_BYTES && fseek(file, -END_BYTES, SEEK_END) == 0)
                *hash = hash_bytes(*hash, bytes, fread(bytes, 1, END_BYTES, file));
        }
        if (ferror(file))
            status = log_fail(log, MN_ERR_FILE, "%s: cannot be read", path);
    }
    if (file)
        fclose(file);
    free(bytes);
    return status;
}

static int is_tensors(const struct dirent *entry)
{
    const size_t n = strlen(entry->d_name);
    return n > 12 && !strcmp(entry->d_name + n - 12, ".safetensors");
}

enum mn_status model_hash(const char *dir, char *text, const struct mn_log *log)
{
    struct dirent **entries;
    uint64_t hash = HASH_START;
    enum mn_status status = fold_file(dir, "config.json", &hash, log);
    const int n = scandir(dir, &entries, is_tensors, alphasort);
    if (n < 0)
        return status ? status : log_fail(log, MN_ERR_FILE, "%s: cannot be read: %s", dir, strerror(errno));
    for (int i = 0; i < n; i++) {
        if (!status)
            status = fold_file(dir, entries[i]->d_name, &hash, log);
        free(entries[i]);
    }
    free(entries);
    hash_write(hash, text);
    return status;
}
