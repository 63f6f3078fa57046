/* A checkpoint against the plan made from its config.json: what is left over, and what is there twice.
 *
 * Owns: which tensors without a use are harmless (buffers that are computed, things outside the model) and which say
 *       that the model is another one than config.json describes: more blocks, or more inside a block.
 * Never: changes a plan but for its status. Thread-safety: none.
 */
#ifndef MUNINN_ENGINE_MODEL_WEIGHT_CHECK_H
#define MUNINN_ENGINE_MODEL_WEIGHT_CHECK_H

#include "engine/model/weight_plan.h"

/* For families with tied embeddings: the rows of the vocabulary in tensor `name`, where the checkpoint has it at all,
 * must be those of `twin`, which is used in its stead. */
void plan_tied(struct weight_plan *plan, const char *name, const char *twin);

/* Once everything is planned. MN_ERR_FORMAT: a tensor of the model that config.json has no place for. Others are warned
 * of, together. */
enum mn_status weight_check_rest(const struct weight_plan *plan);

#endif
