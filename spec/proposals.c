#include "spec/proposals.h"

#include <string.h>

#include "engine/base/numbers.h"
#include "spec/lookup.h"

static uint32_t place_at(uint32_t position, bool branch)
{
    return position % SESSION_MAX_ROWS + (branch ? SESSION_MAX_ROWS : 0);
}

static uint32_t place_of(const struct row *row)
{
    return place_at(row->position, row->shift > 0);
}

void proposals_enter(struct proposals *p, const struct row *row, enum mn_proposal by)
{
    const uint32_t at = place_of(row);
    p->by[at] = (uint8_t)by;
    memset(p->predicted[at], 0xff, sizeof p->predicted[at]);
}

uint32_t proposals_look_up(struct proposals *p, struct generation *g, uint32_t most)
{
    uint32_t tail[SESSION_MAX_ROWS], found[MN_MAX_LOOKUP], n = 0;
    const struct row last = g->rows[g->n_rows - 1];
    /* The row at position p decides the token at p + 1; the last one wanted stands at n_prompt + n_new - 1. */
    const uint32_t wanted = g->params->n_prompt + g->params->n_new - 2 - last.position;
    if (!g->lookup || min_u32(most, g->at_once) == 0 || wanted == 0)
        return 0;
    for (uint32_t i = 1; i < g->n_rows; i++)
        tail[i - 1] = g->rows[i].token;
    const uint32_t n_found = lookup_find(g->lookup, tail, g->n_rows - 1, found,
                                         min_u32(min_u32(most, wanted), g->at_once));
    for (; n < n_found && !generation_is_stop(g, found[n]); n++) {
        const struct row row = {.token = found[n], .position = last.position + 1 + n, .sequence = g->sequence};
        proposals_enter(p, &row, MN_PROPOSAL_LOOKUP);
        g->rows[g->n_rows++] = row;
    }
    g->stats->looked_up += n;
    return n;
}

void proposals_note(struct proposals *p, const struct generation *g, uint32_t first, uint32_t n)
{
    for (uint32_t i = first; i < first + n; i++)
        if (g->rows[i].depth < g->num_steps && g->rows[i].depth <= MN_AGREEMENT_DEPTHS)
            p->predicted[place_of(&g->rows[i])][g->rows[i].depth - 1] = g->predicted[i];
}

void proposals_take_branch(struct proposals *p, uint32_t first, uint32_t n)
{
    for (uint32_t i = first; i < first + n; i++) {
        const uint32_t from = place_at(i, true), to = place_at(i, false);
        p->by[to] = p->by[from];
        memcpy(p->predicted[to], p->predicted[from], sizeof p->predicted[to]);
    }
}

void proposals_commit(struct proposals *p, const struct generation *g, const struct row *row,
                      const struct row *follower, uint32_t token)
{
    const uint32_t at = place_of(row);
    struct mn_stats *stats = g->stats;
    stats->proposed_by[follower ? p->by[place_of(follower)] : MN_PROPOSAL_RESTART]++;
    if (accept_is_forced(&g->params->measuring))
        return;
    for (uint32_t depth = 1; depth <= MN_AGREEMENT_DEPTHS && depth < g->num_steps; depth++) {
        const uint32_t predicted = p->predicted[at][depth - 1];
        if (predicted == UINT32_MAX)
            continue;
        stats->predicted_at[depth - 1]++;
        stats->agreed_at[depth - 1] += predicted == token;
    }
}
