/* Draft and verify with one model (the spec's section 3): L tokens are drafted one by one at depth K, then all of them
 * and the committed token before them go on from depth K to depth R together.
 *
 * With `full` slots the first K steps of a draft ARE the first K steps of its verification, so nothing is recomputed
 * but the coda. The row behind the last draft is brought to depth K too (without coda): its target is the bonus token
 * of a round in which everything was accepted.
 *
 * Lossless under policy `full`: a row's arithmetic does not depend on which rows run beside it; a target is computed
 * from tokens that were accepted because they equal the targets before it; noise is keyed by position. Only targets are
 * committed - except under a verification threshold, the lossy rule, where an accepted draft is committed as it
 * is. */
#include "spec/strategy.h"

enum { BETWEEN = 0, DRAFTING, FILLING, LEVELLING, VERIFYING };

/* A row may not be deeper than the rows before it: its steps beyond theirs would read entries that are not final. */
static uint32_t draft_depth(const struct generation *g)
{
    return g->cursor > 0 ? g->rows[g->cursor - 1].depth : g->draft_steps;
}

/* The next row of the round: one behind which a token is drafted, or the last one, which is only brought to the draft
 * depth. */
static void enter_row(struct generation *g)
{
    const uint32_t i = g->cursor;
    /* A round commits at most one token more than it drafts; drafting past the last wanted token is waste. */
    uint32_t limit = generation_remaining(g) - 1;
    limit = limit < g->lookahead ? limit : g->lookahead;
    g->rows[i] = (struct row){
        .token = i == 0 ? g->pending : g->predicted[i - 1], .position = g->position + i, .sequence = g->sequence};
    g->n_rows = i + 1;
    /* Nothing follows a stop token. */
    bool drafts = i < limit && !(i > 0 && generation_is_stop(g, g->rows[i].token));
    g->phase = drafts ? DRAFTING : FILLING;
    if (drafts && g->exit.criterion)
        early_exit_begin(g, i, draft_depth(g));
}

/* Rows that exited early come to the depth of the row before them, the last ones first: a row at step t needs step t of
 * the rows before it, which are all at least as deep. False when all are level. */
static bool level(const struct generation *g, struct request *request)
{
    for (uint32_t i = g->n_rows - 1; i > 0; i--)
        if (g->rows[i].depth < g->rows[i - 1].depth) {
            *request = (struct request){
                .first = i, .n_rows = g->n_rows - i, .steps = g->rows[i - 1].depth - g->rows[i].depth};
            return true;
        }
    return false;
}

static enum mn_status next(struct generation *g, struct request *request)
{
    if (g->phase == BETWEEN) {
        generation_event(g);
        g->cursor = 0;
        enter_row(g);
    }
    if (g->early.active) {
        early_exit_next(g, request);
    } else if (g->phase == DRAFTING || g->phase == FILLING) {
        const uint32_t depth = g->rows[g->cursor].depth, to = draft_depth(g);
        *request = (struct request){.first = g->cursor,
                                    .n_rows = 1,
                                    .n_new = depth == 0,
                                    .steps = g->phase == DRAFTING ? generation_steps_to(g, depth, to) : to - depth,
                                    .predict = g->phase == DRAFTING};
    } else if (g->phase == VERIFYING || !level(g, request)) {
        g->phase = VERIFYING;
        *request = (struct request){
            .n_rows = g->n_rows, .steps = generation_steps_to(g, g->rows[0].depth, g->num_steps), .predict = true};
    }
    request->draft = g->phase == DRAFTING || g->phase == FILLING;
    return MN_OK;
}

/* Leading drafts that stand. */
static enum mn_status count_accepted(struct generation *g, uint32_t *accepted)
{
    const uint32_t n_vocab = session_info(g->session)->config->vocab_size;
    for (*accepted = 0; *accepted + 1 < g->n_rows; (*accepted)++) {
        const uint32_t i = *accepted;
        if (generation_agrees(g, i, i))
            continue;
        if (g->params->speculation.verification_threshold == 0.0f)
            break;
        enum mn_status status = session_read_logits(g->session, g->first_head + i, g->logits);
        if (status)
            return status;
        if (!accept_threshold(g->logits, n_vocab, g->rows[i + 1].token, g->params->speculation.verification_threshold))
            break;
    }
    return MN_OK;
}

static enum mn_status finish_round(struct generation *g)
{
    uint32_t accepted, committed = 0;
    enum mn_status status = count_accepted(g, &accepted);
    if (status)
        return status;
    stats_round(g->stats, g->n_rows - 1, accepted);
    /* Rows behind position + accepted are rolled back by forgetting them: their cache entries are rewritten before they
     * are read again. */
    for (; committed <= accepted && !g->done; committed++)
        generation_commit(g, committed < accepted ? g->rows[committed + 1].token : g->predicted[committed],
                          g->num_steps);
    generation_trace(g, "round", g->n_rows, accepted + 1);
    g->phase = BETWEEN;
    return MN_OK;
}

static enum mn_status absorb(struct generation *g)
{
    switch (g->phase) {
    case DRAFTING:
        if (g->early.active) {
            enum mn_status status = early_exit_absorb(g);
            if (status || g->early.active)
                return status;
        } else if (g->rows[g->cursor].depth < draft_depth(g)) {
            return MN_OK;
        }
        g->cursor++;
        enter_row(g);
        return MN_OK;
    case FILLING:
        for (uint32_t i = 0; i < g->n_rows; i++)
            g->before[i] = g->rows[i].depth;
        g->phase = LEVELLING;
        return MN_OK;
    case VERIFYING: return g->rows[0].depth < g->num_steps ? MN_OK : finish_round(g);
    default: /* LEVELLING: next looks for the next row that is not level */ return MN_OK;
    }
}

const struct strategy strategy_draft_verify = {.name = "draft-verify",
                                               .lossless = true,
                                               .drafts = true,
                                               .exits = true,
                                               .batches = true,
                                               .next = next,
                                               .absorb = absorb};
