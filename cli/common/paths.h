/* Folders that the user did not name. Reads the environment: MUNINN_MODEL, XDG_CACHE_HOME, HOME.
 * Thread-safety: none; one thread. */
#ifndef MUNINN_CLI_COMMON_PATHS_H
#define MUNINN_CLI_COMMON_PATHS_H

#include <stdbool.h>

#include "engine/base/status.h"
#include "engine/files/output_file.h"

enum { CLI_PATH_BYTES = 4096 };

/* The model folder to use: `option` if given, else the default model; the path is stored in `path` [CLI_PATH_BYTES].
 * MN_ERR_FILE when there is none, or when a file or a name of the Hugging Face hub was given in place of a folder. */
enum mn_status cli_model_dir(const char *option, char *path, const struct mn_log *log);
/* Is there a model's configuration in the folder, readable or not? */
bool cli_is_model_dir(const char *dir);
/* Has nobody named a model? */
bool cli_model_is_default(const char *option);
/* Then: what that model is good for, as advice. */
void cli_note_default_model(const char *option, const struct mn_log *log);

/* Refuses outputs that are inputs of the run, other outputs or files of the model that `option` names (output_check).
 * Before anything is read, loaded or written. */
enum mn_status cli_check_outputs(const char *option, const struct output_use *uses, size_t n, const struct mn_log *log);

/* The folder for what may be measured again: muninn in $XDG_CACHE_HOME, else in ~/.cache; made when it is not there.
 * `path` [CLI_PATH_BYTES], or NULL when there is no such folder and none can be made. */
const char *cli_cache_dir(char *path);

#endif
