/* The model's weights on the device: every matrix in planar 16-byte chunks of 8 inputs, norms and biases as f32.
 *
 * Owns: the weights arena. Layouts are the kernels': gate and up rows interleaved, attention-projection columns padded
 * per head, the adapter split into its state half and its embedding half, rows padded with zeros to whole chunks.
 * Never: keeps a host copy of a matrix; trusts a shape, a dtype or a value of the file.
 * Thread-safety: read-only once loaded.
 */
#ifndef MUNINN_ENGINE_MODEL_WEIGHTS_H
#define MUNINN_ENGINE_MODEL_WEIGHTS_H

#include "engine/model/config.h"
#include "engine/vulkan/buffer.h"
#include "engine/vulkan/stream.h"

/* Windows and dispatches start at multiples of so many rows: their byte offsets then meet any alignment (rows are
 * multiples of 16 bytes), and they hold whole workgroups of every tile. */
enum { MATRIX_ROWS_STEP = 256 };

enum weight_type { WEIGHT_TYPE_F32 = 0, WEIGHT_TYPE_F16, WEIGHT_TYPE_BF16, WEIGHT_TYPE_AS_STORED };

/* Rows of equal length, in windows that each fit into one binding and one allocation of the device: usually one
 * window. */
struct matrix {
    struct span *windows; /* [n_windows], all but the last of window_rows rows */
    enum weight_type type;
    uint32_t n_out;    /* rows */
    uint32_t n_chunks; /* input length / 8, padded */
    uint64_t row_bytes;
    uint32_t n_windows, window_rows;
};

struct block_weights {
    struct matrix qkv;      /* [3d, d]: q, k, v rows */
    struct matrix proj;     /* [d, heads * head_pad] */
    struct matrix gate;     /* [2F, d]: gate i in row 2i, up i in row 2i + 1 */
    struct matrix down;     /* [d, F] */
    struct span input_norm; /* [d] norm_1, times norm_4 of the block before where that is still pending */
    struct span norm_2;     /* [d] */
    struct span gate_norm;  /* [d] norm_2 * norm_3 */
    struct span norm_4;     /* [d] */
    struct span bias;       /* [2, d] on q and k; zeros when the model has none */
};

struct weights {
    struct arena arena;
    struct matrix embedding;      /* [V, d] */
    struct matrix head;           /* [V, d]: the embedding when tied */
    struct matrix adapter_state;  /* [d, d]: columns of the state */
    struct matrix adapter_embed;  /* [d, d]: columns of the embedding */
    struct block_weights *blocks; /* [n_blocks] prelude, core, coda in order */
    uint32_t n_blocks;
    struct span norm_f;    /* [d] ln_f */
    struct span head_norm; /* [d] ln_f, times norm_4 of the last coda block */
    float *state_norm;     /* [d] on the host: norm_4 of the last core block, pending on latent states */
    uint64_t prelude_bytes, core_bytes, coda_bytes; /* matrix bytes one pass reads; coda includes the head */
};

/* Loads, checks, lays out and uploads the checkpoint in `dir`; `type` AS_STORED keeps each matrix as it is in the
 * file. */
enum mn_status weights_load(struct weights *weights, const char *dir, const struct model_config *config,
                            enum weight_type type, struct device *device, struct stream *stream);
/* The same shapes and layouts with values made on the device from `seed` (see synthetic.h); AS_STORED is bf16.
 * MN_ERR_MEMORY says which weight type would fit. */
enum mn_status weights_synthesize(struct weights *weights, const struct model_config *config, enum weight_type type,
                                  uint64_t seed, struct device *device, struct stream *stream);
void weights_finish(struct weights *weights);

/* Rows from `row0` on that lie in one window, at most `most`; and these rows for binding. */
uint32_t matrix_rows_at(const struct matrix *matrix, uint32_t row0, uint32_t most);
struct span matrix_span(const struct matrix *matrix, uint32_t row0, uint32_t n);

const char *weight_type_name(enum weight_type type); /* "bf16" */
enum mn_status weight_type_parse(const char *text, enum weight_type *out, const struct mn_log *log);

/* Host conversions, round to nearest even. */
uint16_t f32_to_f16(float x);
float f16_to_f32(uint16_t h);
uint16_t f32_to_bf16(float x);
float bf16_to_f32(uint16_t b);

#endif
