/* The rotary embedding's frequencies.
 *
 * Thread-safety: stateless. */
#ifndef MUNINN_ENGINE_MODEL_ROTARY_H
#define MUNINN_ENGINE_MODEL_ROTARY_H

#include "engine/model/config.h"

/* Radians per position of pair i of a head: rope_base^(-2i/h), stretched as config.rope_scaling says. In float, as the
 * published code computes it; the angle is exact enough there for every context that is used. */
float rotary_frequency(const struct model_config *config, uint32_t pair);

#endif
