/* muninn info: a model's shape and what it takes on the device. */
#include <inttypes.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/common/engine.h"
#include "cli/common/output.h"
#include "engine/base/text.h"

struct info_options {
    const char *model, *device, *weight_type, *output;
};

static void print_json(const char *dir, const struct mn_model_info *info)
{
    putchar('{');
    cli_json_string("model", dir, true);
    cli_json_string("device", info->device_name, false);
    cli_json_string("driver", info->driver, false);
    cli_json_u64("n_parameters", info->n_parameters, false);
    cli_json_u64("n_embd", info->shape.n_embd, false);
    cli_json_u64("n_heads", info->shape.n_heads, false);
    cli_json_u64("head_dim", info->shape.head_dim, false);
    cli_json_u64("intermediate_size", info->shape.intermediate_size, false);
    cli_json_u64("vocab_size", info->shape.vocab_size, false);
    cli_json_u64("n_prelude", info->shape.n_prelude, false);
    cli_json_u64("n_core", info->shape.n_core, false);
    cli_json_u64("n_coda", info->shape.n_coda, false);
    cli_json_u64("mean_recurrence", info->shape.mean_recurrence, false);
    cli_json_u64("block_size", info->shape.block_size, false);
    cli_json_bool("tied", info->shape.tied, false);
    cli_json_bool("qk_bias", info->shape.qk_bias, false);
    cli_json_key("bos_token_id", false);
    if (info->bos_token_id == UINT32_MAX)
        fputs("null", stdout);
    else
        printf("%" PRIu32, info->bos_token_id);
    cli_json_ids("eos_token_ids", info->eos_token_ids, info->n_eos, false);
    cli_json_string("weight_type", info->weight_type, false);
    cli_json_u64("weight_bytes", info->weight_bytes, false);
    cli_json_u64("prelude_bytes", info->prelude_bytes, false);
    cli_json_u64("core_bytes", info->core_bytes, false);
    cli_json_u64("coda_bytes", info->coda_bytes, false);
    puts("}");
}

static void print_text(const char *dir, const struct mn_model_info *info)
{
    const double mb = 1e6;
    fputs("model            ", stdout);
    text_puts(stdout, dir);
    fputs("\ndevice           ", stdout);
    text_puts(stdout, info->device_banner);
    printf("\nparameters       %.2f M, %s%s\n", (double)info->n_parameters / 1e6,
           info->shape.tied ? "tied embeddings" : "separate head",
           info->shape.qk_bias ? ", biases on queries and keys" : "");
    printf("width            %" PRIu32 " (%" PRIu32 " heads of %" PRIu32 "), feed-forward %" PRIu32 "\n",
           info->shape.n_embd, info->shape.n_heads, info->shape.head_dim, info->shape.intermediate_size);
    printf("blocks           %" PRIu32 " prelude + %" PRIu32 " core + %" PRIu32 " coda\n", info->shape.n_prelude,
           info->shape.n_core, info->shape.n_coda);
    printf("recurrence       %" PRIu32 " steps by default\n", info->shape.mean_recurrence);
    printf("context          %" PRIu32 "\n", info->shape.block_size);
    printf("vocabulary       %" PRIu32 "\n", info->shape.vocab_size);
    if (info->bos_token_id != UINT32_MAX)
        printf("begin token      %" PRIu32 "\n", info->bos_token_id);
    fputs("end tokens      ", stdout);
    for (uint32_t i = 0; i < info->n_eos; i++)
        printf(" %" PRIu32, info->eos_token_ids[i]);
    printf("%s\nweights          %s, %.2f MB on the device\n", info->n_eos ? "" : " none", info->weight_type,
           (double)info->weight_bytes / mb);
    printf("read per pass    prelude %.3f MB, core step %.3f MB, coda and head %.3f MB\n",
           (double)info->prelude_bytes / mb, (double)info->core_bytes / mb, (double)info->coda_bytes / mb);
}

static enum mn_status run(const void *values, const struct mn_log *log)
{
    const struct info_options *options = values;
    char dir[CLI_PATH_BYTES];
    struct mn_engine *engine;
    enum mn_status status = cli_open_engine(&engine, dir,
                                            &(struct engine_choice){.model = options->model,
                                                                    .device = options->device,
                                                                    .weight_type = options->weight_type},
                                            log);
    if (status)
        return status;
    struct mn_model_info info;
    mn_engine_info(engine, &info);
    if (!strcmp(options->output, "json"))
        print_json(dir, &info);
    else
        print_text(dir, &info);
    mn_engine_destroy(engine);
    return MN_OK;
}

static const struct command_option table[] = {
    MODEL_OPTION(offsetof(struct info_options, model)),
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct info_options, output),
     .choices = "text|json",
     .value = "text",
     .help = "lines to read, or a JSON object"},
    DEVICE_OPTION(offsetof(struct info_options, device)),
    WEIGHT_TYPE_OPTION(offsetof(struct info_options, weight_type)),
};

const struct command command_info = {.name = "info",
                                     .summary = "Loads a model and shows its shape and what it takes on the device.",
                                     .synopsis = "[-m DIR] [-o text|json]",
                                     .example = "muninn info -m models/raven-deep -o json",
                                     .options = table,
                                     .n_options = sizeof table / sizeof *table,
                                     .values_bytes = sizeof(struct info_options),
                                     .run = run};
