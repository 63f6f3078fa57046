/* Cases of the kernels with one workgroup per row; entry points. Norms: kernel_norm_cases.c. Attention:
 * kernel_attention_cases.c. The matmuls: kernel_matmul_cases.c. */
#include "reference/kernel_cases.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "reference/kernel_rig.h"
#include "reference/ref.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- embed ---- */

struct embed_case {
    const char *name;
    bool quick;
    uint32_t threads; /* 0: the device's own */
    enum weight_type weight;
    uint32_t n_embd, n_vocab, first, n_rows, init;
    bool state_is_x;
    float scale; /* 0: sqrt(n_embd) */
};

static const struct embed_case embed_cases[] = {
    {"bf16, zero state", true, 0, WEIGHT_TYPE_BF16, 72, 131, 3, 5, INIT_ZERO, false, 0.0f},
    {"bf16, random state, odd width", true, 0, WEIGHT_TYPE_BF16, 70, 131, 0, 9, INIT_NORMAL, false, 0.0f},
    {"f16, given state", false, 0, WEIGHT_TYPE_F16, 6, 3, 0, 1, INIT_GIVEN, false, 0.0f},
    {"f32, random state, large", false, 0, WEIGHT_TYPE_F32, 2000, 50, 7, 57, INIT_NORMAL, false, 0.0f},
    {"f32, 32 lanes, random state", false, 32, WEIGHT_TYPE_F32, 258, 20, 1, 2, INIT_NORMAL, false, 0.0f},
    {"bf16, the state is the token", true, 0, WEIGHT_TYPE_BF16, 70, 131, 2, 9, INIT_NORMAL, true, 1.0f},
    {"q8_0, random state", true, 0, WEIGHT_TYPE_Q8_0, 96, 131, 2, 9, INIT_NORMAL, false, 0.0f},
    {"q8_0, large, zero state", false, 0, WEIGHT_TYPE_Q8_0, 1056, 50, 7, 57, INIT_ZERO, false, 0.0f},
    {"q4_1, random state", true, 0, WEIGHT_TYPE_Q4_1, 64, 77, 1, 5, INIT_NORMAL, false, 0.0f},
    {"q4_1, large, given state", false, 0, WEIGHT_TYPE_Q4_1, 1056, 50, 0, 8, INIT_GIVEN, false, 0.0f},
    {"f32, the state is the token, given state", false, 0, WEIGHT_TYPE_F32, 200, 20, 0, 3, INIT_GIVEN, true, 0.75f},
};

static void run_embed(struct rig *rig, const struct embed_case *c, uint64_t seed)
{
    if (!rig_begin(rig, "embed", c->name, seed))
        return;
    struct rig_rows rows = {.table = TABLE_PRELUDE,
                            .first = c->first,
                            .n = c->n_rows,
                            .n_ctx = 40,
                            .n_branch = 8,
                            .n_sequences = 2,
                            .n_depths = 1,
                            .n_vocab = c->n_vocab};
    rig_rows(rig, &rows);
    const uint32_t n = c->n_embd, inner = rig_padded(n), stride = inner + CHUNK, end = rows.first + rows.n,
                   n_slots = rows.n_ctx * rows.n_sequences;
    const uint64_t noise_seed = 0x123456789abcdefu;
    const float std = 0.75f, scale = c->scale != 0.0f ? c->scale : sqrtf((float)n);
    double *state, *state_expected, *wte = rig_weights(rig, c->weight, c->n_vocab, inner, 1.0);
    double *x = rig_filled(rig, (size_t)end * stride, UNTOUCHED), *parts = rig_filled(rig, (size_t)end * 4, UNTOUCHED);
    double *states = rig_filled(rig, (size_t)n_slots * stride, UNTOUCHED);
    for (uint32_t v = 0; v < c->n_vocab; v++)
        for (uint32_t k = n; k < inner; k++)
            wte[v * inner + k] = 0.0;
    for (uint32_t i = rows.first; i < end; i++) {
        double *to = x + (size_t)i * stride, *s = states + (size_t)rig_slot(&rows, i) * stride, sum = 0.0;
        ref_embed(wte + (size_t)rows.row[i].token * inner, (double)scale, n, to);
        for (uint32_t k = 0; k < n; k++)
            sum += to[k] * to[k];
        parts[4 * i] = sum;
        parts[4 * i + 1] = 0.0;
        for (uint32_t k = n; k < inner; k++)
            to[k] = 0.0;
        for (uint32_t k = 0; k < inner && (c->state_is_x || c->init != INIT_GIVEN); k++)
            s[k] = c->state_is_x ? to[k] : 0.0;
        if (c->init == INIT_NORMAL && !c->state_is_x)
            ref_initial_state(noise_seed, rows.row[i].position, (double)std, n, s);
    }
    struct guarded *buffer = rig_plan_state(rig, &rows, &state, &state_expected);
    const uint32_t settings[][2] = {{SETTING_INIT_MODE, c->init},
                                    {SETTING_INIT_STD, rig_float_bits(std)},
                                    {SETTING_SEED_LO, (uint32_t)noise_seed},
                                    {SETTING_SEED_HI, (uint32_t)(noise_seed >> 32)}};
    for (uint32_t i = rows.first; i < end; i++)
        for (size_t k = 0; k < sizeof settings / sizeof *settings; k++)
            rig_set_state(state, state_expected, STATE_SETTINGS + SETTING_WORDS * i + settings[k][0], settings[k][1]);
    struct guarded *const bindings[] = {
        buffer, rig_matrix(rig, "embedding", c->weight, c->n_vocab, inner, wte),
        rig_buffer(rig, "output", ELEMENT_F32, end * stride, NULL, x, LIMIT_EMBED),
        rig_buffer(rig, "statistics", ELEMENT_F32, end * 4, NULL, parts, LIMIT_STATISTICS),
        rig_buffer(rig, "states", ELEMENT_F32, n_slots * stride, NULL, states,
                   c->state_is_x ? LIMIT_EMBED : LIMIT_NOISE)};
    const struct embed_args args = {.table = rows.table,
                                    .n_embd = n,
                                    .stride = stride,
                                    .n_cells = rows.n_ctx,
                                    .parts_stride = 2,
                                    .n_chunks = inner / CHUNK,
                                    .n_rows = c->n_vocab,
                                    .scale = scale};
    const struct embed_constants constants = {.threads = c->threads ? c->threads : rig->tuning.row_threads,
                                              .weight_type = (uint32_t)c->weight,
                                              .state_is_x = c->state_is_x};
    rig_commit(rig);
    rig_dispatch(rig, KERNEL_EMBED, KERNEL_CONSTANTS(constants), bindings, &args, c->n_rows + 3,
                 1); /* a stamp may hold more rows than the table */
    rig_end(rig);
}

/* ---- the cache's f16 ---- */

/* Halfway between two f16, a little to either side, and at the ends of its range and of its normal numbers. */
static const float rounded_values[] = {
    1.0f,
    1.0f + 0x1p-11f,
    1.0f + 0x3p-11f,
    1.0f + 0x1.004p-11f,
    1.0f + 0x1p-12f,
    2.0f - 0x1p-11f,
    2.0f - 0x1.004p-11f,
    0x1.ffcp15f,
    65504.0f,
    65519.0f,
    65519.996f,
    65520.0f,
    65536.0f,
    1e6f,
    3.4e38f,
    32768.0f,
    0x1p-14f,
    0x1p-14f - 0x1p-25f,
    0x1p-14f - 0x1p-26f,
    0x1.ff8p-15f,
    0x1p-15f,
    0x3p-24f,
    0x1p-24f,
    0x1p-25f,
    0x1.002p-25f,
    0x3p-25f,
    0x3.004p-25f,
    0x1p-26f,
    1e-10f,
    1e-30f,
    0x1p-126f,
    0.0f,
    -1.0f,
    -1.0f - 0x1p-11f,
    -1.0f - 0x3p-11f,
    -65519.0f,
    -65520.0f,
    -1e9f,
    -0x1p-24f,
    -0x1.002p-25f,
    0.1f,
    0.2f,
    0.3f,
    0.7f,
    3.14159274f,
    2.71828175f,
    1000.1f,
    2049.0f,
    2051.0f,
    4098.0f,
    4102.0f,
    0.00012207f,
    6.1e-5f,
    6.09e-5f,
    5.96e-8f,
    8.9e-8f,
    -0.1f,
    -0.3f,
    -3.14159274f,
    -1000.1f,
    -2049.0f,
    -2051.0f,
    -6.1e-5f,
    -8.9e-8f,
};

/* What lands in the cache is rounded to the nearest f16, ties to even, bit for bit: W is the identity, so that the
 * values are x. */
static void run_cache_rounding(struct rig *rig)
{
    enum { D = 8, N = 8, CTX = N + 1 }; /* a position is left for the rows beyond the table */
    _Static_assert(COUNT(rounded_values) == N * D, "the values are N rows of D");
    if (!rig_begin(rig, "qkv", "rounding to f16", 1))
        return;
    struct rig_rows rows = {.table = TABLE_PRELUDE, .n = N, .n_ctx = CTX, .n_sequences = 1, .n_depths = 1};
    rig_rows(rig, &rows);
    double *state, *state_expected, *x = rig_zeros(rig, N * D), *w = rig_zeros(rig, 3 * D * D),
                                    *rotary = rig_zeros(rig, CTX * D), *query = rig_zeros(rig, N * D);
    double *cache = rig_filled(rig, CTX * D, UNTOUCHED);
    for (uint32_t i = 0; i < D; i++)
        w[(2 * D + i) * D + i] = 1.0;
    for (uint32_t i = 0; i < N * D; i++) {
        const uint32_t half = f32_to_f16(rounded_values[i]), key = rows.row[i / D].position * D + i % D,
                       value = CTX * D + key;
        x[i] = (double)rounded_values[i];
        cache[key / 2] = 0.0;
        cache[value / 2] = i % 2 == 0 ? half : cache[value / 2] + (double)(half << 16);
    }
    for (uint32_t i = 0; i < CTX * D; i += 2)
        rotary[i] = 1.0; /* no turn at any position */
    struct guarded *const bindings[] = {
        rig_plan_state(rig, &rows, &state, &state_expected),
        rig_buffer(rig, "weights", ELEMENT_F32, 3 * D * D, w, NULL, 0.0),
        rig_buffer(rig, "input", ELEMENT_F32, N * D, x, NULL, 0.0),
        rig_buffer(rig, "input norm", ELEMENT_F32, D, rig_zeros(rig, D), NULL, 0.0),
        rig_buffer(rig, "input statistics", ELEMENT_F32, 2 * N, rig_zeros(rig, 2 * N), NULL, 0.0),
        rig_buffer(rig, "query", ELEMENT_F32, N * D, NULL, query, LIMIT_EXACT),
        rig_buffer(rig, "bias", ELEMENT_F32, 2 * D, rig_zeros(rig, 2 * D), NULL, 0.0),
        rig_buffer(rig, "rotary", ELEMENT_F32, CTX * D, rotary, NULL, 0.0),
        rig_buffer(rig, "cache", ELEMENT_U32, CTX * D, NULL, cache, LIMIT_EXACT),
        rig_buffer(rig, "depths", ELEMENT_U32, CTX, NULL, NULL, 0.0)};
    const struct matmul_args args = {.table = rows.table,
                                     .n_chunks = 1,
                                     .n_out = 3 * D,
                                     .in_stride = D,
                                     .n_cells = CTX,
                                     .n_heads = 1,
                                     .n_kv_heads = 1,
                                     .head_dim = D,
                                     .head_pad = D,
                                     .n_slots = 1,
                                     .query_scale = 1.0f};
    const struct tile *tile = &rig->tuning.decode;
    const struct qkv_constants constants = {.matmul = {.threads = tile->threads,
                                                       .k_lanes = tile->k_lanes,
                                                       .rows_per_lane = tile->rows,
                                                       .n_rows = N,
                                                       .weight_type = WEIGHT_F32,
                                                       .input = INPUT_PLAIN,
                                                       .scale = SCALE_NONE,
                                                       .path = tile->path},
                                            .kv_type = CACHE_F16,
                                            .head_dim = D};
    rig_commit(rig);
    rig_dispatch(rig, KERNEL_QKV, KERNEL_CONSTANTS(constants), bindings, &args, tile_groups(tile, 3 * D), 1);
    rig_end(rig);
}

/* ---- argmax ---- */

static void run_argmax(struct rig *rig, const char *name, uint32_t threads, uint32_t n_groups, uint64_t seed)
{
    if (!rig_begin(rig, "argmax", name, seed))
        return;
    struct rig_rows rows = {.table = TABLE_HEAD, .first = 2, .n = 6, .n_ctx = 40, .n_sequences = 1, .n_depths = 1};
    rig_rows(rig, &rows);
    const uint32_t end = rows.first + rows.n;
    double *best = rig_zeros(rig, (size_t)end * n_groups * 2), *state, *state_expected;
    struct guarded *buffer = rig_plan_state(rig, &rows, &state, &state_expected);
    for (uint32_t i = 0; i < end; i++) {
        uint32_t winner = 0;
        float top = NAN;
        for (uint32_t g = 0; g < n_groups; g++) {
            /* Few different values, so that ties abound; one row of NaN, one with some NaN, one of -infinity. */
            float value = (float)(rig_random(rig) % 5);
            if (i == rows.first || (i == rows.first + 1 && g % 3 == 0))
                value = NAN;
            if (i == rows.first + 2)
                value = -INFINITY;
            best[((size_t)i * n_groups + g) * 2] = rig_float_bits(value);
            best[((size_t)i * n_groups + g) * 2 + 1] = 10 * g + i;
            if (g == 0 || (isnan(top) ? !isnan(value) : value > top)) {
                top = value;
                winner = 10 * g + i;
            }
        }
        if (i >= rows.first)
            state_expected[STATE_TOKENS + i] = winner;
    }
    struct guarded *const bindings[] = {buffer,
                                        rig_buffer(rig, "best", ELEMENT_U32, end * n_groups * 2, best, NULL, 0.0)};
    const struct argmax_args args = {.table = rows.table, .n_groups = n_groups};
    const struct row_constants constants = {.threads = threads ? threads : rig->tuning.row_threads};
    rig_commit(rig);
    rig_dispatch(rig, KERNEL_ARGMAX, KERNEL_CONSTANTS(constants), bindings, &args, 8, 1);
    rig_end(rig);
}

/* ---- sample ---- */

enum { MIXED = 15 };

struct sample_case {
    const char *name;
    bool quick;
    uint32_t threads, n_vocab, first, n_rows;
    struct sampler_params sampler; /* of seed MIXED: each row has another sampler, every third is greedy */
};

static const struct sample_case sample_cases[] = {
    {"temperature", true, 0, 300, 3, 61, {.temperature = 0.9f, .top_p = 1.0f, .seed = 7}},
    {"top-k", false, 0, 300, 0, 64, {.temperature = 1.3f, .top_k = 5, .top_p = 1.0f, .seed = 0x1234567890abcdefu}},
    {"top-p", false, 0, 301, 0, 64, {.temperature = 0.7f, .top_p = 0.5f, .seed = 9}},
    {"min-p", false, 0, 302, 0, 64, {.temperature = 1.0f, .top_p = 1.0f, .min_p = 0.2f, .seed = 10}},
    {"whole chain",
     true,
     0,
     1003,
     1,
     30,
     {.temperature = 1.1f, .top_k = 40, .top_p = 0.9f, .min_p = 0.05f, .seed = 11}},
    {"greedy", true, 0, 1003, 2, 40, {.top_p = 1.0f}},
    {"samplers mixed", true, 0, 517, 1, 60, {.temperature = 0.8f, .top_p = 0.9f, .min_p = 0.05f, .seed = MIXED}},
    {"one token", false, 0, 1, 0, 3, {.temperature = 1.0f, .top_k = 3, .top_p = 0.9f, .min_p = 0.05f, .seed = 12}},
    {"top-k 1 is greedy", false, 0, 515, 0, 64, {.temperature = 1.0f, .top_k = 1, .top_p = 1.0f, .seed = 13}},
    {"whole chain, 32 lanes",
     false,
     32,
     1003,
     0,
     20,
     {.temperature = 1.1f, .top_k = 40, .top_p = 0.9f, .min_p = 0.05f, .seed = 14}},
};

static struct sampler_params sampler_of_row(const struct sample_case *c, uint32_t row)
{
    struct sampler_params p = c->sampler;
    if (p.seed != MIXED)
        return p;
    p.seed += row / 2;
    p.temperature = row % 3 == 0 ? 0.0f : p.temperature + 0.01f * (float)row;
    p.top_k = row % 2 ? row : 0;
    p.top_p = row % 4 == 1 ? 1.0f : p.top_p;
    return p;
}

/* Whether the filters keep an id, straight from their definitions; equal logits share their fate. */
static bool sampler_keeps(const struct sampler_params *p, const float *logits, uint32_t n, uint32_t id)
{
    const double t = (double)p->temperature, z = (double)logits[id] / t;
    double largest = -INFINITY, total = 0.0, mass = 0.0;
    for (uint32_t i = 0; i < n; i++)
        largest = fmax(largest, (double)logits[i] / t);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t above = 0;
        for (uint32_t k = 0; k < n; k++)
            above += logits[k] > logits[i];
        if (isnan(logits[i]) || (p->top_k && above >= p->top_k))
            continue; /* top-p counts the mass of what top-k leaves */
        const double e = exp((double)logits[i] / t - largest);
        total += e;
        mass += logits[i] > logits[id] ? e : 0.0;
    }
    uint32_t above = 0;
    for (uint32_t k = 0; k < n; k++)
        above += logits[k] > logits[id];
    return !isnan(logits[id]) && !(p->top_k && above >= p->top_k) &&
           (p->top_p >= 1.0f || mass < (double)p->top_p * total) &&
           (p->min_p <= 0.0f || z >= largest + log((double)p->min_p));
}

/* logit / temperature + Gumbel noise, and how far a device may be off: its logarithm is good to 2^-21 near 1. */
static double noisy_value(const struct sampler_params *p, const float *logits, uint32_t id, uint32_t position,
                          double *slack)
{
    const uint32_t counter[4] = {id / 4, position, 0, NOISE_GUMBEL},
                   key[2] = {(uint32_t)p->seed, (uint32_t)(p->seed >> 32)};
    uint32_t bits[4];
    philox(counter, key, bits);
    const double e = -log((double)unit_from_bits(bits[id % 4]));
    *slack += 1e-5 + 0x1p-21 / e;
    return (double)logits[id] / (double)p->temperature - log(e);
}

static void run_sample(struct rig *rig, const struct sample_case *c, uint64_t seed)
{
    if (!rig_begin(rig, "sample", c->name, seed))
        return;
    struct rig_rows rows = {
        .table = TABLE_HEAD, .first = c->first, .n = c->n_rows, .n_ctx = 70, .n_sequences = 1, .n_depths = 1};
    rig_rows(rig, &rows);
    const uint32_t n = c->n_vocab, stride = n + 3, end = rows.first + rows.n;
    double *logits = rig_noise(rig, (size_t)end * stride, 5.0, ELEMENT_F32), *state, *state_expected;
    for (uint32_t i = 0; i < end && n > 20; i++) {
        logits[(size_t)i * stride + 11] = logits[(size_t)i * stride + 7]; /* a tie */
        logits[(size_t)i * stride + 13] = UNTOUCHED;                      /* a NaN */
        for (uint32_t k = 0; k < n && i % 7 == 3; k++) /* nothing but NaN, or one number at the end */
            logits[(size_t)i * stride + k] = k + 1 == n && i % 2 ? (double)-INFINITY : UNTOUCHED;
    }
    struct guarded *buffer = rig_plan_state(rig, &rows, &state, &state_expected);
    for (uint32_t i = rows.first; i < end; i++) {
        const struct sampler_params p = sampler_of_row(c, i);
        const uint32_t words[][2] = {{SETTING_SEED_LO, (uint32_t)p.seed},
                                     {SETTING_SEED_HI, (uint32_t)(p.seed >> 32)},
                                     {SETTING_TEMPERATURE, rig_float_bits(p.temperature)},
                                     {SETTING_TOP_K, p.top_k},
                                     {SETTING_TOP_P, rig_float_bits(p.top_p)},
                                     {SETTING_MIN_P, rig_float_bits(p.min_p)}};
        for (size_t k = 0; k < sizeof words / sizeof *words; k++)
            rig_set_state(state, state_expected, STATE_SETTINGS + SETTING_WORDS * i + words[k][0], words[k][1]);
    }
    struct guarded *const bindings[] = {buffer,
                                        rig_buffer(rig, "logits", ELEMENT_F32, end * stride, logits, NULL, 0.0)};
    const struct sample_args args = {.table = rows.table, .n_vocab = n, .stride = stride};
    const struct row_constants constants = {.threads = c->threads ? c->threads : rig->tuning.row_threads};
    rig_commit(rig);
    rig_dispatch(rig, KERNEL_SAMPLE, KERNEL_CONSTANTS(constants), bindings, &args, 64, 1);
    uint32_t *got = (uint32_t *)(void *)rig_zeros(rig, rig_words(buffer));
    float *row = (float *)(void *)rig_zeros(rig, n), *scratch = (float *)(void *)rig_zeros(rig, n);
    rig_read(rig, buffer, got);
    for (uint32_t i = rows.first; i < end; i++) {
        const uint32_t word = STATE_TOKENS + i, id = got[RIG_GUARD_BYTES / 4 + word],
                       position = rows.row[i].position + 1;
        for (uint32_t k = 0; k < n; k++)
            row[k] = (float)logits[(size_t)i * stride + k];
        const struct sampler_params p = sampler_of_row(c, i);
        uint32_t want = sampler_pick(&p, row, n, position, scratch);
        if (!rig->status && id != want && id < n && p.temperature > 0.0f && sampler_keeps(&p, row, n, id)) {
            double slack = 0.0,
                   gap = noisy_value(&p, row, want, position, &slack) - noisy_value(&p, row, id, position, &slack);
            want = gap < slack ? id : want;
        }
        state_expected[word] = want;
    }
    rig_end(rig);
}

/* ---- read ---- */

static void run_read(struct rig *rig, const char *name, uint32_t n_chunks, uint32_t n_groups, uint64_t seed)
{
    if (!rig_begin(rig, "read", name, seed))
        return;
    double *data = rig_zeros(rig, 4 * (size_t)n_chunks);
    const uint32_t local = rig->tuning.row_threads, n_threads = n_groups * local;
    double *sums = rig_zeros(rig, n_threads);
    for (uint32_t i = 0; i < 4 * n_chunks; i++) {
        data[i] = rig_random(rig);
        double *sum = &sums[i / 4 % n_threads];
        *sum = (double)(uint32_t)((uint32_t)*sum + (uint32_t)data[i]); /* modulo 2^32, as on the device */
    }
    struct guarded *const bindings[] = {rig_buffer(rig, "data", ELEMENT_U32, 4 * n_chunks, data, NULL, 0.0),
                                        rig_buffer(rig, "sink", ELEMENT_U32, n_threads, NULL, sums, LIMIT_EXACT)};
    const struct read_args args = {.n_chunks = n_chunks, .n_threads = n_threads};
    rig_commit(rig);
    const struct row_constants constants = {.threads = local};
    rig_dispatch(rig, KERNEL_READ, KERNEL_CONSTANTS(constants), bindings, &args, n_groups, 1);
    rig_end(rig);
}

/* ---- all ---- */

static void row_cases_run(struct rig *rig)
{
    const bool quick = rig->params->quick;
    for (size_t i = 0; i < COUNT(embed_cases) && !rig->status; i++)
        if (!quick || embed_cases[i].quick)
            run_embed(rig, &embed_cases[i], i);
    norm_cases_run(rig);
    attention_cases_run(rig);
    run_cache_rounding(rig);
    run_argmax(rig, "ties, NaN, infinities", 0, 61, 1);
    if (!quick) {
        run_argmax(rig, "one group", 0, 1, 2);
        run_argmax(rig, "many groups, 32 lanes", 32, 2000, 3);
    }
    for (size_t i = 0; i < COUNT(sample_cases) && !rig->status; i++)
        if (!quick || sample_cases[i].quick)
            run_sample(rig, &sample_cases[i], i);
    run_read(rig, "1000 chunks, 3 groups", 1000, 3, 1);
    if (!quick) {
        run_read(rig, "one chunk, 2 groups", 1, 2, 2);
        run_read(rig, "40001 chunks, 16 groups", 40001, 16, 3);
    }
}

static enum mn_status run(const struct kernel_cases_params *params, const char *what, void (*cases)(struct rig *rig),
                          uint32_t *n_cases)
{
    struct rig rig;
    enum mn_status status = rig_init(&rig, params);
    if (status)
        return status;
    rig.counts = true;
    cases(&rig);
    const uint32_t n = rig.n_cases;
    rig.counts = false;
    rig.n_cases = 0;
    status = progress_begin(&params->device->progress, what, n);
    rig.status = status;
    if (!status)
        cases(&rig);
    status = progress_end(&params->device->progress, rig.status);
    if (!status && rig.n_cases != n)
        status = log_fail(params->device->log, MN_ERR_CHECK, "%u kernel cases ran, not %u", rig.n_cases, n);
    if (n_cases)
        *n_cases = rig.n_cases;
    if (!status && rig.n_failed)
        status = log_fail(params->device->log, MN_ERR_CHECK, "%u of %u kernel cases failed on device '%s'",
                          rig.n_failed, rig.n_cases, params->device->caps.name);
    rig_finish(&rig);
    return status;
}

static void all_cases(struct rig *rig)
{
    if (!rig->params->matrix_units)
        row_cases_run(rig);
    matmul_cases_run(rig);
}

enum mn_status kernel_cases_run(const struct kernel_cases_params *params, uint32_t *n_cases)
{
    return run(params, "checking kernels", all_cases, n_cases);
}

static void all_independence(struct rig *rig)
{
    matmul_row_independence(rig);
    attention_row_independence(rig);
}

enum mn_status kernel_cases_row_independence(const struct kernel_cases_params *params, uint32_t *n_cases)
{
    return run(params, "checking row independence", all_independence, n_cases);
}
