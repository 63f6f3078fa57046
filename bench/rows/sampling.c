#include "bench/rows/sampling.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum mn_status sampling_run(const struct sampling *sampling, sampling_once once, void *user, uint32_t n_values,
                            bool (*stop)(void), struct samples *out, const struct mn_log *log)
{
    *out = (struct samples){.n_values = n_values, .values = malloc(SAMPLES_MAX * sizeof *out->values)};
    if (!out->values)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for samples");
    enum mn_status status = once(user, out->values[0]);
    const double start = sampling->now(sampling->user);
    while (!status && out->n < SAMPLES_MAX &&
           (out->n < sampling->min_repetitions || sampling->now(sampling->user) - start < sampling->min_seconds)) {
        status = stop && stop() ? MN_ERR_INTERRUPTED : once(user, out->values[out->n]);
        out->n += !status;
    }
    if (status)
        samples_free(out);
    return status;
}

void samples_free(struct samples *samples)
{
    free(samples->values);
    *samples = (struct samples){0};
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double samples_median(double *values, uint32_t n)
{
    qsort(values, n, sizeof *values, ascending);
    return n % 2 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

struct summary samples_summary(const struct samples *samples, uint32_t column)
{
    double sorted[SAMPLES_MAX], mean = 0.0;
    struct summary s = {0};
    const uint32_t n = samples->n;
    if (n == 0)
        return s;
    for (uint32_t i = 0; i < n; i++)
        sorted[i] = samples->values[i][column];
    s.median = samples_median(sorted, n);
    s.min = sorted[0];
    s.max = sorted[n - 1];
    for (uint32_t i = 0; i < n; i++)
        mean += (sorted[i] = fabs(samples->values[i][column] - s.median)) / n;
    s.mad = samples_median(sorted, n);
    /* 0.6745 and 0.7979: what the deviations of a normal distribution are in units of sigma. */
    const double sigma = s.mad > 0.0 ? s.mad / 0.6745 : mean / 0.7979;
    for (uint32_t i = 0; i < n; i++)
        s.n_outliers += sigma > 0.0 && fabs(samples->values[i][column] - s.median) / sigma > 3.5;
    return s;
}

/* Number of ways to get a Mann-Whitney statistic of u, over all of them: the largest k with P(U <= k) <= 0.025, or
 * -1. */
static int exact_rank(uint32_t n_a, uint32_t n_b)
{
    /* ways[j][u] for i samples of a and j of b; a new sample of a stands behind j of b or not: f(i, j, u) = f(i - 1, j,
     * u - j) + f(i, j - 1, u). */
    enum { U_MAX = INTERVAL_EXACT * INTERVAL_EXACT };
    static const double level = 0.025;
    double(*ways)[U_MAX + 1] = calloc(n_b + 1, sizeof *ways), all = 1.0, below = 0.0;
    int rank = -1;
    if (!ways)
        return -2;
    for (uint32_t j = 0; j <= n_b; j++)
        ways[j][0] = 1.0;
    for (uint32_t i = 1; i <= n_a; i++)
        for (uint32_t j = 1; j <= n_b; j++)
            for (uint32_t u = i * j + 1; u-- > 0;)
                ways[j][u] = (u >= j ? ways[j][u - j] : 0.0) + ways[j - 1][u];
    for (uint32_t i = 1; i <= n_a; i++)
        all *= (double)(n_b + i) / i;
    for (uint32_t u = 0; u <= n_a * n_b; u++) {
        below += ways[n_b][u] / all;
        if (below > level)
            break;
        rank = (int)u;
    }
    free(ways);
    return rank;
}

static int normal_rank(uint32_t n_a, uint32_t n_b)
{
    const double mean = 0.5 * n_a * n_b, sigma = sqrt((double)n_a * n_b * (n_a + n_b + 1.0) / 12.0);
    return (int)floor(mean - 1.959964 * sigma - 0.5);
}

enum mn_status samples_ratio(const double *a, uint32_t n_a, const double *b, uint32_t n_b, struct interval *out,
                             const struct mn_log *log)
{
    const uint32_t n = n_a * n_b;
    double *quotients = malloc(n * sizeof *quotients);
    const int rank = n_a <= INTERVAL_EXACT && n_b <= INTERVAL_EXACT ? exact_rank(n_a, n_b) : normal_rank(n_a, n_b);
    if (!quotients || rank == -2) {
        free(quotients);
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for %u quotients", n);
    }
    for (uint32_t i = 0; i < n_a; i++)
        for (uint32_t j = 0; j < n_b; j++)
            quotients[i * n_b + j] = b[j] / a[i];
    out->ratio = samples_median(quotients, n); /* sorts */
    out->bounded = rank >= 0 && (uint32_t)rank < n - 1 - (uint32_t)rank;
    out->low = out->bounded ? quotients[rank] : 0.0;
    out->high = out->bounded ? quotients[n - 1 - (uint32_t)rank] : INFINITY;
    free(quotients);
    return MN_OK;
}
