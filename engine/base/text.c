#include "engine/base/text.h"

#include <string.h>

#include "engine/base/system.h"

size_t utf8_step(const unsigned char *p, size_t n, size_t *bad_bytes)
{
    unsigned char low = 0x80, high = 0xbf; /* the second byte excludes overlong forms, surrogates and > U+10FFFF */
    size_t want;
    *bad_bytes = 1;
    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        want = 2;
    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        want = 3;
        low = p[0] == 0xe0 ? 0xa0 : low;
        high = p[0] == 0xed ? 0x9f : high;
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        want = 4;
        low = p[0] == 0xf0 ? 0x90 : low;
        high = p[0] == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    for (size_t i = 1; i < want; i++) {
        if (i >= n || p[i] < low || p[i] > high) {
            *bad_bytes = i;
            return 0;
        }
        low = 0x80;
        high = 0xbf;
    }
    return want;
}

size_t utf8_whole(const char *bytes, size_t n)
{
    const unsigned char *p = (const unsigned char *)bytes;
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        size_t bad_bytes;
        if ((p[n - back] & 0xc0) == 0x80)
            continue;
        /* What would have become a character, had it not ended here. */
        return utf8_step(p + n - back, back, &bad_bytes) == 0 && bad_bytes == back && p[n - back] >= 0xc2 &&
                       p[n - back] <= 0xf4
                   ? n - back
                   : n;
    }
    return n;
}

int32_t text_control(const unsigned char *p)
{
    if (p[0] < 0x20 || p[0] == 0x7f)
        return p[0];
    int32_t code = 0;
    if (p[0] >= 0xc2 && p[0] <= 0xdf)
        code = (p[0] & 0x1f) << 6 | (p[1] & 0x3f);
    else if (p[0] >= 0xe0 && p[0] <= 0xef)
        code = (p[0] & 0x0f) << 12 | (p[1] & 0x3f) << 6 | (p[2] & 0x3f);
    const bool c1 = code >= 0x80 && code <= 0x9f;
    const bool bidi = code == 0x061c || code == 0x200e || code == 0x200f || (code >= 0x202a && code <= 0x202e) ||
                      (code >= 0x2066 && code <= 0x2069);
    return c1 || bidi ? code : -1;
}

size_t text_show(char shown[TEXT_SHOWN_BYTES], const char *bytes, size_t n, bool one_line)
{
    const unsigned char *p = (const unsigned char *)bytes;
    size_t bad_bytes;
    const size_t step = utf8_step(p, n, &bad_bytes);
    if (step == 0) {
        snprintf(shown, TEXT_SHOWN_BYTES, "\\x%02x", p[0]);
        return 1;
    }
    const int32_t code = text_control(p);
    if (code >= 0 && (one_line || (code != '\n' && code != '\t'))) {
        snprintf(shown, TEXT_SHOWN_BYTES, "\\u%04x", (unsigned)code & 0xffff);
        return step;
    }
    memcpy(shown, p, step);
    shown[step] = '\0';
    return step;
}

void text_write(FILE *stream, const char *bytes, size_t n)
{
    char shown[TEXT_SHOWN_BYTES];
    if (!stream_is_terminal(stream)) {
        fwrite(bytes, 1, n, stream);
        return;
    }
    for (size_t at = 0; at < n;) {
        at += text_show(shown, bytes + at, n - at, false);
        fputs(shown, stream);
    }
}

void text_puts(FILE *stream, const char *text)
{
    text_write(stream, text, strlen(text));
}

void text_write_cell(FILE *stream, const char *text, const char *escaped, char escape)
{
    const bool terminal = stream_is_terminal(stream);
    const size_t n = strlen(text);
    char shown[TEXT_SHOWN_BYTES];
    for (size_t at = 0; at < n;) {
        const char c = text[at];
        const size_t step = terminal ? text_show(shown, text + at, n - at, false) : 1;
        if (strchr(escaped, c))
            fputc(escape, stream);
        if ((unsigned char)c < ' ')
            fputc(' ', stream);
        else if (terminal)
            fputs(shown, stream);
        else
            fputc(c, stream);
        at += step;
    }
}
