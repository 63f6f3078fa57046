/* Cases of the attention kernel: heads, splits, depth slots, cache types, key and value heads fewer than query
 * heads. */
#include <math.h>
#include <stdio.h>

#include "reference/kernel_rig.h"
#include "reference/ref.h"

struct attention_case {
    const char *name;
    bool quick;
    uint32_t heads, kv_heads, head_dim, n_ctx, n_sequences, first, n_rows;
    enum kv_type kv;
    bool core;
    uint32_t n_depths, n_slots, split; /* split 0: the device's own */
    uint32_t
        plain_threads; /* workgroup of the version without subgroups, which is free to choose; 0: the device's own */
    bool prompt;       /* rows of one sequence at one depth, one behind the other */
    uint32_t n_branch; /* of the n_ctx cells of a sequence */
};

static const struct attention_case attention_cases[] = {
    {"core, full slots, f16, mixed depths", true, 3, 3, 24, 40, 2, 2, 8, KV_F16, true, 6, 6, 16, 0, false, 0},
    {"core, share:2, f32, mixed depths", false, 3, 3, 24, 40, 2, 0, 64, KV_F32, true, 7, 2, 16, 32, false, 0},
    {"core, share:1, f16", false, 5, 5, 10, 33, 1, 1, 5, KV_F16, true, 4, 1, 16, 0, false, 0},
    {"prelude, f32, one split", false, 1, 1, 2, 30, 3, 0, 1, KV_F32, false, 1, 1, 32, 0, false, 0},
    {"prelude, f16, three splits", true, 4, 4, 32, 300, 1, 0, 7, KV_F16, false, 1, 1, 128, 0, false, 0},
    {"core, f32, own split, 3 sequences", false, 2, 2, 10, 270, 3, 4, 13, KV_F32, true, 3, 3, 0, 0, false, 0},
    {"coda, f16, large heads", false, 2, 2, 96, 300, 2, 0, 3, KV_F16, false, 1, 1, 0, 64, false, 0},
    {"core, f32, large heads", false, 3, 3, 96, 50, 2, 5, 6, KV_F32, true, 5, 4, 16, 0, false, 0},
    {"core, f16, odd pad", false, 3, 3, 34, 70, 1, 0, 4, KV_F16, true, 5, 5, 32, 16, false, 0},
    {"core, f16, one split, mixed depths", true, 3, 3, 24, 40, 2, 2, 8, KV_F16, true, 6, 6, 64, 0, false, 0},
    {"coda, f16, one split, large heads", false, 2, 2, 96, 300, 2, 0, 3, KV_F16, false, 1, 1, 512, 64, false, 0},
    {"core, f16, two heads per key", true, 4, 2, 24, 40, 2, 2, 8, KV_F16, true, 6, 6, 16, 0, false, 0},
    {"coda, f32, six heads per key", false, 6, 1, 10, 70, 1, 0, 5, KV_F32, false, 1, 1, 32, 16, false, 0},
    {"core, f32, share:2, three heads per key, one split", false, 6, 2, 34, 50, 2, 1, 6, KV_F32, true, 5, 2, 64, 0,
     false, 0},
    {"core, q8, mixed depths", true, 3, 3, 24, 40, 2, 2, 8, KV_Q8, true, 6, 6, 16, 0, false, 0},
    {"core, q8, one group, one split", true, 4, 4, 32, 70, 2, 1, 9, KV_Q8, true, 5, 5, 128, 0, false, 0},
    {"prelude, q8, three splits", false, 4, 4, 32, 300, 1, 0, 7, KV_Q8, false, 1, 1, 128, 0, false, 0},
    {"core, q8, smallest head, share:1", false, 5, 5, 2, 33, 1, 1, 5, KV_Q8, true, 4, 1, 16, 0, false, 0},
    {"core, q8, odd pad, three heads per key, share:2", true, 6, 2, 34, 50, 2, 1, 6, KV_Q8, true, 5, 2, 16, 16, false,
     0},
    {"core, q8, own split, 3 sequences", false, 2, 2, 48, 270, 3, 4, 13, KV_Q8, true, 3, 3, 0, 0, false, 0},
    {"coda, q8, two groups", false, 2, 2, 64, 300, 2, 0, 3, KV_Q8, false, 1, 1, 128, 64, false, 0},
    {"coda, q8, three groups", true, 2, 2, 96, 300, 2, 0, 3, KV_Q8, false, 1, 1, 128, 64, false, 0},
    {"core, q8, four groups, two heads per key", false, 4, 2, 128, 50, 2, 5, 6, KV_Q8, true, 5, 4, 16, 0, false, 0},
    {"core, q8, five groups", false, 2, 2, 160, 40, 1, 1, 4, KV_Q8, true, 3, 3, 16, 32, false, 0},
    {"core, q8, eight groups, one split", false, 2, 1, 256, 40, 1, 0, 5, KV_Q8, true, 3, 3, 64, 0, false, 0},
    {"prompt, core, f16", true, 4, 4, 32, 150, 2, 1, 61, KV_F16, true, 3, 3, 64, 0, true, 0},
    {"prompt, prelude, f32, three heads per key", true, 3, 1, 24, 70, 1, 0, 19, KV_F32, false, 1, 1, 32, 0, true, 0},
    {"prompt, core, q8, share:2", false, 2, 2, 96, 140, 2, 3, 33, KV_Q8, true, 5, 2, 128, 0, true, 0},
    {"prompt, coda, f16, large heads", false, 2, 1, 256, 90, 1, 0, 9, KV_F16, false, 1, 1, 128, 48, true, 0},
    {"core, f16, branches", true, 4, 2, 24, 60, 2, 2, 11, KV_F16, true, 6, 6, 16, 0, false, 20},
    {"core, f32, branches, share:2", false, 3, 3, 34, 60, 3, 0, 40, KV_F32, true, 7, 2, 64, 16, false, 24},
    {"core, q8, branches", true, 6, 2, 34, 60, 2, 1, 16, KV_Q8, true, 5, 5, 16, 16, false, 20},
    {"coda, q8, two groups, branches", false, 2, 2, 64, 300, 2, 0, 9, KV_Q8, false, 1, 1, 128, 0, false, 120},
};

/* Rows that share keys and values: the device's own number, and others. */
static uint32_t tile_rows_of(const struct rig *rig, uint64_t seed)
{
    static const uint32_t others[] = {0, 4, 16, 5};
    const uint32_t own = rig->tuning.attention_tile_rows, at = (uint32_t)(seed % 4);
    const bool lanes_are_rows = rig->params->device->caps.texel_loads && rig->params->device->caps.subgroup_shuffle;
    if (lanes_are_rows)
        return own * (1 + at % 2);
    return others[at] ? others[at] : own ? own : 8;
}

/* A row's splits. Those past its position are not written; where there is one at most, it is divided by its sum, which
 * is not written either. */
static void expect_partials(const struct ref_kv *kv, const struct rig_rows *rows, uint32_t index, const double *q,
                            uint32_t n_heads, uint32_t split, uint32_t n_splits, double *o, double *sums)
{
    const struct row *row = &rows->row[index];
    for (uint32_t s = 0; s * split <= row->position; s++)
        for (uint32_t head = 0; head < n_heads; head++) {
            const uint32_t at = (index * n_splits + s) * n_heads + head, end = (s + 1) * split;
            ref_attention(kv, row, head / (n_heads / kv->n_heads), q + ((size_t)index * n_heads + head) * kv->head_pad,
                          s * split, end < row->position + 1 ? end : row->position + 1, o + (size_t)at * kv->head_pad,
                          &sums[2 * at], &sums[2 * at + 1]);
            for (uint32_t i = 0; i < kv->head_pad && n_splits == 1; i++)
                o[(size_t)at * kv->head_pad + i] /= sums[2 * at + 1];
            if (n_splits == 1)
                sums[2 * at] = sums[2 * at + 1] = UNTOUCHED;
        }
}

static struct attention_constants attention_constants_of(const struct rig *rig, const struct attention_case *c,
                                                         uint32_t split, uint32_t n_splits, uint32_t tile_rows)
{
    const bool plain = !rig->params->device->caps.subgroup_shuffle && c->plain_threads;
    return (struct attention_constants){
        .threads = plain ? c->plain_threads : rig->tuning.attention_threads,
        .split = split,
        .kv_type = (uint32_t)c->kv,
        .core = c->core,
        .octets = rig_padded(c->head_dim) / CHUNK,
        .per_lane = tile_rows ? rig->tuning.attention_tile_per_lane : rig->tuning.attention_per_lane,
        .shared_slots = c->n_slots<c->n_depths, .whole = n_splits == 1, .heads_per_kv = c->heads / c->kv_heads,
                                   .tile_rows = tile_rows, .branches = c->n_branch> 0};
}

/* A q8 cache of random values; kv becomes what it says they are. */
static struct guarded *plan_q8(struct rig *rig, const struct ref_kv *kv, uint32_t n_sequences)
{
    const uint32_t n = (uint32_t)ref_q8_words(kv, n_sequences), n_entries = n_sequences * kv->n_slots * kv->n_heads;
    uint32_t *words = (uint32_t *)(void *)rig_zeros(rig, (n + 1) / 2);
    double *initial = rig_zeros(rig, n);
    for (uint32_t i = 0; i < n_entries * 2 * kv->n_ctx; i++) {
        const uint32_t position = i % kv->n_ctx, part = i / kv->n_ctx % 2, head = i / kv->n_ctx / 2 % kv->n_heads,
                       slot = i / kv->n_ctx / 2 / kv->n_heads % kv->n_slots,
                       sequence = i / kv->n_ctx / 2 / kv->n_heads / kv->n_slots;
        const struct ref_q8_place place = ref_q8_place(kv, sequence, position, slot, part, head);
        double *entry = ref_kv_entry(kv, sequence, position, slot, part, head);
        const double size = exp2((double)(rig_random(rig) % 7) - 3.0); /* scales that differ from entry to entry */
        for (uint32_t k = 0; k < kv->head_pad; k++)
            entry[k] *= k < KV_GROUP ? size : 1.0 / size;
        ref_q8_write(entry, kv->head_pad, part, words + place.words, words + place.scales);
        ref_q8_read(words + place.words, words + place.scales, part, kv->head_pad, entry);
    }
    for (uint32_t i = 0; i < n; i++)
        initial[i] = words[i];
    return rig_buffer(rig, "cache", ELEMENT_U32, n, initial, NULL, 0.0);
}

/* A case, and everything a dispatch of it needs. */
struct attention_job {
    const struct attention_case *c;
    struct rig_rows rows;
    uint32_t tile_rows, split, n_splits; /* tile_rows 0: every row for itself */
    struct guarded *bindings[6];
    struct attention_args args;
    struct attention_constants constants;
};

/* Rows of a prompt that ends with the context. */
static void rows_of_prompt(struct rig_rows *rows)
{
    for (uint32_t i = 0; i < rows->n; i++) {
        struct row *row = &rows->row[rows->first + i];
        row->position = rows->n_ctx - rows->n + i;
        row->sequence = rows->n_sequences - 1;
        row->depth = rows->n_depths - 1;
    }
}

/* The cache [sequence, slot, kv head, part, position, head_pad] and its depths, of noise. `poison`: a value that is not
 * a number where the last row has its own. */
static struct ref_kv plan_cache(struct rig *rig, struct attention_job *job, bool poison)
{
    const struct attention_case *c = job->c;
    const enum element element = c->kv == KV_F16 ? ELEMENT_F16 : ELEMENT_F32;
    const uint32_t pad = rig_padded(c->head_dim), n_slots = c->n_ctx * c->n_sequences;
    const size_t n_cache = (size_t)n_slots * c->n_slots * 2 * c->kv_heads * pad;
    uint32_t *depths = (uint32_t *)(void *)rig_zeros(rig, n_slots);
    double *depth_values = rig_zeros(rig, n_slots), *values;
    for (uint32_t i = 0; i < n_slots; i++)
        depth_values[i] = depths[i] = 1 + rig_random(rig) % c->n_depths;
    values = rig_noise(rig, n_cache, 1.0, element);
    const struct ref_kv kv = {.values = values,
                              .depths = depths,
                              .n_ctx = c->n_ctx,
                              .n_slots = c->n_slots,
                              .n_heads = c->kv_heads,
                              .head_pad = pad,
                              .core = c->core,
                              .n_branch = c->n_branch};
    const struct row *last = &job->rows.row[job->rows.first + job->rows.n - 1];
    for (uint32_t slot = 0; slot < c->n_slots && poison; slot++)
        ref_kv_entry(&kv, last->sequence, last->position, slot, 1, 0)[0] = (double)NAN;
    job->bindings[2] = c->kv == KV_Q8 ? plan_q8(rig, &kv, c->n_sequences)
                                      : rig_buffer(rig, "cache", element, (uint32_t)n_cache, values, NULL, 0.0);
    job->bindings[3] = rig_buffer(rig, "depths", ELEMENT_U32, n_slots, depth_values, NULL, 0.0);
    return kv;
}

static void attention_setup(struct rig *rig, struct attention_job *job, uint64_t seed, bool poison)
{
    const struct attention_case *c = job->c;
    job->rows = (struct rig_rows){.table = TABLE_CORE,
                                  .first = c->first,
                                  .n = c->n_rows,
                                  .n_ctx = c->n_ctx,
                                  .n_branch = c->n_branch,
                                  .n_sequences = c->n_sequences,
                                  .n_depths = c->n_depths};
    rig_rows(rig, &job->rows);
    if (c->prompt)
        rows_of_prompt(&job->rows);
    job->tile_rows = job->tile_rows ? tile_rows_of(rig, seed) : 0;
    job->split = job->tile_rows ? c->n_ctx : c->split ? c->split : rig->tuning.attention_split;
    job->n_splits = (c->n_ctx + job->split - 1) / job->split;
    const uint32_t pad = rig_padded(c->head_dim), end = c->first + c->n_rows;
    const size_t n_query = (size_t)end * c->heads * pad, n_sums = (size_t)end * job->n_splits * c->heads;
    double *q = rig_noise(rig, n_query, 2.0, ELEMENT_F32), *o = rig_filled(rig, n_sums * pad, UNTOUCHED),
           *sums = rig_filled(rig, 2 * n_sums, UNTOUCHED), *state, *state_expected;
    for (size_t i = 0; i < n_query; i++)
        q[i] = i % pad < c->head_dim ? q[i] : 0.0;
    job->bindings[0] = rig_plan_state(rig, &job->rows, &state, &state_expected);
    job->bindings[1] = rig_buffer(rig, "query", ELEMENT_F32, (uint32_t)n_query, q, NULL, 0.0);
    const struct ref_kv kv = plan_cache(rig, job, poison);
    uint32_t last = 0;
    for (uint32_t i = c->first; i < end; i++) {
        expect_partials(&kv, &job->rows, i, q, c->heads, job->split, job->n_splits, o, sums);
        last = job->rows.row[i].position > last ? job->rows.row[i].position : last;
    }
    job->bindings[4] = rig_buffer(rig, "partial outputs", ELEMENT_F32, (uint32_t)n_sums * pad, NULL, o,
                                  LIMIT_ATTENTION);
    job->bindings[5] = rig_buffer(rig, "partial sums", ELEMENT_F32, 2 * (uint32_t)n_sums, NULL, sums, LIMIT_ATTENTION);
    const uint32_t groups = STATE_GROUPS + 3 * job->rows.table,
                   n_groups = job->tile_rows ? (c->n_rows + job->tile_rows - 1) / job->tile_rows : c->n_rows;
    rig_set_state(state, state_expected, groups, c->heads);
    rig_set_state(state, state_expected, groups + 1, last / job->split + 1);
    rig_set_state(state, state_expected, groups + 2, n_groups + 1); /* one too many: the kernel looks at the table */
    job->args = (struct attention_args){.table = job->rows.table,
                                        .n_heads = c->heads,
                                        .head_pad = pad,
                                        .n_slots = c->n_slots,
                                        .n_cells = c->n_ctx,
                                        .n_splits = job->n_splits,
                                        .n_positions = c->n_ctx - c->n_branch};
    job->constants = attention_constants_of(rig, c, job->split, job->n_splits, job->tile_rows);
}

static void attention_dispatch(struct rig *rig, const struct attention_job *job)
{
    rig_dispatch_with(rig,
                      &(struct rig_dispatch_params){.id = job->tile_rows ? KERNEL_ATTENTION_TILE : KERNEL_ATTENTION,
                                                    .constants = &job->constants,
                                                    .n_constants = sizeof job->constants / sizeof(uint32_t),
                                                    .bindings = job->bindings,
                                                    .push = &job->args,
                                                    .groups = job->bindings[0],
                                                    .groups_word = STATE_GROUPS + 3 * job->rows.table});
}

static void run_attention(struct rig *rig, const struct attention_case *c, bool tile, uint64_t seed)
{
    struct attention_job job = {.c = c, .tile_rows = tile};
    if (!rig_begin(rig, kernel_info(tile ? KERNEL_ATTENTION_TILE : KERNEL_ATTENTION)->name, c->name, seed))
        return;
    attention_setup(rig, &job, seed, false);
    rig_commit(rig);
    attention_dispatch(rig, &job);
    rig_end(rig);
}

void attention_cases_run(struct rig *rig)
{
    for (size_t i = 0; i < sizeof attention_cases / sizeof *attention_cases && !rig->status; i++)
        if (!rig->params->quick || attention_cases[i].quick) {
            run_attention(rig, &attention_cases[i], false, i);
            if (rig->params->device->caps.subgroup_shuffle && !attention_cases[i].n_branch)
                run_attention(rig, &attention_cases[i], true, i);
        }
}

/* ---- row independence ---- */

/* A tile must leave of every row what a tile of that row alone leaves, also where another row meets what is no number.
 */
static void check_tiles(struct rig *rig, struct attention_job *job)
{
    const struct attention_case *c = job->c;
    struct guarded *const out = job->bindings[4];
    const uint32_t n_words = rig_words(out), n_row = c->heads * rig_padded(c->head_dim);
    uint32_t *together = (uint32_t *)(void *)rig_zeros(rig, (n_words + 1) / 2),
             *alone = (uint32_t *)(void *)rig_zeros(rig, (n_words + 1) / 2);
    attention_dispatch(rig, job);
    rig_read(rig, out, together);
    for (uint32_t i = 0; i < c->n_rows && !rig->status; i++) {
        const uint32_t table[] = {c->first + i, 1},
                       at = RIG_GUARD_BYTES / (uint32_t)sizeof(uint32_t) + (c->first + i) * n_row;
        uint32_t n_differ = 0, n_nan = 0;
        rig_refill(rig, out);
        rig_write(rig, job->bindings[0], 2 * job->rows.table, table, 2);
        attention_dispatch(rig, job);
        rig_read(rig, out, alone);
        for (uint32_t k = 0; k < n_row; k++) {
            n_differ += alone[at + k] != together[at + k];
            n_nan += (alone[at + k] & 0x7fffffffu) > 0x7f800000u;
        }
        if (n_differ || (n_nan > 0) != (i + 1 == c->n_rows)) {
            char text[96];
            snprintf(text, sizeof text, "row %u of %u: %u of %u words differ, %u are no numbers", i, c->n_rows,
                     n_differ, n_row, n_nan);
            rig_fault(rig, (double)n_differ / n_row, LIMIT_EXACT, text, "partial outputs");
        }
    }
    const uint32_t table[] = {c->first, c->n_rows};
    rig_write(rig, job->bindings[0], 2 * job->rows.table, table, 2);
}

void attention_row_independence(struct rig *rig)
{
    for (size_t i = 0; i < sizeof attention_cases / sizeof *attention_cases && !rig->status; i++) {
        const struct attention_case *c = &attention_cases[i];
        struct attention_job job = {.c = c, .tile_rows = true};
        if (!c->prompt || c->kv == KV_Q8 || !rig->params->device->caps.subgroup_shuffle ||
            !rig_begin(rig, kernel_info(KERNEL_ATTENTION_TILE)->name, c->name, 1000 + i))
            continue;
        attention_setup(rig, &job, i, true);
        for (uint32_t k = 0; k < rig->n_buffers; k++)
            rig->buffers[k].expected = NULL; /* the bits of other passes are the expectation here */
        rig_commit(rig);
        check_tiles(rig, &job);
        rig_end(rig);
    }
}
