#include "sampling.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum mn_status sampling_run(const struct sampling *sampling, sampling_once once, void *user, uint32_t n_values, bool (*stop)(void), struct samples *out,
                            const struct mn_log *log)
{
    *out = (struct samples){.n_values = n_values, .values = malloc(SAMPLES_MAX * sizeof *out->values)};
    if (!out->values)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for samples");
    enum mn_status status = once(user, out->values[0]);
    const double start = sampling->now(sampling->user);
    while (!status && out->n < SAMPLES_MAX && (out->n < sampling->min_repetitions || sampling->now(sampling->user) - start < sampling->min_seconds)) {
        status = stop && stop() ? MN_ERR_INTERRUPTED : once(user, out->values[out->n]);
        out->n += status == MN_OK;
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

static double median_of(double *values, uint32_t n)
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
    s.median = median_of(sorted, n);
    s.min = sorted[0];
    s.max = sorted[n - 1];
    for (uint32_t i = 0; i < n; i++)
        mean += (sorted[i] = fabs(samples->values[i][column] - s.median)) / n;
    s.mad = median_of(sorted, n);
    /* 0.6745 and 0.7979: what the deviations of a normal distribution are in units of sigma. */
    const double sigma = s.mad > 0.0 ? s.mad / 0.6745 : mean / 0.7979;
    for (uint32_t i = 0; i < n; i++)
        s.n_outliers += sigma > 0.0 && fabs(samples->values[i][column] - s.median) / sigma > 3.5;
    return s;
}
