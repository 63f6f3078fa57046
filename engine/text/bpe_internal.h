/* What the files of BPE share: bpe.c (tables and the byte alphabet), bpe_read.c (the `model` of a tokenizer.json) and
 * bpe_encode.c (merging). Everybody else includes bpe.h. */
#ifndef MUNINN_ENGINE_TEXT_BPE_INTERNAL_H
#define MUNINN_ENGINE_TEXT_BPE_INTERNAL_H

#include "engine/text/bpe.h"

uint64_t bpe_pair_hash(uint32_t left, uint32_t right);

/* The mask of a hash table for n entries. */
uint32_t bpe_table_mask(uint32_t n);

/* False: spellings or pairs collide by construction. A pair listed twice keeps its last rank, as in the HF library. */
bool bpe_slot_insert(struct bpe *bpe, uint32_t id, const char *spelling, size_t n_bytes);
bool bpe_merge_insert(struct bpe *bpe, struct bpe_merge new_merge);

/* What the pair becomes, or NULL. Counts its probes. */
const struct bpe_merge *bpe_merge_find(const struct bpe *bpe, uint32_t left, uint32_t right, uint64_t *n_operations);

void bpe_alphabet_init(struct bpe *bpe);

/* The character of a byte, 1 or 2 bytes long; returns its length. */
size_t bpe_byte_spell(const struct bpe *bpe, unsigned char byte, char *out);

#endif
