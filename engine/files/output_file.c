#include "engine/files/output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"

enum {
    LINKS_MAX = 40,      /* as the kernel has it */
    NAMES_MAX = 100,     /* tries for a name that is free */
    WRITE_MAX = 1 << 30, /* some systems take no more at once */
    READER_SECONDS = 5,  /* that a pipe is given to find its reader */
    RIGHTS = 0777        /* what is kept of an old file's mode: no set-user-id for new content */
};

/* ---- what stands there ---- */

static enum mn_status cannot(const struct output_file *out, int error, const struct mn_log *log)
{
    return log_fail(log, error == EINTR ? MN_ERR_INTERRUPTED : MN_ERR_FILE, "%s: cannot be written: %s", out->path,
                    strerror(error));
}

/* Length of the folder's part of a path, with the slash; 0 for a bare name. */
static size_t folder_bytes(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

/* target becomes what the link there leads to. False: errno. */
static bool follow(char *target)
{
    char link[OUTPUT_PATH_BYTES];
    const ssize_t n = readlink(target, link, sizeof link - 1);
    if (n < 0)
        return false;
    link[n] = '\0';
    const size_t keep = link[0] == '/' ? 0 : folder_bytes(target);
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
    struct stat proc, info;
    const bool has_proc = stat("/proc/self/fd", &proc) == 0;
    *descriptor = false;
    errno = ENAMETOOLONG;
    if (strlen(out->path) >= sizeof out->target)
        return false;
    strcpy(out->target, out->path);
    out->is_old = stat(out->path, &out->old) == 0; /* the kernel's own rules for links count, too */
    if (!out->is_old && errno != ENOENT)
        return false;
    for (int i = 0; i < LINKS_MAX; i++) {
        if (lstat(out->target, &info) != 0)
            return errno == ENOENT && i == 0;
        if (!S_ISLNK(info.st_mode))
            return true;
        *descriptor = has_proc && info.st_dev == proc.st_dev;
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
    const mode_t mode = out->old.st_mode;
    const char *what = S_ISDIR(mode) ? "a folder" : S_ISSOCK(mode) ? "a socket" : S_ISBLK(mode) ? "a disk" : NULL;
    return what ? log_fail(log, MN_ERR_USAGE, "%s: cannot be written: is %s, not a file", out->path, what) : MN_OK;
}

/* A descriptor of our own is shared, with its place in the file: what the process wrote there before stays. */
static int open_descriptor(const struct output_file *out)
{
    char *end;
    struct stat info;
    const char *name = out->target + folder_bytes(out->target);
    const long fd = strtol(name, &end, 10);
    if (*name && !*end && fd >= 0 && fd <= INT_MAX && fstat((int)fd, &info) == 0 && info.st_dev == out->old.st_dev &&
        info.st_ino == out->old.st_ino)
        return fcntl((int)fd, F_DUPFD_CLOEXEC, 3);
    return open(out->target, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY);
}

/* A pipe that nobody reads would be waited for without end; a reader that was started beside us comes soon. */
static int open_pipe(const char *path)
{
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    const double begin = clock_s();
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    while (fd < 0 && errno == ENXIO && clock_s() - begin < READER_SECONDS) {
        if (nanosleep(&pause, NULL) != 0)
            return -1;
        fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    }
    if (fd >= 0)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    return fd;
}

/* ---- opening ---- */

/* So that nothing is computed for a file that cannot be written. */
static bool may_replace(const struct output_file *out)
{
    char folder[OUTPUT_PATH_BYTES] = ".";
    const size_t n = folder_bytes(out->target);
    if (n) {
        memcpy(folder, out->target, n);
        folder[n] = '\0';
    }
    errno = ENOENT;
    return out->target[n] && access(folder, W_OK | X_OK) == 0 && (!out->is_old || access(out->target, W_OK) == 0);
}

/* The other piece becomes the one to write; the one before stays as it is when there is no memory. */
static bool new_piece(struct output_file *out)
{
    const int other = !out->now;
    FILE *text = open_memstream(&out->pieces[other], &out->n_piece[other]);
    if (!text)
        return false;
    out->text = text;
    out->now = other;
    return true;
}

static bool open_append(struct output_file *out)
{
    struct stat info;
    out->fd = open(out->target, O_RDWR | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | (out->is_old ? 0 : O_CREAT),
                   0666);
    if (out->fd < 0 || fstat(out->fd, &info) != 0)
        return false;
    out->end = (uint64_t)info.st_size;
    return true;
}

static enum mn_status open_any(struct output_file *out, const char *path, bool append, const struct mn_log *log)
{
    bool descriptor;
    *out = (struct output_file){.path = path, .fd = -1, .kind = append ? OUTPUT_APPENDS : OUTPUT_REPLACES};
    if (!find_target(out, &descriptor)) {
        struct stat link;
        const int error = errno;
        const bool dangling = error == ENOENT && !out->is_old && lstat(path, &link) == 0;
        return dangling ? log_fail(log, MN_ERR_FILE, "%s: cannot be written: is a link that leads nowhere", path)
                        : cannot(out, error, log);
    }
    enum mn_status status = out->is_old ? refuse_kind(out, log) : MN_OK;
    if (status)
        return status;
    if (descriptor || (out->is_old && !S_ISREG(out->old.st_mode))) {
        out->kind = OUTPUT_THROUGH;
        out->fd = descriptor                   ? open_descriptor(out)
                  : S_ISFIFO(out->old.st_mode) ? open_pipe(out->target)
                                               : open(out->target, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        if (out->fd < 0 && errno == ENXIO && S_ISFIFO(out->old.st_mode))
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
    struct timespec now;
    uint64_t random = 0;
    clock_gettime(CLOCK_REALTIME, &now);
    const int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC | O_NOCTTY);
    const bool drawn = fd >= 0 && read(fd, &random, sizeof random) == (ssize_t)sizeof random;
    if (fd >= 0)
        close(fd);
    return drawn ? random : ((uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec << 20 ^ (uint64_t)getpid());
}

/* The old file's owner and rights as far as we may give them; a group that cannot be kept gets nothing. */
static bool take_rights(int fd, const struct stat *old)
{
    mode_t mode = old->st_mode & RIGHTS;
    if (fchown(fd, old->st_uid, old->st_gid) != 0 && fchown(fd, (uid_t)-1, old->st_gid) != 0)
        mode &= (mode_t)~070;
    return fchmod(fd, mode) == 0;
}

static bool make_beside(struct output_file *out)
{
    const size_t n = folder_bytes(out->target);
    const mode_t mode = out->is_old ? out->old.st_mode & RIGHTS : 0666;
    for (int i = 0; i < NAMES_MAX && out->fd < 0; i++) {
        const int printed = snprintf(out->beside, sizeof out->beside, "%.*s.muninn-%016" PRIx64 ".part", (int)n,
                                     out->target, output_draw_name());
        errno = ENAMETOOLONG;
        if (printed < (int)sizeof out->beside)
            out->fd = open(out->beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, mode);
        if (out->fd < 0 && errno != EEXIST)
            break;
    }
    if (out->fd < 0) {
        out->beside[0] = '\0';
        return false;
    }
    return !out->is_old || take_rights(out->fd, &out->old);
}

/* ---- writing ---- */

static enum mn_status fail(struct output_file *out, const struct mn_log *log)
{
    const int error = errno;
    out->failed = true;
    return log_fail(log, MN_ERR_RUN, "%s: writing failed: %s", out->path, strerror(error));
}

/* False: errno. */
static bool write_all(int fd, const char *bytes, size_t n)
{
    while (n) {
        const ssize_t written = write(fd, bytes, n < WRITE_MAX ? n : WRITE_MAX);
        if (written < 0 && errno != EINTR)
            return false;
        bytes += written > 0 ? written : 0;
        n -= written > 0 ? (size_t)written : 0;
    }
    return true;
}

static enum mn_status hand_on(struct output_file *out, const char *bytes, size_t n, const struct mn_log *log)
{
    if (out->failed)
        return MN_ERR_RUN;
    if (out->fd < 0 && !make_beside(out))
        return fail(out, log);
    if (!write_all(out->fd, bytes, n)) {
        enum mn_status status = fail(out, log);
        if (out->kind == OUTPUT_APPENDS && ftruncate(out->fd, (off_t)out->end) != 0)
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
        good = !ferror(text);
        good = fclose(text) == 0 && good;
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
    if (ftruncate(out->fd, (off_t)n_bytes) != 0)
        return log_fail(log, MN_ERR_FILE, "%s: cannot be cut behind its last whole line: %s", out->path,
                        strerror(errno));
    out->end = n_bytes;
    return MN_OK;
}

/* Pipes and devices cannot, nor can some file systems. */
static bool sync_fd(int fd)
{
    errno = 0;
    return fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP || errno == EROFS;
}

enum mn_status output_sync(struct output_file *out, const struct mn_log *log)
{
    return out->failed ? MN_ERR_RUN : sync_fd(out->fd) ? MN_OK : fail(out, log);
}

/* ---- the end ---- */

/* Something may have been put there while the run went on. */
static bool rename_over(const struct output_file *out)
{
    struct stat now;
    errno = EEXIST;
    if (lstat(out->target, &now) == 0 && !S_ISREG(now.st_mode))
        return false;
    return rename(out->beside, out->target) == 0;
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
        if (close(fd) != 0 || (out->kind == OUTPUT_REPLACES && !rename_over(out)))
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
        fclose(out->text);
    free(out->pieces[0]);
    free(out->pieces[1]);
    if (out->fd >= 0)
        close(out->fd);
    if (out->beside[0])
        unlink(out->beside);
    *out = (struct output_file){0};
}
