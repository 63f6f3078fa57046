/* Opening the model that a subcommand was asked for. Sets up the process's environment for a CPU device (see
 * bench/sweep/cpu_device.h). Thread-safety: none; one thread. */
#ifndef MUNINN_CLI_COMMON_ENGINE_H
#define MUNINN_CLI_COMMON_ENGINE_H

#include <stdbool.h>

#include "api/muninn.h"
#include "cli/common/paths.h"

/* As the options say it; NULL is the default. */
struct engine_choice {
    const char *model, *device, *weight_type, *cpu_threads, *matrix_units;
    bool validate;
    struct mn_progress progress; /* no report: cli_progress */
};

/* mn_session_create, which takes its time for pipelines; --verbose says how long. */
enum mn_status cli_open_session(struct mn_session **session, struct mn_engine *engine,
                                const struct mn_session_params *params);
/* Finds the model's folder, prepares the process for a CPU device, creates the engine. `dir` [CLI_PATH_BYTES] gets the
 * model's folder. *engine is NULL on failure. */
enum mn_status cli_open_engine(struct mn_engine **engine, char *dir, const struct engine_choice *choice,
                               const struct mn_log *log);
/* Where nobody says how many: as many positions as the model knows, or three quarters of what there is room for, in
 * params->n_ctx. */
enum mn_status cli_fit_context(struct mn_session_params *params, struct mn_engine *engine);
/* Costs of passes, from the user's caches, for a strategy that decides by them. */
enum mn_status cli_use_costs(struct mn_session *session, const char *strategy, const struct mn_log *log);

#endif
