/* The cache's buffers on the device; what lies where in them is cache/cache.h's.
 *
 * Owns: the cache arena. Never: knows tokens, strategies or weights. Thread-safety: none.
 */
#ifndef MUNINN_ENGINE_MODEL_KV_CACHE_H
#define MUNINN_ENGINE_MODEL_KV_CACHE_H

#include "cache/cache.h"
#include "engine/vulkan/buffer.h"

struct kv_block {
    struct span kv; /* as enum kv_type says */
    uint32_t n_slots;
};

struct kv_cache {
    struct arena arena;
    struct kv_shape shape;
    struct kv_block *blocks; /* [kv_n_blocks] prelude, core, coda in order */
    struct span depths;      /* [sequence, cell] u32: steps a cell has in the core's cache */
};

/* Its buffers without memory: what bindings are described with. MN_ERR_MEMORY: more than the device binds at once. */
enum mn_status kv_cache_plan(struct kv_cache *cache, struct device *device, const struct kv_shape *shape);
/* MN_ERR_MEMORY says what is needed, and which context would fit where the device's binding range is the limit. */
enum mn_status kv_cache_init(struct kv_cache *cache, struct device *device, const struct kv_shape *shape);
/* Bytes of all its buffers as they are reserved, on any device. */
uint64_t kv_cache_bytes(const struct kv_shape *shape);
/* Most bytes that one block's cache may have. */
uint64_t kv_cache_largest_block(const struct device *device);
void kv_cache_finish(struct kv_cache *cache);

#endif
