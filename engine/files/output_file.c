#include "engine/files/output_file.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/clock.h"
#include "engine/base/system.h"

enum {
    LINKS_MAX = 40,     /* as the kernel has it */
    NAMES_MAX = 100,    /* tries for a name that is free */
    READER_SECONDS = 5, /* that a pipe is given to find its reader */
    PAUSE_MS = 10
};

/* ---- what stands there ---- */

static enum mn_status cannot(const struct output_file *out, int error, const struct mn_log *log)
{
    return log_fail(log, error == EINTR ? MN_ERR_INTERRUPTED : MN_ERR_FILE, "%s: cannot be written: %s", out->path,
                    strerror(error));
}

/* target becomes what the link there leads to. False: errno. */
static bool follow(char *target)
{
    char link[OUTPUT_PATH_BYTES];
    const int64_t n = disk_read_link(target, link, sizeof link);
    if (n < 0)
        return false;
    const size_t keep = path_is_absolute(link) ? 0 : path_folder_bytes(target);
    if (keep + (size_t)n >= OUTPUT_PATH_BYTES) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(target + keep, link, (size_t)n + 1);
    return true;
}

/* Follows the links of out->path to out->target, which is then what stands there (out->old) or, without is_old, a name
 * that is free. Links of the proc file system stand for open files, not for names: *descriptor, and they stay. False:
 * errno. */
static bool find_target(struct output_file *out, bool *descriptor)
{
    struct disk_info proc, info;
    const bool has_proc = disk_look(&proc, "/proc/self/fd");
    *descriptor = false;
    errno = ENAMETOOLONG;
    if (strlen(out->path) >= sizeof out->target)
        return false;
    strcpy(out->target, out->path);
    out->is_old = disk_look(&out->old, out->path); /* the kernel's own rules for links count, too */
    if (!out->is_old && errno != ENOENT)
        return false;
    for (int i = 0; i < LINKS_MAX; i++) {
        if (!disk_look_here(&info, out->target))
            return errno == ENOENT && i == 0;
        if (info.kind != DISK_LINK)
            return true;
        *descriptor = has_proc && info.device == proc.device;
        if (*descriptor)
            return true;
        if (!out->is_old) /* nothing to follow to */
            return false;
        if (!follow(out->target))
            return false;
    }
    errno = ELOOP;
    return false;
}

static enum mn_status refuse_kind(const struct output_file *out, const struct mn_log *log)
{
    const enum disk_kind kind = out->old.kind;
    const char *what = kind == DISK_FOLDER   ? "a folder"
                       : kind == DISK_SOCKET ? "a socket"
                       : kind == DISK_BLOCKS ? "a disk"
                                             : NULL;
    return what ? log_fail(log, MN_ERR_USAGE, "%s: cannot be written: is %s, not a file", out->path, what) : MN_OK;
}

/* A descriptor of our own is shared, with its place in the file: what the process wrote there before stays. */
static int open_descriptor(const struct output_file *out)
{
    char *end;
    struct disk_info info;
    const char *name = out->target + path_folder_bytes(out->target);
    const long fd = strtol(name, &end, 10);
    if (*name && !*end && fd >= 0 && fd <= INT_MAX && disk_look_open(&info, (int)fd) && disk_is_same(&info, &out->old))
        return disk_duplicate((int)fd);
    return disk_open_write(out->target, true);
}

/* A pipe that nobody reads would be waited for without end; a reader that was started beside us comes soon. */
static int open_pipe(const char *path)
{
    const double begin = clock_s();
    int fd = disk_open_pipe(path);
    while (fd < 0 && errno == ENXIO && clock_s() - begin < READER_SECONDS) {
        if (!system_sleep_ms(PAUSE_MS))
            return -1;
        fd = disk_open_pipe(path);
    }
    return fd;
}

/* ---- opening ---- */

/* So that nothing is computed for a file that cannot be written. */
static bool may_replace(const struct output_file *out)
{
    char folder[OUTPUT_PATH_BYTES] = ".";
    const size_t n = path_folder_bytes(out->target);
    if (n) {
        memcpy(folder, out->target, n);
        folder[n] = '\0';
    }
    errno = ENOENT;
    return out->target[n] && disk_may_make(folder) && (!out->is_old || disk_may_write(out->target));
}

/* The other piece becomes the one to write; the one before stays as it is when there is no memory. */
static bool new_piece(struct output_file *out)
{
    const int other = !out->now;
    FILE *text = memory_open(&out->pieces[other], &out->n_piece[other]);
    if (!text)
        return false;
    out->text = text;
    out->now = other;
    return true;
}

static bool open_append(struct output_file *out)
{
    struct disk_info info;
    out->fd = disk_open_grow(out->target, !out->is_old);
    if (out->fd < 0 || !disk_look_open(&info, out->fd))
        return false;
    out->end = info.n_bytes;
    return true;
}

static enum mn_status open_any(struct output_file *out, const char *path, bool append, const struct mn_log *log)
{
    bool descriptor;
    *out = (struct output_file){.path = path, .fd = -1, .kind = append ? OUTPUT_APPENDS : OUTPUT_REPLACES};
    if (!find_target(out, &descriptor)) {
        struct disk_info link;
        const int error = errno;
        const bool dangling = error == ENOENT && !out->is_old && disk_look_here(&link, path);
        return dangling ? log_fail(log, MN_ERR_FILE, "%s: cannot be written: is a link that leads nowhere", path)
                        : cannot(out, error, log);
    }
    enum mn_status status = out->is_old ? refuse_kind(out, log) : MN_OK;
    if (status)
        return status;
    if (descriptor || (out->is_old && out->old.kind != DISK_PLAIN)) {
        out->kind = OUTPUT_THROUGH;
        out->fd = descriptor                   ? open_descriptor(out)
                  : out->old.kind == DISK_PIPE ? open_pipe(out->target)
                                               : disk_open_write(out->target, false);
        if (out->fd < 0 && errno == ENXIO && out->old.kind == DISK_PIPE)
            return log_fail(log, MN_ERR_FILE, "%s: cannot be written: is a pipe that nobody reads", path);
    }
    const bool good = out->kind == OUTPUT_THROUGH ? out->fd >= 0 : append ? open_append(out) : may_replace(out);
    if (!good)
        return cannot(out, errno, log);
    return new_piece(out) ? MN_OK : log_fail(log, MN_ERR_MEMORY, "%s: out of host memory", path);
}

enum mn_status output_open(struct output_file *out, const char *path, const struct mn_log *log)
{
    enum mn_status status = open_any(out, path, false, log);
    if (status)
        output_discard(out);
    return status;
}

enum mn_status output_append(struct output_file *out, const char *path, const struct mn_log *log)
{
    enum mn_status status = open_any(out, path, true, log);
    if (status)
        output_discard(out);
    return status;
}

/* ---- the file beside ---- */

uint64_t output_draw_name(void)
{
    uint64_t random = 0;
    return system_random(&random, sizeof random)
               ? random
               : (uint64_t)clock_ns() << 32 ^ (uint64_t)time(NULL) << 20 ^ system_process_id();
}

static bool make_beside(struct output_file *out)
{
    const size_t n = path_folder_bytes(out->target);
    for (int i = 0; i < NAMES_MAX && out->fd < 0; i++) {
        const int printed = snprintf(out->beside, sizeof out->beside, "%.*s.muninn-%016" PRIx64 ".part", (int)n,
                                     out->target, output_draw_name());
        errno = ENAMETOOLONG;
        if (printed < (int)sizeof out->beside)
            out->fd = disk_open_new(out->beside, out->is_old ? out->old.rights : 0666);
        if (out->fd < 0 && errno != EEXIST)
            break;
    }
    if (out->fd < 0) {
        out->beside[0] = '\0';
        return false;
    }
    return !out->is_old || disk_take_rights(out->fd, &out->old);
}

/* ---- writing ---- */

static enum mn_status fail(struct output_file *out, const struct mn_log *log)
{
    const int error = errno;
    out->failed = true;
    return log_fail(log, MN_ERR_RUN, "%s: writing failed: %s", out->path, strerror(error));
}

static enum mn_status hand_on(struct output_file *out, const char *bytes, size_t n, const struct mn_log *log)
{
    if (out->failed)
        return MN_ERR_RUN;
    if (out->fd < 0 && !make_beside(out))
        return fail(out, log);
    if (!disk_write(out->fd, bytes, n)) {
        enum mn_status status = fail(out, log);
        if (out->kind == OUTPUT_APPENDS && !disk_cut(out->fd, out->end))
            log_note(log, MN_LOG_WARN, "%s: its last line is cut off", out->path);
        return status;
    }
    out->end += n;
    out->n_bytes += n;
    return MN_OK;
}

enum mn_status output_flush(struct output_file *out, const struct mn_log *log)
{
    const int which = out->now;
    FILE *text = out->text;
    if (out->failed)
        return MN_ERR_RUN;
    bool good = new_piece(out);
    if (good) {
        good = memory_close(text, &out->pieces[which], &out->n_piece[which]);
    }
    enum mn_status status = MN_OK;
    if (!good) {
        out->failed = true;
        status = log_fail(log, MN_ERR_MEMORY, "%s: out of host memory", out->path);
    } else if (out->n_piece[which]) {
        status = hand_on(out, out->pieces[which], out->n_piece[which], log);
    }
    if (out->now != which) {
        free(out->pieces[which]);
        out->pieces[which] = NULL;
    }
    return status;
}

enum mn_status output_write(struct output_file *out, const void *data, size_t n_bytes, const struct mn_log *log)
{
    enum mn_status status = output_flush(out, log);
    return status ? status : hand_on(out, data, n_bytes, log);
}

enum mn_status output_cut(struct output_file *out, uint64_t n_bytes, const struct mn_log *log)
{
    if (!disk_cut(out->fd, n_bytes))
        return log_fail(log, MN_ERR_FILE, "%s: cannot be cut behind its last whole line: %s", out->path,
                        strerror(errno));
    out->end = n_bytes;
    return MN_OK;
}

enum mn_status output_sync(struct output_file *out, const struct mn_log *log)
{
    return out->failed ? MN_ERR_RUN : disk_sync(out->fd) ? MN_OK : fail(out, log);
}

/* ---- the end ---- */

/* Something may have been put there while the run went on. */
static bool rename_over(const struct output_file *out)
{
    struct disk_info now;
    if (disk_look_here(&now, out->target) && now.kind != DISK_PLAIN) {
        errno = EEXIST;
        return false;
    }
    return disk_rename(out->beside, out->target);
}

enum mn_status output_commit(struct output_file *out, const struct mn_log *log)
{
    enum mn_status status = output_flush(out, log);
    if (!status)
        status = hand_on(out, "", 0, log); /* a file of no bytes is one, too */
    if (!status && out->kind != OUTPUT_THROUGH)
        status = output_sync(out, log);
    if (!status) {
        const int fd = out->fd;
        out->fd = -1;
        if (!disk_close(fd) || (out->kind == OUTPUT_REPLACES && !rename_over(out)))
            status = fail(out, log);
        else
            out->beside[0] = '\0';
    }
    output_discard(out);
    return status;
}

void output_discard(struct output_file *out)
{
    if (out->kind == OUTPUT_CLOSED)
        return;
    if (out->text)
        memory_close(out->text, &out->pieces[out->now], &out->n_piece[out->now]);
    free(out->pieces[0]);
    free(out->pieces[1]);
    if (out->fd >= 0)
        disk_close(out->fd);
    if (out->beside[0])
        disk_remove(out->beside);
    *out = (struct output_file){0};
}
