#include "engine/files/output_folder.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { NAMES_MAX = 100 /* tries for a name that is free */ };

/* ---- its place ---- */

/* The folder that a path lies in, in `parent` [OUTPUT_PATH_BYTES]. */
static void parent_of(const char *path, char *parent)
{
    const size_t n = path_folder_bytes(path);
    memcpy(parent, n ? path : ".", n ? n : 1);
    parent[n ? n : 1] = '\0';
    parent[path_bytes(parent)] = '\0';
}

static bool is_empty_folder(const char *path)
{
    struct folder *folder = folder_open(path);
    const bool empty = folder && !folder_next(folder);
    folder_close(folder);
    return empty;
}

/* Is the path `input`, or somewhere in it? By the folders themselves, from the path's own up to the one that is its own
 * parent. */
static bool is_inside(const char *path, const struct disk_info *input)
{
    char parent[2 * OUTPUT_PATH_BYTES];
    struct disk_info info, before = {0};
    if (disk_look(&info, path) && disk_is_same(&info, input))
        return true;
    parent_of(path, parent);
    bool top = false, inside = false;
    for (size_t n = strlen(parent); !top && !inside && n + 4 < sizeof parent && disk_look(&info, parent); n += 3) {
        inside = disk_is_same(&info, input);
        top = disk_is_same(&info, &before);
        before = info;
        memcpy(parent + n, "/..", 4);
    }
    return inside;
}

static enum mn_status check_place(const char *target, const char *input, const struct mn_log *log)
{
    struct disk_info info;
    if (disk_look(&info, input) && is_inside(target, &info))
        return log_fail(log, MN_ERR_USAGE, "%s: cannot be written: is %s, the input, or inside it", target, input);
    if (disk_look_here(&info, target) && !(info.kind == DISK_FOLDER && is_empty_folder(target)))
        return log_fail(log, MN_ERR_USAGE, "%s: cannot be written: is there already", target);
    return MN_OK;
}

static enum mn_status make_beside(struct output_folder *out, const struct mn_log *log)
{
    for (int i = 0; i < NAMES_MAX; i++) {
        const int n = snprintf(out->beside, sizeof out->beside, "%s.partial-%08" PRIx32, out->target,
                               (uint32_t)output_draw_name());
        if (n < (int)sizeof out->beside && folder_make(out->beside, 0777))
            return MN_OK;
        const int error = n < (int)sizeof out->beside ? errno : ENAMETOOLONG;
        out->beside[0] = '\0';
        if (error != EEXIST)
            return log_fail(log, MN_ERR_FILE, "%s: cannot be written: %s", out->target, strerror(error));
    }
    return log_fail(log, MN_ERR_FILE, "%s: cannot be written: %s", out->target, strerror(EEXIST));
}

enum mn_status output_folder_open(struct output_folder *out, const char *path, const char *input,
                                  const struct mn_log *log)
{
    const size_t n = path_bytes(path);
    *out = (struct output_folder){0};
    if (n == 0 || n >= sizeof out->target)
        return log_fail(log, MN_ERR_USAGE, "%.40s: cannot be written: the path %s", path,
                        n ? "is too long" : "is empty");
    memcpy(out->target, path, n);
    enum mn_status status = check_place(out->target, input, log);
    return status ? status : make_beside(out, log);
}

enum mn_status output_folder_path(const struct output_folder *out, const char *name, char *path,
                                  const struct mn_log *log)
{
    return snprintf(path, OUTPUT_PATH_BYTES, "%s/%s", out->beside, name) < OUTPUT_PATH_BYTES
               ? MN_OK
               : log_fail(log, MN_ERR_FILE, "%s/%s: the path is too long", out->target, name);
}

/* ---- the end ---- */

enum mn_status output_folder_commit(struct output_folder *out, const struct mn_log *log)
{
    char parent[OUTPUT_PATH_BYTES];
    parent_of(out->target, parent);
    /* What has come there in the meantime stays: only an empty folder gives way. */
    if (!folder_sync(out->beside) || !disk_rename(out->beside, out->target)) {
        enum mn_status status = log_fail(log, MN_ERR_RUN, "%s: writing failed: %s", out->target, strerror(errno));
        output_folder_discard(out);
        return status;
    }
    if (!folder_sync(parent))
        log_note(log, MN_LOG_WARN, "%s: may not be on the disk yet: %s", out->target, strerror(errno));
    *out = (struct output_folder){0};
    return MN_OK;
}

void output_folder_discard(struct output_folder *out)
{
    char path[OUTPUT_PATH_BYTES];
    const char *name;
    struct folder *folder = out->beside[0] ? folder_open(out->beside) : NULL;
    while (folder && (name = folder_next(folder)) != NULL)
        if (snprintf(path, sizeof path, "%s/%s", out->beside, name) < (int)sizeof path)
            disk_remove(path);
    folder_close(folder);
    if (out->beside[0])
        folder_remove(out->beside);
    *out = (struct output_folder){0};
}
