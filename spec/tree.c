#include "spec/tree.h"

#include <string.h>

#include "engine/base/numbers.h"

/* A line that has been behind for so many ticks hardly comes back: its rows make place. Measured, docs/speed-log.md. */
enum { PATIENCE = 4 };

/* Rows in front of both lines, the one that they stand behind included. */
static uint32_t n_shared(const struct tree *t)
{
    return t->first ? t->first - t->home.at[0].row.position : t->home.n;
}

static struct tree_line *line_ahead(struct tree *t)
{
    return t->ahead ? &t->branch : &t->home;
}

/* Rows that only the other line has. */
static uint32_t n_behind(const struct tree *t)
{
    return t->ahead ? t->home.n - n_shared(t) : t->branch.n;
}

/* ---- growing ---- */

/* The row behind the last one of a line, unless nothing will be wanted there. */
static bool extend(struct generation *g, struct tree *t, struct tree_line *line)
{
    const bool branch = line == &t->branch;
    struct tree_node *last = line->n ? &line->at[line->n - 1] : branch ? &t->home.at[n_shared(t) - 1] : NULL;
    struct tree_node node = {.row = {.token = g->pending, .position = g->position, .sequence = g->sequence}};
    enum mn_proposal by = MN_PROPOSAL_RESTART;
    if (last) {
        node.row.token = last->predicted;
        node.row.position = last->row.position + 1;
        node.row.shift = branch ? session_info(g->session)->n_ctx - t->first : 0;
        node.late = last->turned;
        by = last->turned ? MN_PROPOSAL_CORRECTION : MN_PROPOSAL_FIRST;
        /* The row at position p decides the token at p + 1; the last one wanted stands at n_prompt + n_new - 1. */
        if (node.row.position + 1 >= g->params->n_prompt + g->params->n_new || generation_is_stop(g, node.row.token))
            return false;
    }
    proposals_enter(&t->proposals, &node.row, by);
    line->at[line->n++] = node;
    return true;
}

/* The line ahead alone grows, and takes a row's place from the other one where there is none left. Returns how many
 * rows entered. */
static uint32_t grow(struct generation *g, struct tree *t)
{
    struct tree_line *other = t->ahead ? &t->home : &t->branch;
    const bool full = t->home.n + t->branch.n >= g->max_inflight;
    if ((full && (!t->first || n_behind(t) == 0)) || (t->ahead && t->branch.n >= session_info(g->session)->n_branch) ||
        !extend(g, t, line_ahead(t)))
        return 0;
    other->n -= full;
    return 1;
}

/* A node as a row of the request, and back. */
static void put(struct generation *g, struct tree_node *node)
{
    node->index = g->n_rows;
    g->before[g->n_rows] = node->row.depth;
    g->dropped[g->n_rows] = false;
    g->rows[g->n_rows++] = node->row;
}

enum mn_status tree_next(struct generation *g, struct tree *t, struct request *request)
{
    generation_begin_event(g);
    const uint32_t entered = grow(g, t), in_home = t->ahead ? 0 : entered, in_branch = entered - in_home,
                   left = g->num_steps - t->home.at[0].row.depth;
    g->n_rows = 0;
    for (uint32_t i = 0; i + in_home < t->home.n; i++)
        put(g, &t->home.at[i]);
    for (uint32_t i = 0; i + in_branch < t->branch.n; i++)
        put(g, &t->branch.at[i]);
    if (entered)
        put(g, &line_ahead(t)->at[line_ahead(t)->n - 1]);
    *request = (struct request){
        .n_rows = g->n_rows, .n_new = entered, .steps = min_u32(g->draft_steps, left), .predict = true};
    return MN_OK;
}

static void take_predictions(struct generation *g, struct tree *t)
{
    for (uint32_t i = 0; i < g->n_rows; i++) {
        struct tree_line *line = g->rows[i].shift ? &t->branch : &t->home;
        struct tree_node *node = &line->at[g->rows[i].position - line->at[0].row.position];
        node->row.depth = g->rows[i].depth;
        node->predicted = g->predicted[i];
    }
}

/* ---- judging ---- */

static void cut(struct generation *g, struct tree_line *line, uint32_t n)
{
    for (; line->n > n; line->n--)
        g->dropped[line->at[line->n - 1].index] = true;
}

static void drop_branch(struct generation *g, struct tree *t)
{
    cut(g, &t->branch, 0);
    t->first = 0;
    t->ahead = false;
}

/* The branch takes the place of what stands behind its parent at home. */
static enum mn_status move_home(struct generation *g, struct tree *t)
{
    const uint32_t n = t->branch.n;
    cut(g, &t->home, n_shared(t));
    enum mn_status status = n ? session_take_branch(g->session, g->sequence, t->first, n, t->branch.at[0].row.depth)
                              : MN_OK;
    g->stats->branch_moves += n > 0;
    g->stats->branch_moved += n;
    proposals_take_branch(&t->proposals, t->first, n);
    for (uint32_t i = 0; i < n; i++) {
        t->home.at[t->home.n] = t->branch.at[i];
        t->home.at[t->home.n++].row.shift = 0;
    }
    t->branch.n = t->first = 0;
    t->ahead = false;
    return status;
}

static enum mn_status settle(struct generation *g, struct tree *t)
{
    if (t->ahead)
        return move_home(g, t);
    drop_branch(g, t);
    return MN_OK;
}

/* Up to which row, from `from` on, a line stands. */
static uint32_t count_standing(const struct tree_line *line, uint32_t from)
{
    uint32_t n = from + 1;
    while (n < line->n && line->at[n - 1].predicted == line->at[n].row.token)
        n++;
    return min_u32(n, line->n);
}

static void trim(struct generation *g, struct tree_line *line, uint32_t from)
{
    const uint32_t n = count_standing(line, from);
    if (n < line->n)
        line->at[n - 1].turned = true;
    cut(g, line, n);
}

/* What row i of home predicts has changed: what stands behind it stays, and the branch begins there. There is none.
 * What is predicted at full depth changes no more. */
static void split(struct generation *g, struct tree *t, uint32_t i)
{
    struct tree_node *node = &t->home.at[i];
    node->turned = true;
    if (node->row.depth == g->num_steps) {
        cut(g, &t->home, i + 1);
        return;
    }
    t->first = node->row.position + 1;
    t->n_quiet = 0;
    t->ahead = true;
    trim(g, &t->home, i + 1);
}

/* The rows in front of both lines and what the last of them says. */
static enum mn_status judge_shared(struct generation *g, struct tree *t)
{
    const uint32_t n = n_shared(t);
    uint32_t i = 0;
    while (i + 1 < n && t->home.at[i].predicted == t->home.at[i + 1].row.token)
        i++;
    if (!t->first || i + 1 == n) {
        struct tree_node *parent = &t->home.at[n - 1];
        const bool home = t->home.n > n && parent->predicted == t->home.at[n].row.token,
                   branch = t->branch.n ? parent->predicted == t->branch.at[0].row.token : !home;
        if (!t->first || home || branch) {
            t->n_quiet = t->ahead == !home ? t->n_quiet + 1 : 0;
            t->ahead = t->first && !home;
            return t->first && (t->n_quiet >= PATIENCE || t->branch.n == session_info(g->session)->n_branch)
                       ? settle(g, t)
                       : MN_OK;
        }
    }
    enum mn_status status = settle(g, t);
    if (i + 1 < t->home.n)
        split(g, t, i);
    return status;
}

/* Behind the branch's beginning, or on all of a wave that has none. */
static enum mn_status judge_ahead(struct generation *g, struct tree *t)
{
    struct tree_line *ahead = line_ahead(t);
    const uint32_t from = t->first && !t->ahead ? n_shared(t) : 0, n = ahead->n ? count_standing(ahead, from) : 0;
    enum mn_status status = MN_OK;
    if (n == ahead->n)
        return MN_OK;
    if (t->first && ahead->n - n < n_behind(t)) {
        trim(g, ahead, from);
        return MN_OK;
    }
    const uint32_t i = n - 1 + (t->ahead ? n_shared(t) : 0);
    if (t->first)
        status = settle(g, t);
    split(g, t, i);
    return status;
}

static enum mn_status judge(struct generation *g, struct tree *t)
{
    enum mn_status status = judge_shared(g, t);
    if (!status)
        status = judge_ahead(g, t);
    if (t->first && t->ahead)
        trim(g, &t->home, n_shared(t));
    if (t->first && !t->ahead && t->branch.n)
        trim(g, &t->branch, 0);
    if (t->first && !t->ahead && !t->branch.n)
        drop_branch(g, t);
    return status;
}

/* ---- committing ---- */

static void leave(struct generation *g, struct tree *t, bool follows)
{
    const struct tree_node *node = &t->home.at[0];
    g->stats->drafted += follows || node->turned;
    g->stats->accepted += follows && !t->home.at[1].late;
    g->stats->committed++;
}

enum mn_status tree_absorb(struct generation *g, struct tree *t)
{
    g->stats->rounds++;
    g->stats->inflight_rows += g->n_rows;
    g->stats->most_inflight = max_u32(g->stats->most_inflight, g->n_rows);
    proposals_note(&t->proposals, g, 0, g->n_rows);
    take_predictions(g, t);
    enum mn_status status = judge(g, t);
    while (!status && t->home.n && t->home.at[0].row.depth == g->num_steps && !g->done) {
        if (t->first && n_shared(t) == 1)
            status = settle(g, t);
        const struct tree_node *node = &t->home.at[0];
        const bool follows = t->home.n > 1;
        proposals_commit(&t->proposals, g, &node->row, follows ? &node[1].row : NULL, node->predicted);
        generation_commit(g, node->predicted, g->num_steps);
        leave(g, t, follows);
        memmove(t->home.at, t->home.at + 1, --t->home.n * sizeof *t->home.at);
    }
    if (g->done) { /* rows behind the end: drafts that nobody will judge */
        cut(g, &t->branch, 0);
        cut(g, &t->home, 0);
        t->first = 0;
        t->ahead = false;
    }
    generation_end_event(g, "tick", g->n_rows, g->n_rows);
    return status;
}
