#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/text/pretokenizer.h"

#include <pcre2.h>
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
static const uint32_t tier_limits[PRETOKENIZER_TIERS] = {1000, 100000, 10000000};

/* GPT-2's pattern, which ByteLevel applies with use_regex. */
static const char gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* --- reading ---------------------------------------------------------------------------------------------------- */

/* Oniguruma's ^ and $ always mean lines. ANCHORED: the search loop is ours, so that every attempt has a limit. */
static enum mn_status pattern_compile(pcre2_code **out, const char *file, const char *translated,
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
                    "%s: key 'pre_tokenizer': pattern: %s", file, text);
}

static enum mn_status pattern_add(struct pretokenizer *p, const char *file, const char *pattern, size_t n_bytes,
                                  const struct mn_log *log)
{
    const char *why = NULL;
    size_t at = 0;
    if (p->n_patterns == PRETOKENIZER_STEPS_MAX)
        return log_fail(log, MN_ERR_UNSUPPORTED, "%s: key 'pre_tokenizer': more than %d steps", file,
                        PRETOKENIZER_STEPS_MAX);
    if (n_bytes > PRETOKENIZER_PATTERN_BYTES_MAX)
        return log_fail(log, MN_ERR_FORMAT, "%s: key 'pre_tokenizer': a pattern of %zu bytes, limit %d", file, n_bytes,
                        PRETOKENIZER_PATTERN_BYTES_MAX);
    char *translated = pattern_translate(pattern, n_bytes, &why, &at);
    if (!translated && why)
        return log_fail(log, MN_ERR_UNSUPPORTED, "%s: key 'pre_tokenizer': pattern, offset %zu: %s", file, at, why);
    enum mn_status status = MN_OK;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!translated || !context || pcre2_set_newline(context, PCRE2_NEWLINE_LF))
        status = log_fail(log, MN_ERR_MEMORY, "%s: out of memory for the pre-tokenizer pattern", file);
    if (!status)
        status = pattern_compile(&p->patterns[p->n_patterns], file, translated, context, log);
    if (!status)
        p->n_patterns++;
    pcre2_compile_context_free(context);
    free(translated);
    return status;
}

static enum mn_status limits_init(struct pretokenizer *p, const char *file, const struct mn_log *log)
{
    for (int i = 0; i < PRETOKENIZER_TIERS; i++) {
        p->tiers[i] = pcre2_match_context_create(NULL);
        if (!p->tiers[i])
            return log_fail(log, MN_ERR_MEMORY, "%s: out of memory for the pre-tokenizer", file);
        pcre2_set_match_limit(p->tiers[i], tier_limits[i]);
        pcre2_set_depth_limit(p->tiers[i], DEPTH_LIMIT);
        pcre2_set_heap_limit(p->tiers[i], HEAP_LIMIT_KIB);
    }
    return MN_OK;
}

enum mn_status pretokenizer_from_pattern(struct pretokenizer *pretokenizer, const char *file, const char *pattern,
                                         size_t n_bytes, const struct mn_log *log)
{
    *pretokenizer = (struct pretokenizer){0};
    enum mn_status status = limits_init(pretokenizer, file, log);
    if (!status)
        status = pattern_add(pretokenizer, file, pattern, n_bytes, log);
    if (status)
        pretokenizer_destroy(pretokenizer);
    pretokenizer->n_split_patterns = pretokenizer->n_patterns;
    return status;
}

static enum mn_status split_read(struct pretokenizer *p, const struct json_doc *doc, const struct cJSON *node,
                                 const struct mn_log *log)
{
    const struct cJSON *pattern;
    const char *regex, *behavior;
    bool invert;
    enum mn_status status = json_get_string(doc, node, "behavior", 64, &behavior);
    if (!status)
        status = json_get_bool_or(doc, node, "invert", false, &invert);
    if (!status)
        status = json_get_object(doc, node, "pattern", &pattern);
    if (status)
        return status;
    if (strcmp(behavior, "Isolated") || invert)
        return json_refuse(doc, MN_ERR_UNSUPPORTED, "pre_tokenizer.behavior", json_find(node, "behavior"),
                           "only Isolated without invert is supported");
    if (!json_find(pattern, "Regex"))
        return json_refuse(doc, MN_ERR_UNSUPPORTED, "pre_tokenizer.pattern.Regex", NULL,
                           "only Regex patterns are supported");
    /* The cap is checked with the pattern, where the message can name it. */
    status = json_get_string(doc, pattern, "Regex", SIZE_MAX, &regex);
    return status ? status : pattern_add(p, doc->file, regex, strlen(regex), log);
}

static enum mn_status byte_level_read(struct pretokenizer *p, const struct json_doc *doc, const struct cJSON *node,
                                      const struct mn_log *log)
{
    bool use_regex;
    p->n_split_patterns = p->n_patterns;
    enum mn_status status = json_get_bool(doc, node, "add_prefix_space", &p->add_prefix_space);
    if (!status)
        status = json_get_bool_or(doc, node, "use_regex", true, &use_regex);
    if (!status && use_regex)
        status = pattern_add(p, doc->file, gpt2_pattern, sizeof gpt2_pattern - 1, log);
    return status;
}

static enum mn_status step_read(struct pretokenizer *p, const struct json_doc *doc, const struct cJSON *node,
                                bool *has_byte_level, const struct mn_log *log)
{
    const char *type;
    enum mn_status status = json_get_string(doc, node, "type", 64, &type);
    if (status)
        return status;
    if (*has_byte_level)
        return json_refuse(doc, MN_ERR_UNSUPPORTED, "pre_tokenizer.type", json_find(node, "type"),
                           "no step may follow ByteLevel");
    if (!strcmp(type, "Split"))
        return split_read(p, doc, node, log);
    if (strcmp(type, "ByteLevel"))
        return json_refuse(doc, MN_ERR_UNSUPPORTED, "pre_tokenizer.type", json_find(node, "type"),
                           "only Split and ByteLevel are supported");
    *has_byte_level = true;
    return byte_level_read(p, doc, node, log);
}

/* A sequence of steps, or one step without a sequence around it. */
static enum mn_status steps_read(struct pretokenizer *p, const struct json_doc *doc, const struct cJSON *node,
                                 bool *has_byte_level, const struct mn_log *log)
{
    const struct cJSON *steps, *step, *type = json_find(node, "type");
    if (!cJSON_IsString(type) || strcmp(type->valuestring, "Sequence"))
        return step_read(p, doc, node, has_byte_level, log);
    enum mn_status status = json_get_array(doc, node, "pretokenizers", &steps);
    if (status)
        return status;
    cJSON_ArrayForEach (step, steps) {
        status = step_read(p, doc, step, has_byte_level, log);
        if (status)
            return status;
    }
    return MN_OK;
}

enum mn_status pretokenizer_read(struct pretokenizer *pretokenizer, const struct json_doc *doc,
                                 const struct cJSON *node, const struct mn_log *log)
{
    bool has_byte_level = false;
    *pretokenizer = (struct pretokenizer){0};
    enum mn_status status = limits_init(pretokenizer, doc->file, log);
    if (!status && !cJSON_IsObject(node))
        status = json_refuse(doc, MN_ERR_UNSUPPORTED, "pre_tokenizer", node, "a byte-level pre-tokenizer is required");
    if (!status)
        status = steps_read(pretokenizer, doc, node, &has_byte_level, log);
    if (!status && !has_byte_level)
        status = json_refuse(doc, MN_ERR_UNSUPPORTED, "pre_tokenizer", node, "a ByteLevel step is required");
    if (status)
        pretokenizer_destroy(pretokenizer);
    return status;
}

void pretokenizer_destroy(struct pretokenizer *pretokenizer)
{
    if (!pretokenizer)
        return;
    for (uint32_t i = 0; i < pretokenizer->n_patterns; i++)
        pcre2_code_free(pretokenizer->patterns[i]);
    for (int i = 0; i < PRETOKENIZER_TIERS; i++)
        pcre2_match_context_free(pretokenizer->tiers[i]);
    *pretokenizer = (struct pretokenizer){0};
}

/* --- splitting -------------------------------------------------------------------------------------------------- */

enum mn_status pretokenizer_run_init(struct pretokenizer_run *run, const struct pretokenizer *pretokenizer,
                                     size_t n_bytes, const struct mn_log *log)
{
    *run = (struct pretokenizer_run){.pretokenizer = pretokenizer};
    run->budget = BUDGET_BASE + (uint64_t)n_bytes * BUDGET_PER_BYTE;
    run->match = pcre2_match_data_create(1, NULL);
    if (!run->match)
        return log_fail(log, MN_ERR_MEMORY, "tokenizer: out of memory for the pre-tokenizer");
    return MN_OK;
}

void pretokenizer_run_finish(struct pretokenizer_run *run)
{
    if (!run)
        return;
    pcre2_match_data_free(run->match);
    *run = (struct pretokenizer_run){0};
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
static enum mn_status match_at(struct pretokenizer_run *run, uint32_t i_pattern, const char *text, size_t n_bytes,
                               size_t at, size_t *end, const struct mn_log *log)
{
    const struct pretokenizer *p = run->pretokenizer;
    int result = PCRE2_ERROR_MATCHLIMIT;
    for (int tier = 0; tier < PRETOKENIZER_TIERS && result == PCRE2_ERROR_MATCHLIMIT; tier++) {
        if (tier > 0) {
            if (run->budget < tier_limits[tier])
                break;
            run->budget -= tier_limits[tier];
        }
        run->n_operations++;
        result = pcre2_match(p->patterns[i_pattern], (PCRE2_SPTR)text, n_bytes, at, PCRE2_NO_UTF_CHECK, run->match,
                             p->tiers[tier]);
    }
    *end = SIZE_MAX;
    if (result == PCRE2_ERROR_NOMATCH)
        return MN_OK;
    if (result < 0)
        return log_fail(log, MN_ERR_MEMORY,
                        "tokenizer: the pre-tokenizer pattern reached %s (PCRE2 error %d) at byte "
                        "%zu of a piece of %zu",
                        limit_name(result), result, at, n_bytes);
    *end = pcre2_get_ovector_pointer(run->match)[1];
    return MN_OK;
}

struct split_state {
    struct pretokenizer_run *run;
    pretokenizer_sink *sink;
    void *user;
    const struct mn_log *log;
};

static enum mn_status split_from(const struct split_state *s, uint32_t i_pattern, const char *text, size_t n_bytes);

/* Between the Split steps and ByteLevel's own pattern. */
static enum mn_status split_prefixed(const struct split_state *s, const char *text, size_t n_bytes)
{
    char *prefixed = malloc(n_bytes + 1);
    if (!prefixed)
        return log_fail(s->log, MN_ERR_MEMORY, "tokenizer: out of memory for a piece of %zu bytes", n_bytes);
    prefixed[0] = ' ';
    memcpy(prefixed + 1, text, n_bytes);
    enum mn_status status = split_from(s, s->run->pretokenizer->n_split_patterns, prefixed, n_bytes + 1);
    free(prefixed);
    return status;
}

/* Hands a piece that pattern `i_pattern - 1` isolated to the next pattern. */
static enum mn_status split_next(const struct split_state *s, uint32_t i_pattern, const char *text, size_t n_bytes)
{
    const struct pretokenizer *p = s->run->pretokenizer;
    if (!n_bytes)
        return MN_OK;
    if (i_pattern == p->n_split_patterns && p->add_prefix_space && text[0] != ' ')
        return split_prefixed(s, text, n_bytes);
    return split_from(s, i_pattern, text, n_bytes);
}

/* Isolated: every match is a piece, and so is every gap between matches. The search is Oniguruma's iterator as the
 * Hugging Face library uses it: an empty match right after a match is skipped by one character. The recursion is as
 * deep as there are patterns. */
static enum mn_status split_from(const struct split_state *s, uint32_t i_pattern, const char *text, size_t n_bytes)
{
    if (i_pattern == s->run->pretokenizer->n_patterns)
        return s->sink(s->user, text, n_bytes);

    size_t piece = 0; /* start of what has not been handed on */
    size_t last_end = SIZE_MAX;
    for (size_t at = 0; at <= n_bytes;) {
        size_t end;
        enum mn_status status = match_at(s->run, i_pattern, text, n_bytes, at, &end, s->log);
        if (status)
            return status;
        if (end == SIZE_MAX || (end == at && last_end == at)) {
            do
                at++;
            while (at < n_bytes && ((unsigned char)text[at] & 0xc0) == 0x80);
            continue;
        }
        status = split_next(s, i_pattern + 1, text + piece, at - piece);
        if (!status)
            status = split_next(s, i_pattern + 1, text + at, end - at);
        if (status)
            return status;
        piece = at = last_end = end;
    }
    return split_next(s, i_pattern + 1, text + piece, n_bytes - piece);
}

enum mn_status pretokenizer_split(struct pretokenizer_run *run, const char *text, size_t n_bytes,
                                  pretokenizer_sink *sink, void *user, const struct mn_log *log)
{
    const struct split_state state = {run, sink, user, log};
    return split_next(&state, 0, text, n_bytes);
}
