/* What stands behind the public handles: an engine is a model and its tokenizer, a session is a session. */
#ifndef MUNINN_API_HANDLES_H
#define MUNINN_API_HANDLES_H

#include "engine/model/session.h"
#include "engine/text/tokenizer.h"

struct mn_engine {
    struct model *model;         /* NULL: the tokenizer alone */
    struct tokenizer *tokenizer; /* NULL when the model has none: ids only */
    const struct mn_log *log;
    char banner[512];
};

struct mn_session {
    struct session *session;
    struct mn_engine *engine;
};

/* MN_ERR_USAGE: a missing argument is the caller's mistake like any other: refused, not followed. */
enum mn_status api_missing(const struct mn_log *log, const char *function, const char *argument);

#endif
