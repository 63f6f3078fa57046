/* Writing tensors in the safetensors format, in the strict layout that safetensors.h demands of what it reads: a header
 * that opens with '{' and is padded with blanks to whole 8 bytes, then the tensors one behind the other in the order
 * given, without gaps.
 *
 * Owns: the layout. Never: opens or closes a file. Thread-safety: stateless. */
#ifndef MUNINN_ENGINE_FILES_SAFETENSORS_WRITE_H
#define MUNINN_ENGINE_FILES_SAFETENSORS_WRITE_H

#include "engine/files/output_file.h"
#include "engine/files/safetensors.h"

struct tensor_source {
    const char *name; /* each once */
    enum tensor_dtype dtype;
    uint32_t rank; /* <= TENSOR_RANK_MAX */
    uint64_t shape[TENSOR_RANK_MAX];
    const void *data; /* product of shape times the size of dtype, as the format has it: little-endian */
};

/* Where only names, types and places are at hand: of which the bytes follow. */
struct tensor_header {
    const char *name;       /* each once */
    const char *dtype_name; /* as the file is to spell it */
    uint32_t rank;          /* <= TENSOR_RANK_MAX */
    uint64_t shape[TENSOR_RANK_MAX];
    uint64_t bytes;
};

/* The beginning of a file whose tensors' bytes the caller writes behind it, in this order, without gaps. MN_ERR_RUN:
 * writing failed. */
enum mn_status safetensors_write_header(struct output_file *out, const struct tensor_header *tensors, uint32_t n,
                                        const struct mn_log *log);
/* Into a file that output_open opened and that the caller commits. MN_ERR_RUN: writing failed. */
enum mn_status safetensors_write(struct output_file *out, const struct tensor_source *tensors, uint32_t n,
                                 const struct mn_log *log);

#endif
