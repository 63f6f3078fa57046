#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/base/numbers.h"
#include "engine/model/family.h"
#include "engine/model/forward.h"
#include "engine/model/pace.h"
#include "engine/model/pipelines.h"
#include "engine/model/rotary.h"
#include "engine/model/session_internal.h"

enum { DEFAULT_ROWS = 16 };

/* Every stamp takes time to build; a pass pays for the rows of its stamp. Up to 32 rows, which waves and verification
 * have, none pays for more than a third more than it has. */
static const uint32_t stamp_rows[SESSION_N_STAMPS] = {1, 2, 4, 6, 8, 10, 12, 16, 18, 24, 32, 64, 128, 128};

uint32_t session_stamp(uint32_t n_rows, bool prefill)
{
    uint32_t stamp = 0;
    if (prefill)
        return SESSION_N_STAMPS - 1;
    while (stamp_rows[stamp] < n_rows)
        stamp++;
    return stamp;
}

uint32_t session_stamp_rows(uint32_t stamp)
{
    return stamp_rows[stamp];
}

const struct tile *session_tile(const struct session *session, uint32_t stamp)
{
    const struct tuning *tuning = &session->model->tuning;
    return stamp == SESSION_N_STAMPS - 1 ? &tuning->prefill : &tuning->decode;
}

static struct kv_shape cache_shape(const struct session *s)
{
    const struct model_config *config = &s->model->config;
    return (struct kv_shape){.n_kv_heads = config->n_kv_heads,
                             .head_dim = config->head_dim,
                             .n_prelude = config->n_prelude,
                             .n_core = config->n_core,
                             .n_coda = config->n_coda,
                             .num_steps = s->info.num_steps,
                             .n_ctx = s->info.n_ctx,
                             .n_sequences = s->info.n_sequences,
                             .n_branch = s->info.n_branch,
                             .policy = s->info.kv_policy,
                             .type = s->info.kv_type};
}

/* Most bytes that one buffer may have: what the device binds and allocates at once. */
static uint64_t most_bytes(const struct session *s)
{
    const struct caps *caps = &s->model->device->caps;
    const uint64_t allocation = caps->max_allocation_bytes - ARENA_ALIGN;
    return (caps->max_storage_range < allocation ? caps->max_storage_range : allocation) & ~(uint64_t)(ARENA_ALIGN - 1);
}

/* A vocabulary may be too large for the logits of SESSION_MAX_ROWS rows to fit into one buffer; prompts then run in
 * smaller chunks. */
static enum mn_status choose_logit_rows(struct session *s)
{
    const uint64_t row_bytes = s->model->config.vocab_size * sizeof(float), rows = most_bytes(s) / row_bytes;
    s->info.prefill_rows = rows < SESSION_MAX_ROWS ? (uint32_t)rows : SESSION_MAX_ROWS;
    if (s->info.prefill_rows >= s->info.max_rows)
        return MN_OK;
    return log_fail(s->model->device->log, MN_ERR_MEMORY,
                    "the logits of %u rows of %u ids take %.1f MiB, device '%s' allows %.1f MiB for one buffer; at "
                    "most %u rows per pass would fit: a smaller lookahead "
                    "or max_inflight",
                    s->info.max_rows, s->model->config.vocab_size, (double)(s->info.max_rows * row_bytes) / 1048576.0,
                    s->model->device->caps.name, (double)most_bytes(s) / 1048576.0, s->info.prefill_rows);
}

enum { N_BUFFERS = 15 };

struct buffer_plan {
    struct span *span;
    uint64_t bytes; /* 0: this model has no use for it */
};

/* The scratch, buffer by buffer. */
static enum mn_status list_buffers(struct session *s, struct buffer_plan plan[N_BUFFERS])
{
    const struct model *model = s->model;
    const struct model_config *config = &model->config;
    const struct tuning *tuning = &model->tuning;
    const uint64_t rows = SESSION_MAX_ROWS, slots = (uint64_t)session_cells(s) * s->info.n_sequences, d = model->stride,
                   f32 = sizeof(float);
    const uint64_t heads = (uint64_t)config->n_heads * model->head_pad;
    const uint64_t groups = max_u32(tile_groups(&tuning->decode, config->vocab_size),
                                    tile_groups(&tuning->prefill, config->vocab_size));
    s->parts_stride = max_u32(tile_groups(&tuning->decode, config->n_embd),
                              tile_groups(&tuning->prefill, config->n_embd));
    s->n_splits = (s->info.n_ctx + tuning->attention_split - 1) / tuning->attention_split;
    const uint64_t parts = (uint64_t)s->parts_stride * 2 * f32;
    enum mn_status status = choose_logit_rows(s);
    const struct buffer_plan buffers[N_BUFFERS] = {
        {&s->x, rows * d * f32},
        {&s->y, rows * d * f32},
        {&s->query, rows * heads * f32},
        {&s->hidden, rows * model->ff_stride * f32},
        {&s->heads, config->heads_normed || s->info.kv_type == KV_Q8 ? rows * model->heads_stride * f32 : 0},
        {&s->partial_o, rows * s->n_splits * heads * f32},
        {&s->partial_ml, rows * s->n_splits * config->n_heads * 2 * f32},
        {&s->states, slots * d * f32},
        {&s->injected, config->family->injects ? slots * d * f32 : 0},
        {&s->x_parts, rows * parts},
        {&s->y_parts, rows * parts},
        {&s->state_parts, slots * parts},
        {&s->logits, s->info.prefill_rows * config->vocab_size * f32},
        {&s->best, rows * groups * 2 * f32},
        {&s->rotary, (uint64_t)s->info.n_ctx * config->head_dim * f32},
    };
    memcpy(plan, buffers, sizeof buffers);
    return status;
}

static enum mn_status reserve_spans(struct session *s)
{
    struct buffer_plan plan[N_BUFFERS];
    enum mn_status status = list_buffers(s, plan);
    for (int i = 0; i < N_BUFFERS && !status; i++)
        if (plan[i].bytes)
            status = arena_reserve(&s->scratch, plan[i].bytes, plan[i].span);
    if (!status)
        status = arena_reserve(&s->shared, STATE_WORDS * sizeof(uint32_t), &s->state);
    return status;
}

static enum mn_status reserve_buffers(struct session *s)
{
    const uint32_t n_vocab = s->model->config.vocab_size;
    enum mn_status status = reserve_spans(s);
    if (!status && !(s->host_logits = malloc(n_vocab * sizeof *s->host_logits)))
        status = log_fail(s->model->device->log, MN_ERR_MEMORY, "out of host memory for logits");
    if (!status)
        status = arena_commit(&s->scratch);
    return status ? status : arena_commit(&s->shared);
}

/* Everything a kernel reads beyond what was written (padding, unused depth slots) must be finite: it starts as zero. */
static enum mn_status clear_buffers(struct session *s)
{
    enum mn_status status = MN_OK;
    const struct arena *const arenas[] = {&s->scratch, &s->cache.arena, &s->shared};
    for (size_t i = 0; i < sizeof arenas / sizeof *arenas; i++) {
        struct arena_block *block = NULL;
        for (struct span all; !status && arena_next(arenas[i], &block, &all);)
            status = stream_fill(&s->stream, all, 0);
    }
    return status;
}

/* angle = position * frequency, in double on the host: a device's sin is not good enough. */
static enum mn_status upload_rotary(struct session *s)
{
    const uint32_t half = s->model->config.head_dim / 2;
    float *table = malloc((size_t)s->info.n_ctx * half * 2 * sizeof *table);
    if (!table)
        return log_fail(s->model->device->log, MN_ERR_MEMORY, "out of host memory for the rotary table");
    for (uint32_t i = 0; i < half; i++) {
        const float frequency = rotary_frequency(&s->model->config, i);
        for (uint32_t p = 0; p < s->info.n_ctx; p++) {
            double angle = (double)((float)p * frequency);
            table[(p * (size_t)half + i) * 2] = (float)cos(angle);
            table[(p * (size_t)half + i) * 2 + 1] = (float)sin(angle);
        }
    }
    enum mn_status status = stream_upload(&s->stream, s->rotary, 0, table,
                                          (uint64_t)s->info.n_ctx * half * 2 * sizeof *table);
    free(table);
    return status;
}

static bool has_stamp(const struct session *s, uint32_t stamp)
{
    return stamp <= session_stamp(s->info.max_rows, false) || stamp == SESSION_N_STAMPS - 1;
}

static uint64_t n_recordings(const struct session *s)
{
    uint64_t n = 0;
    for (uint32_t stamp = 0; stamp < SESSION_N_STAMPS; stamp++)
        n += has_stamp(s, stamp) ? PASS_COUNT : 0;
    return n;
}

static enum mn_status record_all(struct session *s)
{
    struct progress *progress = session_progress(s);
    enum mn_status status = progress_begin(progress, "building pipelines", n_recordings(s));
    for (int pass = 0; pass < PASS_COUNT; pass++)
        for (uint32_t stamp = 0; stamp < SESSION_N_STAMPS && !status; stamp++) {
            if (!has_stamp(s, stamp))
                continue;
            status = forward_record(s, (enum pass)pass, stamp, &s->recordings[pass][stamp]);
            if (!status)
                status = progress_add(progress, 1);
        }
    status = progress_end(progress, status);
    for (int pass = 0; pass < PASS_COUNT; pass++)
        for (uint32_t i = 0; i < s->recordings[pass][0].n; i++)
            s->n_dispatches[pass] += s->pieces[s->recordings[pass][0].first + i].recording.n_dispatches;
    return status;
}

/* Drivers may compile a pipeline at its first dispatch (lavapipe does): every recording runs once here, on one row
 * whose traces a prompt overwrites before anything reads them, so that no token pays for it and no figure contains
 * it. */
static enum mn_status warm_up(struct session *s)
{
    const struct row row = {0};
    struct progress *progress = session_progress(s);
    enum mn_status status = progress_begin(progress, "warming up", n_recordings(s));
    for (uint32_t stamp = 0; stamp < SESSION_N_STAMPS && !status; stamp++) {
        if (s->recordings[PASS_CORE][stamp].n == 0)
            continue;
        session_write_state(s, &(struct session_run_params){
                                   .rows = &row, .n_rows = 1, .n_new = 1, .n_core = 1, .coda = true, .n_head = 1});
        ((uint32_t *)span_host(s->state))[STATE_SETTINGS + SETTING_TEMPERATURE] = bits_of(1.0f);
        struct pace pace = {.session = s}; /* teaches nothing: these times are not those of later runs */
        for (int pass = 0; pass < PASS_COUNT && !pace.status; pass++) {
            pace_pass(&pace, (enum pass)pass, stamp, 1, 1.0);
            if (!pace_end(&pace)) /* each for itself: compiling all of them would be one long submit */
                pace.status = progress_add(progress, 1);
        }
        status = pace.status;
    }
    status = progress_end(progress, status);
    s->stream.n_submits = s->stream.n_dispatches = 0;
    return status;
}

static void fill_info(struct session *s, const struct session_params *params, uint32_t n_ctx, uint32_t n_sequences)
{
    const struct weights *w = &s->model->weights;
    s->info = (struct session_info){.config = &s->model->config,
                                    .log = s->model->device->log,
                                    .exit_gate = w->exit_gate,
                                    .n_ctx = n_ctx,
                                    .n_sequences = n_sequences,
                                    .n_branch = params->n_branch,
                                    .num_steps = params->num_steps,
                                    .max_rows = params->max_rows ? params->max_rows : DEFAULT_ROWS,
                                    .kv_policy = params->policy,
                                    .kv_type = params->kv_type,
                                    .prelude_bytes = w->prelude_bytes,
                                    .core_bytes = w->core_bytes,
                                    .coda_bytes = w->coda_bytes};
    const struct kv_shape shape = cache_shape(s);
    s->info.kv_bytes_per_token = kv_bytes_per_token(&shape);
}

const struct session_info *session_info(const struct session *s)
{
    return &s->info;
}

struct session_counts session_counts(const struct session *s)
{
    struct session_counts counts = s->counts;
    counts.submits = s->stream.n_submits;
    counts.dispatches = s->stream.n_dispatches;
    return counts;
}

/* Of the shaders in use and how they are cut to size. */
static uint64_t hash_kernels(const struct model *model)
{
    const bool matrix = model->tuning.decode.path == PATH_MATRIX || model->tuning.prefill.path == PATH_MATRIX;
    uint64_t hash = hash_bytes(HASH_START, &model->tuning, sizeof model->tuning);
    for (enum kernel_id id = 0; id < KERNEL_COUNT; id++) {
        const struct kernel_code *code = &kernel_info(id)->code[VARIANT_MATRIX];
        hash = hash_bytes(hash, kernels_code(&model->kernels, id)->words, kernels_code(&model->kernels, id)->bytes);
        if (matrix && code->words)
            hash = hash_bytes(hash, code->words, code->bytes);
    }
    return hash;
}

size_t session_fingerprint(const struct session *s, char *text, size_t text_bytes)
{
    const struct model *m = s->model;
    const struct caps *caps = &m->device->caps;
    const struct model_config *c = &m->config;
    const int n = snprintf(text, text_bytes,
                           "%s|%s|%s|%u|%s d%u h%u g%u f%u v%u p%u c%u k%u|w%" PRIu64
                           " on%u%u|kv %s share%u|%016" PRIx64,
                           caps->name, caps->id, caps->driver, caps->api_version, c->family->model_type, c->n_embd,
                           c->n_heads, c->n_kv_heads, c->intermediate_size, c->vocab_size, c->n_prelude, c->n_core,
                           c->n_coda, m->weights.arena.bytes, m->tuning.decode.path, m->tuning.prefill.path,
                           kv_type_name(s->info.kv_type), s->info.kv_policy.share, hash_kernels(m));
    return n > 0 ? (size_t)n : 0;
}

/* A model that was made for so many steps is another one beyond them. */
static enum mn_status check_depth(const struct model_config *c, const struct session_params *params,
                                  const struct mn_log *log)
{
    if (c->max_recurrence == 0 || params->num_steps <= c->max_recurrence || params->beyond_trained_depth)
        return MN_OK;
    if (c->family->fixed_depth)
        return log_fail(log, MN_ERR_USAGE, "num_steps %u: a %s model has one depth", params->num_steps,
                        c->family->name);
    return log_fail(log, MN_ERR_USAGE,
                    "num_steps %u: this %s model was made for %u; beyond_trained_depth runs more of them, outside what "
                    "it was trained for",
                    params->num_steps, c->family->name, c->max_recurrence);
}

static enum mn_status check_params(const struct model *model, const struct session_params *params, uint32_t n_ctx,
                                   uint32_t n_sequences)
{
    const struct mn_log *log = model->device->log;
    if (n_ctx < 2 || n_ctx > CONFIG_BLOCK_MAX)
        return log_fail(log, MN_ERR_USAGE, "n_ctx %u: must be from 2 to %d", n_ctx, CONFIG_BLOCK_MAX);
    if (n_sequences > SESSION_MAX_ROWS)
        return log_fail(log, MN_ERR_USAGE, "%u sequences: at most %d", n_sequences, SESSION_MAX_ROWS);
    if (params->num_steps < 1 || params->num_steps > CONFIG_RECURRENCE_MAX)
        return log_fail(log, MN_ERR_USAGE, "num_steps %u: must be from 1 to %d", params->num_steps,
                        CONFIG_RECURRENCE_MAX);
    if (params->n_branch > SESSION_MAX_ROWS)
        return log_fail(log, MN_ERR_USAGE, "a branch of %u positions: at most %d", params->n_branch, SESSION_MAX_ROWS);
    if (params->max_rows > SESSION_MAX_ROWS)
        return log_fail(log, MN_ERR_USAGE, "%u rows per pass: at most %d", params->max_rows, SESSION_MAX_ROWS);
    enum mn_status status = check_depth(&model->config, params, log);
    return status ? status : sampler_check(&params->sampler, log);
}

/* A session of checked sizes without anything on the device. */
static enum mn_status begin(struct session **out, struct model *model, const struct session_params *params)
{
    const uint32_t n_ctx = params->n_ctx ? params->n_ctx : model->config.block_size,
                   n_sequences = params->n_sequences ? params->n_sequences : 1;
    *out = NULL;
    enum mn_status status = check_params(model, params, n_ctx, n_sequences);
    if (status)
        return status;
    struct session *s = calloc(1, sizeof *s);
    if (!s)
        return log_fail(model->device->log, MN_ERR_MEMORY, "out of host memory for a session");
    s->model = model;
    fill_info(s, params, n_ctx, n_sequences);
    arena_init(&s->scratch, model->device, "scratch", ARENA_DEVICE);
    arena_init(&s->shared, model->device, "state", ARENA_SHARED);
    *out = s;
    return MN_OK;
}

enum mn_status session_plan(struct session_bytes *out, struct model *model, const struct session_params *params)
{
    struct session *s;
    *out = (struct session_bytes){0};
    enum mn_status status = begin(&s, model, params);
    if (status)
        return status;
    const struct kv_shape shape = cache_shape(s);
    const struct mn_log silent = {0}, *const log = model->device->log;
    struct buffer_plan plan[N_BUFFERS] = {{0}};
    model->device->log = &silent; /* that something is too large is an answer here, not a failure */
    status = list_buffers(s, plan);
    model->device->log = log;
    *out = (struct session_bytes){.cache = kv_cache_bytes(&shape),
                                  .scratch = arena_span_bytes(STATE_WORDS * sizeof(uint32_t)),
                                  .cache_per_token = s->info.kv_bytes_per_token,
                                  .largest = kv_block_bytes(&shape, shape.n_prelude),
                                  .largest_possible = status ? 0 : kv_cache_largest_block(model->device)};
    for (int i = 0; i < N_BUFFERS; i++) {
        out->scratch += plan[i].bytes ? arena_span_bytes(plan[i].bytes) : 0;
        if (plan[i].bytes > out->largest)
            out->largest = plan[i].bytes;
    }
    session_destroy(s);
    return status == MN_ERR_MEMORY ? MN_OK : status;
}

enum mn_status pipelines_list(struct pipeline_uses *out, struct model *model, const struct session_params *params)
{
    struct session *s;
    *out = (struct pipeline_uses){0};
    enum mn_status status = begin(&s, model, params);
    if (status)
        return status;
    s->uses = out;
    pace_init(s, params->piece_work);
    struct kv_shape cache = cache_shape(s);
    cache.n_ctx = 1; /* no kernel is built for the size of a cache, and all of it may be more than a device binds */
    status = kv_cache_plan(&s->cache, model->device, &cache);
    if (!status)
        status = reserve_spans(s);
    if (!status)
        status = record_all(s);
    session_destroy(s);
    return status;
}

enum mn_status session_create(struct session **out, struct model *model, const struct session_params *params)
{
    struct session *s;
    enum mn_status status = begin(&s, model, params);
    *out = NULL;
    if (status)
        return status;
    pace_init(s, params->piece_work);
    const struct kv_shape cache = cache_shape(s);
    status = stream_init(&s->stream, model->device, &model->kernels);
    if (!status)
        status = kv_cache_init(&s->cache, model->device, &cache);
    if (!status)
        status = reserve_buffers(s);
    if (!status)
        status = clear_buffers(s);
    if (!status)
        status = upload_rotary(s);
    if (!status)
        status = record_all(s);
    session_set_sampler(s, &params->sampler, params->init_scale);
    if (!status)
        status = warm_up(s);
    if (status) {
        session_destroy(s);
        return status;
    }
    *out = s;
    return MN_OK;
}

void session_destroy(struct session *s)
{
    if (!s)
        return;
    if (s->stream.device)
        stream_finish(&s->stream);
    kv_cache_finish(&s->cache);
    arena_finish(&s->scratch);
    arena_finish(&s->shared);
    free(s->host_logits);
    free(s->pieces);
    free(s);
}

void session_set_sampler(struct session *s, const struct sampler_params *sampler, float init_scale)
{
    for (uint32_t i = 0; i < s->info.n_sequences; i++)
        session_set_sequence_sampler(s, i, sampler, init_scale);
}

void session_set_sequence_sampler(struct session *s, uint32_t sequence, const struct sampler_params *sampler,
                                  float init_scale)
{
    s->samplers[sequence] = *sampler;
    s->init_scales[sequence] = init_scale;
}
