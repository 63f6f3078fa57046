#include "cli/common/input_lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common/process.h"
#include "engine/files/lines.h"

enum { READ_BYTES = 1 << 16 };

static const char source[] = "standard input";

enum mn_status input_lines_open(struct input_lines *in, const struct mn_log *log)
{
    *in = (struct input_lines){.capacity = 2 * READ_BYTES};
    in->bytes = malloc(in->capacity);
    return in->bytes ? MN_OK : log_fail(log, MN_ERR_MEMORY, "out of host memory for standard input");
}

enum mn_status input_lines_more(struct input_lines *in, const struct mn_log *log)
{
    memmove(in->bytes, in->bytes + in->at, in->n_bytes - in->at);
    in->n_bytes -= in->at;
    in->at = 0;
    if (in->n_bytes > TEXT_FILE_BYTES_MAX)
        return log_fail(log, MN_ERR_FILE, "%s: line %zu: more than %d bytes", source, in->number + 1,
                        TEXT_FILE_BYTES_MAX);
    if (in->capacity - in->n_bytes < READ_BYTES) {
        char *larger = realloc(in->bytes, 2 * in->capacity);
        if (!larger)
            return log_fail(log, MN_ERR_MEMORY, "%s: out of host memory for %zu bytes", source, 2 * in->capacity);
        in->bytes = larger;
        in->capacity *= 2;
    }
    const long n = process_input_read(in->bytes + in->n_bytes, READ_BYTES);
    if (n < 0 && errno != EINTR && errno != EAGAIN)
        return log_fail(log, MN_ERR_FILE, "%s: cannot be read: %s", source, strerror(errno));
    in->ended = n == 0;
    in->n_bytes += n > 0 ? (size_t)n : 0;
    return MN_OK;
}

bool input_lines_next(struct input_lines *in, const char **line, size_t *n)
{
    if (in->number == 0 && in->at == 0 && json_byte_order_mark(in->bytes, in->n_bytes)) {
        in->at = json_byte_order_mark(in->bytes, in->n_bytes);
        in->n_seen = 0;
    }
    const char *begin = in->bytes + in->at,
               *newline = memchr(begin + in->n_seen, '\n', in->n_bytes - in->at - in->n_seen);
    *line = begin;
    *n = newline ? (size_t)(newline - begin) : in->n_bytes - in->at;
    in->n_seen = newline ? 0 : *n;
    if (!newline && (!in->ended || *n == 0))
        return false;
    in->at += *n + (newline != NULL);
    in->n_seen = 0;
    in->number++;
    return true;
}

bool input_lines_are_over(const struct input_lines *in)
{
    return in->ended && in->at == in->n_bytes;
}

void input_lines_close(struct input_lines *in)
{
    free(in->bytes);
    *in = (struct input_lines){0};
}
