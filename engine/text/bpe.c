#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/text/bpe_internal.h"

bool id_vector_append(struct id_vector *list, uint32_t id)
{
    if (list->n == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 64;
        uint32_t *ids = realloc(list->ids, capacity * sizeof *ids);
        if (!ids)
            return false;
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->n++] = id;
    return true;
}

/* --- tables ---------------------------------------------------------------------------------------------------- */

static uint64_t hash_mix(uint64_t h)
{
    h ^= h >> 33;
    h *= UINT64_C(0xff51afd7ed558ccd);
    h ^= h >> 33;
    h *= UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ h >> 33;
}

uint64_t bpe_pair_hash(uint32_t left, uint32_t right)
{
    return hash_mix((uint64_t)left << 32 | right);
}

static uint64_t spelling_hash(const char *spelling, size_t n_bytes)
{
    return hash_mix(hash_bytes(HASH_START, spelling, n_bytes));
}

/* Slots for n entries at a load of at most one half, minus one: linear probing stays short. */
uint32_t bpe_table_mask(uint32_t n)
{
    uint32_t size = 16;
    while (size < 2 * n)
        size *= 2;
    return size - 1;
}

uint32_t bpe_find(const struct bpe *bpe, const char *spelling, size_t n_bytes)
{
    if (n_bytes > BPE_TOKEN_BYTES_MAX)
        return BPE_NO_ID;
    for (uint64_t slot = spelling_hash(spelling, n_bytes);; slot++) {
        uint32_t id = bpe->slots[slot & bpe->slot_mask];
        if (id == BPE_NO_ID)
            return BPE_NO_ID;
        const char *other = bpe->spellings + bpe->offsets[id];
        if (strlen(other) == n_bytes && !memcmp(other, spelling, n_bytes))
            return id;
    }
}

const char *bpe_spelling(const struct bpe *bpe, uint32_t id)
{
    assert(id < bpe->n_ids);
    return bpe->offsets[id] == BPE_NO_ID ? NULL : bpe->spellings + bpe->offsets[id];
}

bool bpe_slot_insert(struct bpe *bpe, uint32_t id, const char *spelling, size_t n_bytes)
{
    uint64_t slot = spelling_hash(spelling, n_bytes);
    for (unsigned probes = 0; probes < BPE_PROBES_MAX; probes++, slot++) {
        if (bpe->slots[slot & bpe->slot_mask] == BPE_NO_ID) {
            bpe->slots[slot & bpe->slot_mask] = id;
            return true;
        }
    }
    return false;
}

const struct bpe_merge *bpe_merge_find(const struct bpe *bpe, uint32_t left, uint32_t right, uint64_t *n_operations)
{
    for (uint64_t slot = bpe_pair_hash(left, right);; slot++) {
        const struct bpe_merge *merge = &bpe->merges[slot & bpe->merge_mask];
        ++*n_operations;
        if (merge->left == BPE_NO_ID)
            return NULL;
        if (merge->left == left && merge->right == right)
            return merge;
    }
}

bool bpe_merge_insert(struct bpe *bpe, struct bpe_merge new_merge)
{
    uint64_t slot = bpe_pair_hash(new_merge.left, new_merge.right);
    for (unsigned probes = 0; probes < BPE_PROBES_MAX; probes++, slot++) {
        struct bpe_merge *merge = &bpe->merges[slot & bpe->merge_mask];
        if (merge->left == BPE_NO_ID || (merge->left == new_merge.left && merge->right == new_merge.right)) {
            *merge = new_merge;
            return true;
        }
    }
    return false;
}

/* --- the byte alphabet ----------------------------------------------------------------------------------------- */

/* GPT-2's table: bytes that are printable Latin-1 characters stand for themselves, the others, in order, for U+0100
 * upwards. So a space is spelled U+0120. */
void bpe_alphabet_init(struct bpe *bpe)
{
    uint16_t next = 0x100;
    for (unsigned c = 0; c < BPE_ALPHABET_END; c++)
        bpe->char_bytes[c] = -1;
    for (unsigned b = 0; b < 256; b++) {
        bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        bpe->byte_chars[b] = printable ? (uint16_t)b : next++;
        bpe->char_bytes[bpe->byte_chars[b]] = (int16_t)b;
    }
}

size_t bpe_byte_spell(const struct bpe *bpe, unsigned char byte, char *out)
{
    unsigned c = bpe->byte_chars[byte];
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = (char)(0xc0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3f));
    return 2;
}

size_t bpe_spelling_to_bytes(const struct bpe *bpe, const char *spelling, size_t n_bytes, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < n_bytes; n++) {
        unsigned char lead = (unsigned char)spelling[i];
        unsigned c = lead;
        size_t length = 1;
        if (lead >= 0xc0 && i + 1 < n_bytes) {
            /* Longer sequences start at 0xe0 and decode to something past the alphabet here. */
            c = (lead & 0x3fu) << 6 | ((unsigned char)spelling[i + 1] & 0x3fu);
            length = 2;
        }
        if (c >= BPE_ALPHABET_END || bpe->char_bytes[c] < 0) {
            memcpy(out, spelling, n_bytes);
            return n_bytes;
        }
        out[n] = (char)bpe->char_bytes[c];
        i += length;
    }
    return n;
}
