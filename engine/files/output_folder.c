#include "engine/files/output_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { NAMES_MAX = 100 /* tries for a name that is free */ };

/* ---- its place ---- */

/* The folder that a path lies in, in `parent` [OUTPUT_PATH_BYTES]. */
static void parent_of(const char *path, char *parent)
{
    const char *slash = strrchr(path, '/');
    const size_t n = slash ? (size_t)(slash - path) + (slash == path) : 1;
    memcpy(parent, slash ? path : ".", n);
    parent[n] = '\0';
}

static bool is_empty_folder(const char *path)
{
    DIR *dir = opendir(path);
    bool empty = dir != NULL;
    for (const struct dirent *entry = dir ? readdir(dir) : NULL; entry && empty; entry = readdir(dir))
        empty = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
    if (dir)
        closedir(dir);
    return empty;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Is the path `input`, or somewhere in it? By the folders themselves, from the path's own up to the one that is its own
 * parent. */
static bool is_inside(const char *path, const struct stat *input)
{
    char parent[2 * OUTPUT_PATH_BYTES];
    struct stat info, before = {0};
    if (stat(path, &info) == 0 && is_same(&info, input))
        return true;
    parent_of(path, parent);
    bool top = false, inside = false;
    for (size_t n = strlen(parent); !top && !inside && n + 4 < sizeof parent && stat(parent, &info) == 0; n += 3) {
        inside = is_same(&info, input);
        top = is_same(&info, &before);
        before = info;
        memcpy(parent + n, "/..", 4);
    }
    return inside;
}

static enum mn_status check_place(const char *target, const char *input, const struct mn_log *log)
{
    struct stat info;
    if (stat(input, &info) == 0 && is_inside(target, &info))
        return log_fail(log, MN_ERR_USAGE, "%s: cannot be written: is %s, the input, or inside it", target, input);
    if (lstat(target, &info) == 0 && !(S_ISDIR(info.st_mode) && is_empty_folder(target)))
        return log_fail(log, MN_ERR_USAGE, "%s: cannot be written: is there already", target);
    return MN_OK;
}

static enum mn_status make_beside(struct output_folder *out, const struct mn_log *log)
{
    for (int i = 0; i < NAMES_MAX; i++) {
        const int n = snprintf(out->beside, sizeof out->beside, "%s.partial-%08" PRIx32, out->target,
                               (uint32_t)output_draw_name());
        if (n < (int)sizeof out->beside && mkdir(out->beside, 0777) == 0)
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
    size_t n = strlen(path);
    *out = (struct output_folder){0};
    while (n > 1 && path[n - 1] == '/')
        n--;
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

/* False: errno. File systems that cannot do it for folders have nothing to be waited for. */
static bool sync_folder(const char *path)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    const bool good = fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP;
    const int error = errno;
    close(fd);
    errno = error;
    return good;
}

enum mn_status output_folder_commit(struct output_folder *out, const struct mn_log *log)
{
    char parent[OUTPUT_PATH_BYTES];
    parent_of(out->target, parent);
    /* What has come there in the meantime stays: only an empty folder gives way. */
    if (!sync_folder(out->beside) || rename(out->beside, out->target) != 0) {
        enum mn_status status = log_fail(log, MN_ERR_RUN, "%s: writing failed: %s", out->target, strerror(errno));
        output_folder_discard(out);
        return status;
    }
    if (!sync_folder(parent))
        log_note(log, MN_LOG_WARN, "%s: may not be on the disk yet: %s", out->target, strerror(errno));
    *out = (struct output_folder){0};
    return MN_OK;
}

void output_folder_discard(struct output_folder *out)
{
    char path[OUTPUT_PATH_BYTES];
    DIR *dir = out->beside[0] ? opendir(out->beside) : NULL;
    for (const struct dirent *entry = dir ? readdir(dir) : NULL; entry; entry = readdir(dir))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            snprintf(path, sizeof path, "%s/%s", out->beside, entry->d_name) < (int)sizeof path)
            unlink(path);
    if (dir)
        closedir(dir);
    if (out->beside[0])
        rmdir(out->beside);
    *out = (struct output_folder){0};
}
