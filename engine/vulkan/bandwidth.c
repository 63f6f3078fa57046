#include "engine/vulkan/bandwidth.h"

#include <math.h>
#include <stdlib.h>

#include "engine/base/clock.h"
#include "engine/vulkan/stream.h"
#include "shaders/args.h"

/* A CPU driver may end a loop after 65535 rounds (llvmpipe does), and a device so slow that a run takes a second needs
 * no seven of them. */
enum {
    GPU_PASSES = 8,
    CPU_PASSES = 2,
    CPU_BYTES = 64 << 20,
    LEAST_BYTES = 1 << 16,
    REPETITIONS = 7,
    SLOW_REPETITIONS = 2,
    GPU_GROUPS = 1024,
    CPU_GROUPS = 16,
    GPU_THREADS = 256,
    ROUNDS_MAX = 32768
};
static const uint32_t WORD = 0x01020305;
static const double SLOW_S = 1.0;

struct reading {
    struct stream stream;
    struct arena arena;
    struct span data, sink;
    uint32_t n_chunks, n_groups, n_passes, local, group_chunks;
};

static enum mn_status prepare(struct reading *r, struct kernels *kernels, uint64_t bytes, struct recording *recording)
{
    struct device *device = kernels->device;
    const struct caps *caps = &device->caps;
    const uint64_t most[] = {caps->max_storage_range, caps->max_allocation_bytes / 2, caps->device_heap_bytes / 8,
                             device_available_bytes(device) / 2};
    for (int i = 0; i < 4; i++)
        bytes = bytes < most[i] ? bytes : most[i];
    if (caps->is_cpu && bytes > CPU_BYTES)
        bytes = CPU_BYTES;
    bytes = bytes < LEAST_BYTES ? LEAST_BYTES : bytes;
    r->n_passes = caps->is_cpu ? CPU_PASSES : GPU_PASSES;
    r->local = caps->is_cpu                                ? caps->subgroup_size
               : caps->max_workgroup_threads < GPU_THREADS ? caps->max_workgroup_threads
                                                           : GPU_THREADS;
    r->n_groups = caps->is_cpu ? CPU_GROUPS : GPU_GROUPS;
    r->n_chunks = (uint32_t)(bytes / 16);
    const uint32_t fewest = (r->n_chunks - 1) / (r->local * ROUNDS_MAX) + 1;
    r->n_groups = r->n_groups < fewest ? fewest : r->n_groups;
    r->group_chunks = caps->is_cpu ? (r->n_chunks - 1) / r->n_groups + 1 : 0;
    const struct read_args args = {r->n_chunks, r->n_groups * r->local, r->group_chunks};
    const struct row_constants constants = {.threads = r->local};
    arena_init(&r->arena, device, "bandwidth", ARENA_DEVICE);
    enum mn_status status = stream_init(&r->stream, device, kernels);
    if (!status)
        status = arena_reserve(&r->arena, bytes, &r->data);
    if (!status)
        status = arena_reserve(&r->arena, (uint64_t)args.n_threads * 4, &r->sink);
    if (!status)
        status = arena_commit(&r->arena);
    if (!status)
        status = stream_fill(&r->stream, r->data, WORD);
    const struct pipeline *pipeline;
    if (!status)
        status = kernels_get(kernels, KERNEL_READ, KERNEL_CONSTANTS(constants), &pipeline);
    if (!status)
        status = stream_record(&r->stream, recording);
    const struct span bindings[] = {r->data, r->sink};
    for (uint32_t i = 0; i < r->n_passes && !status; i++)
        status = stream_dispatch(&r->stream, recording, pipeline, bindings, &args, r->n_groups, 1, 1);
    return status ? status : stream_end(&r->stream, recording);
}

/* Chunks that a thread has to read. */
static uint32_t share_of(const struct reading *r, uint32_t thread)
{
    const uint32_t lane = thread % r->local;
    uint32_t first = thread, end = r->n_chunks, step = r->n_groups * r->local;
    if (r->group_chunks) {
        const uint32_t piece = thread / r->local * r->group_chunks;
        first = piece + lane;
        end = piece + r->group_chunks < r->n_chunks ? piece + r->group_chunks : r->n_chunks;
        step = r->local;
    }
    return first < end ? (end - 1 - first) / step + 1 : 0;
}

static enum mn_status check(struct reading *r, const struct device *device)
{
    const uint32_t n_threads = r->n_groups * r->local;
    uint32_t *sums = malloc(n_threads * sizeof *sums);
    if (!sums)
        return log_fail(device->log, MN_ERR_MEMORY, "out of host memory for sums");
    enum mn_status status = stream_download(&r->stream, r->sink, 0, sums, n_threads * sizeof *sums);
    for (uint32_t i = 0; i < n_threads && !status; i++) {
        const uint32_t n = share_of(r, i);
        if (sums[i] != n * 4 * WORD)
            status = log_fail(device->log, MN_ERR_CHECK, "read bandwidth: thread %u summed up %u instead of %u", i,
                              sums[i], n * 4 * WORD);
    }
    free(sums);
    return status;
}

enum mn_status bandwidth_measure(struct kernels *kernels, uint64_t bytes, double *gb_s)
{
    struct reading r = {0};
    struct recording recording;
    const struct recording *list = &recording;
    double fastest = INFINITY;
    enum mn_status status = prepare(&r, kernels, bytes, &recording);
    const double begin = clock_s();
    for (int i = 0; i < REPETITIONS && !status && (i < SLOW_REPETITIONS || clock_s() - begin < SLOW_S); i++) {
        const double start = clock_s();
        status = stream_run(&r.stream, &list, 1);
        fastest = fmin(fastest, clock_s() - start);
    }
    if (!status)
        status = check(&r, kernels->device);
    *gb_s = status ? 0.0 : (double)r.n_chunks * 16.0 * r.n_passes / fastest / 1e9;
    if (r.stream.device)
        stream_finish(&r.stream);
    if (r.arena.device)
        arena_finish(&r.arena);
    return status;
}
