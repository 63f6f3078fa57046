/* Plain autoregressive decoding: every token through all num_steps. The yardstick that lossless strategies equal. Two
 * lossy variants: under an exit rule a token stops at its own depth, and with the warm start ("continuous compute";
 * docs/contract.md, 8) its recurrence begins where the one of the token before it ended. */
#include <stdlib.h>

#include "spec/early_exit.h"

struct plain {
    struct early_exit early;
    float *warm; /* [n_embd], for the warm start */
};

static const char *lossy_because(const struct mn_generate_params *params)
{
    return params->exit.rule ? "exit in ar" : params->continuous ? "continuous" : NULL;
}

static enum mn_status open(struct generation *g, void *state)
{
    struct plain *p = state;
    enum mn_status status = early_exit_open(&p->early, g, g->params->n_prompt);
    if (!status && g->params->continuous &&
        !(p->warm = malloc(session_info(g->session)->config->n_embd * sizeof *p->warm)))
        status = log_fail(g->log, MN_ERR_MEMORY, "out of host memory for the warm start");
    return status;
}

static void close(void *state)
{
    struct plain *p = state;
    early_exit_close(&p->early);
    free(p->warm);
}

static enum mn_status prompt(struct generation *g, void *state, uint32_t *rows, uint32_t *token)
{
    struct plain *p = state;
    return p->early.rule.criterion ? early_exit_prompt(&p->early, g, rows, token) : generation_prompt(g, rows, token);
}

static enum mn_status warm_start(struct generation *g, float *warm)
{
    enum mn_status status = session_read_state(g->session, g->sequence, g->position - 1, g->pending_depth, warm);
    return status ? status : session_write_states(g->session, g->sequence, g->position, warm, 1);
}

static enum mn_status next(struct generation *g, void *state, struct request *request)
{
    struct plain *p = state;
    enum mn_status status = MN_OK;
    if (!g->in_event) {
        generation_begin_event(g);
        g->rows[0] = (struct row){.token = g->pending, .position = g->position, .sequence = g->sequence};
        g->before[0] = 0;
        if (g->params->continuous)
            status = warm_start(g, p->warm);
        if (p->early.rule.criterion)
            early_exit_begin(&p->early, 0, g->num_steps);
    }
    if (p->early.active)
        early_exit_next(&p->early, request);
    else
        *request = (struct request){.n_rows = 1, .n_new = 1, .steps = g->num_steps, .predict = true};
    request->given_states = g->params->continuous;
    return status;
}

static enum mn_status absorb(struct generation *g, void *state)
{
    struct plain *p = state;
    if (p->early.active) {
        enum mn_status status = early_exit_absorb(&p->early, g);
        if (status || p->early.active)
            return status;
    }
    generation_commit(g, g->predicted[0], g->rows[0].depth);
    generation_end_event(g, "token", 1, 1);
    return MN_OK;
}

const struct strategy strategy_ar = {.about = {.name = "ar",
                                               .help = "every token through all R steps",
                                               .lossless = true,
                                               .batches = true,
                                               .uses = MN_USES_EXIT | MN_USES_CONTINUOUS},
                                     .state_bytes = sizeof(struct plain),
                                     .lossy_because = lossy_because,
                                     .check = early_exit_check,
                                     .open = open,
                                     .close = close,
                                     .prompt = prompt,
                                     .next = next,
                                     .absorb = absorb};
