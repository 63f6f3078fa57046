/* From requests to passes. All generations advance in the same core passes: a tick takes as many steps as the request
 * with the fewest left, so that rows which enter, rows on their way and rows about to be committed share every read of
 * the weights.
 *
 * Outputs do not depend on who shares a pass: a row's arithmetic is independent of the rows beside it (see session.h),
 * and what a generation asks for depends on its own tokens alone. Coda and head run for all rows as soon as one needs
 * them: the coda entries that others write on the way are written again before anything reads them. */
#include "spec/generation.h"

static enum mn_status open_requests(struct generation *const *generations, uint32_t n)
{
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < n && !status; i++) {
        struct generation *g = generations[i];
        if (g->open)
            continue;
        g->request = (struct request){0};
        status = g->strategy->next(g, g->state, &g->request);
        g->steps_left = g->request.steps;
        g->open = g->fresh = true;
    }
    return status;
}

/* Where the rows of a generation lie in the run: rows that enter come last, whosever they are. */
struct place {
    uint32_t old, entering, n_entering;
};

static uint32_t place_of(const struct generation *g, const struct place *place, uint32_t i)
{
    uint32_t n_old = g->request.n_rows - place->n_entering;
    return i < n_old ? place->old + i : place->entering + (i - n_old);
}

static void pack(struct generation *const *generations, uint32_t n, struct place *places, struct row *rows,
                 struct session_run_params *run)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct generation *g = generations[i];
        places[i] = (struct place){.old = run->n_rows, .n_entering = g->fresh ? g->request.n_new : 0};
        run->n_rows += g->request.n_rows - places[i].n_entering;
        run->n_new += places[i].n_entering;
    }
    uint32_t entering = run->n_rows;
    for (int given = 1; given >= 0; given--) { /* those with states of their own come first */
        for (uint32_t i = 0; i < n; i++)
            if (generations[i]->request.given_states == given) {
                places[i].entering = entering;
                entering += places[i].n_entering;
            }
        run->n_given = given ? entering - run->n_rows : run->n_given;
    }
    run->n_rows += run->n_new;
    for (uint32_t i = 0; i < n; i++) {
        const struct generation *g = generations[i];
        for (uint32_t j = 0; j < g->request.n_rows; j++)
            rows[place_of(g, &places[i], j)] = g->rows[g->request.first + j];
    }
}

static enum mn_status absorb(struct generation *g, const struct place *place, const uint32_t *tokens, uint32_t steps,
                             double ns)
{
    const uint32_t first = g->request.first;
    for (uint32_t j = 0; j < g->request.n_rows; j++)
        g->rows[first + j].depth += steps;
    *(g->request.draft ? &g->stats->draft_ns : &g->stats->verify_ns) += ns;
    g->steps_left -= steps;
    g->fresh = false;
    if (g->steps_left > 0)
        return MN_OK;
    for (uint32_t j = 0; j < g->request.n_rows && g->request.predict; j++)
        g->predicted[first + j] = tokens[place_of(g, place, j)];
    g->first_head = place_of(g, place, 0);
    g->open = false;
    return g->strategy->absorb(g, g->state);
}

enum mn_status schedule_tick(struct session *s, struct generation *const *generations, uint32_t n,
                             struct mn_stats *work)
{
    struct row rows[SESSION_MAX_ROWS];
    struct place places[SESSION_MAX_ROWS];
    uint32_t tokens[SESSION_MAX_ROWS], steps = UINT32_MAX;
    const struct work_mark mark = work_begin(s);
    enum mn_status status = open_requests(generations, n);
    if (status)
        return status;
    struct session_run_params run = {.rows = rows};
    for (uint32_t i = 0; i < n; i++)
        steps = generations[i]->steps_left < steps ? generations[i]->steps_left : steps;
    for (uint32_t i = 0; i < n; i++) {
        run.coda |= generations[i]->request.predict && generations[i]->steps_left == steps;
    }
    pack(generations, n, places, rows, &run);
    run.n_core = steps;
    run.n_head = run.coda ? run.n_rows : 0;
    const double start = clock_ns();
    status = session_run(s, &run, tokens);
    const double ns = clock_ns() - start;
    for (uint32_t i = 0; i < n && !status; i++) {
        /* The rows of a generation that absorbs late must not see the places of a later run. */
        struct generation *g = generations[i];
        const struct place place = places[i];
        g->n_others = run.n_rows - g->request.n_rows;
        status = absorb(g, &place, tokens, steps, ns);
    }
    work_end(work, s, &mark);
    return status;
}

enum mn_status schedule_run(struct generation *g)
{
    enum mn_status status = MN_OK;
    while (!g->done && !status)
        status = schedule_tick(g->session, &g, 1, g->stats);
    return status;
}
