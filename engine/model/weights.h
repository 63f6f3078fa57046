/* The model's weights on the device: every matrix in planar 16-byte chunks, norms and biases as f32.
 *
 * Owns: the weights arena. Layouts are the kernels': gate and up rows interleaved, rotary pairs as neighbours,
 * attention-projection columns padded per head, the adapter split into its state half and its embedding half, rows
 * padded with zeros to whole chunks. Which tensor becomes what is the family's plan (weight_plan.h).
 * Never: keeps a host copy of a matrix; trusts a shape, a dtype or a value of the file.
 * Thread-safety: read-only once loaded.
 */
#ifndef MUNINN_ENGINE_MODEL_WEIGHTS_H
#define MUNINN_ENGINE_MODEL_WEIGHTS_H

#include "engine/model/config.h"
#include "engine/model/matrix.h"
#include "engine/model/weight_scheme.h"
#include "engine/vulkan/stream.h"

/* The norms a block may have, by who applies them. A norm of the value (attention_out, mlp_out) is owed by whoever
 * reads the value; a reader's own norm comes on top, and both together are one weight where the reader's is applied to
 * a value that is still owed one. A family without one of them leaves its span empty. */
struct block_weights {
    struct matrix qkv;         /* [(H + 2 G) h, d]: q, k, v rows */
    struct matrix proj;        /* [d, H * head_pad] */
    struct matrix gate;        /* [2F, d]: gate i in row 2i, up i in row 2i + 1 */
    struct matrix down;        /* [d, F] */
    struct span attention_in;  /* [d] what qkv multiplies its input with */
    struct span attention_out; /* [d] norm of what is behind attention: the sum, or the branch alone */
    struct span mlp_in;        /* [d] what gate multiplies its input with */
    struct span mlp_out;       /* [d] the same behind the MLP */
    struct span bias;          /* [(H + G) h] on q and k; zeros when the model has none */
    struct span heads_norm;    /* [(H + G) h] norm of q over all heads, and of k */
};

struct weights {
    struct arena arena;
    struct matrix embedding;      /* [V, d] */
    struct matrix head;           /* [V, d]: the embedding when tied */
    struct matrix adapter_state;  /* [d, d]: columns of the state */
    struct matrix adapter_embed;  /* [d, d]: columns of the embedding */
    struct block_weights *blocks; /* [n_blocks] prelude, core, coda in order */
    uint32_t n_blocks;
    struct span coda_norm; /* [d] between the core and the coda */
    struct span head_norm; /* [d] what the head multiplies its input with */
    float *state_norm;     /* [d] on the host: the norm that states are owed; NULL: none */
    float *exit_gate;      /* [d + 1] on the host: weights and bias; NULL: the family has none */
    uint64_t hash;         /* of every byte of the files; 0: synthetic */
    uint64_t prelude_bytes, core_bytes, coda_bytes; /* matrix bytes one pass reads; coda includes the head */
};

struct weight_plan;

/* Lists everything in a plan of which config, log, dir, scheme and what is reserved from are set, and checks it against
 * the files. `weights` is zeroed but for its arena; it and the plan are to be finished whatever the result. */
enum mn_status weights_list(struct weights *weights, struct weight_plan *plan);

/* Loads, checks, lays out and uploads the checkpoint in `dir`; a matrix whose type in the scheme is AS_STORED stays as
 * it is in the file. MN_ERR_MEMORY says which weight type would fit. */
enum mn_status weights_load(struct weights *weights, const char *dir, const struct model_config *config,
                            const struct weight_scheme *scheme, struct device *device, struct stream *stream);
/* The same shapes and layouts with values made on the device from `seed` (see synthetic.h); AS_STORED is bf16. */
enum mn_status weights_synthesize(struct weights *weights, const struct model_config *config,
                                  const struct weight_scheme *scheme, uint64_t seed, struct device *device,
                                  struct stream *stream);
/* The plan of either alone: sizes, and norms on the host; nothing on the device. `dir` NULL: synthetic. */
enum mn_status weights_plan(struct weights *weights, const char *dir, const struct model_config *config,
                            const struct weight_scheme *scheme, struct device *device);
/* "q4_1": the scheme; where it says nothing that of a quantised folder, or the type of the core's first matrix. */
const char *weights_type_name(const struct weights *weights, const struct model_config *config,
                              const struct weight_scheme *scheme);
/* Matrices of one type, those among them that keep it though another was asked for, and their bytes. */
struct weight_count {
    uint32_t n, n_kept;
    uint64_t bytes;
};
struct weight_count weights_count(const struct weights *weights, enum weight_type type);
void weights_finish(struct weights *weights);

#endif
