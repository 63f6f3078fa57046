#include "engine/files/safetensors_write.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/system.h"
#include "engine/files/json.h"

static uint64_t bytes_of(const struct tensor_source *t)
{
    uint64_t bytes = tensor_dtype_bytes(t->dtype);
    for (uint32_t i = 0; i < t->rank; i++)
        bytes *= t->shape[i];
    return bytes;
}

static void print_header(FILE *out, const struct tensor_header *tensors, uint32_t n)
{
    uint64_t offset = 0;
    fputc('{', out);
    for (uint32_t i = 0; i < n; i++) {
        const struct tensor_header *t = &tensors[i];
        fputs(i ? "," : "", out);
        json_write_string(out, t->name, strlen(t->name));
        fputs(":{\"dtype\":", out);
        json_write_string(out, t->dtype_name, strlen(t->dtype_name));
        fputs(",\"shape\":[", out);
        for (uint32_t k = 0; k < t->rank; k++)
            fprintf(out, "%s%" PRIu64, k ? "," : "", t->shape[k]);
        fprintf(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", offset, offset + t->bytes);
        offset += t->bytes;
    }
    fputc('}', out);
    while (ftell(out) % 8 != 0)
        fputc(' ', out);
}

enum mn_status safetensors_write_header(struct output_file *out, const struct tensor_header *tensors, uint32_t n,
                                        const struct mn_log *log)
{
    char *header = NULL;
    size_t n_bytes = 0;
    uint8_t length[8];
    FILE *memory = memory_open(&header, &n_bytes);
    if (memory)
        print_header(memory, tensors, n);
    if (!memory || !memory_close(memory, &header, &n_bytes)) {
        free(header);
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a header of %" PRIu32 " tensors", n);
    }
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)n_bytes >> (8 * i));
    enum mn_status status = output_write(out, length, sizeof length, log);
    if (!status)
        status = output_write(out, header, n_bytes, log);
    free(header);
    return status;
}

enum mn_status safetensors_write(struct output_file *out, const struct tensor_source *tensors, uint32_t n,
                                 const struct mn_log *log)
{
    struct tensor_header *headers = calloc((size_t)n + 1, sizeof *headers);
    if (!headers)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a header of %" PRIu32 " tensors", n);
    for (uint32_t i = 0; i < n; i++) {
        const struct tensor_source *t = &tensors[i];
        headers[i] = (struct tensor_header){
            .name = t->name, .dtype_name = tensor_dtype_name(t->dtype), .rank = t->rank, .bytes = bytes_of(t)};
        memcpy(headers[i].shape, t->shape, sizeof t->shape);
    }
    enum mn_status status = safetensors_write_header(out, headers, n, log);
    free(headers);
    for (uint32_t i = 0; i < n && !status; i++)
        status = output_write(out, tensors[i].data, bytes_of(&tensors[i]), log);
    return status;
}
