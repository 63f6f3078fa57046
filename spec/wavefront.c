/* Wavefront decoding (the spec's section 4): rows at staggered depths advance together.
 *
 * All depths share the core's weights, so one core pass advances rows that sit at DIFFERENT depths. In flight are the rows of
 * consecutive positions, the oldest the deepest. A tick
 *
 *   1. appends a row for the newest predicted token, at depth 0;
 *   2. advances every row by K steps in the same K core passes (fewer in the tick in which the oldest reaches R);
 *   3. predicts each row's next token anew;
 *   4. drops the rows behind the first prediction that no longer equals the token assumed behind it;
 *   5. commits the oldest row's prediction once that row is at depth R.
 *
 * Lossless under policy `full`: a row at step t needs step t of earlier positions only, and those are at least as deep; what a
 * row computed on a wrong token is dropped with it; a committed prediction comes from a row at depth R whose predecessors
 * were all committed, by arithmetic that does not depend on the rows beside it. Noise is keyed by position.
 */
#include <string.h>

#include "strategy.h"

struct wave {
    struct row rows[SESSION_MAX_ROWS];      /* in flight, by position */
    uint32_t predicted[SESSION_MAX_ROWS];   /* the token behind each row, as of the last tick */
    uint32_t n;
};

/* The row of the newest predicted token, unless the wave is full or nothing will be wanted there. */
static bool append(struct generation *g, struct wave *wave)
{
    if (wave->n == g->max_inflight)
        return false;
    struct row row = {.token = g->pending, .position = g->position};
    if (wave->n > 0) {
        row.token = wave->predicted[wave->n - 1];
        row.position = wave->rows[wave->n - 1].position + 1;
        /* The row at position p decides the token at p + 1; the last one wanted stands at n_prompt + n_new - 1. */
        if (row.position + 1 >= g->params->n_prompt + g->params->n_new || generation_is_stop(g, row.token))
            return false;
        g->stats->drafted++;
    }
    wave->rows[wave->n++] = row;
    return true;
}

static enum mn_status tick(struct generation *g, struct wave *wave)
{
    const double start = clock_ns();
    bool entered = append(g, wave);
    uint32_t left = g->num_steps - wave->rows[0].depth;
    uint32_t steps = g->params->draft_steps < left ? g->params->draft_steps : left;
    struct session_run_params run = {
        .rows = wave->rows, .n_rows = wave->n, .n_new = entered ? 1 : 0, .n_core = steps, .coda = true, .n_head = wave->n};
    enum mn_status status = session_run(g->session, &run, wave->predicted);
    if (status)
        return status;
    g->stats->rounds++;
    g->stats->inflight_rows += wave->n;
    uint32_t before[SESSION_MAX_ROWS];
    for (uint32_t i = 0; i < wave->n; i++) {
        before[i] = wave->rows[i].depth;
        wave->rows[i].depth += steps;
    }
    uint32_t kept = 1;
    while (kept < wave->n && wave->rows[kept].token == wave->predicted[kept - 1])
        kept++;
    bool commit = wave->rows[0].depth == g->num_steps;
    if (commit)
        generation_commit(g, wave->predicted[0], g->num_steps);
    generation_trace(g, "tick", start, wave->rows, before, wave->predicted, wave->n, kept, commit);
    wave->n = kept;
    if (!commit)
        return MN_OK;
    if (wave->n > 1)
        g->stats->accepted++;
    wave->n--;
    memmove(wave->rows, wave->rows + 1, wave->n * sizeof *wave->rows);
    memmove(wave->predicted, wave->predicted + 1, wave->n * sizeof *wave->predicted);
    return MN_OK;
}

static enum mn_status run(struct generation *g)
{
    struct wave wave = {0};
    enum mn_status status = MN_OK;
    while (!g->done && !status)
        status = tick(g, &wave);
    return status;
}

const struct strategy strategy_wavefront = {.name = "wavefront", .lossless = true, .wave = true, .run = run};
