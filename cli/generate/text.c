#include "cli/generate/text.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/text.h"

static enum mn_status reserve(struct text_out *out, size_t n_bytes, const struct mn_log *log)
{
    if (n_bytes <= out->capacity - out->n)
        return MN_OK;
    size_t capacity = 2 * (out->n + n_bytes) + 256;
    char *text = realloc(out->text, capacity);
    if (!text)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for %zu bytes of text", capacity);
    out->text = text;
    out->capacity = capacity;
    return MN_OK;
}

/* Cuts the text before the stop string that is complete first; everything before `searched` is known to complete
 * none. */
static bool cut_at_stop(struct text_out *out, size_t searched)
{
    for (size_t end = searched + 1; end <= out->n; end++) {
        size_t longest = 0;
        for (uint32_t i = 0; i < out->stops->n; i++) {
            size_t n = strlen(out->stops->items[i]);
            if (n > longest && n <= end && !memcmp(out->text + end - n, out->stops->items[i], n))
                longest = n;
        }
        if (longest) {
            out->n = end - longest;
            return true;
        }
    }
    return false;
}

/* Bytes at the end of the text that begin a stop string. */
static size_t held_back(const struct text_out *out)
{
    size_t longest = 0;
    for (uint32_t i = 0; i < out->stops->n; i++) {
        size_t n = strlen(out->stops->items[i]) - 1;
        n = n < out->n ? n : out->n;
        while (n > longest && memcmp(out->text + out->n - n, out->stops->items[i], n) != 0)
            n--;
        longest = n > longest ? n : longest;
    }
    return longest;
}

static void print_until(struct text_out *out, size_t end)
{
    if (out->stream && end > out->n_printed) {
        text_write(out->stream, out->text + out->n_printed, end - out->n_printed);
        out->n_printed = end;
    }
}

enum mn_status text_out_push(struct text_out *out, const char *bytes, size_t n_bytes, const struct mn_log *log)
{
    if (out->stopped || n_bytes == 0)
        return MN_OK;
    enum mn_status status = reserve(out, n_bytes, log);
    if (status)
        return status;
    size_t searched = out->n;
    memcpy(out->text + out->n, bytes, n_bytes);
    out->n += n_bytes;
    out->stopped = cut_at_stop(out, searched);
    /* Never in the middle of a character, which a stop string that is held back may begin in. */
    print_until(out, utf8_whole(out->text, out->stopped ? out->n : out->n - held_back(out)));
    return MN_OK;
}

void text_out_finish(struct text_out *out)
{
    print_until(out, out->n);
}

void text_out_free(struct text_out *out)
{
    free(out->text);
    out->text = NULL;
}
