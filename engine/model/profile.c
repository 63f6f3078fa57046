#include "engine/model/profile.h"

#include <math.h>
#include <stdlib.h>

#include "engine/base/clock.h"

/* Core passes raise depths, so that a session of STEPS steps takes STEPS - 1 of them behind the one that brings the
 * rows in. */
enum { STEPS = 8 };
static const double SUBMIT_US = 150e3; /* as pace.h has it */

/* ---- what a pass reads and computes ---- */

/* Weights are read once per group of rows that share them; attention reads every position of each row. */
static double operation_bytes(const struct profile *p, const struct operation *op)
{
    const struct session *s = p->session;
    const uint32_t n_max = session_tile(s, session_stamp(p->n_rows, false))->n_max;
    if (op->matrix)
        return (double)matrix_bytes(op->matrix) / op->n_dispatches * ((p->n_rows + n_max - 1) / n_max);
    if (op->kernel != KERNEL_ATTENTION)
        return 0.0;
    return 2.0 * (double)kv_entry_bytes(&s->cache.shape) * p->n_rows * (p->position + 0.5 * (p->n_rows + 1));
}

static double operation_flops(const struct profile *p, const struct operation *op)
{
    const struct model_config *config = p->session->info.config;
    if (op->matrix)
        return 2.0 * op->matrix->n_out / op->n_dispatches * op->n_in * p->n_rows;
    return op->kernel == KERNEL_ATTENTION
               ? 4.0 * config->n_heads * config->head_dim * p->n_rows * (p->position + 0.5 * (p->n_rows + 1))
               : 0.0;
}

static enum mn_status describe(struct profile *p)
{
    const uint32_t n = p->plain.n_operations;
    free(p->operations);
    p->operations = calloc(n, sizeof *p->operations);
    if (!p->operations)
        return log_fail(p->session->info.log, MN_ERR_MEMORY, "out of host memory for %u operations", n);
    for (uint32_t i = 0; i < n; i++) {
        const struct operation *op = &p->plain.operations[i];
        p->operations[i] = (struct mn_operation){.what = op->what,
                                                 .kernel = kernel_info(op->kernel)->name,
                                                 .n_out = op->matrix ? op->matrix->n_out : 0,
                                                 .n_in = op->n_in,
                                                 .reads_weights = op->matrix != NULL,
                                                 .bytes = operation_bytes(p, op),
                                                 .flops = operation_flops(p, op)};
    }
    return MN_OK;
}

/* ---- its life ---- */

static enum mn_status fill_cache(struct profile *p)
{
    uint32_t *ids = calloc(p->position, sizeof *ids);
    if (!ids)
        return log_fail(p->session->info.log, MN_ERR_MEMORY, "out of host memory for a prompt");
    for (uint32_t i = 0; i < p->position; i++)
        ids[i] = i * 37 % p->session->info.config->vocab_size;
    const struct session_prefill_params prefill = {.ids = ids, .n = p->position, .num_steps = 1};
    enum mn_status status = session_prefill(p->session, &prefill, NULL);
    free(ids);
    return status;
}

enum mn_status profile_create(struct profile **out, struct model *model, const struct profile_params *params)
{
    const struct session_params session = {.n_ctx = params->position + params->max_rows,
                                           .num_steps = STEPS,
                                           .max_rows = params->max_rows,
                                           .kv_type = params->kv_type,
                                           .beyond_trained_depth = true, /* nobody reads what comes out */
                                           .sampler = {.top_p = 1.0f}};
    struct profile *p = calloc(1, sizeof *p);
    *out = NULL;
    if (!p)
        return log_fail(model->device->log, MN_ERR_MEMORY, "out of host memory for a profile");
    p->position = params->position;
    enum mn_status status = session_create(&p->session, model, &session);
    if (!status)
        status = fill_cache(p);
    if (status) {
        profile_destroy(p);
        return status;
    }
    *out = p;
    return MN_OK;
}

void profile_destroy(struct profile *p)
{
    if (!p)
        return;
    whole_pass_finish(&p->plain);
    whole_pass_finish(&p->timed);
    free(p->operations);
    session_destroy(p->session);
    free(p);
}

enum mn_status profile_pass(struct profile *p, enum pass pass, uint32_t n_rows)
{
    struct stream *stream = &p->session->stream;
    const uint32_t stamp = session_stamp(n_rows, false);
    p->pass = pass;
    p->n_rows = n_rows;
    p->pass_us = 0.0;
    for (uint32_t i = 0; i < n_rows; i++)
        p->rows[i] = (struct row){.token = i, .position = p->position + i};
    whole_pass_finish(&p->plain);
    whole_pass_finish(&p->timed);
    enum mn_status status = forward_record_whole(p->session, pass, stamp, &p->plain);
    if (!status && stream->has_timers) {
        stream->profile = true;
        status = forward_record_whole(p->session, pass, stamp, &p->timed);
        stream->profile = false;
    }
    return status ? status : describe(p);
}

/* Puts rows and depths where the pass expects them. */
static enum mn_status enter_rows(struct profile *p)
{
    return session_run(
        p->session,
        &(struct session_run_params){
            .rows = p->rows, .n_rows = p->n_rows, .n_new = p->n_rows, .n_core = 1, .coda = true, .n_head = p->n_rows},
        NULL);
}

enum mn_status profile_time_pass(struct profile *p, double *us)
{
    /* So many that a submit is short; the first time it is one. */
    const double most = p->pass_us > 0.0 ? SUBMIT_US / p->pass_us : 1.0;
    const uint32_t n = p->pass != PASS_CORE || most < 2.0 ? 1 : most < STEPS - 1 ? (uint32_t)most : STEPS - 1;
    const struct recording *list[STEPS];
    for (uint32_t i = 0; i < n; i++)
        list[i] = &p->plain.recording;
    *us = 0.0;
    if (p->plain.n_operations == 0) /* a coda without blocks */
        return MN_OK;
    enum mn_status status = enter_rows(p);
    const double start = clock_ns();
    if (!status)
        status = stream_run(&p->session->stream, list, n);
    p->pass_us = *us = (clock_ns() - start) / n / 1e3;
    return status;
}

enum mn_status profile_time_operations(struct profile *p, double *us)
{
    struct stream *stream = &p->session->stream;
    const struct recording *list = &p->timed.recording;
    const uint32_t n = p->timed.n_operations;
    double now[STREAM_MAX_TIMERS];
    if (!stream->has_timers)
        return log_fail(p->session->info.log, MN_ERR_UNSUPPORTED, "device '%s' has no timestamps",
                        p->session->model->device->caps.name);
    if (n == 0)
        return MN_OK;
    if (stream->n_profiled != n)
        return log_fail(p->session->info.log, MN_ERR_UNSUPPORTED, "the pass has %u dispatches, %u can be timed", n,
                        stream->n_profiled);
    enum mn_status status = enter_rows(p);
    if (!status)
        status = stream_run(stream, &list, 1);
    if (!status)
        status = stream_read_timers(stream, n + 1, now);
    for (uint32_t i = 0; i < n && !status; i++)
        us[i] = (now[i + 1] - now[i]) / 1e3;
    return status;
}

/* Dispatches of the read kernel over no chunks: each writes the zeros of one workgroup. */
static enum mn_status record_empty(struct profile *p, uint32_t n_dispatches)
{
    struct session *s = p->session;
    const struct row_constants constants = {s->model->device->caps.subgroup_size};
    const struct read_args args = {.n_threads = constants.threads};
    const struct span bindings[] = {s->state, s->logits, s->best};
    const struct pipeline *pipeline;
    enum mn_status status = kernels_get(&s->model->kernels, KERNEL_READ, &constants.threads, 1, &pipeline);
    if (!status)
        status = stream_record(&s->stream, &p->empty);
    for (uint32_t i = 0; i < n_dispatches && !status; i++)
        status = stream_dispatch(&s->stream, &p->empty, pipeline, bindings, &args, 1, 1, 1);
    return status ? status : stream_end(&s->stream, &p->empty);
}

enum mn_status profile_time_empty(struct profile *p, uint32_t n_dispatches, double *us)
{
    const struct recording *list = &p->empty;
    enum mn_status status = p->empty.n_dispatches == n_dispatches ? MN_OK : record_empty(p, n_dispatches);
    const double start = clock_ns();
    if (!status)
        status = stream_run(&p->session->stream, &list, 1);
    *us = (clock_ns() - start) / 1e3;
    return status;
}
