#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "json.h"

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

enum mn_status cli_read_file(const char *path, char **bytes, size_t *n_bytes, const struct mn_log *log)
{
    bool standard = !strcmp(path, "-");
    const char *name = standard ? "standard input" : path;
    FILE *file = standard ? stdin : fopen(path, "rb");
    if (!file)
        return log_fail(log, MN_ERR_FILE, "%s: cannot be opened: %s", name, strerror(errno));
    enum mn_status status = MN_OK;
    size_t n = 0, capacity = 1 << 16;
    char *buffer = malloc(capacity);
    while (buffer && !feof(file) && !ferror(file) && n <= CLI_FILE_BYTES_MAX) {
        n += fread(buffer + n, 1, capacity - 1 - n, file);
        if (n + 1 == capacity) {
            char *larger = realloc(buffer, capacity *= 2);
            if (!larger)
                free(buffer);
            buffer = larger;
        }
    }
    if (!buffer)
        status = log_fail(log, MN_ERR_MEMORY, "%s: out of host memory for %zu bytes", name, capacity);
    else if (ferror(file))
        status = log_fail(log, MN_ERR_FILE, "%s: cannot be read: %s", name, strerror(errno));
    else if (n > CLI_FILE_BYTES_MAX)
        status = log_fail(log, MN_ERR_FILE, "%s: more than %d bytes", name, CLI_FILE_BYTES_MAX);
    if (!standard)
        fclose(file);
    if (status) {
        free(buffer);
        return status;
    }
    buffer[n] = '\0';
    *bytes = buffer;
    *n_bytes = n;
    return MN_OK;
}

void cli_write_with_line(void *user, enum mn_log_level level, const char *text)
{
    const struct line_log *at = user;
    log_note(at->next, level, "%s: line %zu: %s", at->source, at->line, text);
}

bool cli_is_blank(const char *line, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        if (!strchr(" \t\r\n", line[i]) || line[i] == '\0')
            return false;
    return true;
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
