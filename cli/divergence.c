/* muninn divergence: how far other weight and cache types take a model's predictions from its own. */
#include "cli/divergence/divergence.h"

#include "cli/commands.h"
#include "engine/files/lines.h"

enum { SEQUENCES_MAX = 64 };

static enum mn_status run(const void *values, const struct mn_log *log)
{
    return run_divergence(values, log);
}

#define AT(field) offsetof(struct divergence_options, field)

static const struct command_option table[] = {
    MODEL_OPTION(AT(model)),
    {.name = "file",
     .letter = 'f',
     .kind = OPTION_TEXT,
     .offset = AT(file),
     .argument = "FILE.jsonl",
     .shown = "none, required",
     .help = "lines of {\"text\": TEXT} or {\"ids\": [..]}; - for standard input"},
    {.name = "weight-type",
     .kind = OPTION_TEXT,
     .offset = AT(weight_types),
     .argument = "LIST",
     .shown = "none, required",
     .help = "types of the matrices to compare, as other commands' --weight-type takes them"},
    {.name = "kv-type",
     .kind = OPTION_TEXT,
     .offset = AT(kv_types),
     .argument = "LIST",
     .value = "f32",
     .help = "types of the cache to compare"},
    {.name = "reference-weight-type",
     .kind = OPTION_TEXT,
     .offset = AT(reference_weight_type),
     .argument = "TYPE",
     .shown = "as stored",
     .help = "what they are compared with"},
    {.name = "reference-kv-type",
     .kind = OPTION_CHOICE,
     .offset = AT(reference_kv_type),
     .choice_at = mn_kv_type_at,
     .value = "f32",
     .help = "its cache"},
    {.name = "num-steps",
     .kind = OPTION_TEXT,
     .offset = AT(num_steps),
     .argument = "LIST",
     .shown = "the model's mean_recurrence",
     .help = "depths, all in one run: 1,2,4 or 1-8 or 1-32*2"},
    BEYOND_OPTION(AT(beyond)),
    {.name = "no-bos", .kind = OPTION_FLAG, .offset = AT(no_bos), .help = "no begin token in front of text"},
    {.name = "ctx",
     .kind = OPTION_U32,
     .offset = AT(ctx),
     .argument = "N",
     .shown = "the model's block_size",
     .min = 2,
     .max = IDS_MAX,
     .help = "most positions of a text; a longer one is cut into pieces"},
    {.name = "parallel",
     .kind = OPTION_U32,
     .offset = AT(parallel),
     .argument = "N",
     .shown = "by length, up to 32",
     .min = 1,
     .max = SEQUENCES_MAX,
     .help = "texts in the cache at once, which share passes"},
    {.name = "results",
     .kind = OPTION_TEXT,
     .offset = AT(results),
     .argument = "FILE.jsonl",
     .help = "append each row to this file as it comes"},
    {.name = "resume", .kind = OPTION_FLAG, .offset = AT(resume), .help = "leave out what --results has already"},
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_CHOICE,
     .offset = AT(output),
     .choices = "md|csv|json|jsonl",
     .value = "md",
     .help = "format on standard output"},
    DEVICE_OPTION(AT(device)),
    {.name = "cpu-threads",
     .kind = OPTION_CHOICE,
     .offset = AT(cpu_threads),
     .choices = "0|1|2|3|4|6|8|12|16|24|32",
     .shown = "0 for small models, else all",
     .help = "worker threads of a CPU device (lavapipe)"},
};

const struct command command_divergence = {
    .name = "divergence",
    .summary = "Compares a model's predictions under other weight and cache types.",
    .synopsis = "[-m DIR] -f FILE.jsonl --weight-type LIST [OPTIONS]",
    .example = "muninn divergence -f texts.jsonl --weight-type q8_0,q4_1 --num-steps 1-32*2",
    .notes = "Both predict every next token of the same texts. A row for every weight type, cache type and depth: mean "
             "Kullback-Leibler divergence from the\n"
             "reference at that depth in nats, share of positions with the same best token, both with 95 % intervals "
             "over texts, and the largest errors. The\n"
             "reference's logits are kept in host memory: 4 bytes x positions x depths x vocabulary. One model is "
             "loaded at a time. What keys mean:\n"
             "docs/benchmarking.md; what came out for the models here: docs/quantisation.md.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .values_bytes = sizeof(struct divergence_options),
    .run = run};
