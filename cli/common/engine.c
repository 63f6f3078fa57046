#include "cli/common/engine.h"

#include "bench/sweep/cost_file.h"
#include "bench/sweep/cpu_device.h"
#include "cli/common/progress.h"
#include "cli/common/talk.h"
#include "engine/base/clock.h"

static void say_engine(const struct mn_engine *engine, double seconds)
{
    struct mn_model_info info;
    mn_engine_info(engine, &info);
    cli_detail("%s", info.device_banner);
    cli_detail("%s model, %.2f M parameters, weights %s, %.2f MB on the device, in %.2f s", info.shape.family,
               (double)info.n_parameters / 1e6, info.weight_type, (double)info.weight_bytes / 1e6, seconds);
}

enum mn_status cli_open_engine(struct mn_engine **engine, char *dir, const struct engine_choice *choice,
                               const struct mn_log *log)
{
    *engine = NULL;
    enum mn_status status = cli_model_dir(choice->model, dir, log);
    if (status)
        return status;
    cpu_device_prepare(choice->cpu_threads, dir);
    const double started = clock_s();
    status = mn_engine_create(
        engine, &(struct mn_engine_params){.model_dir = dir,
                                           .device = choice->device,
                                           .weight_type = choice->weight_type,
                                           .matrix_units = choice->matrix_units,
                                           .validate = choice->validate,
                                           .log = log,
                                           .progress = choice->progress.report ? choice->progress : cli_progress()});
    if (!status)
        say_engine(*engine, clock_s() - started);
    return status;
}

enum mn_status cli_open_session(struct mn_session **session, struct mn_engine *engine,
                                const struct mn_session_params *params)
{
    const double started = clock_s();
    enum mn_status status = mn_session_create(session, engine, params);
    if (!status)
        cli_detail("session with %u positions, %u rows per pass: cache, buffers and pipelines in %.2f s",
                   (unsigned)params->n_ctx, (unsigned)params->max_rows, clock_s() - started);
    return status;
}

enum mn_status cli_fit_context(struct mn_session_params *params, struct mn_engine *engine)
{
    struct mn_model_info info;
    struct mn_memory_plan plan;
    mn_engine_info(engine, &info);
    params->n_ctx = info.shape.block_size;
    enum mn_status status = mn_memory_plan(&plan, engine, params, 0);
    if (!status && !plan.fits && plan.largest_n_ctx >= 4)
        params->n_ctx = plan.largest_n_ctx / 4 * 3;
    return status;
}

enum mn_status cli_use_costs(struct mn_session *session, const char *strategy, const struct mn_log *log)
{
    char dir[CLI_PATH_BYTES];
    return mn_strategy_find(strategy)->uses & MN_USES_COSTS ? cost_file_use(session, cli_cache_dir(dir), NULL, log)
                                                            : MN_OK;
}
