/* Weight schemes: which type each group of a model's matrices gets.
 *
 * A scheme is written TYPE, or TYPE+GROUP=TYPE+.. with exceptions, the later ones last: "q4_1", "bf16+core.mlp=q8_0".
 * A group may be a beginning ("core", "core.mlp"), and "all" is every one. "q4_1" by itself has the exceptions that a
 * recurrence needs (docs/quantisation.md); "q4_1+all=q4_1" has none.
 *
 * Never: knows tensors or devices. Thread-safety: stateless.
 */
#ifndef MUNINN_ENGINE_MODEL_WEIGHT_SCHEME_H
#define MUNINN_ENGINE_MODEL_WEIGHT_SCHEME_H

#include "engine/model/weight_type.h"

/* Of the blocks: group `part` of section `section` is WEIGHT_GROUP_BLOCKS + WEIGHT_PARTS * section + part. */
enum weight_section { WEIGHT_PRELUDE, WEIGHT_CORE, WEIGHT_CODA, WEIGHT_SECTIONS };
enum weight_part { WEIGHT_QKV, WEIGHT_ATTENTION_PROJ, WEIGHT_MLP_FC, WEIGHT_MLP_PROJ, WEIGHT_PARTS };
enum weight_group {
    WEIGHT_GROUP_EMBEDDING,
    WEIGHT_GROUP_HEAD,
    WEIGHT_GROUP_ADAPTER,
    WEIGHT_GROUP_EXIT_GATE,
    WEIGHT_GROUP_BLOCKS,
    WEIGHT_GROUPS = WEIGHT_GROUP_BLOCKS + WEIGHT_SECTIONS * WEIGHT_PARTS
};

enum { WEIGHT_SCHEME_BYTES = 256 };

struct weight_scheme {
    char name[WEIGHT_SCHEME_BYTES]; /* as it was written; empty: as stored */
    enum weight_type types[WEIGHT_GROUPS];
};

/* Every matrix in the type that the file has. */
struct weight_scheme weight_scheme_as_stored(void);
/* Every matrix in one type. */
struct weight_scheme weight_scheme_of(enum weight_type type);
/* Does it round anything? */
bool weight_scheme_quantised(const struct weight_scheme *scheme);
/* NULL: as stored. MN_ERR_USAGE names what is no type or no group. */
enum mn_status weight_scheme_parse(const char *text, struct weight_scheme *out, const struct mn_log *log);
/* "core.mlp.proj" */
const char *weight_group_name(enum weight_group group);

#endif
