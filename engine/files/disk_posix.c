/* engine/files/disk.h where there is POSIX. */
#define _XOPEN_SOURCE 700 /* realpath is not POSIX.1 but its X/Open part */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/files/disk.h"

enum {
    PIECE_BYTES_MAX = 1 << 30, /* some systems take no more at once */
    RIGHTS = 0777              /* what is kept of an old file's mode: no set-user-id for new content */
};

_Static_assert(sizeof(off_t) >= 8, "checkpoints are larger than 2 GiB: build with _FILE_OFFSET_BITS=64");

/* ---- what stands there ---- */

static enum disk_kind kind_of(mode_t mode)
{
    return S_ISREG(mode)    ? DISK_PLAIN
           : S_ISDIR(mode)  ? DISK_FOLDER
           : S_ISLNK(mode)  ? DISK_LINK
           : S_ISFIFO(mode) ? DISK_PIPE
           : S_ISSOCK(mode) ? DISK_SOCKET
           : S_ISBLK(mode)  ? DISK_BLOCKS
                            : DISK_DEVICE;
}

static bool tell(struct disk_info *info, int result, const struct stat *s)
{
    if (result != 0)
        return false;
#ifdef __APPLE__
    const struct timespec changed = s->st_mtimespec;
#else
    const struct timespec changed = s->st_mtim;
#endif
    *info = (struct disk_info){.kind = kind_of(s->st_mode),
                               .own = s->st_uid == geteuid(),
                               .rights = s->st_mode & RIGHTS,
                               .owner = s->st_uid,
                               .group = s->st_gid,
                               .device = (uint64_t)s->st_dev,
                               .number = (uint64_t)s->st_ino,
                               .n_bytes = (uint64_t)s->st_size,
                               .changed_ns = (int64_t)changed.tv_sec * 1000000000 + changed.tv_nsec};
    return true;
}

bool disk_look(struct disk_info *info, const char *path)
{
    struct stat s;
    return tell(info, stat(path, &s), &s);
}

bool disk_look_here(struct disk_info *info, const char *path)
{
    struct stat s;
    return tell(info, lstat(path, &s), &s);
}

bool disk_look_open(struct disk_info *info, int fd)
{
    struct stat s;
    return tell(info, fstat(fd, &s), &s);
}

bool disk_is_same(const struct disk_info *a, const struct disk_info *b)
{
    return a->device == b->device && a->number == b->number;
}

int64_t disk_read_link(const char *path, char *target, size_t n_bytes)
{
    const ssize_t n = readlink(path, target, n_bytes - 1);
    target[n > 0 ? n : 0] = '\0';
    return n;
}

bool disk_may_make(const char *folder)
{
    return access(folder, W_OK | X_OK) == 0;
}

bool disk_may_write(const char *path)
{
    return access(path, W_OK) == 0;
}

/* ---- paths ---- */

size_t path_folder_bytes(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

size_t path_bytes(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    return n;
}

bool path_is_absolute(const char *path)
{
    return *path == '/';
}

char *path_real(const char *path)
{
    return realpath(path, NULL);
}

/* ---- opening ---- */

int disk_open_read(const char *path)
{
    return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

int disk_open_write(const char *path, bool at_end)
{
    return open(path, O_WRONLY | (at_end ? O_APPEND : 0) | O_CLOEXEC | O_NOCTTY);
}

int disk_open_pipe(const char *path)
{
    const int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    return fd;
}

int disk_open_grow(const char *path, bool make)
{
    return open(path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | (make ? O_CREAT : 0), 0666);
}

int disk_open_new(const char *path, uint32_t rights)
{
    return open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, (mode_t)rights);
}

int disk_duplicate(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

bool disk_close(int fd)
{
    return close(fd) == 0;
}

FILE *disk_stream(const char *path, const char *mode)
{
    return fopen(path, mode);
}

FILE *disk_nowhere(void)
{
    return fopen("/dev/null", "w");
}

/* ---- reading, writing ---- */

int64_t disk_read_at(int fd, void *bytes, size_t n_bytes, uint64_t offset)
{
    char *to = bytes;
    size_t n = 0;
    while (n < n_bytes) {
        const size_t want = n_bytes - n < PIECE_BYTES_MAX ? n_bytes - n : PIECE_BYTES_MAX;
        const ssize_t got = pread(fd, to + n, want, (off_t)(offset + n));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        n += (size_t)got;
    }
    return (int64_t)n;
}

bool disk_write(int fd, const void *bytes, size_t n_bytes)
{
    const char *from = bytes;
    while (n_bytes) {
        const ssize_t written = write(fd, from, n_bytes < PIECE_BYTES_MAX ? n_bytes : PIECE_BYTES_MAX);
        if (written < 0 && errno != EINTR)
            return false;
        from += written > 0 ? written : 0;
        n_bytes -= written > 0 ? (size_t)written : 0;
    }
    return true;
}

bool disk_cut(int fd, uint64_t n_bytes)
{
    return ftruncate(fd, (off_t)n_bytes) == 0;
}

/* Pipes and devices cannot, nor can some file systems. */
bool disk_sync(int fd)
{
    errno = 0;
    return fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP || errno == EROFS;
}

bool disk_lock(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES);
}

/* A group that cannot be kept gets nothing. */
bool disk_take_rights(int fd, const struct disk_info *old)
{
    mode_t mode = (mode_t)old->rights;
    if (fchown(fd, old->owner, old->group) != 0 && fchown(fd, (uid_t)-1, old->group) != 0)
        mode &= (mode_t)~070;
    return fchmod(fd, mode) == 0;
}

/* ---- names ---- */

bool disk_rename(const char *from, const char *to)
{
    return rename(from, to) == 0;
}

bool disk_remove(const char *path)
{
    return unlink(path) == 0;
}

bool disk_touch(const char *path)
{
    return utimensat(AT_FDCWD, path, NULL, 0) == 0;
}

bool folder_make(const char *path, uint32_t rights)
{
    return mkdir(path, (mode_t)rights) == 0;
}

bool folder_remove(const char *path)
{
    return rmdir(path) == 0;
}

/* File systems that cannot do it for folders have nothing to be waited for. */
bool folder_sync(const char *path)
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

/* ---- what is in a folder ---- */

static DIR *dir_of(struct folder *folder)
{
    return (DIR *)(void *)folder;
}

struct folder *folder_open(const char *path)
{
    return (struct folder *)(void *)opendir(path);
}

const char *folder_next(struct folder *folder)
{
    const struct dirent *entry;
    while ((entry = readdir(dir_of(folder))) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            return entry->d_name;
    return NULL;
}

void folder_close(struct folder *folder)
{
    if (folder)
        closedir(dir_of(folder));
}

bool folder_look_here(struct disk_info *info, struct folder *folder, const char *name)
{
    struct stat s;
    return tell(info, fstatat(dirfd(dir_of(folder)), name, &s, AT_SYMLINK_NOFOLLOW), &s);
}

int folder_open_read(struct folder *folder, const char *name)
{
    return openat(dirfd(dir_of(folder)), name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
}

bool folder_remove_file(struct folder *folder, const char *name)
{
    return unlinkat(dirfd(dir_of(folder)), name, 0) == 0;
}
