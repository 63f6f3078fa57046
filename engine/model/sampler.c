#include "engine/model/sampler.h"

#include <math.h>
#include <stdlib.h>

enum mn_status sampler_check(const struct sampler_params *params, const struct mn_log *log)
{
    if (!(params->temperature >= 0.0f && params->temperature <= 100.0f) ||
        (params->temperature > 0.0f && params->temperature < 1e-3f))
        return log_fail(log, MN_ERR_USAGE, "temperature %g: must be 0 (greedy) or from 0.001 to 100",
                        (double)params->temperature);
    if (!(params->top_p > 0.0f && params->top_p <= 1.0f))
        return log_fail(log, MN_ERR_USAGE, "top_p %g: must be above 0 and at most 1", (double)params->top_p);
    if (!(params->min_p >= 0.0f && params->min_p <= 1.0f))
        return log_fail(log, MN_ERR_USAGE, "min_p %g: must be from 0 to 1", (double)params->min_p);
    return MN_OK;
}

uint32_t sampler_argmax(const float *logits, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[best] || (isnan(logits[best]) && !isnan(logits[i])))
            best = i;
    return best;
}

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Smallest z that top-k and top-p keep: ids whose z equals the threshold stay together. */
static float keep_threshold(const struct sampler_params *params, const float *sorted, uint32_t n)
{
    uint32_t kept = params->top_k && params->top_k < n ? params->top_k : n;
    while (kept < n && sorted[kept] == sorted[kept - 1])
        kept++;
    if (params->top_p < 1.0f) {
        double total = 0.0, mass = 0.0;
        for (uint32_t i = 0; i < kept; i++)
            total += exp((double)(sorted[i] - sorted[0]));
        for (uint32_t i = 0; i < kept; i++) {
            mass += exp((double)(sorted[i] - sorted[0]));
            if (mass >= (double)params->top_p * total) {
                kept = i + 1;
                break;
            }
        }
    }
    return sorted[kept - 1];
}

uint32_t sampler_pick(const struct sampler_params *params, const float *logits, uint32_t n, uint32_t position,
                      float *scratch)
{
    if (params->temperature == 0.0f)
        return sampler_argmax(logits, n);
    float inverse = 1.0f / params->temperature, largest = -INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        scratch[i] = isnan(logits[i]) ? -INFINITY : logits[i] * inverse;
        largest = scratch[i] > largest ? scratch[i] : largest;
    }
    qsort(scratch, n, sizeof *scratch, descending);
    float keep = keep_threshold(params, scratch, n);
    if (params->min_p > 0.0f && largest + logf(params->min_p) > keep)
        keep = largest + logf(params->min_p);
    keep = keep < largest ? keep : largest;

    const uint32_t key[2] = {(uint32_t)params->seed, (uint32_t)(params->seed >> 32)};
    uint32_t best = UINT32_MAX, bits[4] = {0};
    float top = -INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        if (i % 4 == 0) {
            const uint32_t counter[4] = {i / 4, position, 0, NOISE_GUMBEL};
            philox(counter, key, bits);
        }
        float z = isnan(logits[i]) ? -INFINITY : logits[i] * inverse;
        if (z < keep)
            continue;
        float value = z - logf((float)-log((double)unit_from_bits(bits[i % 4])));
        if (value > top || best == UINT32_MAX) {
            top = value;
            best = i;
        }
    }
    return best < n ? best : n - 1;
}

/* Inverse error function by bisection on erf: slow, exact to double, and independent of the shader's polynomial. */
static double inverse_erf(double x)
{
    double low = -3.0, high = 3.0;
    for (int i = 0; i < 80; i++) {
        double mid = 0.5 * (low + high);
        if (erf(mid) < x)
            low = mid;
        else
            high = mid;
    }
    return 0.5 * (low + high);
}

float sampler_state_noise(uint64_t seed, uint32_t position, uint32_t k)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, counter[4] = {k / 4, position, 0, NOISE_STATE};
    uint32_t bits[4];
    philox(counter, key, bits);
    double edge = erf(3.0 / sqrt(2.0));
    return (float)(sqrt(2.0) * inverse_erf(edge * (2.0 * (double)unit_from_bits(bits[k % 4]) - 1.0)));
}
