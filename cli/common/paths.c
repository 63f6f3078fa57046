#include "cli/common/paths.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/common/talk.h"
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
    ssize_t n = readlink("/proc/self/exe", path, CLI_PATH_BYTES - sizeof tail);
    if (n <= 0)
        return false;
    path[n] = '\0';
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

/* cli_model_dir, which says *how the folder was found. */
static enum mn_status find_model(const char *option, char *path, const char **how, const struct mn_log *log)
{
    const char *environment = getenv("MUNINN_MODEL");
    const char *given = option ? option : environment && *environment ? environment : NULL;
    *how = option ? "--model" : "MUNINN_MODEL";
    if (given && *given == '\0')
        return log_fail(log, MN_ERR_USAGE, "--model: must not be empty");
    if (given && snprintf(path, CLI_PATH_BYTES, "%s", given) >= CLI_PATH_BYTES)
        return log_fail(log, MN_ERR_FILE, "model path of more than %d bytes", CLI_PATH_BYTES - 1);
    if (given)
        return MN_OK;
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
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (base && *base == '/') /* the specification ignores relative ones */
        n = snprintf(path, CLI_PATH_BYTES, "%s/muninn", base);
    else if (home && *home == '/')
        n = snprintf(path, CLI_PATH_BYTES, "%s/.cache/muninn", home);
    if (n < 0 || n >= CLI_PATH_BYTES)
        return NULL;
    char *slash = strrchr(path, '/');
    *slash = '\0';
    mkdir(path, 0700);
    *slash = '/';
    mkdir(path, 0700);
    return access(path, W_OK | X_OK) == 0 ? path : NULL;
}
