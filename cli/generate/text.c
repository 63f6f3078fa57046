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

/* After Knuth, Morris and Pratt: border[k] is how much of the beginning of the stop string is also the end of its first
 * k bytes. */
static void borders_fill(const char *stop, uint32_t n, uint32_t *border)
{
    border[0] = 0;
    if (n > 0)
        border[1] = 0;
    for (uint32_t k = 1, matched = 0; k < n; k++) {
        while (matched > 0 && stop[matched] != stop[k])
            matched = border[matched];
        matched += stop[matched] == stop[k];
        border[k + 1] = matched;
    }
}

static enum mn_status tables_make(struct text_out *out, const struct mn_log *log)
{
    size_t n = out->stops->n;
    for (uint32_t i = 0; i < out->stops->n; i++)
        n += strlen(out->stops->items[i]) + 2;
    out->matched = calloc(n + 1, sizeof *out->matched);
    if (!out->matched)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for stop strings of %zu bytes", n);
    uint32_t *table = out->matched + out->stops->n; /* of each: its length, then its borders */
    for (uint32_t i = 0; i < out->stops->n; i++, table += *table + 2) {
        *table = (uint32_t)strlen(out->stops->items[i]);
        borders_fill(out->stops->items[i], *table, table + 1);
    }
    return MN_OK;
}

/* Takes the byte text[at]. Returns the length of the longest stop string that it completes, or 0. */
static uint32_t stops_advance(struct text_out *out, size_t at)
{
    const uint32_t *table = out->matched + out->stops->n;
    uint32_t longest = 0;
    for (uint32_t i = 0; i < out->stops->n; i++, table += *table + 2) {
        const char *stop = out->stops->items[i];
        uint32_t matched = out->matched[i];
        for (; matched > 0 && stop[matched] != out->text[at]; out->n_steps++)
            matched = table[1 + matched];
        matched += stop[matched] == out->text[at];
        out->n_steps++;
        out->matched[i] = matched;
        longest = matched == *table && matched > longest ? matched : longest;
    }
    return longest;
}

/* Cuts the text before the stop string that is complete first; everything before `searched` is known to complete
 * none. */
static bool cut_at_stop(struct text_out *out, size_t searched)
{
    for (size_t at = searched; at < out->n; at++) {
        const uint32_t longest = stops_advance(out, at);
        if (longest) {
            out->n = at + 1 - longest;
            return true;
        }
    }
    return false;
}

/* Bytes at the end of the text that begin a stop string. */
static size_t held_back(const struct text_out *out)
{
    size_t longest = 0;
    for (uint32_t i = 0; i < out->stops->n; i++)
        longest = out->matched[i] > longest ? out->matched[i] : longest;
    return longest;
}

static void print_until(struct text_out *out, size_t end)
{
    out->n_final = end > out->n_final ? end : out->n_final;
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
    if (!status && !out->matched)
        status = tables_make(out, log);
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
    free(out->matched);
    out->text = NULL;
    out->matched = NULL;
}
