/* Goal: no file makes the safetensors parser crash, leak, or list a tensor whose bytes are not inside the file.
 * Method: libFuzzer target. The input is parsed three ways: as a whole file; as a bare JSON header in front of which
 * the length is put and behind which the file is as long as the parser asks for (so that the fuzzer need not guess
 * lengths); as an index file. Accepted tables must cover the data exactly and be found by name.
 * Runs under gcc too, by fuzz_replay.c.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct safetensors_limits limits = {.header_bytes_max = 65536, .n_tensors_max = 64, .n_shards_max = 4};

static void require(bool condition)
{
    if (!condition)
        abort(); /* what libFuzzer reports as a crash, with or without NDEBUG */
}

static uint64_t header_bytes(const uint8_t *bytes)
{
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | bytes[i];
    return n;
}

static void check_table(const struct safetensors *st, const uint8_t *bytes, uint64_t file_bytes)
{
    uint64_t at = 8 + header_bytes(bytes);
    require(at <= file_bytes && safetensors_n_tensors(st) <= limits.n_tensors_max && safetensors_n_shards(st) == 1);
    for (uint32_t i = 0; i < safetensors_n_tensors(st); i++) {
        const struct tensor_view *view = safetensors_tensor(st, i);
        uint64_t product = tensor_dtype_bits(view->dtype);
        const bool known = view->dtype != TENSOR_OTHER;
        char byte;
        require(view->rank <= TENSOR_RANK_MAX && view->shard == 0 && known == (product > 0));
        for (uint32_t d = 0; d < view->rank; d++)
            product *= view->shape[d];
        require((!known || product == 8 * view->bytes) && view->offset == at);
        require(!known || !strcmp(view->dtype_name, tensor_dtype_name(view->dtype)));
        at += view->bytes;
        require(at <= file_bytes);
        require(safetensors_find(st, view->name) == view);
        require(safetensors_read(st, view, 0, 1, &byte, NULL) == MN_ERR_USAGE);
    }
    require(at == file_bytes);
    require(safetensors_tensor(st, safetensors_n_tensors(st)) == NULL);
}

static enum mn_status parse(const uint8_t *bytes, size_t n_bytes, uint64_t file_bytes)
{
    struct safetensors *st;
    enum mn_status status = safetensors_parse(&st, "input", bytes, n_bytes, file_bytes, &limits, NULL);
    require((status == MN_OK) == (st != NULL));
    if (st)
        check_table(st, bytes, file_bytes);
    safetensors_close(st);
    return status;
}

/* The largest number in the text: with the header itself, the one file length that can be right. */
static uint64_t largest_number(const uint8_t *data, size_t size)
{
    uint64_t largest = 0, n = 0;
    for (size_t i = 0; i < size; i++) {
        n = data[i] >= '0' && data[i] <= '9' ? n * 10 + (uint64_t)(data[i] - '0') : 0; /* may wrap: any value will do */
        largest = n > largest ? n : largest;
    }
    return largest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse(data, size, size);
    uint8_t *file = malloc(size + 8);
    require(file != NULL);
    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)((uint64_t)size >> 8 * i);
    if (size > 0)
        memcpy(file + 8, data, size);
    uint64_t n_data = largest_number(data, size);
    if (n_data <= UINT64_MAX - 8 - size)
        parse(file, size + 8, 8 + size + n_data);
    parse(file, size + 8, 8 + size);
    parse(file, size + 8, UINT64_MAX);
    free(file);
    enum mn_status status = safetensors_parse_index("index", data, size, &limits, NULL);
    require(status == MN_OK || status == MN_ERR_FORMAT);
    return 0;
}
