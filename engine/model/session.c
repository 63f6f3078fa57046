#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/numbers.h"
#include "engine/model/forward.h"
#include "engine/model/pace.h"
#include "engine/model/session_internal.h"

enum { DEFAULT_ROWS = 16 };

static const uint32_t stamp_rows[SESSION_N_STAMPS] = {1, 2, 4, 8, 16, 32, 64, 128, 128};

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

static enum mn_status reserve_buffers(struct session *s)
{
    const struct model *model = s->model;
    const struct model_config *config = &model->config;
    const struct tuning *tuning = &model->tuning;
    const uint64_t rows = SESSION_MAX_ROWS, slots = (uint64_t)s->info.n_ctx * s->info.n_sequences, d = model->stride,
                   f32 = sizeof(float);
    const uint64_t heads = (uint64_t)config->n_heads * model->head_pad;
    const uint64_t groups = max_u32(tile_groups(&tuning->decode, config->vocab_size),
                                    tile_groups(&tuning->prefill, config->vocab_size));
    s->parts_stride = max_u32(tile_groups(&tuning->decode, config->n_embd),
                              tile_groups(&tuning->prefill, config->n_embd));
    s->n_splits = (s->info.n_ctx + tuning->attention_split - 1) / tuning->attention_split;
    const uint64_t parts = (uint64_t)s->parts_stride * 2 * f32;
    enum mn_status status = choose_logit_rows(s);
    /* What grows with the context takes no more per position than a block of the cache, which has been checked by
     * now. */
    struct {
        struct span *span;
        uint64_t bytes;
    } const plan[] = {
        {&s->x, rows * d * f32},
        {&s->y, rows * d * f32},
        {&s->query, rows * heads * f32},
        {&s->hidden, rows * model->ff_stride * f32},
        {&s->partial_o, rows * s->n_splits * heads * f32},
        {&s->partial_ml, rows * s->n_splits * config->n_heads * 2 * f32},
        {&s->states, slots * d * f32},
        {&s->injected, slots * d * f32},
        {&s->x_parts, rows * parts},
        {&s->y_parts, rows * parts},
        {&s->state_parts, slots * parts},
        {&s->logits, s->info.prefill_rows * config->vocab_size * f32},
        {&s->best, rows * groups * 2 * f32},
        {&s->rotary, (uint64_t)s->info.n_ctx * config->head_dim * f32},
    };
    for (size_t i = 0; i < sizeof plan / sizeof *plan && !status; i++)
        status = arena_reserve(&s->scratch, plan[i].bytes, plan[i].span);
    if (!status)
        status = arena_reserve(&s->shared, (STATE_HEAD_WORDS + 5 * STATE_MAX_ROWS) * sizeof(uint32_t), &s->state);
    if (!status && !(s->host_logits = malloc(config->vocab_size * sizeof *s->host_logits)))
        status = log_fail(model->device->log, MN_ERR_MEMORY, "out of host memory for logits");
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

/* angle = position * rope_base^(-2i/h), in double on the host: a device's pow and sin are not good enough. */
static enum mn_status upload_rotary(struct session *s)
{
    const uint32_t half = s->model->config.head_dim / 2;
    float *table = malloc((size_t)s->info.n_ctx * half * 2 * sizeof *table);
    if (!table)
        return log_fail(s->model->device->log, MN_ERR_MEMORY, "out of host memory for the rotary table");
    for (uint32_t p = 0; p < s->info.n_ctx; p++)
        for (uint32_t i = 0; i < half; i++) {
            /* The reference computes the frequency in float32; the angle is exact enough there for every context
             * used. */
            float frequency = 1.0f /
                              powf(s->model->config.rope_base, (float)(2 * i) / (float)s->model->config.head_dim);
            double angle = (double)((float)p * frequency);
            table[(p * (size_t)half + i) * 2] = (float)cos(angle);
            table[(p * (size_t)half + i) * 2 + 1] = (float)sin(angle);
        }
    enum mn_status status = stream_upload(&s->stream, s->rotary, 0, table,
                                          (uint64_t)s->info.n_ctx * half * 2 * sizeof *table);
    free(table);
    return status;
}

static enum mn_status record_all(struct session *s)
{
    enum mn_status status = MN_OK;
    for (int pass = 0; pass < PASS_COUNT; pass++)
        for (uint32_t stamp = 0; stamp < SESSION_N_STAMPS && !status; stamp++)
            if (stamp <= session_stamp(s->info.max_rows, false) || stamp == SESSION_N_STAMPS - 1)
                status = forward_record(s, (enum pass)pass, stamp, &s->recordings[pass][stamp]);
    for (int pass = 0; pass < PASS_COUNT; pass++)
        for (uint32_t i = 0; i < s->recordings[pass][0].n; i++)
            s->n_dispatches[pass] += s->pieces[s->recordings[pass][0].first + i].recording.n_dispatches;
    return status;
}

static void write_table(struct session *s, uint32_t *head, uint32_t table, const struct row *rows, uint32_t first,
                        uint32_t count)
{
    uint32_t last = 0;
    for (uint32_t i = first; i < first + count; i++)
        last = max_u32(last, rows[i].position);
    head[2 * table] = first;
    head[2 * table + 1] = count;
    if (table == TABLE_HEAD)
        return;
    head[STATE_GROUPS + 3 * table] = s->model->config.n_heads;
    head[STATE_GROUPS + 3 * table + 1] = last / s->model->tuning.attention_split + 1;
    head[STATE_GROUPS + 3 * table + 2] = count;
}

static void write_state(struct session *s, const struct session_run_params *p)
{
    const double d = (double)s->model->config.n_embd;
    uint32_t *head = span_host(s->state);
    write_table(s, head, TABLE_PRELUDE, p->rows, p->n_rows - p->n_new, p->n_new);
    write_table(s, head, TABLE_CORE, p->rows, 0, p->n_rows);
    write_table(s, head, TABLE_CODA, p->rows, 0, p->n_rows);
    write_table(s, head, TABLE_HEAD, p->rows, p->n_rows - p->n_head, p->n_head);
    head[STATE_SEED_LO] = (uint32_t)s->sampler.seed;
    head[STATE_SEED_HI] = (uint32_t)(s->sampler.seed >> 32);
    head[STATE_TEMPERATURE] = bits_of(s->sampler.temperature);
    head[STATE_TOP_K] = s->sampler.top_k;
    head[STATE_TOP_P] = bits_of(s->sampler.top_p);
    head[STATE_MIN_P] = bits_of(s->sampler.min_p);
    head[STATE_INIT_MODE] = p->given_states ? INIT_GIVEN : s->init_scale != 0.0f ? INIT_NORMAL : INIT_ZERO;
    head[STATE_INIT_STD] = bits_of((float)(sqrt(2.0 / (5.0 * d)) * sqrt(d)) * s->init_scale);
    memcpy(head + STATE_HEAD_WORDS, p->rows, p->n_rows * sizeof *p->rows);
}

/* Drivers may compile a pipeline at its first dispatch (lavapipe does): every recording runs once here, on one row
 * whose traces a prompt overwrites before anything reads them, so that no token pays for it and no figure contains
 * it. */
static enum mn_status warm_up(struct session *s)
{
    const struct row row = {0};
    enum mn_status status = MN_OK;
    for (uint32_t stamp = 0; stamp < SESSION_N_STAMPS && !status; stamp++) {
        if (s->recordings[PASS_CORE][stamp].n == 0)
            continue;
        write_state(s, &(struct session_run_params){
                           .rows = &row, .n_rows = 1, .n_new = 1, .n_core = 1, .coda = true, .n_head = 1});
        ((uint32_t *)span_host(s->state))[STATE_TEMPERATURE] = bits_of(1.0f);
        struct pace pace = {.session = s}; /* teaches nothing: these times are not those of later runs */
        for (int pass = 0; pass < PASS_COUNT; pass++)
            pace_pass(&pace, (enum pass)pass, stamp, 1, 1.0);
        status = pace_end(&pace);
    }
    s->stream.n_submits = s->stream.n_dispatches = 0;
    return status;
}

static void fill_info(struct session *s, const struct session_params *params, uint32_t n_ctx, uint32_t n_sequences)
{
    const struct weights *w = &s->model->weights;
    s->info = (struct session_info){.config = &s->model->config,
                                    .log = s->model->device->log,
                                    .n_ctx = n_ctx,
                                    .n_sequences = n_sequences,
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

enum mn_status session_create(struct session **out, struct model *model, const struct session_params *params)
{
    const struct mn_log *log = model->device->log;
    *out = NULL;
    uint32_t n_ctx = params->n_ctx ? params->n_ctx : model->config.block_size;
    uint32_t n_sequences = params->n_sequences ? params->n_sequences : 1;
    if (n_ctx < 2 || n_ctx > CONFIG_BLOCK_MAX)
        return log_fail(log, MN_ERR_USAGE, "n_ctx %u: must be from 2 to %d", n_ctx, CONFIG_BLOCK_MAX);
    if (n_sequences > SESSION_MAX_ROWS)
        return log_fail(log, MN_ERR_USAGE, "%u sequences: at most %d", n_sequences, SESSION_MAX_ROWS);
    if (params->num_steps < 1 || params->num_steps > CONFIG_RECURRENCE_MAX)
        return log_fail(log, MN_ERR_USAGE, "num_steps %u: must be from 1 to %d", params->num_steps,
                        CONFIG_RECURRENCE_MAX);
    if (params->max_rows > SESSION_MAX_ROWS)
        return log_fail(log, MN_ERR_USAGE, "%u rows per pass: at most %d", params->max_rows, SESSION_MAX_ROWS);
    enum mn_status status = sampler_check(&params->sampler, log);
    if (status)
        return status;
    struct session *s = calloc(1, sizeof *s);
    if (!s)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a session");
    s->model = model;
    fill_info(s, params, n_ctx, n_sequences);
    pace_init(s, params->piece_work);
    arena_init(&s->scratch, model->device, "scratch", ARENA_DEVICE);
    arena_init(&s->shared, model->device, "state", ARENA_SHARED);
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
    s->sampler = *sampler;
    s->init_scale = init_scale;
}

enum mn_status session_check_ids(const struct session *s, const uint32_t *ids, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (ids[i] >= s->model->config.vocab_size)
            return log_fail(s->model->device->log, MN_ERR_USAGE, "token id %u: the vocabulary has %u", ids[i],
                            s->model->config.vocab_size);
    return MN_OK;
}

/* Two rows at one place would race, and a row above one less deep would read entries that are not final. */
static enum mn_status check_order(const struct session *s, const struct session_run_params *p)
{
    const struct row *last[SESSION_MAX_ROWS] = {NULL}; /* by sequence */
    for (uint32_t i = 0; i < p->n_rows; i++) {
        const struct row *row = &p->rows[i], *before = last[row->sequence];
        if (before && (row->position <= before->position || row->depth > before->depth))
            return log_fail(s->model->device->log, MN_ERR_USAGE,
                            "row at position %u, depth %u behind one at position %u, depth %u of the same sequence: "
                            "positions must ascend, depths must not",
                            row->position, row->depth, before->position, before->depth);
        if (i >= p->n_rows - p->n_new && row->depth != 0)
            return log_fail(s->model->device->log, MN_ERR_USAGE, "row at position %u enters at depth %u: must be 0",
                            row->position, row->depth);
        last[row->sequence] = row;
    }
    return MN_OK;
}

/* The device trusts what it is given: every index a kernel will use is checked here. */
static enum mn_status check_run(struct session *s, const struct session_run_params *p)
{
    const struct mn_log *log = s->model->device->log;
    const uint32_t most = p->prefill ? s->info.prefill_rows : s->info.max_rows;
    if (p->n_rows < 1 || p->n_rows > most || p->n_new > p->n_rows || p->n_head > p->n_rows || (p->n_head && !p->coda))
        return log_fail(log, MN_ERR_USAGE, "run of %u rows (%u new, %u with logits) is not possible", p->n_rows,
                        p->n_new, p->n_head);
    for (uint32_t i = 0; i < p->n_rows; i++) {
        const struct row *row = &p->rows[i];
        enum mn_status status = session_check_ids(s, &row->token, 1);
        if (status)
            return status;
        if (row->position >= s->info.n_ctx)
            return log_fail(log, MN_ERR_USAGE, "position %u: the context has %u (n_ctx)", row->position, s->info.n_ctx);
        if (row->sequence >= s->info.n_sequences || row->depth > s->info.num_steps ||
            p->n_core > s->info.num_steps - row->depth)
            return log_fail(log, MN_ERR_USAGE,
                            "row of sequence %u at depth %u + %u steps: the session has %u sequences and %u steps",
                            row->sequence, row->depth, p->n_core, s->info.n_sequences, s->info.num_steps);
    }
    return check_order(s, p);
}

static void count_pass(struct session *s, enum pass pass, uint32_t stamp, uint32_t n_rows, uint64_t bytes)
{
    uint32_t n_max = forward_tile(s, stamp)->n_max;
    s->counts.passes[pass]++;
    s->counts.rows[pass] += n_rows;
    s->counts.weight_bytes += bytes * ((n_rows + n_max - 1) / n_max);
}

static void count_attention(struct session *s, const struct session_run_params *p, double *all, double *of_new)
{
    const struct model_config *config = &s->model->config;
    uint64_t positions = 0, new_positions = 0;
    for (uint32_t i = 0; i < p->n_rows; i++) {
        positions += p->rows[i].position + 1;
        if (i >= p->n_rows - p->n_new)
            new_positions += p->rows[i].position + 1;
    }
    const uint64_t entry = 2 * kv_entry_bytes(&s->cache.shape);
    *all = (double)positions;
    *of_new = (double)new_positions;
    s->counts.kv_bytes += entry * (positions * ((uint64_t)config->n_core * p->n_core + (p->coda ? config->n_coda : 0)) +
                                   new_positions * config->n_prelude);
}

enum mn_status session_run(struct session *s, const struct session_run_params *p, uint32_t *tokens)
{
    enum mn_status status = check_run(s, p);
    if (status)
        return status;
    const struct weights *w = &s->model->weights;
    const enum pass head = s->sampler.temperature > 0.0f ? PASS_HEAD_SAMPLED : PASS_HEAD_GREEDY;
    const uint32_t stamp = session_stamp(p->n_rows, p->prefill), stamp_new = session_stamp(p->n_new, p->prefill),
                   stamp_head = session_stamp(p->n_head, p->prefill);
    struct pace pace = {.session = s, .teaches = true};
    double positions, new_positions;
    write_state(s, p);
    count_attention(s, p, &positions, &new_positions);
    if (p->n_new) {
        pace_pass(&pace, PASS_PRELUDE, stamp_new, p->n_new, new_positions);
        count_pass(s, PASS_PRELUDE, stamp_new, p->n_new, w->prelude_bytes);
    }
    for (uint32_t i = 0; i < p->n_core; i++) {
        pace_pass(&pace, PASS_CORE, stamp, p->n_rows, positions);
        count_pass(s, PASS_CORE, stamp, p->n_rows, w->core_bytes);
    }
    if (p->coda) {
        pace_pass(&pace, PASS_CODA, stamp, p->n_rows, positions);
        count_pass(s, PASS_CODA, stamp, p->n_rows, w->coda_bytes - matrix_bytes(&w->head));
    }
    if (p->n_head) {
        pace_pass(&pace, head, stamp_head, p->n_head, 0.0);
        count_pass(s, head, stamp_head, p->n_head, matrix_bytes(&w->head));
    }
    status = pace_end(&pace);
    if (status)
        return status;
    const uint32_t *picked = (const uint32_t *)span_host(s->state) + STATE_HEAD_WORDS + 4 * STATE_MAX_ROWS +
                             (p->n_rows - p->n_head);
    for (uint32_t i = 0; tokens && i < p->n_head; i++)
        tokens[i] = picked[i];
    return MN_OK;
}

enum mn_status session_read_logits_rows(struct session *s, uint32_t row, uint32_t n, float *logits)
{
    const uint64_t bytes = s->model->config.vocab_size * sizeof *logits;
    const uint32_t first = ((const uint32_t *)span_host(s->state))[2 * TABLE_HEAD];
    return stream_download(&s->stream, s->logits, (first + row) * bytes, logits, n * bytes);
}

enum mn_status session_read_logits(struct session *s, uint32_t row, float *logits)
{
    return session_read_logits_rows(s, row, 1, logits);
}

/* Vectors of consecutive positions of a [slots, stride] buffer, without their padding: [n, n_embd]. */
static enum mn_status read_vectors(struct session *s, struct span from, uint32_t sequence, uint32_t first, uint32_t n,
                                   float *out)
{
    const uint64_t d = s->model->config.n_embd, row_bytes = s->model->stride * sizeof *out,
                   slot0 = (uint64_t)sequence * s->info.n_ctx + first;
    if (s->model->stride == d)
        return stream_download(&s->stream, from, slot0 * row_bytes, out, n * row_bytes);
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < n && !status; i++)
        status = stream_download(&s->stream, from, (slot0 + i) * row_bytes, out + i * d, d * sizeof *out);
    return status;
}

static enum mn_status write_vectors(struct session *s, struct span to, uint32_t sequence, uint32_t first, uint32_t n,
                                    const float *in)
{
    const uint64_t d = s->model->config.n_embd, row_bytes = s->model->stride * sizeof *in,
                   slot0 = (uint64_t)sequence * s->info.n_ctx + first;
    if (s->model->stride == d)
        return stream_upload(&s->stream, to, slot0 * row_bytes, in, n * row_bytes);
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < n && !status; i++)
        status = stream_upload(&s->stream, to, (slot0 + i) * row_bytes, in + i * d, d * sizeof *in);
    return status;
}

enum mn_status session_read_states(struct session *s, uint32_t sequence, uint32_t first, uint32_t n, uint32_t depth,
                                   float *states)
{
    const uint32_t d = s->model->config.n_embd;
    enum mn_status status = read_vectors(s, s->states, sequence, first, n, states);
    for (uint32_t i = 0; i < n && depth > 0 && !status; i++) { /* the last block's norm is pending on the device */
        float *state = states + (size_t)i * d;
        double sum = 0.0;
        for (uint32_t k = 0; k < d; k++)
            sum += (double)state[k] * (double)state[k];
        double scale = 1.0 / sqrt(sum / d + (double)s->model->config.norm_eps);
        for (uint32_t k = 0; k < d; k++)
            state[k] = (float)((double)state[k] * scale * (double)s->model->weights.state_norm[k]);
    }
    return status;
}

enum mn_status session_read_state(struct session *s, uint32_t sequence, uint32_t position, uint32_t depth, float *state)
{
    return session_read_states(s, sequence, position, 1, depth, state);
}

enum mn_status session_write_states(struct session *s, uint32_t sequence, uint32_t first, const float *states,
                                    uint32_t n)
{
    return write_vectors(s, s->states, sequence, first, n, states);
}

enum mn_status session_read_injected(struct session *s, uint32_t sequence, uint32_t first, uint32_t n, float *injected)
{
    return read_vectors(s, s->injected, sequence, first, n, injected);
}

enum mn_status session_write_injected(struct session *s, uint32_t sequence, uint32_t first, const float *injected,
                                      uint32_t n)
{
    return write_vectors(s, s->injected, sequence, first, n, injected);
}

/* One chunk of the prompt, `n_core` steps from `depth`. */
static enum mn_status prefill_chunk(struct session *s, const struct session_prefill_params *p, uint32_t begin,
                                    uint32_t n, uint32_t depth, uint32_t n_core, bool coda, uint32_t *token)
{
    struct row rows[SESSION_MAX_ROWS];
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (struct row){p->ids[begin + i], p->first + begin + i, p->sequence, depth};
    bool last = begin + n == p->n;
    uint32_t picked[SESSION_MAX_ROWS];
    struct session_run_params run = {.rows = rows,
                                     .n_rows = n,
                                     .n_new = depth == 0 ? n : 0,
                                     .n_core = n_core,
                                     .coda = coda,
                                     .n_head = !coda            ? 0
                                               : p->each_logits ? n
                                               : last && token  ? 1
                                                                : 0,
                                     .prefill = true,
                                     .given_states = p->state0 != NULL};
    enum mn_status status = session_run(s, &run, picked);
    if (!status && coda && last && token)
        *token = picked[run.n_head - 1];
    if (!status && coda && p->each_logits) {
        for (uint32_t i = 0; i < n && !status; i++) {
            status = session_read_logits(s, i, s->host_logits);
            if (!status)
                status = p->each_logits(p->user, p->first + begin + i, s->host_logits, s->model->config.vocab_size);
        }
    }
    return status;
}

/* Rows of the chunk that begins at `at`. Their number is free to change: no bit depends on how a prompt is cut. */
static uint32_t chunk_at(const struct session *s, const struct session_prefill_params *p, uint32_t at)
{
    const uint32_t left = p->n - at, end = left < SESSION_MAX_ROWS ? p->n : at + SESSION_MAX_ROWS,
                   most = pace_chunk_rows(s, p->first + end - 1);
    return left < most ? left : most;
}

enum mn_status session_prefill(struct session *s, const struct session_prefill_params *p, uint32_t *token)
{
    if (p->n < 1 || p->n > s->info.n_ctx || p->first > s->info.n_ctx - p->n)
        return log_fail(s->model->device->log, MN_ERR_USAGE,
                        "a prompt of %u tokens at position %u does not fit into the context of %u (n_ctx)", p->n,
                        p->first, s->info.n_ctx);
    enum mn_status status = session_check_ids(s, p->ids, p->n);
    if (!status && p->state0)
        status = session_write_states(s, p->sequence, p->first, p->state0, p->n);
    uint32_t n; /* of a chunk */
    if (s->info.kv_policy.share == 0 || p->n <= pace_chunk_rows(s, p->first + p->n - 1)) {
        for (uint32_t at = 0; at < p->n && !status; at += n) {
            n = chunk_at(s, p, at);
            status = prefill_chunk(s, p, at, n, 0, p->num_steps, true, token);
        }
        return status;
    }
    /* Under sharing, the positions of a prompt read each other at the SAME step: all chunks take a step before any
     * takes the next. With `full` slots both orders give the same bits, and the loop above needs fewer submits. */
    for (uint32_t t = 0; t < p->num_steps && !status; t++)
        for (uint32_t at = 0; at < p->n && !status; at += n) {
            n = chunk_at(s, p, at);
            status = prefill_chunk(s, p, at, n, t, 1, false, NULL);
        }
    for (uint32_t at = 0; at < p->n && !status; at += n) {
        n = chunk_at(s, p, at);
        status = prefill_chunk(s, p, at, n, p->num_steps, 0, true, token);
    }
    return status;
}
