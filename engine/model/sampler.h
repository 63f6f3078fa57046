/* Sampling parameters, their checks, and the C version of the sampler chain and its noise.
 *
 * Temperature, top-k, top-p, min-p, then argmax of logit/T + Gumbel noise. The noise of a position is a function of
 * (seed, position, id) alone, so a draft and its verification turn equal logits into equal tokens. shaders/sample.comp
 * is the device version. Never: touches the device. Thread-safety: stateless.
 */
#ifndef MUNINN_ENGINE_MODEL_SAMPLER_H
#define MUNINN_ENGINE_MODEL_SAMPLER_H

#include <stdint.h>

#include "engine/base/philox.h"
#include "engine/base/status.h"
#include "shaders/args.h" /* NOISE_.. */

struct sampler_params {
    float temperature; /* 0: greedy, everything else is ignored */
    uint32_t top_k;    /* 0: off */
    float top_p;       /* 1: off */
    float min_p;       /* 0: off */
    uint64_t seed;
};

enum mn_status sampler_check(const struct sampler_params *params, const struct mn_log *log);

/* Lowest id among the largest logits. */
uint32_t sampler_argmax(const float *logits, uint32_t n);

/* The token for `position` (the position it will stand at). logits [n]; scratch [n]. */
uint32_t sampler_pick(const struct sampler_params *params, const float *logits, uint32_t n, uint32_t position,
                      float *scratch);

/* Standard normal cut at three standard deviations: element k of the initial state at `position`, before scaling. */
float sampler_state_noise(uint64_t seed, uint32_t position, uint32_t k);

#endif
