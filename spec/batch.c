/* Several sequences at once: all of them in the scheduler's queue from the beginning. A generation that ends frees its
 * rows and its place in the cache at once; the next one of the queue runs its prompt and joins the passes at the next
 * tick, whatever depth the others are at. */
#include <stdlib.h>
#include <string.h>

#include "spec/generation.h"
#include "spec/scheduler.h"

struct batch;

struct batch_sequence {
    struct batch *batch;
    uint32_t index;
};

struct batch {
    struct session *session;
    struct mn_cost_table *costs;
    struct scheduler *scheduler;
    struct batch_sequence *sequences; /* [n] */
    struct mn_stats *stats, *total;
    uint32_t n;
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
           a->speculation.max_inflight == b->speculation.max_inflight &&
           a->speculation.lookup == b->speculation.lookup && a->speculation.branches == b->speculation.branches &&
           same_text(a->exit.rule, b->exit.rule) && a->exit.min_steps == b->exit.min_steps &&
           a->exit.check_interval == b->exit.check_interval &&
           a->speculation.verification_threshold == b->speculation.verification_threshold &&
           a->continuous == b->continuous && a->sampler.temperature == b->sampler.temperature &&
           a->sampler.top_k == b->sampler.top_k && a->sampler.top_p == b->sampler.top_p &&
           a->sampler.min_p == b->sampler.min_p && a->sampler.seed == b->sampler.seed &&
           a->init_scale == b->init_scale && a->measuring.forced_acceptance == b->measuring.forced_acceptance &&
           a->measuring.n_forced_acceptance == b->measuring.n_forced_acceptance &&
           a->measuring.forced_at == b->measuring.forced_at && a->measuring.n_forced_at == b->measuring.n_forced_at;
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
static enum mn_status check_common(const struct batch *b, const struct mn_generate_params *params)
{
    const struct mn_log *log = session_info(b->session)->log;
    struct generation first;
    for (uint32_t i = 1; i < b->n; i++)
        if (!same_settings(&params[i], &params[0]))
            return log_fail(
                log, MN_ERR_USAGE,
                "sequence %u of the batch: strategy, sampler and their settings must be those of sequence 0", i);
    generation_set_up(&first, b->session, b->costs, params, b->stats, log);
    enum mn_status status = generation_check_settings(&first);
    if (!status && !first.strategy->about.batches)
        status = log_fail(log, MN_ERR_USAGE, "strategy %s: cannot run in a batch", first.strategy->about.name);
    return status;
}

static void end(struct batch *b, uint32_t i)
{
    b->ended |= b->on_end && b->on_end(b->user, i);
}

/* That of a pass which failed is the batch's, not the sequence's. */
static void on_sequence_end(void *user, uint64_t id, const struct mn_stats *stats)
{
    const struct batch_sequence *sequence = user;
    struct batch *b = sequence->batch;
    (void)id;
    if (stats->end == MN_END_FAILED) {
        b->stats[sequence->index].status = MN_OK;
        return;
    }
    b->total->n_sequences++;
    end(b, sequence->index);
}

/* A sequence that cannot run ends here; the others do not depend on it. */
static enum mn_status add_all(struct batch *b, const struct mn_generate_params *params)
{
    const struct mn_log *log = session_info(b->session)->log;
    for (uint32_t i = 0; i < b->n && !b->ended; i++) {
        struct sequence_log at = {log, i};
        const struct mn_log with_sequence = {write_with_sequence, &at};
        b->sequences[i] = (struct batch_sequence){b, i};
        const struct sequence_params sequence = {.generate = &params[i],
                                                 .log = params[i].log ? params[i].log : &with_sequence,
                                                 .stats = &b->stats[i],
                                                 .on_end = on_sequence_end,
                                                 .user = &b->sequences[i]};
        enum mn_status status = scheduler_add(b->scheduler, &sequence, NULL);
        b->stats[i].status = status;
        if (status && status != MN_ERR_USAGE)
            return status;
        if (status)
            end(b, i);
        b->refused = b->refused ? b->refused : status;
    }
    return MN_OK;
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

static enum mn_status run(struct batch *b)
{
    const double start = clock_ns();
    uint32_t n_alive = 1;
    enum mn_status status = MN_OK;
    struct mn_scheduler_stats work;
    while (!status && !b->ended && n_alive)
        status = scheduler_step(b->scheduler, &n_alive);
    scheduler_stats(b->scheduler, &work);
    stats_add_work(b->total, &work.total);
    b->total->decode_ns = clock_ns() - start - b->total->prefill_ns;
    scheduler_destroy(b->scheduler); /* those under way have what they reached */
    b->scheduler = NULL;
    for (uint32_t i = 0; i < b->n; i++)
        if (!b->stats[i].status)
            stats_add_sequence(b->total, &b->stats[i]);
    return status;
}

/* Prompts as a whole: nobody waits for a token here. Nothing is reused: what a batch takes is what its prompts take. */
static const struct mn_scheduler_params scheduling = {.prompt_rows = UINT32_MAX, .no_reuse = true};

enum mn_status generate_batch_with_costs(struct session *s, struct mn_cost_table *costs,
                                         const struct mn_generate_params *params, uint32_t n, struct mn_stats *stats,
                                         struct mn_stats *total, int (*on_end)(void *user, uint32_t i), void *user)
{
    const struct mn_log *log = session_info(s)->log;
    struct batch b = {
        .session = s, .costs = costs, .stats = stats, .total = total, .n = n, .on_end = on_end, .user = user};
    *total = (struct mn_stats){0};
    if (n < 1)
        return log_fail(log, MN_ERR_USAGE, "the batch is empty: at least one sequence is needed");
    memset(stats, 0, n * sizeof *stats);
    enum mn_status status = scheduler_create(&b.scheduler, s, costs, &scheduling);
    if (!status && !(b.sequences = calloc(n, sizeof *b.sequences)))
        status = log_fail(log, MN_ERR_MEMORY, "out of host memory for %u sequences", n);
    if (!status)
        status = check_common(&b, params);
    if (!status)
        status = add_all(&b, params);
    if (!status && !b.ended) {
        *total = total_of(stats, n);
        status = run(&b);
    }
    scheduler_destroy(b.scheduler);
    free(b.sequences);
    return status ? status : b.refused;
}

enum mn_status generate_batch(struct session *s, const struct mn_generate_params *params, uint32_t n,
                              struct mn_stats *stats, struct mn_stats *total, int (*on_end)(void *user, uint32_t i),
                              void *user)
{
    struct mn_cost_table costs = {0};
    return generate_batch_with_costs(s, &costs, params, n, stats, total, on_end, user);
}
