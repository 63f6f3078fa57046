/* What the files of the tokenizer share: tokenizer.c (encoding and decoding), tokenizer_load.c (reading tokenizer.json)
 * and chat.c (conversations). Everybody else includes tokenizer.h.
 */
#ifndef MUNINN_ENGINE_TEXT_TOKENIZER_INTERNAL_H
#define MUNINN_ENGINE_TEXT_TOKENIZER_INTERNAL_H

#include "engine/text/bpe.h"
#include "engine/text/decoder.h"
#include "engine/text/normalizer.h"
#include "engine/text/post_processor.h"
#include "engine/text/pretokenizer.h"
#include "engine/text/tokenizer.h"

struct added_token {
    const char *content; /* into tokenizer.text, or own when normalization changed it */
    char *normalized;    /* owned, or NULL */
    uint32_t n_bytes;
    uint32_t id;
    bool special, single_word, lstrip, rstrip;
};

/* Added tokens sorted by content. */
struct added_list {
    struct added_token *tokens;
    uint32_t n;
};

struct token {
    const char *content;       /* NULL: a hole */
    bool special, plain_added; /* plain_added: an added token without strip or word flags */
};

struct tokenizer {
    struct bpe bpe;
    struct normalizer normalizer;
    struct pretokenizer pretokenizer;
    struct decoder decoder;
    struct begin_token begin;
    struct token *tokens; /* [n_tokens] by id */
    uint32_t n_tokens;
    char *text;                       /* contents of added tokens */
    struct spelling *spellings;       /* [n_tokens] what they say */
    struct spelling *first_spellings; /* the same at the beginning of a text; NULL: no difference */
    struct text_buffer spelled;       /* of all spellings */
    /* Looked for in the text as given, then, in what remains and is normalized, the second. */
    struct added_list verbatim, normalized;
};

/* Texts on their way to one list of ids. */
struct encode_run {
    const struct tokenizer *tokenizer;
    enum encode_mode mode;
    const struct mn_log *log;
    struct id_vector ids;
    struct bpe_scratch scratch;
    struct pretokenizer_run split;
};

/* Starts texts of n_bytes in all. Whatever the result, end with encode_finish. */
void encode_init(struct encode_run *run, const struct tokenizer *tokenizer, size_t n_bytes, enum encode_mode mode,
                 const struct mn_log *log);
enum mn_status encode_text(struct encode_run *run, const char *text, size_t n_bytes);
/* Hands over the ids, or frees them when `status` is a failure; returns `status`. */
enum mn_status encode_finish(struct encode_run *run, enum mn_status status, uint32_t **ids, size_t *n_ids);

#endif
