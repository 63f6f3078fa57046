#include "engine/files/input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/disk.h"

enum { TARGET_BYTES_MAX = 256 /* how much of a link's target a message shows */ };

bool input_exists(const char *path)
{
    struct disk_info info;
    return disk_look_here(&info, path) || errno != ENOENT;
}

/* The link itself is there, what it leads to is not. */
static enum mn_status refuse_link(const char *path, const struct mn_log *log)
{
    char target[TARGET_BYTES_MAX];
    disk_read_link(path, target, sizeof target);
    return log_fail(log, MN_ERR_FILE, "%s: a link to '%s', which is not there: an unfinished download or copy?", path,
                    target);
}

static enum mn_status refuse_open(const char *path, const struct mn_log *log)
{
    const int reason = errno;
    struct disk_info info;
    if (reason == ENOENT && disk_look_here(&info, path) && info.kind == DISK_LINK)
        return refuse_link(path, log);
    return log_fail(log, reason == ENOMEM ? MN_ERR_MEMORY : MN_ERR_FILE, "%s: %s", path, strerror(reason));
}

static enum mn_status check_kind(const char *path, enum disk_kind kind, const struct mn_log *log)
{
    if (kind == DISK_PLAIN)
        return MN_OK;
    return log_fail(log, MN_ERR_FILE, "%s: not a regular file but a %s", path,
                    kind == DISK_FOLDER   ? "folder"
                    : kind == DISK_PIPE   ? "named pipe"
                    : kind == DISK_SOCKET ? "socket"
                                          : "device");
}

enum mn_status input_open(int *fd, uint64_t *n_bytes, const char *path, const struct mn_log *log)
{
    struct disk_info info = {0};
    *fd = -1;
    if (!disk_look(&info, path))
        return refuse_open(path, log);
    enum mn_status status = check_kind(path, info.kind, log); /* opening a device can do things */
    if (status)
        return status;
    /* Looked at again when it is open: what it was before, it need not be any more, and a pipe would wait. */
    *fd = disk_open_read(path);
    if (*fd < 0 || !disk_look_open(&info, *fd))
        status = refuse_open(path, log);
    if (!status)
        status = check_kind(path, info.kind, log);
    if (status)
        input_close(fd);
    *n_bytes = info.n_bytes;
    return status;
}

void input_close(int *fd)
{
    if (*fd >= 0)
        disk_close(*fd);
    *fd = -1;
}

enum mn_status input_read(int fd, const char *path, uint64_t offset, uint64_t n_bytes, void *out,
                          const struct mn_log *log)
{
    const int64_t got = disk_read_at(fd, out, (size_t)n_bytes, offset);
    if (got >= 0 && (uint64_t)got == n_bytes)
        return MN_OK;
    const uint64_t there = got < 0 ? 0 : (uint64_t)got;
    return log_fail(log, MN_ERR_FILE, "%s: %ju bytes missing at byte %ju: %s", path, (uintmax_t)(n_bytes - there),
                    (uintmax_t)(offset + there), got < 0 ? strerror(errno) : "the file has become shorter");
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
    input_close(&fd);
    if (status) {
        free(*bytes);
        *bytes = NULL;
        return status;
    }
    (*bytes)[size] = '\0';
    *n_bytes = (size_t)size;
    return MN_OK;
}

/* `word` in small letters; of ASCII only: what a host program's locale calls a letter is not asked. */
static bool begins(const char *text, size_t n_bytes, const char *word)
{
    size_t i = 0;
    while (word[i] && i < n_bytes && (text[i] | (text[i] >= 'A' && text[i] <= 'Z' ? 0x20 : 0)) == word[i])
        i++;
    return word[i] == '\0';
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
