#include "engine/text/decoder.h"

#include <string.h>

#include "engine/base/text.h"

/* Length of the sequence that `lead` starts, 0 when none does. */
static unsigned lead_length(unsigned char lead)
{
    return lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
}

/* May `byte` come at place `n` (1 to 3) of the sequence that `lead` starts? */
static bool lead_continues(unsigned char lead, unsigned n, unsigned char byte)
{
    if (n == 1 && lead == 0xe0)
        return byte >= 0xa0 && byte <= 0xbf;
    if (n == 1 && lead == 0xed)
        return byte >= 0x80 && byte <= 0x9f;
    if (n == 1 && lead == 0xf0)
        return byte >= 0x90 && byte <= 0xbf;
    if (n == 1 && lead == 0xf4)
        return byte >= 0x80 && byte <= 0x8f;
    return byte >= 0x80 && byte <= 0xbf;
}

static size_t replacement_write(char *out)
{
    memcpy(out, "\xef\xbf\xbd", 3);
    return 3;
}

/* Appends bytes to a sequence that may be incomplete (`pending`), writing complete characters to `out` and one U+FFFD
 * per maximal malformed sequence. Returns how much was written, at most 3 * (n_bytes + 1) bytes. */
static size_t bytes_push(struct decode_state *s, const char *bytes, size_t n_bytes, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < n_bytes;) {
        unsigned char byte = (unsigned char)bytes[i], lead = s->n_pending ? (unsigned char)s->pending[0] : byte;
        if (s->n_pending && !lead_continues(lead, s->n_pending, byte)) {
            s->n_pending = 0; /* the byte starts afresh */
            n += replacement_write(out + n);
            continue;
        }
        i++;
        if (!lead_length(lead)) {
            n += replacement_write(out + n);
            continue;
        }
        s->pending[s->n_pending++] = (char)byte;
        if (s->n_pending == lead_length(lead)) {
            memcpy(out + n, s->pending, s->n_pending);
            n += s->n_pending;
            s->n_pending = 0;
        }
    }
    return n;
}

static bool is_text(const char *bytes, size_t n_bytes)
{
    size_t bad_bytes;
    for (size_t i = 0, length; i < n_bytes; i += length) {
        length = utf8_step((const unsigned char *)bytes + i, n_bytes - i, &bad_bytes);
        if (!length)
            return false;
    }
    return true;
}

/* The bytes that fell back, up to `n` of them, are at an end: characters, or nothing but U+FFFD, one for each. */
static size_t run_finish(struct decode_state *s, size_t n, char *out)
{
    size_t n_out = 0;
    if (is_text(s->run, n)) {
        memcpy(out, s->run, n);
        n_out = n;
    } else {
        for (size_t i = 0; i < n; i++)
            n_out += replacement_write(out + n_out);
    }
    s->n_run -= (uint32_t)n;
    memmove(s->run, s->run + n, s->n_run);
    return n_out;
}

/* A row that became too long is judged so far; a character that may still become complete opens the next one. */
static size_t run_push(struct decode_state *s, int16_t byte, char *out)
{
    s->run[s->n_run++] = (char)byte;
    return s->n_run == DECODER_RUN_MAX ? run_finish(s, utf8_whole(s->run, s->n_run), out) : 0;
}

/* Takes away what Strip does from the beginning of the text. */
static size_t strip_start(struct decode_state *s, const struct decoder *decoder, char *text, size_t n_bytes)
{
    size_t length = strlen(decoder->strip.character), n = 0;
    while (s->n_strip && n < n_bytes) {
        if (n_bytes - n < length || memcmp(text + n, decoder->strip.character, length)) {
            s->n_strip = 0;
            break;
        }
        n += length;
        s->n_strip--;
    }
    memmove(text, text + n, n_bytes - n);
    return n_bytes - n;
}

void decode_start(struct decode_state *state, const struct decoder *decoder)
{
    state->n_strip = decoder->strip.n;
    state->has_tokens = false;
    state->n_pending = 0;
    state->n_run = 0;
}

size_t decode_push(struct decode_state *state, const struct decoder *decoder, const struct spelling *spelling,
                   char *out)
{
    size_t n = 0;
    state->has_tokens = true;
    if (decoder->byte_level) {
        n = bytes_push(state, spelling->bytes, spelling->n_bytes, out);
    } else if (spelling->byte >= 0) {
        n = run_push(state, spelling->byte, out);
    } else {
        if (state->n_run)
            n = run_finish(state, state->n_run, out);
        memcpy(out + n, spelling->bytes, spelling->n_bytes);
        n += spelling->n_bytes;
    }
    return state->n_strip ? strip_start(state, decoder, out, n) : n;
}

size_t decode_finish(struct decode_state *state, const struct decoder *decoder, char *out)
{
    size_t n = state->n_pending ? replacement_write(out) : 0;
    if (state->n_run)
        n = run_finish(state, state->n_run, out);
    if (state->n_strip)
        n = strip_start(state, decoder, out, n);
    decode_start(state, decoder);
    return n;
}
