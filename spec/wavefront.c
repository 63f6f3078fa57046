/* Wavefront decoding (docs/contract.md, 6): rows at staggered depths advance together.
 *
 * All depths share the core's weights, so one core pass advances rows that sit at DIFFERENT depths. In flight are the
 * rows of consecutive positions, the oldest the deepest. A tick
 *
 *   1. appends a row for the newest predicted token, at depth 0, and with it rows for tokens that lookup finds behind;
 *   2. advances every row by K steps in the same K core passes (fewer in the tick in which the oldest reaches R);
 *   3. predicts each row's next token anew;
 *   4. drops the rows behind the first prediction that no longer equals the token assumed behind it;
 *   5. commits the predictions of the rows that are at depth R: the oldest, and those that entered with it.
 *
 * Lossless under policy `full`: a row at step t needs step t of earlier positions only, and those are at least as deep;
 * what a row computed on a wrong token is dropped with it; a committed prediction comes from a row at depth R whose
 * predecessors were all committed, by arithmetic that does not depend on the rows beside it. Noise is keyed by
 * position.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/base/numbers.h"
#include "spec/tree.h"

enum { USUAL_ROWS = 8 };

struct wave {
    /* Statistics only. One draft counts for a position: the first token that stood there behind a row that is
     * committed. Turned: the first row behind this one was dropped because this one's prediction changed. */
    bool turned[SESSION_MAX_ROWS];
    struct proposals proposals;
    struct tree *tree; /* NULL: no branches are kept, and the rows are those of the generation */
};

/* With lookup there is room for what it finds beside the usual ones. */
static uint32_t rows(const struct mn_generate_params *params)
{
    const struct mn_speculation_params *p = &params->speculation;
    return p->max_inflight ? p->max_inflight : USUAL_ROWS + min_u32(p->lookup, MN_MAX_LOOKUP);
}

static enum mn_status check(const struct generation *g)
{
    enum mn_status status = check_max_inflight(g);
    if (!status)
        status = check_lookup(g);
    if (!status)
        status = check_branches(g);
    return status ? status : check_drafts(g);
}

/* The cost model: what a full tick reads while its rows share the weights. */
static enum mn_status open(struct generation *g, void *state)
{
    const struct session_info *w = session_info(g->session);
    struct wave *wave = state;
    g->stats->draft_steps = g->draft_steps;
    g->stats->lookup = g->params->speculation.lookup;
    g->stats->tick_weight_bytes = w->prelude_bytes + w->core_bytes * g->draft_steps + w->coda_bytes;
    if (g->params->speculation.branches < 2)
        return MN_OK;
    g->stats->branches = g->params->speculation.branches;
    wave->tree = calloc(1, sizeof *wave->tree);
    return wave->tree ? MN_OK : log_fail(g->log, MN_ERR_MEMORY, "out of host memory for branches");
}

static void close(void *state)
{
    free(((struct wave *)state)->tree);
}

/* The row of the newest predicted token, unless the wave is full or nothing will be wanted there; behind it those of
 * what lookup finds. Returns how many. */
static uint32_t append(struct generation *g, struct wave *wave)
{
    if (g->n_rows >= g->max_inflight) /* auto may lower the cap under a wave in flight */
        return 0;
    struct row row = {.token = g->pending, .position = g->position, .sequence = g->sequence};
    enum mn_proposal by = MN_PROPOSAL_RESTART;
    if (g->n_rows > 0) {
        row.token = g->predicted[g->n_rows - 1];
        row.position = g->rows[g->n_rows - 1].position + 1;
        by = wave->turned[g->n_rows - 1] ? MN_PROPOSAL_CORRECTION : MN_PROPOSAL_FIRST;
        /* The row at position p decides the token at p + 1; the last one wanted stands at n_prompt + n_new - 1. */
        if (row.position + 1 >= g->params->n_prompt + g->params->n_new || generation_is_stop(g, row.token))
            return 0;
    }
    const uint32_t before = g->n_rows;
    proposals_enter(&wave->proposals, &row, by);
    g->rows[g->n_rows++] = row;
    const uint32_t n = 1 + proposals_look_up(&wave->proposals, g, g->max_inflight - g->n_rows);
    memset(wave->turned + before, 0, n * sizeof *wave->turned);
    return n;
}

static enum mn_status next(struct generation *g, void *state, struct request *request)
{
    struct wave *wave = state;
    if (wave->tree)
        return tree_next(g, wave->tree, request);
    generation_begin_event(g);
    const uint32_t entered = append(g, wave);
    uint32_t left = g->num_steps - g->rows[0].depth;
    for (uint32_t i = 0; i < g->n_rows; i++)
        g->before[i] = g->rows[i].depth;
    *request = (struct request){
        .n_rows = g->n_rows, .n_new = entered, .steps = g->draft_steps < left ? g->draft_steps : left, .predict = true};
    return MN_OK;
}

/* The n oldest rows leave, committed, of `kept` that stand. A row behind the last of them that was given up while it
 * still might have been right (auto does that) is no draft. */
static void leave(struct generation *g, struct wave *wave, uint32_t n, uint32_t kept)
{
    for (uint32_t i = 0; i < n; i++) {
        const bool follows = kept > i + 1;
        g->stats->drafted += follows || wave->turned[i];
        g->stats->accepted += follows && !wave->turned[i];
    }
    g->n_rows = kept - n;
    memmove(g->rows, g->rows + n, g->n_rows * sizeof *g->rows);
    memmove(g->predicted, g->predicted + n, g->n_rows * sizeof *g->predicted);
    memmove(wave->turned, wave->turned + n, g->n_rows * sizeof *wave->turned);
}

/* Rows of the wave that stand: rows go the same steps together, the one in front was as much deeper when the one behind
 * it entered. */
static uint32_t count_kept(const struct generation *g)
{
    uint32_t kept = 1;
    while (kept < g->n_rows && generation_agrees(g, kept - 1, 0, g->rows[kept - 1].depth - g->rows[kept].depth))
        kept++;
    return kept;
}

static enum mn_status absorb(struct generation *g, void *state)
{
    const uint32_t n = g->n_rows;
    struct wave *wave = state;
    if (wave->tree)
        return tree_absorb(g, wave->tree);
    uint32_t kept = count_kept(g), committed = 0;
    g->stats->rounds++;
    g->stats->inflight_rows += n;
    g->stats->most_inflight = max_u32(g->stats->most_inflight, n);
    proposals_note(&wave->proposals, g, 0, n);
    wave->turned[kept - 1] |= kept < n;
    for (; committed < kept && g->rows[committed].depth == g->num_steps && !g->done; committed++) {
        const struct row *row = &g->rows[committed], *follower = kept > committed + 1 ? row + 1 : NULL;
        const uint32_t token = follower ? follower->token : g->predicted[committed];
        proposals_commit(&wave->proposals, g, row, follower, token);
        generation_commit(g, token, g->num_steps);
    }
    g->stats->committed += committed;
    if (g->done)
        kept = min_u32(kept, committed + 1); /* rows behind the end: drafts that nobody will judge */
    generation_end_event(g, "tick", n, kept);
    leave(g, wave, committed, kept);
    return MN_OK;
}

const struct strategy strategy_wavefront = {
    .about = {.name = "wavefront",
              .help = "a queue of rows at staggered depths: every tick advances all of them K steps",
              .lossless = true,
              .batches = true,
              .uses = MN_USES_DRAFT_STEPS | MN_USES_LOOKUP | MN_USES_BRANCHES | MN_USES_FORCED_ACCEPTANCE,
              .usual_inflight = USUAL_ROWS},
    .state_bytes = sizeof(struct wave),
    .rows = rows,
    .check = check,
    .open = open,
    .close = close,
    .next = next,
    .absorb = absorb};
