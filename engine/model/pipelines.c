#include "engine/model/pipelines.h"

#include <stdlib.h>
#include <string.h>

#include "engine/model/session_internal.h"
#include "shaders/args.h"

static struct pipeline_use *find(struct pipeline_uses *uses, const struct pipeline *pipeline)
{
    for (uint32_t i = 0; i < uses->n; i++)
        if (uses->items[i].pipeline == pipeline)
            return &uses->items[i];
    return NULL;
}

static void name_use(struct pipeline_use *use, const char *what)
{
    for (uint32_t i = 0; i < use->n_what; i++)
        if (!strcmp(use->what[i], what))
            return;
    if (use->n_what < PIPELINE_WHAT_MAX)
        use->what[use->n_what++] = what;
}

enum mn_status pipelines_add(struct pipeline_uses *uses, const struct pipeline *pipeline, const char *what,
                             uint32_t pass, uint32_t stamp, const struct mn_log *log)
{
    struct pipeline_use *use = find(uses, pipeline);
    if (!use) {
        struct pipeline_use *items = realloc(uses->items, (uses->n + 1) * sizeof *items);
        if (!items)
            return log_fail(log, MN_ERR_MEMORY, "out of host memory for a list of pipelines");
        uses->items = items;
        use = &uses->items[uses->n++];
        *use = (struct pipeline_use){.pipeline = pipeline};
    }
    name_use(use, what);
    use->passes |= 1u << pass;
    use->stamps |= 1u << stamp;
    return MN_OK;
}

void pipelines_finish(struct pipeline_uses *uses)
{
    free(uses->items);
    *uses = (struct pipeline_uses){0};
}

uint32_t pipeline_stamp_rows(uint32_t stamp, bool *of_prompts)
{
    *of_prompts = stamp == SESSION_N_STAMPS - 1;
    return stamp < SESSION_N_STAMPS ? session_stamp_rows(stamp) : 0;
}

bool pipeline_weights(const struct pipeline *pipeline, uint32_t *n_rows, enum weight_type *type)
{
    const struct pipeline_info info = pipeline_info(pipeline);
    struct matmul_constants matmul;
    struct embed_constants embed;
    switch (info.id) {
    case KERNEL_EMBED:
        memcpy(&embed, info.constants, sizeof embed);
        *n_rows = 1;
        *type = (enum weight_type)embed.weight_type;
        return true;
    case KERNEL_QKV:
    case KERNEL_PROJ:
    case KERNEL_GATE:
    case KERNEL_HEAD:
        memcpy(&matmul, info.constants, sizeof matmul);
        *n_rows = matmul.n_rows;
        *type = (enum weight_type)matmul.weight_type;
        return true;
    default: return false;
    }
}
