/* Several sequences at once: a queue of generations over the sequences of one session's cache. A generation that ends
 * frees its rows and its place in the cache at once; the next one of the queue runs its prompt and joins the passes at
 * the next tick, whatever depth the others are at. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/numbers.h"
#include "spec/generation.h"

struct batch {
    struct session *session;
    struct mn_cost_table *costs;
    struct generation *generations; /* [n] */
    struct generation **active;     /* [n_sequences], those sharing passes */
    bool *taken;                    /* [n_sequences] */
    uint32_t n, n_active, n_started, capacity;
    int (*on_end)(void *user, uint32_t i);
    void *user;
    enum mn_status refused; /* of the first sequence that cannot run */
    bool ended;             /* by the caller */
};

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

/* What lives in the session (the sampler) or decides what rows look like must be one for all. */
static bool same_settings(const struct mn_generate_params *a, const struct mn_generate_params *b)
{
    return same_text(a->strategy, b->strategy) && a->speculation.lookahead == b->speculation.lookahead &&
           a->speculation.max_inflight == b->speculation.max_inflight && same_text(a->exit.rule, b->exit.rule) &&
           a->exit.min_steps == b->exit.min_steps && a->exit.check_interval == b->exit.check_interval &&
           a->speculation.verification_threshold == b->speculation.verification_threshold &&
           a->continuous == b->continuous && a->sampler.temperature == b->sampler.temperature &&
           a->sampler.top_k == b->sampler.top_k && a->sampler.top_p == b->sampler.top_p &&
           a->sampler.min_p == b->sampler.min_p && a->sampler.seed == b->sampler.seed &&
           a->init_scale == b->init_scale && a->measuring.forced_acceptance == b->measuring.forced_acceptance &&
           a->measuring.n_forced_acceptance == b->measuring.n_forced_acceptance &&
           a->measuring.forced_at == b->measuring.forced_at && a->measuring.n_forced_at == b->measuring.n_forced_at;
}

/* Most rows one generation has in a pass. */
static uint32_t rows_of(const struct generation *g)
{
    struct mn_generate_params params = *g->params;
    params.speculation.max_inflight = g->max_inflight;
    return g->strategy->rows ? min_u32(g->strategy->rows(&params), session_info(g->session)->max_rows) : 1;
}

/* Puts the sequence in front of messages of those who know of one only. */
struct sequence_log {
    const struct mn_log *next;
    uint32_t sequence;
};

static void write_with_sequence(void *user, enum mn_log_level level, const char *text)
{
    const struct sequence_log *at = user;
    log_note(at->next, level, "sequence %u of the batch: %s", at->sequence, text);
}

/* What all have in common: the batch is refused as a whole. */
static enum mn_status check_common(struct batch *b, const struct mn_generate_params *params, struct mn_stats *stats)
{
    const struct mn_log *log = session_info(b->session)->log;
    struct generation *first = &b->generations[0];
    for (uint32_t i = 1; i < b->n; i++)
        if (!same_settings(&params[i], &params[0]))
            return log_fail(
                log, MN_ERR_USAGE,
                "sequence %u of the batch: strategy, sampler and their settings must be those of sequence 0", i);
    generation_set_up(first, b->session, b->costs, params, stats, log);
    enum mn_status status = generation_check_settings(first);
    if (!status && !first->strategy->about.batches)
        status = log_fail(log, MN_ERR_USAGE, "strategy %s: cannot run in a batch", first->strategy->about.name);
    return status;
}

static void end(struct batch *b, uint32_t i)
{
    b->ended |= b->on_end && b->on_end(b->user, i);
}

/* A sequence that cannot run ends here; the others do not depend on it. */
static enum mn_status open_all(struct batch *b, const struct mn_generate_params *params, struct mn_stats *stats)
{
    const struct mn_log *log = session_info(b->session)->log;
    for (uint32_t i = 0; i < b->n && !b->ended; i++) {
        struct sequence_log at = {log, i};
        const struct mn_log with_sequence = {write_with_sequence, &at};
        enum mn_status status = generation_open(&b->generations[i], b->session, b->costs, &params[i], &stats[i],
                                                params[i].log ? params[i].log : &with_sequence);
        b->generations[i].log = params[i].log ? params[i].log : log;
        stats[i].status = status;
        if (status && status != MN_ERR_USAGE)
            return status;
        if (status)
            end(b, i);
        b->refused = b->refused ? b->refused : status;
    }
    uint32_t most = session_info(b->session)->max_rows / rows_of(&b->generations[0]);
    b->capacity = most < session_info(b->session)->n_sequences ? most : session_info(b->session)->n_sequences;
    return MN_OK;
}

/* Starts waiting sequences while there is room. */
static enum mn_status admit(struct batch *b, double *prefill_ns)
{
    enum mn_status status = MN_OK;
    while (b->n_active < b->capacity && b->n_started < b->n && !status) {
        struct generation *g = &b->generations[b->n_started++];
        uint32_t sequence = 0;
        if (g->stats->status) /* refused */
            continue;
        while (b->taken[sequence])
            sequence++;
        b->taken[sequence] = true;
        status = generation_prefill(g, sequence);
        *prefill_ns += g->stats->prefill_ns;
        b->active[b->n_active++] = g;
    }
    return status;
}

/* Takes out those that are done. */
static void retire(struct batch *b, struct mn_stats *total)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < b->n_active; i++) {
        struct generation *g = b->active[i];
        if (!g->done) {
            b->active[kept++] = g;
            continue;
        }
        g->stats->decode_ns = clock_ns() - g->start_ns;
        b->taken[g->sequence] = false;
        total->n_sequences++;
        end(b, (uint32_t)(g - b->generations));
    }
    b->n_active = kept;
}

/* The settings of the first sequence that can run. */
static struct mn_stats total_of(const struct mn_stats *stats, uint32_t n)
{
    uint32_t i = 0;
    while (i + 1 < n && stats[i].status)
        i++;
    struct mn_stats total = stats[i];
    total.status = MN_OK;
    total.n_sequences = total.n_prompt = 0;
    return total;
}

/* Sums over sequences; passes and bytes are counted by the ticks. */
static void sum_up(struct mn_stats *total, const struct mn_stats *stats, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (stats[i].status)
            continue;
        total->n_prompt += stats[i].n_prompt;
        total->n_new += stats[i].n_new;
        stats_add_rounds(total, &stats[i]);
        total->exit_steps += stats[i].exit_steps;
        total->exit_rows += stats[i].exit_rows;
        total->inflight_rows += stats[i].inflight_rows;
    }
}

static enum mn_status run(struct batch *b, struct mn_stats *total)
{
    const double start = clock_ns();
    enum mn_status status = MN_OK;
    do {
        status = admit(b, &total->prefill_ns);
        retire(b, total); /* the first token may be the last */
        if (!status && b->n_active && !b->ended)
            status = schedule_tick(b->session, b->active, b->n_active, total);
        if (!status)
            retire(b, total);
    } while (!status && !b->ended && (b->n_active || b->n_started < b->n));
    const double now = clock_ns();
    for (uint32_t i = 0; i < b->n_active; i++)
        b->active[i]->stats->decode_ns = now - b->active[i]->start_ns;
    total->decode_ns = now - start - total->prefill_ns;
    return status;
}

enum mn_status generate_batch_with_costs(struct session *s, struct mn_cost_table *costs,
                                         const struct mn_generate_params *params, uint32_t n, struct mn_stats *stats,
                                         struct mn_stats *total, int (*on_end)(void *user, uint32_t i), void *user)
{
    const struct mn_log *log = session_info(s)->log;
    struct batch b = {.session = s, .costs = costs, .n = n, .on_end = on_end, .user = user};
    *total = (struct mn_stats){0};
    if (n < 1)
        return log_fail(log, MN_ERR_USAGE, "the batch is empty: at least one sequence is needed");
    b.generations = calloc(n, sizeof *b.generations);
    b.active = calloc(session_info(s)->n_sequences, sizeof(struct generation *));
    b.taken = calloc(session_info(s)->n_sequences, sizeof *b.taken);
    enum mn_status status = b.generations && b.active && b.taken
                                ? MN_OK
                                : log_fail(log, MN_ERR_MEMORY, "out of host memory for %u sequences", n);
    memset(stats, 0, n * sizeof *stats);
    if (!status)
        status = check_common(&b, params, stats);
    if (!status)
        status = open_all(&b, params, stats);
    if (!status && !b.ended) {
        *total = total_of(stats, n);
        status = run(&b, total);
        sum_up(total, stats, n);
    }
    for (uint32_t i = 0; b.generations && i < n; i++)
        generation_close(&b.generations[i]);
    free(b.generations);
    free(b.active);
    free(b.taken);
    return status ? status : b.refused;
}

enum mn_status generate_batch(struct session *s, const struct mn_generate_params *params, uint32_t n,
                              struct mn_stats *stats, struct mn_stats *total, int (*on_end)(void *user, uint32_t i),
                              void *user)
{
    struct mn_cost_table costs = {0};
    return generate_batch_with_costs(s, &costs, params, n, stats, total, on_end, user);
}
