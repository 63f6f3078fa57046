/* Matcher: one pattern of a tokenizer.json, looked for in texts as Oniguruma's iterator does.
 *
 * Owns: a `pattern` object, the compiled pattern, the limits on matching it, and the search: the leftmost match, then
 * the next one behind it, empty matches included but for one right behind a match. Never: decides what a match means,
 * matches a pattern that pattern.h cannot translate exactly. Thread-safety: `struct matcher` is immutable after
 * creation; every thread searches with its own `struct matcher_run`.
 *
 * Patterns come from model files and are hostile: their length is capped, and a text of n bytes is granted a number of
 * steps proportional to n (regex.h says what a step is). A pattern that takes more is an error, never a different
 * match. */
#ifndef MUNINN_ENGINE_TEXT_MATCHER_H
#define MUNINN_ENGINE_TEXT_MATCHER_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "engine/files/json.h"
#include "engine/text/regex.h"

enum {
    MATCHER_PATTERN_BYTES_MAX = 8192, /* Huginn's has 800 */
    MATCHER_LITERAL_BYTES_MAX = 256,  /* bounds the comparisons per byte of text */
    MATCHER_HEAD_BYTES = 64,          /* of a pattern, for messages */
};

/* A regular expression, or a literal string. Zeroed is a valid empty one for matcher_destroy. */
struct matcher {
    char *literal; /* [n_literal], not empty; NULL for a regular expression */
    size_t n_literal;
    struct regex regex;
    char head[MATCHER_HEAD_BYTES];
};

/* One thread's state for one text, whichever patterns are looked for in it. Zeroed is empty. */
struct matcher_run {
    struct regex_run regex; /* its steps are those of the whole text; tests bound them */
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
void matcher_run_init(struct matcher_run *run, size_t n_bytes);
void matcher_run_finish(struct matcher_run *run);

/* The match behind *match in valid UTF-8. MN_ERR_UNSUPPORTED: the pattern reached a limit. MN_ERR_MEMORY. */
enum mn_status matcher_next(struct matcher_run *run, const struct matcher *matcher, const char *text, size_t n_bytes,
                            struct match *match, const struct mn_log *log);

#endif
