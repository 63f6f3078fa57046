/* Depth slots: which slot of the cache a recurrence step uses, and how many bytes that takes.
 *
 * A core block runs r times per token, so its keys and values have a depth axis. `full` keeps every step; `share:k`
 * keeps the last k steps (step t uses slot t mod k) and is a different function of the model: never lossless. Prelude
 * and coda blocks have one slot. Entries of a position that is rolled back are simply overwritten later: truncation is
 * by length. docs/contract.md, 2.
 *
 * Owns: policies, types, sizes. Never: memory (engine/model/kv_cache.h has the buffers); knows a device, tokens,
 * strategies or weights. Thread-safety: stateless.
 */
#ifndef MUNINN_CACHE_CACHE_H
#define MUNINN_CACHE_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/status.h"

enum { KV_SHARE_MAX = 4096 };

/* How values are stored; the numbers are those of shaders/args.h. From one to the next a cache gets smaller,
 * except that heads of 8 and less take more in q8 than in f16.
 *
 * f32, f16: a block is [sequence, slot, head, key or value, cell, head_pad].
 * q8: a block is [sequence, slot, head] pieces, each of three parts: keys [cell, pad] and values [cell, pad] of
 * one byte, pad a multiple of 16, then scales [cell, group] of 32 bits, f16 of the key's group | f16 of the value's
 * group << 16, rounded up to 16 bytes as a whole. A group is KV_GROUP values of a head; the last one may be shorter. A
 * value is its byte, signed, times its group's scale, and exact in f32. In a 16-byte word of 16 values, component c
 * holds values c, c + 4, c + 8 and c + 12 from the low byte to the high one (shaders/q8.glsl). */
enum kv_type { KV_F32 = 0, KV_F16, KV_Q8, KV_TYPES };
enum { KV_GROUP = 32, KV_WORD = 16 /* bytes that kernels load at once */ };

struct kv_policy {
    uint32_t share; /* 0: full; k: share:k */
};

/* "full" or "share:k" with k >= 1; anything else is MN_ERR_USAGE. */
enum mn_status kv_policy_parse(const char *text, struct kv_policy *out, const struct mn_log *log);
void kv_policy_name(struct kv_policy policy, char *text, size_t text_bytes);
bool kv_policy_lossless(struct kv_policy policy);
enum mn_status kv_type_parse(const char *text, enum kv_type *out, const struct mn_log *log);
const char *kv_type_name(enum kv_type type);

/* Depth slots a core block keeps per position when sessions run at most `num_steps` steps. */
uint32_t kv_policy_slots(struct kv_policy policy, uint32_t num_steps);

/* The slot that a row at step t (from 0) reads of a position which has `depths` steps (>= 1): one rule for full caches,
 * early exits and rows in flight (docs/contract.md, 2). The attention kernel holds the same expression. */
uint32_t kv_slot(uint32_t n_slots, uint32_t step, uint32_t depths);

/* Whose cache, of how many positions, kept how. */
struct kv_shape {
    uint32_t n_kv_heads, head_dim;
    uint32_t n_prelude, n_core, n_coda; /* blocks */
    uint32_t num_steps;                 /* most steps a row takes */
    uint32_t n_ctx, n_sequences;
    uint32_t n_branch; /* cells of a sequence behind those of its positions */
    struct kv_policy policy;
    enum kv_type type;
};

/* Values of one head as queries and f32 and f16 caches store them, padding included. */
uint32_t kv_head_pad(uint32_t head_dim);
/* The same of one position in a q8 cache, in bytes; and its scales. */
uint32_t kv_q8_pad(uint32_t head_dim);
uint32_t kv_q8_groups(uint32_t head_dim);
/* Cells of a sequence: one for each position, and those of its branch. */
uint32_t kv_cells(const struct kv_shape *shape);
/* Blocks in order: prelude, core, coda. */
uint32_t kv_n_blocks(const struct kv_shape *shape);
uint32_t kv_block_slots(const struct kv_shape *shape, uint32_t block);
/* Bytes of the keys, or of the values, of all heads at one position in one slot, with their scales. */
uint64_t kv_entry_bytes(const struct kv_shape *shape);
/* Bytes of the keys and values of one (sequence, slot, head) of a block, in all cells. */
uint64_t kv_piece_bytes(const struct kv_shape *shape);
/* The parts of a piece, in each of which cells lie behind each other: keys, values, and in q8 their scales. Returns
 * how many. */
enum { KV_PARTS_MAX = 3 };
struct kv_part {
    uint64_t offset, cell_bytes;
};
uint32_t kv_parts(const struct kv_shape *shape, struct kv_part parts[KV_PARTS_MAX]);
/* Bytes of one block. */
uint64_t kv_block_bytes(const struct kv_shape *shape, uint32_t block);
/* Bytes of one position in all blocks and slots. */
uint64_t kv_bytes_per_token(const struct kv_shape *shape);

#endif
