#include "engine/model/synthetic.h"

#include <math.h>

#include "engine/model/sampler.h"
#include "shaders/args.h"

/* Chunks a thread writes (loops of software devices are bounded), threads of a workgroup on a GPU, and bytes a submit
 * fills at most: drivers reset a GPU that works on one for seconds. */
enum { THREAD_CHUNKS = 16, GPU_THREADS = 256, GROUPS_MAX = 65535, PIECE_BYTES = 64 << 20 };

float synthetic_scale(uint32_t n_in)
{
    /* Odd multiples up to 255 have a root mean square of 148; the smallest must stay a normal number of f16, 2^-14. */
    const int exponent = (int)lrint(log2(1.0 / (148.0 * sqrt((double)n_in))));
    return ldexpf(1.0f, exponent < -14 ? -14 : exponent);
}

float synthetic_value(const struct synthetic_matrix *what, enum weight_type type, uint32_t row, uint32_t k)
{
    const uint32_t counter[4] = {k / 8, row, what->number, NOISE_WEIGHT},
                   key[2] = {(uint32_t)what->seed, (uint32_t)(what->seed >> 32)};
    uint32_t bits[4];
    if (k % what->period >= what->n_valid)
        return 0.0f;
    philox(counter, key, bits);
    const int b = (int)(bits[k % 8 / 4] >> 8 * (k % 4) & 255);
    const int steps = type == WEIGHT_TYPE_Q8_0   ? 2 * b - 256
                      : type == WEIGHT_TYPE_Q4_1 ? b / 16 * 32 - 240
                                                 : 2 * b - 255;
    return (float)steps * synthetic_scale(what->n_in);
}

static enum mn_status fill_piece(struct stream *stream, const struct pipeline *pipeline, struct span span,
                                 struct fill_args *args, uint32_t threads)
{
    struct recording recording;
    const struct recording *list = &recording;
    const uint32_t n_chunks = args->n_rows * args->n_chunks;
    uint32_t n_groups = (n_chunks - 1) / (threads * THREAD_CHUNKS) + 1;
    n_groups = n_groups < GROUPS_MAX ? n_groups : GROUPS_MAX;
    args->group_chunks = (n_chunks - 1) / n_groups + 1;
    enum mn_status status = stream_record(stream, &recording);
    if (!status)
        status = stream_dispatch(stream, &recording, pipeline, &span, args, n_groups, 1, 1);
    if (!status)
        status = stream_end(stream, &recording);
    return status ? status : stream_run(stream, &list, 1);
}

enum mn_status synthetic_fill(struct stream *stream, const struct matrix *matrix, const struct synthetic_matrix *what)
{
    const struct caps *caps = &stream->device->caps;
    const uint32_t threads = caps->is_cpu                                ? caps->subgroup_size
                             : caps->max_workgroup_threads < GPU_THREADS ? caps->max_workgroup_threads
                                                                         : GPU_THREADS;
    const struct fill_constants constants = {.threads = threads, .weight_type = (uint32_t)matrix->type};
    struct fill_args args = {.n_chunks = matrix->n_chunks,
                             .period = what->period,
                             .n_valid = what->n_valid,
                             .matrix = what->number,
                             .seed_lo = (uint32_t)what->seed,
                             .seed_hi = (uint32_t)(what->seed >> 32),
                             .scale = synthetic_scale(what->n_in)};
    /* Pieces start where windows may. */
    uint64_t piece = PIECE_BYTES / matrix->row_bytes / MATRIX_ROWS_STEP * MATRIX_ROWS_STEP;
    piece = piece ? piece : MATRIX_ROWS_STEP;
    piece = piece < matrix->window_rows ? piece : matrix->window_rows;
    const struct pipeline *pipeline;
    enum mn_status status = kernels_get(stream->kernels, KERNEL_FILL, KERNEL_CONSTANTS(constants), &pipeline);
    for (; args.row0 < matrix->n_out && !status; args.row0 += args.n_rows) {
        args.n_rows = matrix_rows_at(matrix, args.row0, (uint32_t)piece);
        status = fill_piece(stream, pipeline, matrix_span(matrix, args.row0, args.n_rows), &args, threads);
        if (!status)
            status = progress_add(&stream->device->progress, args.n_rows * matrix->row_bytes);
    }
    return status;
}
