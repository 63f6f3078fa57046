/* muninn generate: prompt in, text or JSON out. */
#include "cli/generate/generate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench/sweep/cost_file.h"
#include "bench/sweep/cpu_device.h"
#include "cache/cache.h"
#include "cli/commands.h"
#include "engine/base/numbers.h"
#include "engine/model/sampler.h"

enum {
    DEFAULT_NEW = 64,
    DEFAULT_DRAFT_STEPS = 4, /* less where --num-steps is not above it */
};
#define DEFAULT_LOOKAHEAD "7"
/* ---- before anything is loaded ---- */

static enum mn_status check_options(const struct generate_options *options, const struct mn_log *log)
{
    int n_prompts = (options->prompt != NULL) + (options->file != NULL) + (options->ids.ids != NULL) +
                    (options->batch != NULL);
    struct kv_policy policy;
    const struct sampler_params sampler = {options->temperature, options->top_k, options->top_p, options->min_p,
                                           options->seed};
    if (n_prompts != 1)
        return log_fail(log, MN_ERR_USAGE,
                        "%s: give exactly one of -p TEXT, --ids LIST, -f FILE and --batch FILE.jsonl",
                        n_prompts ? "more than one prompt" : "no prompt");
    if (options->ids.ids && options->chat)
        return log_fail(log, MN_ERR_USAGE, "--chat: needs a text, not --ids");
    if (options->system && !options->chat)
        return log_fail(log, MN_ERR_USAGE, "--system: only with --chat");
    if (options->batch && options->compare_ar)
        return log_fail(log, MN_ERR_USAGE, "--compare-ar: not with --batch; compare the sequences one by one");
    if (options->parallel && !options->batch)
        return log_fail(log, MN_ERR_USAGE, "--parallel: only with --batch");
    enum mn_status status = options->kv_policy ? kv_policy_parse(options->kv_policy, &policy, log) : MN_OK;
    return status ? status : sampler_check(&sampler, log);
}

/* ---- the run ---- */

enum mn_status run_use_costs(const struct generate_run *run, struct mn_session *session)
{
    char dir[CLI_PATH_BYTES];
    return mn_strategy_find(run->options->strategy)->uses & MN_USES_COSTS
               ? cost_file_use(session, cli_cache_dir(dir), run->log)
               : MN_OK;
}

/* Fewer rows are fewer pipelines to build. */
uint32_t rows_per_sequence(const struct generate_options *options)
{
    return mn_strategy_rows(&(struct mn_generate_params){
        .strategy = options->strategy,
        .speculation = {.lookahead = options->lookahead, .max_inflight = options->max_inflight}});
}

enum mn_status settle_run(struct generate_run *run, struct mn_session_params *session,
                          struct mn_generate_params *generate)
{
    const struct generate_options *options = run->options;
    const uint32_t n_ctx = options->ctx ? options->ctx : run->info.block_size, n_prompt = (uint32_t)run->n_prompt;
    run->num_steps = depth_or(depth_or(run->num_steps, options->num_steps), run->info.mean_recurrence);
    const uint32_t draft_steps = options->draft_steps                   ? options->draft_steps
                                 : run->num_steps > DEFAULT_DRAFT_STEPS ? DEFAULT_DRAFT_STEPS
                                 : run->num_steps > 1                   ? run->num_steps - 1
                                                                        : 1;
    if (!run->n_new && options->n_new)
        run->n_new = options->n_new;
    if (!run->n_new)
        run->n_new = n_prompt <= n_ctx && n_ctx + 1 - n_prompt < DEFAULT_NEW ? n_ctx + 1 - n_prompt : DEFAULT_NEW;
    const char *needed = mn_strategy_find(options->strategy)->kv_policy;
    run->kv_policy = options->kv_policy ? options->kv_policy : needed ? needed : "full";
    *session = (struct mn_session_params){.n_ctx = n_ctx,
                                          .num_steps = run->num_steps,
                                          .max_rows = rows_per_sequence(options),
                                          .kv_policy = run->kv_policy,
                                          .kv_type = options->kv_type};
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
        .speculation = {.draft_steps = draft_steps,
                        .lookahead = options->lookahead,
                        .max_inflight = rows_per_sequence(options),
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
    enum mn_status status = mn_session_create(&session, run->engine, &full);
    if (status)
        return status;
    status = mn_compare_ar(session, &same, run->tokens, run->n_tokens, &run->agreement);
    run->compared = status == MN_OK;
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
        status = mn_session_create(&session, run->engine, &session_params);
    if (!status && session)
        status = run_use_costs(run, session);
    if (status) {
        mn_session_destroy(session);
        return status;
    }
    if (session && !cli_interrupted())
        status = mn_generate(session, &params, &run->stats);
    mn_session_destroy(session);
    if (status && run->n_tokens == 0)
        return status; /* refused or failed before there was anything to show */
    if (!status)
        status = run->status;
    if (!status && cli_interrupted() && !run->ended_by_eos && !run->text.stopped && run->n_tokens < run->n_new)
        status = MN_ERR_INTERRUPTED;
    enum mn_status compared = !status && run->options->compare_ar ? compare(run, &session_params, &params) : MN_OK;
    status = run_finish(run, status);
    if (run->n_tokens)
        report_summary(&run->stats);
    if (run->compared)
        report_agreement(run);
    if (status == MN_ERR_INTERRUPTED)
        log_note(run->log, MN_LOG_WARN, "interrupted after %" PRIu32 " tokens", run->n_tokens);
    return status ? status : compared;
}

static enum mn_status run_engine(struct generate_run *run, const char *text, size_t n_bytes)
{
    const struct generate_options *options = run->options;
    FILE *trace = NULL;
    mn_engine_info(run->engine, &run->info);
    if (options->trace && !(trace = fopen(options->trace, "w")))
        return log_fail(run->log, MN_ERR_FILE, "%s: cannot be written: %s", options->trace, strerror(errno));
    run->trace = trace;
    enum mn_status status = options->batch ? generate_file(run) : run_single(run, text, n_bytes);
    if (trace && (ferror(trace) | fclose(trace)) && !status)
        status = log_fail(run->log, MN_ERR_RUN, "%s: writing failed", options->trace);
    if (!status && options->validate) {
        mn_engine_info(run->engine, &run->info);
        if (run->info.validation_messages)
            status = log_fail(run->log, MN_ERR_CHECK, "the validation layer had %" PRIu32 " messages",
                              run->info.validation_messages);
    }
    return status;
}

static enum mn_status run_generate(const void *values, const struct mn_log *log)
{
    const struct generate_options *options = values;
    struct generate_run run = {.options = options, .log = log, .collects = !strcmp(options->output, "json")};
    char dir[CLI_PATH_BYTES], *file_text = NULL;
    size_t n_bytes = options->prompt ? strlen(options->prompt) : 0;
    enum mn_status status = check_options(options, log);
    if (!status)
        status = cli_model_dir(options->model, dir, log);
    if (!status && options->file)
        status = text_file_read(options->file, &file_text, &n_bytes, log);
    if (status)
        return status;
    cli_catch_interrupt();
    cpu_device_prepare(options->cpu_threads, dir);
    status = mn_engine_create(&run.engine, &(struct mn_engine_params){.model_dir = dir,
                                                                      .device = options->device,
                                                                      .weight_type = options->weight_type,
                                                                      .validate = options->validate,
                                                                      .log = log});
    if (!status)
        status = run_engine(&run, file_text ? file_text : options->prompt, n_bytes);
    run_free(&run);
    free(file_text);
    mn_engine_destroy(run.engine);
    return status;
}

/* ---- options ---- */

#define AT(field) offsetof(struct generate_options, field)

static const struct command_option table[] = {
    {.name = "model",
     .letter = 'm',
     .kind = OPTION_TEXT,
     .offset = AT(model),
     .argument = "DIR",
     .shown = "$MUNINN_MODEL, else raven-deep",
     .help = "model folder"},
    {.name = "prompt",
     .letter = 'p',
     .kind = OPTION_TEXT,
     .offset = AT(prompt),
     .argument = "TEXT",
     .help = "prompt; special tokens in it are recognised"},
    {.name = "ids",
     .kind = OPTION_IDS,
     .offset = AT(ids),
     .argument = "LIST",
     .help = "prompt as token ids like 0,301,270, taken as they are"},
    {.name = "file",
     .letter = 'f',
     .kind = OPTION_TEXT,
     .offset = AT(file),
     .argument = "FILE",
     .help = "prompt from a file, - for standard input, byte for byte"},
    {.name = "batch",
     .kind = OPTION_TEXT,
     .offset = AT(batch),
     .argument = "FILE.jsonl",
     .help = "many prompts, a JSON object per line: \"prompt\" or \"ids\", and \"n\", \"num_steps\", \"id\" if wanted"},
    {.name = "parallel",
     .kind = OPTION_U32,
     .offset = AT(parallel),
     .argument = "N",
     .shown = "8, or what 128 rows hold",
     .min = 1,
     .max = 64,
     .help = "sequences of the batch that share passes"},
    {.name = "chat",
     .kind = OPTION_FLAG,
     .offset = AT(chat),
     .help = "put the prompt into the chat template as the user's message"},
    {.name = "system",
     .kind = OPTION_TEXT,
     .offset = AT(system),
     .argument = "TEXT",
     .help = "system message, with --chat"},
    {.name = "no-bos",
     .kind = OPTION_FLAG,
     .offset = AT(no_bos),
     .help = "put no begin token in front of a text prompt"},
    {.name = "max-new-tokens",
     .letter = 'n',
     .kind = OPTION_U32,
     .offset = AT(n_new),
     .argument = "N",
     .shown = "64, or what the context holds",
     .min = 1,
     .max = IDS_MAX,
     .help = "most new tokens"},
    {.name = "num-steps",
     .kind = OPTION_U32,
     .offset = AT(num_steps),
     .argument = "R",
     .shown = "the model's mean_recurrence",
     .min = 1,
     .max = 4096,
     .help = "recurrence steps per token"},
    {.name = "strategy",
     .kind = OPTION_CHOICE,
     .offset = AT(strategy),
     .argument = "NAME",
     .strategies = true,
     .value = "ar",
     .help = "how tokens are found"},
    {.name = "draft-steps",
     .kind = OPTION_U32,
     .offset = AT(draft_steps),
     .argument = "K",
     .shown = "4, but below R",
     .min = 1,
     .max = 4095,
     .help = "recurrence steps of a draft, or per tick of wavefront and diffusion"},
    {.name = "lookahead",
     .kind = OPTION_U32,
     .offset = AT(lookahead),
     .argument = "L",
     .value = DEFAULT_LOOKAHEAD,
     .min = 1,
     .max = MN_MAX_LOOKAHEAD,
     .help = "tokens drafted per round of draft-verify"},
    {.name = "max-inflight",
     .kind = OPTION_U32,
     .offset = AT(max_inflight),
     .argument = "W",
     .shown = "the strategy's own",
     .min = 1,
     .max = MN_MAX_LOOKAHEAD + 1,
     .help = "most rows in flight in wavefront, auto and diffusion"},
    {.name = "verification-threshold",
     .kind = OPTION_FLOAT,
     .offset = AT(verification_threshold),
     .argument = "T",
     .value = "0",
     .min = 0,
     .max = 1,
     .help = "draft-verify: accept drafts of at least T times the best probability (LOSSY); 0: only equal ones"},
    {.name = "continuous",
     .kind = OPTION_FLAG,
     .offset = AT(continuous),
     .help = "ar: start each token from the last state of the one before it (LOSSY)"},
    {.name = "headway",
     .kind = OPTION_U32,
     .offset = AT(headway),
     .argument = "N",
     .value = "1",
     .min = 1,
     .max = MN_MAX_LOOKAHEAD + 1,
     .help = "diffusion: rows that enter per tick"},
    {.name = "freeze-threshold",
     .kind = OPTION_FLOAT,
     .offset = AT(freeze_threshold),
     .argument = "X",
     .value = "0.03",
     .min = 1e-9,
     .max = 1e6,
     .help = "diffusion: a row is done when its state moves by less than X of its norm"},
    {.name = "state-noise",
     .kind = OPTION_FLOAT,
     .offset = AT(state_noise),
     .argument = "X",
     .value = "0",
     .min = 0,
     .max = 1,
     .help = "diffusion: share of noise mixed into fresh states, less with every step"},
    {.name = "embed-average",
     .kind = OPTION_FLOAT,
     .offset = AT(embed_average),
     .argument = "X",
     .value = "0.1",
     .min = 0,
     .max = 0.999,
     .help = "diffusion: share of the embedding of the tick before"},
    {.name = "exit",
     .kind = OPTION_TEXT,
     .offset = AT(exit),
     .argument = "CRITERION[:T]",
     .help = "early exit: latent-diff, cosine, entropy-diff, kl, minp-kl or argmax-stability; LOSSY in ar, lossless in "
             "drafts"},
    {.name = "exit-min-steps",
     .kind = OPTION_U32,
     .offset = AT(exit_min_steps),
     .argument = "N",
     .value = "1",
     .min = 1,
     .max = 4096,
     .help = "no early exit before so many steps"},
    {.name = "exit-interval",
     .kind = OPTION_U32,
     .offset = AT(exit_interval),
     .argument = "N",
     .value = "1",
     .min = 1,
     .max = 4096,
     .help = "check for an early exit after every so many steps"},
    {.name = "require-lossless",
     .kind = OPTION_FLAG,
     .offset = AT(require_lossless),
     .help = "refuse settings that are lossy"},
    {.name = "compare-ar",
     .kind = OPTION_FLAG,
     .offset = AT(compare_ar),
     .help = "run ar with a full cache behind it and report how far the tokens agree"},
    {.name = "trace",
     .kind = OPTION_TEXT,
     .offset = AT(trace),
     .argument = "FILE.jsonl",
     .help =
         "the settings, then one JSON line per token, round or tick: rows, depths, predictions, commits, drops, times"},
    {.name = "kv-policy",
     .kind = OPTION_TEXT,
     .offset = AT(kv_policy),
     .argument = "full|share:k",
     .shown = "full; diffusion: share:1",
     .help = "cache every step, or the last k steps (LOSSY)"},
    {.name = "kv-type",
     .kind = OPTION_CHOICE,
     .offset = AT(kv_type),
     .choices = "f16|f32",
     .value = "f16",
     .help = "type of the cache"},
    {.name = "weight-type",
     .kind = OPTION_CHOICE,
     .offset = AT(weight_type),
     .choices = "bf16|f16|f32",
     .shown = "as stored",
     .help = "convert the matrices"},
    {.name = "temp",
     .kind = OPTION_FLOAT,
     .offset = AT(temperature),
     .argument = "T",
     .value = "0",
     .min = 0,
     .max = 100,
     .help = "temperature; 0 is greedy"},
    {.name = "top-k",
     .kind = OPTION_U32,
     .offset = AT(top_k),
     .argument = "N",
     .value = "0",
     .min = 0,
     .max = UINT32_MAX,
     .help = "sample from the N best tokens; 0 is off"},
    {.name = "top-p",
     .kind = OPTION_FLOAT,
     .offset = AT(top_p),
     .argument = "P",
     .value = "1",
     .min = 0,
     .max = 1,
     .help = "sample from the best tokens that make up P; 1 is off"},
    {.name = "min-p",
     .kind = OPTION_FLOAT,
     .offset = AT(min_p),
     .argument = "P",
     .value = "0",
     .min = 0,
     .max = 1,
     .help = "leave out tokens below P times the best one's probability; 0 is off"},
    {.name = "seed",
     .kind = OPTION_U64,
     .offset = AT(seed),
     .argument = "S",
     .value = "0",
     .help = "of sampling and initial states"},
    {.name = "init-scale",
     .kind = OPTION_FLOAT,
     .offset = AT(init_scale),
     .argument = "X",
     .value = "0",
     .min = 0,
     .max = 1000,
     .help = "scale of random initial states; 0 is the zero state"},
    {.name = "ignore-eos", .kind = OPTION_FLAG, .offset = AT(ignore_eos), .help = "go on after an end token"},
    {.name = "stop",
     .kind = OPTION_LIST,
     .offset = AT(stops),
     .argument = "STR",
     .help = "end before this text; may be given up to 16 times"},
    {.name = "special", .kind = OPTION_FLAG, .offset = AT(special), .help = "print special tokens too"},
    {.name = "ctx",
     .kind = OPTION_U32,
     .offset = AT(ctx),
     .argument = "N",
     .shown = "the model's block_size",
     .min = 2,
     .max = IDS_MAX,
     .help = "positions to reserve"},
    {.name = "device",
     .kind = OPTION_TEXT,
     .offset = AT(device),
     .argument = "D",
     .shown = "the best one",
     .help = "number or part of a name, see `muninn devices`"},
    {.name = "cpu-threads",
     .kind = OPTION_CHOICE,
     .offset = AT(cpu_threads),
     .choices = "0|1|2|3|4|6|8|12|16|24|32",
     .shown = "0 for small models, else all",
     .help = "worker threads of a CPU device (lavapipe); 0: none beside the one that computes"},
    {.name = "validate",
     .kind = OPTION_FLAG,
     .offset = AT(validate),
     .help = "run under the Vulkan validation layer; exit 7 if it complains"},
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_CHOICE,
     .offset = AT(output),
     .choices = "text|json",
     .value = "text",
     .help = "stream the text, or one JSON object at the end"},
};

const struct command command_generate = {
    .name = "generate",
    .summary = "Continues a prompt.",
    .synopsis = "(-p TEXT | --ids LIST | -f FILE | --batch FILE.jsonl) [OPTIONS]",
    .example = "muninn generate -p 'sort 2 8 0 1 :' --strategy draft-verify --draft-steps 4 --lookahead 4",
    .notes =
        "With --kv-policy full, every strategy gives the tokens of `ar` with the same --num-steps, sampler and seed.\n"
        "A text prompt gets the model's begin token in front unless it starts with it.\n"
        "--batch prints a JSON line per sequence, in the order in which they end, and one with the total.\n"
        "--stop looks at the printed text: special tokens only count with --special.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .values_bytes = sizeof(struct generate_options),
    .run = run_generate};
