/* How often to measure, and what the samples say: median, spread, outliers. Knows nothing of what is measured. */
#ifndef MUNINN_BENCH_ROWS_SAMPLING_H
#define MUNINN_BENCH_ROWS_SAMPLING_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/status.h"

enum { SAMPLES_MAX = 1000 };

struct sampling {
    uint32_t min_repetitions; /* 1 .. SAMPLES_MAX */
    double min_seconds;
    double (*now)(void *user); /* seconds; a test brings its own clock */
    void *user;
};

/* One measurement: values[] gets n_values figures. */
typedef enum mn_status (*sampling_once)(void *user, double *values);

struct samples {
    uint32_t n, n_values;
    double (*values)[4]; /* [n] rows of n_values figures, owned */
};

/* Measures once to warm up, then until there are min_repetitions samples and min_seconds have passed, or SAMPLES_MAX
 * samples. On failure there are no samples. `stop` (may be NULL) ends it between two samples: MN_ERR_INTERRUPTED. */
enum mn_status sampling_run(const struct sampling *sampling, sampling_once once, void *user, uint32_t n_values,
                            bool (*stop)(void), struct samples *out, const struct mn_log *log);
void samples_free(struct samples *samples);

/* Sorts the values; n >= 1. */
double samples_median(double *values, uint32_t n);

struct summary {
    double median, min, max;
    double mad;          /* median absolute deviation from the median */
    uint32_t n_outliers; /* samples whose modified z-score, 0.6745 (x - median) / mad, is above 3.5 */
};

/* Of one column; all zeros for no samples. With a mad of 0 (more than half of the samples equal) the mean absolute
 * deviation takes its place (Iglewicz and Hoaglin), and equal samples have no outliers. */
struct summary samples_summary(const struct samples *samples, uint32_t column);

/* How much faster b is than a: the median of all quotients b[j] / a[i] (Hodges and Lehmann), with the 95 % confidence
 * interval that inverts the Mann-Whitney test: exact for up to INTERVAL_EXACT samples on each side, by its normal
 * approximation beyond. Nothing is assumed of the distribution but that samples are independent and above 0. */
enum { INTERVAL_EXACT = 50 };
struct interval {
    double ratio, low, high;
    bool bounded; /* false: so few samples that no interval holds with 95 % */
};

/* n_a, n_b from 1 to SAMPLES_MAX. MN_ERR_MEMORY. */
enum mn_status samples_ratio(const double *a, uint32_t n_a, const double *b, uint32_t n_b, struct interval *out,
                             const struct mn_log *log);

#endif
