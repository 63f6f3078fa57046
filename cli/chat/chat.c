/* muninn chat: from the options to the end of the conversation. */
#include "cli/chat/chat.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rows/default_depth.h"
#include "cli/common/decoding_options.h"
#include "cli/common/engine.h"
#include "cli/common/interrupt.h"
#include "cli/common/output.h"
#include "cli/common/progress.h"
#include "cli/common/talk.h"
#include "engine/base/clock.h"
#include "engine/base/numbers.h"

/* How long a pass may go on after Ctrl-C: one that is ended in its middle costs what the cache holds. */
static const double PATIENCE_S = 1.0;

/* ---- before anything is loaded ---- */

static enum mn_status check_options(const struct chat_options *options, const struct mn_log *log)
{
    const struct mn_sampler_params sampler = {.temperature = options->temperature,
                                              .top_k = options->top_k,
                                              .top_p = options->top_p,
                                              .min_p = options->min_p,
                                              .seed = options->seed};
    if (!mn_strategy_find(options->strategy)->batches)
        return log_fail(log, MN_ERR_USAGE, "--strategy %s: keeps nothing between two turns; see `muninn generate`",
                        options->strategy);
    enum mn_status status = mn_kv_policy_check(options->kv_policy, log);
    return status ? status : check_sampling_options(&sampler, log);
}

/* ---- sessions ---- */

struct mn_speculation_params chat_speculation(const struct chat_options *options, const char *strategy)
{
    struct mn_speculation_params speculation = {.lookahead = options->lookahead, .max_inflight = options->max_inflight};
    if (mn_strategy_find(strategy)->uses & MN_USES_LOOKUP)
        speculation.lookup = options->lookup;
    speculation.max_inflight = mn_strategy_rows(
        &(struct mn_generate_params){.strategy = strategy, .speculation = speculation});
    return speculation;
}

/* Of whichever strategy the next turn may have. */
static uint32_t most_rows(const struct chat_options *options)
{
    const struct mn_strategy *strategy;
    uint32_t most = 1;
    for (uint32_t i = 0; (strategy = mn_strategy_at(i)); i++)
        if (strategy->batches)
            most = max_u32(most, chat_speculation(options, strategy->name).max_inflight);
    return most;
}

enum mn_status chat_open_scheduler(struct chat *chat)
{
    mn_scheduler_destroy(chat->scheduler);
    chat->scheduler = NULL;
    enum mn_status status = cli_use_costs(chat->session, chat->strategy, chat->log);
    return status ? status : mn_scheduler_create(&chat->scheduler, chat->session, &(struct mn_scheduler_params){0});
}

enum mn_status chat_open_session(struct chat *chat)
{
    const struct chat_options *options = chat->options;
    struct mn_session_params *p = &chat->session_params;
    mn_scheduler_destroy(chat->scheduler);
    mn_session_destroy(chat->session);
    chat->scheduler = NULL;
    chat->session = NULL;
    *p = (struct mn_session_params){.n_ctx = options->ctx,
                                    .num_steps = chat->num_steps,
                                    .n_sequences = 1,
                                    .max_rows = most_rows(options),
                                    .kv_policy = options->kv_policy,
                                    .kv_type = options->kv_type,
                                    .beyond_trained_depth = options->beyond};
    enum mn_status status = options->ctx ? MN_OK : cli_fit_context(p, chat->engine);
    if (!status)
        status = cli_open_session(&chat->session, chat->engine, p);
    return status ? status : chat_open_scheduler(chat);
}

/* While it answers, Ctrl-C ends the answer between two steps of the scheduler (turn.c), which loses nothing; a pass
 * that takes longer, and everything else, ends here. */
static int report(void *user, const char *what, uint64_t done, uint64_t total)
{
    struct chat *chat = user;
    const struct mn_progress shown = cli_progress();
    const int ends = shown.report(shown.user, what, done, total);
    if (!ends || !chat->answering || !cli_interrupt_is_typed())
        return ends;
    const double now = clock_s();
    if (chat->stop_seen == 0.0)
        chat->stop_seen = now;
    return now - chat->stop_seen > PATIENCE_S;
}

/* ---- the conversation ---- */

void turn_free(struct turn *turn)
{
    free(turn->message);
    free(turn->answer);
    free(turn->prompt);
    free(turn->tokens);
    *turn = (struct turn){0};
}

void chat_forget(struct chat *chat)
{
    while (chat->n_turns)
        turn_free(&chat->turns[--chat->n_turns]);
}

static void greet(const struct chat *chat)
{
    cli_note_default_model(chat->options->model, chat->log);
    cli_banner(chat->info.device_banner);
    if (!chat->options->num_steps)
        default_depth_note(cli_notes(), &chat->info);
    log_note(chat->log, MN_LOG_INFO, "%" PRIu32 " positions, %" PRIu32 " steps, %s; /help lists what else there is",
             chat->session_params.n_ctx, chat->num_steps, chat->strategy);
}

/* A model that cannot chat says so before anybody types. */
static enum mn_status check_template(struct chat *chat)
{
    const char *system = chat->options->system;
    const struct mn_chat_message message = {"system", system, system ? strlen(system) : 0};
    uint32_t *ids = NULL;
    size_t n = 0;
    enum mn_status status = mn_chat(chat->engine, &message, system != NULL, &ids, &n);
    free(ids);
    return status;
}

/* A message or a command. A failure of the device or of the output ends the conversation. */
static enum mn_status take(struct chat *chat, const char *text, size_t n_bytes, enum mn_status *refused)
{
    const bool slash = text[0] == '/' && !chat->input.block, command = slash && text[1] != '/';
    const size_t skip = slash && !command;
    enum mn_status status = command ? chat_command(chat, text) : chat_turn(chat, text + skip, n_bytes - skip);
    if (status == MN_ERR_DEVICE_LOST || status == MN_ERR_INTERRUPTED || ferror(stdout) || !chat->scheduler)
        return status ? status : MN_ERR_RUN;
    *refused = *refused ? *refused : status;
    return MN_OK;
}

static enum mn_status converse(struct chat *chat)
{
    enum mn_status status = MN_OK, refused = MN_OK;
    while (!status && !chat->ended) {
        char *text;
        size_t n_bytes;
        status = chat_input_read(&chat->input, &text, &n_bytes, chat->log);
        if (cli_interrupted()) {
            /* Who types has dropped a line; a script is ended. */
            if (!chat->input.prompts || !cli_interrupt_forget())
                status = MN_ERR_INTERRUPTED;
        } else if (!status && !text) {
            chat->ended = true;
        } else if (!status && strspn(text, " \t") < n_bytes) {
            status = take(chat, text, n_bytes, &refused);
        } else if (status == MN_ERR_USAGE) {
            refused = status;
            status = MN_OK;
        }
        free(text);
    }
    return status                ? status
           : chat->input.prompts ? MN_OK /* who types has seen it */
                                 : refused;
}

enum mn_status run_chat(const struct chat_options *options, const struct mn_log *log)
{
    char dir[CLI_PATH_BYTES];
    struct chat chat = {
        .options = options, .log = log, .dir = dir, .strategy = options->strategy, .temperature = options->temperature};
    enum mn_status status = check_options(options, log);
    if (status)
        return status;
    cli_catch_interrupt();
    status = cli_open_engine(&chat.engine, dir,
                             &(struct engine_choice){.model = options->model,
                                                     .device = options->device,
                                                     .weight_type = options->weight_type,
                                                     .matrix_units = options->matrix_units,
                                                     .cpu_threads = options->cpu_threads,
                                                     .progress = {report, &chat}},
                             log);
    if (!status) {
        mn_engine_info(chat.engine, &chat.info);
        chat.num_steps = depth_or(options->num_steps, chat.info.shape.mean_recurrence);
        status = check_template(&chat);
    }
    if (!status)
        status = chat_open_session(&chat);
    if (!status)
        status = chat_input_open(&chat.input, log);
    if (!status) {
        greet(&chat);
        status = converse(&chat);
    }
    chat_input_close(&chat.input);
    chat_forget(&chat);
    free(chat.turns);
    mn_scheduler_destroy(chat.scheduler);
    mn_session_destroy(chat.session);
    mn_engine_destroy(chat.engine);
    return status;
}
