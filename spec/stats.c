#include "engine/base/numbers.h"
#include "spec/strategy.h"

void stats_round(struct mn_stats *stats, uint32_t drafted, uint32_t accepted, uint32_t committed, bool ended)
{
    if (ended) {
        drafted = min_u32(drafted, committed);
        accepted = min_u32(accepted, committed);
    }
    stats->rounds++;
    stats->committed += committed;
    stats->drafted += drafted;
    stats->accepted += accepted;
    stats->accepted_lengths[accepted]++;
    for (uint32_t i = 0; i < drafted; i++)
        stats->drafted_at[i]++;
    for (uint32_t i = 0; i < accepted; i++)
        stats->accepted_at[i]++;
}

void stats_add_proposals(struct mn_stats *sum, const struct mn_stats *stats)
{
    for (uint32_t i = 0; i < MN_PROPOSALS; i++)
        sum->proposed_by[i] += stats->proposed_by[i];
    for (uint32_t i = 0; i < MN_AGREEMENT_DEPTHS; i++) {
        sum->predicted_at[i] += stats->predicted_at[i];
        sum->agreed_at[i] += stats->agreed_at[i];
    }
    sum->looked_up += stats->looked_up;
    sum->most_inflight = max_u32(sum->most_inflight, stats->most_inflight);
}

static void add_rounds(struct mn_stats *sum, const struct mn_stats *stats)
{
    sum->rounds += stats->rounds;
    sum->drafted += stats->drafted;
    sum->accepted += stats->accepted;
    sum->committed += stats->committed;
    for (uint32_t i = 0; i < MN_MAX_LOOKAHEAD; i++) {
        sum->drafted_at[i] += stats->drafted_at[i];
        sum->accepted_at[i] += stats->accepted_at[i];
    }
    for (uint32_t i = 0; i <= MN_MAX_LOOKAHEAD; i++)
        sum->accepted_lengths[i] += stats->accepted_lengths[i];
    sum->branch_moves += stats->branch_moves;
    sum->branch_moved += stats->branch_moved;
    stats_add_proposals(sum, stats);
}

void stats_add_sequence(struct mn_stats *sum, const struct mn_stats *stats)
{
    sum->n_prompt += stats->n_prompt;
    sum->n_reused += stats->n_reused;
    sum->n_new += stats->n_new;
    add_rounds(sum, stats);
    sum->exit_steps += stats->exit_steps;
    sum->exit_rows += stats->exit_rows;
    sum->inflight_rows += stats->inflight_rows;
}

void stats_add_work(struct mn_stats *sum, const struct mn_stats *work)
{
    sum->prelude_passes += work->prelude_passes;
    sum->core_passes += work->core_passes;
    sum->coda_passes += work->coda_passes;
    sum->core_rows += work->core_rows;
    sum->weight_bytes += work->weight_bytes;
    sum->kv_bytes += work->kv_bytes;
    sum->submits += work->submits;
    sum->dispatches += work->dispatches;
    sum->prefill_ns += work->prefill_ns;
}

struct work_mark work_begin(const struct session *s)
{
    return (struct work_mark){session_counts(s)};
}

void work_end(struct mn_stats *work, const struct session *s, const struct work_mark *mark)
{
    const struct session_counts counts = session_counts(s), *now = &counts, *before = &mark->counts;
    work->prelude_passes += now->passes[PASS_PRELUDE] - before->passes[PASS_PRELUDE];
    work->core_passes += now->passes[PASS_CORE] - before->passes[PASS_CORE];
    work->coda_passes += now->passes[PASS_CODA] - before->passes[PASS_CODA];
    work->core_rows += now->rows[PASS_CORE] - before->rows[PASS_CORE];
    work->weight_bytes += now->weight_bytes - before->weight_bytes;
    work->kv_bytes += now->kv_bytes - before->kv_bytes;
    work->submits += now->submits - before->submits;
    work->dispatches += now->dispatches - before->dispatches;
}

static double ratio(double a, double b)
{
    return b > 0.0 ? a / b : 0.0;
}

static double decoded_tokens(const struct mn_stats *stats)
{
    /* The first token of a sequence comes out of its prefill. */
    return stats->n_new > stats->n_sequences ? (double)(stats->n_new - stats->n_sequences) : 0.0;
}

double mn_stats_acceptance_rate(const struct mn_stats *stats)
{
    return stats ? ratio((double)stats->accepted, (double)stats->drafted) : 0.0;
}

double mn_stats_mean_acceptance_length(const struct mn_stats *stats)
{
    return stats ? ratio((double)stats->committed, (double)stats->rounds) : 0.0;
}

double mn_stats_prefill_tok_s(const struct mn_stats *stats)
{
    return stats ? ratio((double)(stats->n_prompt - stats->n_reused) * 1e9, stats->prefill_ns) : 0.0;
}

double mn_stats_decode_tok_s(const struct mn_stats *stats)
{
    return stats ? ratio(decoded_tokens(stats) * 1e9, stats->decode_ns) : 0.0;
}

double mn_stats_weight_bytes_per_token(const struct mn_stats *stats)
{
    return stats ? ratio((double)stats->weight_bytes, decoded_tokens(stats)) : 0.0;
}

const char *mn_proposal_name(enum mn_proposal proposal)
{
    static const char *const names[MN_PROPOSALS] = {"first", "correction", "lookup", "restart"};
    return (uint32_t)proposal < MN_PROPOSALS ? names[proposal] : NULL;
}

double mn_proposal_share(const struct mn_stats *stats, enum mn_proposal proposal)
{
    return stats && (uint32_t)proposal < MN_PROPOSALS
               ? ratio((double)stats->proposed_by[proposal], (double)stats->committed)
               : 0.0;
}

double mn_stats_gamma(const struct mn_stats *stats)
{
    return stats ? ratio(decoded_tokens(stats) * stats->num_steps, (double)stats->core_passes) : 0.0;
}

double mn_stats_gb_s(const struct mn_stats *stats)
{
    return stats ? ratio((double)(stats->weight_bytes + stats->kv_bytes), stats->decode_ns) : 0.0;
}
