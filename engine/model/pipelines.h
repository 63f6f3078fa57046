/* Every pipeline that a session would build, and what for: for those who look at compilers. Public as mn_pipelines.
 *
 * A session is planned and its passes are gone through as if they were recorded; pipelines are built, and nothing else:
 * no memory, no command buffer, no fence.
 * Owns: the list of uses; the pipelines are the model's. Never: submits. Thread-safety: none.
 */
#ifndef MUNINN_ENGINE_MODEL_PIPELINES_H
#define MUNINN_ENGINE_MODEL_PIPELINES_H

#include "engine/model/model.h"
#include "engine/model/session.h"

enum { PIPELINE_WHAT_MAX = 12 };

struct pipeline_use {
    const struct pipeline *pipeline;
    const char *what[PIPELINE_WHAT_MAX]; /* [n_what] operations that it is for: "qkv", "projection", ... */
    uint32_t n_what;
    uint32_t passes, stamps; /* bit i: enum pass i; stamp i */
};

struct pipeline_uses {
    struct pipeline_use *items; /* [n] in the order of their first use */
    uint32_t n;
};

/* MN_ERR_USAGE as session_create. The list is to be finished whatever the result. */
enum mn_status pipelines_list(struct pipeline_uses *out, struct model *model, const struct session_params *params);
void pipelines_finish(struct pipeline_uses *uses); /* zeroed is fine */

/* For the recorder: one more use. */
enum mn_status pipelines_add(struct pipeline_uses *uses, const struct pipeline *pipeline, const char *what,
                             uint32_t pass, uint32_t stamp, const struct mn_log *log);

/* Rows of the passes of a stamp, of those of prompts the most; 0: there is no such stamp. */
uint32_t pipeline_stamp_rows(uint32_t stamp, bool *of_prompts);

/* Of a pipeline's constants: the activation rows that share a read of the weights, and the type of these; false: its
 * kernel reads none. An embedding reads a row of weights for each row. */
bool pipeline_weights(const struct pipeline *pipeline, uint32_t *n_rows, enum weight_type *type);

#endif
