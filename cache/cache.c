#include "cache/cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One line per type. */
static const struct {
    const char *name;
    uint32_t value_bytes;
} types[KV_TYPES] = {
    [KV_F32] = {"f32", 4},
    [KV_F16] = {"f16", 2},
};

enum mn_status kv_policy_parse(const char *text, struct kv_policy *out, const struct mn_log *log)
{
    if (!strcmp(text, "full")) {
        out->share = 0;
        return MN_OK;
    }
    if (!strncmp(text, "share:", 6) && text[6] >= '1' && text[6] <= '9' && strlen(text) <= 10) {
        char *end;
        unsigned long k = strtoul(text + 6, &end, 10);
        if (*end == '\0' && k <= KV_SHARE_MAX) {
            out->share = (uint32_t)k;
            return MN_OK;
        }
    }
    return log_fail(log, MN_ERR_USAGE, "kv_policy %s: must be full or share:k with k from 1 to %d", text, KV_SHARE_MAX);
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
    for (int i = 0; i < KV_TYPES; i++)
        if (!strcmp(text, types[i].name)) {
            *out = (enum kv_type)i;
            return MN_OK;
        }
    return log_fail(log, MN_ERR_USAGE, "kv_type %s: must be f16 or f32", text);
}

const char *mn_kv_type_at(uint32_t index)
{
    return index < KV_TYPES ? types[index].name : NULL;
}

const char *kv_type_name(enum kv_type type)
{
    return types[type].name;
}

uint32_t kv_policy_slots(struct kv_policy policy, uint32_t num_steps)
{
    return policy.share && policy.share < num_steps ? policy.share : num_steps;
}

uint32_t kv_slot(uint32_t n_slots, uint32_t step, uint32_t depths)
{
    return (step < depths - 1 ? step : depths - 1) % n_slots;
}

/* Kernels load 8 values at once. */
uint32_t kv_head_pad(uint32_t head_dim)
{
    return (head_dim + 7) / 8 * 8;
}

uint32_t kv_n_blocks(const struct kv_shape *shape)
{
    return shape->n_prelude + shape->n_core + shape->n_coda;
}

uint32_t kv_block_slots(const struct kv_shape *shape, uint32_t block)
{
    const bool core = block >= shape->n_prelude && block < shape->n_prelude + shape->n_core;
    return core ? kv_policy_slots(shape->policy, shape->num_steps) : 1;
}

uint64_t kv_entry_bytes(const struct kv_shape *shape)
{
    return (uint64_t)shape->n_kv_heads * kv_head_pad(shape->head_dim) * types[shape->type].value_bytes;
}

uint64_t kv_block_bytes(const struct kv_shape *shape, uint32_t block)
{
    return 2 * (uint64_t)shape->n_ctx * shape->n_sequences * kv_block_slots(shape, block) * kv_entry_bytes(shape);
}

uint64_t kv_bytes_per_token(const struct kv_shape *shape)
{
    uint64_t slots = 0;
    for (uint32_t block = 0; block < kv_n_blocks(shape); block++)
        slots += kv_block_slots(shape, block);
    return 2 * slots * kv_entry_bytes(shape);
}
