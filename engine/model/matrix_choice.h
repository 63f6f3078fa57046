/* Whether a model's matmuls run on matrix units (shaders/matrix): tried on the device, with a matrix of the model.
 *
 * Owns: nothing. Never: asks for a vendor; takes units whose results depend on how many rows run.
 * Thread-safety: none.
 */
#ifndef MUNINN_ENGINE_MODEL_MATRIX_CHOICE_H
#define MUNINN_ENGINE_MODEL_MATRIX_CHOICE_H

#include "engine/model/model.h"

/* "auto", "on", "off"; NULL is "off". MN_ERR_USAGE. */
enum mn_status matrix_wish_parse(const char *text, enum matrix_wish *wish, const struct mn_log *log);

/* Before kernels are made. MN_ERR_NO_DEVICE: they are wished for, and the device or this build has none. Where they are
 * wished for on a CPU device, buffers are bound as on a GPU. */
enum mn_status matrix_choice_prepare(struct device *device, enum matrix_wish wish, const struct mn_log *log);

/* With weights in place: sets the model's tiles. `wish` on: MN_ERR_CHECK when a row's bits depend on the rows beside
 * it, or differ from the other way by more than rounding. auto: units that fail this, or that take longer, are not
 * taken; few rows and prompts are decided for themselves. */
enum mn_status matrix_choose(struct model *model, struct stream *stream, enum matrix_wish wish);

#endif
