#include "engine/files/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/decimal.h"
#include "engine/base/system.h"
#include "engine/base/text.h"
#include "engine/files/input.h"
#include "engine/files/json_scan.h"

enum { TEXT_BYTES_MAX = 64 }; /* how much of a key or value a message shows */

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

enum mn_status json_refuse(const struct json_doc *doc, enum mn_status status, const char *key, const struct cJSON *node,
                           const char *why)
{
    char value[TEXT_BYTES_MAX + 8];
    const char *word = json_foreign_word(node);
    if (!node)
        snprintf(value, sizeof value, "(missing)");
    else if (cJSON_IsString(node))
        snprintf(value, sizeof value, "\"%.*s\"", clip(node->valuestring), node->valuestring);
    else if (cJSON_IsNumber(node))
        json_number_text(node, value);
    else
        snprintf(value, sizeof value, "%s",
                 cJSON_IsTrue(node)    ? "true"
                 : cJSON_IsFalse(node) ? "false"
                 : word                ? word
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

/* Recurses at most JSON_DEPTH_MAX deep. `key`: what messages call the node, the nearest key above it. */
static enum mn_status check_tree(const struct json_doc *doc, const struct cJSON *node, const char *key, bool foreign)
{
    key = node->string ? node->string : key;
    if (cJSON_IsNumber(node) && !isfinite(node->valuedouble))
        return json_refuse(doc, MN_ERR_FORMAT, key, node, "outside the range of double");
    if (json_foreign_word(node) && !foreign)
        return json_refuse(doc, MN_ERR_FORMAT, key, node, "JSON has no such number");
    enum mn_status status = cJSON_IsObject(node) ? check_keys(doc, node) : MN_OK;
    for (const struct cJSON *child = node->child; child && !status; child = child->next)
        status = check_tree(doc, child, key, foreign);
    return status;
}

/* ---- documents ---- */

static enum mn_status check_grammar(const char *file, const void *bytes, size_t n_bytes, size_t cap_bytes,
                                    size_t *n_foreign, const struct mn_log *log)
{
    struct json_scan s = {.p = bytes, .n = n_bytes};
    if (n_bytes > cap_bytes)
        return log_fail(log, MN_ERR_FORMAT, "%s: %zu bytes of JSON, the limit is %zu", file, n_bytes, cap_bytes);
    const char *why = json_scan_document(&s);
    *n_foreign = s.n_foreign;
    if (!why)
        return MN_OK;
    const char *instead = n_bytes ? input_instead(bytes, n_bytes) : NULL;
    if (instead)
        return log_fail(log, MN_ERR_FORMAT, "%s: %s", file, instead);
    const char *key = (const char *)bytes + s.key;
    return s.n_key ? log_fail(log, MN_ERR_FORMAT, "%s: byte %zu: key '%.*s': %s", file, s.at,
                              (int)utf8_whole(key, s.n_key < TEXT_BYTES_MAX ? s.n_key : TEXT_BYTES_MAX), key, why)
                   : log_fail(log, MN_ERR_FORMAT, "%s: byte %zu: %s", file, s.at, why);
}

/* cJSON reads numbers with the point of the thread's locale. */
static cJSON *parse_tree(const char *bytes, size_t n_bytes)
{
    const struct number_locale scope = number_locale_begin();
    cJSON *root = cJSON_ParseWithLength(bytes, n_bytes);
    number_locale_end(&scope);
    return root;
}

/* cJSON does not know the words of json_scan_foreign either: it gets zeros in their place. */
static cJSON *parse_foreign_tree(const char *bytes, size_t n_bytes)
{
    char *copy = malloc(n_bytes + 1);
    if (!copy)
        return NULL;
    memcpy(copy, bytes, n_bytes);
    json_hide_foreign(copy, n_bytes);
    cJSON *root = parse_tree(copy, n_bytes);
    free(copy);
    return root;
}

/* Whatever the result, json_destroy frees what has been made. */
static enum mn_status build_tree(struct json_doc *doc, const char *file, const void *bytes, size_t n_bytes,
                                 bool has_foreign)
{
    doc->file = strdup(file);
    doc->root = has_foreign ? parse_foreign_tree(bytes, n_bytes) : parse_tree(bytes, n_bytes);
    if (!doc->file || !doc->root) /* the grammar has been checked: only memory is left as a reason */
        return log_fail(doc->log, MN_ERR_MEMORY, "%s: no memory for %zu bytes of JSON", file, n_bytes);
    return json_keep_numbers(doc, bytes, n_bytes);
}

static enum mn_status parse(struct json_doc *doc, const char *file, const void *bytes, size_t n_bytes, size_t cap_bytes,
                            bool foreign, const struct mn_log *log)
{
    size_t n_foreign = 0;
    *doc = (struct json_doc){.log = log};
    enum mn_status status = check_grammar(file, bytes, n_bytes, cap_bytes, &n_foreign, log);
    if (!status)
        status = build_tree(doc, file, bytes, n_bytes, n_foreign > 0);
    if (!status)
        status = check_tree(doc, doc->root, "", foreign);
    if (status)
        json_destroy(doc);
    return status;
}

enum mn_status json_parse(struct json_doc *doc, const char *file, const void *bytes, size_t n_bytes, size_t cap_bytes,
                          const struct mn_log *log)
{
    return parse(doc, file, bytes, n_bytes, cap_bytes, false, log);
}

size_t json_byte_order_mark(const char *text, size_t n_bytes)
{
    const size_t n = sizeof JSON_BYTE_ORDER_MARK - 1;
    return n_bytes >= n && memcmp(text, JSON_BYTE_ORDER_MARK, n) == 0 ? n : 0;
}

enum mn_status json_parse_foreign(struct json_doc *doc, const char *file, const void *bytes, size_t n_bytes,
                                  size_t cap_bytes, const struct mn_log *log)
{
    const size_t mark = json_byte_order_mark(bytes, n_bytes);
    return parse(doc, file, (const char *)bytes + mark, n_bytes - mark, cap_bytes, true, log);
}

enum mn_status json_read_file(struct json_doc *doc, const char *path, size_t cap_bytes, const struct mn_log *log)
{
    char *bytes;
    size_t n_bytes;
    *doc = (struct json_doc){.log = log};
    enum mn_status status = input_read_all(&bytes, &n_bytes, path, cap_bytes, log);
    if (status)
        return status;
    status = n_bytes ? json_parse_foreign(doc, path, bytes, n_bytes, cap_bytes, log)
                     : log_fail(log, MN_ERR_FORMAT, "%s: %s", path, input_instead(bytes, 0));
    free(bytes);
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

bool json_is_given(const struct cJSON *object, const char *key)
{
    const struct cJSON *node = json_find(object, key);
    return node && (!cJSON_IsNull(node) || json_foreign_word(node));
}

enum mn_status json_as_u64(const struct json_doc *doc, const char *key, const struct cJSON *node, uint64_t min,
                           uint64_t max, uint64_t *out)
{
    /* The range test comes before the cast: a double outside uint64_t has no defined conversion. */
    if (cJSON_IsNumber(node) && node->valuedouble >= (double)min && node->valuedouble <= (double)max &&
        (double)(uint64_t)node->valuedouble == node->valuedouble && json_number_is_exact(node)) {
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
    const struct number_locale scope = number_locale_begin();
    snprintf(why, sizeof why, "must be a number from %g to %g", min, max);
    number_locale_end(&scope);
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
    if (json_is_given(object, key))
        return json_get_u32(doc, object, key, min, max, out);
    *out = fallback;
    return MN_OK;
}

enum mn_status json_get_double_or(const struct json_doc *doc, const struct cJSON *object, const char *key, double min,
                                  double max, double fallback, double *out)
{
    if (json_is_given(object, key))
        return json_get_double(doc, object, key, min, max, out);
    *out = fallback;
    return MN_OK;
}

enum mn_status json_get_bool_or(const struct json_doc *doc, const struct cJSON *object, const char *key, bool fallback,
                                bool *out)
{
    if (json_is_given(object, key))
        return json_get_bool(doc, object, key, out);
    *out = fallback;
    return MN_OK;
}

enum mn_status json_get_string_or(const struct json_doc *doc, const struct cJSON *object, const char *key,
                                  size_t max_bytes, const char *fallback, const char **out)
{
    if (json_is_given(object, key))
        return json_get_string(doc, object, key, max_bytes, out);
    *out = fallback;
    return MN_OK;
}
