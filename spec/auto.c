/* Choosing strategy, K and L by itself.
 *
 * Two things decide what a setting brings: what passes cost here (cost.c, measured) and how often the prediction at
 * depth d is the one at depth R, the AGREEMENT a(d), which belongs to the text. Agreement is counted wherever a
 * prediction at a lesser depth is made anyway (drafts, the rows of a wave), and by PROBING: the first event, and others
 * now and then, stop for predictions on their way to R. From costs and agreement,
 *
 *   ar             one token per    prelude + R core + head
 *   draft-verify   a^0 + .. + a^L   tokens per round of  (L+1)(prelude + K core) + L head + (R-K) price_core(L+1) +
 * price_head(L+1) wavefront      a wave simulated tick by tick, over a text whose predictions settle as a(d) has it
 *
 * and the cheapest per token is taken - of those that are affordable. An account is kept against `ar`: a round may be
 * drafted if the account would bear it that every guess is wrong, a wave started if it would bear agreement as bad as
 * caution has it, so that both grow with what was won; while the account is overdrawn, `ar` runs. So text that cannot
 * be guessed costs little. What events really take, against what the model said, corrects each family; an `ar` event
 * takes what ar takes, so that a slow moment of the machine does not count against speculation. All choices are
 * lossless strategies, and all may follow each other between events: the tokens are those of ar.
 *
 * Lookup, where the caller allows it, is taken or left for each event: by what it would have found in the text so far,
 * which is counted either way, and by what another row costs here (pricing.h).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/numbers.h"
#include "spec/pricing.h"
#include "spec/strategies.h"

/* Agreement is counted at all of `depths` when a prediction is made there anyway; probes stop at few, since each stop
 * costs a head. */
static const uint32_t depths[] = {1, 2, 3, 4, 5, 6, 8, 12, 16}, probe_depths[] = {4, 8, 16};
static const uint32_t lookaheads[] = {1, 2, 3, 4, 5, 7, 9, 11, 13, 15}, wave_depths[] = {1, 2, 3, 4, 5, 6, 8, 11, 16},
                      wave_rows[] = {4, 8, 16};

enum {
    AR,
    DRAFT,
    WAVE,
    N_FAMILIES,
    N_DEPTHS = sizeof depths / sizeof *depths,
    N_PROBES = sizeof probe_depths / sizeof *probe_depths,
    PROBE_EVERY = 16,
    FEW_TOKENS = 10,
    AUTO_ROWS = 16,
    N_SIMULATED = 64,
    MANY_TOKENS = 64
};
/* may_lose: of the time that ar would have taken for the tokens so far, but for FEW_TOKENS at least. stale: what an
 * event leaves of all counts, so that text may change, and a depth nobody looks at any more is tried again. clearly: by
 * how much another setting must beat the one in use, once there are MANY_TOKENS; by less before, when what is in use
 * was chosen on little evidence. */
static const double may_lose = 0.03, stale = 0.99, clearly = 0.1;

struct setting {
    uint32_t family, draft_steps, lookahead, rows; /* rows: the wave's cap */
    double ns;                                     /* per token, as predicted */
};

struct automatic {
    const struct mn_cost_table *costs;
    double hits[N_DEPTHS], trials[N_DEPTHS];
    uint32_t seen[N_DEPTHS]
                 [SESSION_MAX_ROWS]; /* predictions of rows in flight by position modulo the rows; UINT32_MAX: none */
    double correction[N_FAMILIES];   /* time measured over time predicted; 0: that family has not run */
    struct setting current;
    struct lookup_record lookup;
    void *families[N_FAMILIES]; /* their states */
    uint32_t probes[N_PROBES],
        n_probes;                     /* depths at which the event under way is stopped for a prediction; ascending */
    struct request rest;              /* of a request that was stopped there; no rows: none */
    double predicted_ns, measured_ns; /* of the event under way */
    double probes_ns, charged_ns;     /* of it: predicted for probes; taken off the lead */
    double lead_ns;                   /* how far ahead of ar this run is */
    double spent_ns;                  /* in passes, up to the last look */
    uint32_t max_rows, committed, n_events, next_probe, probe_interval, next_choice;
    bool hopeless; /* not even perfect agreement would beat ar here */
    bool brought;  /* the last event brought a token */
};

/* Driven by their next and absorb alone: what they would open is for settings that auto has not. */
static const struct strategy *const families[N_FAMILIES] = {&strategy_ar, &strategy_draft_verify, &strategy_wavefront};

static struct automatic *automatic_of(const struct generation *g)
{
    return g->state;
}

/* EXPECTED: counted, with one prior trial. CAUTIOUS: as if two more trials had failed. PERFECT: always 1. */
enum view { EXPECTED, CAUTIOUS, PERFECT };

static double prior(uint32_t depth)
{
    return 1.0 - 0.6 * exp(-0.35 * depth);
}

/* a(d) at the first n of depths[]. It rises with d but for chance: where the counts say otherwise, they are too few,
 * and neighbours share theirs. CAUTIOUS knows of a depth at least what a lesser one has shown. */
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
        for (; n_groups > 0 && hits[n_groups - 1] * trials[n_groups] > hits[n_groups] * trials[n_groups - 1];
             n_groups--) {
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

static struct pricing pricing_of(const struct generation *g)
{
    return (struct pricing){automatic_of(g)->costs, g->n_others};
}

/* ---- what an event takes and brings ---- */

struct yield {
    double ns, tokens;
};

static double ar_ns(const struct pricing *p, uint32_t num_steps)
{
    return price_enter(p) + num_steps * price_core(p, 1) + price_head(p, 1);
}

static struct yield round_yield(const struct pricing *p, double right, uint32_t num_steps, uint32_t k, uint32_t l)
{
    struct yield y = {.tokens = 1.0};
    double reached = 1.0;
    for (uint32_t i = 0; i < l; i++)
        y.tokens += reached *= right;
    y.ns = (l + 1) * (price_enter(p) + k * price_core(p, 1)) + l * price_head(p, 1);
    y.ns += p->costs->submit_ns / (1 + p->others) + (num_steps - k) * price_core(p, l + 1) + price_head(p, l + 1);
    return y;
}

/* A tick of n rows takes fixed_ns[n] and core_ns[n] per step, and enter_ns if a row enters. */
struct ticks {
    double fixed_ns[AUTO_ROWS + 1], core_ns[AUTO_ROWS + 1], enter_ns;
};

static struct ticks price_ticks(const struct pricing *p)
{
    struct ticks t = {.enter_ns = price_share(p, p->costs->prelude_ns, 1)};
    for (uint32_t n = 1; n <= AUTO_ROWS; n++) {
        t.fixed_ns[n] = p->costs->submit_ns / (1 + p->others) + price_head(p, n);
        t.core_ns[n] = price_core(p, n);
    }
    return t;
}

/* A wave from its first row to its first commit; what is in flight then counts by its depth. */
static struct yield start_yield(const struct ticks *t, double right, uint32_t n_ticks, uint32_t k, uint32_t rows)
{
    struct yield y = {0};
    double reached = 1.0;
    for (uint32_t j = 0; j < n_ticks; j++, reached *= right) {
        const uint32_t n = j < rows ? j + 1 : rows;
        y.tokens += j < rows ? reached * (1.0 - (double)j / n_ticks) : 0.0;
        y.ns += t->enter_ns + t->fixed_ns[n] + k * t->core_ns[n];
    }
    return y;
}

/* The depths from which the predictions of N_SIMULATED positions are right: as many as agreement has it, easy and hard
 * ones mixed. Real predictions may turn wrong again, which only waves of few steps notice. So many positions, because
 * the few that settle last cost a whole wave each. */
static void simulate_text(const struct automatic *a, enum view view, uint32_t num_steps, uint32_t *settled)
{
    uint32_t depth = 1;
    double right = agreement(a, view, depth, num_steps);
    for (uint32_t i = 0; i < N_SIMULATED; i++) {
        while (right < (i + 0.5) / N_SIMULATED)
            right = agreement(a, view, ++depth, num_steps);
        settled[i * 55 % N_SIMULATED] = depth; /* 55 is odd: each place is met once */
    }
}

/* The wave that wavefront.c would run over that text: first_ns up to its first commit, token_ns for every token from
 * then on. */
static void simulate_wave(const struct ticks *t, const uint32_t *settled, uint32_t num_steps, uint32_t k, uint32_t cap,
                          double *first_ns, double *token_ns)
{
    uint32_t at[AUTO_ROWS], n = 0, tokens = 0; /* at: depths of the rows in flight */
    double ns = 0.0;
    *first_ns = 0.0;
    while (tokens <= N_SIMULATED) {
        if (n < cap) {
            at[n++] = 0;
            ns += t->enter_ns;
        }
        const uint32_t left = num_steps - at[0], steps = k < left ? k : left;
        ns += t->fixed_ns[n] + steps * t->core_ns[n];
        uint32_t kept = 0;
        for (bool turned = false; kept < n && !turned; kept++) {
            const uint32_t right_from = settled[(tokens + kept) % N_SIMULATED];
            turned = at[kept] < right_from &&
                     at[kept] + steps >= right_from; /* so far wrong: what stands behind it is dropped */
            at[kept] += steps;
        }
        n = kept;
        if (at[0] < num_steps)
            continue;
        memmove(at, at + 1, --n * sizeof *at);
        if (tokens++ == 0)
            *first_ns = ns;
    }
    *token_ns = (ns - *first_ns) / N_SIMULATED;
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
    return ar_ns(&p, g->num_steps) * correction_of(automatic_of(g), AR);
}

static bool is_current(const struct automatic *a, const struct setting *s)
{
    return s->family == a->current.family && s->draft_steps == a->current.draft_steps &&
           s->lookahead == a->current.lookahead && s->rows == a->current.rows;
}

static void consider(const struct automatic *a, struct setting *best, struct setting candidate)
{
    candidate.ns *= correction_of(a, candidate.family);
    if (is_current(a, &candidate))
        candidate.ns *= 1.0 - clearly * fmin(1.0, (double)a->committed / MANY_TOKENS);
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
    for (uint32_t i = 0; i < g->n_rows && automatic_of(g)->current.family == WAVE; i++)
        ns += ar * g->rows[i].depth / g->num_steps;
    return ns;
}

static void consider_waves(const struct generation *g, enum view view, double credit, struct setting *best)
{
    const struct automatic *a = automatic_of(g);
    const struct pricing p = pricing_of(g);
    const struct ticks ticks = price_ticks(&p);
    const uint32_t steps = g->num_steps, wanted = generation_remaining(g);
    const bool started = a->current.family == WAVE && g->n_rows > 0;
    uint32_t settled[N_SIMULATED];
    simulate_text(a, view, steps, settled);
    for (size_t i = 0; i < sizeof wave_depths / sizeof *wave_depths && wave_depths[i] < steps; i++) {
        const uint32_t k = wave_depths[i], n_ticks = (steps + k - 1) / k;
        const double cautious = agreement(a, CAUTIOUS, k, steps);
        for (size_t j = 0; j < sizeof wave_rows / sizeof *wave_rows &&
                           (j == 0 || (wave_rows[j - 1] < n_ticks && wave_rows[j - 1] < a->max_rows));
             j++) {
            const uint32_t rows = wave_rows[j] < a->max_rows ? wave_rows[j] : a->max_rows;
            if (!started && !affordable(start_yield(&ticks, cautious, n_ticks, k, rows), ar_ns(&p, steps), credit))
                continue;
            double first_ns, token_ns;
            simulate_wave(&ticks, settled, steps, k, rows, &first_ns, &token_ns);
            const double start_ns = started ? 0.0 : (first_ns - token_ns) / wanted;
            consider(a, best,
                     (struct setting){.family = WAVE, .draft_steps = k, .rows = rows, .ns = token_ns + start_ns});
        }
    }
}

/* The cheapest setting for what is still wanted, within the credit. */
static struct setting choose(const struct generation *g, enum view view, double credit)
{
    const struct automatic *a = automatic_of(g);
    const struct pricing p = pricing_of(g);
    const uint32_t steps = g->num_steps, wanted = generation_remaining(g);
    const double ar = ar_ns(&p, steps), given_up = in_flight_ns(g, ar) / wanted;
    struct setting best = {0};
    consider(a, &best, (struct setting){.family = AR, .ns = ar + given_up});
    for (size_t i = 0; i < N_DEPTHS && depths[i] < steps; i++) {
        const double right = agreement(a, view, depths[i], steps);
        for (size_t j = 0;
             j < sizeof lookaheads / sizeof *lookaheads && lookaheads[j] < a->max_rows && lookaheads[j] < wanted; j++) {
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
    struct automatic *a = automatic_of(g);
    g->stats->n_choices += !is_current(a, &setting);
    if (setting.family != a->current.family)
        g->n_rows = 0; /* a wave in flight is given up */
    a->current = setting;
    g->draft_steps = setting.draft_steps;
    g->lookahead = setting.lookahead;
    g->max_inflight = setting.rows;
    g->stats->chosen_strategy = families[setting.family]->about.name;
    g->stats->chosen_draft_steps = setting.draft_steps;
    g->stats->chosen_lookahead = setting.lookahead;
}

/* What speculation may lose from here on. */
static double credit_of(const struct generation *g)
{
    const double ar = current_ar_ns(g);
    const uint32_t n = g->stats->n_new > FEW_TOKENS ? g->stats->n_new : FEW_TOKENS;
    return automatic_of(g)->lead_ns + in_flight_ns(g, ar) + may_lose * ar * n; /* rows in flight are not lost yet */
}

/* Between two events: what comes next? */
static void decide(struct generation *g)
{
    struct automatic *a = automatic_of(g);
    if (a->n_events == 0)
        a->hopeless = choose(g, PERFECT, INFINITY).family == AR;
    const bool probe = !a->hopeless && a->n_events >= a->next_probe;
    const double credit = credit_of(g);
    take(g, a->hopeless || credit < 0.0 ? (struct setting){.family = AR} : choose(g, EXPECTED, credit));
    /* The more is known, the less a token tells. */
    a->next_choice = g->stats->n_new + (g->stats->n_new < MANY_TOKENS ? g->stats->n_new : MANY_TOKENS) / 8;
    a->n_probes = 0;
    for (uint32_t i = 0; i < N_PROBES && probe && probe_depths[i] < g->num_steps; i++)
        a->probes[a->n_probes++] = probe_depths[i];
    if (probe) {
        a->probe_interval = a->probe_interval == 0            ? 2
                            : a->probe_interval < PROBE_EVERY ? 2 * a->probe_interval
                                                              : PROBE_EVERY;
        a->next_probe = a->n_events + a->probe_interval;
    }
}

/* ---- what an event teaches ---- */

static double request_ns(const struct generation *g, const struct request *request)
{
    const struct mn_cost_table *costs = automatic_of(g)->costs;
    const uint32_t rows = request->n_rows + g->n_others;
    return costs->submit_ns + cost_at(costs, costs->prelude_ns, request->n_new) +
           request->steps * cost_at(costs, costs->core_ns, rows) +
           (request->predict ? cost_at(costs, costs->head_ns, rows) : 0.0);
}

static void forget(struct automatic *a, const struct row *row)
{
    for (uint32_t i = 0; i < N_DEPTHS; i++)
        a->seen[i][row->position % SESSION_MAX_ROWS] = UINT32_MAX;
}

/* A row's prediction as it is compared: drafts have places in their round. */
static uint32_t says(const struct generation *g, uint32_t row)
{
    return generation_says(g, row, automatic_of(g)->current.family == DRAFT ? row : 0);
}

/* Keeps predictions for the comparison with the final ones. */
static void remember(struct generation *g)
{
    for (uint32_t j = g->request.first; j < g->request.first + g->request.n_rows && g->request.predict; j++)
        for (uint32_t i = 0; i < N_DEPTHS; i++)
            if (g->rows[j].depth == depths[i])
                automatic_of(g)->seen[i][g->rows[j].position % SESSION_MAX_ROWS] = says(g, j);
}

/* The first n rows were committed with these predictions. */
static void count_hits(struct automatic *a, uint32_t position, const uint32_t *predicted, uint32_t n)
{
    for (uint32_t i = 0; i < N_DEPTHS; i++)
        for (uint32_t j = 0; j < n; j++) {
            const uint32_t seen = a->seen[i][(position + j) % SESSION_MAX_ROWS];
            if (seen == UINT32_MAX)
                continue;
            a->hits[i] += seen == predicted[j];
            a->trials[i] += 1.0;
        }
}

/* The event is over. */
static void settle(struct generation *g)
{
    struct automatic *a = automatic_of(g);
    for (uint32_t i = 0; i < N_DEPTHS; i++) {
        a->hits[i] *= stale;
        a->trials[i] *= stale;
    }
    const double off = fmin(fmax(a->measured_ns / a->predicted_ns, 0.25), 4.0);
    double *correction = &a->correction[a->current.family];
    *correction = *correction > 0.0 ? *correction + 0.2 * (off - *correction)
                                    : 0.5 * (off + correction_of(a, a->current.family));
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

/* Cuts a request at the next probe. The family does not notice: it absorbs when the whole request is done. A wave
 * predicts at every tick anyway. */
static void stop_at_probe(const struct generation *g, struct automatic *a, struct request *request)
{
    const uint32_t from = g->rows[request->first].depth;
    a->rest = (struct request){0};
    for (uint32_t i = 0; i < a->n_probes && request->predict && a->current.family != WAVE; i++)
        if (a->probes[i] > from && a->probes[i] < from + request->steps) {
            a->rest = *request;
            a->rest.n_new = 0;
            a->rest.steps = from + request->steps - a->probes[i];
            request->steps = a->probes[i] - from;
            return;
        }
}

/* Does lookup pay in the event that begins? A wave then has room for what it finds. */
static void allow_lookup(struct generation *g, struct automatic *a)
{
    const struct pricing p = pricing_of(g);
    if (g->in_event || !g->lookup)
        return;
    const bool wave = a->current.family == WAVE && g->max_inflight > 1,
               pays = wave ? lookup_pays_in_wave(&a->lookup, &p, g->num_steps, g->draft_steps, max_u32(1, g->n_rows))
                           : a->current.family == DRAFT && lookup_pays_in_round(&a->lookup, &p, g->draft_steps);
    g->at_once = pays ? g->params->speculation.lookup : 0;
    if (wave)
        g->max_inflight = pays ? a->max_rows : a->current.rows;
    g->stats->chosen_lookup = g->at_once;
}

/* Which family, unless it is in the middle of something, and what it asks for. */
static enum mn_status ask(struct generation *g, struct automatic *a, struct request *request)
{
    /* A wave is between two events at every tick, but only one that brought a token is a good moment to stop it.
     * Choosing takes tens of microseconds, which small models notice: not at every token. */
    const bool wave_goes_on = a->current.family == WAVE && g->n_rows > 0 &&
                              (!a->brought || (g->stats->n_new < a->next_choice && credit_of(g) >= 0.0));
    if (!g->in_event && !wave_goes_on) {
        decide(g);
    } else if (wave_goes_on && credit_of(g) < 0.0) {
        /* It loses: its oldest row, which is always right, is brought to its end alone. */
        g->n_rows = g->max_inflight = 1;
        g->draft_steps = g->num_steps;
    }
    allow_lookup(g, a);
    return families[a->current.family]->next(g, a->families[a->current.family], request);
}

static enum mn_status next(struct generation *g, void *state, struct request *request)
{
    struct automatic *a = state;
    enum mn_status status = MN_OK;
    if (a->rest.n_rows)
        *request = a->rest;
    else
        status = ask(g, a, request);
    stop_at_probe(g, a, request);
    for (uint32_t i = 0; i < request->n_new; i++)
        forget(a, &g->rows[request->first + request->n_rows - 1 - i]);
    a->predicted_ns += request_ns(g, request);
    if (a->current.family == AR && a->rest.n_rows)
        a->probes_ns += cost_at(a->costs, a->costs->head_ns, request->n_rows + g->n_others) + a->costs->submit_ns;
    return status;
}

static enum mn_status absorb(struct generation *g, void *state)
{
    struct automatic *a = state;
    uint32_t predicted[SESSION_MAX_ROWS];
    const uint32_t before = g->stats->n_new, position = g->rows[0].position, rows_here = g->request.n_rows;
    const double ns = g->stats->draft_ns + g->stats->verify_ns - a->spent_ns;
    for (uint32_t i = 0; i < g->request.first + rows_here; i++)
        predicted[i] = says(g, i);
    a->spent_ns += ns;
    a->measured_ns += ns;
    a->charged_ns += ns * rows_here / (rows_here + g->n_others);
    a->lead_ns -= ns * rows_here / (rows_here + g->n_others);
    remember(g);
    if (a->rest.n_rows)
        return MN_OK;
    enum mn_status status = families[a->current.family]->absorb(g, a->families[a->current.family]);
    if (status || g->in_event)
        return status;
    a->brought = g->stats->n_new > before;
    count_hits(a, position, predicted, g->stats->n_new - before);
    lookup_record_add(&a->lookup, g, g->committed, g->stats->n_new - before);
    settle(g);
    return MN_OK;
}

static uint32_t rows(const struct mn_generate_params *params)
{
    const uint32_t most = params->speculation.max_inflight;
    return most && most < AUTO_ROWS ? most : AUTO_ROWS;
}

static enum mn_status check(const struct generation *g)
{
    if (g->params->measuring.n_forced_acceptance)
        return log_fail(g->log, MN_ERR_USAGE,
                        "forced_acceptance: strategy auto chooses draft_steps itself: give shares by depth, forced_at");
    enum mn_status status = check_lookup(g);
    return status ? status : check_forced(g);
}

static enum mn_status open(struct generation *g, void *state)
{
    struct automatic *a = state;
    for (uint32_t i = 0; i < N_FAMILIES; i++)
        if (families[i]->state_bytes && !(a->families[i] = calloc(1, families[i]->state_bytes)))
            return log_fail(g->log, MN_ERR_MEMORY, "out of host memory for the choice of a strategy");
    a->max_rows = g->max_inflight = min_u32(min_u32(g->max_inflight, session_info(g->session)->max_rows), AUTO_ROWS);
    a->committed = 1;    /* the prompt's */
    a->costs = g->costs; /* there from the prompt on */
    g->stats->lookup = g->params->speculation.lookup;
    return MN_OK;
}

static void close(void *state)
{
    struct automatic *a = state;
    for (uint32_t i = 0; i < N_FAMILIES; i++)
        free(a->families[i]);
}

const struct strategy strategy_auto = {
    .about = {.name = "auto",
              .help = "one of the above with K and L, by what passes cost here and what the text allows",
              .lossless = true,
              .batches = true,
              .uses = MN_USES_COSTS | MN_USES_LOOKUP | MN_USES_FORCED_ACCEPTANCE,
              .usual_inflight = AUTO_ROWS},
    .state_bytes = sizeof(struct automatic),
    .rows = rows,
    .check = check,
    .open = open,
    .close = close,
    .next = next,
    .absorb = absorb};
