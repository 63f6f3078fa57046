/* muninn bench: every combination of the settings asked for, measured one after the other. */
#include <stdio.h>
#include <string.h>

#include "bench/rows/sampling.h"
#include "bench/sweep/acceptance.h"
#include "bench/sweep/quick.h"
#include "bench/sweep/sweep.h"
#include "cli/commands.h"
#include "cli/common/interrupt.h"
#include "cli/common/option_rules.h"
#include "cli/common/paths.h"
#include "cli/common/progress.h"
#include "cli/common/talk.h"
#include "engine/files/disk.h"

struct bench_options {
    struct text_list models, synthetic;
    const char *columns;
    bool quick;
    struct sweep_params sweep; /* but for those, the streams and what the command line alone knows */
};

/* Where the default model is, the small one is as well; shapes from the smallest on, up to what fits and has time. */
static enum mn_status run_quick(struct sweep_params *params, const char *default_model, const struct mn_log *log)
{
    static const char *const shapes[] = {"raven-100m", "raven-1b", "huginn-3.5b"};
    static const char name[] = "raven-tiny";
    char beside[CLI_PATH_BYTES + sizeof name];
    const char *models[] = {default_model, beside};
    if (params->n_models + params->n_synthetic == 0) {
        const size_t n = path_folder_bytes(default_model);
        memcpy(beside, default_model, n);
        strcpy(beside + n, name);
        params->models = models;
        params->n_models = cli_is_model_dir(beside) && strcmp(beside, default_model) != 0 ? 2 : 1;
        params->synthetic = shapes;
        params->n_synthetic = sizeof shapes / sizeof *shapes;
    }
    return quick_run(params, log);
}

/* A list that no strategy of the other list would take is a mistake. */
static bool any_strategy(const char *list, bool (*takes)(const char *strategy))
{
    bool any = false;
    for (const char *at = list; *at && !any;) {
        char word[64];
        const size_t n = strcspn(at, ",");
        snprintf(word, sizeof word, "%.*s", (int)(n < sizeof word ? n : 0), at);
        any = !mn_strategy_find(word) || takes(word); /* what there is none of is refused by its name */
        at += n + (at[n] == ',');
    }
    return any;
}

static bool list_takes_draft_steps(const char *list)
{
    return any_strategy(list, strategy_takes_draft_steps);
}

static bool list_takes_lookahead(const char *list)
{
    return any_strategy(list, strategy_takes_lookahead);
}

static bool list_takes_inflight(const char *list)
{
    return any_strategy(list, strategy_takes_inflight);
}

static bool list_takes_branches(const char *list)
{
    return any_strategy(list, strategy_takes_branches);
}

static bool list_takes_lookup(const char *list)
{
    return any_strategy(list, strategy_takes_lookup);
}

static bool list_takes_acceptance(const char *list)
{
    return any_strategy(list, strategy_takes_acceptance);
}

/* The speed of a made-up model is that of the real one, its guesses are not. */
static const char *made_up_note(const struct sweep_params *params)
{
    return !params->acceptance && list_takes_acceptance(params->strategies)
               ? "the drafts of a made-up model are right by chance alone, and speculation is as fast as that: give "
                 "--acceptance huginn, DEPTH:SHARE,.. or P"
               : NULL;
}

static enum mn_status run(const void *values, const struct mn_log *log)
{
    const struct bench_options *options = values;
    struct sweep_params params = options->sweep;
    char dir[CLI_PATH_BYTES], cache_dir[CLI_PATH_BYTES];
    const char *const default_model = dir;
    const bool any = options->models.n || options->synthetic.n;
    enum mn_status status = any ? MN_OK : cli_model_dir(NULL, dir, log);
    for (uint32_t i = 0; i < options->models.n && !status; i++)
        status = cli_model_dir(options->models.items[i], dir, log); /* refuses what cannot be a path */
    if (status)
        return status;
    params.models = any ? options->models.items : &default_model;
    params.n_models = any ? options->models.n : !options->quick;
    params.synthetic = options->synthetic.items;
    params.n_synthetic = options->synthetic.n;
    params.all_columns = !strcmp(options->columns, "all");
    params.cost_dir = cli_cache_dir(cache_dir);
    params.stop = cli_interrupted;
    params.progress = cli_progress();
    params.show = cli_progress_own;
    params.out = stdout;
    params.err = cli_notes();
    params.rows_err = stderr; /* rows that were asked for are no notes */
    cli_catch_interrupt();
    if (options->quick)
        return run_quick(&params, dir, log);
    params.made_up_note = made_up_note(&params);
    return sweep_run(&params, log);
}

#define AT(field) offsetof(struct bench_options, sweep.field)

static const struct command_option table[] = {
    {.name = "model",
     .letter = 'm',
     .kind = OPTION_LIST,
     .offset = offsetof(struct bench_options, models),
     .argument = "DIR",
     .shown = "$MUNINN_MODEL, else raven-deep",
     .help = "model folder; may be given up to 16 times"},
    {.name = "synthetic",
     .kind = OPTION_LIST,
     .offset = offsetof(struct bench_options, synthetic),
     .argument = "SHAPE",
     .help = "a model made on the device from --seed; may be given up to 16 times"},
    {.name = "device",
     .kind = OPTION_TEXT,
     .offset = AT(devices),
     .argument = "LIST",
     .shown = "the best one",
     .help = "numbers or parts of names, see `muninn devices`"},
    {.name = "weight-type",
     .kind = OPTION_TEXT,
     .offset = AT(weight_types),
     .argument = "LIST",
     .shown = "as stored",
     .help = "bf16, f16, f32, q8_0, q4_1, and mixtures (docs/quantisation.md)"},
    {.name = "matrix-units",
     .kind = OPTION_TEXT,
     .offset = AT(matrix_units),
     .argument = "LIST",
     .shown = "off",
     .help = "off, on, auto: matmuls on a GPU's matrix units"},
    BEYOND_OPTION(AT(beyond)),
    {.name = "kv-policy",
     .kind = OPTION_TEXT,
     .offset = AT(kv_policies),
     .argument = "LIST",
     .value = "full",
     .help = "full, share:k (LOSSY)"},
    {.name = "kv-type",
     .kind = OPTION_TEXT,
     .offset = AT(kv_types),
     .argument = "LIST",
     .value = "f16",
     .help = "f16, f32, q8"},
    {.name = "strategy",
     .kind = OPTION_TEXT,
     .offset = AT(strategies),
     .argument = "LIST",
     .strategies = true,
     .value = "ar,draft-verify,wavefront",
     .help = "how tokens are found"},
    {.name = "num-steps",
     .kind = OPTION_TEXT,
     .offset = AT(num_steps),
     .argument = "LIST",
     .shown = "the model's mean_recurrence",
     .help = "R"},
    {.name = "draft-steps",
     .kind = OPTION_TEXT,
     .offset = AT(draft_steps),
     .argument = "LIST",
     .value = "2,4,8",
     .help = "K"},
    {.name = "lookahead",
     .kind = OPTION_TEXT,
     .offset = AT(lookaheads),
     .argument = "LIST",
     .value = "3,7",
     .help = "L"},
    {.name = "max-inflight",
     .kind = OPTION_TEXT,
     .offset = AT(max_inflights),
     .argument = "LIST",
     .shown = "the strategy's own",
     .help = "W: most rows in flight in wavefront, auto and diffusion"},
    {.name = "lookup",
     .kind = OPTION_TEXT,
     .offset = AT(lookups),
     .argument = "LIST",
     .value = "0",
     .help = "of wavefront, draft-verify and auto: tokens that enter at once where the last ones occurred before"},
    {.name = "branches",
     .kind = OPTION_TEXT,
     .offset = AT(branches),
     .argument = "LIST",
     .value = "1",
     .help = "of wavefront: continuations in flight behind a row whose prediction changed, 1 or 2"},
    {.name = "prompt-tokens",
     .kind = OPTION_TEXT,
     .offset = AT(prompt_tokens),
     .argument = "LIST",
     .shown = "as they are",
     .help = "length of the prompts, which are cut or repeated to it"},
    {.name = "max-new-tokens",
     .letter = 'n',
     .kind = OPTION_TEXT,
     .offset = AT(n_new),
     .argument = "LIST",
     .value = "64",
     .help = "new tokens of each prompt"},
    {.name = "batch",
     .kind = OPTION_TEXT,
     .offset = AT(batches),
     .argument = "LIST",
     .value = "1",
     .help = "sequences at once"},
    {.name = "prompts",
     .kind = OPTION_TEXT,
     .offset = AT(prompts),
     .argument = "FILE.jsonl",
     .shown = "four short ones",
     .help = "lines of {\"prompt\": TEXT}, of {\"ids\": [..]}, or Spec-Bench's questions"},
    {.name = "stop-at-eos",
     .kind = OPTION_FLAG,
     .offset = AT(stop_at_eos),
     .help = "end at the end token instead of after exactly N tokens"},
    {.name = "answers",
     .kind = OPTION_TEXT,
     .offset = AT(answers),
     .argument = "DIR",
     .help = "write the answers to questions there in Spec-Bench's form, a file per setting; implies --stop-at-eos"},
    {.name = "acceptance",
     .kind = OPTION_TEXT,
     .offset = AT(acceptance),
     .argument = "A",
     .choice_at = acceptance_profile_at,
     .shown = "measured",
     .help = "give how often drafts are right: DEPTH:SHARE,.., P,P,.. by place, or a profile; see below (LOSSY)"},
    {.name = "temp",
     .kind = OPTION_FLOAT,
     .offset = AT(temperature),
     .argument = "T",
     .value = "0",
     .min = 0,
     .max = 100,
     .help = "temperature; 0 is greedy"},
    {.name = "seed",
     .kind = OPTION_U64,
     .offset = AT(seed),
     .argument = "S",
     .value = "0",
     .help = "of sampling, forced acceptance and synthetic models"},
    {.name = "quick",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct bench_options, quick),
     .help = "in two minutes at most: models and shapes as device and time allow, a line each, and a block to paste"},
    {.name = "kernels",
     .kind = OPTION_FLAG,
     .offset = AT(kernels),
     .help = "measure every pass and kernel at 1 to 32 rows instead of strategies"},
    {.name = "repetitions",
     .letter = 'r',
     .kind = OPTION_U32,
     .offset = AT(repetitions),
     .argument = "N",
     .value = "5",
     .min = 1,
     .max = SAMPLES_MAX,
     .help = "at least so many, behind one that warms up"},
    {.name = "min-seconds",
     .kind = OPTION_FLOAT,
     .offset = AT(min_seconds),
     .argument = "S",
     .value = "3",
     .min = 0,
     .max = 3600,
     .help = "and at least so long"},
    {.name = "results",
     .kind = OPTION_TEXT,
     .offset = AT(results),
     .argument = "FILE.jsonl",
     .help = "append each row to this file as it comes"},
    {.name = "resume", .kind = OPTION_FLAG, .offset = AT(resume), .help = "leave out what --results has already"},
    {.name = "shard",
     .kind = OPTION_TEXT,
     .offset = AT(shard),
     .argument = "i/n",
     .shown = "1/1",
     .help = "every n-th setting, from the i-th; `muninn merge` puts shards together"},
    {.name = "cpu-threads",
     .kind = OPTION_CHOICE,
     .offset = AT(cpu_threads),
     .choices = "0|1|2|3|4|6|8|12|16|24|32",
     .shown = "0 for small models, else all",
     .help = "worker threads of a CPU device (lavapipe)"},
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_CHOICE,
     .offset = AT(output),
     .choices = "md|csv|json|jsonl",
     .value = "md",
     .help = "format on standard output"},
    {.name = "columns",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct bench_options, columns),
     .choices = "short|all",
     .value = "short",
     .help = "of md: what says something, in 120 columns of text, or everything"},
    {.name = "output-err",
     .kind = OPTION_CHOICE,
     .offset = AT(output_err),
     .choices = "md|csv|json|jsonl",
     .help = "a second format, on standard error"},
};

#define NOT_QUICK(option_) \
    { \
        .option = option_, .without = "quick" \
    }

static const struct option_rule rules[] = {
    NOT_QUICK("weight-type"),
    NOT_QUICK("matrix-units"),
    NOT_QUICK("beyond-trained-depth"),
    NOT_QUICK("kv-policy"),
    NOT_QUICK("kv-type"),
    NOT_QUICK("strategy"),
    NOT_QUICK("num-steps"),
    NOT_QUICK("draft-steps"),
    NOT_QUICK("lookahead"),
    NOT_QUICK("max-inflight"),
    NOT_QUICK("lookup"),
    NOT_QUICK("branches"),
    NOT_QUICK("prompt-tokens"),
    NOT_QUICK("max-new-tokens"),
    NOT_QUICK("batch"),
    NOT_QUICK("prompts"),
    NOT_QUICK("stop-at-eos"),
    NOT_QUICK("answers"),
    NOT_QUICK("acceptance"),
    NOT_QUICK("temp"),
    NOT_QUICK("kernels"),
    NOT_QUICK("repetitions"),
    NOT_QUICK("min-seconds"),
    NOT_QUICK("resume"),
    NOT_QUICK("shard"),
    NOT_QUICK("columns"),
    NOT_QUICK("output-err"),
    {.option = "draft-steps", .with = "strategy", .takes = list_takes_draft_steps},
    {.option = "lookahead", .with = "strategy", .takes = list_takes_lookahead},
    {.option = "max-inflight", .with = "strategy", .takes = list_takes_inflight},
    {.option = "branches", .with = "strategy", .takes = list_takes_branches},
    {.option = "lookup", .with = "strategy", .takes = list_takes_lookup},
    {.option = "acceptance", .with = "strategy", .takes = list_takes_acceptance},
};

const struct command command_bench = {
    .name = "bench",
    .summary = "Measures settings against each other.",
    .synopsis = "[OPTIONS]",
    .example = "muninn bench --strategy ar,draft-verify --draft-steps 1-8 --lookahead 1-15*2 --results here.jsonl",
    .notes =
        "LIST is one or more pieces with commas between: a value, first-last, first-last+step or "
        "first-last*factor. All combinations are run; those that\n"
        "cannot run are left out and counted. Tokens per second do not count prompt tokens. Every row says "
        "whether it is lossless, and compares its\n"
        "tokens with those of `ar` with a full cache; exit code 7 says that a lossless setting differed. The last "
        "line, on standard error, names the best setting.\n"
        "SHAPE is huginn-3.5b, raven-1b, raven-100m, raven-tiny, raven-llama-1b, raven-tinyllama, raven-olmo-1b, "
        "ouro-1.4b, ouro-2.6b, llama-1b, the path\n"
        "of a config.json, or d=..,heads=..,ff=..,vocab=..,layers=P-C-K with steps=.., ctx=.., and, for "
        "family=retrofit-llama|retrofit-olmo|ouro|llama, kv=..,\n"
        "head=.., tied=0|1; ouro and llama have layers=N. What such a model predicts means nothing: use "
        "--acceptance.\n"
        "A gives which share of the predictions at a depth is the one at R: DEPTH:SHARE,.. (2:0.6,4:0.8,8:0.95; "
        "4:0.9/0.85 for places 1 and 2 and on in a round), straight\n"
        "lines between, 0 at depth 0 and 1 at R; or P,P,.. for the places in a round at K itself (not for `auto`); "
        "or a profile of figures as published\n"
        "for R 32: huginn (4:0.94, Huginn-0125), retrofit (2:0.94,8:0.99, retrofitted models, 0.92 to 0.96 at 2; their "
        "ends are retrofit-low and retrofit-high).\n"
        "What keys and columns mean, and where figures are from: docs/benchmarking.md.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .values_bytes = sizeof(struct bench_options),
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
    .run = run};
