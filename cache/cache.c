#include "cache/cache.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t head_pad(const struct model_config *config)
{
    return (config->head_dim + 7) / 8 * 8;
}

enum mn_status kv_policy_parse(const char *text, struct kv_policy *out, const struct mn_log *log)
{
    if (!strcmp(text, "full")) {
        out->share = 0;
        return MN_OK;
    }
    if (!strncmp(text, "share:", 6) && text[6] >= '1' && text[6] <= '9' && strlen(text) <= 10) {
        char *end;
        unsigned long k = strtoul(text + 6, &end, 10);
        if (*end == '\0' && k <= CONFIG_RECURRENCE_MAX) {
            out->share = (uint32_t)k;
            return MN_OK;
        }
    }
    return log_fail(log, MN_ERR_USAGE, "--kv-policy %s: must be full or share:k with k from 1 to %d", text,
                    CONFIG_RECURRENCE_MAX);
}

void kv_policy_name(struct kv_policy policy, char *text, size_t text_bytes)
{
    if (policy.share)
        snprintf(text, text_bytes, "share:%u", policy.share);
    else
        snprintf(text, text_bytes, "full");
}

bool kv_policy_lossless(struct kv_policy policy)
{
    return policy.share == 0;
}

enum mn_status kv_type_parse(const char *text, enum kv_type *out, const struct mn_log *log)
{
    for (int i = KV_F32; i <= KV_F16; i++)
        if (!strcmp(text, kv_type_name((enum kv_type)i))) {
            *out = (enum kv_type)i;
            return MN_OK;
        }
    return log_fail(log, MN_ERR_USAGE, "--kv-type %s: must be f16 or f32", text);
}

const char *kv_type_name(enum kv_type type)
{
    return type == KV_F16 ? "f16" : "f32";
}

uint32_t kv_policy_slots(struct kv_policy policy, uint32_t num_steps)
{
    return policy.share && policy.share < num_steps ? policy.share : num_steps;
}

uint32_t kv_slot(uint32_t n_slots, uint32_t step, uint32_t depths)
{
    return (step < depths - 1 ? step : depths - 1) % n_slots;
}

static uint64_t entry_bytes(const struct model_config *config, enum kv_type type)
{
    return (uint64_t)config->n_heads * head_pad(config) * (type == KV_F16 ? 2 : 4);
}

uint64_t kv_cache_bytes_per_token(const struct model_config *config, const struct kv_cache_params *params)
{
    uint64_t slots = config->n_prelude + config->n_coda +
                     (uint64_t)config->n_core * kv_policy_slots(params->policy, params->num_steps);
    return 2 * slots * entry_bytes(config, params->type);
}

/* One dispatch reads all depth slots of a block, so a core block's cache must fit into one binding. */
static enum mn_status check_range(struct device *device, const struct model_config *config,
                                  const struct kv_cache_params *params)
{
    uint64_t per_token = 2ull * kv_policy_slots(params->policy, params->num_steps) * entry_bytes(config, params->type);
    uint64_t limit = device->caps.max_storage_range;
    if (limit > (uint64_t)1 << 33) /* shaders count elements in 32 bits */
        limit = (uint64_t)1 << 33;
    if (limit > device->caps.max_allocation_bytes - ARENA_ALIGN)
        limit = device->caps.max_allocation_bytes - ARENA_ALIGN;
    uint64_t needed = per_token * params->n_ctx * params->n_sequences;
    if (needed <= limit)
        return MN_OK;
    return log_fail(device->log, MN_ERR_MEMORY,
                    "cache: one block needs %.1f MiB, device '%s' allows at most %.1f MiB; --ctx %" PRIu64
                    " would fit%s%s",
                    (double)needed / 1048576.0, device->caps.name, (double)limit / 1048576.0,
                    limit / per_token / params->n_sequences,
                    params->policy.share == 1 ? "" : ", or --kv-policy share:k with a small k",
                    params->type == KV_F16 ? "" : ", or --kv-type f16");
}

/* Said before the driver does, which knows nothing of contexts; a software device would even grant what is not
 * there. */
static enum mn_status check_memory(const struct kv_cache *cache, const struct device *device)
{
    const uint64_t available = device_available_bytes(device), needed = cache->arena.bytes;
    if (needed <= available)
        return MN_OK;
    return log_fail(device->log, MN_ERR_MEMORY,
                    "cache: %u positions need %.1f MiB, device '%s' has %.1f MiB left; --ctx %" PRIu64 " would fit%s%s",
                    cache->n_ctx * cache->n_sequences, (double)needed / 1048576.0, device->caps.name,
                    (double)available / 1048576.0, (uint64_t)((double)available / (double)needed * cache->n_ctx),
                    cache->policy.share == 1 ? "" : ", or --kv-policy share:k with a small k",
                    cache->type == KV_F16 ? "" : ", or --kv-type f16");
}

enum mn_status kv_cache_init(struct kv_cache *cache, struct device *device, const struct model_config *config,
                             const struct kv_cache_params *params)
{
    *cache = (struct kv_cache){.n_blocks = config->n_prelude + config->n_core + config->n_coda,
                               .type = params->type,
                               .policy = params->policy,
                               .n_ctx = params->n_ctx,
                               .n_sequences = params->n_sequences,
                               .bytes_per_token = kv_cache_bytes_per_token(config, params)};
    arena_init(&cache->arena, device, "cache", ARENA_DEVICE);
    cache->blocks = calloc(cache->n_blocks ? cache->n_blocks : 1, sizeof *cache->blocks);
    if (!cache->blocks)
        return log_fail(device->log, MN_ERR_MEMORY, "out of host memory for the cache");
    const uint64_t positions = (uint64_t)params->n_ctx * params->n_sequences;
    enum mn_status status = check_range(device, config, params);
    for (uint32_t i = 0; i < cache->n_blocks && !status; i++) {
        bool core = i >= config->n_prelude && i < config->n_prelude + config->n_core;
        struct kv_block *block = &cache->blocks[i];
        block->n_slots = core ? kv_policy_slots(params->policy, params->num_steps) : 1;
        uint64_t bytes = 2 * positions * block->n_slots * entry_bytes(config, params->type);
        status = arena_reserve(&cache->arena, bytes, &block->kv);
    }
    if (!status)
        status = arena_reserve(&cache->arena, positions * sizeof(uint32_t), &cache->depths);
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
