/* Choosing strategy, K and L by itself.
 *
 * Two things decide what a setting brings: what passes cost here (cost.c, measured) and how often the prediction at depth d is the
 * one at depth R, the AGREEMENT a(d), which belongs to the text. Both are known well enough after a few rounds: the first rounds, and
 * one now and then later, are probing rounds of draft-verify, which predict at eight depths on their way. From the two,
 *
 *   ar             one token per    prelude + R core + head
 *   draft-verify   a^0 + .. + a^L   tokens per round of  (L+1)(prelude + K core) + L head + (R-K) core(L+1) + head(L+1)
 *   wavefront      a token takes 1 + sum over its ticks j of (1 - a(jK)) ticks of   prelude + K core(n) + head(n)
 *
 * and the cheapest per token is taken. The model is only a model: what rounds really take, against what it said, corrects each
 * family. All choices are lossless strategies, and all may follow each other at the end of a round: the tokens are those of ar.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cost.h"
#include "strategy.h"

static const uint32_t probe_depths[PROBE_DEPTHS] = {1, 2, 3, 4, 5, 6, 8, 12};
static const uint32_t draft_depths[] = {1, 2, 3, 4, 5, 6, 8, 12}, lookaheads[] = {1, 2, 3, 4, 5, 7, 9, 11, 13, 15}, wave_depths[] = {1, 2, 3, 4, 5, 6, 8, 11, 16};

enum { AR, DRAFT, WAVE, N_FAMILIES, FIRST_PROBES = 2, PROBE_LOOKAHEAD = 7, PROBE_STEPS = 5, PROBE_EVERY = 24, PROBE_RARELY = 1024 };

struct setting {
    uint32_t family, draft_steps, lookahead;
    double ns; /* per token, as predicted */
};

struct automatic {
    struct cost_table costs;
    double hits[PROBE_DEPTHS], trials[PROBE_DEPTHS];
    double correction[N_FAMILIES]; /* time measured over time predicted */
    struct setting current;
    double event_ns;               /* predicted time of the event under way; 0: not to be compared */
    uint64_t n_rounds, next_probe, probe_interval;
    uint32_t committed;            /* tokens at the last choice */
    bool probing;
};

static const struct strategy *const families[N_FAMILIES] = {&strategy_ar, &strategy_draft_verify, &strategy_wavefront};

/* a(d): counted where there are counts, with two prior trials; straight lines between; nearing 1 at depth R. */
static double agreement(const struct automatic *a, uint32_t depth, uint32_t num_steps)
{
    double previous = 0.0, at = 0.0;
    if (depth >= num_steps)
        return 1.0;
    for (uint32_t i = 0; i < PROBE_DEPTHS && probe_depths[i] < num_steps; i++) {
        const double prior = 1.0 - 0.6 * exp(-0.35 * probe_depths[i]);
        const double here = (a->hits[i] + 2.0 * prior) / (a->trials[i] + 2.0);
        if (probe_depths[i] >= depth)
            return previous + (here - previous) * (depth - at) / (probe_depths[i] - at);
        previous = here;
        at = probe_depths[i];
    }
    return previous + (1.0 - previous) * (depth - at) / (num_steps - at);
}

static double core(const struct automatic *a, uint32_t rows)
{
    return cost_at(&a->costs, a->costs.core_ns, rows);
}

static double head(const struct automatic *a, uint32_t rows)
{
    return cost_at(&a->costs, a->costs.head_ns, rows);
}

static double prelude(const struct automatic *a)
{
    return cost_at(&a->costs, a->costs.prelude_ns, 1);
}

/* ---- what one event of each family takes ---- */

static double ar_ns(const struct automatic *a, uint32_t num_steps)
{
    return a->costs.submit_ns + prelude(a) + num_steps * core(a, 1) + head(a, 1);
}

static double round_ns(const struct automatic *a, uint32_t num_steps, uint32_t k, uint32_t l)
{
    return (l + 2) * a->costs.submit_ns + (l + 1) * (prelude(a) + k * core(a, 1)) + l * head(a, 1) + (num_steps - k) * core(a, l + 1) + head(a, l + 1);
}

static double tick_ns(const struct automatic *a, uint32_t k, uint32_t rows)
{
    return a->costs.submit_ns + prelude(a) + k * core(a, rows) + head(a, rows);
}

/* ---- per token ---- */

static double draft_verify_ns(const struct automatic *a, uint32_t num_steps, uint32_t k, uint32_t l)
{
    const double p = agreement(a, k, num_steps);
    double tokens = 1.0, reached = 1.0;
    for (uint32_t i = 0; i < l; i++)
        tokens += reached *= p;
    return round_ns(a, num_steps, k, l) / tokens;
}

static double wavefront_ns(const struct automatic *a, uint32_t num_steps, uint32_t k, uint32_t cap)
{
    const uint32_t n_ticks = (num_steps + k - 1) / k;
    double ticks = 1.0;
    for (uint32_t j = 1; j < n_ticks; j++)
        ticks += 1.0 - agreement(a, j * k, num_steps);
    ticks = fmax(ticks, (double)n_ticks / cap);
    double rows = fmin(cap, ceil(n_ticks / ticks) + 1.0);
    return ticks * tick_ns(a, k, (uint32_t)rows);
}

static void consider(const struct automatic *a, struct setting *best, struct setting candidate)
{
    candidate.ns *= a->correction[candidate.family];
    /* A setting in use must be beaten clearly: changing costs rows in flight. */
    bool in_use = candidate.family == a->current.family && candidate.draft_steps == a->current.draft_steps && candidate.lookahead == a->current.lookahead;
    double weight = in_use ? 0.97 : 1.0;
    if (best->ns == 0.0 || candidate.ns * weight < best->ns)
        *best = (struct setting){candidate.family, candidate.draft_steps, candidate.lookahead, candidate.ns * weight};
}

static struct setting choose(const struct automatic *a, uint32_t num_steps, uint32_t max_rows)
{
    struct setting best = {0};
    consider(a, &best, (struct setting){AR, 0, 0, ar_ns(a, num_steps)});
    if (max_rows < 2)
        return best;
    for (size_t i = 0; i < sizeof draft_depths / sizeof *draft_depths && draft_depths[i] < num_steps; i++)
        for (size_t j = 0; j < sizeof lookaheads / sizeof *lookaheads && lookaheads[j] < max_rows; j++)
            consider(a, &best, (struct setting){DRAFT, draft_depths[i], lookaheads[j], draft_verify_ns(a, num_steps, draft_depths[i], lookaheads[j])});
    for (size_t i = 0; i < sizeof wave_depths / sizeof *wave_depths && wave_depths[i] < num_steps; i++)
        consider(a, &best, (struct setting){WAVE, wave_depths[i], 0, wavefront_ns(a, num_steps, wave_depths[i], max_rows)});
    return best;
}

/* ---- rounds ---- */

static void take(struct generation *g, struct setting setting)
{
    struct automatic *a = g->automatic;
    if (setting.family != a->current.family || setting.draft_steps != a->current.draft_steps || setting.lookahead != a->current.lookahead) {
        g->n_rows = 0; /* a wave in flight is given up */
        g->stats->n_choices++;
    }
    a->current = setting;
    g->draft_steps = setting.draft_steps;
    g->lookahead = setting.lookahead;
    g->stats->chosen_strategy = families[setting.family]->name;
    g->stats->chosen_draft_steps = setting.draft_steps;
    g->stats->chosen_lookahead = setting.lookahead;
}

static void set_probes(struct generation *g, bool probing)
{
    struct automatic *a = g->automatic;
    a->probing = probing;
    g->probe.n_depths = 0;
    for (uint32_t i = 0; i < PROBE_DEPTHS && probing && probe_depths[i] < g->num_steps; i++)
        g->probe.depths[g->probe.n_depths++] = probe_depths[i];
}

/* Between two events: what comes next? */
static void decide(struct generation *g)
{
    struct automatic *a = g->automatic;
    const uint32_t max_rows = g->max_inflight;
    bool can_probe = g->num_steps > 1 && max_rows > 1 && generation_remaining(g) > 1;
    bool probe = can_probe && (a->n_rounds < FIRST_PROBES || a->n_rounds >= a->next_probe);
    set_probes(g, probe);
    if (probe) {
        uint32_t k = PROBE_STEPS < g->num_steps ? PROBE_STEPS : g->num_steps - 1, l = PROBE_LOOKAHEAD < max_rows ? PROBE_LOOKAHEAD : max_rows - 1;
        if (a->current.family == DRAFT) /* a round that would be made anyway */
            k = a->current.draft_steps, l = a->current.lookahead;
        take(g, (struct setting){DRAFT, k, l, 0.0});
    } else {
        take(g, choose(a, g->num_steps, max_rows));
    }
    if (probe && a->n_rounds >= FIRST_PROBES) {
        /* Where speculation does not pay, looking again costs: ever more seldom. */
        a->probe_interval *= a->probe_interval < PROBE_RARELY ? 2 : 1;
        a->next_probe = a->n_rounds + a->probe_interval;
    }
    a->committed = g->stats->n_new;
}

/* What the round taught: agreement, and how good the cost model is. */
static void learn(struct generation *g, double ns, uint64_t drafted, uint64_t accepted)
{
    struct automatic *a = g->automatic;
    const uint32_t family = a->current.family;
    if (family == DRAFT) {
        for (uint32_t i = 0; i < PROBE_DEPTHS; i++) {
            a->hits[i] *= 0.98;
            a->trials[i] *= 0.98;
        }
        for (uint32_t i = 0; i < g->probe.n_depths; i++) {
            a->hits[i] += g->probe.hits[i];
            a->trials[i] += g->probe.trials[i];
        }
        for (uint32_t i = 0; i < PROBE_DEPTHS && !a->probing; i++)
            if (probe_depths[i] == a->current.draft_steps) {
                a->hits[i] += (double)accepted;
                a->trials[i] += (double)(accepted + (accepted < drafted));
            }
    }
    double predicted = family == AR ? ar_ns(a, g->num_steps)
                       : family == WAVE ? tick_ns(a, a->current.draft_steps, (uint32_t)drafted)
                                        : round_ns(a, g->num_steps, a->current.draft_steps, (uint32_t)drafted);
    if (!a->probing)
        a->correction[family] += 0.2 * (fmin(fmax(ns / predicted, 0.25), 4.0) - a->correction[family]);
}

static enum mn_status next(struct generation *g, struct request *request)
{
    struct automatic *a = g->automatic;
    /* A wave is between two events at every tick, but only one that brought a token is a good moment to stop it. */
    bool wave_goes_on = a->n_rounds > 0 && a->current.family == WAVE && a->committed == g->stats->n_new && g->n_rows > 0;
    if (g->phase == 0 && !wave_goes_on)
        decide(g);
    return families[a->current.family]->next(g, request);
}

static enum mn_status absorb(struct generation *g)
{
    struct automatic *a = g->automatic;
    const uint64_t drafted = g->stats->drafted, accepted = g->stats->accepted, rows = g->n_rows;
    enum mn_status status = families[a->current.family]->absorb(g);
    if (status || g->phase != 0)
        return status;
    a->n_rounds++;
    learn(g, clock_ns() - g->event_ns, a->current.family == WAVE ? rows : g->stats->drafted - drafted, g->stats->accepted - accepted);
    return MN_OK;
}

static enum mn_status open(struct generation *g)
{
    struct automatic *a = calloc(1, sizeof *a);
    if (!a)
        return log_fail(g->log, MN_ERR_MEMORY, "out of host memory for the choice of a strategy");
    g->automatic = a;
    g->max_inflight = g->session->max_rows < 16 ? g->session->max_rows : 16;
    a->next_probe = a->probe_interval = PROBE_EVERY;
    for (uint32_t i = 0; i < N_FAMILIES; i++)
        a->correction[i] = 1.0;
    return cost_get(g->session, g->params->cost_dir, &a->costs);
}

static void close(struct generation *g)
{
    free(g->automatic);
    g->automatic = NULL;
}

const struct strategy strategy_auto = {.name = "auto", .lossless = true, .batches = true, .open = open, .close = close, .next = next, .absorb = absorb};
