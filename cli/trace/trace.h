/* muninn trace in two files: the run (trace.c), records and table (trace_out.c). The option table is cli/trace.c. */
#ifndef MUNINN_CLI_TRACE_TRACE_H
#define MUNINN_CLI_TRACE_TRACE_H

#include "cli/common/options.h"

struct trace_options {
    const char *model, *prompt, *file, *device, *weight_type, *kv_type, *results, *states, *output, *readouts;
    struct id_list ids;
    uint32_t n_new, num_steps, ctx, inits, components, window;
    uint64_t seed;
    float init_scale, near, lag, aligned, straight, steady;
    bool no_bos, ignore_eos, beyond, raw;
};

/* The command. */
enum mn_status run_trace(const struct trace_options *options, const struct mn_log *log);

#endif
