/* muninn generate in two files: what to do (generate.c) and how it went (report.c). */
#ifndef MUNINN_GENERATE_H
#define MUNINN_GENERATE_H

#include "cli.h"

struct generate_options {
    const char *model, *prompt, *file, *system, *device, *strategy, *kv_policy, *kv_type, *weight_type, *output, *exit, *trace, *cpu_threads;
    struct id_list ids;
    struct text_list stops;
    uint32_t n_new, num_steps, draft_steps, lookahead, max_inflight, exit_min_steps, exit_interval, ctx, top_k; /* n_new, num_steps, draft_steps, ctx: 0 when not given */
    uint64_t seed;
    float temperature, top_p, min_p, init_scale;
    bool chat, no_bos, ignore_eos, special, validate, require_lossless;
};

/* One run from the prompt to the report. */
struct generate_run {
    const struct generate_options *options;
    const struct mn_log *log;
    struct mn_engine *engine;
    struct mn_model_info info;
    uint32_t *prompt; /* [n_prompt], owned */
    size_t n_prompt;
    uint32_t *tokens; /* [n_tokens], owned, room for n_new */
    uint32_t n_tokens, n_new;
    struct mn_stream_decoder *decoder; /* owned; NULL when the model has no tokenizer */
    struct text_out text;
    FILE *trace;           /* owned; NULL: no trace */
    struct mn_stats stats;
    enum mn_status status; /* what a token's way to stdout came to */
    bool ended_by_eos;
};

/* The JSON document on stdout. */
void report_json(const struct generate_run *run, enum mn_status status);
/* The device, for reports of others' machines; one line on stderr. */
void report_banner(const struct generate_run *run);
/* One event of the run as a JSON line in the trace file. */
void report_trace(void *user, const struct mn_trace *trace);
/* Speed, acceptance and whether the tokens are those of plain decoding; one line on stderr. */
void report_summary(const struct generate_run *run);

#endif
