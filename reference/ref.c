#include "reference/ref.h"

#include <math.h>

void ref_matmul(const double *w, uint32_t n_out, uint32_t n_in, const double *x, double *y)
{
    for (uint32_t o = 0; o < n_out; o++) {
        double sum = 0.0;
        for (uint32_t i = 0; i < n_in; i++)
            sum += w[(size_t)o * n_in + i] * x[i];
        y[o] = sum;
    }
}

void ref_norm(const double *x, const double *w, uint32_t n, double eps, double *y)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    double scale = 1.0 / sqrt(sum / n + eps);
    for (uint32_t i = 0; i < n; i++)
        y[i] = x[i] * scale * w[i];
}

void ref_embed(const double *wte_row, double scale, uint32_t n, double *x)
{
    for (uint32_t i = 0; i < n; i++)
        x[i] = wte_row[i] * scale;
}

void ref_initial_state(uint64_t seed, uint32_t position, double std, uint32_t n, double *s)
{
    for (uint32_t i = 0; i < n; i++)
        s[i] = std * (double)sampler_state_noise(seed, position, i);
}

/* Llama 3: long wavelengths become `factor` times as long, short ones stay, in between the one turns into the other. */
static double stretched(const struct rope_scaling *scaling, double frequency)
{
    const double turns = scaling->original_positions * frequency / (2.0 * acos(-1.0)); /* over the original context */
    const double low = (double)scaling->low_factor, high = (double)scaling->high_factor;
    const double t = fmin(fmax((turns - low) / (high - low), 0.0), 1.0);
    return (1.0 - t) * frequency / (double)scaling->factor + t * frequency;
}

void ref_rotary(double *v, uint32_t n_heads, uint32_t head_dim, uint32_t position, const struct ref_rope *rope)
{
    for (uint32_t head = 0; head < n_heads; head++)
        for (uint32_t i = 0; i < head_dim / 2; i++) {
            /* The published code computes frequency and angle in float32: those roundings belong to the model. */
            float frequency = 1.0f / powf(rope->base, (float)(2 * i) / (float)head_dim);
            if (rope->scaling.factor != 0.0f)
                frequency = (float)stretched(&rope->scaling, (double)frequency);
            float angle = (float)position * frequency;
            double c = cos((double)angle), s = sin((double)angle);
            double *first = v + head * head_dim + (rope->halves ? i : 2 * i),
                   *second = first + (rope->halves ? head_dim / 2 : 1), a = *first, b = *second;
            *first = a * c - b * s;
            *second = a * s + b * c;
        }
}

void ref_query_key(const struct ref_heads *heads, uint32_t position, double *q, double *k)
{
    const uint32_t n_q = heads->n * heads->dim, n_k = heads->n_kv * heads->dim;
    if (heads->q_norm)
        ref_norm(q, heads->q_norm, n_q, heads->eps, q);
    if (heads->k_norm)
        ref_norm(k, heads->k_norm, n_k, heads->eps, k);
    ref_rotary(q, heads->n, heads->dim, position, &heads->rope);
    ref_rotary(k, heads->n_kv, heads->dim, position, &heads->rope);
    for (uint32_t i = 0; i < n_q; i++)
        q[i] /= sqrt((double)heads->dim);
}

void ref_qkv(const double *w, const double *bias, const double *x, uint32_t n_in, const struct ref_heads *heads,
             uint32_t position, double *q, double *k, double *v)
{
    const uint32_t n_q = heads->n * heads->dim, n_k = heads->n_kv * heads->dim;
    ref_matmul(w, n_q, n_in, x, q);
    ref_matmul(w + (size_t)n_q * n_in, n_k, n_in, x, k);
    ref_matmul(w + (size_t)(n_q + n_k) * n_in, n_k, n_in, x, v);
    for (uint32_t i = 0; i < n_q && bias; i++)
        q[i] += bias[i];
    for (uint32_t i = 0; i < n_k && bias; i++)
        k[i] += bias[n_q + i];
    ref_query_key(heads, position, q, k);
}

void ref_gate(const double *w, uint32_t n_ff, uint32_t n_in, const double *x, double *scratch, double *h)
{
    ref_matmul(w, 2 * n_ff, n_in, x, scratch);
    for (uint32_t i = 0; i < n_ff; i++) {
        double g = scratch[i], u = scratch[n_ff + i];
        h[i] = g / (1.0 + exp(-g)) * u;
    }
}

double *ref_kv_entry(const struct ref_kv *kv, uint32_t sequence, uint32_t position, uint32_t slot, uint32_t part,
                     uint32_t head)
{
    size_t at = ((size_t)sequence * kv->n_slots + slot) * kv->n_heads + head;
    return kv->values + ((at * 2 + part) * kv->n_ctx + position) * kv->head_pad;
}

/* Where a row reads what a position has: on a branch from the branch's first position on among the last cells. */
static uint32_t cell_read(const struct ref_kv *kv, const struct row *row, uint32_t position)
{
    const uint32_t first = kv->n_ctx - kv->n_branch - row->shift;
    return row->shift > 0 && position >= first ? kv->n_ctx - kv->n_branch + (position - first) : position;
}

static double score(const struct ref_kv *kv, const struct row *row, uint32_t head, const double *q, uint32_t position,
                    uint32_t *slot)
{
    const uint32_t cell = cell_read(kv, row, position);
    *slot = kv->core ? kv_slot(kv->n_slots, row->depth, kv->depths[row->sequence * kv->n_ctx + cell]) : 0;
    const double *key = ref_kv_entry(kv, row->sequence, cell, *slot, 0, head);
    double s = 0.0;
    for (uint32_t i = 0; i < kv->head_pad; i++)
        s += q[i] * key[i];
    return s;
}

void ref_attention(const struct ref_kv *kv, const struct row *row, uint32_t head, const double *q, uint32_t begin,
                   uint32_t end, double *o, double *max, double *sum)
{
    uint32_t slot;
    *max = -INFINITY;
    for (uint32_t j = begin; j < end; j++)
        *max = fmax(*max, score(kv, row, head, q, j, &slot));
    *sum = 0.0;
    for (uint32_t i = 0; i < kv->head_pad; i++)
        o[i] = 0.0;
    for (uint32_t j = begin; j < end; j++) {
        double e = exp(score(kv, row, head, q, j, &slot) - *max);
        const double *value = ref_kv_entry(kv, row->sequence, cell_read(kv, row, j), slot, 1, head);
        *sum += e;
        for (uint32_t i = 0; i < kv->head_pad; i++)
            o[i] += e * value[i];
    }
}

void ref_merge(const double *o, uint32_t stride, const double *max, const double *sum, uint32_t stat_stride, uint32_t n,
               uint32_t n_values, double *y)
{
    double largest = -INFINITY, total = 0.0;
    for (uint32_t s = 0; s < n; s++)
        largest = fmax(largest, max[s * stat_stride]);
    for (uint32_t s = 0; s < n; s++)
        total += exp(max[s * stat_stride] - largest) * sum[s * stat_stride];
    for (uint32_t i = 0; i < n_values; i++) {
        y[i] = 0.0;
        for (uint32_t s = 0; s < n; s++)
            y[i] += exp(max[s * stat_stride] - largest) * o[(size_t)s * stride + i] / total;
    }
}

uint32_t ref_argmax(const float *values, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (isnan(values[best]) ? !isnan(values[i]) : values[i] > values[best])
            best = i;
    return best;
}

double ref_nmse(const float *x, const double *y, size_t n)
{
    double error = 0.0, power = 0.0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i]))
            return INFINITY;
        error += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
        power += y[i] * y[i];
    }
    return power > 0.0 ? error / power : error;
}
