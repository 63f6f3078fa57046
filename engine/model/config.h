/* The model's shape and constants, from config.json and generation_config.json.
 *
 * Owns: what all families share of these files, and the limits. The keys of a family, and the refusal of every setting
 *       that would make the published code compute something else than this engine does, are the family's (family.h).
 * Never: looks at weights (whether their shapes agree is checked when they are bound), guesses a missing shape,
 *        keeps memory: a model_config is a plain value.
 * Thread-safety: stateless.
 *
 * After a successful call, every field is inside the limits below, so products of two counts fit in uint64_t without
 * further checks, and every token id is below vocab_size.
 */
#ifndef MUNINN_ENGINE_MODEL_CONFIG_H
#define MUNINN_ENGINE_MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "engine/model/weight_scheme.h"

enum {
    CONFIG_EMBD_MAX = 65536,
    CONFIG_HEADS_MAX = 1024,
    CONFIG_HEAD_DIM_MAX = 256, /* attention unrolls over a head: beyond this, compiling it takes minutes */
    CONFIG_INTERMEDIATE_MAX = 1 << 18,
    CONFIG_VOCAB_MAX = 1 << 20,
    CONFIG_LAYERS_MAX = 256, /* each of prelude, core, coda */
    CONFIG_BLOCK_MAX = 1 << 20,
    CONFIG_RECURRENCE_MAX = 4096,
    CONFIG_EOS_MAX = 16,
    CONFIG_FILE_BYTES_MAX = 1 << 20,
};

/* quant_method and format of the quantization_config that this engine writes and reads. */
#define CONFIG_QUANT_METHOD "muninn"
enum { CONFIG_QUANT_FORMAT = 1 };

struct family; /* family.h */

/* Llama 3's way to stretch the rotary embedding; factor 0: none. */
struct rope_scaling {
    float factor, low_factor, high_factor;
    uint32_t original_positions; /* that the model was trained on before */
};

struct model_config {
    const struct family *family;
    double state_std; /* of the values of random initial states; 0: the family has none */
    uint32_t n_embd;
    uint32_t n_heads;    /* of the queries */
    uint32_t n_kv_heads; /* of keys and values: query head i reads key/value head i / (n_heads / n_kv_heads) */
    uint32_t head_dim;   /* even: the rotary embedding turns pairs */
    uint32_t intermediate_size;
    uint32_t vocab_size;
    uint32_t padded_vocab_size; /* rows of the embedding, >= vocab_size; equal when the file does not say */
    uint32_t n_prelude;         /* blocks */
    uint32_t n_core;            /* blocks */
    uint32_t n_coda;            /* blocks */
    uint32_t mean_recurrence;   /* recurrence steps the model was trained around; the default depth */
    uint32_t max_recurrence;    /* steps beyond which it is another model; 0: no such bound */
    uint32_t block_size;        /* positions the model was trained on */
    float norm_eps;
    float rope_base;
    struct rope_scaling rope_scaling;
    bool rotary_halves; /* pairs are (i, i + head_dim / 2) in the files; false: neighbours, as the kernels have them */
    float embed_scale;
    bool tie_embeddings;
    bool qk_bias;
    bool heads_normed;        /* q and k are normed over all heads together, before they are turned */
    bool bos_from_generation; /* generation_config.json names the begin token, and not config.json alone */
    uint32_t bos_token_id;    /* UINT32_MAX when there is none */
    uint32_t eos_token_ids[CONFIG_EOS_MAX]; /* [n_eos] */
    uint32_t n_eos;
    char torch_dtype[16];        /* "float32", ...: information only, the weights say what they are */
    struct weight_scheme stored; /* of a quantised folder: what its weights are; an empty name: as they are */
};

/* Reads dir/config.json and, if it exists, dir/generation_config.json, whose token ids win.
 * MN_ERR_FILE: config.json is missing, or a file is unreadable. MN_ERR_FORMAT: malformed, out of range, or
 * contradictory. MN_ERR_UNSUPPORTED: another model type, or settings that the family does not have.
 * MN_ERR_MEMORY. *out is zeroed on failure. */
enum mn_status config_load(struct model_config *out, const char *dir, const struct mn_log *log);

/* The same from memory. `file` and `generation_file` are only names for messages; `generation` may be NULL. */
enum mn_status config_parse(struct model_config *out, const char *file, const void *bytes, size_t n_bytes,
                            const char *generation_file, const void *generation, size_t n_generation_bytes,
                            const struct mn_log *log);

/* A configuration without files, of the family of this name. MN_ERR_UNSUPPORTED: there is none. */
enum mn_status config_parse_family(struct model_config *out, const char *family, const char *file, const void *bytes,
                                   size_t n_bytes, const struct mn_log *log);

#endif
