#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/common/cli.h"
#include "engine/files/json.h"

#ifndef MUNINN_INSTALL_MODEL_DIR
#define MUNINN_INSTALL_MODEL_DIR ""
#endif
#ifndef MUNINN_SOURCE_MODEL_DIR
#define MUNINN_SOURCE_MODEL_DIR ""
#endif

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

static bool has_config(const char *dir)
{
    char path[CLI_PATH_BYTES + 16];
    return *dir && snprintf(path, sizeof path, "%s/config.json", dir) < (int)sizeof path && access(path, F_OK) == 0;
}

enum mn_status cli_model_dir(const char *option, char *path, const struct mn_log *log)
{
    const char *environment = getenv("MUNINN_MODEL");
    const char *given = option ? option : environment && *environment ? environment : NULL;
    if (given && *given == '\0')
        return log_fail(log, MN_ERR_USAGE, "--model: must not be empty");
    if (given && snprintf(path, CLI_PATH_BYTES, "%s", given) >= CLI_PATH_BYTES)
        return log_fail(log, MN_ERR_FILE, "model path of more than %d bytes", CLI_PATH_BYTES - 1);
    if (given)
        return MN_OK;
    if (beside_executable(path) && has_config(path))
        return MN_OK;
    static const char *const built_in[] = {MUNINN_INSTALL_MODEL_DIR, MUNINN_SOURCE_MODEL_DIR};
    for (size_t i = 0; i < sizeof built_in / sizeof *built_in; i++)
        if (has_config(built_in[i]) && snprintf(path, CLI_PATH_BYTES, "%s", built_in[i]) < CLI_PATH_BYTES)
            return MN_OK;
    return log_fail(
        log, MN_ERR_FILE,
        "the default model is not installed (looked in %s): give a model folder with -m DIR or MUNINN_MODEL",
        *built_in[0] ? built_in[0] : "../share/muninn/models/raven-deep");
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

enum mn_status cli_flush(const struct mn_log *log)
{
    /* A failure stays on the stream after it is reported here: report it once. */
    bool failed = ferror(stdout) != 0;
    errno = 0;
    if (fflush(stdout) == 0 && !failed)
        return MN_OK;
    return log_fail(log, MN_ERR_RUN, "cannot write to standard output%s%s", errno ? ": " : "",
                    errno ? strerror(errno) : "");
}

enum mn_status cli_check_ids(const uint32_t *ids, size_t n_ids, uint32_t vocab_size, const struct mn_log *log)
{
    for (size_t i = 0; i < n_ids; i++)
        if (ids[i] >= vocab_size)
            return log_fail(log, MN_ERR_USAGE,
                            "--ids: token id %" PRIu32 " at place %zu: the vocabulary has ids 0 to %" PRIu32, ids[i],
                            i + 1, vocab_size - 1);
    return MN_OK;
}

void cli_json_key(const char *key, bool first)
{
    printf("%s\"%s\":", first ? "" : ",", key);
}

void cli_json_string(const char *key, const char *text, bool first)
{
    cli_json_key(key, first);
    json_write_string(stdout, text, strlen(text));
}

void cli_json_u64(const char *key, uint64_t value, bool first)
{
    cli_json_key(key, first);
    printf("%" PRIu64, value);
}

void cli_json_double(const char *key, double value, bool first)
{
    cli_json_key(key, first);
    printf("%.9g", isfinite(value) ? value : 0.0);
}

void cli_json_bool(const char *key, bool value, bool first)
{
    cli_json_key(key, first);
    fputs(value ? "true" : "false", stdout);
}

void cli_json_ids(const char *key, const uint32_t *ids, size_t n_ids, bool first)
{
    cli_json_key(key, first);
    putchar('[');
    for (size_t i = 0; i < n_ids; i++)
        printf("%s%" PRIu32, i ? "," : "", ids[i]);
    putchar(']');
}
