#include "engine/files/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    READ_BYTES_MAX = 1 << 30, /* per pread: the kernel does at most 2 GiB at once */
    TARGET_BYTES_MAX = 256,   /* how much of a link's target a message shows */
};

_Static_assert(sizeof(off_t) >= 8, "checkpoints are larger than 2 GiB: build with _FILE_OFFSET_BITS=64");

bool input_exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 || errno != ENOENT;
}

/* The link itself is there, what it leads to is not. */
static enum mn_status refuse_link(const char *path, const struct mn_log *log)
{
    char target[TARGET_BYTES_MAX];
    const ssize_t n = readlink(path, target, sizeof target - 1);
    target[n > 0 ? n : 0] = '\0';
    return log_fail(log, MN_ERR_FILE, "%s: a link to '%s', which is not there: an unfinished download or copy?", path,
                    target);
}

static enum mn_status refuse_open(const char *path, const struct mn_log *log)
{
    const int reason = errno;
    struct stat info;
    if (reason == ENOENT && lstat(path, &info) == 0 && S_ISLNK(info.st_mode))
        return refuse_link(path, log);
    return log_fail(log, MN_ERR_FILE, "%s: %s", path, strerror(reason));
}

static enum mn_status check_kind(const char *path, mode_t mode, const struct mn_log *log)
{
    if (S_ISREG(mode))
        return MN_OK;
    return log_fail(log, MN_ERR_FILE, "%s: not a regular file but a %s", path,
                    S_ISDIR(mode)    ? "folder"
                    : S_ISFIFO(mode) ? "named pipe"
                    : S_ISSOCK(mode) ? "socket"
                                     : "device");
}

enum mn_status input_open(int *fd, uint64_t *n_bytes, const char *path, const struct mn_log *log)
{
    struct stat info;
    *fd = -1;
    if (stat(path, &info) != 0)
        return refuse_open(path, log);
    enum mn_status status = check_kind(path, info.st_mode, log); /* opening a device can do things */
    if (status)
        return status;
    /* Looked at again when it is open: what it was before, it need not be any more, and a pipe would wait. */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0 || fstat(*fd, &info) != 0)
        status = refuse_open(path, log);
    if (!status)
        status = check_kind(path, info.st_mode, log);
    if (status && *fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    *n_bytes = (uint64_t)info.st_size;
    return status;
}

enum mn_status input_read(int fd, const char *path, uint64_t offset, uint64_t n_bytes, void *out,
                          const struct mn_log *log)
{
    char *to = out;
    while (n_bytes > 0) {
        const size_t want = n_bytes < READ_BYTES_MAX ? (size_t)n_bytes : READ_BYTES_MAX;
        const ssize_t got = pread(fd, to, want, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return log_fail(log, MN_ERR_FILE, "%s: %ju bytes missing at byte %ju: %s", path, (uintmax_t)n_bytes,
                            (uintmax_t)offset, got < 0 ? strerror(errno) : "the file has become shorter");
        to += got;
        offset += (uint64_t)got;
        n_bytes -= (uint64_t)got;
    }
    return MN_OK;
}

enum mn_status input_read_all(char **bytes, size_t *n_bytes, const char *path, size_t cap_bytes,
                              const struct mn_log *log)
{
    int fd;
    uint64_t size;
    *bytes = NULL;
    enum mn_status status = input_open(&fd, &size, path, log);
    if (status)
        return status;
    if (size > cap_bytes)
        status = log_fail(log, MN_ERR_FORMAT, "%s: %ju bytes, the limit is %zu", path, (uintmax_t)size, cap_bytes);
    else if (!(*bytes = malloc((size_t)size + 1)))
        status = log_fail(log, MN_ERR_MEMORY, "%s: no memory for %ju bytes", path, (uintmax_t)size);
    if (!status)
        status = input_read(fd, path, 0, size, *bytes, log);
    close(fd);
    if (status) {
        free(*bytes);
        *bytes = NULL;
        return status;
    }
    (*bytes)[size] = '\0';
    *n_bytes = (size_t)size;
    return MN_OK;
}

static bool begins(const char *text, size_t n_bytes, const char *word)
{
    const size_t n = strlen(word);
    return n_bytes >= n && strncasecmp(text, word, n) == 0;
}

const char *input_instead(const void *bytes, size_t n_bytes)
{
    const char *text = bytes;
    if (n_bytes == 0)
        return "the file is empty: an unfinished download or copy?";
    if (begins(text, n_bytes, "version https://git-lfs.github.com/spec/"))
        return "a Git LFS pointer, not the file itself: run `git lfs pull` in its folder";
    if (begins(text, n_bytes, "\xef\xbb\xbf")) { /* a byte order mark */
        text += 3;
        n_bytes -= 3;
    }
    for (; n_bytes > 0 && strchr(" \t\r\n", *text) && *text; n_bytes--)
        text++;
    if (begins(text, n_bytes, "<!doctype") || begins(text, n_bytes, "<html"))
        return "a web page, not the file itself: download it again (does the model ask for a login?)";
    return NULL;
}
