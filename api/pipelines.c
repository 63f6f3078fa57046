/* mn_pipelines: engine/model/pipelines.h and engine/vulkan/statistics.h for everybody. */
#include "engine/model/pipelines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/handles.h"
#include "engine/vulkan/statistics.h"

enum { TEXT_BYTES = 160 };

/* One more word of a list. */
static void append(char text[TEXT_BYTES], const char *word)
{
    const size_t n = strlen(text);
    snprintf(text + n, TEXT_BYTES - n, "%s%s", n ? ", " : "", word);
}

static void write_what(char text[TEXT_BYTES], const struct pipeline_use *use)
{
    *text = '\0';
    for (uint32_t i = 0; i < use->n_what; i++)
        append(text, use->what[i]);
}

static void write_passes(char text[TEXT_BYTES], const struct pipeline_use *use)
{
    static const char *const names[PASS_COUNT] = {"prelude", "core", "coda", "head", "head"};
    *text = '\0';
    for (uint32_t i = 0; i < PASS_COUNT; i++)
        if (use->passes >> i & 1 && !(i == PASS_HEAD_SAMPLED && use->passes >> PASS_HEAD_GREEDY & 1))
            append(text, names[i]);
}

static void write_row_counts(char text[TEXT_BYTES], const struct pipeline_use *use)
{
    char number[16];
    *text = '\0';
    bool of_prompts;
    for (uint32_t stamp = 0, rows; (rows = pipeline_stamp_rows(stamp, &of_prompts)) > 0; stamp++)
        if (use->stamps >> stamp & 1) {
            snprintf(number, sizeof number, "%u", (unsigned)rows);
            append(text, of_prompts ? "prompt" : number);
        }
}

struct visit {
    const struct model *model;
    enum mn_status (*visit)(void *user, const struct mn_pipeline *pipeline);
    void *user;
};

static enum mn_status show(const struct visit *v, const struct pipeline_use *use, const struct statistics *read)
{
    const struct caps *caps = &v->model->device->caps;
    const struct pipeline_info info = pipeline_info(use->pipeline);
    const struct statistics_common *c = &read->common;
    char what[TEXT_BYTES], passes[TEXT_BYTES], rows[TEXT_BYTES];
    struct mn_pipeline_statistic *list = calloc(read->n + 1, sizeof *list);
    if (!list)
        return log_fail(v->model->device->log, MN_ERR_MEMORY, "out of host memory for what a driver says");
    write_what(what, use);
    write_passes(passes, use);
    write_row_counts(rows, use);
    struct mn_pipeline pipeline = {.kernel = kernel_info(info.id)->name,
                                   .what = what,
                                   .passes = passes,
                                   .row_counts = rows,
                                   .constants = info.constants,
                                   .n_constants = info.n_constants,
                                   .threads = info.constants[0],
                                   .max_threads = caps->max_workgroup_threads,
                                   .shared_bytes = info.shared_bytes,
                                   .max_shared_bytes = caps->max_shared_bytes,
                                   .subgroup_size = read->subgroup_size ? read->subgroup_size : caps->subgroup_size,
                                   .registers = c->registers,
                                   .scalar_registers = c->scalar_registers,
                                   .spills = c->spills,
                                   .scratch_bytes = c->scratch_bytes,
                                   .code_bytes = c->code_bytes,
                                   .instructions = c->instructions,
                                   .waves = c->waves,
                                   .statistics = list,
                                   .n_statistics = read->n};
    enum weight_type type;
    if (pipeline_weights(use->pipeline, &pipeline.n_rows, &type))
        pipeline.weight_type = mn_weight_type_at((uint32_t)type);
    for (uint32_t i = 0; i < read->n; i++)
        list[i] = (struct mn_pipeline_statistic){read->items[i].name, read->items[i].value};
    enum mn_status status = v->visit(v->user, &pipeline);
    free(list);
    return status;
}

static enum mn_status show_all(const struct visit *v, const struct pipeline_uses *uses)
{
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < uses->n && !status; i++) {
        struct statistics read;
        status = statistics_read(&read, &v->model->kernels, uses->items[i].pipeline);
        if (!status)
            status = show(v, &uses->items[i], &read);
        statistics_finish(&read);
    }
    return status;
}

enum mn_status mn_pipelines(struct mn_engine *engine, const struct mn_session_params *params, bool *has_statistics,
                            enum mn_status (*visit)(void *user, const struct mn_pipeline *pipeline), void *user)
{
    if (!engine || !params || !visit)
        return api_missing(engine ? engine->log : NULL, "mn_pipelines",
                           !engine   ? "engine"
                           : !params ? "params"
                                     : "visit");
    if (!engine->model)
        return api_need_model(engine, "mn_pipelines");
    const struct visit v = {engine->model, visit, user};
    struct session_params inner;
    struct pipeline_uses uses = {0};
    enum mn_status status = api_session_params(&inner, engine, params);
    if (has_statistics)
        *has_statistics = engine->model->device->has_statistics;
    if (!status)
        status = pipelines_list(&uses, engine->model, &inner);
    if (!status)
        status = show_all(&v, &uses);
    pipelines_finish(&uses);
    return status;
}
