#include "engine/model/synthetic.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/sampler.h"
#include "shaders/args.h"

/* Chunks a thread writes (loops of software devices are bounded), threads of a workgroup on a GPU, and bytes a submit
 * fills at most: drivers reset a GPU that works on one for seconds. */
enum { THREAD_CHUNKS = 16, GPU_THREADS = 256, GROUPS_MAX = 65535, PIECE_BYTES = 64 << 20, TEXT_BYTES = 512 };

/* ---- shapes ---- */

static const struct {
    const char *name, *figures;
} shapes[] = {
    {"huginn-3.5b", "d=5280,heads=55,ff=17920,vocab=65536,layers=2-4-2,steps=32,ctx=4096"},
    {"raven-1b", "d=3072,heads=32,ff=8192,vocab=65536,layers=2-4-2,steps=32,ctx=4096"},
    {"raven-100m", "d=768,heads=8,ff=2560,vocab=32768,layers=2-4-2,steps=32,ctx=4096"},
    {"raven-tiny", "d=128,heads=4,ff=352,vocab=512,layers=1-2-1,steps=32,ctx=512"},
};

struct figures {
    uint32_t d, heads, ff, vocab, prelude, core, coda, steps, ctx;
};

static enum mn_status parse_figures(struct figures *f, const char *text, const char *shape, const struct mn_log *log)
{
    const struct {
        const char *key;
        uint32_t *out;
    } keys[] = {{"d", &f->d},         {"heads", &f->heads}, {"ff", &f->ff},
                {"vocab", &f->vocab}, {"steps", &f->steps}, {"ctx", &f->ctx}};
    enum { N = sizeof keys / sizeof *keys };
    for (const char *at = text; *at;) {
        const size_t n = strcspn(at, ","), key_bytes = strcspn(at, "=");
        char piece[64], end;
        snprintf(piece, sizeof piece, "%.*s", (int)(n < sizeof piece ? n : sizeof piece - 1), at);
        bool known = false;
        for (int i = 0; i < N && key_bytes < n; i++)
            if (strlen(keys[i].key) == key_bytes && !memcmp(at, keys[i].key, key_bytes))
                known = strspn(piece + key_bytes + 1, "0123456789") == strlen(piece + key_bytes + 1) &&
                        sscanf(piece + key_bytes + 1, "%7" SCNu32 "%c", keys[i].out, &end) == 1;
        if (!strncmp(piece, "layers=", 7))
            known = strspn(piece + 7, "0123456789-") == strlen(piece + 7) &&
                    sscanf(piece + 7, "%4" SCNu32 "-%4" SCNu32 "-%4" SCNu32 "%c", &f->prelude, &f->core, &f->coda,
                           &end) == 3;
        if (!known)
            return log_fail(log, MN_ERR_USAGE,
                            "synthetic model '%.200s': '%s' is not understood; a shape is huginn-3.5b, raven-1b, "
                            "raven-100m, raven-tiny, the path of a config.json, or "
                            "d=..,heads=..,ff=..,vocab=..,layers=P-C-K with steps=.. and ctx=.. if wanted",
                            shape, piece);
        at += n + (at[n] == ',');
    }
    return MN_OK;
}

/* The configuration goes the way that files go: one place knows the limits. */
static enum mn_status parse_shape(struct model_config *out, const char *text, const char *shape,
                                  const struct mn_log *log)
{
    struct figures f = {.steps = 32, .ctx = 4096};
    char json[TEXT_BYTES], name[TEXT_BYTES];
    enum mn_status status = parse_figures(&f, text, shape, log);
    if (status)
        return status;
    snprintf(name, sizeof name, "synthetic model '%.200s'", shape);
    const int n = snprintf(
        json, sizeof json,
        "{\"model_type\":\"huginn_raven\",\"n_embd\":%u,\"n_heads\":%u,\"intermediate_size\":%u,\"vocab_size\":%u,\"n_"
        "layers_in_prelude\":%u,"
        "\"n_layers_in_recurrent_block\":%u,\"n_layers_in_coda\":%u,\"mean_recurrence\":%u,\"block_size\":%u}",
        f.d, f.heads, f.ff, f.vocab, f.prelude, f.core, f.coda, f.steps, f.ctx);
    status = config_parse(out, name, json, (size_t)n, NULL, NULL, 0, log);
    return status == MN_ERR_FORMAT || status == MN_ERR_UNSUPPORTED ? MN_ERR_USAGE
                                                                   : status; /* the caller's words, not a file */
}

enum mn_status synthetic_config(struct model_config *out, const char *shape, const struct mn_log *log)
{
    static const char file[] = "config.json";
    const size_t n = strlen(shape), file_bytes = sizeof file - 1;
    *out = (struct model_config){0};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (!strcmp(shape, shapes[i].name))
            return parse_shape(out, shapes[i].figures, shape, log);
    if (n < file_bytes || strcmp(shape + n - file_bytes, file) != 0 ||
        (n > file_bytes && shape[n - file_bytes - 1] != '/'))
        return parse_shape(out, shape, shape, log);
    char *dir = malloc(n + 2);
    if (!dir)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a path");
    snprintf(dir, n + 2, "%.*s.", (int)(n - file_bytes), shape);
    enum mn_status status = config_load(out, dir, log);
    free(dir);
    return status;
}

/* ---- values ---- */

float synthetic_scale(uint32_t n_in)
{
    /* Odd multiples up to 255 have a root mean square of 148; the smallest must stay a normal number of f16, 2^-14. */
    const int exponent = (int)lrint(log2(1.0 / (148.0 * sqrt((double)n_in))));
    return ldexpf(1.0f, exponent < -14 ? -14 : exponent);
}

float synthetic_value(const struct synthetic_matrix *what, uint32_t row, uint32_t k)
{
    const uint32_t counter[4] = {k / 8, row, what->number, NOISE_WEIGHT},
                   key[2] = {(uint32_t)what->seed, (uint32_t)(what->seed >> 32)};
    uint32_t bits[4];
    if (k % what->period >= what->n_valid)
        return 0.0f;
    philox(counter, key, bits);
    return (float)(2 * (int)(bits[k % 8 / 4] >> 8 * (k % 4) & 255) - 255) * synthetic_scale(what->n_in);
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
    }
    return status;
}
