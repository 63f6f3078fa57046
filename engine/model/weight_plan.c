#include "engine/model/weight_plan.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache.h"
#include "engine/base/hash.h"
#include "engine/base/numbers.h"

enum { HASH_PIECE_BYTES = 1 << 20 };
/* Of a whole model, and of each block: more than any family has. */
enum { MATRICES_BASE = 16, MATRICES_BLOCK = 8, VECTORS_BASE = 16, VECTORS_BLOCK = 12 };

static uint32_t chunks(uint32_t n)
{
    return round_up_u32(n, WEIGHT_CHUNK) / WEIGHT_CHUNK;
}

static enum mn_status no_memory(const struct weight_plan *plan, const char *what)
{
    return log_fail(plan->log, MN_ERR_MEMORY, "out of host memory for tensor '%s'", what);
}

const char *plan_name(char *text, const char *prefix, const char *name)
{
    snprintf(text, PLAN_NAME_BYTES, "%s.%s", prefix, name);
    return text;
}

/* ---- tensors of the file ---- */

enum mn_status weight_plan_find(const struct weight_plan *plan, const char *name, const struct tensor_view **out)
{
    const struct mn_log *log = plan->log;
    const struct tensor_view *tensor = safetensors_find(plan->file, name);
    if (!tensor)
        return log_fail(log, MN_ERR_FORMAT, "%s: tensor '%s' is missing, config.json asks for it", plan->dir, name);
    if (tensor->dtype != TENSOR_F32 && tensor->dtype != TENSOR_F16 && tensor->dtype != TENSOR_BF16)
        return log_fail(log, MN_ERR_UNSUPPORTED, "%s: tensor '%s' has type %s; F32, F16 and BF16 can be read",
                        safetensors_shard_name(plan->file, tensor->shard), name, tensor->dtype_name);
    plan->used[tensor - safetensors_tensor(plan->file, 0)] = true;
    *out = tensor;
    return MN_OK;
}

/* Rows of a vocabulary: as many as config.json says, or at least those that are used where it says nothing. */
static bool vocabulary_fits(const struct model_config *config, uint64_t rows)
{
    return config->padded_vocab_size > config->vocab_size ? rows == config->padded_vocab_size
                                                          : rows >= config->vocab_size;
}

/* Is it the first time that the plan has a use for the tensor? Then its first `bytes` are those it reads. */
static bool claim(struct weight_plan *plan, const struct tensor_view *tensor, uint64_t bytes)
{
    uint64_t *planned = &plan->planned_bytes[tensor - safetensors_tensor(plan->file, 0)];
    const bool first = *planned == 0;
    *planned = first ? bytes : *planned;
    return first;
}

static enum mn_status check_part(const struct weight_plan *plan, const struct matrix_plan *what, uint32_t part,
                                 const struct stored_matrix *stored)
{
    const struct tensor_plan *asked = &what->parts[part];
    const struct tensor_view *tensor = stored->values;
    if (stored->scales && !what->vocabulary)
        return stored_check_shape(plan, stored, asked->name, asked->rows, what->columns);
    const bool rows_fit = what->vocabulary ? vocabulary_fits(plan->config, tensor->shape[0])
                                           : tensor->shape[0] == asked->rows;
    if (tensor->rank != 2 || (!stored->scales && tensor->shape[1] != what->columns) || !rows_fit)
        return log_fail(plan->log, MN_ERR_FORMAT,
                        "%s: tensor '%s' has rank %u and shape [%" PRIu64 ", %" PRIu64
                        "], config.json asks for [%u, %u]",
                        safetensors_shard_name(plan->file, tensor->shard), tensor->name, tensor->rank, tensor->shape[0],
                        tensor->rank > 1 ? tensor->shape[1] : 0,
                        what->vocabulary ? plan->config->padded_vocab_size : asked->rows, what->columns);
    return stored->scales ? stored_check_shape(plan, stored, asked->name, 0, what->columns) : MN_OK;
}

static enum mn_status find_part(struct weight_plan *plan, struct matrix_item *item, uint32_t part)
{
    struct stored_matrix *stored = &item->stored[part];
    const struct tensor_plan *asked = &item->plan.parts[part];
    enum mn_status status = stored_find(plan, asked->name, stored);
    if (!status)
        status = check_part(plan, &item->plan, part, stored);
    if (status)
        return status;
    item->hashes[part] = claim(plan, stored->values, asked->rows * stored_value_bytes(stored, item->plan.columns));
    if (stored->scales)
        claim(plan, stored->scales, asked->rows * stored_scale_bytes(stored, item->plan.columns));
    return MN_OK;
}

enum weight_type weight_plan_stored_type(const struct tensor_view *tensor)
{
    return !tensor || tensor->dtype == TENSOR_BF16 ? WEIGHT_TYPE_BF16
           : tensor->dtype == TENSOR_F16           ? WEIGHT_TYPE_F16
                                                   : WEIGHT_TYPE_F32;
}

enum mn_status weight_plan_refuse_value(const struct weight_plan *plan, const struct tensor_view *tensor,
                                        enum weight_type type, const float *group)
{
    float largest = 0.0f;
    for (uint32_t i = 0; i < weight_format(type)->group; i++)
        largest = fabsf(group[i]) > fabsf(largest) ? group[i] : largest;
    return log_fail(
        plan->log, MN_ERR_UNSUPPORTED, "%s: tensor '%s': value %g does not fit into %s; use weight_type bf16 or f32",
        safetensors_shard_name(plan->file, tensor->shard), tensor->name, (double)largest, weight_type_name(type));
}

enum mn_status weight_plan_decode(const struct weight_plan *plan, const struct tensor_view *tensor,
                                  const uint8_t *bytes, uint64_t n, float *out)
{
    for (uint64_t i = 0; i < n; i++) {
        if (tensor->dtype == TENSOR_F32) {
            memcpy(&out[i], bytes + 4 * i, 4);
        } else {
            uint16_t half;
            memcpy(&half, bytes + 2 * i, 2);
            out[i] = tensor->dtype == TENSOR_F16 ? f16_to_f32(half) : bf16_to_f32(half);
        }
        if (!isfinite(out[i]))
            return log_fail(plan->log, MN_ERR_FORMAT, "%s: tensor '%s' holds a value that is not finite",
                            safetensors_shard_name(plan->file, tensor->shard), tensor->name);
    }
    return MN_OK;
}

/* ---- matrices ---- */

/* By its place among the model's weights. */
static enum weight_group group_of(const struct weight_plan *plan, const struct matrix *matrix)
{
    const struct weights *w = plan->weights;
    const struct model_config *c = plan->config;
    if (matrix == &w->embedding)
        return WEIGHT_GROUP_EMBEDDING;
    if (matrix == &w->head)
        return WEIGHT_GROUP_HEAD;
    if (matrix == &w->adapter_state || matrix == &w->adapter_embed)
        return WEIGHT_GROUP_ADAPTER;
    uint32_t block = 0;
    while ((const void *)matrix >= (const void *)&w->blocks[block + 1])
        block++;
    const struct block_weights *b = &w->blocks[block];
    const enum weight_section section = block < c->n_prelude               ? WEIGHT_PRELUDE
                                        : block < c->n_prelude + c->n_core ? WEIGHT_CORE
                                                                           : WEIGHT_CODA;
    const enum weight_part part = matrix == &b->qkv    ? WEIGHT_QKV
                                  : matrix == &b->proj ? WEIGHT_ATTENTION_PROJ
                                  : matrix == &b->gate ? WEIGHT_MLP_FC
                                                       : WEIGHT_MLP_PROJ;
    return WEIGHT_GROUP_BLOCKS + WEIGHT_PARTS * (unsigned)section + (unsigned)part;
}

/* Groups are counted along a row of the file, and lie on the device as they do there: they may not reach over the end
 * of a row, over the columns that a matrix has of it, or over padding between heads. */
static bool groups_fit(const struct weight_plan *plan, const struct matrix_item *item, enum weight_type type)
{
    const uint32_t group = weight_format(type)->group, head_dim = plan->config->head_dim;
    return item->plan.columns % group == 0 && item->plan.column0 % group == 0 && item->plan.n_columns % group == 0 &&
           (item->plan.layout != LAYOUT_HEADS || kv_head_pad(head_dim) == head_dim);
}

/* A quantised folder holds what its scheme makes of each matrix, and nothing else. */
static enum mn_status check_promise(const struct weight_plan *plan, const struct stored_matrix *stored,
                                    const char *name, enum weight_type promised, bool fits)
{
    if (stored->scales && !fits)
        return log_fail(plan->log, MN_ERR_FORMAT,
                        "%s: tensor '%s' is stored as %s, whose groups do not fit the columns that are read", plan->dir,
                        name, weight_type_name(stored->type));
    if (stored->type == promised || (weight_type_quantised(promised) && !fits && !stored->scales))
        return MN_OK;
    return log_fail(plan->log, MN_ERR_FORMAT,
                    "%s: tensor '%s' is stored as %s, weight_type %s of config.json makes it %s", plan->dir, name,
                    weight_type_name(stored->type), plan->config->stored.name, weight_type_name(promised));
}

/* The type that something of `group` gets. `kept`: another one was asked for, or promised, that does not fit. */
static enum mn_status decide_type(const struct weight_plan *plan, enum weight_group group, const char *name,
                                  const struct stored_matrix *stored, bool fits, enum weight_type *type, bool *kept)
{
    const bool folder = plan->file && *plan->config->stored.name;
    const enum weight_type asked = plan->scheme.types[group], promised = plan->config->stored.types[group];
    enum mn_status status = folder ? check_promise(plan, stored, name, promised, fits) : MN_OK;
    const bool as_stored = asked == WEIGHT_TYPE_AS_STORED, quantised = weight_type_quantised(asked);
    *kept = (quantised || (as_stored && folder && weight_type_quantised(promised))) && !fits;
    *type = as_stored || *kept ? stored->type : asked;
    if (!status && folder && quantised && fits && stored->type != asked)
        return log_fail(plan->log, MN_ERR_UNSUPPORTED,
                        "%s: tensor '%s' is stored as %s, weight_type %s would round it again: quantise the original",
                        plan->dir, name, weight_type_name(stored->type), plan->scheme.name);
    return status;
}

static enum mn_status matrix_type(const struct weight_plan *plan, const struct matrix_item *item,
                                  enum weight_type *type)
{
    enum mn_status status = MN_OK;
    for (uint32_t part = PLAN_PARTS_MAX; part-- > 0 && !status;) /* the first one's type is the matrix's */
        if (item->plan.parts[part].name[0]) {
            const enum weight_type asked = plan->scheme.types[item->group],
                                   promised = plan->config->stored.types[item->group],
                                   groups = weight_type_quantised(asked)      ? asked
                                            : weight_type_quantised(promised) ? promised
                                                                              : item->stored[part].type;
            status = decide_type(plan, item->group, item->plan.parts[part].name, &item->stored[part],
                                 groups_fit(plan, item, groups), type, &item->matrix->kept);
        }
    return status;
}

/* Cuts a matrix into what the device can bind and allocate at once. */
static enum mn_status reserve_windows(struct weight_plan *plan, struct matrix *matrix, const char *name)
{
    const struct caps *caps = &plan->device->caps;
    const uint64_t most = min_u64(caps->max_storage_range, caps->max_allocation_bytes - ARENA_ALIGN);
    const uint64_t window = most / matrix->row_bytes;
    matrix->window_rows = window >= matrix->n_out ? matrix->n_out
                                                  : (uint32_t)(window & ~(uint64_t)(MATRIX_ROWS_STEP - 1));
    if (matrix->window_rows == 0)
        return log_fail(plan->log, MN_ERR_UNSUPPORTED,
                        "tensor '%s': %d rows of %" PRIu64 " bytes exceed the %" PRIu64
                        " bytes that device '%s' binds at once",
                        name, MATRIX_ROWS_STEP, matrix->row_bytes, most, caps->name);
    matrix->n_windows = (matrix->n_out + matrix->window_rows - 1) / matrix->window_rows;
    matrix->windows = calloc(matrix->n_windows, sizeof *matrix->windows);
    if (!matrix->windows)
        return no_memory(plan, name);
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < matrix->n_windows && !status; i++) {
        const uint32_t rows = matrix_rows_at(matrix, i * matrix->window_rows, matrix->window_rows);
        status = arena_reserve(plan->arena, matrix->row_bytes * rows, &matrix->windows[i]);
    }
    return status;
}

/* Says of the tensors of a matrix what they become. */
static void aim(const struct weight_plan *plan, const struct matrix_item *item, enum weight_type type)
{
    const struct tensor_target target = {.type = type, .columns = item->plan.columns};
    for (uint32_t part = 0; plan->file && part < PLAN_PARTS_MAX && item->stored[part].values; part++)
        if (!item->matrix->kept)
            plan->targets[item->stored[part].values - safetensors_tensor(plan->file, 0)] = target;
}

void plan_matrix(struct weight_plan *plan, struct matrix *matrix, const struct matrix_plan *what)
{
    if (plan->status)
        return;
    assert(plan->n_matrices < plan->matrices_max);
    struct matrix_item *item = &plan->matrices[plan->n_matrices++];
    *item = (struct matrix_item){.matrix = matrix, .group = group_of(plan, matrix), .plan = *what};
    if (what->n_columns == 0)
        item->plan.n_columns = what->columns;
    uint32_t rows = 0;
    for (uint32_t part = 0; part < PLAN_PARTS_MAX && what->parts[part].name[0] && !plan->status; part++) {
        rows += what->parts[part].rows;
        item->stored[part] = (struct stored_matrix){.type = weight_plan_stored_type(NULL)};
        if (plan->file)
            plan->status = find_part(plan, item, part);
    }
    if (plan->status)
        return;
    const uint32_t inner = what->layout == LAYOUT_HEADS ? plan->config->n_heads * kv_head_pad(plan->config->head_dim)
                                                        : item->plan.n_columns;
    enum weight_type type;
    *matrix = (struct matrix){.n_out = rows};
    plan->status = matrix_type(plan, item, &type);
    if (plan->status)
        return;
    aim(plan, item, type);
    const struct weight_format *format = weight_format(type);
    const uint32_t n_groups = round_up_u32(inner, format->group) / format->group;
    const uint64_t value_bytes = (uint64_t)n_groups * format->group_bytes;
    *matrix = (struct matrix){.type = type,
                              .kept = matrix->kept,
                              .n_out = rows,
                              .n_chunks = n_groups * format->group / WEIGHT_CHUNK,
                              .row_bytes = value_bytes + round_up_u32(n_groups * format->scale_bytes, WEIGHT_WORD),
                              .value_bytes = value_bytes};
    if (plan->device)
        plan->status = reserve_windows(plan, matrix, what->parts[0].name);
}

/* Of q and k one below the other. Pair i of a head: rows i and i + h/2 in the file, 2i and 2i + 1 here. */
static uint32_t head_source_row(const struct model_config *config, uint32_t row)
{
    const uint32_t h = config->head_dim, in_head = row % h;
    if (config->rotary_halves && row < (config->n_heads + config->n_kv_heads) * h)
        return row - in_head + in_head / 2 + (in_head & 1 ? h / 2 : 0);
    return row;
}

uint32_t weight_plan_source_row(const struct weight_plan *plan, const struct matrix_item *item, uint32_t row)
{
    switch (item->plan.layout) {
    case LAYOUT_GATE: return row / 2 + (row & 1 ? item->matrix->n_out / 2 : 0);
    case LAYOUT_QKV: return head_source_row(plan->config, row); /* v has no pairs */
    case LAYOUT_ROWS:
    case LAYOUT_HEADS: break;
    }
    return row;
}

/* ---- vectors ---- */

/* Reads tensor `name` of `n` values in any shape into `out`. */
static enum mn_status read_vector(struct weight_plan *plan, const char *name, uint32_t n, float *out)
{
    const struct tensor_view *tensor;
    enum mn_status status = weight_plan_find(plan, name, &tensor);
    if (status)
        return status;
    const uint64_t count = tensor->bytes / tensor_dtype_bytes(tensor->dtype);
    if (count != n)
        return log_fail(plan->log, MN_ERR_FORMAT, "%s: tensor '%s' has %" PRIu64 " values, config.json asks for %u",
                        safetensors_shard_name(plan->file, tensor->shard), name, count, n);
    uint8_t *bytes = malloc(tensor->bytes ? tensor->bytes : 1);
    if (!bytes)
        return no_memory(plan, name);
    status = safetensors_read(plan->file, tensor, 0, tensor->bytes, bytes, plan->log);
    if (!status && claim(plan, tensor, tensor->bytes))
        weight_plan_hash(plan, tensor, 0, bytes, tensor->bytes);
    if (!status)
        status = weight_plan_decode(plan, tensor, bytes, n, out);
    free(bytes);
    return status;
}

/* Tensor `name` as [n] values of their own; without a file `synthetic` everywhere. */
static float *vector_values(struct weight_plan *plan, const char *name, uint32_t n, uint32_t padded, float synthetic)
{
    float *values = calloc(padded, sizeof *values);
    if (!values)
        plan->status = no_memory(plan, name);
    else if (plan->file)
        plan->status = read_vector(plan, name, n, values);
    for (uint32_t i = 0; values && !plan->file && i < n; i++)
        values[i] = synthetic;
    return values;
}

static void keep_vector(struct weight_plan *plan, struct span *span, float *values, uint32_t padded)
{
    assert(plan->n_vectors < plan->vectors_max);
    plan->vectors[plan->n_vectors++] = (struct vector_item){span, values, padded};
    if (!plan->status && plan->device)
        plan->status = arena_reserve(plan->arena, (uint64_t)padded * sizeof *values, span);
}

void plan_norm(struct weight_plan *plan, struct span *span, const char *a, const char *b, uint32_t n)
{
    const uint32_t padded = chunks(n) * WEIGHT_CHUNK;
    if (plan->status)
        return;
    float *values = vector_values(plan, a, n, padded, 1.0f);
    float *factors = b && !plan->status ? vector_values(plan, b, n, padded, 1.0f) : NULL;
    for (uint32_t i = 0; factors && !plan->status && i < n; i++)
        values[i] *= factors[i];
    free(factors);
    keep_vector(plan, span, values, padded);
}

void plan_bias(struct weight_plan *plan, struct span *span, const char *name, uint32_t n)
{
    const uint32_t padded = chunks(n) * WEIGHT_CHUNK;
    if (plan->status)
        return;
    float *values = name ? vector_values(plan, name, n, padded, 0.0f) : calloc(padded, sizeof *values);
    if (!values && !plan->status)
        plan->status = no_memory(plan, "bias");
    keep_vector(plan, span, values, padded);
}

void plan_heads_norm(struct weight_plan *plan, struct span *span, const char *q, const char *k)
{
    const struct model_config *config = plan->config;
    const uint32_t n_q = config->n_heads * config->head_dim, n_k = config->n_kv_heads * config->head_dim,
                   padded = chunks(n_q + n_k) * WEIGHT_CHUNK;
    if (plan->status)
        return;
    float *values = calloc(padded, sizeof *values), *of_q = vector_values(plan, q, n_q, n_q, 1.0f),
          *of_k = plan->status ? NULL : vector_values(plan, k, n_k, n_k, 1.0f);
    if (!values && !plan->status)
        plan->status = no_memory(plan, q);
    for (uint32_t i = 0; !plan->status && i < n_q + n_k; i++) {
        const uint32_t source = head_source_row(config, i);
        values[i] = source < n_q ? of_q[source] : of_k[source - n_q];
    }
    free(of_q);
    free(of_k);
    keep_vector(plan, span, values, padded);
}

void plan_host_norm(struct weight_plan *plan, float **out, const char *name, uint32_t n)
{
    if (!plan->status)
        *out = vector_values(plan, name, n, n, 1.0f);
}

/* To what the type holds: the gate is part of the model that a scheme makes, though the host computes it. */
static enum mn_status round_gate(const struct weight_plan *plan, const struct stored_matrix *stored, float *values,
                                 uint32_t n, enum weight_type type)
{
    const struct weight_format *format = weight_format(type);
    for (uint32_t i = 0; i < n; i += format->group) {
        uint8_t packed[WEIGHT_GROUP_MAX * sizeof(float)], scale[2 * sizeof(uint16_t)];
        if (!format->encode(values + i, packed, scale))
            return weight_plan_refuse_value(plan, stored->values, type, values + i);
        format->decode(packed, scale, values + i);
    }
    return MN_OK;
}

/* Of a gate [1, n] that is stored in groups. */
static enum mn_status read_gate_groups(struct weight_plan *plan, const struct stored_matrix *stored, const char *name,
                                       uint32_t n, float *values)
{
    const struct tensor_view *const both[] = {stored->values, stored->scales};
    uint8_t *bytes[2] = {NULL, NULL};
    enum mn_status status = stored_check_shape(plan, stored, name, 1, n);
    for (int i = 0; i < 2 && !status; i++) {
        bytes[i] = malloc(both[i]->bytes);
        status = bytes[i] ? safetensors_read(plan->file, both[i], 0, both[i]->bytes, bytes[i], plan->log)
                          : no_memory(plan, name);
        if (!status && claim(plan, both[i], both[i]->bytes))
            weight_plan_hash(plan, both[i], 0, bytes[i], both[i]->bytes);
    }
    if (!status)
        status = stored_decode(plan, stored, bytes[0], bytes[1], n, values);
    free(bytes[0]);
    free(bytes[1]);
    return status;
}

/* The gate's weights as the model has them. */
static enum mn_status read_gate(struct weight_plan *plan, const char *name, uint32_t n, float *values)
{
    const enum weight_type asked = plan->scheme.types[WEIGHT_GROUP_EXIT_GATE],
                           promised = plan->config->stored.types[WEIGHT_GROUP_EXIT_GATE];
    struct stored_matrix stored;
    enum weight_type type;
    bool kept;
    enum mn_status status = stored_find(plan, name, &stored);
    if (!weight_type_quantised(promised) && !stored.scales) /* the host computes it: such types leave it as it is */
        stored.type = promised;
    if (!status)
        status = decide_type(plan, WEIGHT_GROUP_EXIT_GATE, name, &stored, n % WEIGHT_GROUP_MAX == 0, &type, &kept);
    if (!status)
        status = stored.scales ? read_gate_groups(plan, &stored, name, n, values) : read_vector(plan, name, n, values);
    if (status || kept || !weight_type_quantised(asked))
        return status;
    plan->targets[stored.values - safetensors_tensor(plan->file, 0)] = (struct tensor_target){.type = type,
                                                                                              .columns = n};
    return stored.scales ? MN_OK : round_gate(plan, &stored, values, n, type);
}

void plan_host_gate(struct weight_plan *plan, float **out, const char *weight, const char *bias, uint32_t n)
{
    if (plan->status)
        return;
    *out = calloc(n + 1, sizeof **out);
    if (!*out)
        plan->status = no_memory(plan, weight);
    else if (plan->file)
        plan->status = read_gate(plan, weight, n, *out);
    float *last = plan->status ? NULL : vector_values(plan, bias, 1, 1, 0.0f);
    if (last)
        (*out)[n] = *last;
    free(last);
}

/* ---- what the files hold ---- */

void weight_plan_hash(struct weight_plan *plan, const struct tensor_view *tensor, uint64_t byte_offset,
                      const void *bytes, uint64_t n_bytes)
{
    const uint64_t place[] = {tensor->shard, tensor->offset + byte_offset};
    plan->hash += hash_block(hash_block(0, place, sizeof place), bytes, (size_t)n_bytes);
}

enum mn_status weight_plan_hash_rest(struct weight_plan *plan)
{
    const uint32_t n_tensors = safetensors_n_tensors(plan->file);
    const uint64_t headers = safetensors_headers_hash(plan->file);
    struct progress *progress = &plan->device->progress;
    uint64_t total = 0;
    for (uint32_t i = 0; i < n_tensors; i++)
        total += safetensors_tensor(plan->file, i)->bytes - plan->planned_bytes[i];
    uint8_t *bytes = malloc(HASH_PIECE_BYTES);
    if (!bytes)
        return no_memory(plan, "of no use");
    enum mn_status status = progress_begin(progress, "hashing the rest of the files", total);
    for (uint32_t i = 0; i < n_tensors && !status; i++) {
        const struct tensor_view *tensor = safetensors_tensor(plan->file, i);
        for (uint64_t at = plan->planned_bytes[i], n; at < tensor->bytes && !status; at += n) {
            n = min_u64(tensor->bytes - at, HASH_PIECE_BYTES);
            status = safetensors_read(plan->file, tensor, at, n, bytes, plan->log);
            if (!status)
                weight_plan_hash(plan, tensor, at, bytes, n);
            if (!status)
                status = progress_add(progress, n);
        }
    }
    status = progress_end(progress, status);
    free(bytes);
    plan->hash = hash_block(headers, &plan->hash, sizeof plan->hash);
    return status;
}

/* ---- its life ---- */

enum mn_status weight_plan_init(struct weight_plan *plan, uint32_t n_blocks)
{
    plan->matrices_max = MATRICES_BASE + MATRICES_BLOCK * n_blocks;
    plan->vectors_max = VECTORS_BASE + VECTORS_BLOCK * n_blocks;
    plan->matrices = calloc(plan->matrices_max, sizeof *plan->matrices);
    plan->vectors = calloc(plan->vectors_max, sizeof *plan->vectors);
    if (!plan->matrices || !plan->vectors)
        return log_fail(plan->log, MN_ERR_MEMORY, "out of host memory for %u blocks", n_blocks);
    if (!plan->dir)
        return MN_OK;
    enum mn_status status = safetensors_open(&plan->file, plan->dir, NULL, plan->log);
    if (!status && !(plan->used = calloc((size_t)safetensors_n_tensors(plan->file) + 1, sizeof *plan->used)))
        status = no_memory(plan, "(all)");
    if (!status && !(plan->targets = calloc((size_t)safetensors_n_tensors(plan->file) + 1, sizeof *plan->targets)))
        status = no_memory(plan, "(all)");
    for (uint32_t i = 0; !status && i < safetensors_n_tensors(plan->file); i++)
        plan->targets[i].type = WEIGHT_TYPE_AS_STORED;
    if (!status && !(plan->planned_bytes = calloc((size_t)safetensors_n_tensors(plan->file) + 1, sizeof(uint64_t))))
        status = log_fail(plan->log, MN_ERR_MEMORY, "%s: out of host memory for %u tensors", plan->dir,
                          (unsigned)safetensors_n_tensors(plan->file));
    return status;
}

void weight_plan_finish(struct weight_plan *plan)
{
    for (uint32_t i = 0; i < plan->n_vectors; i++)
        free(plan->vectors[i].values);
    free(plan->vectors);
    free(plan->matrices);
    free(plan->used);
    free(plan->targets);
    free(plan->planned_bytes);
    safetensors_close(plan->file);
}
