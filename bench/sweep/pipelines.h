/* What a driver's compiler makes of a model's kernels, as rows: `muninn pipelines`. Thread-safety: none. */
#ifndef MUNINN_BENCH_SWEEP_PIPELINES_H
#define MUNINN_BENCH_SWEEP_PIPELINES_H

#include "api/muninn.h"
#include "bench/rows/rows.h"

struct pipelines_params {
    const char *dir, *synthetic; /* one of them, the other NULL */
    const char *device, *weight_type, *matrix_units, *kv_type, *kv_policy;
    uint32_t n_ctx; /* 0: the model's block_size */
    struct mn_progress progress;
};

/* One row per pipeline. Warns where the driver says nothing, where registers were spilled, and where a pipeline is more
 * than the device allows. */
enum mn_status pipelines_rows(struct rows *rows, const struct pipelines_params *params, const struct mn_log *log);

#endif
