/* What stands behind the public handles: an engine is a model and its tokenizer, a session is a session. */
#ifndef MUNINN_API_HANDLES_H
#define MUNINN_API_HANDLES_H

#include "engine/model/model.h"
#include "engine/model/session.h"
#include "engine/text/tokenizer.h"

struct mn_engine {
    struct model *model;
    struct mn_tokenizer *tokenizer; /* NULL when the model has none: ids only */
    const struct mn_log *log;
    char banner[512];
};

struct mn_session {
    struct session *session;
    struct mn_engine *engine;
};

/* spec/generate.c */
enum mn_status generate(struct session *session, const struct mn_generate_params *params, struct mn_stats *stats);
/* spec/batch.c; see mn_generate_batch */
enum mn_status generate_batch(struct session *session, const struct mn_generate_params *params, uint32_t n,
                              struct mn_stats *stats, struct mn_stats *total, int (*on_end)(void *user, uint32_t i),
                              void *user);
/* spec/agreement.c; see mn_compare_ar */
enum mn_status compare_ar(struct session *full, const struct mn_generate_params *params, const uint32_t *tokens,
                          uint32_t n_tokens, struct mn_agreement *agreement);
/* spec/score.c; see mn_score */
enum mn_status score(struct session *session, const struct mn_score_params *params);

#endif
