/* muninn generate: prompt in, text or JSON out. */
#include "generate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"

enum {
    DEFAULT_NEW = 64,
    DEFAULT_DRAFT_STEPS = 4, /* less where --num-steps is not above it */
};
#define DEFAULT_LOOKAHEAD "7"
#define DEFAULT_MAX_INFLIGHT "8"

static bool json_output(const struct generate_run *run)
{
    return !strcmp(run->options->output, "json");
}

/* ---- before anything is loaded ---- */

static enum mn_status check_options(const struct generate_options *options, const struct mn_log *log)
{
    int n_prompts = (options->prompt != NULL) + (options->file != NULL) + (options->ids.ids != NULL);
    struct kv_policy policy;
    const struct sampler_params sampler = {options->temperature, options->top_k, options->top_p, options->min_p, options->seed};
    if (n_prompts != 1)
        return log_fail(log, MN_ERR_USAGE, "%s: give exactly one of -p TEXT, --ids LIST and -f FILE", n_prompts ? "more than one prompt" : "no prompt");
    if (options->ids.ids && options->chat)
        return log_fail(log, MN_ERR_USAGE, "--chat: needs a text, not --ids");
    if (options->system && !options->chat)
        return log_fail(log, MN_ERR_USAGE, "--system: only with --chat");
    enum mn_status status = kv_policy_parse(options->kv_policy, &policy, log);
    return status ? status : sampler_check(&sampler, log);
}

/* ---- the prompt ---- */

static enum mn_status encode_text(struct generate_run *run, const char *text, size_t n_bytes)
{
    const struct generate_options *options = run->options;
    if (options->chat && strlen(text) != n_bytes)
        return log_fail(run->log, MN_ERR_FORMAT, "%s: a zero byte at offset %zu: not possible with --chat", options->file, strlen(text));
    if (options->chat)
        return mn_chat(run->engine, options->system, text, &run->prompt, &run->n_prompt);
    enum mn_status status = mn_tokenize(run->engine, text, n_bytes, true, &run->prompt, &run->n_prompt);
    uint32_t bos = run->info.bos_token_id;
    if (status || options->no_bos || bos == UINT32_MAX || (run->n_prompt && run->prompt[0] == bos))
        return status;
    uint32_t *longer = malloc((run->n_prompt + 1) * sizeof *longer);
    if (!longer)
        return log_fail(run->log, MN_ERR_MEMORY, "out of host memory for %zu prompt ids", run->n_prompt + 1);
    longer[0] = bos;
    if (run->n_prompt)
        memcpy(longer + 1, run->prompt, run->n_prompt * sizeof *longer);
    free(run->prompt);
    run->prompt = longer;
    run->n_prompt++;
    return MN_OK;
}

static enum mn_status make_prompt(struct generate_run *run, const char *text, size_t n_bytes)
{
    const struct id_list *ids = &run->options->ids;
    if (!ids->ids) {
        enum mn_status status = encode_text(run, text, n_bytes);
        if (!status && run->n_prompt > CLI_IDS_MAX)
            status = log_fail(run->log, MN_ERR_USAGE, "a prompt of %zu tokens; at most %d", run->n_prompt, CLI_IDS_MAX);
        return status;
    }
    enum mn_status status = cli_check_ids(ids->ids, ids->n, run->info.vocab_size, run->log);
    if (status)
        return status;
    run->prompt = malloc(ids->n * sizeof *run->prompt);
    if (!run->prompt)
        return log_fail(run->log, MN_ERR_MEMORY, "out of host memory for %" PRIu32 " prompt ids", ids->n);
    memcpy(run->prompt, ids->ids, ids->n * sizeof *run->prompt);
    run->n_prompt = ids->n;
    return MN_OK;
}

/* ---- tokens on their way out ---- */

static void note_end(struct generate_run *run, uint32_t token)
{
    for (uint32_t i = 0; !run->options->ignore_eos && i < run->info.n_eos; i++)
        run->ended_by_eos |= token == run->info.eos_token_ids[i];
}

static int on_token(void *user, uint32_t token)
{
    struct generate_run *run = user;
    const char *text = "";
    size_t n_bytes = 0;
    if (run->n_tokens == 0) /* not earlier: a run that is refused prints its reason only */
        report_banner(run);
    run->tokens[run->n_tokens++] = token;
    note_end(run, token);
    /* A vocabulary may have ids that the tokenizer does not know; they have no text. */
    if (run->decoder && mn_stream_decoder_push(run->decoder, token, &text, &n_bytes, NULL) == MN_OK)
        run->status = text_out_push(&run->text, text, n_bytes, run->log);
    else if (!run->decoder && !json_output(run))
        printf("%s%" PRIu32, run->n_tokens > 1 ? " " : "", token);
    if (!run->status && !json_output(run))
        run->status = cli_flush(run->log);
    return run->status || run->text.stopped || cli_interrupted();
}

static enum mn_status prepare_output(struct generate_run *run)
{
    run->tokens = malloc(run->n_new * sizeof *run->tokens);
    if (!run->tokens)
        return log_fail(run->log, MN_ERR_MEMORY, "out of host memory for %" PRIu32 " tokens", run->n_new);
    run->text = (struct text_out){.stops = &run->options->stops, .stream = json_output(run) ? NULL : stdout};
    if (!run->engine->tokenizer)
        return run->options->stops.n ? log_fail(run->log, MN_ERR_FILE, "--stop: the model has no tokenizer.json") : MN_OK;
    run->decoder = malloc(sizeof *run->decoder);
    if (!run->decoder)
        return log_fail(run->log, MN_ERR_MEMORY, "out of host memory for the decoder");
    mn_stream_decoder_init(run->decoder, run->engine->tokenizer, !run->options->special);
    return MN_OK;
}

static enum mn_status finish_output(struct generate_run *run, enum mn_status status)
{
    const char *text;
    size_t n_bytes;
    if (run->decoder) {
        mn_stream_decoder_finish(run->decoder, &text, &n_bytes);
        if (text_out_push(&run->text, text, n_bytes, run->log) && !status)
            status = MN_ERR_MEMORY;
        text_out_finish(&run->text);
    }
    if (json_output(run))
        report_json(run, status);
    else if (!run->decoder || (isatty(STDOUT_FILENO) && run->text.n && run->text.text[run->text.n - 1] != '\n'))
        putchar('\n'); /* elsewhere the output is the text, byte for byte */
    enum mn_status flushed = run->status ? MN_OK : cli_flush(run->log); /* a failed write has been reported by then */
    if (run->n_tokens)
        report_summary(run);
    if (status == MN_ERR_INTERRUPTED)
        log_note(run->log, MN_LOG_WARN, "interrupted after %" PRIu32 " tokens", run->n_tokens);
    return status ? status : flushed;
}

/* ---- the run ---- */

/* Rows per pass that a strategy needs: fewer rows are fewer pipelines to build. */
static uint32_t max_rows(const struct generate_options *options)
{
    if (!strcmp(options->strategy, "draft-verify"))
        return options->lookahead + 1;
    return !strcmp(options->strategy, "wavefront") ? options->max_inflight : 1;
}

/* Fills in what depends on the model. Impossible values are left to mn_generate, which knows the rules. */
static enum mn_status settle(struct generate_run *run, struct mn_session_params *session, struct mn_generate_params *generate)
{
    const struct generate_options *options = run->options;
    uint32_t num_steps = options->num_steps ? options->num_steps : run->info.mean_recurrence;
    uint32_t n_ctx = options->ctx ? options->ctx : run->info.block_size;
    if (strcmp(options->strategy, "ar") != 0 && num_steps < 2)
        return log_fail(run->log, MN_ERR_USAGE, "--strategy %s: needs --num-steps of at least 2", options->strategy);
    uint32_t draft_steps = options->draft_steps ? options->draft_steps : num_steps > DEFAULT_DRAFT_STEPS ? DEFAULT_DRAFT_STEPS : num_steps - 1;
    run->n_new = options->n_new ? options->n_new : DEFAULT_NEW;
    if (!options->n_new && run->n_prompt <= n_ctx && n_ctx + 1 - run->n_prompt < DEFAULT_NEW)
        run->n_new = n_ctx + 1 - (uint32_t)run->n_prompt;
    *session = (struct mn_session_params){.n_ctx = n_ctx,
                                          .num_steps = num_steps,
                                          .max_rows = max_rows(options),
                                          .kv_policy = options->kv_policy,
                                          .kv_type = options->kv_type};
    *generate = (struct mn_generate_params){.prompt = run->prompt,
                                            .n_prompt = (uint32_t)run->n_prompt,
                                            .n_new = run->n_new,
                                            .num_steps = num_steps,
                                            .strategy = options->strategy,
                                            .draft_steps = draft_steps,
                                            .lookahead = options->lookahead,
                                            .max_inflight = options->max_inflight,
                                            .exit = options->exit,
                                            .exit_min_steps = options->exit_min_steps,
                                            .exit_check_interval = options->exit_interval,
                                            .require_lossless = options->require_lossless,
                                            .temperature = options->temperature,
                                            .top_k = options->top_k,
                                            .top_p = options->top_p,
                                            .min_p = options->min_p,
                                            .seed = options->seed,
                                            .init_scale = options->init_scale,
                                            .ignore_eos = options->ignore_eos,
                                            .on_token = on_token,
                                            .on_trace = options->trace ? report_trace : NULL,
                                            .user = run};
    run->stats = (struct mn_stats){.strategy = options->strategy, .num_steps = num_steps, .n_prompt = (uint32_t)run->n_prompt};
    return MN_OK;
}

static enum mn_status run_engine(struct generate_run *run, const char *text, size_t n_bytes)
{
    struct mn_session_params session_params;
    struct mn_generate_params params;
    struct mn_session *session = NULL;
    mn_engine_info(run->engine, &run->info);
    enum mn_status status = make_prompt(run, text, n_bytes);
    if (!status)
        status = settle(run, &session_params, &params);
    if (!status)
        status = prepare_output(run);
    if (!status && run->options->trace && !(run->trace = fopen(run->options->trace, "w")))
        status = log_fail(run->log, MN_ERR_FILE, "%s: cannot be written: %s", run->options->trace, strerror(errno));
    if (!status && !cli_interrupted())
        status = mn_session_create(&session, run->engine, &session_params);
    if (status)
        return status;
    if (session && !cli_interrupted())
        status = mn_generate(session, &params, &run->stats);
    mn_session_destroy(session);
    if (run->trace && (ferror(run->trace) | fclose(run->trace)) && !status)
        status = log_fail(run->log, MN_ERR_RUN, "%s: writing failed", run->options->trace);
    if (status && run->n_tokens == 0)
        return status; /* refused or failed before there was anything to show */
    if (!status)
        status = run->status;
    if (!status && cli_interrupted() && !run->ended_by_eos && !run->text.stopped && run->n_tokens < run->n_new)
        status = MN_ERR_INTERRUPTED;
    status = finish_output(run, status);
    if (!status && run->options->validate) {
        mn_engine_info(run->engine, &run->info);
        if (run->info.validation_messages)
            status = log_fail(run->log, MN_ERR_CHECK, "the validation layer had %" PRIu32 " messages", run->info.validation_messages);
    }
    return status;
}

static enum mn_status run_generate(const void *values, const struct mn_log *log)
{
    const struct generate_options *options = values;
    struct generate_run run = {.options = options, .log = log};
    char dir[CLI_PATH_BYTES], *file_text = NULL;
    size_t n_bytes = options->prompt ? strlen(options->prompt) : 0;
    enum mn_status status = check_options(options, log);
    if (!status)
        status = cli_model_dir(options->model, dir, log);
    if (!status && options->file)
        status = cli_read_file(options->file, &file_text, &n_bytes, log);
    if (status)
        return status;
    cli_catch_interrupt();
    cli_set_cpu_threads(options->cpu_threads, dir);
    status = mn_engine_create(
        &run.engine,
        &(struct mn_engine_params){
            .model_dir = dir, .device = options->device, .weight_type = options->weight_type, .validate = options->validate, .log = log});
    if (!status)
        status = run_engine(&run, file_text ? file_text : options->prompt, n_bytes);
    text_out_free(&run.text);
    free(run.decoder);
    free(run.tokens);
    free(run.prompt);
    free(file_text);
    mn_engine_destroy(run.engine);
    return status;
}

/* ---- options ---- */

#define AT(field) offsetof(struct generate_options, field)

static const struct option_spec specs[] = {
    {.name = "model", .letter = 'm', .kind = OPTION_TEXT, .offset = AT(model), .argument = "DIR", .shown = "$MUNINN_MODEL, else raven-tiny",
     .help = "model folder"},
    {.name = "prompt", .letter = 'p', .kind = OPTION_TEXT, .offset = AT(prompt), .argument = "TEXT", .help = "prompt; special tokens in it are recognised"},
    {.name = "ids", .kind = OPTION_IDS, .offset = AT(ids), .argument = "LIST", .help = "prompt as token ids like 0,301,270, taken as they are"},
    {.name = "file", .letter = 'f', .kind = OPTION_TEXT, .offset = AT(file), .argument = "FILE",
     .help = "prompt from a file, - for standard input, byte for byte"},
    {.name = "chat", .kind = OPTION_FLAG, .offset = AT(chat), .help = "put the prompt into the chat template as the user's message"},
    {.name = "system", .kind = OPTION_TEXT, .offset = AT(system), .argument = "TEXT", .help = "system message, with --chat"},
    {.name = "no-bos", .kind = OPTION_FLAG, .offset = AT(no_bos), .help = "put no begin token in front of a text prompt"},
    {.name = "max-new-tokens", .letter = 'n', .kind = OPTION_U32, .offset = AT(n_new), .argument = "N", .shown = "64, or what the context holds", .min = 1,
     .max = CLI_IDS_MAX, .help = "most new tokens"},
    {.name = "num-steps", .kind = OPTION_U32, .offset = AT(num_steps), .argument = "R", .shown = "the model's mean_recurrence", .min = 1, .max = 4096,
     .help = "recurrence steps per token"},
    {.name = "strategy", .kind = OPTION_CHOICE, .offset = AT(strategy), .choices = "ar|draft-verify|wavefront", .value = "ar",
     .help = "how tokens are found"},
    {.name = "draft-steps", .kind = OPTION_U32, .offset = AT(draft_steps), .argument = "K", .shown = "4, but below R", .min = 1, .max = 4095,
     .help = "recurrence steps of a draft, or per tick of the wavefront"},
    {.name = "lookahead", .kind = OPTION_U32, .offset = AT(lookahead), .argument = "L", .value = DEFAULT_LOOKAHEAD, .min = 1, .max = MN_MAX_LOOKAHEAD,
     .help = "tokens drafted per round of draft-verify"},
    {.name = "max-inflight", .kind = OPTION_U32, .offset = AT(max_inflight), .argument = "W", .value = DEFAULT_MAX_INFLIGHT, .min = 1,
     .max = MN_MAX_LOOKAHEAD + 1, .help = "most rows in flight in the wavefront"},
    {.name = "exit", .kind = OPTION_TEXT, .offset = AT(exit), .argument = "CRITERION[:T]",
     .help = "early exit: latent-diff, cosine, entropy-diff, kl, minp-kl or argmax-stability; LOSSY in ar, lossless in drafts"},
    {.name = "exit-min-steps", .kind = OPTION_U32, .offset = AT(exit_min_steps), .argument = "N", .value = "1", .min = 1, .max = 4096,
     .help = "no early exit before so many steps"},
    {.name = "exit-interval", .kind = OPTION_U32, .offset = AT(exit_interval), .argument = "N", .value = "1", .min = 1, .max = 4096,
     .help = "check for an early exit after every so many steps"},
    {.name = "require-lossless", .kind = OPTION_FLAG, .offset = AT(require_lossless), .help = "refuse settings that are lossy"},
    {.name = "trace", .kind = OPTION_TEXT, .offset = AT(trace), .argument = "FILE.jsonl",
     .help = "one JSON line per token, round or tick: rows, depths, predictions, commits, drops, times"},
    {.name = "kv-policy", .kind = OPTION_TEXT, .offset = AT(kv_policy), .argument = "full|share:k", .value = "full",
     .help = "cache every step, or the last k steps (LOSSY)"},
    {.name = "kv-type", .kind = OPTION_CHOICE, .offset = AT(kv_type), .choices = "f16|f32", .value = "f16", .help = "type of the cache"},
    {.name = "weight-type", .kind = OPTION_CHOICE, .offset = AT(weight_type), .choices = "bf16|f16|f32", .shown = "as stored",
     .help = "convert the matrices"},
    {.name = "temp", .kind = OPTION_FLOAT, .offset = AT(temperature), .argument = "T", .value = "0", .min = 0, .max = 100, .help = "temperature; 0 is greedy"},
    {.name = "top-k", .kind = OPTION_U32, .offset = AT(top_k), .argument = "N", .value = "0", .min = 0, .max = UINT32_MAX,
     .help = "sample from the N best tokens; 0 is off"},
    {.name = "top-p", .kind = OPTION_FLOAT, .offset = AT(top_p), .argument = "P", .value = "1", .min = 0, .max = 1,
     .help = "sample from the best tokens that make up P; 1 is off"},
    {.name = "min-p", .kind = OPTION_FLOAT, .offset = AT(min_p), .argument = "P", .value = "0", .min = 0, .max = 1,
     .help = "leave out tokens below P times the best one's probability; 0 is off"},
    {.name = "seed", .kind = OPTION_U64, .offset = AT(seed), .argument = "S", .value = "0", .help = "of sampling and initial states"},
    {.name = "init-scale", .kind = OPTION_FLOAT, .offset = AT(init_scale), .argument = "X", .value = "0", .min = 0, .max = 1000,
     .help = "scale of random initial states; 0 is the zero state"},
    {.name = "ignore-eos", .kind = OPTION_FLAG, .offset = AT(ignore_eos), .help = "go on after an end token"},
    {.name = "stop", .kind = OPTION_LIST, .offset = AT(stops), .argument = "STR", .help = "end before this text; may be given up to 16 times"},
    {.name = "special", .kind = OPTION_FLAG, .offset = AT(special), .help = "print special tokens too"},
    {.name = "ctx", .kind = OPTION_U32, .offset = AT(ctx), .argument = "N", .shown = "the model's block_size", .min = 2, .max = CLI_IDS_MAX,
     .help = "positions to reserve"},
    {.name = "device", .kind = OPTION_TEXT, .offset = AT(device), .argument = "D", .shown = "the best one",
     .help = "number or part of a name, see `muninn devices`"},
    {.name = "cpu-threads", .kind = OPTION_CHOICE, .offset = AT(cpu_threads), .choices = "0|1|2|3|4|6|8|12|16|24|32", .shown = "0 for small models, else all",
     .help = "worker threads of a CPU device (lavapipe); 0: none beside the one that computes"},
    {.name = "validate", .kind = OPTION_FLAG, .offset = AT(validate), .help = "run under the Vulkan validation layer; exit 7 if it complains"},
    {.name = "output", .letter = 'o', .kind = OPTION_CHOICE, .offset = AT(output), .choices = "text|json", .value = "text",
     .help = "stream the text, or one JSON object at the end"},
};

const struct command command_generate = {
    .name = "generate",
    .summary = "Continues a prompt.",
    .synopsis = "(-p TEXT | --ids LIST | -f FILE) [OPTIONS]",
    .example = "muninn generate -p 'sort 2 8 0 1 :' --strategy draft-verify --draft-steps 4 --lookahead 4",
    .notes = "With --kv-policy full, every strategy gives the tokens of `ar` with the same --num-steps, sampler and seed.\n"
             "A text prompt gets the model's begin token in front unless it starts with it.\n"
             "--stop looks at the printed text: special tokens only count with --special.",
    .options = specs,
    .n_options = sizeof specs / sizeof *specs,
    .values_bytes = sizeof(struct generate_options),
    .run = run_generate};
