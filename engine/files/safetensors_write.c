#include "engine/files/safetensors_write.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

enum mn_status safetensors_write(struct output_file *out, const struct tensor_source *tensors, uint32_t n,
                                 const struct mn_log *log)
{
    char *header = NULL;
    size_t n_bytes = 0;
    uint8_t length[8];
    FILE *memory = open_memstream(&header, &n_bytes);
    if (memory)
        write_header(memory, tensors, n);
    if (!memory || fclose(memory) != 0) {
        free(header);
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a header of %" PRIu32 " tensors", n);
    }
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)n_bytes >> (8 * i));
    enum mn_status status = output_write(out, length, sizeof length, log);
    if (!status)
        status = output_write(out, header, n_bytes, log);
    free(header);
    for (uint32_t i = 0; i < n && !status; i++)
        status = output_write(out, tensors[i].data, bytes_of(&tensors[i]), log);
    return status;
}
