/* muninn generate: from the options to one sequence, or to the batch of them. */
#include "cli/generate/generate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common/decoding_options.h"
#include "cli/common/engine.h"
#include "cli/common/interrupt.h"
#include "cli/common/output.h"
#include "cli/common/paths.h"
#include "cli/common/progress.h"
#include "cli/common/prompt.h"
#include "engine/base/clock.h"
#include "engine/files/lines.h"

#define WAYS "-p TEXT, --ids LIST, -f FILE and --batch FILE.jsonl"

/* ---- before anything is loaded ---- */

static enum mn_status check_options(const struct generate_options *options, const struct mn_log *log)
{
    int n_prompts = (options->prompt != NULL) + (options->file != NULL) + (options->ids.ids != NULL) +
                    (options->batch != NULL);
    const struct mn_sampler_params sampler = {.temperature = options->temperature,
                                              .top_k = options->top_k,
                                              .top_p = options->top_p,
                                              .min_p = options->min_p,
                                              .seed = options->seed};
    if (n_prompts > 1)
        return log_fail(log, MN_ERR_USAGE, "more than one prompt: give exactly one of " WAYS);
    if (options->batch && options->compare_ar)
        return log_fail(log, MN_ERR_USAGE, "--compare-ar: not with --batch; compare the sequences one by one");
    if (options->batch && !strcmp(options->batch, "-") && options->trace)
        return log_fail(log, MN_ERR_USAGE, "--trace: not with --batch -; trace a file of lines");
    enum mn_status status = options->kv_policy ? mn_kv_policy_check(options->kv_policy, log) : MN_OK;
    return status ? status : check_sampling_options(&sampler, log);
}

/* ---- one sequence ---- */

/* `ar` again on a cache that keeps every step; the run's own session is gone by then, so that only one is in memory. */
static enum mn_status compare(struct generate_run *run, const struct mn_session_params *session_params,
                              const struct mn_generate_params *params)
{
    struct mn_session_params full = *session_params;
    struct mn_generate_params same = *params;
    struct mn_session *session;
    full.kv_policy = "full";
    full.max_rows = 1;
    if (run_was_cut(run)) /* what plain decoding would have gone on to say is not compared */
        same.n_new = run->n_tokens;
    enum mn_status status = cli_open_session(&session, run->engine, &full);
    if (status)
        return status;
    status = mn_compare_ar(session, &same, run->tokens, run->n_tokens, &run->agreement);
    run->compared = !status;
    mn_session_destroy(session);
    return status;
}

static enum mn_status run_single(struct generate_run *run, const char *text, size_t n_bytes)
{
    struct mn_session_params session_params;
    struct mn_generate_params params;
    struct mn_session *session = NULL;
    run->n_new = run->options->n_new;
    enum mn_status status = run->options->ids.ids ? run_take_ids(run, &run->options->ids)
                                                  : run_take_text(run, text, n_bytes);
    if (!status)
        status = settle_run(run, &session_params, &params);
    if (!status)
        status = run_prepare(run);
    if (!status && !cli_interrupted())
        status = cli_open_session(&session, run->engine, &session_params);
    if (!status && session)
        status = cli_use_costs(session, run->options->strategy, run->log);
    if (status) {
        mn_session_destroy(session);
        return status;
    }
    if (session && !cli_interrupted()) {
        figures_begin(&run->figures, run->engine, &run->info);
        run->polled = run->figures.sensors;
        delivery_begin(&run->delivery, clock_s());
        status = mn_generate(session, &params, &run->stats);
        figures_end(&run->figures);
        cli_progress_own(NULL, 0, 0);
    }
    mn_session_destroy(session);
    if (status && run->n_tokens == 0)
        return status; /* refused or failed before there was anything to show */
    if (!status)
        status = run->status;
    if (!status && run_was_interrupted(run))
        status = MN_ERR_INTERRUPTED;
    enum mn_status compared = !status && run->options->compare_ar ? compare(run, &session_params, &params) : MN_OK;
    status = run_finish(run, status);
    if (run->n_tokens) {
        report_summary(run, &run->stats);
        figures_summary(&run->figures, run->n_tokens);
    }
    if (run->compared)
        report_agreement(run);
    if (status == MN_ERR_INTERRUPTED)
        log_note(run->log, MN_LOG_WARN, "interrupted after %" PRIu32 " tokens", run->n_tokens);
    return status ? status : compared;
}

static enum mn_status run_engine(struct generate_run *run, const char *text, size_t n_bytes)
{
    const struct generate_options *options = run->options;
    mn_engine_info(run->engine, &run->info);
    enum mn_status status = !options->batch               ? run_single(run, text, n_bytes)
                            : strcmp(options->batch, "-") ? generate_file(run)
                                                          : generate_worker(run);
    /* However it ended: what happened until then is a trace. A run that was refused has none, and the old one stays. */
    const bool traced = run->trace && (run->trace->n_bytes || run->trace->failed);
    const enum mn_status kept = traced ? output_commit(run->trace, run->log) : MN_OK;
    status = status ? status : kept;
    if (!status && options->validate) {
        mn_engine_info(run->engine, &run->info);
        if (run->info.validation_messages)
            status = log_fail(run->log, MN_ERR_CHECK, "the validation layer had %" PRIu32 " messages",
                              run->info.validation_messages);
    }
    return status;
}

static void pass_on(void *user, enum mn_log_level level, const char *text)
{
    const struct mn_log **to = user;
    log_note(*to, level, "%s", text);
}

enum mn_status run_generate(const struct generate_options *options, const struct mn_log *log)
{
    const struct mn_log *to = log;
    const struct mn_log engine_log = {pass_on, &to};
    struct generate_run run = {
        .options = options, .log = log, .engine_log = &to, .collects = !strcmp(options->output, "json")};
    struct output_file trace = {0};
    char dir[CLI_PATH_BYTES], *file_text = NULL;
    size_t n_bytes = options->prompt ? strlen(options->prompt) : 0;
    const struct output_use uses[] = {
        {"--trace", options->trace, true}, {"--file", options->file, false}, {"--batch", options->batch, false}};
    enum mn_status status = check_options(options, log);
    if (!status)
        status = cli_check_outputs(options->model, uses, sizeof uses / sizeof *uses, log);
    if (!status && !options->prompt && !options->ids.ids && !options->batch)
        status = cli_read_prompt(options->file, options->raw, WAYS, &file_text, &n_bytes, log);
    if (status)
        return status;
    cli_catch_interrupt();
    if (options->trace) /* before the work, which may be long */
        status = output_open(&trace, options->trace, log);
    run.trace = options->trace ? &trace : NULL;
    if (!status)
        status = cli_open_engine(&run.engine, dir,
                                 &(struct engine_choice){.model = options->model,
                                                         .device = options->device,
                                                         .weight_type = options->weight_type,
                                                         .matrix_units = options->matrix_units,
                                                         .cpu_threads = options->cpu_threads,
                                                         .validate = options->validate},
                                 &engine_log);
    run.dir = dir;
    if (!status)
        status = run_engine(&run, file_text ? file_text : options->prompt, n_bytes);
    output_discard(&trace);
    run_free(&run);
    free(file_text);
    mn_engine_destroy(run.engine);
    return status;
}
