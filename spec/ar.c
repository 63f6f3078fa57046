/* Plain autoregressive decoding: every token through all num_steps. The yardstick that lossless strategies equal. */
#include "strategy.h"

static enum mn_status run(struct generation *g)
{
    while (!g->done) {
        struct row row = {.token = g->pending, .position = g->position};
        uint32_t token;
        struct session_run_params step = {.rows = &row, .n_rows = 1, .n_new = 1, .n_core = g->num_steps, .coda = true, .n_head = 1};
        enum mn_status status = session_run(g->session, &step, &token);
        if (status)
            return status;
        generation_commit(g, token);
    }
    return MN_OK;
}

const struct strategy strategy_ar = {.name = "ar", .lossless = true, .run = run};
