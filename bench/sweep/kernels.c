/* muninn bench --kernels: what passes and their kernels take at 1 to 32 rows, by themselves. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/sweep/measure.h"
#include "engine/files/json.h"

enum { MAX_ROWS = 32, DEFAULT_POSITION = 128, OPERATIONS_MAX = 512 };
/* 128 passes are measured: each for as long as asked, but no longer than this. */
static const double PASS_SECONDS = 0.2;

struct measuring {
    const struct bench_model *model;
    const struct bench_setting *setting;
    const struct bench_common *common;
    struct sampling sampling;
    struct mn_profile *profile;
    const struct kernel_rows *rows;
    uint32_t position;
    double first[MN_PASSES][OPERATIONS_MAX], first_pass[MN_PASSES]; /* us at one row */
    /* the pass under way: */
    enum mn_pass pass;
    uint32_t n_rows;
    const struct mn_operation *operations; /* [n_operations], dispatch by dispatch */
    uint32_t n_operations;
    uint32_t n_empty; /* dispatches of the submit under way that measures the floor */
};

static const char *const pass_names[] = {"prelude", "core", "coda", "head"};

/* ---- running ---- */

static double pass_bytes(const struct measuring *m)
{
    double bytes = 0.0;
    for (uint32_t i = 0; i < m->n_operations; i++)
        bytes += m->operations[i].reads_weights ? m->operations[i].bytes : 0.0;
    return bytes;
}

static enum mn_status time_pass(void *user, double *values)
{
    return mn_profile_time_pass(((struct measuring *)user)->profile, values);
}

static enum mn_status end_row(struct measuring *m, struct row_builder *b)
{
    cJSON *row;
    enum mn_status status = row_end(b, &row, m->common->log);
    return status ? status : m->rows->keep(m->rows->user, row);
}

static char *make_key(const struct measuring *m, const char *kind, const char *what, uint32_t place)
{
    char rest[160];
    snprintf(rest, sizeof rest, "%s|%s|%s %" PRIu32 "|n%" PRIu32 " at %" PRIu32, m->setting->kv_type, what, kind, place,
             m->n_rows, m->position);
    return row_key_of(m->model, kind, rest);
}

/* Is the row there? *us: what it says then. */
static enum mn_status look_up(const struct measuring *m, const char *kind, const char *what, uint32_t place,
                              bool *known, double *us)
{
    char *key = make_key(m, kind, what, place);
    if (!key)
        return log_fail(m->common->log, MN_ERR_MEMORY, "out of host memory for a key");
    const cJSON *row = m->rows->find(m->rows->user, key), *value = row ? json_find(row, "us") : NULL;
    free(key);
    *known = row != NULL;
    *us = cJSON_IsNumber(value) ? value->valuedouble : 0.0;
    return MN_OK;
}

static void begin_row(struct measuring *m, struct row_builder *b, const char *kind, const char *what, uint32_t place)
{
    row_begin(b, make_key(m, kind, what, place), kind, m->model, m->setting->kv_type);
}

static double per(double amount, double us)
{
    return us > 0.0 ? amount / us / 1e3 : 0.0; /* 10^9 per second */
}

static void add_rate(struct measuring *m, struct row_builder *b, const char *what, double bytes, double us)
{
    row_number(b, "gb_s", per(bytes, us));
    row_share(b, m->model, per(bytes, us), what, bytes);
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
    row_number(&b, "dispatches", m->n_operations);
    row_number(&b, "us", us.median);
    row_number(&b, "us_min", us.min);
    row_number(&b, "us_spread", us.median > 0.0 ? (us.max - us.min) / us.median : 0.0);
    row_numbers(&b, "us_samples", values, samples->n);
    row_number(&b, "t_ratio", m->first_pass[m->pass] > 0.0 ? us.median / m->first_pass[m->pass] : 0.0);
    row_number(&b, "bytes", pass_bytes(m)); /* weight_bytes is the model's: a key twice would be no row */
    add_rate(m, &b, "the pass", pass_bytes(m), us.median);
    return end_row(m, &b);
}

/* Places that are the same kernel on matrices of the same shape are one row: its median over them is a median of
 * medians. */
static enum mn_status add_kernel_row(struct measuring *m, uint32_t place, const double *medians, const double *fastest)
{
    const struct mn_operation *op = &m->operations[place];
    double alike[OPERATIONS_MAX], least = INFINITY;
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->n_operations; i++)
        if (!strcmp(m->operations[i].what, op->what)) {
            if (i < place)
                return MN_OK; /* in the row of that one */
            alike[n++] = medians[i];
            least = fmin(least, fastest[i]);
        }
    const double us = samples_median(alike, n), bytes = op->bytes, flops = op->flops;
    char shape[64] = "";
    struct row_builder b;
    bool known;
    double before;
    enum mn_status status = look_up(m, "kernel", op->what, (uint32_t)m->pass, &known, &before);
    if (status || known)
        return status;
    if (m->n_rows == 1)
        m->first[m->pass][place] = us;
    if (op->reads_weights)
        snprintf(shape, sizeof shape, "%" PRIu32 "x%" PRIu32, op->n_out, op->n_in);
    begin_row(m, &b, "kernel", op->what, (uint32_t)m->pass);
    row_text(&b, "pass", pass_names[m->pass]);
    row_text(&b, "kernel", op->kernel);
    row_text(&b, "what", op->what);
    row_text(&b, "shape", shape);
    row_number(&b, "rows", m->n_rows);
    row_number(&b, "position", m->position);
    row_number(&b, "dispatches", n);
    row_number(&b, "us", us);
    row_number(&b, "us_min", least);
    row_number(&b, "bytes", bytes);
    row_number(&b, "flops", flops);
    add_rate(m, &b, op->reads_weights ? "the kernel" : "the cache entries", bytes, us);
    row_number(&b, "gflop_s", per(flops, us));
    row_number(&b, "t_ratio", m->first[m->pass][place] > 0.0 ? us / m->first[m->pass][place] : 0.0);
    return end_row(m, &b);
}

static enum mn_status measure_operations(struct measuring *m)
{
    const uint32_t n_samples = m->common->sampling.min_repetitions;
    double(*samples)[OPERATIONS_MAX] = malloc((n_samples + 1) * sizeof *samples);
    double medians[OPERATIONS_MAX], fastest[OPERATIONS_MAX];
    enum mn_status status = MN_OK;
    if (!samples)
        return log_fail(m->common->log, MN_ERR_MEMORY, "out of host memory for samples");
    for (uint32_t i = 0; i <= n_samples && !status; i++) /* the first run warms up */
        status = mn_profile_time_operations(m->profile, samples[i]);
    for (uint32_t k = 0; k < m->n_operations && !status; k++) {
        double column[SAMPLES_MAX];
        for (uint32_t i = 0; i < n_samples; i++)
            column[i] = samples[i + 1][k];
        medians[k] = samples_median(column, n_samples);
        fastest[k] = column[0]; /* sorted */
    }
    for (uint32_t k = 0; k < m->n_operations && !status; k++)
        status = add_kernel_row(m, k, medians, fastest);
    free(samples);
    return status;
}

/* What is there already of the pass's kernels; ratios of those to come refer to it. */
static enum mn_status look_up_operations(struct measuring *m, bool *all)
{
    enum mn_status status = MN_OK;
    *all = true;
    for (uint32_t i = 0; i < m->n_operations && !status; i++) {
        bool known;
        double us;
        status = look_up(m, "kernel", m->operations[i].what, (uint32_t)m->pass, &known, &us);
        *all &= known;
        if (known && m->n_rows == 1)
            m->first[m->pass][i] = us;
    }
    return status;
}

static enum mn_status measure_pass(struct measuring *m)
{
    struct samples samples = {0};
    bool known, all = true;
    double us;
    enum mn_status status = look_up(m, "pass", pass_names[m->pass], 0, &known, &us);
    if (!status && known && m->n_rows == 1)
        m->first_pass[m->pass] = us;
    if (!status)
        status = mn_profile_pass(m->profile, m->pass, m->n_rows, &m->operations, &m->n_operations);
    if (!status && m->n_operations > OPERATIONS_MAX)
        status = log_fail(m->common->log, MN_ERR_RUN, "pass %s has %u dispatches, %d can be measured",
                          pass_names[m->pass], m->n_operations, OPERATIONS_MAX);
    if (!status && !known)
        status = sampling_run(&m->sampling, time_pass, m, 1, m->common->stop, &samples, m->common->log);
    if (!status && !known)
        status = add_pass_row(m, &samples);
    samples_free(&samples);
    if (!status && mn_profile_has_timestamps(m->profile))
        status = look_up_operations(m, &all);
    return status || all ? status : measure_operations(m);
}

/* Work of a pass goes by its rows and what its weights cost at any number of them. */
static void show(const struct measuring *m)
{
    enum { READING = 8, ALL = MN_PASSES * (MAX_ROWS * (MAX_ROWS + 1) / 2 + READING * MAX_ROWS) };
    const uint32_t before = m->n_rows - 1, done = MN_PASSES * (before * m->n_rows / 2 + READING * before) +
                                                  (uint32_t)m->pass * (m->n_rows + READING);
    char text[64];
    snprintf(text, sizeof text, "kernels: %s pass, %" PRIu32 " of %d rows", pass_names[m->pass], m->n_rows, MAX_ROWS);
    if (m->common->show)
        m->common->show(text, done, ALL);
}

static enum mn_status measure_rows(struct measuring *m, uint32_t n_rows)
{
    enum mn_status status = MN_OK;
    m->n_rows = n_rows;
    for (int pass = 0; pass < MN_PASSES && !status; pass++) {
        m->pass = (enum mn_pass)pass;
        show(m);
        status = m->common->stop && m->common->stop() ? MN_ERR_INTERRUPTED : measure_pass(m);
    }
    return status;
}

/* ---- the floor ---- */

static enum mn_status time_submit(void *user, double *values)
{
    const struct measuring *m = user;
    return mn_profile_time_empty(m->profile, m->n_empty, values);
}

static enum mn_status time_empty(struct measuring *m, uint32_t n, double *us)
{
    struct samples samples = {0};
    m->n_empty = n;
    enum mn_status status = sampling_run(&m->sampling, time_submit, m, 1, m->common->stop, &samples, m->common->log);
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
                               const struct bench_common *common, const struct kernel_rows *rows)
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
    const struct mn_profile_params with = {.position = m->position, .max_rows = MAX_ROWS, .kv_type = setting->kv_type};
    enum mn_status status = mn_profile_create(&m->profile, model->engine, &with);
    for (uint32_t n = 1; n <= MAX_ROWS && !status; n++)
        status = measure_rows(m, n);
    if (!status)
        status = measure_floor(m);
    if (common->show)
        common->show(NULL, 0, 0);
    if (!status && !mn_profile_has_timestamps(m->profile))
        log_note(common->log, MN_LOG_WARN, "device '%s' has no timestamps: passes were measured, kernels could not be",
                 model->info.device_name);
    mn_profile_destroy(m->profile);
    free(m);
    return status;
}
