/* Choosing strategy, K and L by itself.
 *
 * Two things decide what a setting brings: what passes cost here (cost.c, measured) and how often the prediction at depth d is the
 * one at depth R, the AGREEMENT a(d), which belongs to the text. Agreement is counted wherever a prediction at a lesser depth is made
 * anyway (drafts, the rows of a wave), and by PROBING: the first event, and others now and then, stop for predictions on their way
 * to R. From costs and agreement,
 *
 *   ar             one token per    prelude + R core + head
 *   draft-verify   a^0 + .. + a^L   tokens per round of  (L+1)(prelude + K core) + L head + (R-K) core(L+1) + head(L+1)
 *   wavefront      a token takes 1 + sum over its ticks j of (1 - a(jK)) ticks of   1.5 (prelude + head(n)) + K core(n)
 *
 * and the cheapest per token is taken - of those that are affordable. An account is kept against `ar`: a round may be drafted if the
 * account would bear it that every guess is wrong, a wave started if it would bear agreement as bad as caution has it, so that both
 * grow with what was won; while the account is overdrawn, `ar` runs. So text that cannot be guessed costs little. What events really
 * take, against what the model said, corrects each family; an `ar` event takes what ar takes, so that a slow moment of the machine
 * does not count against speculation. All choices are lossless strategies, and all may follow each other between events: the tokens
 * are those of ar.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cost.h"
#include "strategy.h"

/* Agreement is counted at all of `depths` when a prediction is made there anyway; probes stop at few, since each stop costs a head. */
static const uint32_t depths[] = {1, 2, 3, 4, 5, 6, 8, 12, 16}, probe_depths[] = {4, 8, 16};
static const uint32_t lookaheads[] = {1, 2, 3, 4, 5, 7, 9, 11, 13, 15}, wave_depths[] = {1, 2, 3, 4, 5, 6, 8, 11, 16}, wave_rows[] = {4, 8, 16};

enum { AR, DRAFT, WAVE, N_FAMILIES, N_DEPTHS = sizeof depths / sizeof *depths, PROBE_EVERY = 16, FEW_TOKENS = 10, AUTO_ROWS = 16 };
/* may_lose: of the time that ar would have taken for the tokens so far, but for FEW_TOKENS at least. fading: what a trial leaves of the
 * counts at its depth; stale: what an event leaves of all counts, so that a depth nobody looks at any more is tried again; clearly: the
 * time that another setting must promise, of that of the one in use; cut_short: how often what a tick pays beside its core passes falls
 * due per K steps, since ticks end early where a row reaches R, and rows that follow a wrong guess start off the grid of K. */
static const double may_lose = 0.03, fading = 0.97, stale = 0.98, clearly = 0.9, cut_short = 1.5;

struct setting {
    uint32_t family, draft_steps, lookahead, rows; /* rows: the wave's cap */
    double ns; /* per token, as predicted */
};

struct automatic {
    struct cost_table costs;
    double hits[N_DEPTHS], trials[N_DEPTHS];
    uint32_t seen[N_DEPTHS][SESSION_MAX_ROWS]; /* predictions of rows in flight by position modulo the rows; UINT32_MAX: none */
    double correction[N_FAMILIES]; /* time measured over time predicted; 0: that family has not run */
    struct setting current;
    double predicted_ns, measured_ns; /* of the event under way */
    double probes_ns, charged_ns;     /* of it: predicted for probes; taken off the lead */
    double lead_ns;                /* how far ahead of ar this run is */
    double spent_ns;               /* in passes, up to the last look */
    uint32_t max_rows, committed, n_events, next_probe, probe_interval;
    bool hopeless;                 /* not even perfect agreement would beat ar here */
    bool brought;                  /* the last event brought a token */
};

static const struct strategy *const families[N_FAMILIES] = {&strategy_ar, &strategy_draft_verify, &strategy_wavefront};

/* EXPECTED: counted, with one prior trial. CAUTIOUS: as if two more trials had failed. PERFECT: always 1. */
enum view { EXPECTED, CAUTIOUS, PERFECT };

static double prior(uint32_t depth)
{
    return 1.0 - 0.6 * exp(-0.35 * depth);
}

/* a(d) at the first n of depths[]. It rises with d but for chance: where the counts say otherwise, they are too few, and neighbours share
 * theirs. CAUTIOUS knows of a depth at least what a lesser one has shown. */
static void agreements(const struct automatic *a, enum view view, uint32_t n, double *out)
{
    double hits[N_DEPTHS], trials[N_DEPTHS];
    uint32_t members[N_DEPTHS], n_groups = 0;
    for (uint32_t i = 0; i < n; i++, n_groups++) {
        const double shown = a->hits[i] / (a->trials[i] + 2.0);
        if (view == CAUTIOUS)
            out[i] = i > 0 && out[i - 1] > shown ? out[i - 1] : shown;
        hits[n_groups] = a->hits[i] + prior(depths[i]);
        trials[n_groups] = a->trials[i] + 1.0;
        members[n_groups] = 1;
        for (; n_groups > 0 && hits[n_groups - 1] * trials[n_groups] > hits[n_groups] * trials[n_groups - 1]; n_groups--) {
            hits[n_groups - 1] += hits[n_groups];
            trials[n_groups - 1] += trials[n_groups];
            members[n_groups - 1] += members[n_groups];
        }
    }
    for (uint32_t i = 0, g = 0; view == EXPECTED && i < n; i += members[g++])
        for (uint32_t j = 0; j < members[g]; j++)
            out[i + j] = hits[g] / trials[g];
}

/* a(d): straight lines between depths[], nearing 1 at depth R. */
static double agreement(const struct automatic *a, enum view view, uint32_t depth, uint32_t num_steps)
{
    double previous = 0.0, at = 0.0, here[N_DEPTHS];
    uint32_t n = 0;
    if (depth >= num_steps || view == PERFECT)
        return 1.0;
    while (n < N_DEPTHS && depths[n] < num_steps)
        n++;
    agreements(a, view, n, here);
    for (uint32_t i = 0; i < n; i++) {
        if (depths[i] >= depth)
            return previous + (here[i] - previous) * (depth - at) / (depths[i] - at);
        previous = here[i];
        at = depths[i];
    }
    return previous + (1.0 - previous) * (depth - at) / (num_steps - at);
}

/* ---- what passes take: the part of it that falls to this generation's rows when others share them ---- */

struct pricing {
    const struct cost_table *costs;
    uint32_t others; /* rows of other generations in a pass */
};

static double share(const struct pricing *p, const double *ns, uint32_t rows)
{
    return cost_at(p->costs, ns, rows + p->others) * rows / (rows + p->others);
}

static double core(const struct pricing *p, uint32_t rows)
{
    return share(p, p->costs->core_ns, rows);
}

static double head(const struct pricing *p, uint32_t rows)
{
    return share(p, p->costs->head_ns, rows);
}

static double enter(const struct pricing *p)
{
    return p->costs->submit_ns / (1 + p->others) + share(p, p->costs->prelude_ns, 1);
}

static struct pricing pricing_of(const struct generation *g)
{
    return (struct pricing){&g->automatic->costs, g->n_others};
}

/* ---- what an event takes and brings ---- */

struct yield {
    double ns, tokens;
};

static double ar_ns(const struct pricing *p, uint32_t num_steps)
{
    return enter(p) + num_steps * core(p, 1) + head(p, 1);
}

static struct yield round_yield(const struct pricing *p, double right, uint32_t num_steps, uint32_t k, uint32_t l)
{
    struct yield y = {.tokens = 1.0};
    double reached = 1.0;
    for (uint32_t i = 0; i < l; i++)
        y.tokens += reached *= right;
    y.ns = (l + 1) * (enter(p) + k * core(p, 1)) + l * head(p, 1);
    y.ns += p->costs->submit_ns / (1 + p->others) + (num_steps - k) * core(p, l + 1) + head(p, l + 1);
    return y;
}

static double tick_ns(const struct pricing *p, uint32_t k, uint32_t rows)
{
    return cut_short * (enter(p) + head(p, rows)) + k * core(p, rows);
}

/* A wave from its first row to its first commit; what is in flight then counts by its depth. */
static struct yield start_yield(const struct pricing *p, double right, uint32_t n_ticks, uint32_t k, uint32_t rows)
{
    struct yield y = {0};
    double reached = 1.0;
    for (uint32_t j = 0; j < n_ticks; j++, reached *= right) {
        y.tokens += j < rows ? reached * (1.0 - (double)j / n_ticks) : 0.0;
        y.ns += tick_ns(p, k, j < rows ? j + 1 : rows);
    }
    return y;
}

/* Per token; a wave's start is paid for by the tokens still wanted. */
static double wavefront_ns(const struct pricing *p, const struct automatic *a, enum view view, uint32_t num_steps, uint32_t k, uint32_t cap,
                           uint32_t wanted, bool started)
{
    const uint32_t n_ticks = (num_steps + k - 1) / k;
    double ticks = 1.0;
    for (uint32_t j = 1; j < n_ticks; j++)
        ticks += 1.0 - agreement(a, view, j * k, num_steps);
    ticks = fmax(ticks, (double)n_ticks / cap);
    const double rows = fmin(fmin(cap, wanted), ceil(n_ticks / ticks));
    const double half_full = tick_ns(p, k, (uint32_t)(rows + 1) / 2);
    return ticks * tick_ns(p, k, (uint32_t)rows) + (started ? 0.0 : fmax(n_ticks - ticks, 0.0) * half_full / wanted);
}

/* ---- the choice ---- */

static double correction_of(const struct automatic *a, uint32_t family)
{
    /* A family that has not run is as far off as those that have. */
    double sum = 0.0, n = 0.0;
    if (a->correction[family] > 0.0)
        return a->correction[family];
    for (uint32_t i = 0; i < N_FAMILIES; i++) {
        sum += a->correction[i];
        n += a->correction[i] > 0.0;
    }
    return n > 0.0 ? sum / n : 1.0;
}

static double current_ar_ns(const struct generation *g)
{
    const struct pricing p = pricing_of(g);
    return ar_ns(&p, g->num_steps) * correction_of(g->automatic, AR);
}

static bool is_current(const struct automatic *a, const struct setting *s)
{
    return s->family == a->current.family && s->draft_steps == a->current.draft_steps && s->lookahead == a->current.lookahead && s->rows == a->current.rows;
}

static void consider(const struct automatic *a, struct setting *best, struct setting candidate)
{
    candidate.ns *= correction_of(a, candidate.family);
    /* A setting in use must be beaten clearly. */
    if (is_current(a, &candidate))
        candidate.ns *= clearly;
    if (best->ns == 0.0 || candidate.ns < best->ns)
        *best = candidate;
}

/* `y`: what caution expects; `credit`: what may be lost against ar. */
static bool affordable(struct yield y, double ar, double credit)
{
    return y.ns - y.tokens * ar <= credit;
}

/* What the rows of a wave have cost so far, in the time ar would need for them: lost when another family takes over. */
static double in_flight_ns(const struct generation *g, double ar)
{
    double ns = 0.0;
    for (uint32_t i = 0; i < g->n_rows && g->automatic->current.family == WAVE; i++)
        ns += ar * g->rows[i].depth / g->num_steps;
    return ns;
}

static void consider_waves(const struct generation *g, enum view view, double credit, struct setting *best)
{
    const struct automatic *a = g->automatic;
    const struct pricing p = pricing_of(g);
    const uint32_t steps = g->num_steps, wanted = generation_remaining(g);
    const bool started = a->current.family == WAVE && g->n_rows > 0;
    for (size_t i = 0; i < sizeof wave_depths / sizeof *wave_depths && wave_depths[i] < steps; i++)
        for (size_t j = 0; j < sizeof wave_rows / sizeof *wave_rows; j++) {
            const uint32_t k = wave_depths[i], rows = wave_rows[j] < a->max_rows ? wave_rows[j] : a->max_rows;
            const double cautious = agreement(a, CAUTIOUS, k, steps);
            struct setting wave = {.family = WAVE, .draft_steps = k, .rows = rows};
            wave.ns = wavefront_ns(&p, a, view, steps, k, rows, wanted, started);
            if (started || affordable(start_yield(&p, cautious, (steps + k - 1) / k, k, rows), ar_ns(&p, steps), credit))
                consider(a, best, wave);
        }
}

/* The cheapest setting for what is still wanted, within the credit. */
static struct setting choose(const struct generation *g, enum view view, double credit)
{
    const struct automatic *a = g->automatic;
    const struct pricing p = pricing_of(g);
    const uint32_t steps = g->num_steps, wanted = generation_remaining(g);
    const double ar = ar_ns(&p, steps), given_up = in_flight_ns(g, ar) / wanted;
    struct setting best = {0};
    consider(a, &best, (struct setting){.family = AR, .ns = ar + given_up});
    for (size_t i = 0; i < N_DEPTHS && depths[i] < steps; i++) {
        const double right = agreement(a, view, depths[i], steps);
        for (size_t j = 0; j < sizeof lookaheads / sizeof *lookaheads && lookaheads[j] < a->max_rows && lookaheads[j] < wanted; j++) {
            const struct yield y = round_yield(&p, right, steps, depths[i], lookaheads[j]);
            if (affordable(round_yield(&p, 0.0, steps, depths[i], lookaheads[j]), ar, credit))
                consider(a, &best, (struct setting){DRAFT, depths[i], lookaheads[j], 0, y.ns / y.tokens + given_up});
        }
    }
    if (a->max_rows > 1)
        consider_waves(g, view, credit, &best);
    return best;
}

static void take(struct generation *g, struct setting setting)
{
    struct automatic *a = g->automatic;
    g->stats->n_choices += !is_current(a, &setting);
    if (setting.family != a->current.family)
        g->n_rows = 0; /* a wave in flight is given up */
    a->current = setting;
    g->draft_steps = setting.draft_steps;
    g->lookahead = setting.lookahead;
    g->max_inflight = setting.rows;
    g->stats->chosen_strategy = families[setting.family]->name;
    g->stats->chosen_draft_steps = setting.draft_steps;
    g->stats->chosen_lookahead = setting.lookahead;
}

/* What speculation may lose from here on. */
static double credit_of(const struct generation *g)
{
    const double ar = current_ar_ns(g);
    const uint32_t n = g->stats->n_new > FEW_TOKENS ? g->stats->n_new : FEW_TOKENS;
    return g->automatic->lead_ns + in_flight_ns(g, ar) + may_lose * ar * n; /* rows in flight are not lost yet */
}

/* Between two events: what comes next? */
static void decide(struct generation *g)
{
    struct automatic *a = g->automatic;
    if (a->n_events == 0)
        a->hopeless = choose(g, PERFECT, INFINITY).family == AR;
    const bool probe = !a->hopeless && a->n_events >= a->next_probe;
    const double credit = credit_of(g);
    take(g, a->hopeless || credit < 0.0 ? (struct setting){.family = AR} : choose(g, EXPECTED, credit));
    g->probe.n_depths = 0;
    for (size_t i = 0; i < sizeof probe_depths / sizeof *probe_depths && probe && probe_depths[i] < g->num_steps; i++)
        g->probe.depths[g->probe.n_depths++] = probe_depths[i];
    if (probe) {
        a->probe_interval = a->probe_interval == 0 ? 2 : a->probe_interval < PROBE_EVERY ? 2 * a->probe_interval : PROBE_EVERY;
        a->next_probe = a->n_events + a->probe_interval;
    }
}

/* ---- what an event teaches ---- */

static double request_ns(const struct generation *g, const struct request *request)
{
    const struct cost_table *costs = &g->automatic->costs;
    const uint32_t rows = request->n_rows + g->n_others;
    return costs->submit_ns + cost_at(costs, costs->prelude_ns, request->n_new) + request->steps * cost_at(costs, costs->core_ns, rows) +
           (request->predict ? cost_at(costs, costs->head_ns, rows) : 0.0);
}

static void forget(struct automatic *a, const struct row *row)
{
    for (uint32_t i = 0; i < N_DEPTHS; i++)
        a->seen[i][row->position % SESSION_MAX_ROWS] = UINT32_MAX;
}

/* Keeps predictions for the comparison with the final ones. */
static void remember(struct generation *g)
{
    for (uint32_t j = g->request.first; j < g->request.first + g->request.n_rows && g->request.predict; j++)
        for (uint32_t i = 0; i < N_DEPTHS; i++)
            if (g->rows[j].depth == depths[i])
                g->automatic->seen[i][g->rows[j].position % SESSION_MAX_ROWS] = g->predicted[j];
}

/* The first n rows were committed with these predictions. */
static void count_hits(struct automatic *a, uint32_t position, const uint32_t *predicted, uint32_t n)
{
    for (uint32_t i = 0; i < N_DEPTHS; i++)
        for (uint32_t j = 0; j < n; j++) {
            const uint32_t seen = a->seen[i][(position + j) % SESSION_MAX_ROWS];
            if (seen == UINT32_MAX)
                continue;
            a->hits[i] = fading * a->hits[i] + (seen == predicted[j]);
            a->trials[i] = fading * a->trials[i] + 1.0;
        }
}

/* The event is over. */
static void settle(struct generation *g)
{
    struct automatic *a = g->automatic;
    for (uint32_t i = 0; i < N_DEPTHS; i++) {
        a->hits[i] *= stale;
        a->trials[i] *= stale;
    }
    const double off = fmin(fmax(a->measured_ns / a->predicted_ns, 0.25), 4.0);
    double *correction = &a->correction[a->current.family];
    *correction = *correction > 0.0 ? *correction + 0.2 * (off - *correction) : 0.5 * (off + correction_of(a, a->current.family));
    for (uint32_t i = 0; i < N_FAMILIES; i++) /* what was seen long ago counts for less */
        if (i != a->current.family && a->correction[i] > 0.0)
            a->correction[i] += 0.03 * (*correction - a->correction[i]);
    if (a->current.family == AR)
        a->lead_ns += a->charged_ns * (a->predicted_ns - a->probes_ns) / a->predicted_ns;
    else
        a->lead_ns += (g->stats->n_new - a->committed) * current_ar_ns(g);
    a->committed = g->stats->n_new;
    a->predicted_ns = a->measured_ns = a->probes_ns = a->charged_ns = 0.0;
    a->n_events++;
}

static enum mn_status next(struct generation *g, struct request *request)
{
    struct automatic *a = g->automatic;
    /* A wave is between two events at every tick, but only one that brought a token is a good moment to stop it. */
    const bool wave_goes_on = a->current.family == WAVE && g->n_rows > 0 && !a->brought;
    if (g->phase == 0 && !wave_goes_on) {
        decide(g);
    } else if (wave_goes_on && credit_of(g) < 0.0) {
        /* It loses: its oldest row, which is always right, is brought to its end alone. */
        g->n_rows = g->max_inflight = 1;
        g->draft_steps = g->num_steps;
    }
    enum mn_status status = families[a->current.family]->next(g, request);
    for (uint32_t i = 0; i < request->n_new; i++)
        forget(a, &g->rows[request->first + request->n_rows - 1 - i]);
    a->predicted_ns += request_ns(g, request);
    if (a->current.family == AR && request->predict && request->n_rows && g->rows[request->first].depth + request->steps < g->num_steps)
        a->probes_ns += cost_at(&a->costs, a->costs.head_ns, request->n_rows + g->n_others) + a->costs.submit_ns;
    return status;
}

static enum mn_status absorb(struct generation *g)
{
    struct automatic *a = g->automatic;
    uint32_t predicted[SESSION_MAX_ROWS];
    const uint32_t before = g->stats->n_new, position = g->rows[0].position, rows = g->request.n_rows;
    const double ns = g->stats->draft_ns + g->stats->verify_ns - a->spent_ns;
    memcpy(predicted, g->predicted, sizeof predicted);
    a->spent_ns += ns;
    a->measured_ns += ns;
    a->charged_ns += ns * rows / (rows + g->n_others);
    a->lead_ns -= ns * rows / (rows + g->n_others);
    remember(g);
    enum mn_status status = families[a->current.family]->absorb(g);
    if (status || g->phase != 0)
        return status;
    a->brought = g->stats->n_new > before;
    count_hits(a, position, predicted, g->stats->n_new - before);
    settle(g);
    return MN_OK;
}

static enum mn_status open(struct generation *g)
{
    struct automatic *a = calloc(1, sizeof *a);
    if (!a)
        return log_fail(g->log, MN_ERR_MEMORY, "out of host memory for the choice of a strategy");
    g->automatic = a;
    a->max_rows = g->max_inflight = g->session->max_rows < AUTO_ROWS ? g->session->max_rows : AUTO_ROWS;
    a->committed = 1; /* the prompt's */
    return cost_get(g->session, g->params->cost_dir, &a->costs);
}

static void close(struct generation *g)
{
    free(g->automatic);
    g->automatic = NULL;
}

const struct strategy strategy_auto = {.name = "auto", .lossless = true, .batches = true, .open = open, .close = close, .next = next, .absorb = absorb};
