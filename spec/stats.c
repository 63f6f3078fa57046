#include <time.h>

#include "strategy.h"

double clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

void stats_round(struct mn_stats *stats, uint32_t drafted, uint32_t accepted)
{
    stats->rounds++;
    stats->drafted += drafted;
    stats->accepted += accepted;
    stats->accepted_lengths[accepted]++;
    for (uint32_t i = 0; i < drafted; i++)
        stats->drafted_at[i]++;
    for (uint32_t i = 0; i < accepted; i++)
        stats->accepted_at[i]++;
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
    return ratio((double)stats->accepted, (double)stats->drafted);
}

double mn_stats_mean_acceptance_length(const struct mn_stats *stats)
{
    return stats->rounds ? 1.0 + ratio((double)stats->accepted, (double)stats->rounds) : 0.0;
}

double mn_stats_prefill_tok_s(const struct mn_stats *stats)
{
    return ratio((double)stats->n_prompt * 1e9, stats->prefill_ns);
}

double mn_stats_decode_tok_s(const struct mn_stats *stats)
{
    return ratio(decoded_tokens(stats) * 1e9, stats->decode_ns);
}

double mn_stats_weight_bytes_per_token(const struct mn_stats *stats)
{
    return ratio((double)stats->weight_bytes, decoded_tokens(stats));
}

double mn_stats_gb_s(const struct mn_stats *stats)
{
    return ratio((double)(stats->weight_bytes + stats->kv_bytes), stats->decode_ns);
}
