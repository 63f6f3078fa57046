#include "cache/cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/numbers.h"

/* Bytes of the keys, or of the values, of one head at one position. */
static uint64_t plain_bytes(uint32_t head_dim, uint32_t value_bytes)
{
    return (uint64_t)kv_head_pad(head_dim) * value_bytes;
}

static uint64_t f32_bytes(uint32_t head_dim)
{
    return plain_bytes(head_dim, 4);
}

static uint64_t f16_bytes(uint32_t head_dim)
{
    return plain_bytes(head_dim, 2);
}

static uint64_t q8_bytes(uint32_t head_dim)
{
    return kv_q8_pad(head_dim) + kv_q8_groups(head_dim) * UINT64_C(2);
}

/* One line per type. */
static const struct {
    const char *name;
    uint64_t (*bytes)(uint32_t head_dim);
} types[KV_TYPES] = {
    [KV_F32] = {"f32", f32_bytes},
    [KV_F16] = {"f16", f16_bytes},
    [KV_Q8] = {"q8", q8_bytes},
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
    return log_fail(log, MN_ERR_USAGE, "kv_type %s: must be f32, f16 or q8", text);
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

uint32_t kv_q8_pad(uint32_t head_dim)
{
    return round_up_u32(head_dim, KV_WORD);
}

uint32_t kv_q8_groups(uint32_t head_dim)
{
    return (head_dim + KV_GROUP - 1) / KV_GROUP;
}

uint32_t kv_cells(const struct kv_shape *shape)
{
    return shape->n_ctx + shape->n_branch;
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
    return shape->n_kv_heads * types[shape->type].bytes(shape->head_dim);
}

uint64_t kv_piece_bytes(const struct kv_shape *shape)
{
    const uint64_t bytes = 2 * types[shape->type].bytes(shape->head_dim) * kv_cells(shape);
    return (bytes + KV_WORD - 1) / KV_WORD * KV_WORD; /* what is not a whole word is the end of the scales */
}

uint32_t kv_parts(const struct kv_shape *shape, struct kv_part parts[KV_PARTS_MAX])
{
    const bool q8 = shape->type == KV_Q8;
    const uint64_t bytes = q8 ? kv_q8_pad(shape->head_dim) : types[shape->type].bytes(shape->head_dim),
                   all = bytes * kv_cells(shape);
    parts[0] = (struct kv_part){0, bytes};
    parts[1] = (struct kv_part){all, bytes};
    parts[2] = (struct kv_part){2 * all, kv_q8_groups(shape->head_dim) * UINT64_C(4)};
    return q8 ? 3 : 2;
}

uint64_t kv_block_bytes(const struct kv_shape *shape, uint32_t block)
{
    return (uint64_t)shape->n_sequences * kv_block_slots(shape, block) * shape->n_kv_heads * kv_piece_bytes(shape);
}

uint64_t kv_bytes_per_token(const struct kv_shape *shape)
{
    uint64_t slots = 0;
    for (uint32_t block = 0; block < kv_n_blocks(shape); block++)
        slots += kv_block_slots(shape, block);
    return 2 * slots * kv_entry_bytes(shape);
}
