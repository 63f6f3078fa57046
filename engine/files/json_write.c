#include "engine/base/text.h"
#include "engine/files/json.h"

void json_write_string(FILE *stream, const char *bytes, size_t n_bytes)
{
    const unsigned char *p = (const unsigned char *)bytes;
    fputc('"', stream);
    for (size_t at = 0; at < n_bytes;) {
        size_t bad_bytes, n = utf8_step(p + at, n_bytes - at, &bad_bytes);
        unsigned char c = p[at];
        if (n == 0)
            fputs("\xef\xbf\xbd", stream); /* U+FFFD */
        else if (c == '"' || c == '\\')
            fprintf(stream, "\\%c", c);
        else if (c == '\n')
            fputs("\\n", stream);
        else if (text_control(p + at) >= 0) /* most are legal JSON, but output may end up on a terminal */
            fprintf(stream, "\\u%04x", (unsigned)text_control(p + at));
        else
            fwrite(p + at, 1, n, stream);
        at += n ? n : bad_bytes;
    }
    fputc('"', stream);
}
