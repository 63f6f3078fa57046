/* Cases of norm.comp, with every combination of its options that a family uses, and of heads.comp. */
#include <math.h>
#include <string.h>

#include "reference/kernel_rig.h"
#include "reference/ref.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { N_CTX = 40, N_BRANCH = 8, N_SEQUENCES = 2, N_SLOTS = N_CTX * N_SEQUENCES };
/* Large enough to show when it is forgotten. */
static const float eps = 0.01f;

/* ---- norm ---- */

struct norm_case {
    const char *name;
    bool quick;
    uint32_t threads; /* 0: the device's own */
    uint32_t n_embd, first, n_rows, n_parts;
    bool in_by_slot, raw_at_depth_0, owed, norm;
    bool add, add_by_slot, in_place; /* in place: what is added lies where the sum goes */
    bool out_by_slot, advance;
};

static const struct norm_case norm_cases[] = {
    {"raw and advanced rows", .quick = true, .n_embd = 72, .first = 2, .n_rows = 6, .n_parts = 3, .in_by_slot = true,
     .raw_at_depth_0 = true, .owed = true, .norm = true},
    {"one row", .n_embd = 5, .n_rows = 1, .n_parts = 1, .in_by_slot = true, .raw_at_depth_0 = true, .owed = true,
     .norm = true},
    {"large", .n_embd = 2001, .first = 4, .n_rows = 60, .n_parts = 40, .in_by_slot = true, .raw_at_depth_0 = true,
     .owed = true, .norm = true},
    {"32 lanes", .threads = 32, .n_embd = 130, .n_rows = 3, .n_parts = 33, .in_by_slot = true, .raw_at_depth_0 = true,
     .owed = true, .norm = true},
    {"states, plain", .quick = true, .n_embd = 72, .first = 3, .n_rows = 5, .n_parts = 1, .in_by_slot = true,
     .raw_at_depth_0 = true},
    {"states, owed a norm", .quick = true, .n_embd = 72, .first = 1, .n_rows = 12, .n_parts = 1, .in_by_slot = true,
     .raw_at_depth_0 = true, .owed = true},
    {"states, owed a norm, large", .threads = 32, .n_embd = 1003, .n_rows = 60, .n_parts = 1, .in_by_slot = true,
     .raw_at_depth_0 = true, .owed = true},
    {"a branch and its residual, in place", .quick = true, .n_embd = 70, .first = 2, .n_rows = 6, .n_parts = 3,
     .owed = true, .add = true, .in_place = true},
    {"a branch and its residual, large", .n_embd = 2001, .first = 5, .n_rows = 60, .n_parts = 40, .owed = true,
     .add = true, .in_place = true},
    {"a branch and its residual, end of a step", .quick = true, .n_embd = 72, .first = 3, .n_rows = 7, .n_parts = 3,
     .owed = true, .add = true, .out_by_slot = true, .advance = true},
    {"a branch and its residual, one row, 32 lanes", .threads = 32, .n_embd = 9, .first = 6, .n_rows = 1, .n_parts = 1,
     .owed = true, .add = true, .out_by_slot = true, .advance = true},
    {"a branch and states", .quick = true, .n_embd = 72, .first = 2, .n_rows = 9, .n_parts = 3, .owed = true,
     .add = true, .add_by_slot = true},
};

struct norm_job {
    const struct norm_case *c;
    struct rig_rows rows;
    uint32_t in_stride, add_stride, out_stride, parts_stride, n_in, n_add, n_out; /* n: vectors */
    double *a, *x, *owed, *norm, *y, *parts, *parts_out;
    double *state, *state_expected;
};

/* The sums of squares of vectors as their producer would leave them. */
static double *norm_parts(struct rig *rig, const struct norm_job *job)
{
    const uint32_t n = job->c->n_embd, n_parts = job->c->n_parts, step = (n + n_parts - 1) / n_parts;
    double *parts = rig_filled(rig, (size_t)job->n_in * job->parts_stride * 2, UNTOUCHED);
    for (uint32_t i = 0; i < job->n_in; i++)
        for (uint32_t p = 0; p < n_parts; p++) {
            const double *a = job->a + (size_t)i * job->in_stride;
            double *pair = parts + ((size_t)i * job->parts_stride + p) * 2;
            pair[0] = 0.0;
            pair[1] = 7.0; /* the weighted sum is not this kernel's business */
            for (uint32_t k = p * step; k < n && k < (p + 1) * step; k++)
                pair[0] += a[k] * a[k];
        }
    return parts;
}

static void expect_norm(struct rig *rig, struct norm_job *job)
{
    const struct norm_case *c = job->c;
    const uint32_t n = c->n_embd;
    double *value = rig_zeros(rig, n);
    for (uint32_t i = job->rows.first; i < job->rows.first + job->rows.n; i++) {
        const uint32_t slot = rig_slot(&job->rows, i), out = c->out_by_slot ? slot : i;
        double *y = job->y + (size_t)out * job->out_stride, sum = 0.0;
        memcpy(value, job->a + (size_t)(c->in_by_slot ? slot : i) * job->in_stride, n * sizeof *value);
        if (c->owed && !(c->raw_at_depth_0 && job->rows.row[i].depth == 0))
            ref_norm(value, job->owed, n, (double)eps, value);
        if (c->norm)
            ref_norm(value, job->norm, n, (double)eps, value);
        for (uint32_t k = 0; k < n; k++) {
            y[k] = value[k] + (c->add ? job->x[(size_t)(c->add_by_slot ? slot : i) * job->add_stride + k] : 0.0);
            sum += y[k] * y[k];
        }
        job->parts_out[4 * out] = sum;
        job->parts_out[4 * out + 1] = 0.0;
        if (c->advance)
            job->state_expected[STATE_HEAD_WORDS + 4 * i + 3] += 1.0;
    }
}

static void norm_setup(struct rig *rig, struct norm_job *job, const struct norm_case *c)
{
    *job = (struct norm_job){.c = c,
                             .rows = {.table = TABLE_CODA,
                                      .first = c->first,
                                      .n = c->n_rows,
                                      .n_ctx = N_CTX,
                                      .n_branch = N_BRANCH,
                                      .n_sequences = N_SEQUENCES,
                                      .n_depths = 3}};
    rig_rows(rig, &job->rows);
    const uint32_t n = c->n_embd, end = c->first + c->n_rows;
    job->n_in = c->in_by_slot ? N_SLOTS : end;
    job->n_add = c->add_by_slot ? N_SLOTS : end;
    job->n_out = c->out_by_slot ? N_SLOTS : end;
    job->in_stride = rig_padded(n);
    job->out_stride = job->in_stride + CHUNK;
    job->add_stride = c->in_place ? job->out_stride : job->in_stride + 2 * CHUNK;
    job->parts_stride = c->n_parts + 1;
    job->a = rig_noise(rig, (size_t)job->n_in * job->in_stride, 3.0, ELEMENT_F32);
    job->x = rig_noise(rig, (size_t)job->n_add * job->add_stride, 2.0, ELEMENT_F32);
    job->owed = rig_noise(rig, n, 1.0, ELEMENT_F32);
    job->norm = rig_noise(rig, n, 1.0, ELEMENT_F32);
    job->parts = norm_parts(rig, job);
    job->parts_out = rig_filled(rig, (size_t)job->n_out * 4, UNTOUCHED);
    job->y = rig_filled(rig, (size_t)job->n_out * job->out_stride, UNTOUCHED);
    if (c->in_place) /* what no row writes stays as it is */
        memcpy(job->y, job->x, (size_t)job->n_out * job->out_stride * sizeof *job->y);
}

static void run_norm(struct rig *rig, const struct norm_case *c, uint64_t seed)
{
    struct norm_job job;
    if (!rig_begin(rig, "norm", c->name, seed))
        return;
    norm_setup(rig, &job, c);
    struct guarded *state = rig_plan_state(rig, &job.rows, &job.state, &job.state_expected);
    expect_norm(rig, &job);
    struct guarded *const output = rig_buffer(rig, "output", ELEMENT_F32, job.n_out * job.out_stride,
                                              c->in_place ? job.x : NULL, job.y, LIMIT_NORM);
    struct guarded *const bindings[] = {
        state,
        rig_buffer(rig, "input", ELEMENT_F32, job.n_in * job.in_stride, job.a, NULL, 0.0),
        rig_buffer(rig, "owed norm", ELEMENT_F32, c->n_embd, job.owed, NULL, 0.0),
        rig_buffer(rig, "own norm", ELEMENT_F32, c->n_embd, job.norm, NULL, 0.0),
        rig_buffer(rig, "statistics", ELEMENT_F32, job.n_in * job.parts_stride * 2, job.parts, NULL, 0.0),
        c->in_place ? output : rig_buffer(rig, "added", ELEMENT_F32, job.n_add * job.add_stride, job.x, NULL, 0.0),
        output,
        rig_buffer(rig, "output statistics", ELEMENT_F32, job.n_out * 4, NULL, job.parts_out, LIMIT_STATISTICS)};
    const struct norm_args args = {.table = job.rows.table,
                                   .n_embd = c->n_embd,
                                   .in_stride = job.in_stride,
                                   .add_stride = job.add_stride,
                                   .out_stride = job.out_stride,
                                   .n_cells = N_CTX,
                                   .n_parts_in = c->n_parts,
                                   .parts_in_stride = job.parts_stride,
                                   .parts_out_stride = 2,
                                   .eps = eps};
    const struct norm_constants constants = {.threads = c->threads ? c->threads : rig->tuning.row_threads,
                                             .in_by_slot = c->in_by_slot,
                                             .raw_at_depth_0 = c->raw_at_depth_0,
                                             .owed = c->owed,
                                             .norm = c->norm,
                                             .add = c->add,
                                             .add_by_slot = c->add_by_slot,
                                             .out_by_slot = c->out_by_slot,
                                             .advance = c->advance};
    rig_commit(rig);
    rig_dispatch(rig, KERNEL_NORM, KERNEL_CONSTANTS(constants), bindings, &args, c->n_rows + 3,
                 1); /* a stamp may hold more rows than the table */
    rig_end(rig);
}

/* ---- heads ---- */

struct heads_case {
    const char *name;
    bool quick;
    uint32_t threads; /* 0: the device's own */
    uint32_t heads, kv_heads, head_dim, first, n_rows;
    enum kv_type kv;
    bool core, bias; /* bias: in place of the norms */
    uint32_t n_slots;
};

enum { N_DEPTHS = 5 };

static const struct heads_case heads_cases[] = {
    {"core, f32 cache", .quick = true, .heads = 3, .kv_heads = 3, .head_dim = 24, .first = 2, .n_rows = 7, .core = true,
     .n_slots = N_DEPTHS},
    {"grouped, shared slots, f16 cache", .quick = true, .heads = 6, .kv_heads = 2, .head_dim = 10, .first = 3,
     .n_rows = 5, .kv = KV_F16, .core = true, .n_slots = 2},
    {"prelude, f16 cache, one row", .heads = 4, .kv_heads = 4, .head_dim = 16, .first = 5, .n_rows = 1, .kv = KV_F16,
     .n_slots = 1},
    {"prelude, f32 cache, grouped, odd pairs", .heads = 4, .kv_heads = 1, .head_dim = 10, .n_rows = 3, .n_slots = 1},
    {"smallest head", .heads = 1, .kv_heads = 1, .head_dim = 2, .first = 7, .n_rows = 1, .core = true, .n_slots = 3},
    {"many rows, grouped, f16 cache", .heads = 8, .kv_heads = 2, .head_dim = 24, .first = 4, .n_rows = 60, .kv = KV_F16,
     .core = true, .n_slots = N_DEPTHS},
    {"many rows, 32 lanes, shared slots, large heads", .threads = 32, .heads = 2, .kv_heads = 2, .head_dim = 96,
     .n_rows = 60, .core = true, .n_slots = 3},
    {"bias, f16 cache", .heads = 3, .kv_heads = 3, .head_dim = 34, .first = 1, .n_rows = 4, .kv = KV_F16, .core = true,
     .bias = true, .n_slots = N_DEPTHS},
    {"q8 cache", .quick = true, .heads = 4, .kv_heads = 4, .head_dim = 32, .first = 2, .n_rows = 7, .kv = KV_Q8,
     .core = true, .bias = true, .n_slots = N_DEPTHS},
    {"norms, q8 cache, grouped, shared slots", .quick = true, .heads = 6, .kv_heads = 2, .head_dim = 34, .first = 3,
     .n_rows = 5, .kv = KV_Q8, .core = true, .n_slots = 2},
    {"prelude, q8 cache, one row", .heads = 4, .kv_heads = 4, .head_dim = 20, .first = 5, .n_rows = 1, .kv = KV_Q8,
     .bias = true, .n_slots = 1},
    {"smallest head, q8 cache", .heads = 3, .kv_heads = 1, .head_dim = 2, .first = 7, .n_rows = 3, .kv = KV_Q8,
     .core = true, .bias = true, .n_slots = 3},
    {"many rows, 32 lanes, large heads, q8 cache", .threads = 32, .heads = 2, .kv_heads = 2, .head_dim = 96,
     .n_rows = 40, .kv = KV_Q8, .core = true, .bias = true, .n_slots = 3},
    {"norms, grouped, largest heads, q8 cache", .heads = 4, .kv_heads = 2, .head_dim = 256, .first = 2, .n_rows = 6,
     .kv = KV_Q8, .n_slots = 1},
    {"pad of half a group, q8 cache", .heads = 2, .kv_heads = 2, .head_dim = 48, .first = 2, .n_rows = 6, .kv = KV_Q8,
     .bias = true, .n_slots = 1},
};

struct heads_job {
    const struct heads_case *c;
    struct rig_rows rows;
    uint32_t stride, n_q, n_k, pad, end;
    double *a, *norms, *rotary, *query, *depths;
    struct ref_kv kv;
    struct ref_heads heads;
};

static void heads_setup(struct rig *rig, struct heads_job *job, const struct heads_case *c)
{
    *job = (struct heads_job){.c = c,
                              .rows = {.table = TABLE_CORE,
                                       .first = c->first,
                                       .n = c->n_rows,
                                       .n_ctx = N_CTX,
                                       .n_branch = N_BRANCH,
                                       .n_sequences = N_SEQUENCES,
                                       .n_depths = N_DEPTHS},
                              .n_q = c->heads * c->head_dim,
                              .n_k = c->kv_heads * c->head_dim,
                              .pad = rig_padded(c->head_dim),
                              .end = c->first + c->n_rows};
    rig_rows(rig, &job->rows);
    const uint32_t h = c->head_dim;
    job->stride = rig_padded(job->n_q + 2 * job->n_k) + CHUNK;
    job->a = rig_noise(rig, (size_t)job->end * job->stride, 3.0, ELEMENT_F32);
    job->norms = rig_noise(rig, job->n_q + job->n_k, 1.0, ELEMENT_F32);
    job->query = rig_filled(rig, (size_t)job->end * c->heads * job->pad, UNTOUCHED);
    job->depths = rig_filled(rig, N_SLOTS, UNTOUCHED);
    job->kv = (struct ref_kv){
        .values = rig_filled(rig, (size_t)N_SLOTS * c->n_slots * 2 * c->kv_heads * job->pad, UNTOUCHED),
        .n_ctx = N_CTX,
        .n_slots = c->n_slots,
        .n_heads = c->kv_heads,
        .head_pad = job->pad};
    job->heads = (struct ref_heads){.n = c->heads,
                                    .n_kv = c->kv_heads,
                                    .dim = h,
                                    .q_norm = c->bias ? NULL : job->norms,
                                    .k_norm = c->bias ? NULL : job->norms + job->n_q,
                                    .eps = (double)eps,
                                    .rope = {.base = 50000.0f}};
    job->rotary = rig_zeros(rig, (size_t)N_CTX * h);
    for (uint32_t p = 0; p < N_CTX; p++) { /* (cos, sin) is where (1, 0) turns to */
        for (uint32_t i = 0; i < h; i += 2)
            job->rotary[p * h + i] = 1.0;
        ref_rotary(job->rotary + p * h, 1, h, p, &job->heads.rope);
    }
}

static void expect_heads(struct rig *rig, struct heads_job *job)
{
    const struct heads_case *c = job->c;
    const uint32_t h = c->head_dim;
    double *q = rig_zeros(rig, job->n_q), *k = rig_zeros(rig, job->n_k);
    for (uint32_t i = c->first; i < job->end; i++) {
        const struct row *row = &job->rows.row[i];
        const double *from = job->a + (size_t)i * job->stride, *v = from + job->n_q + job->n_k;
        const uint32_t slot = c->core ? row->depth % c->n_slots : 0, cell = row->position + row->shift;
        memcpy(q, from, job->n_q * sizeof *q);
        memcpy(k, from + job->n_q, job->n_k * sizeof *k);
        for (uint32_t j = 0; j < job->n_q && c->bias; j++)
            q[j] += job->norms[j];
        for (uint32_t j = 0; j < job->n_k && c->bias; j++)
            k[j] += job->norms[job->n_q + j];
        ref_query_key(&job->heads, row->position, q, k);
        for (uint32_t head = 0; head < c->heads; head++)
            memcpy(job->query + ((size_t)i * c->heads + head) * job->pad, q + head * h, h * sizeof *q);
        for (uint32_t head = 0; head < c->kv_heads; head++) {
            memcpy(ref_kv_entry(&job->kv, row->sequence, cell, slot, 0, head), k + head * h, h * sizeof *k);
            memcpy(ref_kv_entry(&job->kv, row->sequence, cell, slot, 1, head), v + head * h, h * sizeof *v);
        }
        if (c->core)
            job->depths[rig_slot(&job->rows, i)] = row->depth + 1;
    }
}

/* One entry of a q8 cache: `at` from its beginning; want is what should be stored, or guard words. The sums are of what
 * was stored. */
static const char *check_entry(const uint32_t *words, const uint32_t *scales, uint32_t part, uint32_t h,
                               const double *want, double *error, double *power)
{
    double got[256], rounded[256];
    bool guard = true;
    for (uint32_t i = 0; i < kv_q8_pad(h) / 4; i++)
        guard = guard && words[i] == RIG_GUARD;
    if (guard || isnan(*want))
        return guard != (isnan(*want) != 0) ? "an entry was not written, or one that must not be" : NULL;
    ref_q8_read(words, scales, part, kv_q8_pad(h), got);
    for (uint32_t i = h; i < kv_q8_pad(h); i++)
        if (got[i] != 0.0)
            return "padding is not zero";
    memcpy(rounded, want, h * sizeof *rounded);
    ref_q8_round(rounded, h);
    for (uint32_t i = 0; i < h; i++) {
        const double step = (double)f16_to_f32((uint16_t)(scales[i / KV_GROUP] >> 16 * part));
        if (!(fabs(got[i] - want[i]) <= 0.5001 * step))
            return "a value is further away than half a step";
        *error += (got[i] - rounded[i]) * (got[i] - rounded[i]);
        *power += rounded[i] * rounded[i];
    }
    return NULL;
}

/* What lies in a q8 cache against job->kv, rounded. A value between two steps may go either way. */
static void check_q8(struct rig *rig, const struct heads_job *job, const struct guarded *cache)
{
    const struct ref_kv *kv = &job->kv;
    const uint32_t h = job->c->head_dim, n_entries = N_SEQUENCES * kv->n_slots * kv->n_heads;
    uint32_t *all = (uint32_t *)(void *)rig_zeros(rig, rig_words(cache) / 2 + 1), *words = all + RIG_GUARD_BYTES / 4;
    double error = 0.0, power = 0.0;
    const char *fault = NULL;
    rig_read(rig, cache, all);
    for (uint32_t i = 0; i < n_entries * 2 * N_CTX && !rig->status && !fault; i++) {
        const uint32_t position = i % N_CTX, part = i / N_CTX % 2, head = i / N_CTX / 2 % kv->n_heads,
                       slot = i / N_CTX / 2 / kv->n_heads % kv->n_slots,
                       sequence = i / N_CTX / 2 / kv->n_heads / kv->n_slots;
        const struct ref_q8_place place = ref_q8_place(kv, sequence, position, slot, part, head);
        const double *want = ref_kv_entry(kv, sequence, position, slot, part, head);
        fault = check_entry(words + place.words, words + place.scales, part, h, want, &error, &power);
        for (uint32_t g = 0; g < kv_q8_groups(h) && !fault; g++)
            if ((isnan(*want) != 0) != (words[place.scales + g] == RIG_GUARD)) /* "true" is -1 in some libraries */
                fault = "scales were not written, or some that must not be";
    }
    if (fault)
        rig_fault(rig, INFINITY, LIMIT_CACHE_Q8, fault, cache->name);
    else if (!rig->status && error > LIMIT_CACHE_Q8 * power)
        rig_fault(rig, error / power, LIMIT_CACHE_Q8, "values differ from those rounded in plain C", cache->name);
}

static void run_heads(struct rig *rig, const struct heads_case *c, uint64_t seed)
{
    struct heads_job job;
    double *state, *state_expected;
    if (!rig_begin(rig, "heads", c->name, seed))
        return;
    heads_setup(rig, &job, c);
    expect_heads(rig, &job);
    const bool q8 = c->kv == KV_Q8;
    const uint32_t h = c->head_dim, n_cache = N_SLOTS * c->n_slots * 2 * c->kv_heads * job.pad;
    struct guarded *const bindings[] = {
        rig_plan_state(rig, &job.rows, &state, &state_expected),
        rig_buffer(rig, "input", ELEMENT_F32, job.end * job.stride, job.a, NULL, 0.0),
        rig_buffer(rig, "norms", ELEMENT_F32, job.n_q + job.n_k, job.norms, NULL, 0.0),
        rig_buffer(rig, "rotary", ELEMENT_F32, N_CTX * h, job.rotary, NULL, 0.0),
        rig_buffer(rig, "query", ELEMENT_F32, job.end * c->heads * job.pad, NULL, job.query, LIMIT_MATMUL),
        q8 ? rig_buffer(rig, "cache", ELEMENT_U32, (uint32_t)ref_q8_words(&job.kv, N_SEQUENCES), NULL, NULL, 0.0)
           : rig_buffer(rig, "cache", c->kv == KV_F16 ? ELEMENT_F16 : ELEMENT_F32, n_cache, NULL, job.kv.values,
                        c->kv == KV_F16 ? LIMIT_CACHE_F16 : LIMIT_CACHE_F32),
        rig_buffer(rig, "depths", ELEMENT_U32, N_SLOTS, NULL, job.depths, LIMIT_EXACT)};
    const struct heads_args args = {.table = job.rows.table,
                                    .in_stride = job.stride,
                                    .n_heads = c->heads,
                                    .n_kv_heads = c->kv_heads,
                                    .head_dim = h,
                                    .head_pad = job.pad,
                                    .n_slots = c->n_slots,
                                    .n_cells = N_CTX,
                                    .eps = eps,
                                    .query_scale = 1.0f / sqrtf((float)h)};
    const struct heads_constants constants = {.threads = c->threads ? c->threads : rig->tuning.row_threads,
                                              .kv_type = (uint32_t)c->kv,
                                              .core = c->core,
                                              .shared_slots = c->core && c->n_slots < N_DEPTHS,
                                              .normed = !c->bias};
    rig_commit(rig);
    rig_dispatch(rig, KERNEL_HEADS, KERNEL_CONSTANTS(constants), bindings, &args, c->n_rows + 3, 1);
    if (q8)
        check_q8(rig, &job, bindings[5]);
    rig_end(rig);
}

void norm_cases_run(struct rig *rig)
{
    for (size_t i = 0; i < COUNT(norm_cases) && !rig->status; i++)
        if (!rig->params->quick || norm_cases[i].quick)
            run_norm(rig, &norm_cases[i], i);
    for (size_t i = 0; i < COUNT(heads_cases) && !rig->status; i++)
        if (!rig->params->quick || heads_cases[i].quick)
            run_heads(rig, &heads_cases[i], i);
}
