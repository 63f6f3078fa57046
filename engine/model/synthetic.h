/* Synthetic models: a shape and a seed instead of files, for measuring what a device does with weights of that size.
 *
 * The device fills every matrix itself (shaders/fill.comp) from counter-based noise: value (row, input) of matrix i
 * depends on the seed, i, row and input alone, not on windows or devices. Values are odd multiples of a power of two
 * with at most 8 bits, so f32, f16 and bf16 hold the same model; q8_0 and q4_1 hold values near it, with equal scales
 * in all groups. Their size is about 1/sqrt(inputs), which with the norms at 1 keeps activations where a trained model
 * has them.
 *
 * Never: says anything about quality; what such a model predicts means nothing. Thread-safety: none.
 */
#ifndef MUNINN_ENGINE_MODEL_SYNTHETIC_H
#define MUNINN_ENGINE_MODEL_SYNTHETIC_H

#include "engine/model/config.h"
#include "engine/model/matrix.h"
#include "engine/vulkan/stream.h"

/* A shape by name, as a list of figures, or from a config.json: see mn_engine_params. MN_ERR_USAGE names what is wrong
 * with it. */
enum mn_status synthetic_config(struct model_config *out, const char *shape, const struct mn_log *log);

struct synthetic_matrix {
    uint64_t seed;
    uint32_t number;          /* of the matrix in its model */
    uint32_t n_in;            /* inputs that a sum runs over */
    uint32_t period, n_valid; /* of every `period` inputs of a row the first n_valid are weights, the others padding */
};

/* Fills the matrix and waits. */
enum mn_status synthetic_fill(struct stream *stream, const struct matrix *matrix, const struct synthetic_matrix *what);

/* What one step of the values' grid is worth: a power of two near 1/(150 sqrt(n_in)), not so small that f16 would lose
 * a bit. */
float synthetic_scale(uint32_t n_in);
/* The value that the device puts at (row, k) of a matrix of this type; k counts padding. */
float synthetic_value(const struct synthetic_matrix *what, enum weight_type type, uint32_t row, uint32_t k);

#endif
