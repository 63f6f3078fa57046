#include "engine/model/weight_type.h"

#include <math.h>
#include <string.h>

#include "engine/base/numbers.h"

/* ---- the types ---- */

static uint16_t half_at(const uint8_t *bytes)
{
    uint16_t half;
    memcpy(&half, bytes, sizeof half);
    return half;
}

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

static void decode_f32(const uint8_t *in, const uint8_t *scale, float *values)
{
    (void)scale;
    memcpy(values, in, WEIGHT_CHUNK * sizeof *values);
}

static void decode_f16(const uint8_t *in, const uint8_t *scale, float *values)
{
    (void)scale;
    for (int i = 0; i < WEIGHT_CHUNK; i++)
        values[i] = f16_to_f32(half_at(in + 2 * i));
}

static void decode_bf16(const uint8_t *in, const uint8_t *scale, float *values)
{
    (void)scale;
    for (int i = 0; i < WEIGHT_CHUNK; i++)
        values[i] = bf16_to_f32(half_at(in + 2 * i));
}

/* Values k to k + 3 of a chunk are the low parts of four 32-bit numbers, k + 4 to k + 7 the high parts beside them:
 * what a shader unpacks with one shift and one mask for four. Of q8_0 a number holds two chunks in its bytes, and a
 * group is two words of four such numbers; of q4_1 it holds four chunks in half bytes. */
static uint32_t q8_0_byte(uint32_t i)
{
    return i / 16 * 16 + i % 4 * 4 + i / 8 % 2 * 2 + i / 4 % 2;
}

/* ggml's rounding: halves away from zero. A scale too small for f16 makes zeros of its group, as there. */
static bool encode_q8_0(const float *values, uint8_t *out, uint8_t *scale)
{
    float largest = 0.0f;
    int q[32];
    for (int i = 0; i < 32; i++)
        largest = fabsf(values[i]) > largest ? fabsf(values[i]) : largest;
    const float s = largest / 127.0f, inverse = isfinite(1.0f / s) ? 1.0f / s : 0.0f;
    const uint16_t half = f32_to_f16(s);
    for (int i = 0; i < 32; i++) { /* roundf, which compilers call: what is behind the point is exact */
        const float x = values[i] * inverse, whole = (float)(int)x, rest = x - whole;
        q[i] = 128 + (int)whole + (rest >= 0.5f) - (rest <= -0.5f);
    }
    for (uint32_t i = 0; i < 32; i++)
        out[q8_0_byte(i)] = (uint8_t)q[i];
    memcpy(scale, &half, sizeof half);
    return isfinite(f16_to_f32(half)) != 0;
}

static void decode_q8_0(const uint8_t *in, const uint8_t *scale, float *values)
{
    const float s = f16_to_f32(half_at(scale));
    for (uint32_t i = 0; i < 32; i++)
        values[i] = s * (float)(in[q8_0_byte(i)] - 128);
}

static bool encode_q4_1(const float *values, uint8_t *out, uint8_t *scale)
{
    float least = values[0], most = values[0];
    int q[32];
    for (int i = 1; i < 32; i++) {
        least = values[i] < least ? values[i] : least;
        most = values[i] > most ? values[i] : most;
    }
    const float s = (most - least) / 15.0f, inverse = isfinite(1.0f / s) ? 1.0f / s : 0.0f;
    const uint16_t halves[2] = {f32_to_f16(s), f32_to_f16(least)};
    memcpy(scale, halves, sizeof halves);
    if (!isfinite(f16_to_f32(halves[0])) || !isfinite(f16_to_f32(halves[1])))
        return false;
    for (int i = 0; i < 32; i++) {
        const int at = (int)((values[i] - least) * inverse + 0.5f);
        q[i] = at < 15 ? at : 15;
    }
    for (uint32_t i = 0; i < 16; i++) /* value 8 b + j and 8 b + 4 + j to byte b of number j */
        out[i % 4 * 4 + i / 4] = (uint8_t)(q[i / 4 * 8 + i % 4] | q[i / 4 * 8 + 4 + i % 4] << 4);
    return true;
}

static void decode_q4_1(const uint8_t *in, const uint8_t *scale, float *values)
{
    const float s = f16_to_f32(half_at(scale)), least = f16_to_f32(half_at(scale + 2));
    for (uint32_t i = 0; i < 32; i++)
        values[i] = s * (float)(in[i % 4 * 4 + i / 8] >> i / 4 % 2 * 4 & 15) + least;
}

static const struct weight_format formats[WEIGHT_TYPES] = {
    [WEIGHT_TYPE_F32] = {"f32", WEIGHT_CHUNK, 32, 0, encode_f32, decode_f32},
    [WEIGHT_TYPE_F16] = {"f16", WEIGHT_CHUNK, 16, 0, encode_f16, decode_f16},
    [WEIGHT_TYPE_BF16] = {"bf16", WEIGHT_CHUNK, 16, 0, encode_bf16, decode_bf16},
    [WEIGHT_TYPE_Q8_0] = {"q8_0", 32, 32, 2, encode_q8_0, decode_q8_0},
    [WEIGHT_TYPE_Q4_1] = {"q4_1", 32, 16, 4, encode_q4_1, decode_q4_1},
};

bool weight_type_quantised(enum weight_type type)
{
    return type < WEIGHT_TYPES && formats[type].scale_bytes > 0;
}

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
    return log_fail(log, MN_ERR_USAGE, "weight_type %s: must be bf16, f16, f32, q8_0 or q4_1", text);
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
