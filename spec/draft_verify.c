/* Draft and verify with one model (the spec's section 3): L tokens are drafted one by one at depth K, then all of them and the
 * committed token before them go on from depth K to depth R together.
 *
 * With `full` slots the first K steps of a draft ARE the first K steps of its verification, so nothing is recomputed but the
 * coda. The row behind the last draft is brought to depth K too (without coda): its target is the bonus token of a round in
 * which everything was accepted.
 *
 * Lossless under policy `full`: a row's arithmetic does not depend on which rows run beside it; a target is computed from
 * tokens that were accepted because they equal the targets before it; noise is keyed by position. Only targets are committed.
 */
#include "strategy.h"

/* Runs a row of the round to depth `steps`, or less where the exit rule says so; with `predict`, its draft of the next token. */
static enum mn_status draft_row(struct generation *g, struct row *row, uint32_t steps, bool predict, uint32_t *draft)
{
    if (predict && g->exit.criterion)
        return early_exit_row(g, row, steps, draft);
    struct session_run_params step = {.rows = row, .n_rows = 1, .n_new = 1, .n_core = steps, .coda = predict, .n_head = predict ? 1 : 0};
    enum mn_status status = session_run(g->session, &step, draft);
    row->depth = steps;
    return status;
}

/* Brings rows that exited early to the depth of the first row, the last ones first: a row at step t needs step t of the rows
 * before it, which are all at least as deep. */
static enum mn_status level(struct generation *g, struct row *rows, uint32_t n)
{
    for (uint32_t i = n - 1; i > 0; i--) {
        uint32_t steps = rows[i - 1].depth - rows[i].depth;
        if (steps == 0)
            continue;
        struct session_run_params catch_up = {.rows = rows + i, .n_rows = n - i, .n_core = steps};
        enum mn_status status = session_run(g->session, &catch_up, NULL);
        if (status)
            return status;
        for (uint32_t j = i; j < n; j++)
            rows[j].depth += steps;
    }
    return MN_OK;
}

static enum mn_status run_round(struct generation *g)
{
    struct row rows[MN_MAX_LOOKAHEAD + 1];
    uint32_t drafts[MN_MAX_LOOKAHEAD], targets[MN_MAX_LOOKAHEAD + 1];
    /* A round commits at most one token more than it drafts; drafting past the last wanted token is waste. */
    uint32_t limit = generation_remaining(g) - 1, n_drafts = 0;
    limit = limit < g->params->lookahead ? limit : g->params->lookahead;
    double start = clock_ns();
    for (uint32_t i = 0;; i++) {
        rows[i] = (struct row){.token = i == 0 ? g->pending : drafts[i - 1], .position = g->position + i};
        /* Nothing follows a stop token, so its own row is only needed to reach the draft depth like the others. */
        bool predict = i < limit && !(i > 0 && generation_is_stop(g, drafts[i - 1]));
        /* A row may not be deeper than the rows before it: its steps beyond theirs would read entries that are not final. */
        enum mn_status status = draft_row(g, &rows[i], i > 0 ? rows[i - 1].depth : g->params->draft_steps, predict, &drafts[i]);
        if (status)
            return status;
        if (!predict)
            break;
        n_drafts++;
    }
    double middle = clock_ns();
    uint32_t drafted_depth[MN_MAX_LOOKAHEAD + 1];
    for (uint32_t i = 0; i <= n_drafts; i++)
        drafted_depth[i] = rows[i].depth;
    enum mn_status status = level(g, rows, n_drafts + 1);
    if (status)
        return status;
    struct session_run_params verify = {.rows = rows,
                                        .n_rows = n_drafts + 1,
                                        .n_core = g->num_steps - rows[0].depth,
                                        .coda = true,
                                        .n_head = n_drafts + 1};
    status = session_run(g->session, &verify, targets);
    if (status)
        return status;
    g->stats->draft_ns += middle - start;
    g->stats->verify_ns += clock_ns() - middle;
    uint32_t accepted = accept_prefix(drafts, targets, n_drafts);
    stats_round(g->stats, n_drafts, accepted);
    /* Rows behind position + accepted are rolled back by forgetting them: their cache entries are rewritten before they are
     * read again. */
    uint32_t committed = 0;
    for (; committed <= accepted && !g->done; committed++)
        generation_commit(g, targets[committed], g->num_steps);
    for (uint32_t i = 0; i <= n_drafts; i++)
        rows[i].depth = g->num_steps;
    generation_trace(g, "round", start, rows, drafted_depth, targets, n_drafts + 1, accepted + 1, committed);
    return MN_OK;
}

static enum mn_status run(struct generation *g)
{
    enum mn_status status = MN_OK;
    while (!g->done && !status)
        status = run_round(g);
    return status;
}

const struct strategy strategy_draft_verify = {.name = "draft-verify", .lossless = true, .drafts = true, .exits = true, .run = run};
