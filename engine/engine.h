/* What stands behind the public handles: an engine is a model and its tokenizer, a session is a session. */
#ifndef MUNINN_ENGINE_H
#define MUNINN_ENGINE_H

#include "session.h"
#include "tokenizer.h"

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

#endif
