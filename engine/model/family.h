/* Families: the kinds of models this engine runs. A family is one file and one line in families.c; everything else
 * asks the descriptor.
 *
 * A family says which keys of config.json it understands, which tensors become which weights, what its passes consist
 * of, and what about it other layers must know. Its functions are lists: of keys, of tensors, of dispatches.
 * Never: keeps state. Thread-safety: stateless.
 */
#ifndef MUNINN_ENGINE_MODEL_FAMILY_H
#define MUNINN_ENGINE_MODEL_FAMILY_H

#include "engine/files/json.h"
#include "engine/model/config.h"

struct weight_plan;
struct weights;
struct recorder;
struct safetensors;

struct family {
    const char *name;       /* what people and reports call it */
    const char *model_type; /* in config.json */
    /* Several families share a model_type: is this the one? `file` is NULL where only a configuration is at hand. NULL:
     * it is, if no other one is. */
    bool (*is)(const struct json_doc *doc, const struct safetensors *file);
    /* Shape and constants; refuses by key and value what changes the mathematics and is not built. */
    enum mn_status (*read_config)(struct model_config *config, const struct json_doc *doc);
    /* weight_plan.h: the tensors, and norms joined where a reader's norm meets one that its input is owed. */
    void (*plan_weights)(struct weight_plan *plan, struct weights *weights);
    /* operations.h: what the passes do. */
    void (*prelude)(struct recorder *r); /* embedding, initial state, prelude blocks, what a step needs of them */
    void (*step)(struct recorder *r); /* one recurrence step and what follows each; its last dispatch raises depths */
    void (*coda)(struct recorder *r); /* from the latent state to what the head reads */
    void (*head)(struct recorder *r, bool sampled); /* logits and the choice of a token */
    bool injects;       /* the embedding enters every step: any initial state is as good, so warm starts and random ones
                         * exist; else the initial state is the embedding */
    bool fixed_depth;   /* one step is all there is: nothing to draft with */
    bool has_exit_gate; /* weights.exit_gate says after each step whether another one is needed */
    /* Token ids that end a text and that published files leave out; NULL: none. */
    void (*add_stops)(struct model_config *config);
};

/* The family of a configuration, NULL when no family has its model_type. */
const struct family *family_find(const char *model_type, const struct json_doc *doc, const struct safetensors *file);
/* NULL when there is no family of this name. */
const struct family *family_named(const char *name);
/* Do several families have this model_type, so that the tensors decide? */
bool family_is_ambiguous(const char *model_type);
/* "only A, B are supported" */
void family_names(char *text, size_t text_bytes);

#endif
