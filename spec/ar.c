/* Plain autoregressive decoding: every token through all num_steps. The yardstick that lossless strategies equal. With an exit
 * rule a token stops at its own depth instead, which is a different function of the model: lossy. */
#include "strategy.h"

static enum mn_status run(struct generation *g)
{
    while (!g->done) {
        const double start = clock_ns();
        const uint32_t before = 0;
        struct row row = {.token = g->pending, .position = g->position};
        uint32_t token;
        enum mn_status status;
        if (g->exit.criterion) {
            status = early_exit_row(g, &row, g->num_steps, &token);
            if (status)
                return status;
            generation_commit(g, token, row.depth);
            generation_trace(g, "token", start, &row, &before, &token, 1, 1, 1);
            continue;
        }
        struct session_run_params step = {.rows = &row, .n_rows = 1, .n_new = 1, .n_core = g->num_steps, .coda = true, .n_head = 1};
        status = session_run(g->session, &step, &token);
        if (status)
            return status;
        row.depth = g->num_steps;
        generation_commit(g, token, g->num_steps);
        generation_trace(g, "token", start, &row, &before, &token, 1, 1, 1);
    }
    return MN_OK;
}

const struct strategy strategy_ar = {.name = "ar", .lossless = true, .exits = true, .run = run};
