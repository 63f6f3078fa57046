#include "engine/model/kv_cache.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/numbers.h"

enum { WOULD_FIT_BYTES = 128 };

/* Bytes that some limit is about. */
typedef uint64_t bytes_function(const struct kv_shape *shape);

static uint32_t largest_n_ctx(struct kv_shape shape, bytes_function *bytes, uint64_t limit)
{
    uint32_t low = 0, high = shape.n_ctx; /* high does not fit, or was asked for */
    while (low < high) {
        const uint32_t middle = low + (high - low + 1) / 2;
        shape.n_ctx = middle;
        const bool fits = bytes(&shape) <= limit;
        low = fits ? middle : low;
        high = fits ? high : middle - 1;
    }
    return low;
}

/* What takes less, in the words of a session's parameters: fewer positions, fewer slots, or the first smaller type that
 * does; where none does for all positions, the smallest with as many as fit. */
static void say_what_fits(const struct kv_shape *shape, bytes_function *bytes, uint64_t limit, char *text)
{
    struct kv_shape smaller = *shape;
    int n = snprintf(text, WOULD_FIT_BYTES, "n_ctx %" PRIu32 " would fit%s", largest_n_ctx(*shape, bytes, limit),
                     shape->policy.share == 1 ? "" : ", or kv_policy share:k with a small k");
    while (smaller.type + 1 < KV_TYPES && (smaller.type == shape->type || bytes(&smaller) > limit))
        smaller.type++;
    if (bytes(&smaller) >= bytes(shape))
        return;
    if (bytes(&smaller) <= limit)
        snprintf(text + n, (size_t)(WOULD_FIT_BYTES - n), ", or kv_type %s", kv_type_name(smaller.type));
    else
        snprintf(text + n, (size_t)(WOULD_FIT_BYTES - n), ", or kv_type %s with n_ctx %" PRIu32,
                 kv_type_name(smaller.type), largest_n_ctx(smaller, bytes, limit));
}

uint64_t kv_cache_largest_block(const struct device *device)
{
    const struct caps *caps = &device->caps;
    const uint64_t limit = min_u64(caps->max_storage_range, caps->max_allocation_bytes - ARENA_ALIGN);
    return min_u64(limit, UINT64_C(1) << 33); /* shaders count in 32 bits: values of f16; of q8, scales of 4 bytes */
}

static uint64_t depths_bytes(const struct kv_shape *shape)
{
    return (uint64_t)kv_cells(shape) * shape->n_sequences * sizeof(uint32_t);
}

uint64_t kv_cache_bytes(const struct kv_shape *shape)
{
    uint64_t bytes = arena_span_bytes(depths_bytes(shape));
    for (uint32_t i = 0; i < kv_n_blocks(shape); i++)
        bytes += arena_span_bytes(kv_block_bytes(shape, i));
    return bytes;
}

static uint64_t core_block_bytes(const struct kv_shape *shape)
{
    return kv_block_bytes(shape, shape->n_prelude);
}

/* One dispatch reads all depth slots of a block, so a core block's cache must fit into one binding. */
static enum mn_status check_range(const struct device *device, const struct kv_shape *shape)
{
    const struct caps *caps = &device->caps;
    const uint64_t needed = core_block_bytes(shape);
    const uint64_t limit = kv_cache_largest_block(device);
    if (needed <= limit)
        return MN_OK;
    char fits[WOULD_FIT_BYTES];
    say_what_fits(shape, core_block_bytes, limit, fits);
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
    say_what_fits(shape, kv_cache_bytes, available, fits);
    return log_fail(device->log, MN_ERR_MEMORY, "cache: %u positions need %.1f MiB, device '%s' has %.1f MiB left; %s",
                    shape->n_ctx * shape->n_sequences, (double)needed / 1048576.0, device->caps.name,
                    (double)available / 1048576.0, fits);
}

enum mn_status kv_cache_plan(struct kv_cache *cache, struct device *device, const struct kv_shape *shape)
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
    if (status)
        kv_cache_finish(cache);
    return status;
}

enum mn_status kv_cache_init(struct kv_cache *cache, struct device *device, const struct kv_shape *shape)
{
    enum mn_status status = kv_cache_plan(cache, device, shape);
    if (status)
        return status;
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
