/* BPE: vocabulary, merge ranks and the merging of one pre-token.
 *
 * Owns: the `model` object of a tokenizer.json (token spellings, merges, unknown token), the alphabet that spells the
 *       256 byte values as printable characters, and the merge loop, over bytes or over characters.
 * Never: splits text into pre-tokens, knows added tokens, changes after bpe_read.
 * Thread-safety: `struct bpe` is immutable after bpe_read; every thread encodes with its own `struct bpe_scratch`.
 *
 * The result equals that of the Hugging Face tokenizers library: the merge of lowest rank first, the leftmost among
 * equal ranks. A heap over a linked list makes a pre-token of n symbols cost O(n log n), whatever the merges are. */
#ifndef MUNINN_ENGINE_TEXT_BPE_H
#define MUNINN_ENGINE_TEXT_BPE_H

#include "engine/base/status.h"
#include "engine/files/json.h"

enum {
    BPE_IDS_MAX = 1048576,         /* ids are < this: the largest published vocabularies have about 260,000 */
    BPE_MERGES_MAX = 2097152,      /* bounds the merge table to 64 MiB */
    BPE_TOKEN_BYTES_MAX = 2048,    /* spelling of one token in the file */
    BPE_PIECE_BYTES_MAX = 2097152, /* one pre-token: bounds the scratch memory to about 80 MiB */
    BPE_PROBES_MAX = 256,          /* a hash chain this long does not happen by chance: refuses built collisions */
    BPE_ALPHABET_END = 0x144,      /* the byte characters are U+0021..U+0143 */
};

#define BPE_NO_ID UINT32_MAX

struct bpe_merge {
    uint32_t left, right; /* left is BPE_NO_ID in an empty slot */
    uint32_t rank;        /* position in the file: lower merges first */
    uint32_t id;          /* the token that the pair becomes */
};

/* Zeroed is a valid empty one for bpe_destroy. */
struct bpe {
    char *spellings;   /* all spellings, each zero-terminated */
    uint32_t *offsets; /* [n_ids] into spellings; BPE_NO_ID where the vocabulary has a hole */
    uint32_t n_ids;    /* largest id + 1 */
    uint32_t *slots;   /* [slot_mask + 1] hash of spelling -> id */
    uint32_t slot_mask;
    struct bpe_merge *merges; /* [merge_mask + 1] hash of pair -> merge */
    uint32_t merge_mask;
    uint32_t n_merges;
    uint32_t byte_ids[256];     /* the token of a single byte, spelled in the byte alphabet, or BPE_NO_ID */
    uint32_t fallback_ids[256]; /* the token <0x..> of a byte, or BPE_NO_ID: all of them without byte_fallback */
    uint32_t ascii_ids[128];    /* the token of a single ASCII character, or BPE_NO_ID */
    uint64_t *crossings;        /* bits by hash: may a merge join these two characters? NULL: pieces are bytes */
    uint16_t byte_chars[256];
    int16_t char_bytes[BPE_ALPHABET_END]; /* inverse of byte_chars, -1 elsewhere */
    uint32_t unk_id;                      /* or BPE_NO_ID */
    bool fuse_unk;                        /* unknown ones in a row become one token */
    bool byte_fallback;                   /* a character without a token becomes the tokens <0x..> of its bytes */
    bool ignore_merges;                   /* a pre-token that is a token is taken whole, without looking at merges */
};

/* A growing list of ids. Zeroed is empty; free(ids) ends it. */
struct id_vector {
    uint32_t *ids;
    size_t n, capacity;
};

struct bpe_symbol;
struct bpe_candidate;

/* Working memory of the merge loop, reused from one pre-token to the next. Zeroed is empty. */
struct bpe_scratch {
    struct bpe_symbol *symbols;
    struct bpe_candidate *heap;
    size_t capacity; /* symbols: capacity, heap: 2 * capacity */
    size_t n_symbols, n_heap;
    uint64_t n_operations; /* heap moves and table probes so far; tests bound it */
};

/* Reads the `model` object. MN_ERR_FORMAT: malformed, no merges, a merge of unknown tokens, an id that is negative,
 * too large or taken twice. MN_ERR_UNSUPPORTED: another model type, byte_fallback, dropout, affixes. */
enum mn_status bpe_read(struct bpe *bpe, const struct json_doc *doc, const struct cJSON *model,
                        const struct mn_log *log);
void bpe_destroy(struct bpe *bpe);

/* From now on a piece is valid UTF-8 and its characters are looked up as they are, as no ByteLevel step spells them.
 * `file` is for the message. */
enum mn_status bpe_use_characters(struct bpe *bpe, const char *file, const struct mn_log *log);

/* The id spelled `spelling` (as in the file, bytes mapped to characters), or BPE_NO_ID. */
uint32_t bpe_find(const struct bpe *bpe, const char *spelling, size_t n_bytes);

/* The spelling of an id < n_ids, or NULL for a hole. */
const char *bpe_spelling(const struct bpe *bpe, uint32_t id);

/* The bytes a token stands for, written to `out` (at least n_bytes long); returns their number. As the Hugging Face
 * decoder does, a spelling with a character outside the byte alphabet stands for itself. */
size_t bpe_spelling_to_bytes(const struct bpe *bpe, const char *spelling, size_t n_bytes, char *out);

/* Appends the ids of one pre-token. MN_ERR_MEMORY: out of memory, or longer than BPE_PIECE_BYTES_MAX (of characters:
 * without a place that no merge crosses). MN_ERR_UNSUPPORTED: a byte or character that has neither a token nor an
 * unknown token (the HF library drops it silently). */
enum mn_status bpe_encode(const struct bpe *bpe, struct bpe_scratch *scratch, const char *piece, size_t n_bytes,
                          struct id_vector *out, const struct mn_log *log);
void bpe_scratch_destroy(struct bpe_scratch *scratch);

/* False when out of memory. */
bool id_vector_append(struct id_vector *list, uint32_t id);

#endif
