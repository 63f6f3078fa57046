/* muninn compare: the rows of two result files, pair by pair. */
#include "bench/rows/compare.h"

#include "cli/commands.h"

struct compare_options {
    struct operand_list files;
    const char *output, *ignore;
    float max_slowdown;
};

static enum mn_status run(const void *values, const struct mn_log *log)
{
    const struct compare_options *options = values;
    if (options->files.n != 2)
        return log_fail(log, MN_ERR_USAGE, "two result files are needed; see `muninn compare --help`");
    return compare_rows(&(struct compare_params){.files = {options->files.items[0], options->files.items[1]},
                                                 .ignore = options->ignore,
                                                 .output = options->output,
                                                 .max_slowdown = options->max_slowdown,
                                                 .out = stdout},
                        log);
}

static const struct command_option table[] = {
    {.name = "ignore",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct compare_options, ignore),
     .argument = "KEY[,KEY...]",
     .help = "settings in which a pair may differ, like weight_type"},
    {.name = "max-slowdown",
     .kind = OPTION_FLOAT,
     .offset = offsetof(struct compare_options, max_slowdown),
     .argument = "PERCENT",
     .shown = "off",
     .min = 0,
     .max = 100,
     .help = "exit code 7 when the whole interval of a pair lies below 1 by more than this"},
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct compare_options, output),
     .choices = "md|json",
     .value = "md",
     .help = "format on standard output"},
};

const struct command command_compare = {
    .name = "compare",
    .summary = "Compares two result files of `muninn bench`.",
    .synopsis = "[OPTIONS] A.jsonl B.jsonl",
    .example = "muninn compare --max-slowdown 5 before.jsonl after.jsonl",
    .notes = "Rows with the same settings are a pair, whatever device, driver or commit they come from; what differs "
             "is listed. B / A is the median of all quotients of\n"
             "two samples, with the 95 % confidence interval of the Mann-Whitney test: it knows the noise between "
             "repetitions, not that between two days.\n"
             "Exit code 0: compared, whatever came out; 4: a file is malformed or no setting is in both; 7: "
             "--max-slowdown was exceeded.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .values_bytes = sizeof(struct compare_options),
    .takes_operands = true,
    .operands_offset = offsetof(struct compare_options, files),
    .run = run};
