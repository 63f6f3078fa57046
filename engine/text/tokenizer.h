/* Tokenizer: text to token ids and back, from a Hugging Face tokenizer.json with BPE over bytes or characters.
 *
 * Owns: the tokenizer.json of a model (added tokens in tokenizer_load.c, `model` in bpe.h, `normalizer`,
 * `pre_tokenizer`, `decoder` and `post_processor` in the headers of these names), encoding, decoding whole and token by
 * token, and the chat template of the Huginn models (chat.c). Never: adds tokens by itself (`truncation` and `padding`
 * are read by nobody; a begin token is in the text or put there by the caller, who asks tokenizer_begin_token), runs
 * templates from files, knows Vulkan, gives a guess instead of a refusal: what is not understood is named in the
 * message (docs/tokenizers.md). Thread-safety: a tokenizer is immutable after creation; any number of threads may
 * encode and decode with it. A stream decoder belongs to one thread.
 *
 * Ids and texts equal those of the Hugging Face tokenizers library, with `add_special_tokens` off.
 */
#ifndef MUNINN_ENGINE_TEXT_TOKENIZER_H
#define MUNINN_ENGINE_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "engine/text/decoder.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TOKENIZER_FILE_BYTES_MAX = 64 * 1048576,
    TOKENIZER_TEXT_BYTES_MAX = 64 * 1048576, /* one text to encode */
    TOKENIZER_TOKEN_BYTES_MAX = 2048,        /* one token */
};

struct tokenizer;

/* Reads a tokenizer.json. MN_ERR_FILE: unreadable. MN_ERR_FORMAT: malformed. MN_ERR_UNSUPPORTED: a part
 * of a type that is not understood. MN_ERR_MEMORY.
 * *out is NULL on failure. The caller ends it with tokenizer_destroy. */
enum mn_status tokenizer_create(struct tokenizer **out, const char *path, const struct mn_log *log);

/* The same from memory; `name` is used in messages. */
enum mn_status tokenizer_create_from_memory(struct tokenizer **out, const char *name, const void *json, size_t n_bytes,
                                            const struct mn_log *log);
void tokenizer_destroy(struct tokenizer *tokenizer);

enum encode_mode {
    ENCODE_SPECIAL, /* special tokens written in the text become their ids: for prompts the user controls */
    ENCODE_PLAIN,   /* they are ordinary text, and no special id can result: for text from elsewhere */
};

/* Encodes valid UTF-8 (zero bytes allowed) to *ids, which the caller frees; NULL when there are none.
 * MN_ERR_USAGE: not UTF-8, or over TOKENIZER_TEXT_BYTES_MAX. MN_ERR_MEMORY: out of memory, or a pre-token over its
 * limit. MN_ERR_UNSUPPORTED: a byte or character without a token, or a pattern that takes more than its share of
 * steps. */
enum mn_status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t n_bytes,
                                enum encode_mode mode, uint32_t **ids, size_t *n_ids, const struct mn_log *log);

/* Decodes to *text, zero-terminated (the terminator is not counted), which the caller frees. Always valid UTF-8: each
 * maximal malformed sequence becomes one U+FFFD. MN_ERR_USAGE: an id without a token. */
enum mn_status tokenizer_decode(const struct tokenizer *tokenizer, const uint32_t *ids, size_t n_ids, bool skip_special,
                                char **text, size_t *n_bytes, const struct mn_log *log);

/* Largest id + 1: the model's vocabulary must be at least this large. Ids below it may be holes. */
uint32_t tokenizer_vocab_size(const struct tokenizer *tokenizer);

/* The id of a token by its spelling in the file (bytes spelled as characters, added tokens as they are). False when
 * there is none. */
bool tokenizer_token_to_id(const struct tokenizer *tokenizer, const char *content, uint32_t *id);

/* Is this the id of an added token marked special? False for ids without a token. */
bool tokenizer_is_special(const struct tokenizer *tokenizer, uint32_t id);

/* What the file says about a token in front of a text. *is_said: it says something; then the result is whether there is
 * one, *id. */
bool tokenizer_begin_token(const struct tokenizer *tokenizer, bool *is_said, uint32_t *id);

/* --- token by token --------------------------------------------------------------------------------------------- */

/* Turns ids into text as they come, holding back a UTF-8 sequence that is not complete yet, and, where the file says
 * ByteFallback, bytes that fell back until a token of another kind comes: the whole row is text or nothing but U+FFFD.
 * All texts together are the text that tokenizer_decode gives for all ids. Allocates nothing. */
struct stream_decoder {
    const struct tokenizer *tokenizer;
    bool skip_special;
    struct decode_state state;
    char text[3 * (TOKENIZER_TOKEN_BYTES_MAX + DECODER_RUN_MAX + 4)]; /* every byte may become a U+FFFD of three */
};

void stream_decoder_init(struct stream_decoder *decoder, const struct tokenizer *tokenizer, bool skip_special);

/* *text (not zero-terminated, valid until the next call) is what can be printed now, possibly nothing.
 * MN_ERR_USAGE: an id without a token; the decoder is unchanged. */
enum mn_status stream_decoder_push(struct stream_decoder *decoder, uint32_t id, const char **text, size_t *n_bytes,
                                   const struct mn_log *log);

/* The end: U+FFFD when a sequence stayed incomplete, else nothing. The decoder is as new afterwards. */
void stream_decoder_finish(struct stream_decoder *decoder, const char **text, size_t *n_bytes);

#ifdef __cplusplus
}
#endif

#endif
