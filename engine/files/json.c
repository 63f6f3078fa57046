#include "engine/files/json.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_BYTES_MAX = 64 }; /* how much of a key or value a message shows */

/* ---- scan: is this exactly one strict JSON document? ---- */

struct scan {
    const unsigned char *p; /* [n] */
    size_t n, at;
    size_t n_values;
};

/* Length of the well-formed UTF-8 sequence at p, 1 to 4. 0 when there is none: then *bad_bytes is the length of the
 * longest prefix that could have become one (the unit that is replaced by one U+FFFD), at least 1. Needs n >= 1. */
static size_t utf8_step(const unsigned char *p, size_t n, size_t *bad_bytes)
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

static void scan_space(struct scan *s)
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
static int32_t scan_hex4(struct scan *s)
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
static const char *scan_unicode_escape(struct scan *s)
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

static const char *scan_string(struct scan *s)
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

static size_t scan_digits(struct scan *s)
{
    size_t start = s->at;
    while (s->at < s->n && s->p[s->at] >= '0' && s->p[s->at] <= '9')
        s->at++;
    return s->at - start;
}

static const char *scan_number(struct scan *s)
{
    size_t start = s->at;
    if (s->p[s->at] == '-')
        s->at++;
    size_t first = s->at, n_digits = scan_digits(s);
    if (n_digits == 0)
        return "expected a value";
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

static const char *scan_scalar(struct scan *s)
{
    static const char *const words[] = {"true", "false", "null"};
    if (s->p[s->at] == '"')
        return scan_string(s);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i]);
        if (s->n - s->at >= n && memcmp(s->p + s->at, words[i], n) == 0) {
            s->at += n;
            return NULL;
        }
    }
    return scan_number(s);
}

static const char *scan_key(struct scan *s)
{
    scan_space(s);
    const char *why = scan_string(s);
    if (why)
        return why;
    scan_space(s);
    if (s->at >= s->n || s->p[s->at] != ':')
        return "expected ':'";
    s->at++;
    return NULL;
}

/* The whole grammar with its own stack, one round per value: hostile nesting cannot reach the C stack. */
static const char *scan_document(struct scan *s)
{
    bool in_object[JSON_DEPTH_MAX];
    size_t depth = 0;
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

/* ---- messages ---- */

/* How much of a string a message shows: whole characters within TEXT_BYTES_MAX. */
static int clip(const char *text)
{
    size_t n = strlen(text);
    if (n > TEXT_BYTES_MAX)
        for (n = TEXT_BYTES_MAX; n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80;)
            n--;
    return (int)n;
}

/* 15 significant digits where they name the number exactly, else the 17 that always do. */
static int number_digits(double number)
{
    char text[32];
    snprintf(text, sizeof text, "%.15g", number);
    return strtod(text, NULL) == number ? 15 : 17;
}

enum mn_status json_refuse(const struct json_doc *doc, enum mn_status status, const char *key, const struct cJSON *node,
                           const char *why)
{
    char value[TEXT_BYTES_MAX + 8];
    if (!node)
        snprintf(value, sizeof value, "(missing)");
    else if (cJSON_IsString(node))
        snprintf(value, sizeof value, "\"%.*s\"", clip(node->valuestring), node->valuestring);
    else if (cJSON_IsNumber(node))
        snprintf(value, sizeof value, "%.*g", number_digits(node->valuedouble), node->valuedouble);
    else
        snprintf(value, sizeof value, "%s",
                 cJSON_IsTrue(node)    ? "true"
                 : cJSON_IsFalse(node) ? "false"
                 : cJSON_IsNull(node)  ? "null"
                 : cJSON_IsArray(node) ? "[...]"
                                       : "{...}");
    return log_fail(doc->log, status, "%s: key '%.*s': value %s: %s", doc->file, clip(key), key, value, why);
}

/* ---- checks on the tree ---- */

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Refuses a key given twice. Sorts, because a hostile or merely large vocabulary would make n^2 comparisons hang. */
static enum mn_status check_keys(const struct json_doc *doc, const struct cJSON *object)
{
    enum mn_status status = MN_OK;
    size_t n = 0, i = 0;
    const struct cJSON *member;
    cJSON_ArrayForEach (member, object)
        n++;
    const char **keys = malloc((n + 1) * sizeof *keys); /* n <= JSON_VALUES_MAX: no overflow */
    if (!keys)
        return log_fail(doc->log, MN_ERR_MEMORY, "%s: no memory to check %zu keys", doc->file, n);
    cJSON_ArrayForEach (member, object)
        keys[i++] = member->string;
    qsort(keys, n, sizeof *keys, compare_keys);
    for (i = 1; i < n && !status; i++)
        if (strcmp(keys[i - 1], keys[i]) == 0)
            status = log_fail(doc->log, MN_ERR_FORMAT, "%s: key '%.*s': given twice in one object", doc->file,
                              clip(keys[i]), keys[i]);
    free(keys);
    return status;
}

/* Recurses at most JSON_DEPTH_MAX deep. */
static enum mn_status check_tree(const struct json_doc *doc, const struct cJSON *node)
{
    if (cJSON_IsNumber(node) && !isfinite(node->valuedouble))
        return json_refuse(doc, MN_ERR_FORMAT, node->string ? node->string : "", node, "outside the range of double");
    enum mn_status status = cJSON_IsObject(node) ? check_keys(doc, node) : MN_OK;
    for (const struct cJSON *child = node->child; child && !status; child = child->next)
        status = check_tree(doc, child);
    return status;
}

/* ---- documents ---- */

static enum mn_status check_grammar(const char *file, const void *bytes, size_t n_bytes, size_t cap_bytes,
                                    const struct mn_log *log)
{
    struct scan s = {.p = bytes, .n = n_bytes};
    if (n_bytes > cap_bytes)
        return log_fail(log, MN_ERR_FORMAT, "%s: %zu bytes of JSON, the limit is %zu", file, n_bytes, cap_bytes);
    const char *why = scan_document(&s);
    return why ? log_fail(log, MN_ERR_FORMAT, "%s: byte %zu: %s", file, s.at, why) : MN_OK;
}

/* Whatever the result, json_destroy frees what has been made. */
static enum mn_status build_tree(struct json_doc *doc, const char *file, const void *bytes, size_t n_bytes)
{
    doc->file = strdup(file);
    doc->root = cJSON_ParseWithLength(bytes, n_bytes);
    if (!doc->file || !doc->root) /* the grammar has been checked: only memory is left as a reason */
        return log_fail(doc->log, MN_ERR_MEMORY, "%s: no memory for %zu bytes of JSON", file, n_bytes);
    return check_tree(doc, doc->root);
}

enum mn_status json_parse(struct json_doc *doc, const char *file, const void *bytes, size_t n_bytes, size_t cap_bytes,
                          const struct mn_log *log)
{
    *doc = (struct json_doc){.log = log};
    enum mn_status status = check_grammar(file, bytes, n_bytes, cap_bytes, log);
    if (!status)
        status = build_tree(doc, file, bytes, n_bytes);
    if (status)
        json_destroy(doc);
    return status;
}

static enum mn_status file_size(size_t *n_bytes, const char *path, int fd, size_t cap_bytes, const struct mn_log *log)
{
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0)
        return log_fail(log, MN_ERR_FILE, "%s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return log_fail(log, MN_ERR_FILE, "%s: not a regular file", path);
    if ((uintmax_t)info.st_size > cap_bytes)
        return log_fail(log, MN_ERR_FORMAT, "%s: %ju bytes of JSON, the limit is %zu", path, (uintmax_t)info.st_size,
                        cap_bytes);
    *n_bytes = (size_t)info.st_size;
    return MN_OK;
}

static enum mn_status read_bytes(char *bytes, const char *path, int fd, size_t n_bytes, const struct mn_log *log)
{
    size_t n_read = 0;
    while (n_read < n_bytes) {
        ssize_t got = read(fd, bytes + n_read, n_bytes - n_read);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return log_fail(log, MN_ERR_FILE, "%s: read %zu of %zu bytes: %s", path, n_read, n_bytes,
                            got < 0 ? strerror(errno) : "the file has become shorter");
        n_read += (size_t)got;
    }
    return MN_OK;
}

/* `fd` is what open returned: -1 is reported here. */
static enum mn_status read_open_file(struct json_doc *doc, const char *path, int fd, size_t cap_bytes,
                                     const struct mn_log *log)
{
    size_t n_bytes = 0;
    enum mn_status status = file_size(&n_bytes, path, fd, cap_bytes, log);
    if (status)
        return status;
    char *bytes = malloc(n_bytes + 1);
    if (!bytes)
        return log_fail(log, MN_ERR_MEMORY, "%s: no memory for %zu bytes", path, n_bytes);
    status = read_bytes(bytes, path, fd, n_bytes, log);
    if (!status)
        status = json_parse(doc, path, bytes, n_bytes, cap_bytes, log);
    free(bytes);
    return status;
}

enum mn_status json_read_file(struct json_doc *doc, const char *path, size_t cap_bytes, const struct mn_log *log)
{
    *doc = (struct json_doc){.log = log};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a named pipe must not make us wait for a writer */
    enum mn_status status = read_open_file(doc, path, fd, cap_bytes, log);
    if (fd >= 0)
        close(fd);
    return status;
}

void json_destroy(struct json_doc *doc)
{
    if (!doc)
        return;
    cJSON_Delete(doc->root);
    free(doc->file);
    *doc = (struct json_doc){0};
}

/* ---- look-ups ---- */

const struct cJSON *json_find(const struct cJSON *object, const char *key)
{
    if (!cJSON_IsObject(object))
        return NULL;
    const struct cJSON *member = object->child;
    while (member && strcmp(member->string, key) != 0)
        member = member->next;
    return member;
}

static bool is_absent(const struct cJSON *object, const char *key)
{
    const struct cJSON *node = json_find(object, key);
    return !node || cJSON_IsNull(node);
}

enum mn_status json_as_u64(const struct json_doc *doc, const char *key, const struct cJSON *node, uint64_t min,
                           uint64_t max, uint64_t *out)
{
    /* The range test comes before the cast: a double outside uint64_t has no defined conversion. */
    if (cJSON_IsNumber(node) && node->valuedouble >= (double)min && node->valuedouble <= (double)max &&
        (double)(uint64_t)node->valuedouble == node->valuedouble) {
        *out = (uint64_t)node->valuedouble;
        return MN_OK;
    }
    char why[96];
    snprintf(why, sizeof why, "must be an integer from %llu to %llu", (unsigned long long)min, (unsigned long long)max);
    return json_refuse(doc, MN_ERR_FORMAT, key, node, why);
}

enum mn_status json_as_u32(const struct json_doc *doc, const char *key, const struct cJSON *node, uint32_t min,
                           uint32_t max, uint32_t *out)
{
    uint64_t wide = 0;
    enum mn_status status = json_as_u64(doc, key, node, min, max, &wide);
    if (!status)
        *out = (uint32_t)wide;
    return status;
}

enum mn_status json_as_string(const struct json_doc *doc, const char *key, const struct cJSON *node, size_t max_bytes,
                              const char **out)
{
    if (cJSON_IsString(node) && strlen(node->valuestring) <= max_bytes) {
        *out = node->valuestring;
        return MN_OK;
    }
    char why[64];
    snprintf(why, sizeof why, "must be a string of at most %zu bytes", max_bytes);
    return json_refuse(doc, MN_ERR_FORMAT, key, node, why);
}

enum mn_status json_get_u32(const struct json_doc *doc, const struct cJSON *object, const char *key, uint32_t min,
                            uint32_t max, uint32_t *out)
{
    return json_as_u32(doc, key, json_find(object, key), min, max, out);
}

enum mn_status json_get_u64(const struct json_doc *doc, const struct cJSON *object, const char *key, uint64_t min,
                            uint64_t max, uint64_t *out)
{
    return json_as_u64(doc, key, json_find(object, key), min, max, out);
}

enum mn_status json_get_double(const struct json_doc *doc, const struct cJSON *object, const char *key, double min,
                               double max, double *out)
{
    const struct cJSON *node = json_find(object, key);
    if (cJSON_IsNumber(node) && node->valuedouble >= min && node->valuedouble <= max) {
        *out = node->valuedouble;
        return MN_OK;
    }
    char why[96];
    snprintf(why, sizeof why, "must be a number from %g to %g", min, max);
    return json_refuse(doc, MN_ERR_FORMAT, key, node, why);
}

enum mn_status json_get_bool(const struct json_doc *doc, const struct cJSON *object, const char *key, bool *out)
{
    const struct cJSON *node = json_find(object, key);
    if (!cJSON_IsBool(node))
        return json_refuse(doc, MN_ERR_FORMAT, key, node, "must be true or false");
    *out = cJSON_IsTrue(node);
    return MN_OK;
}

enum mn_status json_get_string(const struct json_doc *doc, const struct cJSON *object, const char *key,
                               size_t max_bytes, const char **out)
{
    return json_as_string(doc, key, json_find(object, key), max_bytes, out);
}

enum mn_status json_get_object(const struct json_doc *doc, const struct cJSON *object, const char *key,
                               const struct cJSON **out)
{
    const struct cJSON *node = json_find(object, key);
    if (!cJSON_IsObject(node))
        return json_refuse(doc, MN_ERR_FORMAT, key, node, "must be an object");
    *out = node;
    return MN_OK;
}

enum mn_status json_get_array(const struct json_doc *doc, const struct cJSON *object, const char *key,
                              const struct cJSON **out)
{
    const struct cJSON *node = json_find(object, key);
    if (!cJSON_IsArray(node))
        return json_refuse(doc, MN_ERR_FORMAT, key, node, "must be an array");
    *out = node;
    return MN_OK;
}

enum mn_status json_get_u32_or(const struct json_doc *doc, const struct cJSON *object, const char *key, uint32_t min,
                               uint32_t max, uint32_t fallback, uint32_t *out)
{
    if (!is_absent(object, key))
        return json_get_u32(doc, object, key, min, max, out);
    *out = fallback;
    return MN_OK;
}

enum mn_status json_get_double_or(const struct json_doc *doc, const struct cJSON *object, const char *key, double min,
                                  double max, double fallback, double *out)
{
    if (!is_absent(object, key))
        return json_get_double(doc, object, key, min, max, out);
    *out = fallback;
    return MN_OK;
}

enum mn_status json_get_bool_or(const struct json_doc *doc, const struct cJSON *object, const char *key, bool fallback,
                                bool *out)
{
    if (!is_absent(object, key))
        return json_get_bool(doc, object, key, out);
    *out = fallback;
    return MN_OK;
}

enum mn_status json_get_string_or(const struct json_doc *doc, const struct cJSON *object, const char *key,
                                  size_t max_bytes, const char *fallback, const char **out)
{
    if (!is_absent(object, key))
        return json_get_string(doc, object, key, max_bytes, out);
    *out = fallback;
    return MN_OK;
}

/* ---- output ---- */

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
        else if (c < 0x20 || c == 0x7f) /* 0x7f is legal JSON, but output may end up on a terminal */
            fprintf(stream, "\\u%04x", (unsigned)c);
        else
            fwrite(p + at, 1, n, stream);
        at += n ? n : bad_bytes;
    }
    fputc('"', stream);
}
