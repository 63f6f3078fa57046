/* muninn report: result rows as one page for the browser, which needs no network. */
#include "bench/page/page.h"
#include "cli/commands.h"
#include "cli/common/interrupt.h"

struct page_options {
    struct operand_list files;
    const char *output, *title;
};

/* Caught from here on, when there is something that could be left beside the page. */
static bool stop(void)
{
    cli_catch_interrupt();
    return cli_interrupted();
}

static enum mn_status run(const void *values, const struct mn_log *log)
{
    const struct page_options *options = values;
    if (options->files.n == 0)
        return log_fail(log, MN_ERR_USAGE, "no file to report on; see `muninn report --help`");
    return page_write(&(struct page_params){.files = (const char *const *)options->files.items,
                                            .n_files = options->files.n,
                                            .title = options->title,
                                            .output = options->output,
                                            .out = stdout,
                                            .stop = stop},
                      log);
}

#define AT(field) offsetof(struct page_options, field)

static const struct command_option table[] = {
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_TEXT,
     .offset = AT(output),
     .argument = "FILE.html",
     .value = "-",
     .help = "where the page goes; - is standard output"},
    {.name = "title",
     .kind = OPTION_TEXT,
     .offset = AT(title),
     .argument = "TEXT",
     .shown = "models and devices",
     .help = "the page's heading"},
};

const struct command command_report = {
    .name = "report",
    .summary = "Makes a page to look at from result files.",
    .synopsis = "[OPTIONS] FILE.jsonl...",
    .example = "muninn report results.jsonl -o report.html",
    .notes = "Files are what bench, pipelines, score, trace, divergence and generate --trace write, in any mixture; "
             "what else a "
             "file is, is said (exit code 4).\n"
             "The page is one file, opens offline in any browser and asks no network for anything. The rows are in it "
             "as JSON, in the element `rows`. A setting that\n"
             "is in several files, or several times in one, appears once, with its newest row. Files are named without "
             "their folders.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .values_bytes = sizeof(struct page_options),
    .takes_operands = true,
    .operands_offset = AT(files),
    .run = run};
