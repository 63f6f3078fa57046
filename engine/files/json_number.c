/* Numbers of a document as they were given: a double holds 53 bits of them, their text all. */
#include <string.h>

#include "engine/base/decimal.h"
#include "engine/files/json.h"
#include "engine/files/json_scan.h"

enum { PLAIN_DIGITS = 15 }; /* digits alone, up to here, are what the double is printed as */

/* The next number or foreign word of a document that has passed the grammar; false behind the last. */
static bool next_number(struct json_scan *s, size_t *begin, bool *foreign)
{
    for (; s->at < s->n; s->at++) {
        const unsigned char c = s->p[s->at];
        if (c == '"') {
            for (s->at++; s->p[s->at] != '"'; s->at++)
                s->at += s->p[s->at] == '\\';
            continue;
        }
        *begin = s->at;
        const size_t n = c == 'N' || c == 'I' || c == '-' ? json_scan_foreign(s) : 0;
        *foreign = n > 0;
        s->at += n;
        if (n > 0)
            return true;
        if (c != '-' && (c < '0' || c > '9'))
            continue;
        while (s->at < s->n && s->p[s->at] && strchr("+-.0123456789eE", s->p[s->at]))
            s->at++;
        return true;
    }
    return false;
}

void json_hide_foreign(char *bytes, size_t n_bytes)
{
    struct json_scan s = {.p = (const unsigned char *)bytes, .n = n_bytes};
    size_t begin;
    bool foreign;
    while (next_number(&s, &begin, &foreign))
        if (foreign) {
            memset(bytes + begin, ' ', s.at - begin);
            bytes[begin] = '0';
        }
}

static bool is_plain(const char *text, size_t n)
{
    size_t i = text[0] == '-';
    if (n - i > PLAIN_DIGITS)
        return false;
    while (i < n && text[i] >= '0' && text[i] <= '9')
        i++;
    return i == n;
}

static enum mn_status keep_text(const struct json_doc *doc, struct cJSON *node, const char *text, size_t n,
                                bool foreign)
{
    char printed[DECIMAL_BYTES];
    if (foreign)
        node->type = cJSON_NULL;
    else if (is_plain(text, n) ||
             ((size_t)decimal_write(printed, node->valuedouble) == n && memcmp(printed, text, n) == 0))
        return MN_OK;
    node->valuestring = cJSON_malloc(n + 1); /* cJSON's own allocator: cJSON_Delete frees it */
    if (!node->valuestring)
        return log_fail(doc->log, MN_ERR_MEMORY, "%s: no memory for the text of a number", doc->file);
    memcpy(node->valuestring, text, n);
    node->valuestring[n] = '\0';
    return MN_OK;
}

/* The order of the tree is the order of the text. Recurses at most JSON_DEPTH_MAX deep. */
static enum mn_status keep_below(const struct json_doc *doc, struct cJSON *node, struct json_scan *s)
{
    enum mn_status status = MN_OK;
    size_t begin = 0;
    bool foreign;
    if (cJSON_IsNumber(node) && next_number(s, &begin, &foreign))
        status = keep_text(doc, node, (const char *)s->p + begin, s->at - begin, foreign);
    for (struct cJSON *child = node->child; child && !status; child = child->next)
        status = keep_below(doc, child, s);
    return status;
}

enum mn_status json_keep_numbers(struct json_doc *doc, const char *bytes, size_t n_bytes)
{
    struct json_scan s = {.p = (const unsigned char *)bytes, .n = n_bytes};
    return keep_below(doc, doc->root, &s);
}

const char *json_foreign_word(const struct cJSON *node)
{
    return cJSON_IsNull(node) ? node->valuestring : NULL;
}

void json_number_text(const struct cJSON *number, char text[JSON_NUMBER_TEXT_BYTES])
{
    if (number->valuestring)
        snprintf(text, JSON_NUMBER_TEXT_BYTES, "%s", number->valuestring);
    else
        decimal_write(text, number->valuedouble);
}

void json_number_name(const struct cJSON *number, char name[JSON_NUMBER_NAME_BYTES])
{
    char text[JSON_NUMBER_TEXT_BYTES];
    json_number_text(number, text);
    decimal_name(text, name, JSON_NUMBER_NAME_BYTES);
}

bool json_number_is_exact(const struct cJSON *number)
{
    char printed[DECIMAL_BYTES];
    if (!number->valuestring)
        return true;
    decimal_write(printed, number->valuedouble);
    return decimal_same(printed, number->valuestring);
}
