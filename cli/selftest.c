/* muninn selftest: every kernel on this device against the plain C version of it. */
#include "reference/selftest.h"

#include <inttypes.h>

#include "cli/commands.h"
#include "cli/common/interrupt.h"
#include "cli/common/output.h"
#include "cli/common/progress.h"
#include "engine/base/text.h"

struct selftest_options {
    const char *device;
    bool quick;
};

struct tally {
    const struct mn_log *log;
    enum mn_status status; /* of what was printed */
    uint32_t n_cases, n_failed;
    bool begun;
};

static void print_banner(void *user, const char *banner)
{
    ((struct tally *)user)->begun = true;
    text_puts(stdout, banner);
    putchar('\n');
}

static void print_note(void *user, const char *text)
{
    (void)user;
    cli_progress_clear();
    puts(text);
}

static void print_case(void *user, const struct kernel_case_result *result)
{
    struct tally *tally = user;
    tally->n_cases++;
    tally->n_failed += !result->ok;
    cli_progress_clear();
    printf("%-6s %-10s %-64s NMSE %.2e (limit %.0e)%s%s\n", result->ok ? "ok" : "FAILED", result->kernel, result->name,
           result->nmse, result->limit, result->ok ? "" : ": ", result->ok ? "" : result->detail);
    if (!tally->status)
        tally->status = cli_flush(tally->log); /* a case may take seconds, and the next one may lose the device */
}

static enum mn_status run(const void *values, const struct mn_log *log)
{
    const struct selftest_options *options = values;
    struct tally tally = {.log = log};
    cli_catch_interrupt();
    enum mn_status status = selftest_run(&(struct selftest_params){.device = options->device,
                                                                   .quick = options->quick,
                                                                   .begin = print_banner,
                                                                   .note = print_note,
                                                                   .report = print_case,
                                                                   .user = &tally,
                                                                   .progress = cli_progress(),
                                                                   .log = log});
    if (tally.begun) /* what failed has been logged by then */
        printf("%" PRIu32 " cases, %" PRIu32 " failed\n", tally.n_cases, tally.n_failed);
    return status ? status : tally.status;
}

static const struct command_option table[] = {
    DEVICE_OPTION(offsetof(struct selftest_options, device)),
    {.name = "quick",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct selftest_options, quick),
     .help = "a few cases per kernel"},
};

const struct command command_selftest = {
    .name = "selftest",
    .summary = "Checks every kernel on this device against the CPU version.",
    .synopsis = "[--device D] [--quick]",
    .example = "muninn selftest --quick",
    .notes = "Prints the normalised mean squared error of each case; exit code 7 when one is above its limit. Without "
             "--quick it also\n"
             "checks that the number of rows in a pass changes no bit of the results.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .values_bytes = sizeof(struct selftest_options),
    .run = run};
