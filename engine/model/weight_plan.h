/* The plan of a model's weights: which tensors become which matrix or vector on the device, in which layout. A family
 * lists it (family.h); the loader then reserves all memory at once and fills it, from a file or from a seed.
 *
 * The first failure sticks, so that a plan reads as a list. A matrix is known to synthetic models by its place in the
 * list: the order is part of what a seed means.
 * Owns: what is planned, until the weights are loaded.
 * Never: allocates device memory. Thread-safety: none.
 */
#ifndef MUNINN_ENGINE_MODEL_WEIGHT_PLAN_H
#define MUNINN_ENGINE_MODEL_WEIGHT_PLAN_H

#include "engine/files/safetensors.h"
#include "engine/model/weight_scheme.h"
#include "engine/model/weight_stored.h"
#include "engine/model/weights.h"

enum { PLAN_PARTS_MAX = 3, PLAN_NAME_BYTES = 128 };

/* How rows and columns of tensors become the kernels'. */
enum layout {
    LAYOUT_ROWS, /* as they are */
    LAYOUT_QKV,  /* as they are, but heads of q and k as rotary pairs of neighbours where config.rotary_halves */
    LAYOUT_GATE, /* the first half of the rows (gate) to even rows, the second (up) to odd rows */
    LAYOUT_HEADS /* columns padded per head from head_dim to head_pad */
};

/* A tensor, or the next rows of a matrix that a file keeps as several tensors. */
struct tensor_plan {
    char name[PLAN_NAME_BYTES];
    uint32_t rows;
};

struct matrix_plan {
    struct tensor_plan parts[PLAN_PARTS_MAX]; /* one below the other; a part without a name ends the list */
    uint32_t columns;                         /* of the tensors */
    uint32_t column0, n_columns;              /* the columns that this matrix has; n_columns 0: all */
    enum layout layout;
    bool vocabulary; /* the tensor may have more rows than are used: checkpoints pad the vocabulary */
};

struct weight_plan;

/* A matrix. MN_ERR_FORMAT when a tensor is missing or has another shape. */
void plan_matrix(struct weight_plan *plan, struct matrix *matrix, const struct matrix_plan *what);
/* A vector of n values: tensor `a`, times tensor `b` where that is not NULL. Synthetic models have ones. */
void plan_norm(struct weight_plan *plan, struct span *span, const char *a, const char *b, uint32_t n);
/* Tensor `name`, or zeros where that is NULL. Synthetic models have zeros. */
void plan_bias(struct weight_plan *plan, struct span *span, const char *name, uint32_t n);
/* The norms of queries `q` [H h] and of keys `k` [G h] one behind the other, in the rows' order of LAYOUT_QKV. */
void plan_heads_norm(struct weight_plan *plan, struct span *span, const char *q, const char *k);
/* A norm that the host needs, *out [n] malloc'ed. */
void plan_host_norm(struct weight_plan *plan, float **out, const char *name, uint32_t n);
/* A linear layer with one output that the host needs: weights and bias, *out [n + 1] malloc'ed. Synthetic models have
 * zeros. */
void plan_host_gate(struct weight_plan *plan, float **out, const char *weight, const char *bias, uint32_t n);

/* "PREFIX.NAME" in `text` [PLAN_NAME_BYTES], and text. */
const char *plan_name(char *text, const char *prefix, const char *name);

/* ---- for the loader (weights.c) ---- */

struct matrix_item {
    struct matrix *matrix;
    enum weight_group group;
    struct matrix_plan plan;
    struct stored_matrix stored[PLAN_PARTS_MAX];
    bool hashes[PLAN_PARTS_MAX]; /* it is the first to read this tensor: its rows go into the hash */
};

/* What a tensor of the file becomes: rows of so many columns in a type. AS_STORED: what it is, or no matrix. */
struct tensor_target {
    enum weight_type type;
    uint32_t columns;
    bool repeats; /* it says again what another one says */
};

struct vector_item {
    struct span *span;
    float *values; /* [n], padded with zeros */
    uint32_t n;
};

struct weight_plan {
    const struct model_config *config;
    const struct mn_log *log;
    struct device *device; /* NULL: nothing is reserved, the plan says what a file holds and no more */
    struct arena *arena;
    const struct weights *weights; /* whose matrices are planned */
    struct weight_scheme scheme;
    const char *dir;
    struct safetensors *file;      /* NULL: synthetic */
    bool *used;                    /* [tensors of the file] the plan asked for it */
    struct tensor_target *targets; /* [tensors of the file] */
    uint64_t *planned_bytes;       /* [tensors of the file] those at its beginning that the plan reads */
    uint64_t hash;                 /* of the file's bytes that were read: a sum, so that their order does not matter */
    struct matrix_item *matrices;
    struct vector_item *vectors;
    uint32_t n_matrices, n_vectors, matrices_max, vectors_max;
    enum mn_status status;
};

/* Room for the matrices and vectors of `n_blocks` blocks; opens the checkpoint unless dir is NULL. */
enum mn_status weight_plan_init(struct weight_plan *plan, uint32_t n_blocks);
void weight_plan_finish(struct weight_plan *plan);
/* A tensor of a type that weights can be made of. MN_ERR_FORMAT: missing. MN_ERR_UNSUPPORTED: of another type. */
enum mn_status weight_plan_find(const struct weight_plan *plan, const char *name, const struct tensor_view **out);
/* The type that a matrix gets of which the scheme says nothing: that of the tensor, or of a synthetic model. */
enum weight_type weight_plan_stored_type(const struct tensor_view *tensor);
/* Refuses a tensor one of whose groups holds a value, its largest, that does not fit the type. */
enum mn_status weight_plan_refuse_value(const struct weight_plan *plan, const struct tensor_view *tensor,
                                        enum weight_type type, const float *group);
/* Converts `n` stored values to f32, refusing what no weight may be. */
enum mn_status weight_plan_decode(const struct weight_plan *plan, const struct tensor_view *tensor,
                                  const uint8_t *bytes, uint64_t n, float *out);
/* Takes bytes of a tensor into the hash, which has to get every byte once. */
void weight_plan_hash(struct weight_plan *plan, const struct tensor_view *tensor, uint64_t byte_offset,
                      const void *bytes, uint64_t n_bytes);
/* Reads what the plan has no use for (padding of a vocabulary, tensors of something else) into the hash and ends it:
 * from now on it stands for every byte of the files. */
enum mn_status weight_plan_hash_rest(struct weight_plan *plan);
/* Row of the tensors, one below the other, that becomes row `row` of the matrix. */
uint32_t weight_plan_source_row(const struct weight_plan *plan, const struct matrix_item *item, uint32_t row);

#endif
