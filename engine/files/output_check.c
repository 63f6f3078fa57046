/* An output that is one of the run's inputs, or another output. */
#include <errno.h>
#include <string.h>

#include "engine/files/output_file.h"

/* What a path stands for: a file, or a name in a folder where there is none yet. */
struct identity {
    bool known, exists;
    struct disk_info file; /* exists: the file's; else its folder's */
    const char *name;      /* the path's last part */
};

static struct identity identify(const char *path)
{
    struct identity id = {0};
    const size_t n_folder = path_folder_bytes(path);
    char folder[OUTPUT_PATH_BYTES] = ".";
    id.name = path + n_folder;
    id.exists = disk_look(&id.file, path);
    if (id.exists) {
        id.known = true;
        return id;
    }
    if (n_folder && n_folder < sizeof folder) {
        memcpy(folder, path, n_folder);
        folder[n_folder] = '\0';
    }
    id.known = errno == ENOENT && disk_look(&id.file, folder);
    return id;
}

/* Terminals, /dev/null and the like may well be read and written. */
static bool holds_something(const struct identity *id)
{
    return !id->exists || id->file.kind == DISK_PLAIN || id->file.kind == DISK_PIPE;
}

static bool is_same(const struct identity *a, const struct identity *b)
{
    return a->known && b->known && a->exists == b->exists && holds_something(a) && holds_something(b) &&
           disk_is_same(&a->file, &b->file) && (a->exists || !strcmp(a->name, b->name));
}

/* What a model is read from; anything else may lie in its folder, too. */
static bool is_model_file(const char *name)
{
    static const char *const ends[] = {".json", ".safetensors", ".jinja"};
    const size_t n = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (n >= strlen(ends[i]) && !strcmp(name + n - strlen(ends[i]), ends[i]))
            return true;
    return false;
}

static enum mn_status refuse(const struct output_use *use, const char *input, const struct mn_log *log)
{
    return log_fail(log, MN_ERR_USAGE, "%s %s: is the input %s", use->name, use->path, input);
}

/* `folder` cannot be opened: whoever reads it says why. */
static enum mn_status check_folder(const struct output_use *use, const struct identity *id, const char *folder,
                                   const struct mn_log *log)
{
    enum mn_status status = MN_OK;
    const char *name;
    struct folder *dir = folder_open(folder);
    if (!dir)
        return MN_OK;
    while (!status && (name = folder_next(dir)) != NULL) {
        char path[OUTPUT_PATH_BYTES + 257];
        if (!is_model_file(name) || snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
            continue;
        const struct identity file = identify(path);
        if (is_same(id, &file))
            status = refuse(use, path, log);
    }
    folder_close(dir);
    return status;
}

static enum mn_status check_pair(const struct output_use *use, const struct identity *id,
                                 const struct output_use *other, const struct mn_log *log)
{
    struct identity it = {0};
    if (!other->written && !strcmp(other->path, "-"))
        it.known = it.exists = disk_look_open(&it.file, 0);
    else
        it = identify(other->path);
    if (!other->written && it.exists && it.file.kind == DISK_FOLDER)
        return check_folder(use, id, other->path, log);
    if (!is_same(id, &it))
        return MN_OK;
    if (!other->written)
        return refuse(use, strcmp(other->path, "-") ? other->path : "on standard input", log);
    return log_fail(log, MN_ERR_USAGE, "%s %s: is the file of %s, too", use->name, use->path, other->name);
}

enum mn_status output_check(const struct output_use *uses, size_t n, const struct mn_log *log)
{
    enum mn_status status = MN_OK;
    for (size_t i = 0; i < n && !status; i++) {
        if (!uses[i].path || !uses[i].written)
            continue;
        const struct identity id = identify(uses[i].path);
        for (size_t k = 0; k < n && !status; k++)
            if (k != i && uses[k].path)
                status = check_pair(&uses[i], &id, &uses[k], log);
    }
    return status;
}
