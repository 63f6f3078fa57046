/* Pre-tokenizer: cuts text into the pieces that BPE may not merge across.
 *
 * Owns: the `pre_tokenizer` object of a tokenizer.json: Split, Digits, Metaspace, ByteLevel and sequences of them.
 * Never: merges, knows ids or added tokens, spells bytes as characters (bpe.h does).
 * Thread-safety: `struct pretokenizer` is immutable after reading; every thread splits with its own
 *       `struct pretokenizer_run`.
 *
 * Steps run one behind the other on the pieces of the step before. What is understood is in docs/tokenizers.md. */
#ifndef MUNINN_ENGINE_TEXT_PRETOKENIZER_H
#define MUNINN_ENGINE_TEXT_PRETOKENIZER_H

#include "engine/base/status.h"
#include "engine/files/json.h"
#include "engine/text/matcher.h"

enum { PRETOKENIZER_STEPS_MAX = 8 };

enum step_kind { STEP_SPLIT, STEP_DIGITS, STEP_METASPACE, STEP_BYTE_LEVEL };

/* What becomes of the stretches that match. In the order of the names in pretokenizer.c. */
enum split_behavior {
    SPLIT_ISOLATED,
    SPLIT_REMOVED,
    SPLIT_MERGED_WITH_PREVIOUS,
    SPLIT_MERGED_WITH_NEXT,
    SPLIT_CONTIGUOUS
};

/* When Metaspace puts its character in front. In the order of the names in metaspace.c. */
enum prepend_scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };

/* Metaspace's members, which the pre-tokenizer and the decoder of that name share. */
struct metaspace {
    char replacement[5]; /* one character, zero-terminated */
    enum prepend_scheme scheme;
    bool split;
};

struct pretokenizer_step {
    enum step_kind kind;
    enum split_behavior behavior; /* of Split and Digits */
    bool invert;                  /* Split: what does not match is what matches */
    bool add_prefix_space;        /* ByteLevel */
    bool has_pattern;             /* Split, and ByteLevel with use_regex */
    struct matcher matcher;
    struct metaspace metaspace;
};

/* Zeroed is a valid empty one: it leaves a text in one piece. */
struct pretokenizer {
    struct pretokenizer_step steps[PRETOKENIZER_STEPS_MAX];
    uint32_t n_steps;
    bool is_byte_level; /* the model spells bytes, not characters */
};

/* One thread's state for one text. Zeroed is empty. */
struct pretokenizer_run {
    const struct pretokenizer *pretokenizer;
    struct matcher_run matcher;
    bool at_start; /* what is split next begins the whole text: set by the caller */
};

/* Receives the pieces in order; none is empty. Returning an error ends the split with it. */
typedef enum mn_status pretokenizer_sink(void *user, const char *piece, size_t n_bytes);

/* Reads the `pre_tokenizer` value, of which null is an empty one. MN_ERR_UNSUPPORTED: another type, behaviour or
 * construct, named in the message. MN_ERR_FORMAT: malformed, or a pattern over the cap. */
enum mn_status pretokenizer_read(struct pretokenizer *pretokenizer, const struct json_doc *doc,
                                 const struct mn_log *log);

/* A single Split step without a file. `file` is only the name for messages. */
enum mn_status pretokenizer_from_pattern(struct pretokenizer *pretokenizer, const char *file, const char *pattern,
                                         size_t n_bytes, const struct mn_log *log);
void pretokenizer_destroy(struct pretokenizer *pretokenizer);

/* Starts a text of n_bytes in all; it may be split in several calls. */
void pretokenizer_run_init(struct pretokenizer_run *run, const struct pretokenizer *pretokenizer, size_t n_bytes);
void pretokenizer_run_finish(struct pretokenizer_run *run);

/* Cuts valid UTF-8. MN_ERR_UNSUPPORTED: a pattern reached its limit. MN_ERR_MEMORY. */
enum mn_status pretokenizer_split(struct pretokenizer_run *run, const char *text, size_t n_bytes,
                                  pretokenizer_sink *sink, void *user, const struct mn_log *log);

/* Metaspace's members, in either of its roles; `key` names it. */
enum mn_status metaspace_read(struct metaspace *metaspace, const struct json_doc *doc, const char *key,
                              const struct cJSON *node, const struct mn_log *log);

#endif
