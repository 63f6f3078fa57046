#include "engine/model/weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache.h"
#include "engine/base/numbers.h"
#include "engine/model/family.h"
#include "engine/model/synthetic.h"
#include "engine/model/weight_check.h"
#include "engine/model/weight_plan.h"

enum { PIECE_BYTES = 4 << 20 };

/* ---- filling ---- */

struct loader {
    struct weights *weights;
    struct weight_plan plan;
    struct stream *stream;
    uint64_t seed; /* of a synthetic model */
};

/* What a matrix is packed with: rows_at_once rows for the device, one row of the file and of padded values. */
struct packing {
    uint32_t rows_at_once, n_values;
    uint8_t *rows;           /* [rows_at_once, row_bytes] */
    uint8_t *raw, *scales;   /* [columns] of the tensor */
    float *decoded, *padded; /* [n_columns], [n_values] */
};

static void packing_finish(struct packing *p)
{
    free(p->rows);
    free(p->raw);
    free(p->scales);
    free(p->decoded);
    free(p->padded);
}

static enum mn_status packing_init(struct packing *p, const struct loader *loader, const struct matrix_item *item)
{
    const struct matrix *matrix = item->matrix;
    const uint32_t n_columns = item->plan.n_columns;
    *p = (struct packing){.rows_at_once = max_u32((uint32_t)(PIECE_BYTES / matrix->row_bytes), 1),
                          .n_values = matrix->n_chunks * WEIGHT_CHUNK};
    p->rows = calloc(p->rows_at_once, matrix->row_bytes);
    p->raw = malloc(item->plan.columns * (size_t)4);
    p->scales = malloc(item->plan.columns * (size_t)4);
    p->decoded = malloc(n_columns * sizeof *p->decoded);
    p->padded = calloc(p->n_values, sizeof *p->padded);
    if (p->rows && p->raw && p->scales && p->decoded && p->padded)
        return MN_OK;
    packing_finish(p);
    return log_fail(loader->plan.log, MN_ERR_MEMORY, "out of host memory for tensor '%s'", item->plan.parts[0].name);
}

/* Bytes [from, from + n) of row `row`, which has row_bytes, to `out`. Who reads a tensor first (`whole`) reads whole
 * rows: they are its share of the model's hash. */
static enum mn_status read_bytes(struct weight_plan *plan, const struct tensor_view *tensor, bool whole, uint32_t row,
                                 uint64_t row_bytes, uint64_t from, uint64_t n, uint8_t *out)
{
    if (!whole)
        return safetensors_read(plan->file, tensor, row * row_bytes + from, n, out, plan->log);
    enum mn_status status = safetensors_read(plan->file, tensor, row * row_bytes, row_bytes, out, plan->log);
    if (!status)
        weight_plan_hash(plan, tensor, row * row_bytes, out, row_bytes);
    if (!status && from)
        memmove(out, out + from, n);
    return status;
}

/* Columns [column0, column0 + n_columns) of a row of the file to p->raw, their scales to p->scales. */
static enum mn_status read_row(struct weight_plan *plan, const struct matrix_item *item, uint32_t part, uint32_t row,
                               struct packing *p)
{
    const struct stored_matrix *s = &item->stored[part];
    const struct matrix_plan *what = &item->plan;
    const bool whole = item->hashes[part];
    enum mn_status status = read_bytes(plan, s->values, whole, row, stored_value_bytes(s, what->columns),
                                       stored_value_bytes(s, what->column0), stored_value_bytes(s, what->n_columns),
                                       p->raw);
    if (!status && s->scales)
        status = read_bytes(plan, s->scales, whole, row, stored_scale_bytes(s, what->columns),
                            stored_scale_bytes(s, what->column0), stored_scale_bytes(s, what->n_columns), p->scales);
    return status;
}

/* What was read, as values, to `out` [value_bytes] and `scales` behind it. */
static enum mn_status encode_row(const struct loader *loader, const struct matrix_item *item,
                                 const struct stored_matrix *stored, struct packing *p, uint8_t *out, uint8_t *scales)
{
    const struct weight_format *format = weight_format(item->matrix->type);
    const uint32_t head_dim = loader->plan.config->head_dim, head_pad = kv_head_pad(head_dim);
    enum mn_status status = stored_decode(&loader->plan, stored, p->raw, p->scales, item->plan.n_columns, p->decoded);
    for (uint32_t k = 0; k < item->plan.n_columns && !status; k++)
        p->padded[item->plan.layout == LAYOUT_HEADS ? k / head_dim * head_pad + k % head_dim : k] = p->decoded[k];
    for (uint32_t k = 0; k < p->n_values && !status; k += format->group) {
        if (!format->encode(p->padded + k, out, scales))
            status = weight_plan_refuse_value(&loader->plan, stored->values, item->matrix->type, p->padded + k);
        out += format->group_bytes;
        scales += format->scale_bytes;
    }
    return status;
}

/* Row `row` of the matrix from the file into the packing's place `at`. Groups that are stored as such lie on the device
 * as they do there. */
static enum mn_status pack_row(struct loader *loader, const struct matrix_item *item, uint32_t row, struct packing *p,
                               uint32_t at)
{
    struct weight_plan *plan = &loader->plan;
    uint32_t source = weight_plan_source_row(plan, item, row), part = 0;
    while (source >= item->plan.parts[part].rows)
        source -= item->plan.parts[part++].rows;
    const struct stored_matrix *stored = &item->stored[part];
    uint8_t *out = p->rows + at * item->matrix->row_bytes, *scales = out + item->matrix->value_bytes;
    enum mn_status status = read_row(plan, item, part, source, p);
    if (status || !stored->scales || stored->type != item->matrix->type)
        return status ? status : encode_row(loader, item, stored, p, out, scales);
    memcpy(out, p->raw, stored_value_bytes(stored, item->plan.n_columns));
    memcpy(scales, p->scales, stored_scale_bytes(stored, item->plan.n_columns));
    return stored_check_scales(plan, stored, scales, item->plan.n_columns);
}

static enum mn_status upload_matrix(struct loader *loader, const struct matrix_item *item)
{
    const struct matrix *matrix = item->matrix;
    struct packing packing;
    enum mn_status status = packing_init(&packing, loader, item);
    if (status)
        return status;
    for (uint32_t row = 0, n; row < matrix->n_out && !status; row += n) {
        n = matrix_rows_at(matrix, row, packing.rows_at_once);
        for (uint32_t i = 0; i < n && !status; i++)
            status = pack_row(loader, item, row + i, &packing, i);
        if (!status)
            status = stream_upload(loader->stream, matrix_span(matrix, row, n), 0, packing.rows, n * matrix->row_bytes);
        if (!status)
            status = progress_add(&loader->plan.device->progress, n * matrix->row_bytes);
    }
    packing_finish(&packing);
    return status;
}

/* A matrix is known by its place in the plan, which the configuration alone decides. */
static enum mn_status synthesize_matrix(struct loader *loader, const struct matrix_item *item)
{
    const struct model_config *config = loader->plan.config;
    const bool heads = item->plan.layout == LAYOUT_HEADS;
    const struct synthetic_matrix what = {.seed = loader->seed,
                                          .number = (uint32_t)(item - loader->plan.matrices),
                                          .n_in = item->plan.columns,
                                          .period = heads ? kv_head_pad(config->head_dim)
                                                          : item->matrix->n_chunks * WEIGHT_CHUNK,
                                          .n_valid = heads ? config->head_dim : item->plan.n_columns};
    return synthetic_fill(loader->stream, item->matrix, &what);
}

/* ---- the whole ---- */

static void count_bytes(struct weights *weights, const struct model_config *config)
{
    const struct block_weights *block = weights->blocks;
    uint64_t *const sums[] = {&weights->prelude_bytes, &weights->core_bytes, &weights->coda_bytes};
    const uint32_t counts[] = {config->n_prelude, config->n_core, config->n_coda};
    for (int section = 0; section < 3; section++)
        for (uint32_t i = 0; i < counts[section]; i++, block++)
            *sums[section] += matrix_bytes(&block->qkv) + matrix_bytes(&block->proj) + matrix_bytes(&block->gate) +
                              matrix_bytes(&block->down);
    weights->prelude_bytes += matrix_bytes(&weights->adapter_embed);
    weights->core_bytes += matrix_bytes(&weights->adapter_state);
    weights->coda_bytes += matrix_bytes(&weights->head);
}

static void count_matrix(struct weight_count *count, const struct matrix *matrix, enum weight_type type)
{
    if (matrix->n_out == 0 || matrix->type != type)
        return;
    count->n++;
    count->n_kept += matrix->kept;
    count->bytes += matrix_bytes(matrix);
}

struct weight_count weights_count(const struct weights *weights, enum weight_type type)
{
    struct weight_count count = {0};
    count_matrix(&count, &weights->embedding, type);
    if (weights->head.windows != weights->embedding.windows)
        count_matrix(&count, &weights->head, type);
    count_matrix(&count, &weights->adapter_state, type);
    count_matrix(&count, &weights->adapter_embed, type);
    for (uint32_t i = 0; i < weights->n_blocks; i++) {
        const struct block_weights *block = &weights->blocks[i];
        count_matrix(&count, &block->qkv, type);
        count_matrix(&count, &block->proj, type);
        count_matrix(&count, &block->gate, type);
        count_matrix(&count, &block->down, type);
    }
    return count;
}

const char *weights_type_name(const struct weights *weights, const struct model_config *config,
                              const struct weight_scheme *scheme)
{
    return *scheme->name          ? scheme->name
           : *config->stored.name ? config->stored.name
                                  : weight_type_name(weights->blocks[config->n_prelude].qkv.type);
}

/* The type with the most bits whose weights fit into `available`; NULL: none. */
static const char *type_that_fits(const struct weight_plan *plan, uint64_t available)
{
    static const enum weight_type types[] = {WEIGHT_TYPE_BF16, WEIGHT_TYPE_Q8_0, WEIGHT_TYPE_Q4_1};
    const struct mn_log silent = {0}, *const log = plan->device->log;
    const char *fits = NULL;
    plan->device->log = &silent; /* what does not fit is an answer here, not a failure */
    for (size_t i = 0; i < sizeof types / sizeof *types && !fits; i++) {
        struct weight_scheme scheme;
        struct weights weights;
        if (weight_scheme_parse(weight_type_name(types[i]), &scheme, &silent) ||
            weights_plan(&weights, plan->dir, plan->config, &scheme, plan->device))
            continue;
        if (weights.arena.bytes <= available && weights.arena.bytes < plan->arena->bytes)
            fits = weight_type_name(types[i]);
        weights_finish(&weights);
    }
    plan->device->log = log;
    return fits;
}

/* Before anything is allocated: a software device would be given memory that is not there, and the system would end the
 * program. */
static enum mn_status check_fit(const struct weight_plan *plan)
{
    const uint64_t available = device_available_bytes(plan->device), needed = plan->arena->bytes;
    if (needed <= available)
        return MN_OK;
    const char *const fits = type_that_fits(plan, available);
    return log_fail(plan->log, MN_ERR_MEMORY, "%s: its weights need %.1f MiB%s%s, device '%s' has %.1f MiB: %s%s%s",
                    plan->dir ? plan->dir : "synthetic model", (double)needed / 1048576.0,
                    *plan->scheme.name ? " as " : "", plan->scheme.name, plan->device->caps.name,
                    (double)available / 1048576.0, fits ? "weight_type " : "no weight_type", fits ? fits : "",
                    " would fit");
}

enum mn_status weights_list(struct weights *weights, struct weight_plan *plan)
{
    const struct model_config *config = plan->config;
    plan->weights = weights;
    weights->n_blocks = config->n_prelude + config->n_core + config->n_coda;
    weights->blocks = calloc(weights->n_blocks, sizeof *weights->blocks);
    if (!weights->blocks) {
        weights->n_blocks = 0;
        return log_fail(plan->log, MN_ERR_MEMORY, "out of host memory for the blocks");
    }
    enum mn_status status = weight_plan_init(plan, weights->n_blocks);
    if (!status) {
        config->family->plan_weights(plan, weights);
        status = plan->status;
    }
    if (status)
        return status;
    return plan->file ? weight_check_rest(plan) : MN_OK;
}

static enum mn_status make_matrices(struct loader *loader,
                                    enum mn_status (*make)(struct loader *loader, const struct matrix_item *item))
{
    const struct weight_plan *plan = &loader->plan;
    struct progress *progress = &plan->device->progress;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < plan->n_matrices; i++)
        bytes += matrix_bytes(plan->matrices[i].matrix);
    enum mn_status status = progress_begin(progress, plan->file ? "reading weights" : "making weights", bytes);
    for (uint32_t i = 0; i < plan->n_matrices && !status; i++)
        status = make(loader, &plan->matrices[i]);
    return progress_end(progress, status);
}

/* Plans everything, then makes the matrices with `make`, one by one; NULL: no more than the plan. */
static enum mn_status build(struct loader *loader,
                            enum mn_status (*make)(struct loader *loader, const struct matrix_item *item))
{
    struct weight_plan *plan = &loader->plan;
    struct weights *weights = loader->weights;
    const struct model_config *config = plan->config;
    *weights = (struct weights){0};
    plan->arena = &weights->arena;
    plan->log = plan->device->log;
    arena_init(&weights->arena, plan->device, "weights", ARENA_DEVICE);
    enum mn_status status = weights_list(weights, plan);
    if (!status && make)
        status = check_fit(plan);
    if (!status && make)
        status = arena_commit(&weights->arena);
    if (!status && make)
        status = make_matrices(loader, make);
    for (uint32_t i = 0; i < plan->n_vectors && make && !status; i++)
        status = stream_upload(loader->stream, *plan->vectors[i].span, 0, plan->vectors[i].values,
                               plan->vectors[i].n * sizeof(float));
    if (!status && plan->file)
        status = weight_plan_hash_rest(plan);
    weights->hash = plan->hash;
    if (!status)
        count_bytes(weights, config);
    /* Also behind a failure: the arena is freed below. */
    enum mn_status waited = plan->device->lost || !make ? MN_OK : stream_wait(loader->stream);
    if (!status)
        status = waited;
    weight_plan_finish(plan);
    if (status)
        weights_finish(weights);
    return status;
}

enum mn_status weights_load(struct weights *weights, const char *dir, const struct model_config *config,
                            const struct weight_scheme *scheme, struct device *device, struct stream *stream)
{
    struct loader loader = {
        .weights = weights,
        .plan = {.config = config, .device = device, .dir = dir, .scheme = *scheme},
        .stream = stream,
    };
    return build(&loader, upload_matrix);
}

enum mn_status weights_synthesize(struct weights *weights, const struct model_config *config,
                                  const struct weight_scheme *scheme, uint64_t seed, struct device *device,
                                  struct stream *stream)
{
    struct loader loader = {
        .weights = weights,
        .plan = {.config = config, .device = device, .scheme = *scheme},
        .stream = stream,
        .seed = seed,
    };
    return build(&loader, synthesize_matrix);
}

enum mn_status weights_plan(struct weights *weights, const char *dir, const struct model_config *config,
                            const struct weight_scheme *scheme, struct device *device)
{
    struct loader loader = {
        .weights = weights,
        .plan = {.config = config, .device = device, .dir = dir, .scheme = *scheme},
    };
    return build(&loader, NULL);
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
    free(weights->exit_gate);
    *weights = (struct weights){0};
}
