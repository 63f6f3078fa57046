/* Matcher: one pattern of a tokenizer.json, looked for in texts as Oniguruma's iterator does.
 *
 * Owns: a `pattern` object, the compiled pattern, the limits on matching it, and the search: the leftmost match, then
 * the next one behind it, empty matches included but for one right behind a match. Never: decides what a match means,
 * matches a pattern that pattern.h cannot translate exactly. Thread-safety: `struct matcher` is immutable after
 * creation; every thread searches with its own `struct matcher_run`.
 *
 * Patterns come from model files and are hostile: their length is capped, and matching uses PCRE2's interpreter, whose
 * match, depth and heap limits are exact (the JIT ignores two of them and counts the third differently). A pattern that
 * reaches a limit is an error, never a different match. What the limits bound is the number of backtracking steps: one
 * step may still scan a whole line, so a built pattern can cost steps times the length of the text.
 */
#ifndef MUNINN_ENGINE_TEXT_MATCHER_H
#define MUNINN_ENGINE_TEXT_MATCHER_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "engine/files/json.h"

enum {
    MATCHER_PATTERN_BYTES_MAX = 8192, /* Huginn's has 800 */
    MATCHER_LITERAL_BYTES_MAX = 256,  /* bounds the comparisons per byte of text */
    MATCHER_TIERS = 3,                /* match limits tried in turn, see matcher.c */
};

/* A regular expression, or a literal string. Zeroed is a valid empty one for matcher_destroy. */
struct matcher {
    char *literal; /* [n_literal], not empty; NULL for a regular expression */
    size_t n_literal;
    struct pcre2_real_code_8 *code;
    struct pcre2_real_match_context_8 *tiers[MATCHER_TIERS];
};

/* One thread's state for one text, whichever patterns are looked for in it. Zeroed is empty. */
struct matcher_run {
    struct pcre2_real_match_data_8 *match;
    uint64_t budget;       /* backtracking steps left for this text */
    uint64_t n_operations; /* match attempts so far; tests bound it */
};

/* Where a search stands. Start with MATCHER_START. */
struct match {
    size_t start, end; /* of the match; both SIZE_MAX when there is none any more */
    size_t last_end;
};

#define MATCHER_START ((struct match){.end = 0, .last_end = SIZE_MAX})

/* `file` and `key` are for messages. MN_ERR_UNSUPPORTED: a construct that is not translated, by its offset.
 * MN_ERR_FORMAT: over the cap. */
enum mn_status matcher_create(struct matcher *matcher, const char *file, const char *key, const char *pattern,
                              size_t n_bytes, const struct mn_log *log);

/* The member `pattern` of a node of a tokenizer.json: {"Regex": "..."} or {"String": "..."}. `key` names the part of
 * the file. */
enum mn_status matcher_read(struct matcher *matcher, const struct json_doc *doc, const char *key,
                            const struct cJSON *node, const struct mn_log *log);
void matcher_destroy(struct matcher *matcher);

/* Starts a text of n_bytes in all; it may be searched in several calls. */
enum mn_status matcher_run_init(struct matcher_run *run, size_t n_bytes, const struct mn_log *log);
void matcher_run_finish(struct matcher_run *run);

/* The match behind *match in valid UTF-8. MN_ERR_MEMORY: out of memory, or the pattern reached a limit. */
enum mn_status matcher_next(struct matcher_run *run, const struct matcher *matcher, const char *text, size_t n_bytes,
                            struct match *match, const struct mn_log *log);

#endif
