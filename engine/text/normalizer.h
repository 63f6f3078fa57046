/* Normalizer: what becomes of a text before it is cut into pieces.
 *
 * Owns: the `normalizer` object of a tokenizer.json: Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase and sequences of
 *       them.
 * Never: sees added tokens that are taken from the text as it is.
 * Thread-safety: `struct normalizer` is immutable after reading.
 *
 * Unicode's tables are those of utf8proc (15.0 in Debian 12). A character that only one of the two libraries knows is
 * left as it is here; docs/tokenizers.md counts them. */
#ifndef MUNINN_ENGINE_TEXT_NORMALIZER_H
#define MUNINN_ENGINE_TEXT_NORMALIZER_H

#include "engine/base/status.h"
#include "engine/files/json.h"
#include "engine/text/matcher.h"

enum {
    NORMALIZER_STEPS_MAX = 8,
    NORMALIZER_CONTENT_BYTES_MAX = 256, /* what Prepend and Replace put into the text */
    NORMALIZER_TEXT_BYTES_MAX = 256 * 1048576,
};

enum normalizer_kind { NORMALIZER_PREPEND, NORMALIZER_REPLACE, NORMALIZER_UNICODE, NORMALIZER_LOWERCASE };

struct normalizer_step {
    enum normalizer_kind kind;
    int form;      /* of NORMALIZER_UNICODE: utf8proc's options */
    char *content; /* of Prepend and Replace */
    size_t n_content;
    struct matcher matcher; /* of Replace */
};

/* Zeroed is a valid empty one: it leaves a text as it is. */
struct normalizer {
    struct normalizer_step steps[NORMALIZER_STEPS_MAX];
    uint32_t n_steps;
};

/* Reads the `normalizer` value, of which null is an empty one. MN_ERR_UNSUPPORTED: another type. */
enum mn_status normalizer_read(struct normalizer *normalizer, const struct json_doc *doc, const struct mn_log *log);
void normalizer_destroy(struct normalizer *normalizer);

/* Valid UTF-8 to a new string, not zero-terminated, that the caller frees. MN_ERR_USAGE: too many combining marks in a
 * row. MN_ERR_UNSUPPORTED: a pattern that reached its limit. MN_ERR_MEMORY: out of memory, or a result over
 * NORMALIZER_TEXT_BYTES_MAX. */
enum mn_status normalizer_apply(const struct normalizer *normalizer, struct matcher_run *run, const char *text,
                                size_t n_bytes, char **out, size_t *n_out, const struct mn_log *log);

/* A growing text. Zeroed is empty; free(bytes) ends it. */
struct text_buffer {
    char *bytes;
    size_t n, capacity;
};
enum mn_status text_buffer_append(struct text_buffer *out, const char *bytes, size_t n, const struct mn_log *log);

/* Appends `text` with every match replaced by `content`: what a decoder's Replace does, too. */
enum mn_status text_replace(struct text_buffer *out, const struct matcher *matcher, struct matcher_run *run,
                            const char *content, size_t n_content, const char *text, size_t n_bytes,
                            const struct mn_log *log);

#endif
