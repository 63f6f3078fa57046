/* Small arithmetic that every layer needs. Thread-safety: stateless. */
#ifndef MUNINN_ENGINE_BASE_NUMBERS_H
#define MUNINN_ENGINE_BASE_NUMBERS_H

#include <stdint.h>
#include <string.h>

static inline uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static inline uint32_t max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The next multiple of `step` from n on. */
static inline uint32_t round_up_u32(uint32_t n, uint32_t step)
{
    return (n + step - 1) / step * step;
}

/* The depth that was asked for, or the usual one for 0: a run's is its session's, a session's the model's
 * mean_recurrence. The one place that knows what a depth of 0 means. */
static inline uint32_t depth_or(uint32_t num_steps, uint32_t usual)
{
    return num_steps ? num_steps : usual;
}

/* A float's bits and back. */
static inline uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

#endif
