/* Small helpers of the bench programs: arguments, medians, the device line. Programs print figures; nothing here judges
 * them. */
#ifndef MUNINN_BENCH_H
#define MUNINN_BENCH_H

#include <stdio.h>
#include <stdlib.h>

#include "engine.h"
#include "strategy.h"

static inline void bench_log(void *user, enum mn_log_level level, const char *line)
{
    (void)user;
    if (level != MN_LOG_INFO)
        fprintf(stderr, "%s\n", line);
}

static inline int bench_order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the samples. */
static inline double bench_median(double *samples, uint32_t n)
{
    qsort(samples, n, sizeof *samples, bench_order);
    return n % 2 ? samples[n / 2] : 0.5 * (samples[n / 2 - 1] + samples[n / 2]);
}

#endif
