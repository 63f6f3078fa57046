#include <math.h>

#include "spec/strategy.h"

bool generation_agrees(const struct generation *g, uint32_t i, uint32_t place)
{
    const struct mn_generate_params *p = g->params;
    if (p->measuring.n_forced_acceptance == 0)
        return g->predicted[i] == g->rows[i + 1].token;
    /* The difference in depth belongs to this row behind that one: kept rows are kept again at the next tick, a row
     * that enters later in its place draws anew. */
    return accept_forced(
        p->measuring
            .forced_acceptance[place < p->measuring.n_forced_acceptance ? place : p->measuring.n_forced_acceptance - 1],
        p->sampler.seed, g->rows[i + 1].position, g->rows[i].depth - g->rows[i + 1].depth);
}

bool accept_threshold(const float *logits, uint32_t n, uint32_t draft, float threshold)
{
    /* p(draft) / max p is the exponential of the difference of the logits: no softmax needed. */
    return exp((double)logits[draft] - (double)logits[sampler_argmax(logits, n)]) >= (double)threshold;
}

bool accept_forced(float probability, uint64_t seed, uint32_t position, uint32_t attempt)
{
    const uint32_t counter[4] = {position, attempt, 0, NOISE_ACCEPT}, key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t bits[4];
    philox(counter, key, bits);
    return unit_from_bits(bits[0]) < probability;
}
