/* muninn pipelines: what the driver's compiler makes of a model's kernels. */
#include "bench/sweep/pipelines.h"

#include <string.h>

#include "cli/commands.h"
#include "cli/common/interrupt.h"
#include "cli/common/paths.h"
#include "cli/common/progress.h"
#include "engine/files/lines.h"

struct pipelines_options {
    const char *model, *synthetic, *device, *weight_type, *matrix_units, *kv_type, *kv_policy, *output, *columns;
    uint32_t ctx; /* 0: the model's own */
};

static enum mn_status run(const void *values, const struct mn_log *log)
{
    const struct pipelines_options *o = values;
    char dir[CLI_PATH_BYTES];
    struct rows rows = {0};
    if (o->synthetic && o->model)
        return log_fail(log, MN_ERR_USAGE, "--synthetic and --model exclude each other");
    enum mn_status status = o->synthetic ? MN_OK : cli_model_dir(o->model, dir, log);
    if (status)
        return status;
    cli_catch_interrupt();
    status = pipelines_rows(&rows,
                            &(struct pipelines_params){.dir = o->synthetic ? NULL : dir,
                                                       .synthetic = o->synthetic,
                                                       .device = o->device,
                                                       .weight_type = o->weight_type,
                                                       .matrix_units = o->matrix_units,
                                                       .kv_type = o->kv_type,
                                                       .kv_policy = o->kv_policy,
                                                       .n_ctx = o->ctx,
                                                       .progress = cli_progress()},
                            log);
    if (!status)
        status = rows_write(&rows, o->output, !strcmp(o->columns, "all"), stdout, log);
    rows_free(&rows);
    return status;
}

#define AT(field) offsetof(struct pipelines_options, field)

static const struct command_option table[] = {
    MODEL_OPTION(AT(model)),
    {.name = "synthetic",
     .kind = OPTION_TEXT,
     .offset = AT(synthetic),
     .argument = "SHAPE",
     .help = "instead of a model: a shape as `bench --synthetic` takes it"},
    {.name = "ctx",
     .kind = OPTION_U32,
     .offset = AT(ctx),
     .argument = "N",
     .shown = "the model's block_size",
     .min = 2,
     .max = IDS_MAX,
     .help = "positions of the session"},
    {.name = "kv-policy",
     .kind = OPTION_TEXT,
     .offset = AT(kv_policy),
     .argument = "full|share:k",
     .value = "full",
     .help = "cache every step, or the last k"},
    KV_TYPE_OPTION(AT(kv_type), "f16", "type of the cache"),
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_CHOICE,
     .offset = AT(output),
     .choices = "md|csv|json|jsonl",
     .value = "md",
     .help = "tables to read, or rows with everything that the driver says"},
    {.name = "columns",
     .kind = OPTION_CHOICE,
     .offset = AT(columns),
     .choices = "short|all",
     .value = "short",
     .help = "of md: what says something, in 120 columns of text, or everything"},
    DEVICE_OPTION(AT(device)),
    WEIGHT_TYPE_OPTION(AT(weight_type)),
    MATRIX_UNITS_OPTION(AT(matrix_units)),
};

const struct command command_pipelines = {
    .name = "pipelines",
    .summary = "Builds a model's kernels and shows what the compiler made of them.",
    .synopsis = "[-m DIR | --synthetic SHAPE] [OPTIONS]",
    .example = "muninn pipelines --synthetic huginn-3.5b --weight-type q8_0",
    .notes =
        "Registers, spills, scratch memory, code and waves are the driver's own figures "
        "(VK_KHR_pipeline_executable_properties), under common names; the\n"
        "JSON rows have all that it says. Reads no weights, takes no device memory and submits nothing: it runs on "
        "devices that only compile, see docs/portability.md.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .values_bytes = sizeof(struct pipelines_options),
    .run = run};
