/* muninn merge: the rows of several result files, each setting once. */
#include <string.h>

#include "bench/rows/baseline.h"
#include "bench/rows/rows.h"
#include "cli/commands.h"

struct merge_options {
    struct operand_list files;
    const char *output, *columns;
};

static enum mn_status run(const void *values, const struct mn_log *log)
{
    const struct merge_options *options = values;
    struct rows all = {0};
    uint64_t n_good;
    size_t n_older;
    enum mn_status status = MN_OK;
    if (options->files.n == 0)
        return log_fail(log, MN_ERR_USAGE, "no file to merge; see `muninn merge --help`");
    for (uint32_t i = 0; i < options->files.n && !status; i++)
        status = rows_read(&all, options->files.items[i], false, &n_good, log);
    if (!status)
        status = rows_keep_newest(&all, &n_older, log);
    if (!status)
        status = rows_add_speedup(&all, log);
    if (!status)
        status = rows_write(&all, options->output, !strcmp(options->columns, "all"), stdout, log);
    rows_free(&all);
    return status;
}

static const struct command_option table[] = {
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct merge_options, output),
     .choices = "md|csv|json|jsonl",
     .value = "jsonl",
     .help = "format on standard output"},
    {.name = "columns",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct merge_options, columns),
     .choices = "short|all",
     .value = "short",
     .help = "of md: what says something, in 120 columns of text, or everything"},
};

const struct command command_merge = {.name = "merge",
                                      .summary = "Puts result files of `muninn bench` together.",
                                      .synopsis = "[OPTIONS] FILE.jsonl...",
                                      .example = "muninn merge shard-*.jsonl >all.jsonl",
                                      .notes = "A setting that is in several files appears once, with its newest row. "
                                               "A line that was cut off at the end of a file is left out.",
                                      .options = table,
                                      .n_options = sizeof table / sizeof *table,
                                      .values_bytes = sizeof(struct merge_options),
                                      .takes_operands = true,
                                      .operands_offset = offsetof(struct merge_options, files),
                                      .run = run};
