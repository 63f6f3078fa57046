#include "bench/sweep/pipelines.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench/sweep/measure.h"
#include "engine/base/system.h"
#include "engine/files/json.h"

#define KIND "pipeline"

struct listing {
    const struct pipelines_params *params;
    struct bench_model model; /* its engine, what it says, its identity */
    struct rows *rows;
    const struct mn_log *log;
};

/* No weights were read, so that a folder's hash is not that of its content: rows of two models must not look like those
 * of one. */
static void name_model(struct listing *l)
{
    for (int i = 0; i < IDENTITY_TEXTS; i++)
        if (!strcmp(l->model.identity.texts[i].name, "model_hash") && l->params->dir)
            l->model.identity.texts[i].value = "";
}

static char *make_key(const struct listing *l, const struct mn_pipeline *p)
{
    char *rest = NULL;
    size_t n;
    FILE *out = memory_open(&rest, &n);
    if (!out)
        return NULL;
    fprintf(out, "%s|%s|%s", l->model.identity.model, l->params->kv_type, p->kernel);
    for (uint32_t i = 0; i < p->n_constants; i++)
        fprintf(out, "%c%" PRIu32, i ? '.' : ' ', p->constants[i]);
    char *key = memory_close(out, &rest, &n) ? row_key_of(&l->model, KIND, rest) : NULL;
    free(rest);
    return key;
}

/* Everything that the driver says, under its own names. */
static void add_statistics(struct row_builder *b, const struct mn_pipeline *p)
{
    cJSON *all = p->n_statistics ? cJSON_AddObjectToObject(b->row, "statistics") : NULL;
    b->failed |= p->n_statistics && !all;
    for (uint32_t i = 0; i < p->n_statistics && all; i++) {
        char *name = json_name(p->statistics[i].name);
        b->failed |= !name || !cJSON_AddNumberToObject(all, name, p->statistics[i].value);
        free(name);
    }
}

static void add_known(struct row_builder *b, const char *key, double value)
{
    if (value >= 0.0)
        row_number(b, key, value);
}

static void check(const struct listing *l, const struct mn_pipeline *p)
{
    if (p->spills > 0.0)
        log_note(l->log, MN_LOG_WARN, "kernel %s for %s: %.0f registers are spilled", p->kernel, p->what, p->spills);
    if (p->threads > p->max_threads || p->shared_bytes > p->max_shared_bytes)
        log_note(l->log, MN_LOG_WARN,
                 "kernel %s for %s: %" PRIu32 " threads and %" PRIu32 " bytes of shared memory; the device allows "
                 "%" PRIu32 " and %" PRIu32,
                 p->kernel, p->what, p->threads, p->shared_bytes, p->max_threads, p->max_shared_bytes);
}

static enum mn_status add_row(void *user, const struct mn_pipeline *p)
{
    struct listing *l = user;
    double constants[64];
    struct row_builder b;
    cJSON *row;
    for (uint32_t i = 0; i < p->n_constants && i < 64; i++)
        constants[i] = p->constants[i];
    row_begin_at(&b, make_key(l, p), KIND, &l->model.identity, &l->model.info, l->params->kv_type);
    row_text(&b, "kernel", p->kernel);
    row_text(&b, "what", p->what);
    row_text(&b, "passes", p->passes);
    row_text(&b, "row_counts", p->row_counts);
    row_number(&b, "rows", p->n_rows);
    row_text(&b, "matrix_type", p->weight_type ? p->weight_type : "");
    row_numbers(&b, "constants", constants, p->n_constants < 64 ? p->n_constants : 64);
    row_number(&b, "threads", p->threads);
    row_number(&b, "max_threads", p->max_threads);
    row_number(&b, "shared_bytes", p->shared_bytes);
    row_number(&b, "max_shared_bytes", p->max_shared_bytes);
    row_number(&b, "subgroup_size", p->subgroup_size);
    add_known(&b, "registers", p->registers);
    add_known(&b, "scalar_registers", p->scalar_registers);
    add_known(&b, "spills", p->spills);
    add_known(&b, "scratch_bytes", p->scratch_bytes);
    add_known(&b, "code_bytes", p->code_bytes);
    add_known(&b, "instructions", p->instructions);
    add_known(&b, "waves", p->waves);
    add_statistics(&b, p);
    enum mn_status status = row_end(&b, &row, l->log);
    if (!status)
        status = rows_add(l->rows, row, l->log);
    if (!status)
        check(l, p);
    return status;
}

static enum mn_status list(struct listing *l)
{
    const struct pipelines_params *p = l->params;
    const struct mn_session_params session = {
        .n_ctx = p->n_ctx, .kv_policy = p->kv_policy, .kv_type = p->kv_type, .beyond_trained_depth = true};
    bool has_statistics;
    mn_engine_info(l->model.engine, &l->model.info);
    enum mn_status status = identity_init(&l->model.identity, &l->model.info, p->dir, p->synthetic, NULL, l->log);
    name_model(l);
    if (!status)
        status = mn_pipelines(l->model.engine, &session, &has_statistics, add_row, l);
    if (!status && !has_statistics)
        log_note(l->log, MN_LOG_WARN,
                 "device '%s': its driver says nothing of compiled code (no VK_KHR_pipeline_executable_properties): "
                 "all pipelines were built; threads and shared memory are the shaders' own, subgroups and limits "
                 "Vulkan's",
                 l->model.info.device_name);
    return status;
}

enum mn_status pipelines_rows(struct rows *rows, const struct pipelines_params *params, const struct mn_log *log)
{
    struct listing l = {.params = params, .rows = rows, .log = log};
    const struct mn_engine_params engine = {.model_dir = params->dir,
                                            .synthetic = params->synthetic,
                                            .device = params->device,
                                            .weight_type = params->weight_type,
                                            .matrix_units = params->matrix_units,
                                            .plan_only = true,
                                            .log = log,
                                            .progress = params->progress};
    enum mn_status status = mn_engine_create(&l.model.engine, &engine);
    if (!status)
        status = list(&l);
    mn_engine_destroy(l.model.engine);
    return status;
}
