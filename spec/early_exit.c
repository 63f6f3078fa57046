/* Running rows under an exit rule: one core step at a time, a look at the state or the logits, and on or out.
 *
 * A token that stops at depth e leaves its cache at that depth; later rows read its deepest slot (the spec's section 2). */
#include <stdlib.h>
#include <string.h>

#include "strategy.h"

/* The rows that decide together: one row, or all rows of a prompt. */
struct subject {
    struct row *rows;
    uint32_t n;
    bool prefill;
    float *before, *now; /* [n, d] latent states of the last step and of this one */
};

/* Runs all rows in chunks of what one pass takes. */
static enum mn_status run_all(struct generation *g, struct subject *subject, uint32_t n_core, bool enter, bool coda, uint32_t *token)
{
    enum mn_status status = MN_OK;
    for (uint32_t at = 0; at < subject->n && !status; at += SESSION_MAX_ROWS) {
        uint32_t n = subject->n - at < SESSION_MAX_ROWS ? subject->n - at : SESSION_MAX_ROWS;
        bool last = at + n == subject->n;
        struct session_run_params run = {.rows = subject->rows + at,
                                         .n_rows = n,
                                         .n_new = enter ? n : 0,
                                         .n_core = n_core,
                                         .coda = coda,
                                         .n_head = coda && last ? 1 : 0,
                                         .prefill = subject->prefill,
                                         .given_states = subject->prefill && g->params->state0};
        status = session_run(g->session, &run, token);
    }
    for (uint32_t i = 0; i < subject->n; i++)
        subject->rows[i].depth += n_core;
    return status;
}

static enum mn_status read_states(struct generation *g, const struct subject *subject, float *states)
{
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < subject->n && !status; i++)
        status = session_read_state(g->session, subject->rows[i].sequence, subject->rows[i].position, subject->rows[i].depth,
                                    states + (size_t)i * g->session->model->config.n_embd);
    return status;
}

/* Is it time to leave after this step? The latent criteria average over the rows; the others look at the last one. */
static enum mn_status check(struct generation *g, struct subject *subject, bool due, bool *leave)
{
    const uint32_t d = g->session->model->config.n_embd;
    *leave = false;
    if (exit_is_latent(g->exit.criterion)) {
        enum mn_status status = read_states(g, subject, subject->now);
        double sum = 0.0;
        for (uint32_t i = 0; i < subject->n; i++)
            sum += exit_latent_value(g->exit.criterion, subject->now + (size_t)i * d, subject->before + (size_t)i * d, d);
        float *swap = subject->before;
        subject->before = subject->now;
        subject->now = swap;
        *leave = !status && due && exit_latent(&g->exit, sum / subject->n);
        return status;
    }
    if (!due)
        return MN_OK;
    float *logits = malloc(g->session->model->config.vocab_size * sizeof *logits);
    if (!logits)
        return log_fail(g->log, MN_ERR_MEMORY, "out of host memory for early exit");
    enum mn_status status = session_read_logits(g->session, 0, logits);
    if (!status)
        *leave = exit_logits(&g->exit, &g->exit_memory, logits);
    free(logits);
    return status;
}

static enum mn_status run_subject(struct generation *g, struct subject *subject, uint32_t max_steps, uint32_t *token)
{
    const bool latent = exit_is_latent(g->exit.criterion);
    bool leave = false, predicted = false;
    exit_begin(&g->exit_memory);
    enum mn_status status = run_all(g, subject, 0, true, false, NULL);
    if (!status && latent)
        status = read_states(g, subject, subject->before);
    for (uint32_t step = 1; step <= max_steps && !leave && !status; step++) {
        bool due = step >= g->exit.min_steps && step % g->exit.check_interval == 0;
        predicted = due && !latent;
        status = run_all(g, subject, 1, false, predicted, token);
        if (!status)
            status = check(g, subject, due, &leave);
    }
    if (!status && !predicted)
        status = run_all(g, subject, 0, false, true, token);
    g->stats->exit_steps += subject->rows[0].depth;
    g->stats->exit_rows++;
    return status;
}

static enum mn_status with_states(struct generation *g, struct subject *subject, uint32_t max_steps, uint32_t *token)
{
    const size_t n = (size_t)subject->n * g->session->model->config.n_embd;
    float *states = malloc(2 * n * sizeof *states);
    if (!states)
        return log_fail(g->log, MN_ERR_MEMORY, "out of host memory for early exit");
    subject->before = states;
    subject->now = states + n;
    enum mn_status status = run_subject(g, subject, max_steps, token);
    free(states);
    return status;
}

enum mn_status early_exit_row(struct generation *g, struct row *row, uint32_t max_steps, uint32_t *token)
{
    struct subject subject = {.rows = row, .n = 1};
    return with_states(g, &subject, max_steps, token);
}

enum mn_status early_exit_prompt(struct generation *g, uint32_t *steps, uint32_t *token)
{
    const uint32_t n = g->params->n_prompt;
    struct row *rows = calloc(n, sizeof *rows);
    if (!rows)
        return log_fail(g->log, MN_ERR_MEMORY, "out of host memory for a prompt of %u tokens", n);
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (struct row){.token = g->params->prompt[i], .position = i};
    struct subject subject = {.rows = rows, .n = n, .prefill = true};
    enum mn_status status = g->params->state0 ? session_write_states(g->session, 0, 0, g->params->state0, n) : MN_OK;
    if (!status)
        status = with_states(g, &subject, g->num_steps, token);
    *steps = rows[0].depth;
    free(rows);
    return status;
}
