#include "engine/model/model.h"

#include <stdlib.h>

#include "cache/cache.h"
#include "engine/base/numbers.h"
#include "engine/files/file_hash.h"
#include "engine/model/family.h"
#include "engine/model/matrix_choice.h"
#include "engine/model/synthetic.h"

const struct tile tile_tiled = {64, 4, 4, 32, PATH_TILED, 0, 0};

struct tile tile_matrix_few(uint32_t side, uint32_t subgroup)
{
    return (struct tile){4 * subgroup, 16 * subgroup / side, 4, 16, PATH_MATRIX, side, subgroup};
}

struct tile tile_matrix_many(uint32_t side, uint32_t subgroup)
{
    return (struct tile){4 * subgroup, 4 * subgroup / side, 4, 32, PATH_MATRIX, side, subgroup};
}

uint32_t tile_rows(const struct tile *tile, uint32_t rows)
{
    const uint32_t n_groups = (rows + tile->n_max - 1) / tile->n_max;
    /* 10 rows are two groups of 5, not one of 8 and one of 2. */
    return tile->path == PATH_MATRIX ? tile->n_max : (rows + n_groups - 1) / n_groups;
}

struct tuning tuning_choose(const struct caps *caps)
{
    const uint32_t cpu_path = caps->texel_loads && caps->subgroup_size >= 8 ? PATH_SHARING : PATH_APART;
    if (caps->is_cpu)
        /* A workgroup is one SIMD vector; a lane is an output row, so nothing is ever reduced across lanes. Heads and
           rows are work enough for the cores, so that splits would only cost their merging. */
        return (struct tuning){.decode = {caps->subgroup_size, 1, 4, 8, cpu_path, 0, 0},
                               .prefill = {caps->subgroup_size, 1, 4, 8, cpu_path, 0, 0},
                               .attention_threads = caps->subgroup_size,
                               .attention_per_lane = 2,
                               .attention_split = 1024,
                               .attention_tile_rows = caps->texel_loads ? caps->subgroup_size : 0,
                               .attention_tile_per_lane = 1,
                               .row_threads = caps->subgroup_size};
    /* The lanes' sums meet in shared memory: about 25 KiB for four output rows at a time, half of that for two. Tiles
       take up to 21 KiB. */
    const bool roomy = caps->max_shared_bytes >= 32768;
    /* In subgroups of 128 a lane has one position of a block: eight rows of it are more state than loads are saved. */
    const bool shares = caps->subgroup_shuffle && caps->subgroup_size <= 64;
    /* Eight rows are 128 registers. Where there are fewer (Apple), workgroups have 32 KiB, too. */
    const uint32_t sharing_rows = caps->max_shared_bytes > 32768 ? 8 : 4;
    const bool tiled = roomy && !caps->texel_loads; /* which only shaders/gpu has */
    return (struct tuning){.decode = {roomy ? 128 : 64, 32, 4, 8, PATH_APART, 0, 0},
                           .prefill = tiled ? tile_tiled : (struct tile){64, 1, 4, 8, PATH_APART, 0, 0},
                           .attention_threads = caps->subgroup_size,
                           .attention_per_lane = 1,
                           .attention_split = 128,
                           .attention_tile_rows = shares ? sharing_rows : 0,
                           .attention_tile_per_lane = max_u32(1, min_u32(2, 64 / caps->subgroup_size)),
                           .row_threads = min_u32(256, caps->max_workgroup_threads)};
}

uint32_t tile_groups(const struct tile *tile, uint32_t n_out)
{
    uint32_t rows = tile->threads / tile->k_lanes * tile->rows;
    return (n_out + rows - 1) / rows;
}

/* A folder is the bytes of its files, whatever its path. */
static enum mn_status hash_folder(struct model *model, const char *dir, const struct mn_log *log)
{
    model->hash = HASH_START;
    enum mn_status status = file_hash(&model->hash, dir, "config.json", log);
    if (!status)
        status = file_hash(&model->hash, dir, "generation_config.json", log);
    model->hash = hash_block(model->hash, &model->weights.hash, sizeof model->weights.hash);
    return status;
}

_Static_assert(sizeof(void *) != 8 || sizeof(struct model_config) == 192 + sizeof(struct weight_scheme),
               "a new field belongs into the hash, too"); /* but for `stored`, which no synthetic model has */

/* A synthetic model is its configuration and its seed, under whatever name. */
static void hash_configuration(struct model *model, uint64_t seed)
{
    const struct model_config *c = &model->config;
    const uint32_t values[] = {(uint32_t)seed,
                               (uint32_t)(seed >> 32),
                               c->n_embd,
                               c->n_heads,
                               c->n_kv_heads,
                               c->head_dim,
                               c->intermediate_size,
                               c->vocab_size,
                               c->n_prelude,
                               c->n_core,
                               c->n_coda,
                               c->mean_recurrence,
                               c->max_recurrence,
                               c->block_size,
                               bits_of(c->norm_eps),
                               bits_of(c->rope_base),
                               bits_of(c->rope_scaling.factor),
                               bits_of(c->rope_scaling.low_factor),
                               bits_of(c->rope_scaling.high_factor),
                               c->rope_scaling.original_positions,
                               bits_of(c->embed_scale),
                               bits_of((float)c->state_std),
                               c->rotary_halves,
                               c->tie_embeddings,
                               c->qk_bias,
                               c->heads_normed,
                               c->bos_token_id,
                               c->n_eos};
    model->hash = hash_string(HASH_START, c->family->name);
    model->hash = hash_block(model->hash, values, sizeof values);
    model->hash = hash_block(model->hash, c->eos_token_ids, c->n_eos * sizeof *c->eos_token_ids);
}

static enum mn_status make_weights(struct model *model, const struct model_params *params, struct stream *stream)
{
    const char *dir = params->synthetic ? NULL : params->dir;
    model->plan_only = params->plan_only;
    model->weight_scheme = params->weight_scheme;
    if (params->plan_only)
        return weights_plan(&model->weights, dir, &model->config, &params->weight_scheme, model->device);
    if (!dir)
        return weights_synthesize(&model->weights, &model->config, &params->weight_scheme, params->synthetic_seed,
                                  model->device, stream);
    return weights_load(&model->weights, dir, &model->config, &params->weight_scheme, model->device, stream);
}

enum mn_status model_load(struct model **out, const struct model_params *params, const struct mn_log *log)
{
    *out = NULL;
    struct stream stream = {0};
    struct device_params device = params->device;
    device.statistics = params->plan_only; /* whose pipelines are there to be looked at */
    struct model *model = calloc(1, sizeof *model);
    if (!model)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a model");
    /* The file is checked before the device is touched: a typo in a path should not cost a device start. */
    enum mn_status status = params->synthetic ? synthetic_config(&model->config, params->synthetic, log)
                                              : config_load(&model->config, params->dir, log);
    if (!status)
        status = device_create(&model->device, &device, log);
    if (!status)
        status = matrix_choice_prepare(model->device, params->matrix_units, log);
    if (!status)
        status = kernels_init(&model->kernels, model->device);
    if (!status && !params->plan_only)
        status = stream_init(&stream, model->device, &model->kernels);
    if (!status) {
        model->tuning = tuning_choose(&model->device->caps);
        model->head_pad = kv_head_pad(model->config.head_dim);
        model->stride = round_up_u32(model->config.n_embd, WEIGHT_CHUNK);
        model->ff_stride = round_up_u32(model->config.intermediate_size, WEIGHT_CHUNK);
        model->heads_stride = round_up_u32(
            (model->config.n_heads + 2 * model->config.n_kv_heads) * model->config.head_dim, WEIGHT_CHUNK);
        status = make_weights(model, params, &stream);
        if (!status)
            status = matrix_choose(model, &stream, params->matrix_units);
    }
    if (stream.device)
        stream_finish(&stream);
    if (!status && params->synthetic)
        hash_configuration(model, params->synthetic_seed);
    else if (!status && !params->plan_only) /* which has not read the weights */
        status = hash_folder(model, params->dir, log);
    if (status) {
        model_free(model);
        return status;
    }
    *out = model;
    return MN_OK;
}

void model_free(struct model *model)
{
    if (!model)
        return;
    weights_finish(&model->weights);
    kernels_finish(&model->kernels);
    device_destroy(model->device);
    free(model);
}
