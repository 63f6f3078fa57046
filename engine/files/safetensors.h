/* Checkpoint folders in the safetensors format: model.safetensors, or model.safetensors.index.json with its shards.
 *
 * Owns: open file descriptors of the shards, the table of tensors (name, type, shape, where the bytes are), and every
 *       check that makes this table trustworthy: after a successful open, all sizes multiply without overflow and lie
 *       inside files of exactly the announced length.
 * Never: maps files (a file cut while it is mapped kills the process), reads tensor data on its own, converts types,
 *        looks at names or values: which tensors a model needs, and NaN among the weights, concern the caller.
 * Thread-safety: opening and closing belong to one thread; find, iterate and read are safe from several threads, since
 *        reads carry their own offset (pread).
 *
 * Format: u64 little-endian N, N bytes of JSON that start with '{', then the data. JSON: name -> {dtype, shape,
 * data_offsets [begin, end)} with offsets relative to the data; "__metadata__" maps strings to strings.
 * https://github.com/huggingface/safetensors
 */
#ifndef MUNINN_ENGINE_FILES_SAFETENSORS_H
#define MUNINN_ENGINE_FILES_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

enum {
    TENSOR_RANK_MAX = 8,
    TENSOR_NAME_BYTES_MAX = 512,
};

/* The types of the format; those of less than a byte are packed. */
enum tensor_dtype {
    TENSOR_BOOL,
    TENSOR_F4,
    TENSOR_F6_E2M3,
    TENSOR_F6_E3M2,
    TENSOR_U8,
    TENSOR_I8,
    TENSOR_F8_E5M2,
    TENSOR_F8_E4M3,
    TENSOR_F8_E8M0,
    TENSOR_F8_E4M3FNUZ,
    TENSOR_F8_E5M2FNUZ,
    TENSOR_I16,
    TENSOR_U16,
    TENSOR_F16,
    TENSOR_BF16,
    TENSOR_I32,
    TENSOR_U32,
    TENSOR_F32,
    TENSOR_C64,
    TENSOR_F64,
    TENSOR_I64,
    TENSOR_U64,
    TENSOR_DTYPE_COUNT,
    TENSOR_OTHER = TENSOR_DTYPE_COUNT, /* newer than this list: only its place in the file is known */
};

/* One tensor of an open checkpoint. Rank 0 is one value; a zero in `shape` is a legal tensor without bytes. */
struct tensor_view {
    const char *name;       /* owned by the checkpoint */
    const char *dtype_name; /* as the file spells it; owned by the checkpoint */
    enum tensor_dtype dtype;
    uint32_t rank;                   /* <= TENSOR_RANK_MAX */
    uint64_t shape[TENSOR_RANK_MAX]; /* [rank], outermost first; unused ones are 0 */
    uint64_t bytes;                  /* product of shape times the size of dtype, unless that is TENSOR_OTHER */
    uint32_t shard;                  /* which file, see safetensors_shard_name */
    uint64_t offset;                 /* of the first byte, from the start of that file; no alignment is promised */
};

/* How much an unknown file may ask for. A zero means the default. */
struct safetensors_limits {
    uint64_t header_bytes_max; /* JSON header of one shard, and the index file: 1 MiB; the format allows 100,000,000 */
    uint32_t n_tensors_max;    /* in the whole checkpoint: 16384 */
    uint32_t n_shards_max;     /* 256: each holds a file descriptor */
};

struct safetensors;

/* Opens a checkpoint folder. NULL limits: defaults. An index must list exactly the tensors that its shards hold, each
 * in the shard that it names; beside model.safetensors, which wins as in the reference loader, it must list the tensors
 * of that one, and another shard in it is worth a warning. So is a total_size that is not that of the tensors.
 * MN_ERR_FILE: missing or unreadable file. MN_ERR_FORMAT: anything malformed, inconsistent, duplicated or over a limit.
 * MN_ERR_UNSUPPORTED: more than TENSOR_RANK_MAX dimensions. MN_ERR_MEMORY. A dtype that is not known is no error: who
 * needs the tensor refuses it.
 * *out is NULL on failure. */
enum mn_status safetensors_open(struct safetensors **out, const char *dir, const struct safetensors_limits *limits,
                                const struct mn_log *log);

/* Opens one file. Errors as above. */
enum mn_status safetensors_open_file(struct safetensors **out, const char *path,
                                     const struct safetensors_limits *limits, const struct mn_log *log);

/* Checks and lists a file whose first `n_bytes` are in memory and whose length is `file_bytes`: the parser without the
 * file system. `file` is only the name for messages. The result cannot be read from. Errors as above. */
enum mn_status safetensors_parse(struct safetensors **out, const char *file, const void *bytes, size_t n_bytes,
                                 uint64_t file_bytes, const struct safetensors_limits *limits,
                                 const struct mn_log *log);

/* Checks an index file in memory, without opening the shards it names. MN_ERR_FORMAT, MN_ERR_MEMORY. */
enum mn_status safetensors_parse_index(const char *file, const void *bytes, size_t n_bytes,
                                       const struct safetensors_limits *limits, const struct mn_log *log);

/* Closes the files. NULL is fine. All views and names of `st` die here. */
void safetensors_close(struct safetensors *st);

/* The tensor with this name, or NULL. O(log n). */
const struct tensor_view *safetensors_find(const struct safetensors *st, const char *name);

/* Tensors are numbered in file order (by shard, then by offset): reading them in this order reads forwards. */
uint32_t safetensors_n_tensors(const struct safetensors *st);
const struct tensor_view *safetensors_tensor(const struct safetensors *st, uint32_t i);

uint32_t safetensors_n_shards(const struct safetensors *st);
/* Path of a shard, for messages. */
const char *safetensors_shard_name(const struct safetensors *st, uint32_t shard);

/* The hash of everything in the files that is no tensor's data: the index, where there is one, and the shards' headers
 * in the order of their names. */
uint64_t safetensors_headers_hash(const struct safetensors *st);

/* Reads bytes [byte_offset, byte_offset + n_bytes) of a tensor of `st` into dst.
 * MN_ERR_USAGE: outside the tensor, or not opened from a file. MN_ERR_FILE: an I/O error, or the file has become
 * shorter since it was opened. dst then holds unspecified bytes. */
enum mn_status safetensors_read(const struct safetensors *st, const struct tensor_view *tensor, uint64_t byte_offset,
                                uint64_t n_bytes, void *dst, const struct mn_log *log);

const char *tensor_dtype_name(enum tensor_dtype dtype); /* "BF16" */
uint32_t tensor_dtype_bits(enum tensor_dtype dtype);    /* of one element; 0 for TENSOR_OTHER */
uint32_t tensor_dtype_bytes(enum tensor_dtype dtype);   /* the same in bytes; 0 where it is not a whole number */

#endif
