#include "engine/model/weight_type.h"

#include <math.h>
#include <string.h>

#include "engine/base/numbers.h"

/* ---- the types ---- */

static bool encode_f32(const float *values, uint8_t *out, uint8_t *scale)
{
    (void)scale;
    memcpy(out, values, WEIGHT_CHUNK * sizeof *values);
    return true;
}

static bool encode_f16(const float *values, uint8_t *out, uint8_t *scale)
{
    bool fits = true;
    (void)scale;
    for (int i = 0; i < WEIGHT_CHUNK; i++) {
        const uint16_t half = f32_to_f16(values[i]);
        fits &= isfinite(f16_to_f32(half)) != 0;
        memcpy(out + 2 * i, &half, sizeof half);
    }
    return fits;
}

static bool encode_bf16(const float *values, uint8_t *out, uint8_t *scale)
{
    bool fits = true;
    (void)scale;
    for (int i = 0; i < WEIGHT_CHUNK; i++) {
        const uint16_t half = f32_to_bf16(values[i]);
        fits &= isfinite(bf16_to_f32(half)) != 0;
        memcpy(out + 2 * i, &half, sizeof half);
    }
    return fits;
}

static const struct weight_format formats[WEIGHT_TYPES] = {
    [WEIGHT_TYPE_F32] = {"f32", WEIGHT_CHUNK, 32, 0, encode_f32},
    [WEIGHT_TYPE_F16] = {"f16", WEIGHT_CHUNK, 16, 0, encode_f16},
    [WEIGHT_TYPE_BF16] = {"bf16", WEIGHT_CHUNK, 16, 0, encode_bf16},
};

const struct weight_format *weight_format(enum weight_type type)
{
    return &formats[type];
}

const char *weight_type_name(enum weight_type type)
{
    return type < WEIGHT_TYPES ? formats[type].name : "as stored";
}

const char *mn_weight_type_at(uint32_t index)
{
    return index < WEIGHT_TYPES ? formats[index].name : NULL;
}

enum mn_status weight_type_parse(const char *text, enum weight_type *out, const struct mn_log *log)
{
    for (int i = 0; i < WEIGHT_TYPES; i++)
        if (!strcmp(text, formats[i].name)) {
            *out = (enum weight_type)i;
            return MN_OK;
        }
    return log_fail(log, MN_ERR_USAGE, "weight_type %s: must be bf16, f16 or f32", text);
}

/* ---- conversions ---- */

uint16_t f32_to_bf16(float x)
{
    uint32_t bits = bits_of(x);
    if (isnan(x))
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float bf16_to_f32(uint16_t b)
{
    return float_of((uint32_t)b << 16);
}

uint16_t f32_to_f16(float x)
{
    uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x47800000) /* 2^16 and above, infinity */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) {
        /* Subnormal: let the FPU round by adding 0.5, whose last mantissa bit is worth 2^-24, the subnormal step. */
        float shifted = float_of(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of(shifted) - bits_of(0.5f)));
    }
    uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | ((rounded - 0x38000000) >> 13));
}

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 0x3ff;
    if (exponent == 31)
        return float_of(sign | 0x7f800000 | mantissa << 13);
    if (exponent == 0)
        return float_of(sign | bits_of((float)mantissa * 0x1p-24f));
    return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
}
