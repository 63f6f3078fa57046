#include "engine/model/weights.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/safetensors.h"
#include "engine/model/synthetic.h"

enum { CHUNK = 8, NAME_BYTES = 128, MAX_ITEMS = 16 + 11 * 3 * CONFIG_LAYERS_MAX, PIECE_BYTES = 4 << 20 };

/* How a tensor's rows and columns become the kernel's. */
enum layout {
    LAYOUT_ROWS,       /* as they are */
    LAYOUT_INTERLEAVE, /* gate rows to even rows, up rows to odd rows */
    LAYOUT_HEADS,      /* columns padded per head from head_dim to head_pad */
};

struct item {
    struct matrix *matrix;
    const struct tensor_view *tensor; /* NULL: synthetic */
    enum layout layout;
    uint32_t column0, n_columns; /* the tensor's columns that belong to this matrix */
    uint32_t n_in;               /* inputs of the whole tensor */
};

struct vector_item {
    struct span *span;
    float *values;
    uint32_t n;
};

struct loader {
    struct weights *weights;
    const struct model_config *config;
    struct device *device;
    struct stream *stream;
    struct safetensors *file; /* NULL: synthetic */
    uint64_t seed;            /* of a synthetic model */
    const char *dir;
    enum weight_type type;
    struct item *items;
    struct vector_item *vectors;
    uint32_t n_items, n_vectors;
};

const char *weight_type_name(enum weight_type type)
{
    static const char *const names[] = {"f32", "f16", "bf16", "as stored"};
    return names[type];
}

enum mn_status weight_type_parse(const char *text, enum weight_type *out, const struct mn_log *log)
{
    for (int i = WEIGHT_TYPE_F32; i <= WEIGHT_TYPE_BF16; i++)
        if (!strcmp(text, weight_type_name((enum weight_type)i))) {
            *out = (enum weight_type)i;
            return MN_OK;
        }
    return log_fail(log, MN_ERR_USAGE, "--weight-type %s: must be bf16, f16 or f32", text);
}

uint32_t matrix_rows_at(const struct matrix *matrix, uint32_t row0, uint32_t most)
{
    const uint32_t left = matrix->n_out - row0, in_window = matrix->window_rows - row0 % matrix->window_rows,
                   n = left < in_window ? left : in_window;
    return n < most ? n : most;
}

struct span matrix_span(const struct matrix *matrix, uint32_t row0, uint32_t n)
{
    struct span span = matrix->windows[row0 / matrix->window_rows];
    span.offset += row0 % matrix->window_rows * matrix->row_bytes;
    span.bytes = n * matrix->row_bytes;
    return span;
}

static uint32_t chunks(uint32_t n)
{
    return (n + CHUNK - 1) / CHUNK;
}

static enum mn_status find_tensor(struct loader *loader, const char *name, const struct tensor_view **out)
{
    const struct tensor_view *tensor = safetensors_find(loader->file, name);
    if (!tensor)
        return log_fail(loader->device->log, MN_ERR_FORMAT, "%s: tensor '%s' is missing", loader->dir, name);
    if (tensor->dtype != TENSOR_F32 && tensor->dtype != TENSOR_F16 && tensor->dtype != TENSOR_BF16)
        return log_fail(loader->device->log, MN_ERR_UNSUPPORTED,
                        "%s: tensor '%s' has type %s; F32, F16 and BF16 can be read",
                        safetensors_shard_name(loader->file, tensor->shard), name, tensor_dtype_name(tensor->dtype));
    *out = tensor;
    return MN_OK;
}

static enum weight_type stored_type(const struct tensor_view *tensor)
{
    return tensor->dtype == TENSOR_F32   ? WEIGHT_TYPE_F32
           : tensor->dtype == TENSOR_F16 ? WEIGHT_TYPE_F16
                                         : WEIGHT_TYPE_BF16;
}

/* Cuts a matrix into what the device can bind and allocate at once. */
static enum mn_status reserve_windows(struct loader *loader, struct matrix *matrix, const char *name)
{
    const struct caps *caps = &loader->device->caps;
    const uint64_t allocation = caps->max_allocation_bytes - ARENA_ALIGN;
    const uint64_t most = caps->max_storage_range < allocation ? caps->max_storage_range : allocation,
                   window = most / matrix->row_bytes;
    matrix->window_rows = window >= matrix->n_out ? matrix->n_out
                                                  : (uint32_t)(window & ~(uint64_t)(MATRIX_ROWS_STEP - 1));
    if (matrix->window_rows == 0)
        return log_fail(loader->device->log, MN_ERR_UNSUPPORTED,
                        "tensor '%s': %d rows of %" PRIu64 " bytes exceed the %" PRIu64
                        " bytes that device '%s' binds at once",
                        name, MATRIX_ROWS_STEP, matrix->row_bytes, most, caps->name);
    matrix->n_windows = (matrix->n_out + matrix->window_rows - 1) / matrix->window_rows;
    matrix->windows = calloc(matrix->n_windows, sizeof *matrix->windows);
    if (!matrix->windows)
        return log_fail(loader->device->log, MN_ERR_MEMORY, "out of host memory for tensor '%s'", name);
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < matrix->n_windows && !status; i++)
        status = arena_reserve(&loader->weights->arena,
                               matrix->row_bytes * matrix_rows_at(matrix, i * matrix->window_rows, matrix->window_rows),
                               &matrix->windows[i]);
    return status;
}

/* The tensor of a matrix, which must be [>= rows, columns]. */
static enum mn_status find_matrix(struct loader *loader, const char *name, uint32_t rows, uint32_t columns,
                                  const struct tensor_view **out)
{
    enum mn_status status = find_tensor(loader, name, out);
    if (status)
        return status;
    const struct tensor_view *tensor = *out;
    /* Only the embedding and the head may have more rows than are used: checkpoints pad the vocabulary. */
    bool padded = rows == loader->config->vocab_size && !strstr(name, ".mlp.") && !strstr(name, ".attn.");
    if (tensor->rank != 2 || tensor->shape[1] != columns ||
        (padded ? tensor->shape[0] < rows : tensor->shape[0] != rows))
        return log_fail(loader->device->log, MN_ERR_FORMAT,
                        "%s: tensor '%s' has rank %u and shape [%" PRIu64 ", %" PRIu64
                        "], config.json asks for [%u, %u]",
                        safetensors_shard_name(loader->file, tensor->shard), name, tensor->rank, tensor->shape[0],
                        tensor->rank > 1 ? tensor->shape[1] : 0, rows, columns);
    return MN_OK;
}

static enum weight_type matrix_type(const struct loader *loader, const struct tensor_view *tensor)
{
    if (loader->type != WEIGHT_TYPE_AS_STORED)
        return loader->type;
    return tensor ? stored_type(tensor) : WEIGHT_TYPE_BF16;
}

/* Plans a matrix of `rows` x `n_columns` starting at `column0` of tensor `name`, which must be [>= rows, columns]. */
static enum mn_status plan_matrix(struct loader *loader, struct matrix *matrix, const char *name, uint32_t rows,
                                  uint32_t columns, uint32_t column0, uint32_t n_columns, enum layout layout)
{
    const struct tensor_view *tensor = NULL;
    enum mn_status status = loader->file ? find_matrix(loader, name, rows, columns, &tensor) : MN_OK;
    if (status)
        return status;
    const struct model_config *config = loader->config;
    uint32_t inner = layout == LAYOUT_HEADS ? config->n_heads * chunks(config->head_dim) * CHUNK : n_columns;
    *matrix = (struct matrix){.type = matrix_type(loader, tensor), .n_out = rows, .n_chunks = chunks(inner)};
    matrix->row_bytes = (uint64_t)matrix->n_chunks * CHUNK * (matrix->type == WEIGHT_TYPE_F32 ? 4 : 2);
    loader->items[loader->n_items++] = (struct item){.matrix = matrix,
                                                     .tensor = tensor,
                                                     .layout = layout,
                                                     .column0 = column0,
                                                     .n_columns = n_columns,
                                                     .n_in = columns};
    return reserve_windows(loader, matrix, name);
}

/* Converts `n` stored values to f32, refusing what no weight may be. */
static enum mn_status decode_values(struct loader *loader, const struct tensor_view *tensor, const uint8_t *bytes,
                                    uint64_t n, float *out)
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
            return log_fail(loader->device->log, MN_ERR_FORMAT, "%s: tensor '%s' holds a value that is not finite",
                            safetensors_shard_name(loader->file, tensor->shard), tensor->name);
    }
    return MN_OK;
}

/* Reads tensor `name` of `n` values in any shape into `out`. */
static enum mn_status read_vector(struct loader *loader, const char *name, uint32_t n, float *out)
{
    const struct tensor_view *tensor = NULL;
    for (uint32_t i = 0; i < n && !loader->file; i++) /* a synthetic model's norms do nothing but normalise */
        out[i] = strstr(name, "bias") ? 0.0f : 1.0f;
    if (!loader->file)
        return MN_OK;
    enum mn_status status = find_tensor(loader, name, &tensor);
    if (status)
        return status;
    uint64_t count = tensor->bytes / tensor_dtype_bytes(tensor->dtype);
    if (count != n)
        return log_fail(loader->device->log, MN_ERR_FORMAT,
                        "%s: tensor '%s' has %" PRIu64 " values, config.json asks for %u",
                        safetensors_shard_name(loader->file, tensor->shard), name, count, n);
    uint8_t *bytes = malloc(tensor->bytes ? tensor->bytes : 1);
    if (!bytes)
        return log_fail(loader->device->log, MN_ERR_MEMORY, "out of host memory for tensor '%s'", name);
    status = safetensors_read(loader->file, tensor, 0, tensor->bytes, bytes, loader->device->log);
    if (!status)
        status = decode_values(loader, tensor, bytes, n, out);
    free(bytes);
    return status;
}

/* Plans a device vector of n values (padded with zeros), elementwise product of a and b (b may be NULL). */
static enum mn_status plan_vector(struct loader *loader, struct span *span, const float *a, const float *b, uint32_t n)
{
    float *values = calloc((size_t)chunks(n) * CHUNK, sizeof *values);
    if (!values)
        return log_fail(loader->device->log, MN_ERR_MEMORY, "out of host memory for the norms");
    for (uint32_t i = 0; i < n; i++)
        values[i] = b ? a[i] * b[i] : a[i];
    loader->vectors[loader->n_vectors++] = (struct vector_item){.span = span, .values = values, .n = chunks(n) * CHUNK};
    return arena_reserve(&loader->weights->arena, (uint64_t)chunks(n) * CHUNK * sizeof *values, span);
}

struct norms {
    float *norm_1, *norm_2, *norm_3, *norm_4; /* [d] each */
};

static enum mn_status plan_block_matrices(struct loader *loader, const char *prefix, struct block_weights *block)
{
    const struct model_config *config = loader->config;
    const uint32_t d = config->n_embd, f = config->intermediate_size;
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s.attn.Wqkv.weight", prefix);
    enum mn_status status = plan_matrix(loader, &block->qkv, name, 3 * d, d, 0, d, LAYOUT_ROWS);
    snprintf(name, sizeof name, "%s.attn.proj.weight", prefix);
    if (!status)
        status = plan_matrix(loader, &block->proj, name, d, d, 0, d, LAYOUT_HEADS);
    snprintf(name, sizeof name, "%s.mlp.fc.weight", prefix);
    if (!status)
        status = plan_matrix(loader, &block->gate, name, 2 * f, d, 0, d, LAYOUT_INTERLEAVE);
    snprintf(name, sizeof name, "%s.mlp.proj.weight", prefix);
    if (!status)
        status = plan_matrix(loader, &block->down, name, d, f, 0, f, LAYOUT_ROWS);
    return status;
}

/* `previous` is the norm_4 still pending on the block's input, NULL at the start of a section. */
static enum mn_status plan_block(struct loader *loader, const char *prefix, struct block_weights *block,
                                 struct norms *norms, const float *previous, float *bias)
{
    const uint32_t d = loader->config->n_embd;
    float *const targets[] = {norms->norm_1, norms->norm_2, norms->norm_3, norms->norm_4};
    char name[NAME_BYTES];
    enum mn_status status = plan_block_matrices(loader, prefix, block);
    for (int i = 0; i < 4 && !status; i++) {
        snprintf(name, sizeof name, "%s.norm_%d.weight", prefix, i + 1);
        status = read_vector(loader, name, d, targets[i]);
    }
    memset(bias, 0, 2 * (size_t)d * sizeof *bias);
    if (!status && loader->config->qk_bias) {
        snprintf(name, sizeof name, "%s.attn.qk_bias", prefix);
        status = read_vector(loader, name, 2 * d, bias);
    }
    if (!status)
        status = plan_vector(loader, &block->input_norm, norms->norm_1, previous, d);
    if (!status)
        status = plan_vector(loader, &block->norm_2, norms->norm_2, NULL, d);
    if (!status)
        status = plan_vector(loader, &block->gate_norm, norms->norm_2, norms->norm_3, d);
    if (!status)
        status = plan_vector(loader, &block->norm_4, norms->norm_4, NULL, d);
    if (!status)
        status = plan_vector(loader, &block->bias, bias, NULL, 2 * d);
    return status;
}

static enum mn_status plan_blocks(struct loader *loader, float *last_coda_norm)
{
    const struct model_config *config = loader->config;
    const uint32_t d = config->n_embd;
    static const char *const sections[] = {"prelude", "core_block", "coda"};
    const uint32_t counts[] = {config->n_prelude, config->n_core, config->n_coda};
    float *memory = malloc(7 * (size_t)d * sizeof *memory);
    if (!memory)
        return log_fail(loader->device->log, MN_ERR_MEMORY, "out of host memory for the norms");
    struct norms norms = {memory, memory + d, memory + 2 * (size_t)d, memory + 3 * (size_t)d};
    float *previous = memory + 4 * (size_t)d, *bias = memory + 5 * (size_t)d;
    enum mn_status status = MN_OK;
    struct block_weights *block = loader->weights->blocks;
    for (int section = 0; section < 3; section++)
        for (uint32_t i = 0; i < counts[section] && !status; i++, block++) {
            char prefix[64];
            snprintf(prefix, sizeof prefix, "transformer.%s.%u", sections[section], i);
            status = plan_block(loader, prefix, block, &norms, i > 0 ? previous : NULL, bias);
            memcpy(previous, norms.norm_4, d * sizeof *previous);
            if (section == 1)
                memcpy(loader->weights->state_norm, norms.norm_4, d * sizeof *previous);
        }
    memcpy(last_coda_norm, previous, d * sizeof *previous);
    free(memory);
    return status;
}

static enum mn_status plan_all(struct loader *loader)
{
    struct weights *weights = loader->weights;
    const struct model_config *config = loader->config;
    const uint32_t d = config->n_embd, v = config->vocab_size;
    float *norm_f = malloc(2 * (size_t)d * sizeof *norm_f);
    if (!norm_f)
        return log_fail(loader->device->log, MN_ERR_MEMORY, "out of host memory for the norms");
    float *last = norm_f + d;
    enum mn_status status = plan_matrix(loader, &weights->embedding, "transformer.wte.weight", v, d, 0, d, LAYOUT_ROWS);
    if (!status && !config->tie_embeddings)
        status = plan_matrix(loader, &weights->head, "lm_head.weight", v, d, 0, d, LAYOUT_ROWS);
    if (!status)
        status = plan_matrix(loader, &weights->adapter_state, "transformer.adapter.weight", d, 2 * d, 0, d,
                             LAYOUT_ROWS);
    if (!status)
        status = plan_matrix(loader, &weights->adapter_embed, "transformer.adapter.weight", d, 2 * d, d, d,
                             LAYOUT_ROWS);
    if (!status)
        status = plan_blocks(loader, last);
    if (!status)
        status = read_vector(loader, "transformer.ln_f.weight", d, norm_f);
    if (!status)
        status = plan_vector(loader, &weights->norm_f, norm_f, NULL, d);
    if (!status)
        status = plan_vector(loader, &weights->head_norm, norm_f, config->n_coda ? last : NULL, d);
    if (!status && config->tie_embeddings)
        weights->head = weights->embedding;
    free(norm_f);
    return status;
}

static enum mn_status encode_value(struct loader *loader, const struct item *item, float x, uint8_t *out)
{
    if (item->matrix->type == WEIGHT_TYPE_F32) {
        memcpy(out, &x, 4);
        return MN_OK;
    }
    uint16_t half = item->matrix->type == WEIGHT_TYPE_BF16 ? f32_to_bf16(x) : f32_to_f16(x);
    if (!isfinite(item->matrix->type == WEIGHT_TYPE_BF16 ? bf16_to_f32(half) : f16_to_f32(half)))
        return log_fail(loader->device->log, MN_ERR_UNSUPPORTED,
                        "%s: tensor '%s': value %g does not fit into %s; use --weight-type bf16 or f32",
                        safetensors_shard_name(loader->file, item->tensor->shard), item->tensor->name, (double)x,
                        weight_type_name(item->matrix->type));
    memcpy(out, &half, 2);
    return MN_OK;
}

/* Source row of the tensor that becomes row `row` of the matrix. */
static uint32_t source_row(const struct item *item, uint32_t row)
{
    if (item->layout == LAYOUT_INTERLEAVE)
        return row / 2 + (row & 1 ? item->matrix->n_out / 2 : 0);
    return row;
}

static enum mn_status pack_row(struct loader *loader, const struct item *item, uint32_t row, uint8_t *raw,
                               float *values, uint8_t *out)
{
    const uint64_t value_bytes = tensor_dtype_bytes(item->tensor->dtype), columns = item->tensor->shape[1];
    const uint32_t head_dim = loader->config->head_dim, head_pad = chunks(head_dim) * CHUNK;
    enum mn_status status = safetensors_read(loader->file, item->tensor,
                                             (source_row(item, row) * columns + item->column0) * value_bytes,
                                             item->n_columns * value_bytes, raw, loader->device->log);
    if (!status)
        status = decode_values(loader, item->tensor, raw, item->n_columns, values);
    const uint32_t step = item->matrix->type == WEIGHT_TYPE_F32 ? 4 : 2;
    memset(out, 0, item->matrix->row_bytes);
    for (uint32_t k = 0; k < item->n_columns && !status; k++) {
        uint32_t to = item->layout == LAYOUT_HEADS ? k / head_dim * head_pad + k % head_dim : k;
        status = encode_value(loader, item, values[k], out + (uint64_t)to * step);
    }
    return status;
}

static enum mn_status upload_matrix(struct loader *loader, const struct item *item)
{
    const struct matrix *matrix = item->matrix;
    uint32_t rows_at_once = (uint32_t)(PIECE_BYTES / matrix->row_bytes);
    if (rows_at_once == 0)
        rows_at_once = 1;
    uint8_t *packed = malloc(rows_at_once * matrix->row_bytes);
    uint8_t *raw = malloc(item->n_columns * (size_t)4);
    float *values = malloc(item->n_columns * sizeof *values);
    enum mn_status status = packed && raw && values
                                ? MN_OK
                                : log_fail(loader->device->log, MN_ERR_MEMORY, "out of host memory for tensor '%s'",
                                           item->tensor->name);
    for (uint32_t row = 0, n; row < matrix->n_out && !status; row += n) {
        n = matrix_rows_at(matrix, row, rows_at_once);
        for (uint32_t i = 0; i < n && !status; i++)
            status = pack_row(loader, item, row + i, raw, values, packed + i * matrix->row_bytes);
        if (!status)
            status = stream_upload(loader->stream, matrix_span(matrix, row, n), 0, packed, n * matrix->row_bytes);
    }
    free(packed);
    free(raw);
    free(values);
    return status;
}

static void count_bytes(struct weights *weights, const struct model_config *config)
{
    const struct block_weights *block = weights->blocks;
    uint64_t *const sums[] = {&weights->prelude_bytes, &weights->core_bytes, &weights->coda_bytes};
    const uint32_t counts[] = {config->n_prelude, config->n_core, config->n_coda};
    for (int section = 0; section < 3; section++)
        for (uint32_t i = 0; i < counts[section]; i++, block++) {
            const struct matrix *const all[] = {&block->qkv, &block->proj, &block->gate, &block->down};
            for (int m = 0; m < 4; m++)
                *sums[section] += all[m]->row_bytes * all[m]->n_out;
        }
    weights->prelude_bytes += weights->adapter_embed.row_bytes * weights->adapter_embed.n_out;
    weights->core_bytes += weights->adapter_state.row_bytes * weights->adapter_state.n_out;
    weights->coda_bytes += weights->head.row_bytes * weights->head.n_out;
}

/* A matrix is known by its place in the plan, which the configuration alone decides. */
static enum mn_status synthesize_matrix(struct loader *loader, const struct item *item)
{
    const bool heads = item->layout == LAYOUT_HEADS;
    const struct synthetic_matrix what = {.seed = loader->seed,
                                          .number = (uint32_t)(item - loader->items),
                                          .n_in = item->n_in,
                                          .period = heads ? chunks(loader->config->head_dim) * CHUNK
                                                          : item->matrix->n_chunks * CHUNK,
                                          .n_valid = heads ? loader->config->head_dim : item->n_columns};
    return synthetic_fill(loader->stream, item->matrix, &what);
}

/* Before anything is allocated: a software device would be given memory that is not there, and the system would end the
 * program. */
static enum mn_status check_fit(const struct loader *loader)
{
    const uint64_t available = device_available_bytes(loader->device), needed = loader->weights->arena.bytes;
    if (needed <= available)
        return MN_OK;
    const bool f32 = loader->type == WEIGHT_TYPE_F32;
    return log_fail(
        loader->device->log, MN_ERR_MEMORY,
        "synthetic model: its weights need %.1f MiB as %s, device '%s' has %.1f MiB: %s", (double)needed / 1048576.0,
        weight_type_name(matrix_type(loader, NULL)), loader->device->caps.name, (double)available / 1048576.0,
        !f32 || needed / 2 > available ? "no --weight-type would fit" : "--weight-type bf16 or f16 would fit");
}

/* Plans everything, then makes the matrices with `make`, one by one. */
static enum mn_status build(struct loader *loader,
                            enum mn_status (*make)(struct loader *loader, const struct item *item))
{
    const struct model_config *config = loader->config;
    struct weights *weights = loader->weights;
    struct device *device = loader->device;
    const uint32_t n_blocks = config->n_prelude + config->n_core + config->n_coda;
    arena_init(&weights->arena, device, "weights", ARENA_DEVICE);
    weights->blocks = calloc(n_blocks, sizeof *weights->blocks);
    loader->items = calloc(16 + 4 * (size_t)n_blocks, sizeof *loader->items);
    loader->vectors = calloc(16 + 6 * (size_t)n_blocks, sizeof *loader->vectors);
    enum mn_status status = MN_OK;
    weights->state_norm = calloc(config->n_embd, sizeof *weights->state_norm);
    weights->n_blocks = weights->blocks ? n_blocks : 0;
    if (!weights->blocks || !weights->state_norm || !loader->items || !loader->vectors)
        status = log_fail(device->log, MN_ERR_MEMORY, "out of host memory for %u blocks", n_blocks);
    if (!status && loader->dir)
        status = safetensors_open(&loader->file, loader->dir, NULL, device->log);
    if (!status)
        status = plan_all(loader);
    if (!status && !loader->dir)
        status = check_fit(loader);
    if (!status)
        status = arena_commit(&weights->arena);
    for (uint32_t i = 0; i < loader->n_items && !status; i++)
        status = make(loader, &loader->items[i]);
    for (uint32_t i = 0; i < loader->n_vectors && !status; i++)
        status = stream_upload(loader->stream, *loader->vectors[i].span, 0, loader->vectors[i].values,
                               loader->vectors[i].n * sizeof(float));
    if (!status)
        count_bytes(weights, config);
    enum mn_status waited = device->lost
                                ? MN_OK
                                : stream_wait(loader->stream); /* also behind a failure: the arena is freed below */
    if (!status)
        status = waited;
    for (uint32_t i = 0; i < loader->n_vectors; i++)
        free(loader->vectors[i].values);
    free(loader->vectors);
    free(loader->items);
    safetensors_close(loader->file);
    if (status)
        weights_finish(weights);
    return status;
}

enum mn_status weights_load(struct weights *weights, const char *dir, const struct model_config *config,
                            enum weight_type type, struct device *device, struct stream *stream)
{
    *weights = (struct weights){0};
    return build(
        &(struct loader){
            .weights = weights, .config = config, .device = device, .stream = stream, .dir = dir, .type = type},
        upload_matrix);
}

enum mn_status weights_synthesize(struct weights *weights, const struct model_config *config, enum weight_type type,
                                  uint64_t seed, struct device *device, struct stream *stream)
{
    *weights = (struct weights){0};
    return build(
        &(struct loader){
            .weights = weights, .config = config, .device = device, .stream = stream, .type = type, .seed = seed},
        synthesize_matrix);
}

void weights_finish(struct weights *weights)
{
    if (weights->arena.device)
        arena_finish(&weights->arena);
    for (uint32_t i = 0; i < weights->n_blocks; i++) {
        free(weights->blocks[i].qkv.windows);
        free(weights->blocks[i].proj.windows);
        free(weights->blocks[i].gate.windows);
        free(weights->blocks[i].down.windows);
    }
    if (weights->head.windows != weights->embedding.windows) /* tied: the same matrix */
        free(weights->head.windows);
    free(weights->embedding.windows);
    free(weights->adapter_state.windows);
    free(weights->adapter_embed.windows);
    free(weights->blocks);
    free(weights->state_norm);
    *weights = (struct weights){0};
}
