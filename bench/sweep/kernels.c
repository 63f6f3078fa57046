/* muninn bench --kernels: what passes and their kernels take at 1 to 16 rows, by themselves. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/handles.h"
#include "bench/sweep/measure.h"
#include "engine/model/forward.h"
#include "spec/strategy.h"

enum { MAX_ROWS = 16, DEFAULT_POSITION = 128, STEPS = 8, OPS_MAX = STREAM_MAX_TIMERS };
/* 64 passes are measured: each for as long as asked, but no longer than this. */
static const double PASS_SECONDS = 0.2;

/* One place of a pass: the matrix and its dispatches, as forward.c records them. */
struct op {
    const char *what;
    enum kernel_id kernel;
    const struct matrix *matrix; /* NULL: none */
    uint32_t n_in;
    uint32_t n_dispatches;
};

struct measuring {
    const struct bench_model *model;
    const struct bench_setting *setting;
    const struct bench_common *common;
    struct sampling sampling;
    struct session *session;
    struct rows *rows;
    uint32_t position;
    struct op ops[OPS_MAX]; /* of the pass under way, dispatch by dispatch */
    uint32_t n_ops;
    double first[PASS_COUNT][OPS_MAX], first_pass[PASS_COUNT]; /* us at one row */
    /* of the run under way: */
    const struct session_run_params *all;
    const struct recording *recording;
    uint32_t n_rows, n_repeats;
    enum pass pass;
};

static const char *const pass_names[] = {"prelude", "core", "coda", "head"};

/* ---- what a pass consists of ---- */

static void add_op(struct measuring *m, const char *what, enum kernel_id kernel, const struct matrix *matrix,
                   uint32_t n_in)
{
    const uint32_t windows = matrix ? (matrix->n_out - 1) / matrix->window_rows + 1 : 1;
    for (uint32_t i = 0; i < windows && m->n_ops < OPS_MAX; i++)
        m->ops[m->n_ops++] = (struct op){what, kernel, matrix, n_in, windows};
}

static void add_blocks(struct measuring *m, uint32_t first, uint32_t n)
{
    const struct model *model = m->session->model;
    const uint32_t d = model->config.n_embd, f = model->config.intermediate_size;
    for (uint32_t i = first; i < first + n; i++) {
        const struct block_weights *w = &model->weights.blocks[i];
        add_op(m, "qkv", KERNEL_QKV, &w->qkv, d);
        add_op(m, "attention", KERNEL_ATTENTION, NULL, 0);
        add_op(m, "projection", KERNEL_PROJ, &w->proj, d);
        add_op(m, "gate", KERNEL_GATE, &w->gate, d);
        add_op(m, "down", KERNEL_PROJ, &w->down, f);
    }
}

static void list_ops(struct measuring *m)
{
    const struct model *model = m->session->model;
    const struct model_config *c = &model->config;
    const struct weights *w = &model->weights;
    m->n_ops = 0;
    switch (m->pass) {
    case PASS_PRELUDE:
        add_op(m, "embed", KERNEL_EMBED, NULL, 0);
        for (uint32_t i = 1; i < (w->embedding.n_out - 1) / w->embedding.window_rows + 1; i++)
            add_op(m, "embed", KERNEL_EMBED, NULL, 0);
        add_blocks(m, 0, c->n_prelude);
        add_op(m, "adapter", KERNEL_PROJ, &w->adapter_embed, c->n_embd);
        break;
    case PASS_CORE:
        add_op(m, "adapter", KERNEL_PROJ, &w->adapter_state, c->n_embd);
        add_blocks(m, c->n_prelude, c->n_core);
        break;
    case PASS_CODA:
        add_op(m, "norm", KERNEL_NORM, NULL, 0);
        add_blocks(m, c->n_prelude + c->n_core, c->n_coda);
        break;
    default:
        add_op(m, "head", KERNEL_HEAD, &w->head, c->n_embd);
        add_op(m, "argmax", KERNEL_ARGMAX, NULL, 0);
        break;
    }
}

static uint64_t matrix_bytes(const struct matrix *matrix)
{
    return matrix->row_bytes * matrix->n_out;
}

/* Weights are read once per group of rows that share them; attention reads every position of each row. */
static double op_bytes(const struct measuring *m, const struct op *op)
{
    const struct session *s = m->session;
    const uint32_t n_max = forward_tile(s, session_stamp(m->n_rows, false))->n_max;
    if (op->matrix)
        return (double)matrix_bytes(op->matrix) / op->n_dispatches * ((m->n_rows + n_max - 1) / n_max);
    if (op->kernel != KERNEL_ATTENTION)
        return 0.0;
    const double entry = 2.0 * s->model->config.n_heads * s->model->head_pad * (s->cache.type == KV_F16 ? 2 : 4);
    return entry * m->n_rows * (m->position + 0.5 * (m->n_rows + 1));
}

static double op_flops(const struct measuring *m, const struct op *op)
{
    if (op->matrix)
        return 2.0 * op->matrix->n_out / op->n_dispatches * op->n_in * m->n_rows;
    return op->kernel == KERNEL_ATTENTION
               ? 4.0 * m->session->model->config.n_embd * m->n_rows * (m->position + 0.5 * (m->n_rows + 1))
               : 0.0;
}

static double pass_bytes(const struct measuring *m)
{
    double bytes = 0.0;
    for (uint32_t i = 0; i < m->n_ops; i++)
        bytes += m->ops[i].matrix ? op_bytes(m, &m->ops[i]) : 0.0;
    return bytes;
}

/* ---- running ---- */

static void make_rows(struct row *rows, uint32_t n, uint32_t position)
{
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (struct row){.token = i, .position = position + i};
}

static enum mn_status fill_cache(struct measuring *m)
{
    uint32_t *ids = calloc(m->position, sizeof *ids);
    if (!ids)
        return log_fail(m->common->log, MN_ERR_MEMORY, "out of host memory for a prompt");
    for (uint32_t i = 0; i < m->position; i++)
        ids[i] = i * 37 % m->session->model->config.vocab_size;
    const struct session_prefill_params prefill = {.ids = ids, .n = m->position, .num_steps = 1};
    enum mn_status status = session_prefill(m->session, &prefill, NULL);
    free(ids);
    return status;
}

/* One pass of the recording at hand, submitted as often as it takes to see past the clock and the submit: microseconds
 * per pass. */
static enum mn_status time_pass(void *user, double *values)
{
    struct measuring *m = user;
    const struct recording *list[STEPS];
    for (uint32_t i = 0; i < m->n_repeats; i++)
        list[i] = m->recording;
    enum mn_status status = session_run(m->session, m->all, NULL); /* puts rows and depths back where they were */
    const double start = clock_ns();
    if (!status)
        status = stream_run(&m->session->stream, list, m->n_repeats);
    values[0] = (clock_ns() - start) / m->n_repeats / 1e3;
    return status;
}

static enum mn_status end_row(struct measuring *m, struct row_builder *b)
{
    cJSON *row;
    enum mn_status status = row_end(b, &row, m->common->log);
    return status ? status : rows_add(m->rows, row, m->common->log);
}

static char *make_key(const struct measuring *m, const char *kind, const char *what, uint32_t place)
{
    char rest[160];
    snprintf(rest, sizeof rest, "%s|%s|%s %" PRIu32 "|n%" PRIu32 " at %" PRIu32, m->setting->kv_type, what, kind, place,
             m->n_rows, m->position);
    return row_key_of(m->model, m->common, kind, rest);
}

static void begin_row(struct measuring *m, struct row_builder *b, const char *kind, const char *what, uint32_t place)
{
    row_begin(b, make_key(m, kind, what, place), kind, m->model, m->setting->kv_type, m->common);
}

static double per(double amount, double us)
{
    return us > 0.0 ? amount / us / 1e3 : 0.0; /* 10^9 per second */
}

static void add_rate(struct measuring *m, struct row_builder *b, double bytes, double us)
{
    row_number(b, "gb_s", per(bytes, us));
    row_number(b, "ceiling_percent",
               m->model->ceiling_gb_s > 0.0 ? 100.0 * per(bytes, us) / m->model->ceiling_gb_s : 0.0);
}

static enum mn_status add_pass_row(struct measuring *m, const struct samples *samples)
{
    const struct summary us = samples_summary(samples, 0);
    double values[SAMPLES_MAX];
    struct row_builder b;
    for (uint32_t i = 0; i < samples->n; i++)
        values[i] = samples->values[i][0];
    if (m->n_rows == 1)
        m->first_pass[m->pass] = us.median;
    begin_row(m, &b, "pass", pass_names[m->pass], 0);
    row_text(&b, "pass", pass_names[m->pass]);
    row_number(&b, "rows", m->n_rows);
    row_number(&b, "position", m->position);
    row_number(&b, "dispatches", m->n_ops);
    row_number(&b, "us", us.median);
    row_number(&b, "us_min", us.min);
    row_number(&b, "us_spread", us.median > 0.0 ? (us.max - us.min) / us.median : 0.0);
    row_numbers(&b, "us_samples", values, samples->n);
    row_number(&b, "t_ratio", m->first_pass[m->pass] > 0.0 ? us.median / m->first_pass[m->pass] : 0.0);
    row_number(&b, "bytes", pass_bytes(m)); /* weight_bytes is the model's: a key twice would be no row */
    add_rate(m, &b, pass_bytes(m), us.median);
    return end_row(m, &b);
}

/* Places that are the same kernel on matrices of the same shape are one row: its median over them is a median of
 * medians. */
static enum mn_status add_kernel_row(struct measuring *m, uint32_t place, const double *medians, const double *fastest)
{
    const struct op *op = &m->ops[place];
    double alike[OPS_MAX], least = INFINITY;
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->n_ops; i++)
        if (!strcmp(m->ops[i].what, op->what)) {
            if (i < place)
                return MN_OK; /* in the row of that one */
            alike[n++] = medians[i];
            least = fmin(least, fastest[i]);
        }
    const double us = samples_median(alike, n), bytes = op_bytes(m, op), flops = op_flops(m, op);
    char shape[64] = "";
    struct row_builder b;
    if (m->n_rows == 1)
        m->first[m->pass][place] = us;
    if (op->matrix)
        snprintf(shape, sizeof shape, "%" PRIu32 "x%" PRIu32, op->matrix->n_out, op->n_in);
    begin_row(m, &b, "kernel", op->what, (uint32_t)m->pass);
    row_text(&b, "pass", pass_names[m->pass]);
    row_text(&b, "kernel", kernel_info(op->kernel)->name);
    row_text(&b, "what", op->what);
    row_text(&b, "shape", shape);
    row_number(&b, "rows", m->n_rows);
    row_number(&b, "position", m->position);
    row_number(&b, "dispatches", n);
    row_number(&b, "us", us);
    row_number(&b, "us_min", least);
    row_number(&b, "bytes", bytes);
    row_number(&b, "flops", flops);
    add_rate(m, &b, bytes, us);
    row_number(&b, "gflop_s", per(flops, us));
    row_number(&b, "t_ratio", m->first[m->pass][place] > 0.0 ? us / m->first[m->pass][place] : 0.0);
    return end_row(m, &b);
}

static enum mn_status measure_ops(struct measuring *m)
{
    struct recording recording;
    const struct recording *list = &recording;
    struct stream *stream = &m->session->stream;
    const uint32_t n_samples = m->common->sampling.min_repetitions;
    double(*samples)[OPS_MAX] = malloc(n_samples * sizeof *samples), medians[OPS_MAX], fastest[OPS_MAX],
    now[STREAM_MAX_TIMERS];
    if (!samples)
        return log_fail(m->common->log, MN_ERR_MEMORY, "out of host memory for samples");
    stream->profile = true;
    enum mn_status status = forward_record_whole(m->session, m->pass, session_stamp(m->n_rows, false), &recording);
    stream->profile = false;
    if (!status && stream->n_profiled != m->n_ops)
        status = log_fail(m->common->log, MN_ERR_RUN, "--kernels: pass %s has %u dispatches, %u can be timed",
                          pass_names[m->pass], recording.n_dispatches, stream->n_profiled);
    for (uint32_t i = 0; i <= n_samples && !status; i++) { /* the first run warms up */
        status = session_run(m->session, m->all, NULL);
        if (!status)
            status = stream_run(stream, &list, 1);
        if (!status)
            status = stream_read_timers(stream, m->n_ops + 1, now);
        for (uint32_t k = 0; k < m->n_ops && i > 0; k++)
            samples[i - 1][k] = (now[k + 1] - now[k]) / 1e3;
    }
    for (uint32_t k = 0; k < m->n_ops && !status; k++) {
        double column[SAMPLES_MAX];
        for (uint32_t i = 0; i < n_samples; i++)
            column[i] = samples[i][k];
        medians[k] = samples_median(column, n_samples);
        fastest[k] = column[0]; /* sorted */
    }
    for (uint32_t k = 0; k < m->n_ops && !status; k++)
        status = add_kernel_row(m, k, medians, fastest);
    free(samples);
    return status;
}

static enum mn_status measure_rows(struct measuring *m, uint32_t n_rows)
{
    struct row rows[MAX_ROWS];
    make_rows(rows, n_rows, m->position);
    const struct session_run_params all = {
        .rows = rows, .n_rows = n_rows, .n_new = n_rows, .n_core = 1, .coda = true, .n_head = n_rows};
    enum mn_status status = MN_OK;
    m->all = &all;
    m->n_rows = n_rows;
    for (int pass = PASS_PRELUDE; pass <= PASS_HEAD_GREEDY && !status; pass++) {
        struct samples samples = {0};
        struct recording recording;
        m->pass = (enum pass)pass;
        status = forward_record_whole(m->session, m->pass, session_stamp(n_rows, false), &recording);
        if (status)
            return status;
        m->recording = &recording;
        m->n_repeats = pass == PASS_CORE ? STEPS - 1 : 1; /* a core pass raises depths: the session has STEPS */
        list_ops(m);
        status = sampling_run(&m->sampling, time_pass, m, 1, m->common->stop, &samples, m->common->log);
        if (!status)
            status = add_pass_row(m, &samples);
        samples_free(&samples);
        if (!status && m->session->stream.has_timers)
            status = measure_ops(m);
    }
    return status;
}

/* ---- the floor ---- */

static enum mn_status time_recording(void *user, double *values)
{
    const struct measuring *m = user;
    const double start = clock_ns();
    enum mn_status status = stream_run(&m->session->stream, &m->recording, 1);
    values[0] = (clock_ns() - start) / 1e3;
    return status;
}

/* `n` dispatches of the read kernel over no chunks: each writes the zeros of one workgroup. */
static enum mn_status time_empty(struct measuring *m, uint32_t n, double *us)
{
    struct session *s = m->session;
    const uint32_t threads = s->model->device->caps.subgroup_size;
    const struct read_args args = {.n_threads = threads};
    const struct span bindings[] = {s->state, s->logits, s->best};
    const struct pipeline *pipeline;
    struct recording recording;
    struct samples samples = {0};
    enum mn_status status = kernels_get(&s->model->kernels, KERNEL_READ, &threads, 1, &pipeline);
    if (!status)
        status = stream_record(&s->stream, &recording);
    for (uint32_t i = 0; i < n && !status; i++)
        status = stream_dispatch(&s->stream, &recording, pipeline, bindings, &args, 1, 1, 1);
    if (!status)
        status = stream_end(&s->stream, &recording);
    m->recording = &recording;
    if (!status)
        status = sampling_run(&m->sampling, time_recording, m, 1, m->common->stop, &samples, m->common->log);
    if (!status)
        *us = samples_summary(&samples, 0).median;
    samples_free(&samples);
    return status;
}

/* Two lengths tell a dispatch and a submit apart. */
static enum mn_status measure_floor(struct measuring *m)
{
    enum { FEW = 1, MANY = 129 };
    double few, many;
    struct row_builder b;
    enum mn_status status = time_empty(m, FEW, &few);
    if (!status)
        status = time_empty(m, MANY, &many);
    if (status)
        return status;
    const double us = fmax(0.0, (many - few) / (MANY - FEW));
    m->n_rows = 0;
    begin_row(m, &b, "floor", "", 0);
    row_number(&b, "us", us);
    row_number(&b, "submit_us", fmax(0.0, few - FEW * us));
    return end_row(m, &b);
}

/* ---- all of it ---- */

static uint32_t position_of(const struct bench_setting *setting)
{
    return setting->prompt_tokens ? setting->prompt_tokens : DEFAULT_POSITION;
}

char *kernels_last_key(const struct bench_model *model, const struct bench_setting *setting,
                       const struct bench_common *common)
{
    const struct measuring m = {.model = model, .setting = setting, .common = common, .position = position_of(setting)};
    return make_key(&m, "floor", "", 0);
}

enum mn_status kernels_measure(struct bench_model *model, const struct bench_setting *setting,
                               const struct bench_common *common, struct rows *rows)
{
    struct measuring *m = calloc(1, sizeof *m);
    if (!m)
        return log_fail(common->log, MN_ERR_MEMORY, "out of host memory for measuring");
    *m = (struct measuring){.model = model,
                            .setting = setting,
                            .common = common,
                            .rows = rows,
                            .sampling = common->sampling,
                            .position = position_of(setting)};
    m->sampling.min_seconds = fmin(m->sampling.min_seconds, PASS_SECONDS);
    struct session_params with = {
        .n_ctx = m->position + MAX_ROWS, .num_steps = STEPS, .max_rows = MAX_ROWS, .sampler = {.top_p = 1.0f}};
    enum mn_status status = kv_type_parse(setting->kv_type, &with.kv_type, common->log);
    if (!status)
        status = session_create(&m->session, model->engine->model, &with);
    if (!status)
        status = fill_cache(m);
    for (uint32_t n = 1; n <= MAX_ROWS && !status; n++)
        status = measure_rows(m, n);
    if (!status)
        status = measure_floor(m);
    if (!status && !m->session->stream.has_timers)
        log_note(common->log, MN_LOG_WARN, "device '%s' has no timestamps: passes were measured, kernels could not be",
                 model->info.device_name);
    session_destroy(m->session);
    free(m);
    return status;
}
