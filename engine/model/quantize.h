/* Quantised folders: a checkpoint's matrices in a weight type, written so that loading need not round them again.
 *
 * Owns: which tensors are written in which form (weight_stored.h), the quantization_config in config.json, what else of
 *       a folder is copied: all plain files but weights and hidden ones.
 * Never: needs a device; holds more of a tensor than a piece and its scales; leaves half a folder.
 * Thread-safety: stateless.
 */
#ifndef MUNINN_ENGINE_MODEL_QUANTIZE_H
#define MUNINN_ENGINE_MODEL_QUANTIZE_H

#include "engine/model/weight_scheme.h"

struct quantize_params {
    const char *model_dir, *out_dir;
    struct weight_scheme scheme;
    struct mn_progress progress;
    const struct mn_log *log;
    uint64_t shard_bytes; /* most bytes of tensors in a file, unless one has more; 0: 5 * 10^9 */
};

struct quantize_result {
    uint64_t read_bytes, written_bytes; /* of tensors */
    uint32_t n_quantized, n_kept;       /* matrices; kept: their rows do not come in whole groups */
};

/* MN_ERR_USAGE: a scheme that rounds nothing, or a place that is taken, the model's folder or inside it.
 * MN_ERR_UNSUPPORTED: the folder is quantised already, or a value does not fit its type. Others as loading has them.
 * MN_ERR_RUN: writing failed. MN_ERR_INTERRUPTED. */
enum mn_status quantize_folder(const struct quantize_params *params, struct quantize_result *result);

/* ---- quantize_files.c ---- */

struct output_folder;

/* Copies what is neither configuration nor weights. */
enum mn_status quantize_copy_rest(const struct quantize_params *params, const struct output_folder *folder);
/* config.json with a quantization_config, all else in it as it is spelled. */
enum mn_status quantize_write_config(const struct quantize_params *params, const struct output_folder *folder);

#endif
