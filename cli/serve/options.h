/* What `muninn serve` was asked for; also where it cannot be built. */
#ifndef MUNINN_CLI_SERVE_OPTIONS_H
#define MUNINN_CLI_SERVE_OPTIONS_H

#include "cli/common/options.h"

struct serve_options {
    const char *model, *host, *name, *api_key_file, *device, *matrix_units, *weight_type, *kv_policy, *kv_type,
        *strategy, *cpu_threads;
    uint32_t port, ctx, parallel, queue, num_steps, draft_steps, lookahead, max_inflight, lookup; /* 0 when not given */
    uint32_t max_body_kib, timeout_s, drain_s;
    bool beyond, no_logprobs;
};

/* The command; only where the program is built with libmicrohttpd. */
enum mn_status run_serve(const struct serve_options *options, const struct mn_log *log);

#endif
