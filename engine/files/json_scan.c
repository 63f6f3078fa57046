#include "engine/files/json_scan.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/text.h"
#include "engine/files/json.h"

static void scan_space(struct json_scan *s)
{
    while (s->at < s->n && (s->p[s->at] == ' ' || s->p[s->at] == '\t' || s->p[s->at] == '\n' || s->p[s->at] == '\r'))
        s->at++;
}

static int hex_digit(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits of a \u escape, or -1. */
static int32_t scan_hex4(struct json_scan *s)
{
    int32_t value = 0;
    if (s->n - s->at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(s->p[s->at + (size_t)i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    s->at += 4;
    return value;
}

/* After "\u". The scan_* functions return NULL or what is wrong; s->at is then where. */
static const char *scan_unicode_escape(struct json_scan *s)
{
    int32_t unit = scan_hex4(s);
    if (unit < 0)
        return "bad \\u escape";
    if (unit == 0)
        return "\\u0000 in a string";
    if (unit >= 0xdc00 && unit <= 0xdfff)
        return "lone surrogate";
    if (unit < 0xd800 || unit > 0xdbff)
        return NULL;
    if (s->n - s->at < 6 || s->p[s->at] != '\\' || s->p[s->at + 1] != 'u')
        return "lone surrogate";
    s->at += 2;
    unit = scan_hex4(s);
    return unit >= 0xdc00 && unit <= 0xdfff ? NULL : "lone surrogate";
}

static const char *scan_string(struct json_scan *s)
{
    if (s->at >= s->n || s->p[s->at] != '"')
        return "expected a string";
    s->at++;
    while (s->at < s->n) {
        unsigned char c = s->p[s->at];
        if (c == '"') {
            s->at++;
            return NULL;
        }
        if (c < 0x20)
            return "control character in a string";
        if (c == '\\') {
            if (s->n - s->at < 2)
                break;
            unsigned char escape = s->p[s->at + 1];
            s->at += 2;
            const char *why = NULL;
            if (escape == 'u')
                why = scan_unicode_escape(s);
            else if (escape == 0 || !strchr("\"\\/bfnrt", escape))
                why = "unknown escape";
            if (why)
                return why;
            continue;
        }
        size_t bad_bytes, n_bytes = utf8_step(s->p + s->at, s->n - s->at, &bad_bytes);
        if (n_bytes == 0)
            return "invalid UTF-8";
        s->at += n_bytes;
    }
    return "string without an end";
}

static size_t scan_digits(struct json_scan *s)
{
    size_t start = s->at;
    while (s->at < s->n && s->p[s->at] >= '0' && s->p[s->at] <= '9')
        s->at++;
    return s->at - start;
}

/* Bytes of `word` when it stands here, else 0. */
static size_t word_at(const struct json_scan *s, const char *word)
{
    const size_t n = strlen(word);
    return s->n - s->at >= n && memcmp(s->p + s->at, word, n) == 0 ? n : 0;
}

static const char *scan_number(struct json_scan *s)
{
    size_t start = s->at;
    if (s->p[s->at] == '-')
        s->at++;
    size_t first = s->at, n_digits = scan_digits(s);
    if (n_digits == 0)
        return word_at(s, JSON_BYTE_ORDER_MARK) ? "a byte order mark, which may only begin a file" : "expected a value";
    if (n_digits > 1 && s->p[first] == '0')
        return "number with a leading zero";
    if (s->at < s->n && s->p[s->at] == '.') {
        s->at++;
        if (scan_digits(s) == 0)
            return "number without digits after its point";
    }
    if (s->at < s->n && (s->p[s->at] == 'e' || s->p[s->at] == 'E')) {
        s->at++;
        if (s->at < s->n && (s->p[s->at] == '+' || s->p[s->at] == '-'))
            s->at++;
        if (scan_digits(s) == 0)
            return "number without digits in its exponent";
    }
    return s->at - start > JSON_NUMBER_BYTES_MAX ? "number too long" : NULL;
}

size_t json_scan_foreign(const struct json_scan *s)
{
    static const char *const words[] = {"NaN", "Infinity", "-Infinity"};
    size_t n = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words && n == 0; i++)
        n = word_at(s, words[i]);
    return n;
}

static const char *scan_scalar(struct json_scan *s)
{
    static const char *const words[] = {"true", "false", "null"};
    if (s->p[s->at] == '"')
        return scan_string(s);
    size_t n = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words && n == 0; i++)
        n = word_at(s, words[i]);
    if (n == 0) {
        n = json_scan_foreign(s);
        s->n_foreign += n > 0;
    }
    s->at += n;
    return n ? NULL : scan_number(s);
}

static const char *scan_key(struct json_scan *s)
{
    scan_space(s);
    const size_t begin = s->at;
    s->n_key = 0;
    const char *why = scan_string(s);
    if (why)
        return why;
    s->key = begin + 1;
    s->n_key = s->at - begin - 2; /* without its quotes */
    scan_space(s);
    if (s->at >= s->n || s->p[s->at] != ':')
        return "expected ':'";
    s->at++;
    return NULL;
}

/* UTF-16 in either order, with a mark or without: ASCII, and JSON begins with some, has every other byte zero. */
static bool is_utf16(const unsigned char *p, size_t n)
{
    return n >= 2 && ((p[0] == 0xff && p[1] == 0xfe) || (p[0] == 0xfe && p[1] == 0xff) || (p[0] == 0) != (p[1] == 0));
}

/* One round per value. */
const char *json_scan_document(struct json_scan *s)
{
    bool in_object[JSON_DEPTH_MAX];
    size_t depth = 0;
    if (is_utf16(s->p, s->n))
        return "this is UTF-16 text; JSON must be UTF-8";
    for (;;) {
        const char *why = NULL;
        scan_space(s);
        if (s->at == s->n)
            return "ends where a value is expected";
        if (++s->n_values > JSON_VALUES_MAX)
            return "too many values";
        unsigned char c = s->p[s->at];
        if (c == '{' || c == '[') {
            if (depth == JSON_DEPTH_MAX)
                return "nested too deeply";
            in_object[depth++] = c == '{';
            s->at++;
            scan_space(s);
            if (s->at >= s->n || s->p[s->at] != (c == '{' ? '}' : ']')) {
                why = c == '{' ? scan_key(s) : NULL;
                if (why)
                    return why;
                continue;
            }
            depth--;
            s->at++;
        } else if ((why = scan_scalar(s)) != NULL) {
            return why;
        }
        for (;;) { /* a value has ended: close what ends with it, up to the next comma */
            scan_space(s);
            if (depth == 0)
                return s->at == s->n ? NULL : "more after the end of the document";
            if (s->at >= s->n)
                return "ends inside an array or object";
            c = s->p[s->at];
            if (c == (in_object[depth - 1] ? '}' : ']')) {
                s->n_key = 0; /* of what is around it, nobody kept it */
                depth--;
                s->at++;
                continue;
            }
            if (c != ',')
                return in_object[depth - 1] ? "expected ',' or '}'" : "expected ',' or ']'";
            s->at++;
            why = in_object[depth - 1] ? scan_key(s) : NULL;
            if (why)
                return why;
            break;
        }
    }
}
