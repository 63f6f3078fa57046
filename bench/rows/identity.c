#include "bench/rows/identity.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rows/rows.h"
#include "commit.h"
#include "engine/files/disk.h"

/* ---- names ---- */

/* Takes the last part off an absolute path: the part, or "" when there is none left. */
static const char *take_last(char *path)
{
    char *slash = strrchr(path, '/');
    if (!slash)
        return "";
    *slash = '\0';
    return slash + 1;
}

/* NAME of models--ORG--NAME, or NULL. */
static const char *hub_name(const char *folder)
{
    static const char prefix[] = "models--";
    if (strncmp(folder, prefix, sizeof prefix - 1) != 0)
        return NULL;
    const char *name = folder + sizeof prefix - 1;
    for (const char *dashes; (dashes = strstr(name, "--")) != NULL;)
        name = dashes + 2;
    return *name ? name : NULL;
}

enum mn_status identity_model_name(char *name, const char *dir, const struct mn_log *log)
{
    char *path = path_real(dir);
    if (!path)
        return log_fail(log, errno == ENOMEM ? MN_ERR_MEMORY : MN_ERR_FILE, "%s: %s", dir, strerror(errno));
    const char *last = take_last(path);
    snprintf(name, IDENTITY_NAME_BYTES, "%s", *last ? last : "/");
    const char *hub = strcmp(take_last(path), "snapshots") == 0 ? hub_name(take_last(path)) : NULL;
    if (hub)
        snprintf(name, IDENTITY_NAME_BYTES, "%s", hub);
    free(path);
    return MN_OK;
}

/* A shape's own words; of the path of a config.json its folder's name. */
static enum mn_status synthetic_name(char *name, const char *synthetic, const struct mn_log *log)
{
    static const char file[] = "config.json";
    const size_t n = strlen(synthetic), n_file = sizeof file - 1;
    if (strcmp(path_name(synthetic), file) != 0) {
        snprintf(name, IDENTITY_NAME_BYTES, "%s", synthetic);
        return MN_OK;
    }
    char *dir = malloc(n + 2);
    if (!dir)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a path");
    snprintf(dir, n + 2, "%.*s.", (int)(n - n_file), synthetic);
    enum mn_status status = identity_model_name(name, dir, log);
    const size_t at = strlen(name);
    if (!status)
        snprintf(name + at, IDENTITY_NAME_BYTES - at, "/%s", file);
    free(dir);
    return status;
}

/* ---- the list ---- */

const char *identity_matrix_units(const struct mn_model_info *info)
{
    static const char *const names[] = {"", "few rows", "prompts", "all"};
    return names[info->matrix_units & (MN_MATRIX_FEW | MN_MATRIX_PROMPTS)];
}

enum mn_status identity_init(struct identity *identity, const struct mn_model_info *info, const char *dir,
                             const char *synthetic, const char *cpu_threads, const struct mn_log *log)
{
    *identity = (struct identity){0};
    enum mn_status status = dir         ? identity_model_name(identity->model, dir, log)
                            : synthetic ? synthetic_name(identity->model, synthetic, log)
                                        : MN_OK;
    if (dir || synthetic)
        hash_write(info->model_hash, identity->model_hash);
    snprintf(identity->driver_version, sizeof identity->driver_version, "%08" PRIx32, info->driver_version);
    /* A GPU does not look at the threads that a CPU device would be given. */
    const char *threads = cpu_threads && !strcmp(info->device_type, "cpu") ? cpu_threads : "";
    const struct identity_text texts[IDENTITY_TEXTS] = {{"version", MN_VERSION, true},
                                                        {"commit", MUNINN_COMMIT, true},
                                                        {"build", MUNINN_BUILD, true},
                                                        {"device", info->device_name, true},
                                                        {"device_id", info->device_id, true},
                                                        {"driver", info->driver, true},
                                                        {"driver_version", identity->driver_version, true},
                                                        {"cpu_threads", threads, true},
                                                        {"model", identity->model, false},
                                                        {"model_hash", identity->model_hash, true},
                                                        {"weight_type", info->weight_type, true},
                                                        {"matrix_units", identity_matrix_units(info), true}};
    memcpy(identity->texts, texts, sizeof texts);
    return status;
}

void identity_write_key(const struct identity *identity, FILE *out)
{
    for (int i = 0; i < IDENTITY_TEXTS; i++)
        if (identity->texts[i].in_key)
            fprintf(out, "%s|", identity->texts[i].value);
}

uint64_t identity_hash(const struct identity *identity)
{
    uint64_t hash = HASH_START;
    for (int i = 0; i < IDENTITY_TEXTS; i++)
        if (identity->texts[i].in_key)
            hash = hash_bytes(hash, identity->texts[i].value, strlen(identity->texts[i].value) + 1);
    return hash;
}
