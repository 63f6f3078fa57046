/* muninn compare: the rows of two result files, pair by pair. */
#include "bench/rows/compare.h"

#include <string.h>

#include "bench/page/page.h"
#include "cli/commands.h"
#include "cli/common/interrupt.h"

struct compare_options {
    struct operand_list files;
    const char *output, *ignore;
    float max_slowdown;
};

/* Caught from here on, when there is something that could be left beside the page. */
static bool stop(void)
{
    cli_catch_interrupt();
    return cli_interrupted();
}

static enum mn_status show(void *user, const struct compared *compared, const struct mn_log *log)
{
    const struct compare_options *options = user;
    return page_write_comparison(
        &(struct page_params){
            .files = (const char *const *)options->files.items, .n_files = 2, .output = options->output, .stop = stop},
        compared, log);
}

static bool is_page(const char *name)
{
    static const char end[] = ".html";
    const size_t n = strlen(name);
    return n >= sizeof end && !strcmp(name + n - (sizeof end - 1), end);
}

static enum mn_status run(const void *values, const struct mn_log *log)
{
    const struct compare_options *options = values;
    const bool page = is_page(options->output);
    if (options->files.n != 2)
        return log_fail(log, MN_ERR_USAGE, "two result files are needed; see `muninn compare --help`");
    if (!page && strcmp(options->output, "md") != 0 && strcmp(options->output, "json") != 0)
        return log_fail(log, MN_ERR_USAGE, "--output %s: must be md, json or the name of a page, which ends in .html",
                        options->output);
    return compare_rows(&(struct compare_params){.files = {options->files.items[0], options->files.items[1]},
                                                 .ignore = options->ignore,
                                                 .output = page ? "page" : options->output,
                                                 .show = show,
                                                 .user = (void *)options,
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
     .kind = OPTION_TEXT,
     .offset = offsetof(struct compare_options, output),
     .argument = "md|json|FILE.html",
     .value = "md",
     .help = "format on standard output, or a page to look at"},
};

const struct command command_compare = {
    .name = "compare",
    .summary = "Compares two result files of `muninn bench`.",
    .synopsis = "[OPTIONS] A.jsonl B.jsonl",
    .example = "muninn compare before.jsonl after.jsonl -o comparison.html",
    .notes = "Rows with the same settings are a pair, whatever device, driver or commit they come from; what differs "
             "is listed. B / A is the median of all quotients of\n"
             "two samples, with the 95 % confidence interval of the Mann-Whitney test: it knows the noise between "
             "repetitions, not that between two days.\n"
             "A page (-o FILE.html) has the worst and the best pairs on top and all of them in a table.\n"
             "Exit code 0: compared, whatever came out; 4: a file is malformed or no setting is in both; 7: "
             "--max-slowdown was exceeded.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .values_bytes = sizeof(struct compare_options),
    .takes_operands = true,
    .operands_offset = offsetof(struct compare_options, files),
    .run = run};
