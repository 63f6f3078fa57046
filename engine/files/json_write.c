/* All JSON that is written: strings that are valid whatever they come from, numbers that read back the same. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/decimal.h"
#include "engine/base/system.h"
#include "engine/base/text.h"
#include "engine/files/json.h"

/* One well-formed character of n bytes. */
static void write_character(FILE *stream, const unsigned char *p, size_t n)
{
    if (*p == '"' || *p == '\\')
        fprintf(stream, "\\%c", *p);
    else if (*p == '\n')
        fputs("\\n", stream);
    else if (text_control(p) >= 0) /* most are legal JSON, but output may end up on a terminal */
        fprintf(stream, "\\u%04x", (unsigned)text_control(p));
    else
        fwrite(p, 1, n, stream);
}

void json_write_string(FILE *stream, const char *bytes, size_t n_bytes)
{
    const unsigned char *p = (const unsigned char *)bytes;
    fputc('"', stream);
    for (size_t at = 0; at < n_bytes;) {
        size_t bad_bytes, n = utf8_step(p + at, n_bytes - at, &bad_bytes);
        if (n)
            write_character(stream, p + at, n);
        else
            fputs("\xef\xbf\xbd", stream); /* U+FFFD */
        at += n ? n : bad_bytes;
    }
    fputc('"', stream);
}

void json_write_name(FILE *stream, const char *name)
{
    const unsigned char *p = (const unsigned char *)name;
    const size_t n_bytes = strlen(name);
    fputc('"', stream);
    for (size_t at = 0; at < n_bytes;) {
        size_t bad_bytes, n = utf8_step(p + at, n_bytes - at, &bad_bytes);
        if (n)
            write_character(stream, p + at, n);
        else
            fprintf(stream, "\\\\x%02x", (unsigned)p[at]);
        at += n ? n : 1;
    }
    fputc('"', stream);
}

char *json_name(const char *name)
{
    const unsigned char *p = (const unsigned char *)name;
    const size_t n_bytes = strlen(name);
    char *text = malloc(4 * n_bytes + 1), *to = text;
    for (size_t at = 0; text && at < n_bytes;) {
        size_t bad_bytes, n = utf8_step(p + at, n_bytes - at, &bad_bytes);
        memcpy(to, p + at, n);
        to += n;
        at += n;
        if (n == 0)
            to += snprintf(to, 5, "\\x%02x", (unsigned)p[at++]);
    }
    if (text)
        *to = '\0';
    return text;
}

/* ---- values ---- */

void json_write_double(FILE *stream, double value)
{
    char text[DECIMAL_BYTES];
    decimal_write(text, value);
    fputs(isfinite(value) ? text : "null", stream);
}

void json_write_float(FILE *stream, float value)
{
    char text[DECIMAL_BYTES];
    decimal_write_float(text, value);
    fputs(isfinite(value) ? text : "null", stream);
}

/* `named`: numbers by json_number_name. */
static void write_value(FILE *stream, const struct cJSON *node, bool named);

static void write_children(FILE *stream, const struct cJSON *node, bool named)
{
    const struct cJSON *child;
    fputc(cJSON_IsObject(node) ? '{' : '[', stream);
    cJSON_ArrayForEach (child, node) {
        if (child != node->child)
            fputc(',', stream);
        if (cJSON_IsObject(node)) {
            json_write_string(stream, child->string, strlen(child->string));
            fputc(':', stream);
        }
        write_value(stream, child, named);
    }
    fputc(cJSON_IsObject(node) ? '}' : ']', stream);
}

static void write_number(FILE *stream, const struct cJSON *node, bool named)
{
    char name[JSON_NUMBER_NAME_BYTES];
    if (!isfinite(node->valuedouble)) {
        fputs("null", stream);
        return;
    }
    (named ? json_number_name : json_number_text)(node, name);
    fputs(name, stream);
}

static void write_value(FILE *stream, const struct cJSON *node, bool named)
{
    if (cJSON_IsArray(node) || cJSON_IsObject(node))
        write_children(stream, node, named);
    else if (cJSON_IsString(node))
        json_write_string(stream, node->valuestring, strlen(node->valuestring));
    else if (cJSON_IsRaw(node))
        fputs(node->valuestring, stream);
    else if (cJSON_IsNumber(node))
        write_number(stream, node, named);
    else
        fputs(cJSON_IsTrue(node) ? "true" : cJSON_IsFalse(node) ? "false" : "null", stream);
}

void json_write_value(FILE *stream, const struct cJSON *node)
{
    write_value(stream, node, false);
}

static char *print(const struct cJSON *node, bool named)
{
    char *text = NULL;
    size_t n_bytes;
    FILE *stream = memory_open(&text, &n_bytes);
    if (!stream)
        return NULL;
    write_value(stream, node, named);
    if (memory_close(stream, &text, &n_bytes))
        return text;
    free(text);
    return NULL;
}

char *json_print(const struct cJSON *node)
{
    return print(node, false);
}

char *json_print_name(const struct cJSON *node)
{
    return print(node, true);
}
