/* What a session would take, before there is one. */
#include "api/handles.h"
#include "engine/base/numbers.h"

struct planner {
    struct model *model;
    struct session_params params;
    uint64_t weights, available;
    bool own_device; /* what it binds at once counts; else what any device may bind: the limit has 32 bits */
};

static enum mn_status plan_at(const struct planner *p, uint32_t n_ctx, struct session_bytes *bytes, bool *fits,
                              bool *binding)
{
    struct session_params params = p->params;
    params.n_ctx = n_ctx;
    enum mn_status status = session_plan(bytes, p->model, &params);
    *binding = bytes->largest > (p->own_device ? bytes->largest_possible : UINT32_MAX);
    *fits = !status && !*binding && p->weights + bytes->cache + bytes->scratch <= p->available;
    return status;
}

static enum mn_status find_largest(const struct planner *p, uint32_t *largest)
{
    struct session_bytes bytes;
    uint32_t low = 0, high = CONFIG_BLOCK_MAX; /* low fits (0: nothing is known to), high + 1 does not */
    enum mn_status status = MN_OK;
    while (low < high && !status) {
        const uint32_t middle = low + (high - low + 1) / 2;
        bool fits, binding;
        status = plan_at(p, max_u32(middle, 2), &bytes, &fits, &binding);
        low = fits ? middle : low;
        high = fits ? high : middle - 1;
    }
    *largest = low;
    return status;
}

enum mn_status mn_memory_plan(struct mn_memory_plan *plan, struct mn_engine *engine,
                              const struct mn_session_params *params, uint64_t available_bytes)
{
    struct session_bytes bytes;
    bool fits, binding;
    if (!plan || !engine || !params)
        return api_missing(engine ? engine->log : NULL, "mn_memory_plan",
                           !plan     ? "plan"
                           : !engine ? "engine"
                                     : "params");
    *plan = (struct mn_memory_plan){0};
    if (!engine->model)
        return api_need_model(engine, "mn_memory_plan");
    struct planner p = {.model = engine->model, .weights = engine->model->weights.arena.bytes};
    p.own_device = available_bytes == 0;
    p.available = available_bytes ? available_bytes
                                  : device_available_bytes(p.model->device) + (p.model->plan_only ? 0 : p.weights);
    const uint32_t n_ctx = params->n_ctx ? params->n_ctx : p.model->config.block_size;
    enum mn_status status = api_session_params(&p.params, engine, params);
    if (!status)
        status = plan_at(&p, n_ctx, &bytes, &fits, &binding);
    if (status)
        return status;
    *plan = (struct mn_memory_plan){.weight_bytes = p.weights,
                                    .cache_bytes = bytes.cache,
                                    .scratch_bytes = bytes.scratch,
                                    .cache_bytes_per_token = bytes.cache_per_token,
                                    .available_bytes = p.available,
                                    .n_ctx = n_ctx,
                                    .fits = fits,
                                    .binding = binding};
    return find_largest(&p, &plan->largest_n_ctx);
}
