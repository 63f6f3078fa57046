#include "engine/model/matrix_choice.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/numbers.h"
#include "shaders/args.h"

/* A pass is timed as REPEATS dispatches of one matrix in one submit, the best of TRIES. Largest difference between the
 * two ways, in parts of the largest output: both are f32 sums of the same products in another order. */
enum { CHECKED_ROWS = 16, REPEATS = 16, TRIES = 3 };
static const double LARGEST_DIFFERENCE = 1e-4;

enum mn_status matrix_wish_parse(const char *text, enum matrix_wish *wish, const struct mn_log *log)
{
    static const char *const names[] = {[MATRIX_OFF] = "off", [MATRIX_AUTO] = "auto", [MATRIX_ON] = "on"};
    *wish = MATRIX_OFF;
    for (uint32_t i = 0; text && i < sizeof names / sizeof *names; i++)
        if (!strcmp(text, names[i])) {
            *wish = (enum matrix_wish)i;
            return MN_OK;
        }
    return text ? log_fail(log, MN_ERR_USAGE, "matrix_units '%s': there are auto, on and off", text) : MN_OK;
}

enum mn_status matrix_choice_prepare(struct device *device, enum matrix_wish wish, const struct mn_log *log)
{
    if (wish != MATRIX_ON)
        return MN_OK;
    if (device->caps.matrix_side) {
        device->caps.texel_loads = false; /* which shaders/matrix knows nothing of */
        return MN_OK;
    }
    if (matrix_units_lack())
        return log_fail(log, MN_ERR_NO_DEVICE, "matrix_units on: this build has none for want of %s",
                        matrix_units_lack());
    return log_fail(log, MN_ERR_NO_DEVICE,
                    "matrix_units on: device '%s' multiplies no squares of 16 or 8 f16 with sums in f32 "
                    "(VK_KHR_cooperative_matrix) a subgroup at a time",
                    device->caps.name);
}

/* y = W x for the rows of a table, W being the first window of a matrix of the core. */
struct trial {
    struct model *model;
    struct stream *stream;
    const struct matrix *matrix;
    struct arena arena;
    struct span state, inputs, outputs;
    uint32_t n_out, out_stride;
};

static void set_rows(struct trial *t, uint32_t first, uint32_t n)
{
    uint32_t *words = span_host(t->state);
    words[2 * TABLE_CORE] = first;
    words[2 * TABLE_CORE + 1] = n;
}

static enum mn_status trial_open(struct trial *t, struct model *model, struct stream *stream)
{
    *t = (struct trial){
        .model = model, .stream = stream, .matrix = &model->weights.blocks[model->config.n_prelude].down};
    const uint32_t n_in = t->matrix->n_chunks * WEIGHT_CHUNK;
    t->n_out = matrix_rows_at(t->matrix, 0, t->matrix->n_out);
    t->out_stride = round_up_u32(t->n_out, WEIGHT_CHUNK);
    arena_init(&t->arena, model->device, "trial of matrix units", ARENA_SHARED);
    enum mn_status status = arena_reserve(&t->arena, STATE_WORDS * sizeof(uint32_t), &t->state);
    if (!status)
        status = arena_reserve(&t->arena, (uint64_t)STATE_MAX_ROWS * n_in * sizeof(float), &t->inputs);
    if (!status)
        status = arena_reserve(&t->arena, (uint64_t)STATE_MAX_ROWS * t->out_stride * sizeof(float), &t->outputs);
    if (!status)
        status = arena_commit(&t->arena);
    if (status)
        return status;
    memset(span_host(t->state), 0, STATE_WORDS * sizeof(uint32_t));
    memset(span_host(t->outputs), 0, (size_t)STATE_MAX_ROWS * t->out_stride * sizeof(float));
    float *x = span_host(t->inputs);
    uint32_t noise = 1;
    for (size_t i = 0; i < (size_t)STATE_MAX_ROWS * n_in; i++) { /* -1 .. 1; padding meets weights of zero */
        noise = noise * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)noise * 0x1p-31f;
    }
    return MN_OK;
}

/* Runs `repeats` passes of the tile that could hold `rows`; *ns (may be NULL) is what one of them took. */
static enum mn_status trial_run(struct trial *t, const struct tile *tile, uint32_t rows, uint32_t repeats, double *ns)
{
    const uint32_t n = tile_rows(tile, rows);
    const struct proj_constants constants = {.matmul = {.threads = tile->threads,
                                                        .k_lanes = tile->k_lanes,
                                                        .rows_per_lane = tile->rows,
                                                        .n_rows = n,
                                                        .weight_type = (uint32_t)t->matrix->type,
                                                        .input = INPUT_PLAIN,
                                                        .scale = SCALE_NONE,
                                                        .path = tile->path,
                                                        .side = tile->side,
                                                        .subgroup = tile->subgroup},
                                             .residual = RESIDUAL_NONE};
    const struct matmul_args args = {.table = TABLE_CORE,
                                     .n_chunks = t->matrix->n_chunks,
                                     .n_out = t->n_out,
                                     .in_stride = t->matrix->n_chunks * WEIGHT_CHUNK,
                                     .out_stride = t->out_stride,
                                     .n_cells = 1};
    const struct span s = t->state,
                      bindings[KERNEL_MAX_BINDINGS] = {
                          s, matrix_span(t->matrix, 0, t->n_out), t->inputs, s, s, t->outputs, s, s, s, s, s, s};
    const struct pipeline *pipeline;
    struct recording recording;
    enum mn_status status = kernels_get(&t->model->kernels, KERNEL_PROJ, KERNEL_CONSTANTS(constants), &pipeline);
    if (!status)
        status = stream_record(t->stream, &recording);
    for (uint32_t i = 0; i < repeats && !status; i++)
        status = stream_dispatch(t->stream, &recording, pipeline, bindings, &args, tile_groups(tile, t->n_out),
                                 (rows + n - 1) / n, 1);
    if (!status)
        status = stream_end(t->stream, &recording);
    const struct recording *const list[] = {&recording};
    for (uint32_t i = 0; i < (ns ? TRIES + 1u : 1u) && !status; i++) {
        const double start = clock_ns();
        status = stream_run(t->stream, list, 1);
        const double took = (clock_ns() - start) / repeats;
        if (ns && i > 0) /* a driver may compile at the first run */
            *ns = i == 1 || took < *ns ? took : *ns;
    }
    return status;
}

/* Outputs of CHECKED_ROWS rows, one pass or a pass each. [CHECKED_ROWS, out_stride] */
static enum mn_status outputs_of(struct trial *t, const struct tile *tile, bool each, float *out)
{
    enum mn_status status = MN_OK;
    const uint32_t n = each ? 1 : CHECKED_ROWS;
    for (uint32_t first = 0; first < CHECKED_ROWS && !status; first += n) {
        set_rows(t, first, n);
        status = trial_run(t, tile, n, 1, NULL);
    }
    memcpy(out, span_host(t->outputs), (size_t)CHECKED_ROWS * t->out_stride * sizeof *out);
    return status;
}

/* *fault: NULL, or what is wrong with the units. */
static enum mn_status check(struct trial *t, const struct tile *units, const struct tile *other, const char **fault)
{
    const size_t n = (size_t)CHECKED_ROWS * t->out_stride;
    float *values = calloc(3 * n, sizeof *values), *together = values, *alone = values + n, *expected = values + 2 * n;
    if (!values)
        return log_fail(t->model->device->log, MN_ERR_MEMORY, "out of host memory to try matrix units");
    enum mn_status status = outputs_of(t, units, false, together);
    if (!status)
        status = outputs_of(t, units, true, alone);
    if (!status)
        status = outputs_of(t, other, false, expected);
    double largest = 0.0, difference = 0.0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)expected[i]));
        const double d = fabs((double)together[i] - (double)expected[i]);
        difference = d <= difference ? difference : d; /* what is no number is as far as can be */
    }
    *fault = memcmp(together, alone, n * sizeof *alone)      ? "a row's bits depend on the rows beside it"
             : !(difference <= LARGEST_DIFFERENCE * largest) ? "their products are wrong"
                                                             : NULL;
    free(values);
    return status;
}

/* Does `units` take less time than `other` for a pass of `rows`? */
static enum mn_status faster(struct trial *t, const struct tile *units, const struct tile *other, uint32_t rows,
                             double *gained_ns)
{
    double with = 0.0, without = 0.0;
    set_rows(t, 0, rows);
    enum mn_status status = trial_run(t, units, rows, REPEATS, &with);
    if (!status)
        status = trial_run(t, other, rows, REPEATS, &without);
    *gained_ns += without - with;
    if (!status)
        log_note(t->model->device->log, MN_LOG_INFO, "%u rows of a matrix: %.1f us on matrix units, %.1f us without",
                 rows, with * 1e-3, without * 1e-3);
    return status;
}

static enum mn_status decide(struct trial *t, enum matrix_wish wish)
{
    struct tuning *tuning = &t->model->tuning;
    const struct caps *caps = &t->model->device->caps;
    const struct tile few = tile_matrix_few(caps->matrix_side, caps->subgroup_size),
                      many = tile_matrix_many(caps->matrix_side, caps->subgroup_size);
    const char *fault = NULL;
    enum mn_status status = check(t, &few, &tuning->decode, &fault);
    if (!status && !fault)
        status = check(t, &many, &tuning->decode, &fault);
    if (status)
        return status;
    if (fault && wish == MATRIX_ON)
        return log_fail(t->model->device->log, MN_ERR_CHECK, "matrix_units on: device '%s': %s", caps->name, fault);
    if (fault) {
        log_note(t->model->device->log, MN_LOG_WARN, "device '%s': its matrix units are not used: %s", caps->name,
                 fault);
        return MN_OK;
    }
    double few_gain = 1.0, many_gain = 1.0;
    if (wish == MATRIX_AUTO) {
        few_gain = many_gain = 0.0;
        status = faster(t, &few, &tuning->decode, 1, &few_gain);
        if (!status)
            status = faster(t, &few, &tuning->decode, 8, &few_gain);
        if (!status)
            status = faster(t, &many, &tuning->prefill, STATE_MAX_ROWS, &many_gain);
    }
    if (status)
        return status;
    if (few_gain > 0.0)
        tuning->decode = few;
    if (many_gain > 0.0)
        tuning->prefill = many;
    return MN_OK;
}

enum mn_status matrix_choose(struct model *model, struct stream *stream, enum matrix_wish wish)
{
    const struct caps *caps = &model->device->caps;
    if (wish == MATRIX_OFF || !caps->matrix_side || caps->texel_loads)
        return MN_OK;
    if (model->plan_only && wish == MATRIX_ON) { /* nothing will run */
        model->tuning.decode = tile_matrix_few(caps->matrix_side, caps->subgroup_size);
        model->tuning.prefill = tile_matrix_many(caps->matrix_side, caps->subgroup_size);
    }
    if (model->plan_only)
        return MN_OK;
    struct trial trial;
    enum mn_status status = trial_open(&trial, model, stream);
    if (!status)
        status = decide(&trial, wish);
    arena_finish(&trial.arena);
    return status;
}
