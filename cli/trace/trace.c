/* muninn trace: one prompt through the depth trace, and what comes out of it. */
#include "cli/trace/trace.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rows/default_depth.h"
#include "bench/rows/lists.h"
#include "bench/rows/rows.h"
#include "cli/common/engine.h"
#include "cli/common/interrupt.h"
#include "cli/common/output.h"
#include "cli/common/prompt.h"
#include "cli/common/talk.h"
#include "cli/trace/trace_out.h"
#include "engine/base/numbers.h"
#include "engine/files/lines.h"
#include "engine/files/output_file.h"
#include "engine/files/safetensors_write.h"

/* ---- the prompt ---- */

static enum mn_status take_prompt(const struct trace_options *o, const struct trace_report *report, const char *text,
                                  size_t n_bytes, uint32_t **ids, size_t *n_ids, const struct mn_log *log)
{
    if (!o->ids.ids)
        return cli_encode_prompt(report->engine, text, n_bytes, !o->no_bos, ids, n_ids, log);
    *n_ids = o->ids.n;
    return cli_copy_ids(ids, o->ids.ids, o->ids.n, report->info.shape.vocab_size, log);
}

/* ---- what comes out ---- */

/* Opened before the work, so that nothing is computed for a file that cannot be written; what they hold stays until
 * there is something to replace it. */
struct trace_files {
    struct output_file results, states;
};

static enum mn_status open_files(const struct trace_options *o, struct trace_files *files, const struct mn_log *log)
{
    enum mn_status status = o->results ? output_open(&files->results, o->results, log) : MN_OK;
    return status || !o->states ? status : output_open(&files->states, o->states, log);
}

static enum mn_status write_states(const struct mn_depth_trace *t, struct output_file *file, const struct mn_log *log)
{
    uint32_t *ids = malloc(t->n_tokens * sizeof *ids);
    if (!ids)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for %" PRIu32 " ids", t->n_tokens);
    for (uint32_t i = 0; i < t->n_tokens; i++)
        ids[i] = t->tokens[i].id;
    const struct tensor_source tensors[] = {
        {.name = "states",
         .dtype = TENSOR_F32,
         .rank = 3,
         .shape = {t->n_tokens, t->n_steps + 1, t->n_embd},
         .data = t->states},
        {.name = "tokens", .dtype = TENSOR_U32, .rank = 1, .shape = {t->n_tokens}, .data = ids},
    };
    enum mn_status status = safetensors_write(file, tensors, sizeof tensors / sizeof *tensors, log);
    free(ids);
    return status ? status : output_commit(file, log);
}

static enum mn_status write_results(const struct trace_report *report, struct output_file *file,
                                    const struct mn_log *log)
{
    enum mn_status status = trace_write_records(report, file->text, log);
    return status ? status : output_commit(file, log);
}

static enum mn_status write_all(const struct trace_options *o, const struct trace_report *report,
                                struct trace_files *files, const struct mn_log *log)
{
    const bool as_table = o->output ? !strcmp(o->output, "md") : o->results != NULL;
    const bool any = report->trace->n_tokens > 0; /* what was interrupted before its first token replaces nothing */
    enum mn_status status = o->results && any ? write_results(report, &files->results, log) : MN_OK;
    if (!status)
        status = as_table ? trace_write_table(report, stdout, log) : trace_write_records(report, stdout, log);
    if (!status)
        status = cli_flush(log);
    if (!status && o->states && any)
        status = write_states(report->trace, &files->states, log);
    return status;
}

/* ---- the run ---- */

static int stop(void *user)
{
    (void)user;
    return cli_interrupted();
}

static enum mn_status trace_prompt(const struct trace_options *o, struct trace_report *report,
                                   struct trace_files *files, const uint32_t *ids, uint32_t n_ids,
                                   const struct mn_log *log)
{
    const uint32_t num_steps = depth_or(o->num_steps, report->info.shape.mean_recurrence);
    const uint32_t needed = n_ids + o->n_new < 2 ? 2 : n_ids + o->n_new; /* both are at most IDS_MAX */
    struct number_list readouts = {0};
    if (o->readouts && parse_numbers("readouts", o->readouts, 1, num_steps, &readouts, log))
        return MN_ERR_USAGE;
    const struct mn_depth_trace_params params = {.prompt = ids,
                                                 .n_prompt = n_ids,
                                                 .n_new = o->n_new,
                                                 .num_steps = num_steps,
                                                 .ignore_eos = o->ignore_eos,
                                                 .n_inits = o->inits,
                                                 .init_scale = o->init_scale,
                                                 .seed = o->seed,
                                                 .n_components = o->components,
                                                 .stop = stop,
                                                 .readout_steps = readouts.values,
                                                 .n_readouts = readouts.n,
                                                 .terminal = {.window = o->window,
                                                              .nearness = (double)o->near,
                                                              .lag = (double)o->lag,
                                                              .aligned = (double)o->aligned,
                                                              .straight = (double)o->straight,
                                                              .steady = (double)o->steady}};
    const struct mn_session_params session_params = {.n_ctx = o->ctx ? o->ctx
                                                              : needed < report->info.shape.block_size
                                                                  ? needed
                                                                  : report->info.shape.block_size,
                                                     .num_steps = num_steps,
                                                     .max_rows = 1,
                                                     .kv_type = o->kv_type,
                                                     .beyond_trained_depth = o->beyond};
    struct mn_session *session;
    struct mn_depth_trace trace = {0};
    enum mn_status status = cli_open_session(&session, report->engine, &session_params);
    if (status)
        return status;
    status = mn_depth_trace_check(session, &params);
    if (!status) { /* a run that is refused prints its reason only */
        cli_banner(report->info.device_banner);
        if (!o->num_steps)
            default_depth_note(cli_notes(), &report->info);
        status = mn_depth_trace_run(&trace, session, &params);
    }
    mn_session_destroy(session);
    report->params = &params;
    report->trace = &trace;
    report->interrupted = status == MN_ERR_INTERRUPTED;
    if (report->interrupted)
        log_note(log, MN_LOG_WARN, "interrupted after %" PRIu32 " tokens", trace.n_tokens);
    if (!status || report->interrupted) {
        const enum mn_status written = write_all(o, report, files, log);
        status = status ? status : written;
    }
    mn_depth_trace_finish(&trace);
    return status;
}

static enum mn_status run_engine(const struct trace_options *o, struct trace_report *report, struct trace_files *files,
                                 const char *text, size_t n_bytes, const struct mn_log *log)
{
    uint32_t *ids = NULL;
    size_t n_ids = 0;
    enum mn_status status = take_prompt(o, report, text, n_bytes, &ids, &n_ids, log);
    if (!status && report->info.has_tokenizer)
        status = mn_stream_decoder_create(&report->decoder, report->engine, false);
    if (!status)
        status = trace_prompt(o, report, files, ids, (uint32_t)n_ids, log);
    mn_stream_decoder_destroy(report->decoder);
    free(ids);
    return status;
}

#define WAYS "-p TEXT, --ids LIST and -f FILE"

enum mn_status run_trace(const struct trace_options *o, const struct mn_log *log)
{
    const int n_prompts = (o->prompt != NULL) + (o->file != NULL) + (o->ids.ids != NULL);
    struct trace_report report = {.kv_type = o->kv_type};
    struct trace_files files = {0};
    char dir[CLI_PATH_BYTES], *file_text = NULL;
    size_t n_bytes = o->prompt ? strlen(o->prompt) : 0;
    if (n_prompts > 1)
        return log_fail(log, MN_ERR_USAGE, "more than one prompt: give exactly one of " WAYS);
    const struct output_use uses[] = {
        {"--results", o->results, true}, {"--states", o->states, true}, {"--file", o->file, false}};
    enum mn_status status = cli_check_outputs(o->model, uses, sizeof uses / sizeof *uses, log);
    if (!status && !o->prompt && !o->ids.ids)
        status = cli_read_prompt(o->file, o->raw, WAYS, &file_text, &n_bytes, log);
    if (status)
        return status;
    cli_catch_interrupt();
    status = open_files(o, &files, log);
    if (!status)
        status = cli_open_engine(
            &report.engine, dir,
            &(struct engine_choice){.model = o->model, .device = o->device, .weight_type = o->weight_type}, log);
    if (!status)
        mn_engine_info(report.engine, &report.info);
    if (!status)
        status = identity_init(&report.identity, &report.info, dir, NULL, NULL, log);
    if (!status)
        status = run_engine(o, &report, &files, file_text ? file_text : o->prompt, n_bytes, log);
    output_discard(&files.results);
    output_discard(&files.states);
    free(file_text);
    mn_engine_destroy(report.engine);
    return status;
}
