#include "engine/text/normalizer.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { MARKS_MAX = 1024 }; /* combining marks in a row: utf8proc sorts them by insertion, in quadratic time */

/* --- reading ---------------------------------------------------------------------------------------------------- */

static enum mn_status content_read(struct normalizer_step *step, const struct json_doc *doc, const struct cJSON *node,
                                   const char *key, const struct mn_log *log)
{
    const char *content;
    enum mn_status status = json_get_string(doc, node, key, NORMALIZER_CONTENT_BYTES_MAX, &content);
    if (status)
        return status;
    step->n_content = strlen(content);
    step->content = malloc(step->n_content + 1);
    if (!step->content)
        return log_fail(log, MN_ERR_MEMORY, "%s: key 'normalizer': out of memory", doc->file);
    memcpy(step->content, content, step->n_content + 1);
    return MN_OK;
}

static enum mn_status step_read(struct normalizer_step *step, const struct json_doc *doc, const struct cJSON *node,
                                const char *type, const struct mn_log *log)
{
    static const struct {
        const char *name;
        int form;
    } forms[] = {{"NFC", UTF8PROC_COMPOSE},
                 {"NFD", UTF8PROC_DECOMPOSE},
                 {"NFKC", UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
                 {"NFKD", UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (!strcmp(type, forms[i].name)) {
            step->kind = NORMALIZER_UNICODE;
            step->form = forms[i].form;
            return MN_OK;
        }
    if (!strcmp(type, "Lowercase")) {
        step->kind = NORMALIZER_LOWERCASE;
        return MN_OK;
    }
    if (!strcmp(type, "Prepend")) {
        step->kind = NORMALIZER_PREPEND;
        return content_read(step, doc, node, "prepend", log);
    }
    if (strcmp(type, "Replace"))
        return json_refuse(doc, MN_ERR_UNSUPPORTED, "normalizer.type", json_find(node, "type"),
                           "only Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase and Sequence are understood");
    step->kind = NORMALIZER_REPLACE;
    enum mn_status status = content_read(step, doc, node, "content", log);
    return status ? status : matcher_read(&step->matcher, doc, "normalizer", node, log);
}

/* A step, or a sequence of steps. The recursion is as deep as the file is nested, which the JSON reader bounds. */
static enum mn_status steps_read(struct normalizer *n, const struct json_doc *doc, const struct cJSON *node,
                                 const struct mn_log *log)
{
    const struct cJSON *steps, *step;
    const char *type;
    enum mn_status status = json_get_string(doc, node, "type", 64, &type);
    if (status)
        return status;
    if (strcmp(type, "Sequence")) {
        if (n->n_steps == NORMALIZER_STEPS_MAX)
            return log_fail(log, MN_ERR_UNSUPPORTED, "%s: key 'normalizer': more than %d steps", doc->file,
                            NORMALIZER_STEPS_MAX);
        return step_read(&n->steps[n->n_steps++], doc, node, type, log);
    }
    status = json_get_array(doc, node, "normalizers", &steps);
    if (status)
        return status;
    cJSON_ArrayForEach (step, steps) {
        status = steps_read(n, doc, step, log);
        if (status)
            return status;
    }
    return MN_OK;
}

enum mn_status normalizer_read(struct normalizer *normalizer, const struct json_doc *doc, const struct mn_log *log)
{
    *normalizer = (struct normalizer){0};
    if (!json_is_given(doc->root, "normalizer"))
        return MN_OK;
    enum mn_status status = steps_read(normalizer, doc, json_find(doc->root, "normalizer"), log);
    if (status)
        normalizer_destroy(normalizer);
    return status;
}

void normalizer_destroy(struct normalizer *normalizer)
{
    if (!normalizer)
        return;
    for (uint32_t i = 0; i < normalizer->n_steps; i++) {
        free(normalizer->steps[i].content);
        matcher_destroy(&normalizer->steps[i].matcher);
    }
    *normalizer = (struct normalizer){0};
}

/* --- the steps -------------------------------------------------------------------------------------------------- */

enum mn_status text_buffer_append(struct text_buffer *out, const char *bytes, size_t n, const struct mn_log *log)
{
    if (n > NORMALIZER_TEXT_BYTES_MAX - out->n)
        return log_fail(log, MN_ERR_MEMORY, "tokenizer: a normalized text of more than %d bytes",
                        NORMALIZER_TEXT_BYTES_MAX);
    if (out->n + n > out->capacity || !out->bytes) {
        size_t capacity = 2 * (out->n + n) + 64;
        char *longer = realloc(out->bytes, capacity);
        if (!longer)
            return log_fail(log, MN_ERR_MEMORY, "tokenizer: out of memory for a normalized text of %zu bytes",
                            out->n + n);
        out->bytes = longer;
        out->capacity = capacity;
    }
    if (n)
        memcpy(out->bytes + out->n, bytes, n);
    out->n += n;
    return MN_OK;
}

enum mn_status text_replace(struct text_buffer *out, const struct matcher *matcher, struct matcher_run *run,
                            const char *content, size_t n_content, const char *text, size_t n_bytes,
                            const struct mn_log *log)
{
    struct match match = MATCHER_START;
    size_t done = 0;
    while (n_bytes) { /* the HF library looks for nothing in an empty text */
        enum mn_status status = matcher_next(run, matcher, text, n_bytes, &match, log);
        if (!status && match.start == SIZE_MAX)
            break;
        if (!status)
            status = text_buffer_append(out, text + done, match.start - done, log);
        if (!status)
            status = text_buffer_append(out, content, n_content, log);
        if (status)
            return status;
        done = match.end;
    }
    return text_buffer_append(out, text + done, n_bytes - done, log);
}

static bool is_ascii(const char *text, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        if ((unsigned char)text[i] >= 0x80)
            return false;
    return true;
}

/* Is it a combining mark, or does it fall apart into nothing else? U+0F73 is no mark but two of them. */
static bool is_mark(utf8proc_int32_t c, int form)
{
    const utf8proc_property_t *property = utf8proc_get_property(c);
    utf8proc_int32_t parts[32];
    int last_class = 0;
    if (property->combining_class)
        return true;
    if (c < 0x80 || property->decomp_seqindex == UINT16_MAX)
        return false;
    utf8proc_ssize_t n = utf8proc_decompose_char(c, parts, 32, (utf8proc_option_t)(form | UTF8PROC_DECOMPOSE),
                                                 &last_class);
    for (utf8proc_ssize_t i = 0; i < n && i < 32; i++)
        if (!utf8proc_get_property(parts[i])->combining_class)
            return false;
    return n > 0;
}

static enum mn_status marks_check(const char *text, size_t n_bytes, int form, const struct mn_log *log)
{
    size_t n_marks = 0;
    for (size_t i = 0; i < n_bytes;) {
        utf8proc_int32_t c;
        i += (size_t)utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(n_bytes - i), &c);
        n_marks = is_mark(c, form) ? n_marks + 1 : 0;
        if (n_marks > MARKS_MAX)
            return log_fail(log, MN_ERR_USAGE, "tokenizer: more than %d combining marks in a row before byte %zu",
                            MARKS_MAX, i);
    }
    return MN_OK;
}

static enum mn_status run_unicode(struct text_buffer *out, int form, const char *text, size_t n_bytes,
                                  const struct mn_log *log)
{
    utf8proc_uint8_t *normalized = NULL;
    if (is_ascii(text, n_bytes)) /* in every form already */
        return text_buffer_append(out, text, n_bytes, log);
    enum mn_status status = marks_check(text, n_bytes, form, log);
    if (status)
        return status;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)n_bytes, &normalized,
                                      (utf8proc_option_t)(form | UTF8PROC_STABLE));
    if (n < 0)
        return log_fail(log, MN_ERR_MEMORY, "tokenizer: Unicode normalization of %zu bytes: %s", n_bytes,
                        utf8proc_errmsg(n));
    status = text_buffer_append(out, (const char *)normalized, (size_t)n, log);
    free(normalized);
    return status;
}

/* Rust's char::to_lowercase, character by character: the only one that becomes two is the Turkish capital I with a
 * dot. */
static enum mn_status run_lowercase(struct text_buffer *out, const char *text, size_t n_bytes, const struct mn_log *log)
{
    enum mn_status status = MN_OK;
    for (size_t i = 0; i < n_bytes && !status;) {
        utf8proc_int32_t c;
        utf8proc_uint8_t lower[4];
        i += (size_t)utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(n_bytes - i), &c);
        if (c == 0x130)
            status = text_buffer_append(out, "i\xcc\x87", 3, log);
        else
            status = text_buffer_append(out, (char *)lower, (size_t)utf8proc_encode_char(utf8proc_tolower(c), lower),
                                        log);
    }
    return status;
}

static enum mn_status step_apply(struct text_buffer *out, const struct normalizer_step *step, struct matcher_run *run,
                                 const char *text, size_t n_bytes, const struct mn_log *log)
{
    enum mn_status status = MN_OK;
    switch (step->kind) {
    case NORMALIZER_REPLACE:
        return text_replace(out, &step->matcher, run, step->content, step->n_content, text, n_bytes, log);
    case NORMALIZER_UNICODE: return run_unicode(out, step->form, text, n_bytes, log);
    case NORMALIZER_LOWERCASE: return run_lowercase(out, text, n_bytes, log);
    case NORMALIZER_PREPEND: break;
    }
    if (n_bytes)
        status = text_buffer_append(out, step->content, step->n_content, log);
    return status ? status : text_buffer_append(out, text, n_bytes, log);
}

enum mn_status normalizer_apply(const struct normalizer *normalizer, struct matcher_run *run, const char *text,
                                size_t n_bytes, char **out, size_t *n_out, const struct mn_log *log)
{
    struct text_buffer from = {0};
    enum mn_status status = text_buffer_append(&from, text, n_bytes, log);
    for (uint32_t i = 0; i < normalizer->n_steps && !status; i++) {
        struct text_buffer to = {0};
        status = step_apply(&to, &normalizer->steps[i], run, from.bytes, from.n, log);
        /* Never NULL on success, even when nothing is left. */
        if (!status)
            status = text_buffer_append(&to, "", 0, log);
        free(from.bytes);
        from = to;
    }
    if (status) {
        free(from.bytes);
        return status;
    }
    *out = from.bytes;
    *n_out = from.n;
    return MN_OK;
}
