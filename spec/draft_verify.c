/* Draft and verify with one model (docs/contract.md, 5): L tokens are drafted one by one at depth K, then all of them
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
#include <stdlib.h>

#include "engine/base/numbers.h"
#include "spec/early_exit.h"
#include "spec/proposals.h"

enum phase { DRAFTING, FILLING, LEVELLING, VERIFYING };

struct round {
    enum phase phase;
    uint32_t cursor;      /* the row under way */
    uint32_t n_looked_up; /* rows behind it that enter with it, on tokens that lookup found */
    struct early_exit early;
    float *logits; /* [vocab_size], for the verification threshold */
    struct proposals proposals;
};

static uint32_t rows(const struct mn_generate_params *params)
{
    return min_u32(params->speculation.lookahead, SESSION_MAX_ROWS - 1) + 1;
}

static const char *lossy_because(const struct mn_generate_params *params)
{
    return params->speculation.verification_threshold > 0.0f ? "verification_threshold" : NULL;
}

static enum mn_status check(const struct generation *g)
{
    const struct mn_speculation_params *p = &g->params->speculation;
    const uint32_t max_rows = session_info(g->session)->max_rows, most = min_u32(max_rows - 1, MN_MAX_LOOKAHEAD);
    if (!is_share(p->verification_threshold))
        return log_fail(g->log, MN_ERR_USAGE, "verification_threshold %g: must be above 0 and at most 1",
                        (double)p->verification_threshold);
    if (p->verification_threshold > 0.0f && accept_is_forced(&g->params->measuring))
        return log_fail(g->log, MN_ERR_USAGE, "verification_threshold: not with %s, which accepts drafts itself",
                        g->params->measuring.n_forced_at ? "forced_at" : "forced_acceptance");
    enum mn_status status = early_exit_check(g);
    if (!status)
        status = check_lookup(g);
    if (!status)
        status = check_drafts(g);
    if (status)
        return status;
    if (max_rows < 2)
        return log_fail(g->log, MN_ERR_USAGE, "strategy draft-verify: needs a session with at least 2 rows per pass");
    if (p->lookahead < 1 || p->lookahead > most)
        return log_fail(g->log, MN_ERR_USAGE, "lookahead %u: must be from 1 to %u", p->lookahead, most);
    return MN_OK;
}

static enum mn_status open(struct generation *g, void *state)
{
    struct round *r = state;
    const uint32_t n_vocab = session_info(g->session)->config->vocab_size;
    g->stats->draft_steps = g->draft_steps;
    g->stats->lookahead = g->lookahead;
    g->stats->lookup = g->params->speculation.lookup;
    enum mn_status status = early_exit_open(&r->early, g, 1);
    if (!status && g->params->speculation.verification_threshold > 0.0f &&
        !(r->logits = malloc(n_vocab * sizeof *r->logits)))
        status = log_fail(g->log, MN_ERR_MEMORY, "out of host memory for the logits of a draft");
    return status;
}

static void close(void *state)
{
    struct round *r = state;
    early_exit_close(&r->early);
    free(r->logits);
}

/* A row may not be deeper than the rows before it: its steps beyond theirs would read entries that are not final. */
static uint32_t draft_depth(const struct generation *g, const struct round *r)
{
    return r->cursor > 0 ? g->rows[r->cursor - 1].depth : g->draft_steps;
}

/* A round commits at most one token more than it drafts; drafting past the last wanted token is waste. */
static uint32_t most_drafts(const struct generation *g)
{
    return min_u32(generation_remaining(g) - 1, g->lookahead);
}

/* The next row of the round: one behind which a token is drafted, or the last one, which is only brought to the draft
 * depth. Tokens that lookup finds behind the first kind enter with it. */
static void enter_row(struct generation *g, struct round *r, enum mn_proposal by)
{
    const uint32_t i = r->cursor, limit = most_drafts(g);
    g->rows[i] = (struct row){
        .token = i == 0 ? g->pending : g->predicted[i - 1], .position = g->position + i, .sequence = g->sequence};
    g->n_rows = i + 1;
    proposals_enter(&r->proposals, &g->rows[i], by);
    /* Nothing follows a stop token. */
    bool drafts = i < limit && !(i > 0 && generation_is_stop(g, g->rows[i].token));
    r->phase = drafts ? DRAFTING : FILLING;
    r->n_looked_up = drafts ? proposals_look_up(&r->proposals, g, limit - i) : 0;
    if (drafts && r->early.rule.criterion)
        early_exit_begin(&r->early, i, draft_depth(g, r));
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

static enum mn_status next(struct generation *g, void *state, struct request *request)
{
    struct round *r = state;
    if (!g->in_event) {
        generation_begin_event(g);
        r->cursor = 0;
        enter_row(g, r, MN_PROPOSAL_RESTART);
    }
    if (r->early.active) {
        early_exit_next(&r->early, request);
    } else if (r->phase == DRAFTING || r->phase == FILLING) {
        *request = (struct request){.first = r->cursor,
                                    .n_rows = 1 + r->n_looked_up,
                                    .n_new = 1 + r->n_looked_up,
                                    .steps = draft_depth(g, r),
                                    .predict = r->phase == DRAFTING};
    } else if (!level(g, request)) {
        r->phase = VERIFYING;
        *request = (struct request){.n_rows = g->n_rows, .steps = g->num_steps - g->rows[0].depth, .predict = true};
    }
    request->draft = r->phase == DRAFTING || r->phase == FILLING;
    return MN_OK;
}

/* Leading drafts that stand. */
static enum mn_status count_accepted(struct generation *g, float *logits, uint32_t *accepted)
{
    const uint32_t n_vocab = session_info(g->session)->config->vocab_size;
    for (*accepted = 0; *accepted + 1 < g->n_rows; (*accepted)++) {
        const uint32_t i = *accepted;
        if (generation_agrees(g, i, i, g->before[i]))
            continue;
        if (g->params->speculation.verification_threshold == 0.0f)
            break;
        enum mn_status status = session_read_logits(g->session, g->first_head + i, logits);
        if (status)
            return status;
        if (!accept_threshold(logits, n_vocab, g->rows[i + 1].token, g->params->speculation.verification_threshold))
            break;
    }
    return MN_OK;
}

static enum mn_status finish_round(struct generation *g, struct round *r)
{
    uint32_t accepted, committed = 0;
    enum mn_status status = count_accepted(g, r->logits, &accepted);
    if (status)
        return status;
    /* Rows behind position + accepted are rolled back by forgetting them: their cache entries are rewritten before they
     * are read again. */
    for (; committed <= accepted && !g->done; committed++) {
        const struct row *row = &g->rows[committed], *follower = committed < accepted ? row + 1 : NULL;
        const uint32_t token = follower ? follower->token : g->predicted[committed];
        proposals_commit(&r->proposals, g, row, follower, token);
        generation_commit(g, token, g->num_steps);
    }
    g->stats->most_inflight = max_u32(g->stats->most_inflight, g->n_rows);
    stats_round(g->stats, g->n_rows - 1, accepted, committed, g->done);
    generation_end_event(g, "round", g->n_rows, min_u32(accepted, committed) + 1);
    return MN_OK;
}

/* All drafts are there. */
static void end_drafts(struct generation *g, struct round *r)
{
    for (uint32_t i = 0; i < g->n_rows; i++)
        g->before[i] = g->rows[i].depth;
    r->phase = LEVELLING;
}

/* The row under way has predicted, and those that entered with it: they stand up to the first that is not what the row
 * before it says. There the next row enters. */
static void absorb_draft(struct generation *g, struct round *r)
{
    const uint32_t last = r->cursor + r->n_looked_up;
    proposals_note(&r->proposals, g, r->cursor, 1 + r->n_looked_up);
    while (r->cursor < last && g->predicted[r->cursor] == g->rows[r->cursor + 1].token)
        r->cursor++;
    const bool corrected = r->cursor < last;
    if (!corrected && r->cursor == most_drafts(g)) {
        end_drafts(g, r);
        return;
    }
    r->cursor++;
    enter_row(g, r, corrected ? MN_PROPOSAL_CORRECTION : MN_PROPOSAL_FIRST);
}

static enum mn_status absorb(struct generation *g, void *state)
{
    struct round *r = state;
    switch (r->phase) {
    case DRAFTING:
        if (r->early.active) {
            enum mn_status status = early_exit_absorb(&r->early, g);
            if (status || r->early.active)
                return status;
        }
        absorb_draft(g, r);
        return MN_OK;
    case FILLING: end_drafts(g, r); return MN_OK;
    case VERIFYING: return finish_round(g, r);
    default: /* LEVELLING: next looks for the next row that is not level */ return MN_OK;
    }
}

const struct strategy strategy_draft_verify = {
    .about = {.name = "draft-verify",
              .help = "drafts L tokens at K steps, verifies them together from K steps on",
              .lossless = true,
              .batches = true,
              .uses = MN_USES_DRAFT_STEPS | MN_USES_LOOKAHEAD | MN_USES_LOOKUP | MN_USES_EXIT |
                      MN_USES_VERIFICATION_THRESHOLD | MN_USES_FORCED_ACCEPTANCE},
    .state_bytes = sizeof(struct round),
    .rows = rows,
    .lossy_because = lossy_because,
    .check = check,
    .open = open,
    .close = close,
    .next = next,
    .absorb = absorb};
