/* A q8 cache in plain C, from its description in cache/cache.h alone. */
#include <math.h>
#include <string.h>

#include "engine/model/weight_type.h"
#include "reference/ref.h"

/* The smallest f16 that is not below largest / 127; the largest there is where none is. */
static uint16_t scale_of(double largest)
{
    const uint16_t most = 0x7bff;
    const double wanted = largest / 127.0;
    if (wanted >= (double)f16_to_f32(most))
        return most;
    uint16_t scale = f32_to_f16((float)wanted);
    if ((double)f16_to_f32(scale) < wanted)
        scale++; /* the next one: f16 are in order */
    return scale;
}

/* Infinities count as the largest number, what is none as zero. */
static double held(double x)
{
    return isnan(x) ? 0.0 : fmax(-3.4028234663852886e38, fmin(x, 3.4028234663852886e38));
}

void ref_q8_write(const double *values, uint32_t n, uint32_t part, uint32_t *words, uint32_t *scales)
{
    memset(words, 0, kv_q8_pad(n));
    for (uint32_t first = 0; first < n; first += KV_GROUP) {
        const uint32_t end = first + KV_GROUP < n ? first + KV_GROUP : n;
        double largest = 0.0;
        for (uint32_t i = first; i < end; i++)
            largest = fmax(largest, fabs(held(values[i])));
        const uint16_t scale = scale_of(largest);
        const double step = (double)f16_to_f32(scale);
        uint32_t *both = &scales[first / KV_GROUP];
        *both = (*both & (part ? 0xffffu : 0xffff0000u)) | (uint32_t)scale << 16 * part;
        for (uint32_t i = first; i < end; i++) {
            const double steps = step > 0.0 ? floor(held(values[i]) / step + 0.5) : 0.0;
            const int32_t q = (int32_t)fmax(-127.0, fmin(steps, 127.0));
            words[i / KV_WORD * 4 + i % 4] |= ((uint32_t)q & 0xffu) << 8 * (i % KV_WORD / 4);
        }
    }
}

void ref_q8_read(const uint32_t *words, const uint32_t *scales, uint32_t part, uint32_t n, double *values)
{
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t byte = words[i / KV_WORD * 4 + i % 4] >> 8 * (i % KV_WORD / 4) & 0xffu;
        const int32_t q = byte < 128 ? (int32_t)byte : (int32_t)byte - 256;
        values[i] = q * (double)f16_to_f32((uint16_t)(scales[i / KV_GROUP] >> 16 * part));
    }
}

void ref_q8_round(double *values, uint32_t n)
{
    uint32_t words[KV_WORD * 4], scales[8] = {0}; /* 256 values */
    for (uint32_t first = 0; first < n; first += 256) {
        const uint32_t count = n - first < 256 ? n - first : 256;
        ref_q8_write(values + first, count, 0, words, scales);
        ref_q8_read(words, scales, 0, count, values + first);
    }
}

/* 32-bit words of one (sequence, slot, head), and of its keys alone. */
static size_t piece_words(const struct ref_kv *kv)
{
    const size_t scales = (size_t)kv->n_ctx * kv_q8_groups(kv->head_pad);
    return 2 * (size_t)kv->n_ctx * kv_q8_pad(kv->head_pad) / 4 + (scales + 3) / 4 * 4;
}

size_t ref_q8_words(const struct ref_kv *kv, uint32_t n_sequences)
{
    return (size_t)n_sequences * kv->n_slots * kv->n_heads * piece_words(kv);
}

struct ref_q8_place ref_q8_place(const struct ref_kv *kv, uint32_t sequence, uint32_t position, uint32_t slot,
                                 uint32_t part, uint32_t head)
{
    const size_t piece = (((size_t)sequence * kv->n_slots + slot) * kv->n_heads + head) * piece_words(kv),
                 row = kv_q8_pad(kv->head_pad) / 4;
    return (struct ref_q8_place){.words = piece + ((size_t)part * kv->n_ctx + position) * row,
                                 .scales = piece + 2 * kv->n_ctx * row + (size_t)position * kv_q8_groups(kv->head_pad)};
}
