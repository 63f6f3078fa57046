/* Folders that the user did not name. Reads the environment: MUNINN_MODEL, XDG_CACHE_HOME, HOME.
 * Thread-safety: none; one thread. */
#ifndef MUNINN_CLI_COMMON_PATHS_H
#define MUNINN_CLI_COMMON_PATHS_H

#include "engine/base/status.h"

enum { CLI_PATH_BYTES = 4096 };

/* The model folder to use: `option` if given, else the default model; the path is stored in `path` [CLI_PATH_BYTES].
 * MN_ERR_FILE when there is none. */
enum mn_status cli_model_dir(const char *option, char *path, const struct mn_log *log);

/* The folder for what may be measured again: muninn in $XDG_CACHE_HOME, else in ~/.cache; made when it is not there.
 * `path` [CLI_PATH_BYTES], or NULL when there is no such folder and none can be made. */
const char *cli_cache_dir(char *path);

#endif
