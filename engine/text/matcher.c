#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/text/matcher.h"

#include <pcre2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/pattern.h"

enum {
    DEPTH_LIMIT = 250000,
    HEAP_LIMIT_KIB = 65536,
    BUDGET_BASE = 50000000,
    BUDGET_PER_BYTE = 1000,
};

/* Oniguruma itself gives up at 10 million steps. Lower limits are tried first only to learn, roughly, what an attempt
 * cost: PCRE2 does not tell. Attempts beyond the first tier are charged to the budget of the text, which an honest
 * pattern, linear in its match, cannot exhaust. */
static const uint32_t tier_limits[MATCHER_TIERS] = {1000, 100000, 10000000};

/* --- creation --------------------------------------------------------------------------------------------------- */

/* Oniguruma's ^ and $ always mean lines. ANCHORED: the search loop is ours, so that every attempt has a limit. */
static enum mn_status pattern_compile(pcre2_code **out, const char *file, const char *key, const char *translated,
                                      pcre2_compile_context *context, const struct mn_log *log)
{
    int error;
    PCRE2_SIZE offset;
    *out = pcre2_compile((PCRE2_SPTR)translated, strlen(translated),
                         PCRE2_UTF | PCRE2_MULTILINE | PCRE2_ANCHORED | PCRE2_NEVER_BACKSLASH_C |
                             PCRE2_NO_START_OPTIMIZE,
                         &error, &offset, context);
    if (*out)
        return MN_OK;
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
    enum mn_status status = MN_OK;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!translated || !context || pcre2_set_newline(context, PCRE2_NEWLINE_LF))
        status = log_fail(log, MN_ERR_MEMORY, "%s: key '%s': out of memory for a pattern", file, key);
    if (!status)
        status = pattern_compile(&m->code, file, key, translated, context, log);
    pcre2_compile_context_free(context);
    free(translated);
    return status;
}

static enum mn_status limits_init(struct matcher *m, const char *file, const char *key, const struct mn_log *log)
{
    for (int i = 0; i < MATCHER_TIERS; i++) {
        m->tiers[i] = pcre2_match_context_create(NULL);
        if (!m->tiers[i])
            return log_fail(log, MN_ERR_MEMORY, "%s: key '%s': out of memory for a pattern", file, key);
        pcre2_set_match_limit(m->tiers[i], tier_limits[i]);
        pcre2_set_depth_limit(m->tiers[i], DEPTH_LIMIT);
        pcre2_set_heap_limit(m->tiers[i], HEAP_LIMIT_KIB);
    }
    return MN_OK;
}

enum mn_status matcher_create(struct matcher *matcher, const char *file, const char *key, const char *pattern,
                              size_t n_bytes, const struct mn_log *log)
{
    *matcher = (struct matcher){0};
    enum mn_status status = limits_init(matcher, file, key, log);
    if (!status)
        status = pattern_read(matcher, file, key, pattern, n_bytes, log);
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
    pcre2_code_free(matcher->code);
    for (int i = 0; i < MATCHER_TIERS; i++)
        pcre2_match_context_free(matcher->tiers[i]);
    *matcher = (struct matcher){0};
}

/* --- searching -------------------------------------------------------------------------------------------------- */

enum mn_status matcher_run_init(struct matcher_run *run, size_t n_bytes, const struct mn_log *log)
{
    *run = (struct matcher_run){.budget = BUDGET_BASE + (uint64_t)n_bytes * BUDGET_PER_BYTE};
    run->match = pcre2_match_data_create(1, NULL);
    if (!run->match)
        return log_fail(log, MN_ERR_MEMORY, "tokenizer: out of memory for matching");
    return MN_OK;
}

void matcher_run_finish(struct matcher_run *run)
{
    if (!run)
        return;
    pcre2_match_data_free(run->match);
    *run = (struct matcher_run){0};
}

static const char *limit_name(int error)
{
    switch (error) {
    case PCRE2_ERROR_MATCHLIMIT: return "its limit on steps";
    case PCRE2_ERROR_DEPTHLIMIT: return "its limit on depth";
    case PCRE2_ERROR_HEAPLIMIT: return "its limit on memory";
    case PCRE2_ERROR_NOMEMORY: return "the end of memory";
    default: return "an error of the matcher";
    }
}

/* Tries the pattern at exactly text[at]; *end is SIZE_MAX when it does not match there. */
static enum mn_status match_at(struct matcher_run *run, const struct matcher *m, const char *text, size_t n_bytes,
                               size_t at, size_t *end, const struct mn_log *log)
{
    int result = PCRE2_ERROR_MATCHLIMIT;
    for (int tier = 0; tier < MATCHER_TIERS && result == PCRE2_ERROR_MATCHLIMIT; tier++) {
        if (tier > 0) {
            if (run->budget < tier_limits[tier])
                break;
            run->budget -= tier_limits[tier];
        }
        run->n_operations++;
        result = pcre2_match(m->code, (PCRE2_SPTR)text, n_bytes, at, PCRE2_NO_UTF_CHECK, run->match, m->tiers[tier]);
    }
    *end = SIZE_MAX;
    if (result == PCRE2_ERROR_NOMATCH)
        return MN_OK;
    if (result < 0)
        return log_fail(log, MN_ERR_MEMORY,
                        "tokenizer: a pattern of tokenizer.json reached %s (PCRE2 error %d) at byte %zu of a piece "
                        "of %zu",
                        limit_name(result), result, at, n_bytes);
    *end = pcre2_get_ovector_pointer(run->match)[1];
    return MN_OK;
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
