/* muninn trace: what happens inside the recurrence, token by token and step by step. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/handles.h"
#include "bench/sweep/cpu_device.h"
#include "bench/sweep/model_hash.h"
#include "cli/commands.h"
#include "cli/trace/trace_out.h"
#include "engine/base/numbers.h"
#include "engine/files/safetensors_write.h"

enum { INITS_MAX = 64 };

struct trace_options {
    const char *model, *prompt, *file, *device, *weight_type, *kv_type, *results, *states, *output;
    struct id_list ids;
    uint32_t n_new, num_steps, ctx, inits, components, window;
    uint64_t seed;
    float init_scale, near, lag, aligned, straight, steady;
    bool no_bos, ignore_eos;
};

/* ---- the prompt ---- */

static enum mn_status take_prompt(const struct trace_options *o, struct mn_engine *engine, const char *text,
                                  size_t n_bytes, uint32_t **ids, size_t *n_ids, const struct mn_log *log)
{
    struct mn_model_info info;
    mn_engine_info(engine, &info);
    if (!o->ids.ids)
        return cli_encode_prompt(engine, text, n_bytes, !o->no_bos, ids, n_ids, log);
    enum mn_status status = cli_check_ids(o->ids.ids, o->ids.n, info.vocab_size, log);
    if (status)
        return status;
    *ids = malloc(o->ids.n * sizeof **ids);
    if (!*ids)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for %" PRIu32 " prompt ids", o->ids.n);
    memcpy(*ids, o->ids.ids, o->ids.n * sizeof **ids);
    *n_ids = o->ids.n;
    return MN_OK;
}

/* ---- what comes out ---- */

static enum mn_status write_states(const struct trace_options *o, const struct depth_trace *t, const struct mn_log *log)
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
    enum mn_status status = safetensors_write(o->states, tensors, sizeof tensors / sizeof *tensors, log);
    free(ids);
    return status;
}

/* Opened before the work, so that nothing is computed for a file that cannot be written; what it holds stays until
 * there is something to replace it. */
static enum mn_status open_results(const struct trace_options *o, FILE **file, const struct mn_log *log)
{
    if (o->results && !(*file = fopen(o->results, "ab")))
        return log_fail(log, MN_ERR_FILE, "%s: cannot be written: %s", o->results, strerror(errno));
    return MN_OK;
}

static enum mn_status write_results(const struct trace_options *o, const struct trace_report *report, FILE *file,
                                    const struct mn_log *log)
{
    struct stat about;
    const bool regular = fstat(fileno(file), &about) == 0 &&
                         S_ISREG(about.st_mode); /* a pipe holds nothing to replace */
    const bool emptied = !regular || ftruncate(fileno(file), 0) == 0;
    enum mn_status status = emptied ? trace_write_records(report, file, log) : MN_OK;
    if ((fflush(file) != 0 || ferror(file) || !emptied) && !status)
        status = log_fail(log, MN_ERR_RUN, "%s: writing failed", o->results);
    return status;
}

static enum mn_status write_all(const struct trace_options *o, const struct trace_report *report, FILE *results,
                                const struct mn_log *log)
{
    const bool as_table = o->output ? !strcmp(o->output, "md") : o->results != NULL;
    enum mn_status status = results ? write_results(o, report, results, log) : MN_OK;
    if (!status)
        status = as_table ? trace_write_table(report, stdout, log) : trace_write_records(report, stdout, log);
    if (!status)
        status = cli_flush(log);
    if (!status && o->states && report->trace->n_tokens)
        status = write_states(o, report->trace, log);
    return status;
}

/* ---- the run ---- */

static enum mn_status trace_prompt(const struct trace_options *o, struct trace_report *report, const uint32_t *ids,
                                   uint32_t n_ids, const struct mn_log *log)
{
    const uint32_t num_steps = depth_or(o->num_steps, report->info.mean_recurrence);
    const uint32_t needed = n_ids + o->n_new < 2 ? 2 : n_ids + o->n_new; /* both are at most IDS_MAX */
    const struct depth_trace_params params = {.prompt = ids,
                                              .n_prompt = n_ids,
                                              .n_new = o->n_new,
                                              .num_steps = num_steps,
                                              .ignore_eos = o->ignore_eos,
                                              .n_inits = o->inits,
                                              .init_scale = o->init_scale,
                                              .seed = o->seed,
                                              .n_components = o->components,
                                              .stop = cli_interrupted,
                                              .terminal = {.window = o->window,
                                                           .near = (double)o->near,
                                                           .lag = (double)o->lag,
                                                           .aligned = (double)o->aligned,
                                                           .straight = (double)o->straight,
                                                           .steady = (double)o->steady}};
    const struct mn_session_params session_params = {.n_ctx = o->ctx ? o->ctx
                                                              : needed < report->info.block_size
                                                                  ? needed
                                                                  : report->info.block_size,
                                                     .num_steps = num_steps,
                                                     .max_rows = 1,
                                                     .kv_type = o->kv_type};
    struct mn_session *session;
    struct depth_trace trace = {0};
    enum mn_status status = mn_session_create(&session, report->engine, &session_params);
    if (status)
        return status;
    status = depth_trace_check(session->session, &params);
    FILE *results = NULL;
    if (!status)
        status = open_results(o, &results, log);
    if (!status) { /* a run that is refused prints its reason only */
        fprintf(stderr, "muninn: %s\n", report->info.device_banner);
        status = depth_trace_run(&trace, session->session, &params);
    }
    mn_session_destroy(session);
    report->params = &params;
    report->trace = &trace;
    report->interrupted = status == MN_ERR_INTERRUPTED;
    if (report->interrupted)
        log_note(log, MN_LOG_WARN, "interrupted after %" PRIu32 " tokens", trace.n_tokens);
    if (!status || report->interrupted) {
        const enum mn_status written = write_all(o, report, results, log);
        status = status ? status : written;
    }
    if (results)
        fclose(results);
    depth_trace_finish(&trace);
    return status;
}

static enum mn_status run_engine(const struct trace_options *o, struct trace_report *report, const char *text,
                                 size_t n_bytes, const struct mn_log *log)
{
    uint32_t *ids = NULL;
    size_t n_ids = 0;
    mn_engine_info(report->engine, &report->info);
    enum mn_status status = take_prompt(o, report->engine, text, n_bytes, &ids, &n_ids, log);
    if (!status)
        status = trace_prompt(o, report, ids, (uint32_t)n_ids, log);
    free(ids);
    return status;
}

static enum mn_status run(const void *values, const struct mn_log *log)
{
    const struct trace_options *o = values;
    const int n_prompts = (o->prompt != NULL) + (o->file != NULL) + (o->ids.ids != NULL);
    struct trace_report report = {.kv_type = o->kv_type};
    char dir[CLI_PATH_BYTES], *file_text = NULL;
    size_t n_bytes = o->prompt ? strlen(o->prompt) : 0;
    if (n_prompts != 1)
        return log_fail(log, MN_ERR_USAGE, "%s: give exactly one of -p TEXT, --ids LIST and -f FILE",
                        n_prompts ? "more than one prompt" : "no prompt");
    enum mn_status status = cli_model_dir(o->model, dir, log);
    if (!status && o->file)
        status = text_file_read(o->file, &file_text, &n_bytes, log);
    if (!status)
        status = model_hash(dir, report.hash, log);
    if (!status) {
        cli_catch_interrupt();
        cpu_device_prepare(NULL, dir);
        status = mn_engine_create(
            &report.engine, &(struct mn_engine_params){
                                .model_dir = dir, .device = o->device, .weight_type = o->weight_type, .log = log});
    }
    report.model = strrchr(dir, '/') && strrchr(dir, '/')[1] ? strrchr(dir, '/') + 1 : dir;
    if (!status)
        status = run_engine(o, &report, file_text ? file_text : o->prompt, n_bytes, log);
    free(file_text);
    mn_engine_destroy(report.engine);
    return status;
}

/* ---- options ---- */

#define AT(field) offsetof(struct trace_options, field)

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
    {.name = "no-bos",
     .kind = OPTION_FLAG,
     .offset = AT(no_bos),
     .help = "put no begin token in front of a text prompt"},
    {.name = "num-steps",
     .kind = OPTION_U32,
     .offset = AT(num_steps),
     .argument = "R",
     .shown = "the model's mean_recurrence",
     .min = 1,
     .max = 4096,
     .help = "recurrence steps"},
    {.name = "max-new-tokens",
     .letter = 'n',
     .kind = OPTION_U32,
     .offset = AT(n_new),
     .argument = "N",
     .value = "0",
     .min = 0,
     .max = IDS_MAX,
     .help = "generated tokens (greedy) to trace behind the prompt"},
    {.name = "ignore-eos", .kind = OPTION_FLAG, .offset = AT(ignore_eos), .help = "go on after an end token"},
    {.name = "inits",
     .kind = OPTION_U32,
     .offset = AT(inits),
     .argument = "M",
     .value = "0",
     .min = 0,
     .max = INITS_MAX,
     .help = "path independence: run again from M random initial states"},
    {.name = "init-scale",
     .kind = OPTION_FLOAT,
     .offset = AT(init_scale),
     .argument = "X",
     .value = "1",
     .min = 1e-6,
     .max = 1e6,
     .help = "size of these"},
    {.name = "seed",
     .kind = OPTION_U64,
     .offset = AT(seed),
     .argument = "S",
     .value = "0",
     .help = "seed of the first of these, the next has S + 1"},
    {.name = "components",
     .kind = OPTION_U32,
     .offset = AT(components),
     .argument = "C",
     .value = "2",
     .min = 2,
     .max = PCA_COMPONENTS_MAX,
     .help = "principal components of the trajectories"},
    {.name = "window",
     .kind = OPTION_U32,
     .offset = AT(window),
     .argument = "W",
     .shown = "half of the steps, at least 4",
     .min = TERMINAL_WINDOW_MIN,
     .max = 4096,
     .help = "last steps by which the end of a trajectory is judged"},
    {.name = "near",
     .kind = OPTION_FLOAT,
     .offset = AT(near),
     .argument = "X",
     .value = "0.03",
     .min = 1e-9,
     .max = 1e6,
     .help = "fixed point: see below"},
    {.name = "lag",
     .kind = OPTION_FLOAT,
     .offset = AT(lag),
     .argument = "X",
     .value = "0.5",
     .min = 1e-9,
     .max = 1e6,
     .help = "orbit: see below"},
    {.name = "aligned",
     .kind = OPTION_FLOAT,
     .offset = AT(aligned),
     .argument = "X",
     .value = "0.5",
     .min = -1,
     .max = 1,
     .help = "slider: see below"},
    {.name = "straight",
     .kind = OPTION_FLOAT,
     .offset = AT(straight),
     .argument = "X",
     .value = "0.5",
     .min = 0,
     .max = 1,
     .help = "slider: see below"},
    {.name = "steady",
     .kind = OPTION_FLOAT,
     .offset = AT(steady),
     .argument = "X",
     .value = "0.7",
     .min = 0,
     .max = 1e6,
     .help = "orbit and slider: see below"},
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
    {.name = "ctx",
     .kind = OPTION_U32,
     .offset = AT(ctx),
     .argument = "N",
     .shown = "what is needed, up to the model's block_size",
     .min = 2,
     .max = 1 << 20,
     .help = "positions to reserve"},
    {.name = "device",
     .kind = OPTION_TEXT,
     .offset = AT(device),
     .argument = "D",
     .shown = "the best one",
     .help = "number or part of a name, see `muninn devices`"},
    {.name = "results",
     .kind = OPTION_TEXT,
     .offset = AT(results),
     .argument = "FILE.jsonl",
     .help = "write the records to a file"},
    {.name = "states",
     .kind = OPTION_TEXT,
     .offset = AT(states),
     .argument = "FILE.safetensors",
     .help = "write the states [tokens, steps + 1, n_embd], the initial ones first, and the tokens"},
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_CHOICE,
     .offset = AT(output),
     .choices = "jsonl|md",
     .shown = "jsonl; with --results md",
     .help = "what goes to standard output: records, or a table of tokens"},
};

const struct command command_trace = {
    .name = "trace",
    .summary = "Traces the recurrence: state, prediction and exits of every token after every step.",
    .synopsis = "[-m DIR] (-p TEXT | --ids LIST | -f FILE) [OPTIONS]",
    .example = "muninn trace -p 'sort 2 8 0 1 9 4 :' -n 7 --num-steps 32 --inits 4 --results trace.jsonl",
    .notes =
        "Records, by `bench`: trace_header, a trace per position, trace_summary. Arrays have one number per step: norm "
        "of the state s before the last\n"
        "norm, change |s - s'| / |s| against the step before, kl to the last step's distribution, entropy, top1 with "
        "its probability, and\n"
        "whether it is the last step's. exits: the first step at which each criterion of `generate --exit` asks for "
        "the exit. path: the states\n"
        "on the principal components. Prompt positions take each step together; generated ones follow one by one.\n"
        "\n"
        "How a trajectory ends, by its last W steps (D: differences of neighbouring states), the first rule that "
        "holds:\n"
        "  fixed-point  all states of the window lie within near |s_R| of the last one, s_R\n"
        "  orbit        at some lag p >= 2 (at most W / 2) states are lag |D| apart or less, on average, and D is "
        "steady\n"
        "  slider       the mean cosine of neighbouring differences is at least aligned, the way from first to last is "
        "at least straight times\n"
        "               the way walked, and D is steady\n"
        "  unsettled    none of these: still converging, or wandering\n"
        "Steady: the mean |D| of the window's second half is at least steady times that of its first.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .values_bytes = sizeof(struct trace_options),
    .run = run};
