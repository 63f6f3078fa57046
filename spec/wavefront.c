/* Wavefront decoding (docs/contract.md, 6): rows at staggered depths advance together.
 *
 * All depths share the core's weights, so one core pass advances rows that sit at DIFFERENT depths. In flight are the
 * rows of consecutive positions, the oldest the deepest. A tick
 *
 *   1. appends a row for the newest predicted token, at depth 0;
 *   2. advances every row by K steps in the same K core passes (fewer in the tick in which the oldest reaches R);
 *   3. predicts each row's next token anew;
 *   4. drops the rows behind the first prediction that no longer equals the token assumed behind it;
 *   5. commits the oldest row's prediction once that row is at depth R.
 *
 * Lossless under policy `full`: a row at step t needs step t of earlier positions only, and those are at least as deep;
 * what a row computed on a wrong token is dropped with it; a committed prediction comes from a row at depth R whose
 * predecessors were all committed, by arithmetic that does not depend on the rows beside it. Noise is keyed by
 * position.
 */
#include <string.h>

#include "engine/base/numbers.h"
#include "spec/strategy.h"

enum { USUAL_ROWS = 8 };

/* Statistics only. One draft counts for a position: the first token that stood there behind a row that is committed. */
struct wave {
    bool turned[SESSION_MAX_ROWS]; /* the first row behind this one was dropped because this one's prediction changed */
};

static uint32_t rows(const struct mn_generate_params *params)
{
    return params->speculation.max_inflight ? params->speculation.max_inflight : USUAL_ROWS;
}

static enum mn_status check(const struct generation *g)
{
    enum mn_status status = check_max_inflight(g);
    return status ? status : check_drafts(g);
}

/* The cost model: what a full tick reads while its rows share the weights. */
static enum mn_status open(struct generation *g, void *state)
{
    const struct session_info *w = session_info(g->session);
    (void)state;
    g->stats->draft_steps = g->draft_steps;
    g->stats->tick_weight_bytes = w->prelude_bytes + w->core_bytes * g->draft_steps + w->coda_bytes;
    return MN_OK;
}

/* The row of the newest predicted token, unless the wave is full or nothing will be wanted there. */
static bool append(struct generation *g, struct wave *wave)
{
    if (g->n_rows >= g->max_inflight) /* auto may lower the cap under a wave in flight */
        return false;
    struct row row = {.token = g->pending, .position = g->position, .sequence = g->sequence};
    if (g->n_rows > 0) {
        row.token = g->predicted[g->n_rows - 1];
        row.position = g->rows[g->n_rows - 1].position + 1;
        /* The row at position p decides the token at p + 1; the last one wanted stands at n_prompt + n_new - 1. */
        if (row.position + 1 >= g->params->n_prompt + g->params->n_new || generation_is_stop(g, row.token))
            return false;
    }
    wave->turned[g->n_rows] = false;
    g->rows[g->n_rows++] = row;
    return true;
}

static enum mn_status next(struct generation *g, void *state, struct request *request)
{
    generation_begin_event(g);
    bool entered = append(g, state);
    uint32_t left = g->num_steps - g->rows[0].depth;
    for (uint32_t i = 0; i < g->n_rows; i++)
        g->before[i] = g->rows[i].depth;
    *request = (struct request){
        .n_rows = g->n_rows, .n_new = entered, .steps = g->draft_steps < left ? g->draft_steps : left, .predict = true};
    return MN_OK;
}

/* The oldest row leaves, committed; `follows`: the row behind it stands. A row behind it that was given up while it
 * still might have been right (auto does that) is no draft. */
static void leave(struct generation *g, struct wave *wave, bool follows)
{
    g->stats->drafted += follows || wave->turned[0];
    g->stats->accepted += follows && !wave->turned[0];
    g->n_rows--;
    memmove(g->rows, g->rows + 1, g->n_rows * sizeof *g->rows);
    memmove(g->predicted, g->predicted + 1, g->n_rows * sizeof *g->predicted);
    memmove(wave->turned, wave->turned + 1, g->n_rows * sizeof *wave->turned);
}

static enum mn_status absorb(struct generation *g, void *state)
{
    const uint32_t n = g->n_rows;
    struct wave *wave = state;
    g->stats->rounds++;
    g->stats->inflight_rows += n;
    uint32_t kept = 1;
    /* Rows go the same steps together: the one in front was as much deeper when the one behind it entered. */
    while (kept < n && generation_agrees(g, kept - 1, 0, g->rows[kept - 1].depth - g->rows[kept].depth))
        kept++;
    wave->turned[kept - 1] |= kept < n;
    bool commit = g->rows[0].depth == g->num_steps;
    if (commit) {
        generation_commit(g, kept > 1 ? g->rows[1].token : g->predicted[0], g->num_steps);
        g->stats->committed++;
        kept = g->done ? min_u32(kept, 2) : kept; /* rows behind the end: drafts that nobody will judge */
    }
    generation_end_event(g, "tick", n, kept);
    g->n_rows = kept;
    if (commit)
        leave(g, wave, kept > 1);
    return MN_OK;
}

const struct strategy strategy_wavefront = {
    .about = {.name = "wavefront",
              .help = "a queue of rows at staggered depths: every tick advances all of them K steps",
              .lossless = true,
              .batches = true,
              .uses = MN_USES_DRAFT_STEPS | MN_USES_FORCED_ACCEPTANCE,
              .usual_inflight = USUAL_ROWS},
    .state_bytes = sizeof(struct wave),
    .rows = rows,
    .check = check,
    .open = open,
    .next = next,
    .absorb = absorb};
