#include "engine/model/kv_cache.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/numbers.h"

enum { WOULD_FIT_BYTES = 96 };

/* What takes less, in the words of a session's parameters. */
static void say_what_fits(const struct kv_shape *shape, uint64_t n_ctx, char *text)
{
    snprintf(text, WOULD_FIT_BYTES, "n_ctx %" PRIu64 " would fit%s%s", n_ctx,
             shape->policy.share == 1 ? "" : ", or kv_policy share:k with a small k",
             shape->type == KV_F16 ? "" : ", or kv_type f16");
}

uint64_t kv_cache_largest_block(const struct device *device)
{
    const struct caps *caps = &device->caps;
    const uint64_t limit = min_u64(caps->max_storage_range, caps->max_allocation_bytes - ARENA_ALIGN);
    return min_u64(limit, UINT64_C(1) << 33); /* shaders count elements in 32 bits */
}

static uint64_t depths_bytes(const struct kv_shape *shape)
{
    return (uint64_t)shape->n_ctx * shape->n_sequences * sizeof(uint32_t);
}

uint64_t kv_cache_bytes(const struct kv_shape *shape)
{
    uint64_t bytes = arena_span_bytes(depths_bytes(shape));
    for (uint32_t i = 0; i < kv_n_blocks(shape); i++)
        bytes += arena_span_bytes(kv_block_bytes(shape, i));
    return bytes;
}

/* One dispatch reads all depth slots of a block, so a core block's cache must fit into one binding. */
static enum mn_status check_range(const struct device *device, const struct kv_shape *shape)
{
    const struct caps *caps = &device->caps;
    const uint64_t positions = (uint64_t)shape->n_ctx * shape->n_sequences;
    const uint64_t needed = kv_block_bytes(shape, shape->n_prelude);
    const uint64_t limit = kv_cache_largest_block(device);
    if (needed <= limit)
        return MN_OK;
    char fits[WOULD_FIT_BYTES];
    say_what_fits(shape, limit / (needed / positions) / shape->n_sequences, fits);
    return log_fail(device->log, MN_ERR_MEMORY,
                    "cache: one block needs %.1f MiB, device '%s' allows at most %.1f MiB; %s",
                    (double)needed / 1048576.0, caps->name, (double)limit / 1048576.0, fits);
}

/* Said before the driver does, which knows nothing of contexts; a software device would even grant what is not
 * there. */
static enum mn_status check_memory(const struct kv_cache *cache, const struct device *device)
{
    const struct kv_shape *shape = &cache->shape;
    const uint64_t available = device_available_bytes(device), needed = cache->arena.bytes;
    if (needed <= available)
        return MN_OK;
    char fits[WOULD_FIT_BYTES];
    say_what_fits(shape, (uint64_t)((double)available / (double)needed * shape->n_ctx), fits);
    return log_fail(device->log, MN_ERR_MEMORY, "cache: %u positions need %.1f MiB, device '%s' has %.1f MiB left; %s",
                    shape->n_ctx * shape->n_sequences, (double)needed / 1048576.0, device->caps.name,
                    (double)available / 1048576.0, fits);
}

enum mn_status kv_cache_init(struct kv_cache *cache, struct device *device, const struct kv_shape *shape)
{
    const uint32_t n_blocks = kv_n_blocks(shape);
    *cache = (struct kv_cache){.shape = *shape, .blocks = calloc(n_blocks, sizeof *cache->blocks)};
    arena_init(&cache->arena, device, "cache", ARENA_DEVICE);
    if (!cache->blocks)
        return log_fail(device->log, MN_ERR_MEMORY, "out of host memory for the cache");
    enum mn_status status = check_range(device, shape);
    for (uint32_t i = 0; i < n_blocks && !status; i++) {
        cache->blocks[i].n_slots = kv_block_slots(shape, i);
        status = arena_reserve(&cache->arena, kv_block_bytes(shape, i), &cache->blocks[i].kv);
    }
    if (!status)
        status = arena_reserve(&cache->arena, depths_bytes(shape), &cache->depths);
    if (!status)
        status = check_memory(cache, device);
    if (!status)
        status = arena_commit(&cache->arena);
    if (status)
        kv_cache_finish(cache);
    return status;
}

void kv_cache_finish(struct kv_cache *cache)
{
    if (cache->arena.device)
        arena_finish(&cache->arena);
    free(cache->blocks);
    *cache = (struct kv_cache){0};
}
