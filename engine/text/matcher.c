#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/text/matcher.h"

#include <inttypes.h>
#include <pcre2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/pattern.h"

/* Steps that the regular expressions may take on a text: 3 to 4 ns each. Those of published tokenizers take 10 to 40
 * per byte, and no more on any text that was tried. */
enum { STEPS_BASE = 20000000, STEPS_PER_BYTE = 400 };

/* --- creation --------------------------------------------------------------------------------------------------- */

/* Is it a pattern at all? PCRE2 knows, and says what is wrong. */
static enum mn_status pattern_check(const char *file, const char *key, const char *translated, const struct mn_log *log)
{
    int error;
    PCRE2_SIZE offset;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context)
        return log_fail(log, MN_ERR_MEMORY, "%s: key '%s': out of memory for a pattern", file, key);
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)translated, strlen(translated),
                                     PCRE2_UTF | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context);
    pcre2_compile_context_free(context);
    if (code) {
        pcre2_code_free(code);
        return MN_OK;
    }
    char text[128] = "";
    pcre2_get_error_message(error, (PCRE2_UCHAR *)text, sizeof text);
    return log_fail(log, error == PCRE2_ERROR_HEAP_FAILED ? MN_ERR_MEMORY : MN_ERR_UNSUPPORTED,
                    "%s: key '%s': pattern: %s", file, key, text);
}

static enum mn_status pattern_read(struct matcher *m, const char *file, const char *key, const char *pattern,
                                   size_t n_bytes, const struct mn_log *log)
{
    const char *why = NULL;
    size_t at = 0;
    if (n_bytes > MATCHER_PATTERN_BYTES_MAX)
        return log_fail(log, MN_ERR_FORMAT, "%s: key '%s': a pattern of %zu bytes, limit %d", file, key, n_bytes,
                        MATCHER_PATTERN_BYTES_MAX);
    char *translated = pattern_translate(pattern, n_bytes, &why, &at);
    if (!translated && why)
        return log_fail(log, MN_ERR_UNSUPPORTED, "%s: key '%s': pattern, offset %zu: %s", file, key, at, why);
    if (!translated)
        return log_fail(log, MN_ERR_MEMORY, "%s: key '%s': out of memory for a pattern", file, key);
    enum mn_status status = pattern_check(file, key, translated, log);
    if (!status) {
        status = regex_compile(&m->regex, translated, &why);
        if (status)
            log_fail(log, status, "%s: key '%s': pattern: %s", file, key, why ? why : "out of memory");
    }
    free(translated);
    const size_t n_head = n_bytes < MATCHER_HEAD_BYTES - 1 ? n_bytes : MATCHER_HEAD_BYTES - 1;
    memcpy(m->head, pattern, n_head); /* zeroed: it ends itself */
    return status;
}

enum mn_status matcher_create(struct matcher *matcher, const char *file, const char *key, const char *pattern,
                              size_t n_bytes, const struct mn_log *log)
{
    *matcher = (struct matcher){0};
    enum mn_status status = pattern_read(matcher, file, key, pattern, n_bytes, log);
    if (status)
        matcher_destroy(matcher);
    return status;
}

static enum mn_status literal_create(struct matcher *m, const struct json_doc *doc, const char *key, const char *text,
                                     const struct mn_log *log)
{
    size_t n = strlen(text);
    if (!n)
        return log_fail(log, MN_ERR_UNSUPPORTED, "%s: key '%s': an empty pattern, which matches everywhere", doc->file,
                        key);
    *m = (struct matcher){.literal = malloc(n), .n_literal = n};
    if (!m->literal)
        return log_fail(log, MN_ERR_MEMORY, "%s: key '%s': out of memory for a pattern", doc->file, key);
    memcpy(m->literal, text, n);
    return MN_OK;
}

enum mn_status matcher_read(struct matcher *matcher, const struct json_doc *doc, const char *key,
                            const struct cJSON *node, const struct mn_log *log)
{
    const struct cJSON *pattern;
    const char *text;
    *matcher = (struct matcher){0};
    enum mn_status status = json_get_object(doc, node, "pattern", &pattern);
    if (status)
        return status;
    if (json_find(pattern, "String")) {
        status = json_get_string(doc, pattern, "String", MATCHER_LITERAL_BYTES_MAX, &text);
        return status ? status : literal_create(matcher, doc, key, text, log);
    }
    if (!json_find(pattern, "Regex"))
        return log_fail(log, MN_ERR_UNSUPPORTED, "%s: key '%s': a pattern that is neither Regex nor String", doc->file,
                        key);
    /* The cap is checked with the pattern, where the message can name it. */
    status = json_get_string(doc, pattern, "Regex", SIZE_MAX, &text);
    return status ? status : matcher_create(matcher, doc->file, key, text, strlen(text), log);
}

void matcher_destroy(struct matcher *matcher)
{
    if (!matcher)
        return;
    free(matcher->literal);
    regex_destroy(&matcher->regex);
    *matcher = (struct matcher){0};
}

/* --- searching -------------------------------------------------------------------------------------------------- */

void matcher_run_init(struct matcher_run *run, size_t n_bytes)
{
    *run = (struct matcher_run){0};
    run->regex.max_steps = STEPS_BASE + (uint64_t)n_bytes * STEPS_PER_BYTE;
}

void matcher_run_finish(struct matcher_run *run)
{
    if (!run)
        return;
    regex_run_finish(&run->regex);
    *run = (struct matcher_run){0};
}

/* Tries the pattern at exactly text[at]; *end is SIZE_MAX when it does not match there. */
static enum mn_status match_at(struct matcher_run *run, const struct matcher *m, const char *text, size_t n_bytes,
                               size_t at, size_t *end, const struct mn_log *log)
{
    *end = SIZE_MAX;
    switch (regex_match(&m->regex, &run->regex, text, n_bytes, at, end)) {
    case REGEX_FOUND:
    case REGEX_NONE: return MN_OK;
    case REGEX_STEPS:
        return log_fail(log, MN_ERR_UNSUPPORTED,
                        "tokenizer: the pattern '%s' of tokenizer.json reached its limit of %" PRIu64
                        " steps for this text, at byte %zu of a piece of %zu",
                        m->head, run->regex.max_steps, at, n_bytes);
    case REGEX_STACK:
        return log_fail(log, MN_ERR_UNSUPPORTED,
                        "tokenizer: the pattern '%s' of tokenizer.json reached its limit of %d MiB of memory, "
                        "at byte %zu of a piece of %zu",
                        m->head, REGEX_STACK_BYTES_MAX >> 20, at, n_bytes);
    case REGEX_MEMORY: break;
    }
    return log_fail(log, MN_ERR_MEMORY, "tokenizer: out of memory for matching");
}

static void literal_next(const struct matcher *m, const char *text, size_t n_bytes, struct match *match)
{
    size_t at = match->end;
    while (n_bytes - at >= m->n_literal) {
        const char *found = memchr(text + at, m->literal[0], n_bytes - at - m->n_literal + 1);
        if (!found)
            break;
        at = (size_t)(found - text);
        if (!memcmp(found, m->literal, m->n_literal)) {
            *match = (struct match){at, at + m->n_literal, at + m->n_literal};
            return;
        }
        at++;
    }
    match->start = match->end = SIZE_MAX;
}

/* Oniguruma's iterator as the Hugging Face library uses it: an empty match right after a match is skipped by one
 * character. */
enum mn_status matcher_next(struct matcher_run *run, const struct matcher *matcher, const char *text, size_t n_bytes,
                            struct match *match, const struct mn_log *log)
{
    if (matcher->literal) {
        literal_next(matcher, text, n_bytes, match);
        return MN_OK;
    }
    for (size_t at = match->end; at <= n_bytes;) {
        size_t end;
        enum mn_status status = match_at(run, matcher, text, n_bytes, at, &end, log);
        if (status)
            return status;
        if (end != SIZE_MAX && !(end == at && match->last_end == at)) {
            *match = (struct match){at, end, end};
            return MN_OK;
        }
        do
            at++;
        while (at < n_bytes && ((unsigned char)text[at] & 0xc0) == 0x80);
    }
    match->start = match->end = SIZE_MAX;
    return MN_OK;
}
