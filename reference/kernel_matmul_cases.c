/* Cases of the four matmul kernels: qkv, proj, gate, head. A shape says what the model layer looks like; each shape
 * runs with every way of tiling it, with weight types rotating so that all pairs of tile and type occur. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "reference/kernel_rig.h"
#include "reference/ref.h"

enum { N_CTX = 48, N_SEQUENCES = 2, N_DEPTHS = 5, N_BRANCH = 8, SPLIT = 16, WINDOW_ROWS = 256 };
static const struct ref_rope rope = {.base = 50000.0f};
/* Large enough to show when it is forgotten. */
static const float eps = 0.01f;

enum tile_id {
    TILE_DECODE,
    TILE_PREFILL,
    TILE_LANES_1,
    TILE_LANES_8,
    TILE_LANES_32,
    TILE_WIDE,
    TILE_TILED,
    TILE_MATRIX_FEW,
    TILE_MATRIX_MANY,
    TILE_COUNT
};

enum special { SPECIAL_NONE, SPECIAL_TIES, SPECIAL_NAN };

struct shape {
    enum kernel_id id;
    const char *name;
    bool quick, independence; /* part of the quick subset; of the row-independence check */
    uint32_t n_rows, first;   /* range of the row table */
    uint32_t heads, head_dim; /* qkv, and proj of attention partials */
    uint32_t kv_heads;        /* qkv; 0: as many as heads */
    uint32_t n_in, n_out;     /* the others; gate: n_out = 2F */
    bool windows;             /* the matrix in windows of WINDOW_ROWS rows */
    uint32_t input, scale;
    bool in_by_slot;   /* as with INPUT_STATE, but not raw at depth 0 */
    bool kv_f16, core; /* qkv */
    uint32_t n_slots;
    uint32_t residual, n_splits; /* proj */
    bool residual_by_slot, out_by_slot, advance, no_stats;
    enum special special; /* head */
};

static const struct shape shapes[] = {
    {KERNEL_QKV, "core, full slots, f16 cache", .quick = true, .independence = true, .n_rows = 5, .first = 3,
     .heads = 3, .head_dim = 32, .input = INPUT_NORM, .scale = SCALE_TWO, .kv_f16 = true, .core = true,
     .n_slots = N_DEPTHS},
    {KERNEL_QKV, "prelude, f32 cache", .n_rows = 3, .heads = 3, .head_dim = 10, .input = INPUT_NORM, .scale = SCALE_ONE,
     .n_slots = 1},
    {KERNEL_QKV, "core, 2 slots, f32 cache", .n_rows = 64, .heads = 5, .head_dim = 24, .input = INPUT_NORM,
     .scale = SCALE_TWO, .core = true, .n_slots = 2},
    {KERNEL_QKV, "smallest head", .n_rows = 1, .first = 7, .heads = 1, .head_dim = 2, .input = INPUT_NORM,
     .scale = SCALE_ONE, .kv_f16 = true, .n_slots = 1},
    {KERNEL_QKV, "two heads per key, f16 cache", .quick = true, .independence = true, .n_rows = 7, .first = 1,
     .heads = 4, .kv_heads = 2, .head_dim = 24, .input = INPUT_NORM, .scale = SCALE_TWO, .kv_f16 = true, .core = true,
     .n_slots = N_DEPTHS},
    {KERNEL_QKV, "three heads per key, f32 cache", .n_rows = 3, .heads = 3, .kv_heads = 1, .head_dim = 10,
     .input = INPUT_NORM, .scale = SCALE_ONE, .n_slots = 1},
    {KERNEL_QKV, "windows of a large matrix", .n_rows = 2, .heads = 3, .head_dim = 96, .windows = true,
     .input = INPUT_NORM, .scale = SCALE_ONE, .kv_f16 = true, .core = true, .n_slots = 3},
    {KERNEL_QKV, "of states", .quick = true, .independence = true, .n_rows = 6, .first = 2, .heads = 4, .kv_heads = 2,
     .head_dim = 8, .input = INPUT_NORM, .scale = SCALE_ONE, .in_by_slot = true, .n_slots = 1},

    {KERNEL_PROJ, "adapter on embeddings, owed a norm", .n_rows = 6, .first = 1, .n_in = 100, .n_out = 70,
     .input = INPUT_NORM, .scale = SCALE_ONE, .residual = RESIDUAL_NONE, .out_by_slot = true, .no_stats = true},
    {KERNEL_PROJ, "adapter on embeddings, plain", .n_rows = 1, .n_in = 9, .n_out = 11, .input = INPUT_PLAIN,
     .scale = SCALE_NONE, .residual = RESIDUAL_NONE, .out_by_slot = true, .no_stats = true},
    {KERNEL_PROJ, "adapter on states", .quick = true, .independence = true, .n_rows = 7, .first = 2, .n_in = 120,
     .n_out = 120, .input = INPUT_STATE, .scale = SCALE_ONE, .residual = RESIDUAL_PLAIN, .residual_by_slot = true},
    {KERNEL_PROJ, "attention, one split", .n_rows = 3, .heads = 5, .head_dim = 10, .n_out = 50, .input = INPUT_MERGE,
     .scale = SCALE_NONE, .residual = RESIDUAL_PLAIN, .n_splits = 1},
    {KERNEL_PROJ, "attention, three splits", .quick = true, .independence = true, .n_rows = 8, .first = 4, .heads = 3,
     .head_dim = 24, .n_out = 72, .input = INPUT_MERGE, .scale = SCALE_NONE, .residual = RESIDUAL_NORM, .n_splits = 3},
    {KERNEL_PROJ, "attention, large heads", .n_rows = 2, .heads = 2, .head_dim = 96, .n_out = 192, .input = INPUT_MERGE,
     .scale = SCALE_NONE, .residual = RESIDUAL_NORM, .n_splits = 3},
    {KERNEL_PROJ, "down, end of a step", .n_rows = 20, .first = 5, .n_in = 250, .n_out = 72, .input = INPUT_PLAIN,
     .scale = SCALE_NONE, .residual = RESIDUAL_NORM, .out_by_slot = true, .advance = true},
    {KERNEL_PROJ, "down, large, in windows", .n_rows = 4, .n_in = 1100, .n_out = 520, .windows = true,
     .input = INPUT_PLAIN, .scale = SCALE_NONE, .residual = RESIDUAL_NORM, .advance = true},
    {KERNEL_PROJ, "heads to be normed, of states", .quick = true, .independence = true, .n_rows = 5, .first = 3,
     .n_in = 72, .n_out = 120, .input = INPUT_PLAIN, .scale = SCALE_NONE, .in_by_slot = true, .residual = RESIDUAL_NONE,
     .no_stats = true},
    {KERNEL_PROJ, "down, one group", .quick = true, .independence = true, .n_rows = 6, .first = 2, .n_in = 32,
     .n_out = 72, .input = INPUT_PLAIN, .scale = SCALE_NONE, .residual = RESIDUAL_PLAIN},
    {KERNEL_PROJ, "adapter on plain states", .n_rows = 9, .first = 1, .n_in = 64, .n_out = 64, .input = INPUT_PLAIN,
     .scale = SCALE_NONE, .in_by_slot = true, .residual = RESIDUAL_PLAIN, .residual_by_slot = true},
    {KERNEL_PROJ, "attention, added to states", .n_rows = 4, .first = 2, .heads = 8, .head_dim = 8, .n_out = 40,
     .input = INPUT_MERGE, .scale = SCALE_NONE, .residual = RESIDUAL_PLAIN, .residual_by_slot = true, .n_splits = 1},
    {KERNEL_PROJ, "a branch alone", .n_rows = 6, .n_in = 120, .n_out = 72, .input = INPUT_PLAIN, .scale = SCALE_NONE,
     .residual = RESIDUAL_NONE},
    {KERNEL_PROJ, "down, plain, end of a step", .quick = true, .n_rows = 7, .first = 4, .n_in = 96, .n_out = 64,
     .input = INPUT_PLAIN, .scale = SCALE_NONE, .residual = RESIDUAL_PLAIN, .out_by_slot = true, .advance = true},

    {KERNEL_GATE, "odd width", .quick = true, .independence = true, .n_rows = 3, .first = 9, .n_in = 100, .n_out = 70,
     .input = INPUT_NORM, .scale = SCALE_TWO},
    {KERNEL_GATE, "an odd number of groups", .quick = true, .independence = true, .n_rows = 5, .first = 1, .n_in = 1056,
     .n_out = 82, .input = INPUT_NORM, .scale = SCALE_TWO},
    {KERNEL_GATE, "smallest", .n_rows = 1, .n_in = 2, .n_out = 2, .input = INPUT_NORM, .scale = SCALE_TWO},
    {KERNEL_GATE, "large, in windows", .n_rows = 8, .n_in = 1000, .n_out = 602, .windows = true, .input = INPUT_NORM,
     .scale = SCALE_TWO},
    {KERNEL_GATE, "many rows", .quick = true, .n_rows = 61, .first = 3, .n_in = 40, .n_out = 128, .input = INPUT_NORM,
     .scale = SCALE_TWO},
    {KERNEL_GATE, "plain", .quick = true, .independence = true, .n_rows = 5, .first = 2, .n_in = 72, .n_out = 120,
     .input = INPUT_PLAIN, .scale = SCALE_NONE},
    {KERNEL_GATE, "one norm", .n_rows = 6, .first = 1, .n_in = 64, .n_out = 96, .input = INPUT_NORM,
     .scale = SCALE_ONE},

    {KERNEL_HEAD, "odd vocabulary", .quick = true, .independence = true, .n_rows = 5, .first = 6, .n_in = 72,
     .n_out = 131, .input = INPUT_NORM, .scale = SCALE_TWO},
    {KERNEL_HEAD, "no coda", .n_rows = 1, .first = 63, .n_in = 30, .n_out = 64, .input = INPUT_NORM,
     .scale = SCALE_ONE},
    {KERNEL_HEAD, "of states", .quick = true, .independence = true, .n_rows = 5, .first = 3, .n_in = 64, .n_out = 211,
     .input = INPUT_NORM, .scale = SCALE_ONE, .in_by_slot = true},
    {KERNEL_HEAD, "every logit four times", .n_rows = 2, .n_in = 64, .n_out = 302, .input = INPUT_NORM,
     .scale = SCALE_TWO, .special = SPECIAL_TIES},
    {KERNEL_HEAD, "NaN among logits", .n_rows = 4, .n_in = 50, .n_out = 131, .input = INPUT_NORM, .scale = SCALE_TWO,
     .special = SPECIAL_NAN},
    {KERNEL_HEAD, "groups in windows", .n_rows = 9, .first = 5, .n_in = 288, .n_out = 601, .windows = true,
     .input = INPUT_NORM, .scale = SCALE_TWO},
    {KERNEL_HEAD, "one token", .n_rows = 8, .n_in = 16, .n_out = 1, .input = INPUT_NORM, .scale = SCALE_TWO},
    {KERNEL_HEAD, "large, in windows", .n_rows = 33, .n_in = 264, .n_out = 1001, .windows = true, .input = INPUT_NORM,
     .scale = SCALE_TWO},
};

/* A shape with a tile, and everything a dispatch of it needs. */
struct job {
    const struct shape *shape;
    struct tile tile;
    enum weight_type weight;
    struct rig_rows rows;
    struct matmul_args args;
    union any_matmul_constants constants; /* what follows from the tile is filled in for each dispatch */
    uint32_t n_in, n_out, n_chunks;       /* n_in: without padding */
    struct guarded *bindings[KERNEL_MAX_BINDINGS];
    struct guarded *output, *best; /* head */
    double *state_initial, *state_expected;
    double *w; /* [n_out, n_in] in the checkpoint's layout */
    double *x; /* [table rows, n_in] what the product is taken of */
};

static struct tile tile_of(const struct rig *rig, enum tile_id id)
{
    const uint32_t width = rig->params->device->caps.subgroup_size, side = rig->params->device->caps.matrix_side;
    switch (id) {
    case TILE_DECODE: return rig->tuning.decode;
    case TILE_PREFILL: return rig->tuning.prefill;
    case TILE_LANES_1: return (struct tile){width, 1, 4, 8, PATH_APART, 0, 0};
    case TILE_LANES_8: return (struct tile){32, 8, 4, 8, PATH_APART, 0, 0};
    case TILE_LANES_32: return (struct tile){128, 32, 4, 8, PATH_APART, 0, 0};
    case TILE_TILED: return tile_tiled;
    case TILE_MATRIX_FEW: return side ? tile_matrix_few(side, width) : rig->tuning.decode;
    case TILE_MATRIX_MANY: return side ? tile_matrix_many(side, width) : rig->tuning.decode;
    case TILE_WIDE:
    case TILE_COUNT: break;
    }
    return (struct tile){64, 1, 4, 8, PATH_APART, 0, 0};
}

/* Already run under another name, or beyond what the device's workgroups can hold. The device's own tiles always
 * run. */
static bool tile_skipped(const struct rig *rig, enum tile_id id)
{
    const struct caps *caps = &rig->params->device->caps;
    const struct tile tile = tile_of(rig, id);
    const bool matrix = tile.path == PATH_MATRIX, tiled = tile.path == PATH_TILED || matrix;
    const uint32_t lanes = tile.k_lanes > 1 && !tiled
                               ? (tile.rows + 2) * tile.n_max * (tile.threads / tile.k_lanes) * (tile.k_lanes + 1)
                               : 0;
    if (rig->params->matrix_units)
        return !matrix;
    for (int i = 0; i < (int)id; i++) {
        const struct tile other = tile_of(rig, (enum tile_id)i);
        if (!memcmp(&tile, &other, sizeof tile))
            return true;
    }
    if (id <= TILE_PREFILL || (rig->params->quick && !tiled))
        return id > TILE_PREFILL;
    return tile.threads > caps->max_workgroup_threads || 4 * lanes + 4096 > caps->max_shared_bytes ||
           (tiled && (caps->texel_loads || caps->max_shared_bytes < 32768));
}

/* The stamp that holds n rows, as in session.c. */
static uint32_t stamp_rows(uint32_t n)
{
    static const uint32_t stamps[] = {1, 2, 4, 6, 8, 10, 12, 16, 18, 24, 32, 64, 128};
    uint32_t i = 0;
    while (stamps[i] < n)
        i++;
    return stamps[i];
}

static uint32_t rows_per_group(const struct tile *tile)
{
    return tile->threads / tile->k_lanes * tile->rows;
}

static uint32_t table_end(const struct job *job)
{
    return job->rows.first + job->rows.n;
}

/* ---- inputs ---- */

/* Statistics (sum x^2, sum (x w)^2) of a vector as its producer would leave them: one pair per slice. */
static void write_parts(double *parts, const double *x, const double *w, uint32_t n, uint32_t n_parts)
{
    const uint32_t step = (n + n_parts - 1) / n_parts;
    for (uint32_t p = 0; p < n_parts; p++) {
        double sum = 0.0, weighted = 0.0;
        for (uint32_t i = p * step; i < n && i < (p + 1) * step; i++) {
            sum += x[i] * x[i];
            weighted += x[i] * w[i] * x[i] * w[i];
        }
        parts[2 * p] = sum;
        parts[2 * p + 1] = weighted;
    }
}

static double *pad_vector(struct rig *rig, const double *values, uint32_t n)
{
    double *out = rig_zeros(rig, rig_padded(n));
    memcpy(out, values, n * sizeof *out);
    return out;
}

/* Activation rows, with the norms that the input mode applies to them; job->x gets what the mathematics says W is
 * applied to. */
static void make_input(struct rig *rig, struct job *job)
{
    const struct shape *shape = job->shape;
    const uint32_t n = job->n_in, stride = rig_padded(n), by_slot = shape->input == INPUT_STATE || shape->in_by_slot;
    const uint32_t count = by_slot ? N_CTX * N_SEQUENCES : table_end(job);
    const uint32_t n_parts = tile_groups(&job->tile, n), parts_stride = n_parts + 2;
    /* The padding holds a finite value: the weights there are zero, so it must not matter. */
    double *x = rig_noise(rig, (size_t)count * stride, 2.0, ELEMENT_F32);
    double *parts = rig_filled(rig, (size_t)count * parts_stride * 2, UNTOUCHED);
    double *pending = rig_noise(rig, n, 1.0, ELEMENT_F32), *norm = rig_noise(rig, n, 1.0, ELEMENT_F32),
           *product = rig_zeros(rig, n);
    for (uint32_t i = 0; i < n; i++)
        product[i] = shape->scale == SCALE_TWO ? pending[i] * norm[i] : norm[i];
    for (uint32_t i = 0; i < count; i++)
        write_parts(parts + (size_t)i * parts_stride * 2, x + (size_t)i * stride, pending, n, n_parts);
    if (shape->special == SPECIAL_NAN) {
        x[job->rows.first * stride] = UNTOUCHED;
        parts[job->rows.first * parts_stride * 2] = UNTOUCHED;
    }
    for (uint32_t i = 0; i < job->rows.n; i++) {
        const uint32_t index = job->rows.first + i;
        const double *from = x + (size_t)(by_slot ? rig_slot(&job->rows, index) : index) * stride;
        double *to = job->x + (size_t)i * n;
        memcpy(to, from, n * sizeof *to);
        if (shape->scale == SCALE_TWO)
            ref_norm(to, pending, n, (double)eps, to);
        if (shape->scale != SCALE_NONE && !(shape->input == INPUT_STATE && job->rows.row[index].depth == 0))
            ref_norm(to, norm, n, (double)eps, to);
    }
    job->args.in_stride = stride;
    job->args.in_by_slot = by_slot;
    job->args.n_parts_in = n_parts;
    job->args.parts_in_stride = parts_stride;
    job->bindings[2] = rig_buffer(rig, "input", ELEMENT_F32, count * stride, x, NULL, 0.0);
    if (shape->scale == SCALE_NONE)
        return;
    job->bindings[3] = rig_buffer(rig, "input norm", ELEMENT_F32, stride, pad_vector(rig, product, n), NULL, 0.0);
    job->bindings[4] = rig_buffer(rig, "input statistics", ELEMENT_F32, count * parts_stride * 2, parts, NULL, 0.0);
}

/* Attention partials; splits that a row does not have stay guard words. */
static void make_partials(struct rig *rig, struct job *job)
{
    const struct shape *shape = job->shape;
    const uint32_t pad = rig_padded(shape->head_dim), n = shape->n_splits, split = n > 1 ? SPLIT : N_CTX;
    const uint32_t n_sums = table_end(job) * n * shape->heads;
    double *o = rig_filled(rig, (size_t)n_sums * pad, UNTOUCHED),
           *sums = rig_filled(rig, 2 * (size_t)n_sums, UNTOUCHED);
    double *noise = rig_noise(rig, (size_t)n_sums * (pad + 2), 1.0, ELEMENT_F32);
    for (uint32_t i = 0; i < job->rows.n; i++) {
        const uint32_t index = job->rows.first + i, live = job->rows.row[index].position / split + 1;
        for (uint32_t head = 0; head < shape->heads; head++) {
            uint32_t at = index * n * shape->heads + head;
            for (uint32_t s = 0; s < live; s++, at += shape->heads) {
                memcpy(o + (size_t)at * pad, noise + (size_t)at * (pad + 2), pad * sizeof *o);
                sums[2 * at] = 4.0 * noise[(size_t)at * (pad + 2) + pad];
                sums[2 * at + 1] = (double)(float)(1.5 + noise[(size_t)at * (pad + 2) + pad + 1]);
            }
            at = index * n * shape->heads + head;
            ref_merge(o + (size_t)at * pad, shape->heads * pad, sums + 2 * at, sums + 2 * at + 1, 2 * shape->heads,
                      live, shape->head_dim, job->x + (size_t)i * job->n_in + head * shape->head_dim);
        }
    }
    job->args.split = split;
    job->args.n_splits = n;
    job->bindings[2] = rig_buffer(rig, "partial outputs", ELEMENT_F32, n_sums * pad, o, NULL, 0.0);
    job->bindings[4] = rig_buffer(rig, "partial sums", ELEMENT_F32, 2 * n_sums, sums, NULL, 0.0);
}

/* Weights in the checkpoint's layout, and the device's: gate and up rows interleaved, columns padded (per head for
 * partials). */
static void make_weights(struct rig *rig, struct job *job)
{
    const struct shape *shape = job->shape;
    const uint32_t n_in = job->n_in, n_out = job->n_out, inner = job->n_chunks * CHUNK;
    job->w = rig_weights(rig, job->weight, n_out, n_in, 2.0 / sqrt((double)n_in));
    for (uint32_t o = 0; o < n_out && shape->special == SPECIAL_TIES; o++) /* neighbours and the two halves are equal */
        memcpy(job->w + (size_t)o * n_in, job->w + (size_t)(o % (n_out / 2) & ~1u) * n_in, n_in * sizeof *job->w);
    if (shape->special == SPECIAL_NAN)
        job->w[3 * n_in] = UNTOUCHED;
    double *packed = rig_zeros(rig, (size_t)n_out * inner);
    for (uint32_t o = 0; o < n_out; o++)
        for (uint32_t i = 0; i < n_in; i++) {
            uint32_t from = shape->id == KERNEL_GATE ? o / 2 + (o % 2 ? n_out / 2 : 0) : o;
            uint32_t to = shape->input == INPUT_MERGE
                              ? i / shape->head_dim * rig_padded(shape->head_dim) + i % shape->head_dim
                              : i;
            packed[(size_t)o * inner + to] = job->w[(size_t)from * n_in + i];
        }
    job->bindings[1] = rig_matrix(rig, "weights", job->weight, n_out, inner, packed);
}

/* ---- what must come out ---- */

/* Kernels write `group` values at once; what lies behind the last one is padding and gets zeros. */
static void zero_tail(double *row, uint32_t n, uint32_t group)
{
    for (; n % group != 0; n++)
        row[n] = 0.0;
}

static uint32_t kv_heads(const struct shape *shape)
{
    return shape->kv_heads ? shape->kv_heads : shape->heads;
}

static void expect_qkv(struct rig *rig, struct job *job)
{
    const struct shape *shape = job->shape;
    const struct ref_heads n = {.n = shape->heads, .n_kv = kv_heads(shape), .dim = shape->head_dim, .rope = rope};
    const uint32_t h = n.dim, pad = rig_padded(h), heads = n.n, d = heads * h, n_bias = d + n.n_kv * h,
                   n_slots = N_CTX * N_SEQUENCES;
    double *bias = rig_noise(rig, n_bias, 1.0, ELEMENT_F32), *rotary = rig_zeros(rig, (size_t)N_CTX * h);
    double *q = rig_zeros(rig, 3 * (size_t)d), *k = q + d, *v = k + d;
    double *query = rig_filled(rig, (size_t)table_end(job) * heads * pad, UNTOUCHED),
           *depths = rig_filled(rig, n_slots, UNTOUCHED);
    const size_t n_cache = (size_t)n_slots * shape->n_slots * 2 * n.n_kv * pad;
    struct ref_kv kv = {.values = rig_filled(rig, n_cache, UNTOUCHED),
                        .n_ctx = N_CTX,
                        .n_slots = shape->n_slots,
                        .n_heads = n.n_kv,
                        .head_pad = pad};
    for (uint32_t p = 0; p < N_CTX; p++) { /* (cos, sin) is where (1, 0) turns to */
        for (uint32_t i = 0; i < h; i += 2)
            rotary[p * h + i] = 1.0;
        ref_rotary(rotary + p * h, 1, h, p, &rope);
    }
    for (uint32_t i = 0; i < job->rows.n; i++) {
        const struct row *row = &job->rows.row[job->rows.first + i];
        const uint32_t slot = shape->core ? row->depth % shape->n_slots : 0, cell = row->position + row->shift;
        ref_qkv(job->w, bias, job->x + (size_t)i * d, d, &n, row->position, q, k, v);
        for (uint32_t head = 0; head < heads; head++)
            memcpy(query + ((size_t)(job->rows.first + i) * heads + head) * pad, q + head * h, h * sizeof *q);
        for (uint32_t head = 0; head < n.n_kv; head++) {
            memcpy(ref_kv_entry(&kv, row->sequence, cell, slot, 0, head), k + head * h, h * sizeof *k);
            memcpy(ref_kv_entry(&kv, row->sequence, cell, slot, 1, head), v + head * h, h * sizeof *v);
        }
        if (shape->core)
            depths[rig_slot(&job->rows, job->rows.first + i)] = row->depth + 1;
    }
    job->args.n_slots = shape->n_slots;
    job->constants.qkv = (struct qkv_constants){.kv_type = shape->kv_f16,
                                                .core = shape->core,
                                                .shared_slots = shape->core && shape->n_slots < N_DEPTHS,
                                                .head_dim = h};
    job->bindings[5] = rig_buffer(rig, "query", ELEMENT_F32, table_end(job) * heads * pad, NULL, query, LIMIT_MATMUL);
    job->bindings[6] = rig_buffer(rig, "bias", ELEMENT_F32, n_bias, bias, NULL, 0.0);
    job->bindings[7] = rig_buffer(rig, "rotary", ELEMENT_F32, N_CTX * h, rotary, NULL, 0.0);
    job->bindings[8] = rig_buffer(rig, "cache", shape->kv_f16 ? ELEMENT_F16 : ELEMENT_F32, (uint32_t)n_cache, NULL,
                                  kv.values, shape->kv_f16 ? LIMIT_CACHE_F16 : LIMIT_CACHE_F32);
    job->bindings[9] = rig_buffer(rig, "depths", ELEMENT_U32, n_slots, NULL, depths, LIMIT_EXACT);
}

/* Adds the residual to y [table rows, n_out]. */
static void add_residual(struct rig *rig, struct job *job, double *y)
{
    const struct shape *shape = job->shape;
    const uint32_t n = job->n_out, stride = rig_padded(n) + CHUNK,
                   count = shape->residual_by_slot ? N_CTX * N_SEQUENCES : table_end(job);
    const uint32_t n_parts = tile_groups(&job->tile, n), parts_stride = n_parts + 1;
    double *x = rig_noise(rig, (size_t)count * stride, 2.0, ELEMENT_F32), *norm = rig_noise(rig, n, 1.0, ELEMENT_F32),
           *row = rig_zeros(rig, n);
    double *parts = rig_filled(rig, (size_t)count * parts_stride * 2, UNTOUCHED);
    for (uint32_t i = 0; i < count; i++)
        write_parts(parts + (size_t)i * parts_stride * 2, x + (size_t)i * stride, norm, n, n_parts);
    for (uint32_t i = 0; i < job->rows.n; i++) {
        const uint32_t index = job->rows.first + i;
        memcpy(row, x + (size_t)(shape->residual_by_slot ? rig_slot(&job->rows, index) : index) * stride,
               n * sizeof *row);
        if (shape->residual == RESIDUAL_NORM)
            ref_norm(row, norm, n, (double)eps, row);
        for (uint32_t o = 0; o < n; o++)
            y[(size_t)i * n + o] += row[o];
    }
    job->args.residual_stride = stride;
    job->args.residual_by_slot = shape->residual_by_slot;
    job->args.n_parts_residual = n_parts;
    job->args.parts_residual_stride = parts_stride;
    job->bindings[6] = rig_buffer(rig, "residual", ELEMENT_F32, count * stride, x, NULL, 0.0);
    if (shape->residual == RESIDUAL_NORM) {
        job->args.n_norm = n;
        job->bindings[7] = rig_buffer(rig, "residual norm", ELEMENT_F32, rig_padded(n), pad_vector(rig, norm, n), NULL,
                                      0.0);
        job->bindings[8] = rig_buffer(rig, "residual statistics", ELEMENT_F32, count * parts_stride * 2, parts, NULL,
                                      0.0);
    }
}

static void expect_proj(struct rig *rig, struct job *job)
{
    const struct shape *shape = job->shape;
    const uint32_t n = job->n_out, stride = rig_padded(n) + CHUNK,
                   count = shape->out_by_slot ? N_CTX * N_SEQUENCES : table_end(job);
    const uint32_t n_parts = tile_groups(&job->tile, n), parts_stride = n_parts + 3, step = rows_per_group(&job->tile);
    double *y = rig_zeros(rig, (size_t)job->rows.n * n), *norm = rig_noise(rig, n, 1.0, ELEMENT_F32);
    double *out = rig_filled(rig, (size_t)count * stride, UNTOUCHED),
           *parts = rig_filled(rig, (size_t)count * parts_stride * 2, UNTOUCHED);
    for (uint32_t i = 0; i < job->rows.n; i++)
        ref_matmul(job->w, n, job->n_in, job->x + (size_t)i * job->n_in, y + (size_t)i * n);
    if (shape->residual != RESIDUAL_NONE)
        add_residual(rig, job, y);
    for (uint32_t i = 0; i < job->rows.n; i++) {
        const uint32_t index = job->rows.first + i, at = shape->out_by_slot ? rig_slot(&job->rows, index) : index;
        memcpy(out + (size_t)at * stride, y + (size_t)i * n, n * sizeof *out);
        zero_tail(out + (size_t)at * stride, n, 4);
        for (uint32_t g = 0; g < n_parts && !shape->no_stats; g++) {
            uint32_t begin = g * step, length = n - begin < step ? n - begin : step;
            write_parts(parts + ((size_t)at * parts_stride + g) * 2, y + (size_t)i * n + begin, norm + begin, length,
                        1);
        }
        if (shape->advance)
            job->state_expected[STATE_HEAD_WORDS + 4 * index + 3] += 1.0;
    }
    job->args.out_stride = stride;
    job->args.out_by_slot = shape->out_by_slot;
    job->args.parts_out_stride = parts_stride;
    job->constants.proj = (struct proj_constants){
        .residual = shape->residual, .advance = shape->advance, .stats = !shape->no_stats};
    job->bindings[5] = rig_buffer(rig, "output", ELEMENT_F32, count * stride, NULL, out, LIMIT_MATMUL);
    job->bindings[9] = rig_buffer(rig, "next norm", ELEMENT_F32, rig_padded(n), pad_vector(rig, norm, n), NULL, 0.0);
    job->bindings[10] = rig_buffer(rig, "output statistics", ELEMENT_F32, count * parts_stride * 2, NULL, parts,
                                   LIMIT_STATISTICS);
}

static void expect_gate(struct rig *rig, struct job *job)
{
    const uint32_t f = job->n_out / 2, stride = rig_padded(f) + CHUNK;
    double *out = rig_filled(rig, (size_t)table_end(job) * stride, UNTOUCHED), *scratch = rig_zeros(rig, job->n_out);
    for (uint32_t i = 0; i < job->rows.n; i++) {
        double *row = out + (size_t)(job->rows.first + i) * stride;
        ref_gate(job->w, f, job->n_in, job->x + (size_t)i * job->n_in, scratch, row);
        zero_tail(row, f, 2);
    }
    job->args.out_stride = stride;
    job->bindings[5] = rig_buffer(rig, "hidden", ELEMENT_F32, table_end(job) * stride, NULL, out, LIMIT_GATE);
}

static void expect_head(struct rig *rig, struct job *job)
{
    const uint32_t v = job->n_out, n_groups = tile_groups(&job->tile, v);
    double *logits = rig_filled(rig, (size_t)table_end(job) * v, UNTOUCHED);
    double *best = rig_filled(rig, (size_t)table_end(job) * n_groups * 2, UNTOUCHED);
    for (uint32_t i = 0; i < job->rows.n; i++) {
        double *row = logits + (size_t)(job->rows.first + i) * v;
        ref_matmul(job->w, v, job->n_in, job->x + (size_t)i * job->n_in, row);
        for (uint32_t o = 0; o < v; o++)
            row[o] = isnan(row[o]) ? ANYTHING : row[o];
    }
    job->args.out_stride = v;
    job->args.parts_out_stride = n_groups;
    job->constants.head.whole_quads = v % 4 == 0;
    job->output = job->bindings[5] = rig_buffer(rig, "logits", ELEMENT_F32, table_end(job) * v, NULL, logits,
                                                LIMIT_MATMUL);
    job->best = job->bindings[6] = rig_buffer(rig, "best", ELEMENT_U32, table_end(job) * n_groups * 2, NULL, best,
                                              LIMIT_EXACT);
}

/* The argmax is judged by the device's own logits: two that double arithmetic tells apart may be equal there. */
static void expect_argmax(struct rig *rig, struct job *job)
{
    const uint32_t v = job->n_out, n_groups = tile_groups(&job->tile, v), step = rows_per_group(&job->tile);
    uint32_t *words = (uint32_t *)(void *)rig_zeros(rig, (rig_words(job->output) + 1) / 2);
    double *best = rig_filled(rig, job->best->n, UNTOUCHED);
    rig_read(rig, job->output, words);
    for (uint32_t i = 0; i < job->rows.n; i++) {
        const uint32_t index = job->rows.first + i, *bits = words + RIG_GUARD_BYTES / 4 + (size_t)index * v;
        float *row = (float *)(void *)rig_zeros(rig, (v + 1) / 2);
        memcpy(row, bits, v * sizeof *row);
        job->state_expected[STATE_TOKENS + index] = ref_argmax(row, v);
        for (uint32_t g = 0; g < n_groups; g++) {
            uint32_t begin = g * step, n = v - begin < step ? v - begin : step, id = begin + ref_argmax(row + begin, n);
            double *pair = best + ((size_t)index * n_groups + g) * 2;
            pair[0] = isnan(row[id]) ? ANYTHING : (double)bits[id];
            pair[1] = isnan(row[id]) ? ANYTHING : (double)id;
        }
    }
    job->best->expected = best;
}

/* ---- the case ---- */

static void job_setup(struct rig *rig, struct job *job, const struct shape *shape, enum tile_id tile,
                      enum weight_type weight, uint32_t n_rows, uint32_t first)
{
    *job = (struct job){.shape = shape, .tile = tile_of(rig, tile), .weight = weight};
    static const uint32_t tables[] = {[KERNEL_QKV] = TABLE_CORE,
                                      [KERNEL_PROJ] = TABLE_PRELUDE,
                                      [KERNEL_GATE] = TABLE_CODA,
                                      [KERNEL_HEAD] = TABLE_HEAD};
    job->rows = (struct rig_rows){.table = tables[shape->id],
                                  .first = first,
                                  .n = n_rows,
                                  .n_ctx = N_CTX,
                                  .n_branch = N_BRANCH,
                                  .n_sequences = N_SEQUENCES,
                                  .n_depths = N_DEPTHS};
    rig_rows(rig, &job->rows);
    const uint32_t d = shape->heads * shape->head_dim;
    job->n_in = d ? d : shape->n_in;
    job->n_out = shape->id == KERNEL_QKV ? d + 2 * kv_heads(shape) * shape->head_dim : shape->n_out;
    job->n_chunks = rig_padded(shape->input == INPUT_MERGE ? shape->heads * rig_padded(shape->head_dim) : job->n_in) /
                    CHUNK;
    job->args = (struct matmul_args){.table = job->rows.table,
                                     .n_chunks = job->n_chunks,
                                     .n_norm = job->n_in,
                                     .eps = eps,
                                     .n_cells = N_CTX,
                                     .n_heads = shape->heads,
                                     .n_kv_heads = kv_heads(shape),
                                     .head_dim = shape->head_dim,
                                     .head_pad = rig_padded(shape->head_dim),
                                     .split = N_CTX,
                                     .n_splits = 1,
                                     .query_scale = shape->head_dim ? 1.0f / sqrtf((float)shape->head_dim) : 0.0f};
    job->state_initial = rig_state(rig, &job->rows);
    job->state_expected = rig_zeros(rig, STATE_WORDS);
    memcpy(job->state_expected, job->state_initial, STATE_WORDS * sizeof *job->state_expected);
    struct guarded *state = rig_buffer(rig, "state", ELEMENT_U32, STATE_WORDS, job->state_initial, job->state_expected,
                                       LIMIT_EXACT);
    for (int i = 0; i < KERNEL_MAX_BINDINGS; i++)
        job->bindings[i] = state;
    job->x = rig_zeros(rig, (size_t)n_rows * job->n_in);
    if (shape->input == INPUT_MERGE)
        make_partials(rig, job);
    else
        make_input(rig, job);
    make_weights(rig, job);
    switch (shape->id) {
    case KERNEL_QKV: expect_qkv(rig, job); break;
    case KERNEL_PROJ: expect_proj(rig, job); break;
    case KERNEL_GATE: expect_gate(rig, job); break;
    default: expect_head(rig, job); break;
    }
}

/* One pass over the matrix for as many rows as `stamp`, as forward.c records it. */
static void job_dispatch(struct rig *rig, struct job *job, uint32_t stamp)
{
    const struct shape *shape = job->shape;
    const struct tile *tile = &job->tile;
    const uint32_t n = tile_rows(tile, stamp), groups_y = (stamp + n - 1) / n;
    const uint64_t row_bytes = rig_row_bytes(job->weight, job->n_chunks * CHUNK);
    const uint32_t window = shape->windows ? WINDOW_ROWS : job->n_out;
    for (uint32_t row0 = 0; row0 < job->n_out; row0 += window) {
        const uint32_t rows = job->n_out - row0 < window ? job->n_out - row0 : window;
        union any_matmul_constants constants = job->constants;
        constants.matmul = (struct matmul_constants){.threads = tile->threads,
                                                     .k_lanes = tile->k_lanes,
                                                     .rows_per_lane = tile->rows,
                                                     .n_rows = n,
                                                     .weight_type = (uint32_t)job->weight,
                                                     .input = shape->input,
                                                     .scale = shape->scale,
                                                     .path = tile->path,
                                                     .side = tile->side,
                                                     .subgroup = tile->subgroup};
        if (shape->advance && row0 + rows < job->n_out)
            constants.proj.advance = 0; /* depths advance once, in the last window */
        job->args.n_out = rows;
        job->args.row0 = row0;
        job->args.parts_out0 = row0 / rows_per_group(tile);
        rig_dispatch_with(rig, &(struct rig_dispatch_params){.id = shape->id,
                                                             .constants = &constants,
                                                             .n_constants = sizeof constants / sizeof(uint32_t),
                                                             .bindings = job->bindings,
                                                             .push = &job->args,
                                                             .part_of = 1,
                                                             .part_offset = row0 * row_bytes,
                                                             .part_bytes = rows * row_bytes,
                                                             .groups_x = tile_groups(tile, rows),
                                                             .groups_y = groups_y});
    }
}

static void name_case(const struct rig *rig, char *name, const struct shape *shape, enum tile_id id,
                      enum weight_type weight, const char *rows)
{
    static const char *const paths[] = {"", " sharing", " tiled", " matrix"};
    const struct tile tile = tile_of(rig, id);
    snprintf(name, RIG_NAME_BYTES, "%s; %u x %u lanes%s, %s, %s rows", shape->name, tile.threads / tile.k_lanes,
             tile.k_lanes, paths[tile.path], weight_type_name(weight), rows);
}

static void run_case(struct rig *rig, const struct shape *shape, enum tile_id tile, enum weight_type weight,
                     uint64_t seed)
{
    struct job job;
    char name[RIG_NAME_BYTES], rows[16];
    snprintf(rows, sizeof rows, "%u", shape->n_rows);
    name_case(rig, name, shape, tile, weight, rows);
    if (!rig_begin(rig, kernel_info(shape->id)->name, name, seed))
        return;
    job_setup(rig, &job, shape, tile, weight, shape->n_rows, shape->first);
    rig_commit(rig);
    const uint32_t stamp = stamp_rows(shape->n_rows);
    job_dispatch(rig, &job, stamp);
    if (shape->id == KERNEL_HEAD) {
        const struct row_constants constants = {.threads = rig->tuning.row_threads};
        const struct argmax_args args = {.table = job.rows.table, .n_groups = tile_groups(&job.tile, job.n_out)};
        struct guarded *const bindings[] = {job.bindings[0], job.best};
        rig_dispatch(rig, KERNEL_ARGMAX, KERNEL_CONSTANTS(constants), bindings, &args, stamp, 1);
        if (!rig->status)
            expect_argmax(rig, &job);
    }
    rig_end(rig);
}

/* Are rows whole groups of the type, without padding between heads? */
static bool fits(const struct shape *shape, enum weight_type type)
{
    const uint32_t n_in = shape->heads ? shape->heads * shape->head_dim : shape->n_in;
    return n_in % weight_format(type)->group == 0 && shape->special != SPECIAL_NAN &&
           (shape->input != INPUT_MERGE || rig_padded(shape->head_dim) == shape->head_dim);
}

void matmul_cases_run(struct rig *rig)
{
    const int n = sizeof shapes / sizeof *shapes;
    for (int i = 0; i < n; i++)
        for (int tile = 0; tile < TILE_COUNT && !rig->status; tile++) {
            if (tile_skipped(rig, (enum tile_id)tile) || (rig->params->quick && !shapes[i].quick))
                continue;
            for (uint32_t t = 0; t < (rig->params->matrix_units && shapes[i].quick ? WEIGHT_TYPES : 1u); t++) {
                const uint32_t type = ((uint32_t)(i + tile) + WEIGHT_BF16 + t) % WEIGHT_TYPES;
                const bool as_is = fits(&shapes[i], (enum weight_type)type);
                if (as_is || t == 0)
                    run_case(rig, &shapes[i], (enum tile_id)tile, (enum weight_type)(as_is ? type : type % 3),
                             (uint64_t)i);
            }
        }
}

/* ---- row independence ---- */

enum { MAX_INDEPENDENT_ROWS = 16 };

static void set_table(struct rig *rig, const struct job *job, uint32_t first, uint32_t n)
{
    const uint32_t words[] = {first, n};
    rig_write(rig, job->bindings[0], 2 * job->rows.table, words, 2);
}

/* Copies the outputs (buffers that began as guard words) into `image`, one after the other. */
static void read_outputs(struct rig *rig, uint32_t *image)
{
    for (uint32_t i = 0; i < rig->n_buffers; i++)
        if (!rig->buffers[i].initial) {
            rig_read(rig, &rig->buffers[i], image);
            image += rig_words(&rig->buffers[i]);
        }
}

static void refill_outputs(struct rig *rig)
{
    for (uint32_t i = 0; i < rig->n_buffers; i++)
        if (!rig->buffers[i].initial)
            rig_refill(rig, &rig->buffers[i]);
}

/* Baseline: the outputs after 1-row passes over rows 0 .. n-1. A pass of n rows must leave the same words
 * everywhere. */
static void check_independence(struct rig *rig, struct job *job)
{
    size_t n_words = 0;
    for (uint32_t i = 0; i < rig->n_buffers; i++)
        n_words += rig->buffers[i].initial ? 0 : rig_words(&rig->buffers[i]);
    uint32_t *baseline[MAX_INDEPENDENT_ROWS], *image = (uint32_t *)(void *)rig_zeros(rig, (n_words + 1) / 2);
    for (uint32_t i = 0; i < MAX_INDEPENDENT_ROWS; i++) {
        baseline[i] = (uint32_t *)(void *)rig_zeros(rig, (n_words + 1) / 2);
        set_table(rig, job, i, 1);
        job_dispatch(rig, job, 1);
        read_outputs(rig, baseline[i]);
    }
    for (uint32_t n = 1; n <= MAX_INDEPENDENT_ROWS && !rig->status; n++) {
        size_t n_differ = 0;
        refill_outputs(rig);
        set_table(rig, job, 0, n);
        job_dispatch(rig, job, stamp_rows(n));
        read_outputs(rig, image);
        for (size_t i = 0; i < n_words; i++)
            n_differ += image[i] != baseline[n - 1][i];
        if (n_differ) {
            char text[64];
            snprintf(text, sizeof text, "%zu words differ at %u rows", n_differ, n);
            rig_fault(rig, (double)n_differ / (double)n_words, LIMIT_EXACT, text, "outputs");
        }
    }
    set_table(rig, job, 0, MAX_INDEPENDENT_ROWS);
}

static void run_independence(struct rig *rig, int i, enum tile_id tile, enum weight_type type)
{
    const struct shape *shape = &shapes[i];
    struct job job;
    char name[RIG_NAME_BYTES];
    name_case(rig, name, shape, tile, type, "1-16");
    if (!rig_begin(rig, kernel_info(shape->id)->name, name, 1000 + (uint64_t)i))
        return;
    job_setup(rig, &job, shape, tile, type, MAX_INDEPENDENT_ROWS, 0);
    for (uint32_t k = 0; k < rig->n_buffers; k++)
        rig->buffers[k].expected = NULL; /* the bits of other passes are the expectation here */
    rig_commit(rig);
    check_independence(rig, &job);
    rig_end(rig);
}

void matmul_row_independence(struct rig *rig)
{
    const int n = sizeof shapes / sizeof *shapes;
    for (int i = 0; i < n; i++)
        for (int tile = 0; tile < TILE_COUNT && !rig->status; tile++) {
            const enum weight_type quantised = (i + tile) % 2 ? WEIGHT_TYPE_Q8_0 : WEIGHT_TYPE_Q4_1;
            if (!shapes[i].independence || tile_skipped(rig, (enum tile_id)tile))
                continue;
            run_independence(rig, i, (enum tile_id)tile, WEIGHT_TYPE_BF16);
            if (fits(&shapes[i], quantised))
                run_independence(rig, i, (enum tile_id)tile, quantised);
        }
}
