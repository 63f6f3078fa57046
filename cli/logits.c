/* muninn logits: the logits of every position, for comparison with other implementations. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rows/default_depth.h"
#include "cli/commands.h"
#include "cli/common/engine.h"
#include "cli/common/output.h"
#include "cli/common/prompt.h"
#include "cli/common/talk.h"
#include "engine/base/numbers.h"
#include "engine/files/safetensors.h"

struct logits_options {
    const char *model, *device, *matrix_units, *weight_type, *kv_policy, *kv_type, *state0;
    struct id_list ids;
    uint32_t num_steps, ctx;
    bool beyond;
};

static enum mn_status check_tensor(const struct safetensors *file, const char *path, const char *key, uint32_t n_ids,
                                   uint32_t n_embd, const struct tensor_view **out, const struct mn_log *log)
{
    const struct tensor_view *tensor = safetensors_find(file, key);
    if (!tensor)
        return log_fail(log, MN_ERR_FORMAT, "%s: tensor '%s' is missing", path, key);
    if (tensor->dtype != TENSOR_F32)
        return log_fail(log, MN_ERR_FORMAT, "%s: tensor '%s' has type %s: must be F32", path, key, tensor->dtype_name);
    if (tensor->rank != 2 || tensor->shape[0] != n_ids || tensor->shape[1] != n_embd) {
        char shape[TENSOR_RANK_MAX * 24 + 4];
        size_t n = (size_t)snprintf(shape, sizeof shape, "[");
        for (uint32_t i = 0; i < tensor->rank; i++)
            n += (size_t)snprintf(shape + n, sizeof shape - n, "%s%" PRIu64, i ? ", " : "", tensor->shape[i]);
        return log_fail(log, MN_ERR_FORMAT,
                        "%s: tensor '%s' has shape %s]: must be [%" PRIu32 ", %" PRIu32 "], one row per id of --ids",
                        path, key, shape, n_ids, n_embd);
    }
    *out = tensor;
    return MN_OK;
}

/* FILE:KEY, cut at the last colon: paths may contain colons, tensor names do not. *state0 is malloc'ed. */
static enum mn_status read_state0(const char *option, uint32_t n_ids, uint32_t n_embd, float **state0,
                                  const struct mn_log *log)
{
    char path[CLI_PATH_BYTES];
    const char *colon = strrchr(option, ':');
    if (!colon || colon == option || colon[1] == '\0' || (size_t)(colon - option) >= sizeof path)
        return log_fail(log, MN_ERR_USAGE, "--state0 %s: must be FILE.safetensors:KEY", option);
    memcpy(path, option, (size_t)(colon - option));
    path[colon - option] = '\0';
    struct safetensors *file;
    const struct tensor_view *tensor = NULL;
    enum mn_status status = safetensors_open_file(&file, path, NULL, log);
    if (status)
        return status;
    status = check_tensor(file, path, colon + 1, n_ids, n_embd, &tensor, log);
    if (!status) {
        *state0 = malloc(tensor->bytes);
        status = *state0 ? safetensors_read(file, tensor, 0, tensor->bytes, *state0, log)
                         : log_fail(log, MN_ERR_MEMORY, "out of host memory for %" PRIu64 " bytes of --state0",
                                    tensor->bytes);
    }
    safetensors_close(file);
    return status;
}

static enum mn_status print_position(void *user, uint32_t position, const float *logits, uint32_t n_vocab)
{
    const struct mn_log *log = user;
    for (uint32_t i = 0; i < n_vocab; i++)
        if (!isfinite(logits[i]))
            return log_fail(log, MN_ERR_RUN,
                            "position %" PRIu32 ": the logit of token %" PRIu32 " is not a finite number", position, i);
    putchar('[');
    for (uint32_t i = 0; i < n_vocab; i++)
        printf("%s%.9g", i ? "," : "", (double)logits[i]);
    puts("]");
    return cli_flush(log);
}

static enum mn_status run_engine(const struct logits_options *options, struct mn_engine *engine,
                                 const struct mn_log *log)
{
    struct mn_model_info info;
    mn_engine_info(engine, &info);
    uint32_t num_steps = depth_or(options->num_steps, info.shape.mean_recurrence);
    float *state0 = NULL;
    struct mn_session *session = NULL;
    enum mn_status status = cli_check_ids(options->ids.ids, options->ids.n, info.shape.vocab_size, log);
    if (!status && options->state0)
        status = read_state0(options->state0, options->ids.n, info.shape.n_embd, &state0, log);
    if (!status)
        status = cli_open_session(&session, engine,
                                  &(struct mn_session_params){.n_ctx = options->ctx,
                                                              .num_steps = num_steps,
                                                              .max_rows = 1,
                                                              .kv_policy = options->kv_policy,
                                                              .kv_type = options->kv_type,
                                                              .beyond_trained_depth = options->beyond});
    if (!status) {
        struct mn_log user = *log;
        if (!options->num_steps)
            default_depth_note(cli_notes(), &info);
        status = mn_logits(session, options->ids.ids, options->ids.n, num_steps, state0, print_position, &user);
    }
    mn_session_destroy(session);
    free(state0);
    return status;
}

static enum mn_status run(const void *values, const struct mn_log *log)
{
    const struct logits_options *options = values;
    char dir[CLI_PATH_BYTES];
    struct mn_engine *engine = NULL;
    if (!options->ids.ids)
        return log_fail(log, MN_ERR_USAGE, "--ids is missing; see `muninn logits --help`");
    enum mn_status status = mn_kv_policy_check(options->kv_policy, log);
    if (!status)
        status = cli_open_engine(&engine, dir,
                                 &(struct engine_choice){.model = options->model,
                                                         .device = options->device,
                                                         .weight_type = options->weight_type,
                                                         .matrix_units = options->matrix_units},
                                 log);
    if (!status)
        status = run_engine(options, engine, log);
    mn_engine_destroy(engine);
    return status;
}

#define AT(field) offsetof(struct logits_options, field)

static const struct command_option table[] = {
    MODEL_OPTION(AT(model)),
    {.name = "ids",
     .kind = OPTION_IDS,
     .offset = AT(ids),
     .argument = "LIST",
     .shown = "none, required",
     .help = "token ids like 0,301,270, taken as they are"},
    NUM_STEPS_OPTION(AT(num_steps)),
    BEYOND_OPTION(AT(beyond)),
    {.name = "state0",
     .kind = OPTION_TEXT,
     .offset = AT(state0),
     .argument = "FILE:KEY",
     .shown = "zero",
     .help = "initial states: F32 tensor [ids, n_embd] of a safetensors file"},
    {.name = "kv-policy",
     .kind = OPTION_TEXT,
     .offset = AT(kv_policy),
     .argument = "full|share:k",
     .value = "full",
     .help = "cache every step, or the last k (another function of the model)"},
    KV_TYPE_OPTION(AT(kv_type), "f16", "type of the cache"),
    WEIGHT_TYPE_OPTION(AT(weight_type)),
    {.name = "ctx",
     .kind = OPTION_U32,
     .offset = AT(ctx),
     .argument = "N",
     .shown = "the model's block_size",
     .min = 2,
     .max = 1 << 20,
     .help = "positions to reserve"},
    DEVICE_OPTION(AT(device)),
    MATRIX_UNITS_OPTION(AT(matrix_units)),
};

const struct command command_logits = {
    .name = "logits",
    .summary = "Prints the logits of every position as JSON lines.",
    .synopsis = "[-m DIR] --ids LIST [OPTIONS]",
    .example = "muninn logits --ids 0,23,29,263 --num-steps 8 --kv-type f32",
    .notes = "One line per position: an array of vocab_size numbers with 9 significant digits.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .values_bytes = sizeof(struct logits_options),
    .run = run};
