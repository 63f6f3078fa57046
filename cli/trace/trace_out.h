/* Records and table of muninn trace. */
#ifndef MUNINN_CLI_TRACE_TRACE_OUT_H
#define MUNINN_CLI_TRACE_TRACE_OUT_H

#include <stdio.h>

#include "bench/rows/identity.h"

/* A trace and what its records say around it. */
struct trace_report {
    struct mn_engine *engine;
    struct mn_model_info info;
    struct mn_stream_decoder *decoder; /* of single tokens; NULL when the model has no tokenizer */
    struct identity identity;          /* a report shows no paths of the machine it was made on */
    const char *kv_type;
    const struct mn_depth_trace_params *params;
    const struct mn_depth_trace *trace;
    bool interrupted;
};

/* JSON lines: a header, a record per token by position, a summary, each with a "key" for result files: equal settings,
 * equal keys. Write errors stay on the stream. MN_ERR_MEMORY. */
enum mn_status trace_write_records(const struct trace_report *report, FILE *stream, const struct mn_log *log);
/* A Markdown table with a row per token. */
enum mn_status trace_write_table(const struct trace_report *report, FILE *stream, const struct mn_log *log);

#endif
