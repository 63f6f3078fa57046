#include "bench/rows/divergence.h"

#include <math.h>
#include <stdlib.h>

#define Z_95 1.959963984540054 /* of the normal distribution: 95 % lie within */

/* ---- a position ---- */

struct softmax {
    double largest, log_sum; /* log softmax of a logit l: l - largest - log_sum */
    uint32_t best;
};

static struct softmax softmax_of(const float *logits, uint32_t n)
{
    struct softmax s = {-INFINITY, 0.0, 0};
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        if ((double)logits[i] > s.largest) {
            s.largest = (double)logits[i];
            s.best = i;
        }
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - s.largest);
    s.log_sum = log(sum);
    return s;
}

static double log_probability(const struct softmax *s, float logit)
{
    return (double)logit - s->largest - s->log_sum;
}

struct divergence_point divergence_at(const float *reference, const float *candidate, uint32_t n_vocab, uint32_t id,
                                      bool *finite)
{
    const struct softmax p = softmax_of(reference, n_vocab), q = softmax_of(candidate, n_vocab);
    struct divergence_point point = {.reference_nll = -log_probability(&p, reference[id]),
                                     .nll = -log_probability(&q, candidate[id]),
                                     .agrees = p.best == q.best};
    double error_sum = 0.0; /* a largest one would hide what is no number */
    for (uint32_t i = 0; i < n_vocab; i++) {
        const double log_p = log_probability(&p, reference[i]), log_q = log_probability(&q, candidate[i]);
        const double error = fabs((double)candidate[i] - (double)reference[i]);
        point.kl += exp(log_p) * (log_p - log_q);
        point.logit_error = error > point.logit_error ? error : point.logit_error;
        error_sum += error;
    }
    *finite = isfinite(point.kl) && isfinite(error_sum) && isfinite(point.nll) && isfinite(point.reference_nll);
    if (point.kl < 0.0)
        point.kl = 0.0;
    return point;
}

/* ---- all of them ---- */

static double kl_of(const struct divergence_point *point)
{
    return point->kl;
}

static double agrees(const struct divergence_point *point)
{
    return point->agrees;
}

/* The mean, and in *variance that of a ratio estimate over texts. */
static double mean_of(double (*value)(const struct divergence_point *point), const struct divergence_point *points,
                      const uint32_t *ends, uint32_t n_texts, double *variance)
{
    const double n_positions = ends[n_texts - 1];
    double sum = 0.0, squares = 0.0;
    for (uint32_t i = 0; i < ends[n_texts - 1]; i++)
        sum += value(&points[i]);
    const double mean = sum / n_positions;
    for (uint32_t text = 0, i = 0; text < n_texts; text++) {
        double deviation = 0.0;
        for (; i < ends[text]; i++)
            deviation += value(&points[i]) - mean;
        squares += deviation * deviation;
    }
    *variance = n_texts > 1 ? squares * n_texts / (n_texts - 1.0) / (n_positions * n_positions) : 0.0;
    return mean;
}

/* Wilson's: it does not end at the share itself where that is 0 or 1. */
static struct divergence_mean share_of(double share, double variance, double n, bool bounded)
{
    const double independent = share * (1.0 - share) / n;
    if (variance > independent && independent > 0.0)
        n *= independent / variance;
    const double z2 = Z_95 * Z_95, centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n),
                 half = Z_95 / (1.0 + z2 / n) * sqrt(share * (1.0 - share) / n + z2 / (4.0 * n * n));
    return (struct divergence_mean){share, fmax(0.0, fmin(share, centre - half)), fmin(1.0, fmax(share, centre + half)),
                                    bounded}; /* the cuts are of rounding */
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

enum mn_status divergence_sum(struct divergence *out, const struct divergence_point *points, const uint32_t *ends,
                              uint32_t n_texts, const struct mn_log *log)
{
    const uint32_t n = ends[n_texts - 1];
    double variance;
    double *sorted = malloc(n * sizeof *sorted);
    if (!sorted)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for %u positions", n);
    *out = (struct divergence){.n_texts = n_texts, .n_positions = n};
    for (uint32_t i = 0; i < n; i++) {
        sorted[i] = points[i].kl;
        out->logit_error_max = fmax(out->logit_error_max, points[i].logit_error);
        out->reference_nll += points[i].reference_nll / n;
        out->nll += points[i].nll / n;
    }
    qsort(sorted, n, sizeof *sorted, ascending);
    out->kl_p99 = sorted[n - 1 - n / 100];
    out->kl_max = sorted[n - 1];
    free(sorted);
    out->kl.value = mean_of(kl_of, points, ends, n_texts, &variance);
    out->kl.low = fmax(0.0, out->kl.value - Z_95 * sqrt(variance));
    out->kl.high = out->kl.value + Z_95 * sqrt(variance);
    out->kl.bounded = n_texts > 1;
    const double share = mean_of(agrees, points, ends, n_texts, &variance);
    out->agreement = share_of(share, variance, n, n_texts > 1);
    return MN_OK;
}
