/* muninn selftest: every kernel on this device against the plain C version of it. */
#include <inttypes.h>

#include "cli/commands.h"
#include "reference/kernel_cases.h"

struct selftest_options {
    const char *device;
    bool quick;
};

struct tally {
    uint32_t n_cases, n_failed;
};

static void print_case(void *user, const struct kernel_case_result *result)
{
    struct tally *tally = user;
    tally->n_cases++;
    tally->n_failed += !result->ok;
    printf("%-6s %-10s %-64s NMSE %.2e (limit %.0e)%s%s\n", result->ok ? "ok" : "FAILED", result->kernel, result->name,
           result->nmse, result->limit, result->ok ? "" : ": ", result->ok ? "" : result->detail);
    fflush(stdout); /* a case may take seconds, and the next one may lose the device */
}

/* One case that fails does not hide the others: a failed check is remembered, anything else ends the test. */
static enum mn_status run_cases(const struct kernel_cases_params *params)
{
    enum mn_status status = kernel_cases_run(params, NULL);
    if (params->quick || (status && status != MN_ERR_CHECK))
        return status;
    enum mn_status independence = kernel_cases_row_independence(params, NULL);
    return independence ? independence : status;
}

static enum mn_status run_on_device(struct device *device, bool quick)
{
    char banner[1024];
    struct tally tally = {0};
    struct kernels kernels = {0};
    struct stream stream = {0};
    device_banner(&device->caps, banner, sizeof banner);
    puts(banner);
    enum mn_status status = kernels_init(&kernels, device);
    if (!status)
        status = stream_init(&stream, device, &kernels);
    if (!status)
        status = run_cases(&(struct kernel_cases_params){.device = device,
                                                         .kernels = &kernels,
                                                         .stream = &stream,
                                                         .quick = quick,
                                                         .report = print_case,
                                                         .user = &tally});
    if (stream.device)
        stream_finish(&stream);
    kernels_finish(&kernels);
    /* What failed has been logged by then. */
    printf("%" PRIu32 " cases, %" PRIu32 " failed\n", tally.n_cases, tally.n_failed);
    return status;
}

static enum mn_status run(const void *values, const struct mn_log *log)
{
    const struct selftest_options *options = values;
    struct device *device;
    enum mn_status status = device_create(&device, &(struct device_params){.select = options->device}, log);
    if (status)
        return status;
    status = run_on_device(device, options->quick);
    device_destroy(device);
    return status;
}

static const struct command_option table[] = {
    {.name = "device",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct selftest_options, device),
     .argument = "D",
     .shown = "the best one",
     .help = "number or part of a name, see `muninn devices`"},
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
