/* muninn score: likelihoods, multiple choice and exact match from JSON lines, at one or several depths. */
#include "cli/score/score.h"

#include "cli/commands.h"
#include "engine/files/lines.h"

enum { SEQUENCES_MAX = 64 };

static enum mn_status run(const void *values, const struct mn_log *log)
{
    return run_score(values, log);
}

#define AT(field) offsetof(struct score_options, field)

static const struct command_option table[] = {
    MODEL_OPTION(AT(model)),
    {.name = "file",
     .letter = 'f',
     .kind = OPTION_TEXT,
     .offset = AT(file),
     .argument = "FILE.jsonl",
     .shown = "none, required",
     .help = "lines to score; - for standard input"},
    {.name = "num-steps",
     .kind = OPTION_TEXT,
     .offset = AT(num_steps),
     .argument = "LIST",
     .shown = "the model's mean_recurrence",
     .help = "depths, all in one run: 1,2,4 or 1-8 or 1-32*2"},
    BEYOND_OPTION(AT(beyond)),
    {.name = "delimiter",
     .kind = OPTION_TEXT,
     .offset = AT(delimiter),
     .argument = "TEXT",
     .value = " ",
     .shown = "a blank",
     .help = "between a query and its choices"},
    {.name = "group-by",
     .kind = OPTION_TEXT,
     .offset = AT(group_by),
     .argument = "KEY",
     .shown = "no groups",
     .help = "a summary for each value that this key has in the lines, and for all"},
    {.name = "max-new-tokens",
     .letter = 'n',
     .kind = OPTION_U32,
     .offset = AT(n_new),
     .argument = "N",
     .value = "64",
     .min = 1,
     .max = IDS_MAX,
     .help = "longest generated answer"},
    {.name = "stop",
     .kind = OPTION_LIST,
     .offset = AT(stops),
     .argument = "TEXT",
     .shown = "none",
     .help = "ends a generated answer, beside the line's own; may be given up to 16 times"},
    {.name = "no-bos", .kind = OPTION_FLAG, .offset = AT(no_bos), .help = "no begin token in front of text"},
    {.name = "truncate",
     .kind = OPTION_FLAG,
     .offset = AT(truncate),
     .help = "cut contexts that are too long from the left, and say so, instead of refusing them"},
    {.name = "ctx",
     .kind = OPTION_U32,
     .offset = AT(ctx),
     .argument = "N",
     .shown = "the model's block_size",
     .min = 2,
     .max = IDS_MAX,
     .help = "most positions of an item"},
    {.name = "parallel",
     .kind = OPTION_U32,
     .offset = AT(parallel),
     .argument = "N",
     .shown = "by length, up to 32; generated: 16",
     .min = 1,
     .max = SEQUENCES_MAX,
     .help = "items in the cache at once, which share passes"},
    {.name = "results",
     .kind = OPTION_TEXT,
     .offset = AT(results),
     .argument = "FILE.jsonl",
     .shown = "standard output",
     .help = "append each row to this file as it comes"},
    {.name = "resume", .kind = OPTION_FLAG, .offset = AT(resume), .help = "leave out what --results has already"},
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_CHOICE,
     .offset = AT(output),
     .choices = "jsonl|md",
     .value = "jsonl",
     .help = "rows and summary as JSON lines, or the summary alone as a table"},
    {.name = "kv-policy",
     .kind = OPTION_TEXT,
     .offset = AT(kv_policy),
     .argument = "full|share:k",
     .value = "full",
     .help = "cache every step, or the last k (another function of the model)"},
    KV_TYPE_OPTION(AT(kv_type), "f32",
                   "type of the cache; f16 takes half the memory, and answers as generate does by default"),
    WEIGHT_TYPE_OPTION(AT(weight_type)),
    MATRIX_UNITS_OPTION(AT(matrix_units)),
    DEVICE_OPTION(AT(device)),
    {.name = "cpu-threads",
     .kind = OPTION_CHOICE,
     .offset = AT(cpu_threads),
     .choices = "0|1|2|3|4|6|8|12|16|24|32",
     .shown = "0 for small models, else all",
     .help = "worker threads of a CPU device (lavapipe)"},
};

const struct command command_score = {
    .name = "score",
    .summary = "Scores JSON lines: likelihoods, multiple choice, exact match.",
    .synopsis = "[-m DIR] -f FILE.jsonl [OPTIONS]",
    .example = "muninn score -f tasks.jsonl --num-steps 1-32*2 --group-by task --results scores.jsonl --resume -o md",
    .notes = "A line is one of\n"
             "  {\"context\":\"..\",\"continuation\":\"..\"}, or {\"context_ids\":[..],\"continuation_ids\":[..]}   "
             "logprob, is_greedy\n"
             "  {\"query\":\"..\",\"choices\":[\"..\",..],\"gold\":0}                          acc, acc_norm (logprob "
             "per byte of the choice)\n"
             "  {\"context\":\"..\",\"answer\":\"..\",\"stop\":[\"..\"]}                         exact_match of the "
             "greedy answer\n"
             "and gives one row per depth, which keeps the line's other members. Text is tokenised as the "
             "lm-evaluation-harness does it. Lines that\n"
             "cannot be scored end the run before anything is computed. See docs/score.md.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .values_bytes = sizeof(struct score_options),
    .run = run};
