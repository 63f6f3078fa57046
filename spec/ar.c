/* Plain autoregressive decoding: every token through all num_steps. The yardstick that lossless strategies equal. Two
 * lossy variants: under an exit rule a token stops at its own depth, and with the warm start ("continuous compute", the
 * spec's section 5) its recurrence begins where the one of the token before it ended. */
#include "spec/strategy.h"

static enum mn_status warm_start(struct generation *g)
{
    enum mn_status status = session_read_state(g->session, g->sequence, g->position - 1, g->pending_depth, g->warm);
    return status ? status : session_write_states(g->session, g->sequence, g->position, g->warm, 1);
}

static enum mn_status next(struct generation *g, struct request *request)
{
    enum mn_status status = MN_OK;
    if (g->phase == 0) {
        g->phase = 1;
        generation_begin_event(g);
        g->rows[0] = (struct row){.token = g->pending, .position = g->position, .sequence = g->sequence};
        g->before[0] = 0;
        if (g->params->continuous)
            status = warm_start(g);
        if (g->exit.criterion)
            early_exit_begin(g, 0, g->num_steps);
    }
    const uint32_t depth = g->rows[0].depth;
    if (g->early.active)
        early_exit_next(g, request);
    else
        *request = (struct request){
            .n_rows = 1, .n_new = depth == 0, .steps = generation_steps_to(g, depth, g->num_steps), .predict = true};
    request->given_states = g->params->continuous;
    return status;
}

static enum mn_status absorb(struct generation *g)
{
    if (g->early.active) {
        enum mn_status status = early_exit_absorb(g);
        if (status || g->early.active)
            return status;
    } else if (g->rows[0].depth < g->num_steps) {
        return MN_OK;
    }
    g->phase = 0;
    generation_commit(g, g->predicted[0], g->rows[0].depth);
    generation_end_event(g, "token", 1, 1);
    return MN_OK;
}

const struct strategy strategy_ar = {
    .name = "ar", .lossless = true, .exits = true, .batches = true, .next = next, .absorb = absorb};
