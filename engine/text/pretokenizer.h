/* Pre-tokenizer: cuts text into the pieces that BPE may not merge across.
 *
 * Owns: the `pre_tokenizer` object of a tokenizer.json: any number of Split{Regex, Isolated} steps, then one ByteLevel;
 *       and the limits on matching their patterns, which pattern.h translates.
 * Never: merges, knows ids or added tokens, matches a pattern that cannot be translated exactly.
 * Thread-safety: `struct pretokenizer` is immutable after reading; every thread splits with its own
 *       `struct pretokenizer_run`.
 *
 * Patterns come from model files and are hostile: their length is capped, and matching uses PCRE2's interpreter, whose
 * match, depth and heap limits are exact (the JIT ignores two of them and counts the third differently). A pattern that
 * reaches a limit is an error, never a different cut. What the limits bound is the number of backtracking steps: one
 * step may still scan a whole line, so a built pattern can cost steps times the length of the text.
 */
#ifndef MUNINN_ENGINE_TEXT_PRETOKENIZER_H
#define MUNINN_ENGINE_TEXT_PRETOKENIZER_H

#include "engine/base/status.h"
#include "engine/files/json.h"

enum {
    PRETOKENIZER_STEPS_MAX = 8,
    PRETOKENIZER_PATTERN_BYTES_MAX = 8192, /* Huginn's has 800 */
    PRETOKENIZER_TIERS = 3,                /* match limits tried in turn, see pretokenizer.c */
};

/* One Split step or the pattern of ByteLevel. Zeroed is a valid empty one. */
struct pretokenizer {
    struct pcre2_real_code_8 *patterns[PRETOKENIZER_STEPS_MAX];
    uint32_t n_patterns;
    uint32_t n_split_patterns; /* the first of them run before ByteLevel's prefix space, the rest after it */
    struct pcre2_real_match_context_8 *tiers[PRETOKENIZER_TIERS];
    bool add_prefix_space;
};

/* One thread's state for one text. Zeroed is empty. */
struct pretokenizer_run {
    const struct pretokenizer *pretokenizer;
    struct pcre2_real_match_data_8 *match;
    uint64_t budget;       /* backtracking steps left for this text */
    uint64_t n_operations; /* match attempts so far; tests bound it */
};

/* Receives the pieces in order; none is empty. Returning an error ends the split with it. */
typedef enum mn_status pretokenizer_sink(void *user, const char *piece, size_t n_bytes);

/* Reads the `pre_tokenizer` value. MN_ERR_UNSUPPORTED: another type, behaviour or construct, named in the message.
 * MN_ERR_FORMAT: malformed, or a pattern over the cap. */
enum mn_status pretokenizer_read(struct pretokenizer *pretokenizer, const struct json_doc *doc,
                                 const struct cJSON *node, const struct mn_log *log);

/* A single Split step without a file. `file` is only the name for messages. */
enum mn_status pretokenizer_from_pattern(struct pretokenizer *pretokenizer, const char *file, const char *pattern,
                                         size_t n_bytes, const struct mn_log *log);
void pretokenizer_destroy(struct pretokenizer *pretokenizer);

/* Starts a text of n_bytes in all; it may be split in several calls. */
enum mn_status pretokenizer_run_init(struct pretokenizer_run *run, const struct pretokenizer *pretokenizer,
                                     size_t n_bytes, const struct mn_log *log);
void pretokenizer_run_finish(struct pretokenizer_run *run);

/* Cuts valid UTF-8. MN_ERR_MEMORY: out of memory, or the pattern reached a limit. */
enum mn_status pretokenizer_split(struct pretokenizer_run *run, const char *text, size_t n_bytes,
                                  pretokenizer_sink *sink, void *user, const struct mn_log *log);

#endif
