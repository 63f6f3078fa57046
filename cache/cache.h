/* The depth-slot KV cache: which slot a recurrence step uses, and the storage behind it.
 *
 * A core block runs r times per token, so its keys and values have a depth axis. `full` keeps every step; `share:k`
 * keeps the last k steps (step t uses slot t mod k) and is a different function of the model: never lossless. Prelude
 * and coda blocks have one slot. Entries of a position that is rolled back are simply overwritten later: truncation is
 * by length.
 *
 * Owns: the cache arena. Never: knows tokens, strategies or weights. Thread-safety: none.
 */
#ifndef MUNINN_CACHE_CACHE_H
#define MUNINN_CACHE_CACHE_H

#include "engine/model/config.h"
#include "engine/vulkan/buffer.h"

enum kv_type { KV_F32 = 0, KV_F16 };

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

/* The slot that a row at step t (from 0) reads of a position which has `depths` steps (>= 1): one rule for full
 * caches, early exits and in-flight rows (docs/contract.md, 2). The attention kernel holds the same expression. */
uint32_t kv_slot(uint32_t n_slots, uint32_t step, uint32_t depths);

struct kv_block {
    struct span kv; /* [sequence, slot, head, key or value, position, head_pad] */
    uint32_t n_slots;
};

struct kv_cache {
    struct arena arena;
    struct kv_block *blocks; /* prelude, core, coda in order */
    uint32_t n_blocks;
    struct span depths; /* [sequence, position] u32: steps a position has in the core's cache */
    enum kv_type type;
    struct kv_policy policy;
    uint32_t n_ctx, n_sequences;
    uint64_t bytes_per_token; /* keys and values of one position in all blocks and slots */
};

struct kv_cache_params {
    struct kv_policy policy;
    enum kv_type type;
    uint32_t n_ctx, n_sequences, num_steps;
};

/* Bytes one position takes, before anything is allocated. */
uint64_t kv_cache_bytes_per_token(const struct model_config *config, const struct kv_cache_params *params);

/* MN_ERR_MEMORY says what is needed, and which context would fit where the device's binding range is the limit. */
enum mn_status kv_cache_init(struct kv_cache *cache, struct device *device, const struct model_config *config,
                             const struct kv_cache_params *params);
void kv_cache_finish(struct kv_cache *cache);

#endif
