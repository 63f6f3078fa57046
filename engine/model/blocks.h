/* Blocks that several families are made of, one operation a line, and their parts of a plan. Huginn's own is in its
 * file.
 *
 * x and out may be the same vectors, or lie by row or by slot; `ends_step` is for the last block of a step.
 * Thread-safety: none. */
#ifndef MUNINN_ENGINE_MODEL_BLOCKS_H
#define MUNINN_ENGINE_MODEL_BLOCKS_H

#include "engine/model/operations.h"
#include "engine/model/weight_plan.h"

/* A kind of block: llama_block, olmo_block, ouro_block. */
typedef void block_function(struct recorder *r, const struct block *b, const struct activation *x,
                            struct activation *out, bool ends_step);

/* x += attn(n1 x); x += mlp(n2 x): norms in front of the branches. */
block_function llama_block;
/* x += n1(attn x); x += n2(mlp x), q and k normed over all heads: norms behind the branches. */
block_function olmo_block;
/* x += n2(attn(n1 x)); x += n4(mlp(n3 x)): norms on both sides. */
block_function ouro_block;

/* Blocks first .. first + n - 1 in a row: from x to out, through the rows' vectors in between. n 0: nothing happens. */
void block_row(struct recorder *r, block_function *block, uint32_t first, uint32_t n, struct activation x,
               struct activation *out, bool ends_step);

/* The embedding, and the head, which is the same where they are tied. */
void plan_vocabulary(struct weight_plan *plan, struct weights *w, const char *embedding, const char *head);

/* Everything but the last norm of a stack with the tensor names of Llama; `norms` [4] name attention_in, attention_out,
 * mlp_in and mlp_out, NULL where there is none. */
void plan_llama_stack(struct weight_plan *plan, struct weights *w, const char *const norms[4]);

/* The names of Huginn's code: the two halves of the adapter, and the matrices of a block. */
void plan_raven_adapter(struct weight_plan *plan, struct weights *w);
void plan_raven_matrices(struct weight_plan *plan, struct block_weights *w, const char *prefix);

/* The norms of a block: names as above. */
void plan_block_norms(struct weight_plan *plan, struct block_weights *w, const char *prefix,
                      const char *const norms[4]);

#endif
