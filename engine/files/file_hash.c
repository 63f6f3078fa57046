#include "engine/files/file_hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/numbers.h"
#include "engine/files/input.h"

enum { PIECE_BYTES = 1 << 16 };

static enum mn_status hash_content(uint64_t *hash, const char *path, const struct mn_log *log)
{
    uint8_t *bytes = malloc(PIECE_BYTES);
    uint64_t n_bytes = 0;
    int fd = -1;
    enum mn_status status = bytes ? input_open(&fd, &n_bytes, path, log)
                                  : log_fail(log, MN_ERR_MEMORY, "%s: out of host memory for a hash", path);
    for (uint64_t at = 0, n; at < n_bytes && !status; at += n) {
        n = min_u64(n_bytes - at, PIECE_BYTES);
        status = input_read(fd, path, at, n, bytes, log);
        *hash = hash_block(*hash, bytes, (size_t)n);
    }
    input_close(&fd);
    free(bytes);
    return status;
}

enum mn_status file_hash(uint64_t *hash, const char *dir, const char *name, const struct mn_log *log)
{
    const size_t n = strlen(dir) + strlen(name) + 2;
    char *path = malloc(n);
    if (!path)
        return log_fail(log, MN_ERR_MEMORY, "%s: out of host memory for a file name", dir);
    snprintf(path, n, "%s/%s", dir, name);
    enum mn_status status = MN_OK;
    if (input_exists(path)) {
        *hash = hash_block(*hash, name, strlen(name));
        status = hash_content(hash, path, log);
    }
    free(path);
    return status;
}
