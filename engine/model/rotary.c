#include "engine/model/rotary.h"

#include <math.h>

/* Llama 3: wavelengths up to original / high stay, those beyond original / low become `factor` times as long, and in
 * between the one turns into the other. */
static float stretch(const struct rope_scaling *s, float frequency)
{
    const float wavelength = 2.0f * 3.14159265358979f / frequency, original = (float)s->original_positions;
    if (wavelength < original / s->high_factor)
        return frequency;
    if (wavelength > original / s->low_factor)
        return frequency / s->factor;
    const float t = (original / wavelength - s->low_factor) / (s->high_factor - s->low_factor);
    return (1.0f - t) * frequency / s->factor + t * frequency;
}

float rotary_frequency(const struct model_config *config, uint32_t pair)
{
    const float frequency = 1.0f / powf(config->rope_base, (float)(2 * pair) / (float)config->head_dim);
    return config->rope_scaling.factor != 0.0f ? stretch(&config->rope_scaling, frequency) : frequency;
}
