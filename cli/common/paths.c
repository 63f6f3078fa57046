#include "cli/common/paths.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common/process.h"
#include "cli/common/talk.h"
#include "engine/base/system.h"
#include "engine/files/disk.h"
#include "engine/files/input.h"

#ifndef MUNINN_INSTALL_MODEL_DIR
#define MUNINN_INSTALL_MODEL_DIR ""
#endif
#ifndef MUNINN_SOURCE_MODEL_DIR
#define MUNINN_SOURCE_MODEL_DIR ""
#endif

enum { CLI_USES_MAX = 8 };

/* <folder of the executable>/../share/muninn/models/raven-deep: an installation that was moved still finds its
 * model. */
static bool beside_executable(char *path)
{
    static const char tail[] = "/../share/muninn/models/raven-deep";
    if (!process_executable(path, CLI_PATH_BYTES - sizeof tail))
        return false;
    char *slash = strrchr(path, '/');
    if (!slash)
        return false;
    memcpy(slash, tail, sizeof tail);
    return true;
}

/* A broken one counts: what is wrong with the model that should be there is better said than another one taken. */
static bool has_config(const char *dir)
{
    char path[CLI_PATH_BYTES + 16];
    return *dir && snprintf(path, sizeof path, "%s/config.json", dir) < (int)sizeof path && input_exists(path);
}

bool cli_is_model_dir(const char *dir)
{
    return has_config(dir);
}

/* `path` has the form owner/name of the Hugging Face hub, and does not begin with a folder that is there. */
static bool looks_like_hub_name(const char *path)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    char owner[CLI_PATH_BYTES];
    struct disk_info there;
    const size_t n_owner = strspn(path, letters),
                 n_name = path[n_owner] == '/' ? strspn(path + n_owner + 1, letters) : 0;
    if (n_owner == 0 || n_name == 0 || path[n_owner + 1 + n_name] != '\0' || *path == '.')
        return false;
    memcpy(owner, path, n_owner);
    owner[n_owner] = '\0';
    return !disk_look(&there, owner);
}

/* What is given in place of a folder by those who have one, or could have one. Everything else is for those to judge
 * who read the files. */
static enum mn_status check_given(const char *path, const struct mn_log *log)
{
    static const char *const in_a_folder[] = {"config.json", "tokenizer.json", "model.safetensors.index.json"};
    const size_t n = strlen(path), n_dir = path_folder_bytes(path);
    const char *name = path + n_dir;
    struct disk_info there;
    if (!disk_look(&there, path))
        return errno == ENOENT && looks_like_hub_name(path)
                   ? log_fail(log, MN_ERR_FILE,
                              "%s: there is no such folder; if it is a name of the Hugging Face hub: `hf download %s "
                              "--local-dir %s`, then -m %s (docs/models.md)",
                              path, path, name, name)
                   : MN_OK;
    bool known = n > 12 && !strcmp(path + n - 12, ".safetensors");
    for (size_t i = 0; i < sizeof in_a_folder / sizeof *in_a_folder; i++)
        known |= !strcmp(name, in_a_folder[i]);
    if (!known || there.kind == DISK_FOLDER)
        return MN_OK;
    return log_fail(log, MN_ERR_FILE, "%s: a model is a folder; give the one that this file is in: -m %.*s", path,
                    n_dir > 1 ? (int)n_dir - 1 : 1, n_dir ? path : ".");
}

/* cli_model_dir, which says *how the folder was found. */
static enum mn_status find_model(const char *option, char *path, const char **how, const struct mn_log *log)
{
    const char *environment = system_variable("MUNINN_MODEL");
    const char *given = option ? option : environment && *environment ? environment : NULL;
    *how = option ? "--model" : "MUNINN_MODEL";
    if (given && *given == '\0')
        return log_fail(log, MN_ERR_USAGE, "--model: must not be empty");
    if (given && snprintf(path, CLI_PATH_BYTES, "%s", given) >= CLI_PATH_BYTES)
        return log_fail(log, MN_ERR_FILE, "model path of more than %d bytes", CLI_PATH_BYTES - 1);
    if (given)
        return check_given(path, log);
    *how = "the default, beside the program";
    if (beside_executable(path) && has_config(path))
        return MN_OK;
    static const char *const built_in[] = {MUNINN_INSTALL_MODEL_DIR, MUNINN_SOURCE_MODEL_DIR};
    *how = "the default, where it was installed or built";
    for (size_t i = 0; i < sizeof built_in / sizeof *built_in; i++)
        if (has_config(built_in[i]) && snprintf(path, CLI_PATH_BYTES, "%s", built_in[i]) < CLI_PATH_BYTES)
            return MN_OK;
    return log_fail(
        log, MN_ERR_FILE,
        "the default model is not installed (looked in %s): give a model folder with -m DIR or MUNINN_MODEL",
        *built_in[0] ? built_in[0] : "../share/muninn/models/raven-deep");
}

enum mn_status cli_model_dir(const char *option, char *path, const struct mn_log *log)
{
    const char *how;
    enum mn_status status = find_model(option, path, &how, log);
    if (!status)
        cli_detail("model %s (%s)", path, how);
    return status;
}

bool cli_model_is_default(const char *option)
{
    const char *environment = system_variable("MUNINN_MODEL");
    return !option && !(environment && *environment);
}

void cli_note_default_model(const char *option, const struct mn_log *log)
{
    if (cli_model_is_default(option))
        log_note(
            log, MN_LOG_INFO,
            "raven-deep, the model that comes with muninn: it sorts, adds and follows maps in the words that it was "
            "trained on, and knows nothing else; -m DIR takes another (docs/models.md)");
}

enum mn_status cli_check_outputs(const char *option, const struct output_use *uses, size_t n, const struct mn_log *log)
{
    struct output_use all[CLI_USES_MAX + 1];
    char dir[CLI_PATH_BYTES];
    const char *how;
    assert(n <= CLI_USES_MAX);
    enum mn_status status = find_model(option, dir, &how, log);
    memcpy(all, uses, n * sizeof *uses);
    all[n] = (struct output_use){"--model", dir, false};
    return status ? status : output_check(all, n + 1, log);
}

const char *cli_cache_dir(char *path)
{
    static const char own[] = "/muninn";
    const char *base = system_variable("XDG_CACHE_HOME");
    const size_t most = CLI_PATH_BYTES - sizeof own;
    if (base && path_is_absolute(base) ? strlen(base) > most : !process_cache_home(path, most + 1))
        return NULL;
    if (base && path_is_absolute(base)) /* the specification ignores relative ones */
        strcpy(path, base);
    folder_make(path, 0700);
    strcat(path, own);
    folder_make(path, 0700);
    return disk_may_make(path) ? path : NULL;
}
