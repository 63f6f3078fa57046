/* muninn selftest: every kernel on this device against the plain C version of it; of a model, whether the device keeps
 * what is promised. */
#include <inttypes.h>
#include <string.h>

#include "bench/sweep/cpu_device.h"
#include "cli/commands.h"
#include "cli/common/engine.h"
#include "cli/common/interrupt.h"
#include "cli/common/output.h"
#include "cli/common/paths.h"
#include "cli/common/progress.h"
#include "cli/selftest/selftest_rows.h"
#include "engine/base/text.h"
#include "engine/files/lines.h"

struct selftest_options {
    const char *model, *synthetic, *device, *weight_type, *kv_type, *matrix_units, *results;
    uint32_t num_steps; /* 0: the model's own */
    bool quick;
};

struct tally {
    const struct mn_log *log;
    enum mn_status status; /* of what was printed and kept */
    uint32_t n_cases, n_failed;
    bool begun;
    struct selftest_rows rows;
};

static void begin(struct tally *tally, const char *banner)
{
    tally->begun = true;
    text_puts(stdout, banner);
    putchar('\n');
}

/* A case may take seconds, and the next one may lose the device. */
static void flush(struct tally *tally)
{
    if (!tally->status)
        tally->status = cli_flush(tally->log);
}

static enum mn_status end(struct tally *tally, const char *what, enum mn_status status)
{
    const enum mn_status kept = selftest_rows_close(&tally->rows);
    if (tally->begun) /* what failed has been logged by then */
        printf("%" PRIu32 " %s, %" PRIu32 " failed\n", tally->n_cases, what, tally->n_failed);
    return status ? status : tally->status ? tally->status : kept;
}

/* ---- kernels ---- */

static void open_device(void *user, const struct selftest_device *device)
{
    struct tally *tally = user;
    begin(tally, device->banner);
    tally->status = selftest_rows_of_device(&tally->rows, device);
}

static void print_note(void *user, const char *text)
{
    (void)user;
    cli_progress_clear();
    puts(text);
}

static void print_case(void *user, const struct kernel_case_result *result, bool matrix_units)
{
    struct tally *tally = user;
    tally->n_cases++;
    tally->n_failed += !result->ok;
    cli_progress_clear();
    printf("%-6s %-10s %-64s NMSE %.2e (limit %.0e)%s%s\n", result->ok ? "ok" : "FAILED", result->kernel, result->name,
           result->nmse, result->limit, result->ok ? "" : ": ", result->ok ? "" : result->detail);
    selftest_rows_case(&tally->rows, result, matrix_units);
    flush(tally);
}

static enum mn_status test_kernels(struct tally *tally, const struct selftest_options *o)
{
    enum mn_status status = selftest_run(&(struct selftest_params){.device = o->device,
                                                                   .quick = o->quick,
                                                                   .begin = open_device,
                                                                   .note = print_note,
                                                                   .report = print_case,
                                                                   .user = tally,
                                                                   .progress = cli_progress(),
                                                                   .log = tally->log});
    return end(tally, "cases", status);
}

/* ---- a model ---- */

static void print_promise(void *user, const struct promise_result *result)
{
    struct tally *tally = user;
    tally->n_cases++;
    tally->n_failed += !result->holds;
    cli_progress_clear();
    printf("%-6s %s  %-40s R %-3" PRIu32 " %9" PRIu64 " compared", result->holds ? "ok" : "FAILED", result->promise,
           result->what, result->num_steps, result->n_compared);
    if (result->drafted)
        printf(", %" PRIu64 " of %" PRIu64 " drafts right", result->accepted, result->drafted);
    if (!result->holds)
        printf(", %" PRIu64 " differ: %s", result->n_differ, result->detail);
    putchar('\n');
    if (!tally->status)
        tally->status = selftest_rows_promise(&tally->rows, result);
    flush(tally);
}

static enum mn_status open_engine(struct mn_engine **engine, const struct selftest_options *o, char *dir,
                                  const struct mn_log *log)
{
    if (o->model)
        return cli_open_engine(
            engine, dir,
            &(struct engine_choice){
                .model = o->model, .device = o->device, .weight_type = o->weight_type, .matrix_units = o->matrix_units},
            log);
    cpu_device_prepare_synthetic(NULL, o->synthetic);
    return mn_engine_create(engine, &(struct mn_engine_params){.synthetic = o->synthetic,
                                                               .device = o->device,
                                                               .weight_type = o->weight_type,
                                                               .matrix_units = o->matrix_units,
                                                               .log = log,
                                                               .progress = cli_progress()});
}

static enum mn_status test_model(struct tally *tally, const struct selftest_options *o)
{
    struct mn_engine *engine = NULL;
    char dir[CLI_PATH_BYTES];
    struct mn_model_info info;
    enum mn_status status = open_engine(&engine, o, dir, tally->log);
    if (!status)
        status = selftest_rows_of_model(&tally->rows, engine, o->model ? dir : NULL, o->synthetic);
    if (!status) {
        mn_engine_info(engine, &info);
        begin(tally, info.device_banner);
        status = promises_run(engine, &(struct promises_params){.kv_type = o->kv_type,
                                                                .num_steps = o->num_steps,
                                                                .quick = o->quick,
                                                                .report = print_promise,
                                                                .user = tally,
                                                                .log = tally->log});
        if (status == MN_ERR_CHECK)
            log_note(tally->log, MN_LOG_ERROR,
                     "%" PRIu32 " of %" PRIu32 " trials failed: this device or driver does "
                     "not keep D0 to D2 with this model",
                     tally->n_failed, tally->n_cases);
    }
    status = end(tally, "trials", status);
    mn_engine_destroy(engine); /* rows have its strings */
    return status;
}

/* ---- the command ---- */

static enum mn_status run(const void *values, const struct mn_log *log)
{
    const struct selftest_options *o = values;
    const bool model = o->model || o->synthetic;
    struct tally tally = {.log = log, .rows = {.log = log, .kv_type = model ? o->kv_type : NULL, .quick = o->quick}};
    if (o->model && o->synthetic)
        return log_fail(log, MN_ERR_USAGE, "--synthetic and --model exclude each other");
    const struct output_use uses[] = {{"--results", o->results, true}, {"--synthetic", o->synthetic, false}};
    const size_t n = sizeof uses / sizeof *uses;
    enum mn_status status = o->model ? cli_check_outputs(o->model, uses, n, log) : output_check(uses, n, log);
    if (!status)
        status = selftest_rows_open(&tally.rows, o->results);
    if (status)
        return status;
    cli_catch_interrupt();
    return model ? test_model(&tally, o) : test_kernels(&tally, o);
}

#define AT(field) offsetof(struct selftest_options, field)

static const struct command_option table[] = {
    {.name = "model",
     .letter = 'm',
     .kind = OPTION_TEXT,
     .offset = AT(model),
     .argument = "DIR",
     .shown = "none: the kernels",
     .help = "model folder: whether this device keeps D0, D1 and D2 with it"},
    {.name = "synthetic",
     .kind = OPTION_TEXT,
     .offset = AT(synthetic),
     .argument = "SHAPE",
     .help = "the same of a shape as `bench --synthetic` takes it"},
    NUM_STEPS_OPTION(AT(num_steps)),
    WEIGHT_TYPE_OPTION(AT(weight_type)),
    KV_TYPE_OPTION(AT(kv_type), "f16", "type of the cache"),
    MATRIX_UNITS_OPTION(AT(matrix_units)),
    DEVICE_OPTION(AT(device)),
    {.name = "quick",
     .kind = OPTION_FLAG,
     .offset = AT(quick),
     .help = "a few cases per kernel; of a model, a few settings"},
    {.name = "results",
     .kind = OPTION_TEXT,
     .offset = AT(results),
     .argument = "FILE.jsonl",
     .help = "append a row per kernel, or per trial of a model, to this file"},
};

static const struct option_rule rules[] = {
    {.option = "num-steps", .with = "model|synthetic"},
    {.option = "weight-type", .with = "model|synthetic"},
    {.option = "kv-type", .with = "model|synthetic"},
    {.option = "matrix-units", .with = "model|synthetic"},
};

const struct command command_selftest = {
    .name = "selftest",
    .summary = "Checks every kernel on this device against the CPU version, or a model's determinism.",
    .synopsis = "[-m DIR | --synthetic SHAPE] [OPTIONS]",
    .example = "muninn selftest --quick",
    .notes = "Without a model: the normalised mean squared error of each kernel's cases; exit code 7 when one is above "
             "its limit. Without --quick it also\n"
             "checks that the number of rows in a pass changes no bit of the results.\n"
             "With a model: D0, the same run gives the same bits; D1, a row's logits have the same bits for any number "
             "of rows and depths in its passes; D2,\n"
             "draft-verify, wavefront and auto emit the tokens of ar, greedy and sampled (docs/contract.md); exit code "
             "7 when one does not hold here.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .values_bytes = sizeof(struct selftest_options),
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
    .run = run};
