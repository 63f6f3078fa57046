/* Teacher-forced likelihoods: how probable given ids are behind given ids, at several depths of one run.
 *
 * Items run in waves, one per sequence of the cache. The rows of a wave lie one behind another, whoseever they are, and
 * are cut into prefill passes of 128, so that short items do not leave passes half empty. Depths ascend: rows go on
 * from the depth before, and all chunks of the wave reach a depth before any goes further, because the coda's cache
 * entries of an item's earlier chunks must be of the same depth as its head rows. A row's arithmetic does not depend on
 * the rows beside it (see session.h) nor on where its steps were interrupted, so the logits are bit for bit those of
 * the item alone in a run to that depth: tests/test_score.c. */
#include <math.h>
#include <stdlib.h>

#include "analysis/compare.h"

/* A pass's worth of rows. Rows whose logits are wanted come last; the rows of one item stay ordered by position. */
struct chunk {
    struct row rows[SESSION_MAX_ROWS];
    struct {
        uint32_t item, place;  /* of the wave; of the id in it that the row should predict */
    } heads[SESSION_MAX_ROWS]; /* [n_heads], of the last rows */
    uint32_t n_rows, n_heads;
};

struct scorer {
    struct session *session;
    const struct mn_score_params *params;
    const struct mn_log *log;
    uint32_t order[MN_MAX_SCORE_DEPTHS]; /* places in params.num_steps, shallowest first */
    uint32_t first, n;                   /* items of the wave */
    struct {
        uint32_t item, position; /* of the wave: the next row */
    } cursor;
    struct mn_likelihood *results; /* [n_sequences, n_num_steps] */
    float *logits;                 /* [SESSION_MAX_ROWS, vocab_size] */
    uint64_t done, total;          /* core steps of rows */
    struct chunk chunk;
};

static enum mn_status check(const struct scorer *sc)
{
    const struct mn_score_params *p = sc->params;
    const struct session *s = sc->session;
    if (!p->each || (p->n_items && !p->items) || (p->n_num_steps && !p->num_steps))
        return log_fail(sc->log, MN_ERR_USAGE, "scoring: items, depths or the callback are missing");
    if (p->n_num_steps < 1 || p->n_num_steps > MN_MAX_SCORE_DEPTHS)
        return log_fail(sc->log, MN_ERR_USAGE, "scoring at %u depths: must be from 1 to %d", p->n_num_steps,
                        MN_MAX_SCORE_DEPTHS);
    for (uint32_t i = 0; i < p->n_num_steps; i++)
        if (p->num_steps[i] < 1 || p->num_steps[i] > session_info(s)->num_steps)
            return log_fail(sc->log, MN_ERR_USAGE, "num_steps %u: the session has 1 to %u", p->num_steps[i],
                            session_info(s)->num_steps);
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct mn_score_item *item = &p->items[i];
        if (item->n_context < 1 || item->n_context >= item->n_ids)
            return log_fail(sc->log, MN_ERR_USAGE,
                            "item %u: %u ids of context and %u in all: both parts need at least one", i,
                            item->n_context, item->n_ids);
        if (item->n_ids - 1 > session_info(s)->n_ctx)
            return log_fail(
                sc->log, MN_ERR_USAGE,
                "item %u: %u ids do not fit into the context of %u (n_ctx), which holds all but the last one", i,
                item->n_ids, session_info(s)->n_ctx);
        for (uint32_t j = 0; j < item->n_ids; j++)
            if (item->ids[j] >= session_info(s)->config->vocab_size)
                return log_fail(sc->log, MN_ERR_USAGE, "item %u: token id %u at place %u: the vocabulary has %u", i,
                                item->ids[j], j + 1, session_info(s)->config->vocab_size);
    }
    return MN_OK;
}

/* ---- rows ---- */

static const struct mn_score_item *item_of(const struct scorer *sc, uint32_t i)
{
    return &sc->params->items[sc->first + i];
}

/* The next rows of the wave; false when there are none left. */
static bool next_chunk(struct scorer *sc, uint32_t depth)
{
    struct chunk *c = &sc->chunk;
    struct row heads[SESSION_MAX_ROWS];
    c->n_rows = c->n_heads = 0;
    while (c->n_rows + c->n_heads < session_info(sc->session)->prefill_rows && sc->cursor.item < sc->n) {
        const struct mn_score_item *item = item_of(sc, sc->cursor.item);
        const uint32_t position = sc->cursor.position++;
        const struct row row = {
            .token = item->ids[position], .position = position, .sequence = sc->cursor.item, .depth = depth};
        if (position + 1 < item->n_context) {
            c->rows[c->n_rows++] = row;
        } else {
            c->heads[c->n_heads].item = sc->cursor.item;
            c->heads[c->n_heads].place = position + 1;
            heads[c->n_heads++] = row;
        }
        if (sc->cursor.position + 1 == item->n_ids) {
            sc->cursor.item++;
            sc->cursor.position = 0;
        }
    }
    for (uint32_t i = 0; i < c->n_heads; i++)
        c->rows[c->n_rows++] = heads[i];
    return c->n_rows > 0;
}

static enum mn_status run_chunk(struct scorer *sc, uint32_t depth, uint32_t n_core, bool coda)
{
    const struct chunk *c = &sc->chunk;
    const struct session_run_params run = {.rows = c->rows,
                                           .n_rows = c->n_rows,
                                           .n_new = depth == 0 && n_core ? c->n_rows : 0,
                                           .n_core = n_core,
                                           .coda = coda,
                                           .n_head = coda ? c->n_heads : 0,
                                           .prefill = true};
    enum mn_status status = session_run(sc->session, &run, NULL);
    sc->done += (uint64_t)c->n_rows * n_core;
    if (!status && sc->params->progress && sc->params->progress(sc->params->user, sc->done, sc->total))
        return MN_ERR_INTERRUPTED;
    return status;
}

/* ---- likelihoods ---- */

/* log softmax of one id in double. */
static double log_probability(const float *logits, uint32_t n, uint32_t id)
{
    double largest = -INFINITY, sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        largest = fmax(largest, (double)logits[i]);
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - largest);
    return (double)logits[id] - largest - log(sum);
}

static enum mn_status take_logits(struct scorer *sc, uint32_t depth)
{
    const struct chunk *c = &sc->chunk;
    const struct mn_score_params *p = sc->params;
    const uint32_t v = session_info(sc->session)->config->vocab_size;
    enum mn_status status = c->n_heads ? session_read_logits_rows(sc->session, 0, c->n_heads, sc->logits) : MN_OK;
    for (uint32_t i = 0; i < c->n_heads && !status; i++) {
        struct mn_likelihood *result = &sc->results[(size_t)c->heads[i].item * p->n_num_steps + depth];
        const float *logits = sc->logits + (size_t)i * v;
        const uint32_t place = c->heads[i].place, target = item_of(sc, c->heads[i].item)->ids[place];
        const double logprob = log_probability(logits, v, target);
        if (!isfinite(logprob))
            return log_fail(sc->log, MN_ERR_RUN, "item %u at %u steps: the logits of a position are not finite numbers",
                            sc->first + c->heads[i].item, p->num_steps[depth]);
        result->logprob += logprob;
        result->is_greedy &= sampler_argmax(logits, v) == target;
        if (p->logits)
            status = p->logits(p->user, sc->first + c->heads[i].item, place, depth, logits, v);
    }
    return status;
}

/* All chunks of the wave go from depth `from` to that of `place`, through coda and head. Under sharing an item's chunks
 * must take every step together, as in session_prefill; with `full` slots it makes no difference and costs submits. */
static enum mn_status reach(struct scorer *sc, uint32_t from, uint32_t place)
{
    const uint32_t to = sc->params->num_steps[place];
    const bool lockstep = session_info(sc->session)->kv_policy.share != 0;
    enum mn_status status = MN_OK;
    for (uint32_t t = from; lockstep && t < to && !status; t++) {
        sc->cursor.item = sc->cursor.position = 0;
        while (!status && next_chunk(sc, t))
            status = run_chunk(sc, t, 1, false);
    }
    const uint32_t at = lockstep ? to : from;
    sc->cursor.item = sc->cursor.position = 0;
    while (!status && next_chunk(sc, at)) {
        status = run_chunk(sc, at, to - at, true);
        if (!status)
            status = take_logits(sc, place);
    }
    return status;
}

static enum mn_status run_wave(struct scorer *sc)
{
    const struct mn_score_params *p = sc->params;
    uint32_t depth = 0;
    enum mn_status status = MN_OK;
    for (size_t i = 0; i < (size_t)sc->n * p->n_num_steps; i++)
        sc->results[i] = (struct mn_likelihood){0.0, true};
    for (uint32_t i = 0; i < p->n_num_steps && !status; i++) {
        status = reach(sc, depth, sc->order[i]);
        depth = p->num_steps[sc->order[i]];
    }
    for (uint32_t i = 0; i < sc->n && !status; i++)
        status = p->each(p->user, sc->first + i, sc->results + (size_t)i * p->n_num_steps);
    return status;
}

/* Insertion keeps equal depths in the caller's order. */
static void sort_depths(struct scorer *sc)
{
    const uint32_t *steps = sc->params->num_steps;
    for (uint32_t i = 0; i < sc->params->n_num_steps; i++) {
        uint32_t at = i;
        for (; at > 0 && steps[sc->order[at - 1]] > steps[i]; at--)
            sc->order[at] = sc->order[at - 1];
        sc->order[at] = i;
    }
}

static enum mn_status run_all(struct scorer *sc)
{
    const struct mn_score_params *p = sc->params;
    const uint32_t most = session_info(sc->session)->n_sequences;
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < p->n_items; i++)
        sc->total += (uint64_t)(p->items[i].n_ids - 1) * p->num_steps[sc->order[p->n_num_steps - 1]];
    for (; sc->first < p->n_items && !status; sc->first += sc->n) {
        sc->n = p->n_items - sc->first < most ? p->n_items - sc->first : most;
        status = run_wave(sc);
    }
    return status;
}

enum mn_status score(struct session *s, const struct mn_score_params *p)
{
    const struct mn_log *log = session_info(s)->log;
    struct scorer *sc = calloc(1, sizeof *sc);
    if (!sc)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for scoring");
    *sc = (struct scorer){.session = s, .params = p, .log = log};
    enum mn_status status = check(sc);
    if (!status) {
        sort_depths(sc);
        sc->results = calloc((size_t)session_info(s)->n_sequences * p->n_num_steps, sizeof *sc->results);
        sc->logits = malloc((size_t)SESSION_MAX_ROWS * session_info(s)->config->vocab_size * sizeof *sc->logits);
        if (!sc->results || !sc->logits)
            status = log_fail(log, MN_ERR_MEMORY, "out of host memory for %u depths of %u sequences", p->n_num_steps,
                              session_info(s)->n_sequences);
    }
    /* Scoring starts from zero states, whatever was generated before. */
    session_set_sampler(s, &(struct sampler_params){.top_p = 1.0f}, 0.0f);
    if (!status)
        status = run_all(sc);
    free(sc->results);
    free(sc->logits);
    free(sc);
    return status;
}
