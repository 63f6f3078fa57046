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
    struct mn_cost_table costs; /* n = 0: neither measured nor given yet */
};

#endif
