/* Running rows under an exit rule: one core step at a time, a look at the state or the logits, and on or out.
 *
 * A token that stops at depth e leaves its cache at that depth; later rows read its deepest slot (docs/contract.md, 2).
 * A single row is a small state machine inside its strategy's; a prompt, whose positions leave together, is run here
 * from end to end. */
#include "spec/early_exit.h"

#include <stdlib.h>

#include "engine/base/numbers.h"
#include "engine/model/family.h"
#include "engine/model/pace.h"

/* ---- memory ---- */

enum mn_status early_exit_check(const struct generation *g)
{
    struct exit_rule rule;
    enum mn_status status = exit_parse(g->params->exit.rule, &rule, g->log);
    if (!status && rule.criterion == EXIT_GATE && !session_info(g->session)->exit_gate)
        status = log_fail(g->log, MN_ERR_USAGE, "exit.rule %s: %s models have no exit gate", g->params->exit.rule,
                          session_info(g->session)->config->family->name);
    return status;
}

enum mn_status early_exit_open(struct early_exit *e, const struct generation *g, uint32_t n_rows)
{
    const struct model_config *config = session_info(g->session)->config;
    const size_t n = (size_t)n_rows * config->n_embd;
    enum mn_status status = exit_parse(g->params->exit.rule, &e->rule, g->log);
    if (status || e->rule.criterion == EXIT_NONE)
        return status;
    e->rule.min_steps = g->params->exit.min_steps ? g->params->exit.min_steps : 1;
    e->rule.check_interval = g->params->exit.check_interval ? g->params->exit.check_interval : 1;
    status = exit_memory_init(&e->memory, config->vocab_size, g->log);
    if (status)
        return status;
    if (!(e->rows = calloc(n_rows, sizeof *e->rows)) || !(e->before = malloc(n * sizeof *e->before)) ||
        !(e->now = malloc(n * sizeof *e->now)) || !(e->logits = malloc(config->vocab_size * sizeof *e->logits)))
        return log_fail(g->log, MN_ERR_MEMORY, "out of host memory for the early exit of %u rows", n_rows);
    return MN_OK;
}

void early_exit_close(struct early_exit *e)
{
    exit_memory_finish(&e->memory);
    free(e->before);
    free(e->now);
    free(e->logits);
    free(e->rows);
    *e = (struct early_exit){0};
}

/* ---- checks ---- */

static bool is_due(const struct early_exit *e, uint32_t step)
{
    return step >= e->rule.min_steps && step % e->rule.check_interval == 0;
}

static void swap_states(struct early_exit *e)
{
    float *swap = e->before;
    e->before = e->now;
    e->now = swap;
}

static enum mn_status read_states(struct generation *g, const struct row *rows, uint32_t n, float *states)
{
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < n && !status; i++)
        status = session_read_state(g->session, rows[i].sequence, rows[i].position, rows[i].depth,
                                    states + (size_t)i * session_info(g->session)->config->n_embd);
    return status;
}

/* Do the latent states ask for the exit? A difference is averaged over the rows; at the gate the last row decides,
 * whose token comes next. */
static enum mn_status check_states(struct early_exit *e, struct generation *g, const struct row *rows, uint32_t n,
                                   bool *leave)
{
    const uint32_t d = session_info(g->session)->config->n_embd;
    double sum = 0.0;
    if (e->rule.criterion == EXIT_GATE) {
        enum mn_status status = read_states(g, rows + n - 1, 1, e->now);
        *leave = !status && exit_gate(&e->rule, &e->memory, session_info(g->session)->exit_gate, e->now, d);
        return status;
    }
    enum mn_status status = read_states(g, rows, n, e->now);
    for (uint32_t i = 0; i < n; i++)
        sum += exit_latent_value(e->rule.criterion, e->now + (size_t)i * d, e->before + (size_t)i * d, d);
    swap_states(e);
    *leave = exit_latent(&e->rule, sum / n);
    return status;
}

static enum mn_status check_logits(struct early_exit *e, struct generation *g, uint32_t head_row, bool *leave)
{
    enum mn_status status = session_read_logits(g->session, head_row, e->logits);
    if (!status)
        *leave = exit_logits(&e->rule, &e->memory, e->logits);
    return status;
}

/* ---- one row ---- */

void early_exit_begin(struct early_exit *e, uint32_t row, uint32_t max_steps)
{
    e->row = row;
    e->max_steps = max_steps;
    e->step = 0;
    e->active = true;
    e->entered = e->leave = false;
    exit_begin(&e->memory);
}

void early_exit_next(const struct early_exit *e, struct request *request)
{
    *request = (struct request){.first = e->row, .n_rows = 1};
    if (!e->entered) {
        /* Without steps: the first comparison of the latent criteria is with the initial state. */
        request->n_new = 1;
    } else if (e->leave || e->step == e->max_steps) {
        request->predict = true;
    } else {
        request->steps = 1;
        request->predict = !exit_is_latent(e->rule.criterion) && is_due(e, e->step + 1);
    }
}

enum mn_status early_exit_absorb(struct early_exit *e, struct generation *g)
{
    const struct row *row = &g->rows[e->row];
    const bool latent = exit_is_latent(e->rule.criterion);
    enum mn_status status = MN_OK;
    if (!e->entered) {
        e->entered = true;
        return latent ? read_states(g, row, 1, e->before) : MN_OK;
    }
    if (g->request.steps == 1) {
        bool leave = false;
        e->step++;
        if (latent)
            status = check_states(e, g, row, 1, &leave);
        else if (g->request.predict)
            status = check_logits(e, g, g->first_head, &leave);
        e->leave = leave && is_due(e, e->step);
        if (!g->request.predict || !(e->leave || e->step == e->max_steps))
            return status;
    }
    e->active = false;
    g->stats->exit_steps += row->depth;
    g->stats->exit_rows++;
    return status;
}

/* ---- a prompt ---- */

/* A prompt goes in sweeps over all its rows: they enter, they take a step, they leave through the coda. */

static bool sweep_predicts(const struct early_exit *e)
{
    return e->sweep == EXIT_ENDING ||
           (e->sweep == EXIT_STEPPING && !exit_is_latent(e->rule.criterion) && is_due(e, e->step));
}

/* The sweep's next rows: as many as one pass takes, at most `most`. */
static enum mn_status run_chunk(struct early_exit *e, struct generation *g, uint32_t most, uint32_t *n_chunk,
                                uint32_t *token)
{
    const uint32_t n = g->params->n_prompt, left = n - e->at,
                   end = left < SESSION_MAX_ROWS ? n : e->at + SESSION_MAX_ROWS;
    const bool enters = e->sweep == EXIT_ENTERING, predicts = sweep_predicts(e);
    *n_chunk = min_u32(min_u32(left, most), pace_chunk_rows(g->session, end - 1));
    const struct session_run_params run = {.rows = e->rows + e->at,
                                           .n_rows = *n_chunk,
                                           .n_new = enters ? *n_chunk : 0,
                                           .n_core = e->sweep == EXIT_STEPPING,
                                           .coda = predicts,
                                           .n_head = predicts && e->at + *n_chunk == n ? 1 : 0,
                                           .prefill = true,
                                           .n_given = enters && g->params->state0 ? *n_chunk : 0};
    e->at += *n_chunk;
    return session_run(g->session, &run, token);
}

/* All rows have taken the step: do they leave? */
static enum mn_status end_step(struct early_exit *e, struct generation *g)
{
    const bool due = is_due(e, e->step);
    bool leave = false;
    enum mn_status status = MN_OK;
    if (exit_is_latent(e->rule.criterion))
        status = check_states(e, g, e->rows, g->params->n_prompt, &leave);
    else if (due)
        status = check_logits(e, g, 0, &leave);
    if ((leave && due) || e->step == g->num_steps)
        e->sweep = e->predicted ? EXIT_LEFT : EXIT_ENDING;
    else
        e->step++;
    return status;
}

static enum mn_status end_sweep(struct early_exit *e, struct generation *g)
{
    const uint32_t n = g->params->n_prompt;
    e->predicted = sweep_predicts(e);
    e->at = 0;
    for (uint32_t i = 0; i < n && e->sweep == EXIT_STEPPING; i++)
        e->rows[i].depth++;
    if (e->sweep == EXIT_STEPPING)
        return end_step(e, g);
    e->sweep = e->sweep == EXIT_ENTERING ? EXIT_STEPPING : EXIT_LEFT;
    return e->sweep == EXIT_STEPPING && exit_is_latent(e->rule.criterion) ? read_states(g, e->rows, n, e->before)
                                                                          : MN_OK;
}

static void set_out(struct early_exit *e, const struct generation *g)
{
    for (uint32_t i = 0; i < g->params->n_prompt; i++)
        e->rows[i] = (struct row){.token = g->params->prompt[i], .position = i, .sequence = g->sequence};
    exit_begin(&e->memory);
    e->sweep = EXIT_ENTERING;
    e->step = 1;
}

enum mn_status early_exit_prompt(struct early_exit *e, struct generation *g, uint32_t *rows, uint32_t *token)
{
    const uint64_t most = (uint64_t)*rows * g->num_steps;
    uint64_t taken = 0;
    enum mn_status status = MN_OK;
    if (e->sweep == EXIT_SETTING_OUT)
        set_out(e, g);
    while (e->sweep != EXIT_LEFT && taken < most && !status) {
        uint32_t n_chunk;
        status = run_chunk(e, g, *rows, &n_chunk, token);
        taken += n_chunk;
        if (!status && e->at == g->params->n_prompt)
            status = end_sweep(e, g);
    }
    *rows = min_u32(*rows, (uint32_t)((taken + g->num_steps - 1) / g->num_steps));
    g->read = !status && e->sweep == EXIT_LEFT;
    if (!g->read)
        return status;
    g->prompt_steps = e->rows[0].depth;
    g->stats->exit_steps += e->rows[0].depth;
    g->stats->exit_rows++;
    return MN_OK;
}
