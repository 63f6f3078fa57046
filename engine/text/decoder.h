/* Decoder: what the tokens of a text say, one behind the other.
 *
 * Owns: the `decoder` object of a tokenizer.json: ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace and
 * sequences of them; what each token says by itself; the text of a row of tokens, which may come one by one. Never:
 * knows ids, skips special tokens. Thread-safety: `struct decoder` is immutable after reading. A `struct decode_state`
 * belongs to one thread.
 *
 * A text comes about in three stages, and a file whose steps do not fit them is refused: steps on each token by itself
 * (Replace, Strip, Metaspace), which are applied when the file is read; then bytes become characters (ByteLevel, or
 * ByteFallback); then, behind ByteLevel or Fuse, Strip at the beginning of the whole text. */
#ifndef MUNINN_ENGINE_TEXT_DECODER_H
#define MUNINN_ENGINE_TEXT_DECODER_H

#include "engine/base/status.h"
#include "engine/files/json.h"
#include "engine/text/bpe.h"
#include "engine/text/normalizer.h"
#include "engine/text/pretokenizer.h"

enum {
    DECODER_STEPS_MAX = 8,
    DECODER_STRIP_MAX = 1024,
    /* Bytes that fell back, in a row, before they are judged: the HF library judges a row of any length as a whole. */
    DECODER_RUN_MAX = 1024,
};

enum decoder_kind { DECODER_REPLACE, DECODER_STRIP, DECODER_METASPACE };

/* At most `n` of one character are taken away at the beginning. */
struct strip {
    char character[5];
    uint32_t n;
};

struct decoder_step {
    enum decoder_kind kind;
    struct matcher matcher; /* Replace */
    char *content;
    struct strip strip;         /* Strip */
    struct metaspace metaspace; /* Metaspace */
};

/* Zeroed is a valid empty one for decoder_destroy. */
struct decoder {
    struct decoder_step steps[DECODER_STEPS_MAX]; /* on each token */
    uint32_t n_steps;
    bool byte_level, byte_fallback;
    struct strip strip; /* of the whole text */
};

/* What a token says. */
struct spelling {
    const char *bytes;
    uint32_t n_bytes;
    int16_t byte; /* with ByteFallback: the byte that it stands for, else -1 */
};

/* Reads the `decoder` value. MN_ERR_UNSUPPORTED: another type, or an order that does not fit the stages. */
enum mn_status decoder_read(struct decoder *decoder, const struct json_doc *doc, const struct mn_log *log);
void decoder_destroy(struct decoder *decoder);

/* Does the first token of a text say something else than a later one? */
bool decoder_minds_first(const struct decoder *decoder);

/* Appends what a token says to *out; *byte as in struct spelling. MN_ERR_UNSUPPORTED: a pattern reached its limit.
 * MN_ERR_MEMORY. */
enum mn_status decoder_spell(const struct decoder *decoder, const struct bpe *bpe, struct matcher_run *run,
                             const char *token, bool is_first, struct text_buffer *out, int16_t *byte,
                             const struct mn_log *log);

/* Where a text stands. */
struct decode_state {
    uint32_t n_strip; /* characters that may still be taken away from the beginning */
    bool has_tokens;
    uint8_t n_pending; /* bytes of an incomplete sequence */
    char pending[4];
    uint32_t n_run; /* bytes that fell back */
    char run[DECODER_RUN_MAX];
};

void decode_start(struct decode_state *state, const struct decoder *decoder);

/* Writes what can be said now to `out` and returns its length, at most 3 * (n_bytes + 1) and 3 * n_run more. Always
 * whole characters: each maximal malformed sequence, or each byte of a malformed row of bytes that fell back, becomes
 * one U+FFFD. */
size_t decode_push(struct decode_state *state, const struct decoder *decoder, const struct spelling *spelling,
                   char *out);

/* The end: what was held back. At most 3 * (n_run + 1) bytes. */
size_t decode_finish(struct decode_state *state, const struct decoder *decoder, char *out);

#endif
