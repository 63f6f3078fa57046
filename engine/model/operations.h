/* Operations of a transformer as dispatches, one line each: what the families' passes are written in.
 *
 * Never: knows a family; keeps anything beyond the recorder. Thread-safety: none.
 */
#ifndef MUNINN_ENGINE_MODEL_OPERATIONS_H
#define MUNINN_ENGINE_MODEL_OPERATIONS_H

#include "engine/model/recorder.h"

/* Vectors of the rows under way. Two norms are told apart:
 *   - the value may BE norm(data): `owed` is that norm's weight, and whoever reads the value applies it, since the data
 *     was written before its sum of squares was known;
 *   - a reader may norm what it reads for itself: that is the reader's parameter.
 * Where both meet, one weight (the product) and one scale (in closed form) do: see docs/design.md. */
struct activation {
    struct span data;        /* [rows or slots, stride] f32 */
    struct span parts;       /* statistics of the data, [rows or slots, parts_stride]; no block: not wanted */
    uint32_t length;         /* values of a vector, without padding */
    uint32_t stride;         /* floats from one vector to the next */
    uint32_t n_parts;        /* set by the operation that writes */
    bool by_slot;            /* vectors are slots (sequence, position); otherwise rows of the row table */
    bool raw_at_depth_0;     /* latent states: at depth 0 the value is the data, owed or not */
    bool splits;             /* the output of attention, still in its splits */
    const struct span *owed; /* NULL: the value is the data */
};

/* ---- the vectors there are ---- */

struct activation row_vectors(const struct recorder *r);      /* [rows, d]: a block's input */
struct activation sum_vectors(const struct recorder *r);      /* [rows, d]: the sum behind attention */
struct activation hidden_vectors(const struct recorder *r);   /* [rows, F]: inside the MLP */
struct activation state_vectors(const struct recorder *r);    /* [slots, d]: latent states, as a step left them */
struct activation injected_vectors(const struct recorder *r); /* [slots, d]: what the prelude gives to every step */
struct activation head_vectors(const struct recorder *r);     /* [rows, (H + 2 G) h]: q, k, v before their norm */
/* The same value behind a norm that its readers apply. */
struct activation owing(struct activation value, const struct span *norm);

/* ---- operations ---- */

/* A block's weights and cache. */
struct block {
    const struct block_weights *w;
    const struct kv_block *kv;
    bool core; /* its cache has a depth axis */
};
/* Block `index` of prelude, core and coda in order. */
struct block block_at(const struct recorder *r, uint32_t index);

/* out = embedding[token] * config.embed_scale; the rows' initial states, which are `out` where nothing is injected. */
void embed(struct recorder *r, struct activation *out);

/* Query, key and value of norm(in) for every row: q = turn(Wq x + b) / sqrt(h), the same for k without the scale; k and
 * v go to the cache at the row's depth. `norm` is block.w->attention_in. Two dispatches where the cache is q8. */
void qkv(struct recorder *r, const struct block *block, const struct activation *in, const struct span *norm);

/* The same with q = turn(norm(Wq x)) / sqrt(h) and k = turn(norm(Wk x)), normed over all heads together, without a
 * bias: the product as a projection, then what has to wait for whole vectors. */
void qkv_normed(struct recorder *r, const struct block *block, const struct activation *in);

/* Attention of every row over its sequence, each step reading the depth slots of that step. */
struct activation attention(struct recorder *r, const struct block *block);

struct project {
    const char *what;
    const struct matrix *matrix;
    const struct activation *in;
    const struct span *norm;      /* the reader's own; NULL: none, and `in` is taken as what it is */
    const struct activation *add; /* NULL: nothing is added */
    struct activation *out;
    bool ends_step; /* the rows' depths go up by one */
};
/* out = W norm(in) + add. */
void project(struct recorder *r, const struct project *p);
#define PROJECT(r, ...) project(r, &(struct project){__VA_ARGS__})

/* out = silu(Wg norm(in)) * Wu norm(in); `norm` NULL: of `in` as it is */
void gate(struct recorder *r, const struct block *block, const struct activation *in, const struct span *norm,
          struct activation *out);

/* out = norm(in), both sides as whole vectors; `norm` NULL: out = in, with nothing owed any more. */
void norm_vectors(struct recorder *r, const struct activation *in, const struct span *norm, struct activation *out);
/* out = x + branch, whole vectors too: for branches that are normed before they are added. `out` may be x. */
void add_vectors(struct recorder *r, const struct activation *x, const struct activation *branch,
                 struct activation *out, bool ends_step);

/* logits = W norm(in), with the first stage of the argmax; then the rows' tokens. */
void logits(struct recorder *r, const struct activation *in, const struct span *norm);
void pick(struct recorder *r, bool sampled);

#endif
