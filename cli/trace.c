/* muninn trace: what happens inside the recurrence, token by token and step by step. */
#include "cli/trace/trace.h"

#include "cli/commands.h"
#include "engine/files/lines.h"

enum { INITS_MAX = 64 };

static enum mn_status run(const void *values, const struct mn_log *log)
{
    return run_trace(values, log);
}

#define AT(field) offsetof(struct trace_options, field)

static const struct command_option table[] = {
    MODEL_OPTION(AT(model)),
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
     .shown = "standard input where no prompt is given",
     .help = "prompt from a file, - for standard input, without the newline at its end (a byte order mark stays, with "
             "a warning)"},
    {.name = "raw",
     .kind = OPTION_FLAG,
     .offset = AT(raw),
     .help = "keep the newline at the end of a prompt from a file or standard input"},
    {.name = "no-bos",
     .kind = OPTION_FLAG,
     .offset = AT(no_bos),
     .help = "put no begin token in front of a text prompt"},
    NUM_STEPS_OPTION(AT(num_steps)),
    BEYOND_OPTION(AT(beyond)),
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
     .max = MN_MAX_COMPONENTS,
     .help = "principal components of the trajectories"},
    {.name = "readouts",
     .kind = OPTION_TEXT,
     .offset = AT(readouts),
     .argument = "LIST",
     .help = "predict also from estimates of the limit, after these steps: 1,2,4 or 1-32*2; see below"},
    {.name = "window",
     .kind = OPTION_U32,
     .offset = AT(window),
     .argument = "W",
     .shown = "half of the steps, at least 4",
     .min = MN_MIN_WINDOW,
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
    KV_TYPE_OPTION(AT(kv_type), "f16", "type of the cache"),
    WEIGHT_TYPE_OPTION(AT(weight_type)),
    {.name = "ctx",
     .kind = OPTION_U32,
     .offset = AT(ctx),
     .argument = "N",
     .shown = "what is needed, up to the model's block_size",
     .min = 2,
     .max = 1 << 20,
     .help = "positions to reserve"},
    DEVICE_OPTION(AT(device)),
    {.name = "results",
     .kind = OPTION_TEXT,
     .offset = AT(results),
     .argument = "FILE.jsonl",
     .help = "write the records to a file, which is replaced when they are complete"},
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

static const struct option_rule rules[] = {
    {.option = "raw", .without = "prompt|ids"},         {.option = "no-bos", .without = "ids"},
    {.option = "init-scale", .with = "inits"},          {.option = "seed", .with = "inits"},
    {.option = "ignore-eos", .with = "max-new-tokens"},
};

const struct command command_trace = {
    .name = "trace",
    .summary = "Traces the recurrence: state, prediction and exits of every token after every step.",
    .synopsis = "[-m DIR] [-p TEXT | --ids LIST | -f FILE] [OPTIONS]",
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
        "Steady: the mean |D| of the window's second half is at least steady times that of its first.\n"
        "\n"
        "--readouts gives, per step of LIST, the best next token that coda and head make of the state itself (plain), "
        "and of what two or three\n"
        "differences of states say about its limit (aitken, anderson); each once with the coda entries of earlier "
        "positions from the same\n"
        "read-out (same) and once with those of the last step (final), as a draft reads them. The summary has the "
        "shares that are the last\n"
        "step's, top1_is_final.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
    .values_bytes = sizeof(struct trace_options),
    .run = run};
