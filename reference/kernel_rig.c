#include "reference/kernel_rig.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum mn_status rig_init(struct rig *rig, const struct kernel_cases_params *params)
{
    *rig = (struct rig){.params = params};
    rig->tuning = params->tuning ? *params->tuning : tuning_choose(&params->device->caps);
    rig->pool = malloc(RIG_POOL_VALUES * sizeof *rig->pool);
    if (!rig->pool)
        return log_fail(params->device->log, MN_ERR_MEMORY, "out of host memory for the kernel cases");
    return MN_OK;
}

void rig_finish(struct rig *rig)
{
    free(rig->pool);
    *rig = (struct rig){0};
}

/* ---- host values ---- */

uint32_t rig_random(struct rig *rig)
{
    uint64_t z = rig->random += 0x9e3779b97f4a7c15u; /* splitmix64 */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 32);
}

double *rig_filled(struct rig *rig, size_t n, double value)
{
    /* Cases are a fixed table, so this is a mistake in the table, never input. */
    assert(n <= RIG_POOL_VALUES - rig->n_pool);
    double *values = rig->pool + rig->n_pool;
    rig->n_pool += n;
    for (size_t i = 0; i < n; i++)
        values[i] = value;
    return values;
}

double *rig_zeros(struct rig *rig, size_t n)
{
    return rig_filled(rig, n, 0.0);
}

double rig_round(double x, enum element element)
{
    switch (element) {
    case ELEMENT_F16: return (double)f16_to_f32(f32_to_f16((float)x));
    case ELEMENT_BF16: return (double)bf16_to_f32(f32_to_bf16((float)x));
    case ELEMENT_F32: return (double)(float)x;
    case ELEMENT_U32: break;
    }
    return x;
}

double *rig_noise(struct rig *rig, size_t n, double scale, enum element element)
{
    double *values = rig_zeros(rig, n);
    for (size_t i = 0; i < n; i++)
        values[i] = rig_round(scale * ((double)rig_random(rig) / 2147483648.0 - 1.0), element);
    return values;
}

double *rig_weights(struct rig *rig, enum weight_type type, uint32_t n_rows, uint32_t n_in, double scale)
{
    const struct weight_format *format = weight_format(type);
    double *values = rig_noise(rig, (size_t)n_rows * n_in, scale,
                               weight_type_quantised(type) ? ELEMENT_F32 : (enum element)type);
    for (size_t i = 0; weight_type_quantised(type) && i < (size_t)n_rows * n_in; i += format->group) {
        float group[WEIGHT_GROUP_MAX];
        uint8_t packed[WEIGHT_GROUP_MAX], group_scale[4];
        for (uint32_t k = 0; k < format->group; k++)
            group[k] = (float)values[i + k];
        format->encode(group, packed, group_scale);
        format->decode(packed, group_scale, group);
        for (uint32_t k = 0; k < format->group; k++)
            values[i + k] = (double)group[k];
    }
    return values;
}

uint64_t rig_row_bytes(enum weight_type type, uint32_t inner)
{
    const struct weight_format *format = weight_format(type);
    const uint64_t n_groups = inner / format->group;
    return n_groups * format->group_bytes + (n_groups * format->scale_bytes + 15) / 16 * 16;
}

uint32_t rig_float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static bool is_half(enum element element)
{
    return element == ELEMENT_F16 || element == ELEMENT_BF16;
}

static uint32_t data_words(const struct guarded *buffer)
{
    return is_half(buffer->element) ? (buffer->n + 1) / 2 : buffer->n;
}

static void encode(const struct guarded *buffer, uint32_t *words)
{
    for (uint32_t i = 0; i < buffer->n; i++) {
        const double x = buffer->initial[i];
        if (is_half(buffer->element)) {
            uint32_t half = buffer->element == ELEMENT_F16 ? f32_to_f16((float)x) : f32_to_bf16((float)x),
                     shift = i % 2 * 16;
            words[i / 2] = (words[i / 2] & ~(0xffffu << shift)) | half << shift;
        } else {
            words[i] = buffer->element == ELEMENT_U32 ? (uint32_t)x : rig_float_bits((float)x);
        }
    }
}

/* ---- a case ---- */

bool rig_begin(struct rig *rig, const char *kernel, const char *name, uint64_t seed)
{
    if (rig->counts) {
        rig->n_cases++;
        return false;
    }
    rig->n_buffers = 0;
    rig->n_pool = 0;
    rig->random = seed;
    rig->kernel = kernel;
    snprintf(rig->name, sizeof rig->name, "%s", name);
    rig->detail[0] = '\0';
    rig->result = (struct kernel_case_result){.kernel = kernel, .name = rig->name, .detail = rig->detail, .ok = true};
    arena_init(&rig->arena, rig->params->device, "kernel case", ARENA_DEVICE);
    return true;
}

struct guarded *rig_buffer(struct rig *rig, const char *name, enum element element, uint32_t n, const double *initial,
                           const double *expected, double limit)
{
    assert(rig->n_buffers < RIG_MAX_BUFFERS);
    struct guarded *buffer = &rig->buffers[rig->n_buffers++];
    *buffer = (struct guarded){
        .name = name, .element = element, .n = n, .initial = initial, .expected = expected, .limit = limit};
    /* Kernels read 16 bytes at a time, so a binding is a whole number of those. */
    const uint64_t bytes = ((uint64_t)data_words(buffer) * 4 + 15) & ~15ull;
    if (!rig->status)
        rig->status = arena_reserve(&rig->arena, bytes + 2 * RIG_GUARD_BYTES, &buffer->whole);
    buffer->data = buffer->whole;
    buffer->data.offset += RIG_GUARD_BYTES;
    buffer->data.bytes = bytes;
    return buffer;
}

struct guarded *rig_matrix(struct rig *rig, const char *name, enum weight_type type, uint32_t n_rows, uint32_t inner,
                           const double *values)
{
    const struct weight_format *format = weight_format(type);
    const size_t row_words = rig_row_bytes(type, inner) / 4, value_bytes = inner / format->group * format->group_bytes;
    if (!weight_type_quantised(type))
        return rig_buffer(rig, name, (enum element)type, n_rows * inner, values, NULL, 0.0);
    double *words = rig_zeros(rig, n_rows * row_words);
    uint8_t *row = (uint8_t *)rig_zeros(rig, row_words);
    for (uint32_t o = 0; o < n_rows; o++) {
        memset(row, 0, row_words * 4);
        for (uint32_t k = 0, g = 0; k < inner; k += format->group, g++) {
            float group[WEIGHT_GROUP_MAX];
            for (uint32_t i = 0; i < format->group; i++)
                group[i] = (float)values[(size_t)o * inner + k + i];
            format->encode(group, row + (size_t)g * format->group_bytes,
                           row + value_bytes + (size_t)g * format->scale_bytes);
        }
        for (size_t i = 0; i < row_words; i++) {
            uint32_t word;
            memcpy(&word, row + 4 * i, sizeof word);
            words[o * row_words + i] = word;
        }
    }
    return rig_buffer(rig, name, ELEMENT_U32, (uint32_t)(n_rows * row_words), words, NULL, 0.0);
}

void rig_refill(struct rig *rig, const struct guarded *buffer)
{
    if (!rig->status)
        rig->status = stream_fill(rig->params->stream, buffer->whole, RIG_GUARD);
}

void rig_write(struct rig *rig, const struct guarded *buffer, uint32_t first, const uint32_t *words, uint32_t n)
{
    if (!rig->status)
        rig->status = stream_upload(rig->params->stream, buffer->data, 4 * (uint64_t)first, words, 4 * (uint64_t)n);
}

uint32_t rig_words(const struct guarded *buffer)
{
    return (uint32_t)(buffer->whole.bytes / 4);
}

void rig_read(struct rig *rig, const struct guarded *buffer, uint32_t *words)
{
    if (!rig->status)
        rig->status = stream_download(rig->params->stream, buffer->whole, 0, words, buffer->whole.bytes);
}

/* Scratch for one buffer's words, in the free part of the pool. */
static uint32_t *scratch_words(struct rig *rig, uint32_t n)
{
    assert((n + 1) / 2 <= RIG_POOL_VALUES - rig->n_pool);
    (void)n;
    return (uint32_t *)(void *)(rig->pool + rig->n_pool);
}

void rig_commit(struct rig *rig)
{
    if (!rig->status)
        rig->status = arena_commit(&rig->arena);
    for (uint32_t i = 0; i < rig->n_buffers; i++) {
        const struct guarded *buffer = &rig->buffers[i];
        const uint32_t n = data_words(buffer);
        rig_refill(rig, buffer);
        if (!buffer->initial)
            continue;
        uint32_t *words = scratch_words(rig, n);
        words[n - 1] = RIG_GUARD; /* an odd number of halves leaves one */
        encode(buffer, words);
        rig_write(rig, buffer, 0, words, n);
    }
}

void rig_dispatch_with(struct rig *rig, const struct rig_dispatch_params *p)
{
    const struct pipeline *pipeline;
    struct stream *stream = rig->params->stream;
    struct recording recording;
    struct span spans[KERNEL_MAX_BINDINGS];
    for (uint32_t i = 0; i < kernels_interface(rig->params->kernels, p->id)->n_bindings; i++)
        spans[i] = p->bindings[i]->data;
    if (p->part_of) {
        spans[p->part_of].offset += p->part_offset;
        spans[p->part_of].bytes = p->part_bytes;
    }
    if (!rig->status)
        rig->status = kernels_get(rig->params->kernels, p->id, p->constants, p->n_constants, &pipeline);
    if (!rig->status)
        rig->status = stream_record(stream, &recording);
    if (!rig->status && p->groups) {
        struct span groups = p->groups->data;
        groups.offset += 4 * (uint64_t)p->groups_word;
        rig->status = stream_dispatch_indirect(stream, &recording, pipeline, spans, p->push, groups);
    } else if (!rig->status) {
        rig->status = stream_dispatch(stream, &recording, pipeline, spans, p->push, p->groups_x, p->groups_y, 1);
    }
    if (!rig->status)
        rig->status = stream_end(stream, &recording);
    const struct recording *list[] = {&recording};
    if (!rig->status)
        rig->status = stream_run(stream, list, 1);
}

void rig_dispatch(struct rig *rig, enum kernel_id id, const void *constants, uint32_t n_constants,
                  struct guarded *const *bindings, const void *push, uint32_t groups_x, uint32_t groups_y)
{
    rig_dispatch_with(rig, &(struct rig_dispatch_params){.id = id,
                                                         .constants = constants,
                                                         .n_constants = n_constants,
                                                         .bindings = bindings,
                                                         .push = push,
                                                         .groups_x = groups_x,
                                                         .groups_y = groups_y});
}

/* ---- the comparison ---- */

void rig_fault(struct rig *rig, double nmse, double limit, const char *detail, const char *buffer)
{
    if (rig->result.ok)
        snprintf(rig->detail, sizeof rig->detail, "%s: %s", buffer, detail);
    if (rig->result.ok || nmse > rig->result.nmse) {
        rig->result.nmse = nmse;
        rig->result.limit = limit;
    }
    rig->result.ok = false;
}

static double decode(const struct guarded *buffer, const uint32_t *words, uint32_t i, bool *guard)
{
    if (is_half(buffer->element)) {
        uint16_t half = (uint16_t)(words[i / 2] >> i % 2 * 16);
        *guard = half == (uint16_t)(RIG_GUARD >> i % 2 * 16);
        return (double)(buffer->element == ELEMENT_F16 ? f16_to_f32(half) : bf16_to_f32(half));
    }
    float x;
    memcpy(&x, &words[i], sizeof x);
    *guard = words[i] == RIG_GUARD;
    return buffer->element == ELEMENT_U32 ? (double)words[i] : (double)x;
}

/* NMSE of floats; for integers the share that differs. */
static void compare(struct rig *rig, const struct guarded *buffer, const uint32_t *words)
{
    double error = 0.0, power = 0.0;
    uint32_t n_compared = 0;
    char text[96];
    for (uint32_t i = 0; i < buffer->n; i++) {
        bool guard;
        const double want = buffer->expected[i], got = decode(buffer, words, i, &guard);
        if (isnan(want) ? guard : want == ANYTHING)
            continue;
        if (isnan(want) || guard || !isfinite(got)) {
            snprintf(text, sizeof text,
                     isnan(want) ? "element %u was written"
                     : guard     ? "element %u was not written"
                                 : "element %u is not finite",
                     i);
            rig_fault(rig, INFINITY, buffer->limit, text, buffer->name);
            return;
        }
        n_compared++;
        error += buffer->element == ELEMENT_U32 ? got != want : (got - want) * (got - want);
        power += want * want;
    }
    const double divisor = buffer->element == ELEMENT_U32 ? n_compared : power;
    const double nmse = divisor > 0.0 ? error / divisor : error;
    if (!(nmse <= buffer->limit)) {
        snprintf(text, sizeof text, "NMSE %.3g exceeds %.3g", nmse, buffer->limit);
        rig_fault(rig, nmse, buffer->limit, text, buffer->name);
    } else if (rig->result.ok && buffer->limit > 0.0 &&
               (rig->result.limit == 0.0 || nmse / buffer->limit > rig->result.nmse / rig->result.limit)) {
        rig->result.nmse = nmse; /* the output closest to its limit stands for the case */
        rig->result.limit = buffer->limit;
    }
}

static void check_guards(struct rig *rig, const struct guarded *buffer, const uint32_t *words)
{
    const uint32_t begin = RIG_GUARD_BYTES / 4, end = begin + data_words(buffer), n = rig_words(buffer);
    bool intact = !is_half(buffer->element) || buffer->n % 2 == 0 || words[end - 1] >> 16 == RIG_GUARD >> 16;
    for (uint32_t i = 0; i < n; i++)
        if ((i < begin || i >= end) && words[i] != RIG_GUARD)
            intact = false;
    if (!intact)
        rig_fault(rig, INFINITY, buffer->limit, "written outside its bounds", buffer->name);
}

void rig_end(struct rig *rig)
{
    for (uint32_t i = 0; i < rig->n_buffers && !rig->status; i++) {
        const struct guarded *buffer = &rig->buffers[i];
        uint32_t *words = scratch_words(rig, rig_words(buffer));
        rig_read(rig, buffer, words);
        if (rig->status)
            break;
        check_guards(rig, buffer, words);
        if (buffer->expected)
            compare(rig, buffer, words + RIG_GUARD_BYTES / 4);
    }
    arena_finish(&rig->arena);
    if (rig->status)
        return;
    rig->n_cases++;
    rig->n_failed += !rig->result.ok;
    if (rig->params->report)
        rig->params->report(rig->params->user, &rig->result);
    rig->status = progress_add(&rig->params->device->progress, 1);
}

/* ---- rows ---- */

uint32_t rig_slot(const struct rig_rows *rows, uint32_t index)
{
    return rows->row[index].sequence * rows->n_ctx + rows->row[index].position + rows->row[index].shift;
}

void rig_rows(struct rig *rig, struct rig_rows *rows)
{
    /* The last slot belongs to the rows outside the table. */
    const uint32_t n_slots = rows->n_ctx * rows->n_sequences - 1, end = rows->first + rows->n;
    assert(end <= STATE_MAX_ROWS && n_slots >= end);
    for (uint32_t i = 0; i < STATE_MAX_ROWS; i++) {
        uint32_t slot = n_slots;
        bool taken = i < end;
        while (taken) {
            slot = rig_random(rig) % n_slots;
            taken = false;
            for (uint32_t k = 0; k < i && !taken; k++)
                taken = rig_slot(rows, k) == slot;
        }
        rows->row[i] = (struct row){.token = rig_random(rig) % (rows->n_vocab ? rows->n_vocab : 1),
                                    .position = slot % rows->n_ctx,
                                    .sequence = slot / rows->n_ctx,
                                    .depth = rig_random(rig) % rows->n_depths};
    }
    for (uint32_t i = 0; i < STATE_MAX_ROWS && rows->n_branch; i++) {
        struct row *row = &rows->row[i];
        const uint32_t n_positions = rows->n_ctx - rows->n_branch, cell = row->position;
        if (cell < n_positions)
            continue;
        row->shift = n_positions - rig_random(rig) % (n_positions - rows->n_branch + 1);
        row->position = cell - row->shift;
    }
    /* At least one raw state and one advanced row where there are two. */
    rows->row[rows->first].depth = rows->n > 1 ? 0 : rows->row[rows->first].depth;
    rows->row[end - 1].depth = rows->n_depths - 1;
}

double *rig_state(struct rig *rig, const struct rig_rows *rows)
{
    double *state = rig_zeros(rig, STATE_WORDS);
    state[2 * rows->table] = rows->first;
    state[2 * rows->table + 1] = rows->n;
    for (uint32_t i = 0; i < STATE_MAX_ROWS; i++) {
        double *row = state + STATE_HEAD_WORDS + 4 * i;
        row[0] = rows->row[i].token;
        row[1] = rows->row[i].position;
        row[2] = rows->row[i].sequence | rows->row[i].shift << ROW_SEQUENCE_BITS;
        row[3] = rows->row[i].depth;
        state[STATE_TOKENS + i] = 4000000000.0; /* tokens: overwritten where a kernel picks one */
    }
    return state;
}

struct guarded *rig_plan_state(struct rig *rig, const struct rig_rows *rows, double **initial, double **expected)
{
    *initial = rig_state(rig, rows);
    *expected = rig_zeros(rig, STATE_WORDS);
    memcpy(*expected, *initial, STATE_WORDS * sizeof **expected);
    return rig_buffer(rig, "state", ELEMENT_U32, STATE_WORDS, *initial, *expected, LIMIT_EXACT);
}

void rig_set_state(double *initial, double *expected, uint32_t word, uint32_t value)
{
    initial[word] = expected[word] = value;
}

uint32_t rig_padded(uint32_t n)
{
    return (n + CHUNK - 1) / CHUNK * CHUNK;
}
