#include "engine/files/safetensors_write.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t bytes_of(const struct tensor_source *t)
{
    uint64_t bytes = tensor_dtype_bytes(t->dtype);
    for (uint32_t i = 0; i < t->rank; i++)
        bytes *= t->shape[i];
    return bytes;
}

static void write_header(FILE *out, const struct tensor_source *tensors, uint32_t n)
{
    uint64_t offset = 0;
    fputc('{', out);
    for (uint32_t i = 0; i < n; i++) {
        const struct tensor_source *t = &tensors[i];
        assert(strspn(t->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._") == strlen(t->name));
        fprintf(out, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "", t->name, tensor_dtype_name(t->dtype));
        for (uint32_t k = 0; k < t->rank; k++)
            fprintf(out, "%s%" PRIu64, k ? "," : "", t->shape[k]);
        fprintf(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", offset, offset + bytes_of(t));
        offset += bytes_of(t);
    }
    fputc('}', out);
    while (ftell(out) % 8 != 0)
        fputc(' ', out);
}

static bool write_all(FILE *file, const struct tensor_source *tensors, uint32_t n)
{
    char *header = NULL;
    size_t n_bytes = 0;
    uint8_t length[8];
    FILE *out = open_memstream(&header, &n_bytes);
    if (!out)
        return false;
    write_header(out, tensors, n);
    bool good = fclose(out) == 0;
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)n_bytes >> (8 * i));
    good = good && fwrite(length, 1, sizeof length, file) == sizeof length &&
           fwrite(header, 1, n_bytes, file) == n_bytes;
    free(header);
    for (uint32_t i = 0; i < n && good; i++)
        good = fwrite(tensors[i].data, 1, bytes_of(&tensors[i]), file) == bytes_of(&tensors[i]);
    return good && fflush(file) == 0 && fsync(fileno(file)) == 0;
}

/* The name beside the final one, with the rights a new file gets: mkstemp alone gives none to others. */
static FILE *open_beside(const char *beside_template, char *beside)
{
    const mode_t mask = umask(0);
    umask(mask);
    strcpy(beside, beside_template);
    const int fd = mkstemp(beside);
    if (fd < 0)
        return NULL;
    FILE *file = fchmod(fd, 0666 & ~mask) == 0 ? fdopen(fd, "wb") : NULL;
    if (!file) {
        close(fd);
        unlink(beside);
    }
    return file;
}

enum mn_status safetensors_write(const char *path, const struct tensor_source *tensors, uint32_t n,
                                 const struct mn_log *log)
{
    const size_t room = strlen(path) + sizeof ".XXXXXX";
    char *names = malloc(2 * room);
    if (!names)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a file name");
    char *beside = names + room;
    snprintf(names, room, "%s.XXXXXX", path);
    FILE *file = open_beside(names, beside);
    enum mn_status status = MN_OK;
    if (!file) {
        status = log_fail(log, MN_ERR_FILE, "%s: cannot be written: %s", path, strerror(errno));
        free(names);
        return status;
    }
    errno = 0;
    const bool good = write_all(file, tensors, n), closed = fclose(file) == 0;
    if (!good || !closed || rename(beside, path) != 0) {
        status = log_fail(log, MN_ERR_RUN, "%s: writing failed%s%s", path, errno ? ": " : "",
                          errno ? strerror(errno) : "");
        unlink(beside);
    }
    free(names);
    return status;
}
