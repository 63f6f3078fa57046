/* One sequence on the command line: its prompt as ids, its parameters, its tokens on their way out. Shared by single
 * runs and batches. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common/decoding_options.h"
#include "cli/common/interrupt.h"
#include "cli/common/output.h"
#include "cli/common/progress.h"
#include "cli/common/prompt.h"
#include "cli/generate/generate.h"
#include "engine/base/clock.h"
#include "engine/base/numbers.h"
#include "engine/base/system.h"
#include "engine/files/lines.h"

enum { DEFAULT_NEW = 64 };

/* ---- the prompt ---- */

static enum mn_status encode_chat(struct generate_run *run, const char *text, size_t n_bytes)
{
    if (strlen(text) != n_bytes)
        return log_fail(run->log, MN_ERR_FORMAT, "%s: a zero byte at offset %zu: not possible with --chat",
                        run->options->file ? run->options->file : "standard input", strlen(text));
    const char *system = run->options->system;
    const struct mn_chat_message messages[] = {{"system", system, system ? strlen(system) : 0},
                                               {"user", text, n_bytes}};
    enum mn_status status = mn_chat(run->engine, messages + !system, 1 + (system != NULL), &run->prompt,
                                    &run->n_prompt);
    if (!status && run->n_prompt > IDS_MAX)
        status = log_fail(run->log, MN_ERR_USAGE, "a prompt of %zu tokens; at most %d", run->n_prompt, IDS_MAX);
    return status;
}

enum mn_status run_take_text(struct generate_run *run, const char *text, size_t n_bytes)
{
    return run->options->chat ? encode_chat(run, text, n_bytes)
                              : cli_encode_prompt(run->engine, text, n_bytes, !run->options->no_bos, &run->prompt,
                                                  &run->n_prompt, run->log);
}

enum mn_status run_take_ids(struct generate_run *run, const struct id_list *ids)
{
    run->n_prompt = ids->n;
    return cli_copy_ids(&run->prompt, ids->ids, ids->n, run->info.shape.vocab_size, run->log);
}

/* ---- its parameters ---- */

/* Fewer rows are fewer pipelines to build. */
uint32_t rows_per_sequence(const struct generate_options *options)
{
    return mn_strategy_rows(&(struct mn_generate_params){.strategy = options->strategy,
                                                         .speculation = {.lookahead = options->lookahead,
                                                                         .max_inflight = options->max_inflight,
                                                                         .lookup = options->lookup}});
}

enum mn_status settle_run(struct generate_run *run, struct mn_session_params *session,
                          struct mn_generate_params *generate)
{
    const struct generate_options *options = run->options;
    const uint32_t most = options->ctx ? options->ctx : run->info.shape.block_size, n_prompt = (uint32_t)run->n_prompt;
    run->default_depth = !run->num_steps && !options->num_steps;
    run->num_steps = depth_or(depth_or(run->num_steps, options->num_steps), run->info.shape.mean_recurrence);
    if (!run->n_new && options->n_new)
        run->n_new = options->n_new;
    if (!run->n_new)
        run->n_new = n_prompt <= most && most + 1 - n_prompt < DEFAULT_NEW ? most + 1 - n_prompt : DEFAULT_NEW;
    /* A cache as large as this run fills it: the whole context of a large model would not fit where the run does. */
    const bool uses_costs = mn_strategy_find(options->strategy)->uses & MN_USES_COSTS;
    const uint64_t filled = (uint64_t)n_prompt + run->n_new - 1,
                   needed_positions = uses_costs && filled < MN_COST_CONTEXT && most >= MN_COST_CONTEXT
                                          ? MN_COST_CONTEXT /* one table for runs of every length */
                                          : filled;
    const uint32_t n_ctx = options->ctx || needed_positions > most ? most
                           : needed_positions < 2                  ? 2
                                                                   : (uint32_t)needed_positions;
    const char *needed = mn_strategy_find(options->strategy)->kv_policy;
    run->kv_policy = options->kv_policy ? options->kv_policy : needed ? needed : "full";
    *session = (struct mn_session_params){.n_ctx = n_ctx,
                                          .num_steps = run->num_steps,
                                          .max_rows = rows_per_sequence(options),
                                          .kv_policy = run->kv_policy,
                                          .kv_type = options->kv_type,
                                          .branch_positions = options->branches > 1 ? MN_USUAL_BRANCH_POSITIONS : 0,
                                          .beyond_trained_depth = options->beyond};
    *generate = (struct mn_generate_params){
        .prompt = run->prompt,
        .n_prompt = n_prompt,
        .n_new = run->n_new,
        .num_steps = run->num_steps,
        .strategy = options->strategy,
        .sampler = {.temperature = options->temperature,
                    .top_k = options->top_k,
                    .top_p = options->top_p,
                    .min_p = options->min_p,
                    .seed = options->seed},
        .speculation = {.draft_steps = draft_steps_or_usual(options->draft_steps, run->num_steps),
                        .lookahead = options->lookahead,
                        .max_inflight = rows_per_sequence(options),
                        .lookup = options->lookup,
                        .branches = options->branches,
                        .verification_threshold = options->verification_threshold,
                        .require_lossless = options->require_lossless},
        .exit = {.rule = options->exit, .min_steps = options->exit_min_steps, .check_interval = options->exit_interval},
        .diffusion = {.headway = options->headway,
                      .freeze_threshold = options->freeze_threshold,
                      .state_noise = options->state_noise,
                      .embed_average = options->embed_average},
        .continuous = options->continuous,
        .ignore_eos = options->ignore_eos,
        .init_scale = options->init_scale,
        .on_token = run_on_token,
        .on_trace = run->trace ? report_trace : NULL,
        .user = run};
    run->live = &run->stats;
    run->stats = (struct mn_stats){.strategy = options->strategy, .num_steps = run->num_steps, .n_prompt = n_prompt};
    return MN_OK;
}

/* ---- tokens on their way out ---- */

static void note_end(struct generate_run *run, uint32_t token)
{
    for (uint32_t i = 0; !run->options->ignore_eos && i < run->info.n_eos; i++)
        run->ended_by_eos |= token == run->info.eos_token_ids[i];
}

int run_on_token(void *user, uint32_t token)
{
    struct generate_run *run = user;
    const char *text = "";
    size_t n_bytes = 0;
    const double now = clock_s();
    delivery_token(&run->delivery, &run->figures.latency, now);
    sensors_poll(run->polled, now);
    if (run->n_tokens == 0 && !run->in_batch) /* not earlier: a run that is refused prints its reason only */
        report_banner(run, run->default_depth);
    if (run->n_tokens == 0 && run->trace)
        report_trace_prompt(run, token);
    run->tokens[run->n_tokens++] = token;
    if (run->collects)
        cli_progress_own("generating", run->count ? ++*run->count : run->n_tokens,
                         run->count_of ? run->count_of : run->n_new);
    note_end(run, token);
    /* A vocabulary may have ids that the tokenizer does not know; they have no text. */
    if (run->decoder && !mn_stream_decoder_push(run->decoder, token, &text, &n_bytes))
        run->status = text_out_push(&run->text, text, n_bytes, run->log);
    else if (!run->decoder && !run->collects)
        printf("%s%" PRIu32, run->n_tokens > 1 ? " " : "", token);
    if (!run->status && !run->collects)
        run->status = cli_flush(run->log);
    return run_was_cut(run);
}

enum mn_status run_prepare(struct generate_run *run)
{
    run->tokens = malloc(run->n_new * sizeof *run->tokens);
    if (!run->tokens)
        return log_fail(run->log, MN_ERR_MEMORY, "out of host memory for %" PRIu32 " tokens", run->n_new);
    run->text = (struct text_out){.stops = &run->options->stops, .stream = run->collects ? NULL : stdout};
    if (!run->info.has_tokenizer)
        return run->options->stops.n ? log_fail(run->log, MN_ERR_FILE, "--stop: the model has no tokenizer.json")
                                     : MN_OK;
    enum mn_status status = mn_stream_decoder_create(&run->decoder, run->engine, !run->options->special);
    return status || !run->trace ? status : mn_stream_decoder_create(&run->token_decoder, run->engine, false);
}

bool run_was_cut(const struct generate_run *run)
{
    return run->status || run->text.stopped || cli_interrupted();
}

bool run_was_interrupted(const struct generate_run *run)
{
    return cli_interrupted() && !run->ended_by_eos && !run->text.stopped && run->n_tokens < run->n_new;
}

enum mn_status run_finish(struct generate_run *run, enum mn_status status)
{
    const char *text;
    size_t n_bytes;
    if (run->decoder) {
        enum mn_status rest = mn_stream_decoder_finish(run->decoder, &text, &n_bytes);
        if (!rest)
            rest = text_out_push(&run->text, text, n_bytes, run->log);
        status = status ? status : rest;
        text_out_finish(&run->text);
    }
    cli_progress_clear(); /* it may be the same terminal */
    if (run->collects)
        report_json(run, status);
    else if (!run->decoder || (stream_is_terminal(stdout) && run->text.n && run->text.text[run->text.n - 1] != '\n'))
        putchar('\n'); /* elsewhere the output is the text, byte for byte */
    enum mn_status flushed = run->status ? MN_OK : cli_flush(run->log); /* a failed write has been reported by then */
    return status ? status : flushed;
}

void run_free(struct generate_run *run)
{
    text_out_free(&run->text);
    figures_free(&run->figures);
    mn_stream_decoder_destroy(run->decoder);
    mn_stream_decoder_destroy(run->token_decoder);
    free(run->tokens);
    free(run->prompt);
    free(run->id);
    free(run->stop_texts);
    free(run->error);
}
