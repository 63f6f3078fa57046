#include "cli/common/engine.h"

#include "bench/sweep/cpu_device.h"

enum mn_status cli_open_engine(struct mn_engine **engine, char *dir, const struct engine_choice *choice,
                               const struct mn_log *log)
{
    *engine = NULL;
    enum mn_status status = cli_model_dir(choice->model, dir, log);
    if (status)
        return status;
    cpu_device_prepare(choice->cpu_threads, dir);
    return mn_engine_create(engine, &(struct mn_engine_params){.model_dir = dir,
                                                               .device = choice->device,
                                                               .weight_type = choice->weight_type,
                                                               .validate = choice->validate,
                                                               .log = log});
}
