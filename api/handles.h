/* What stands behind the public handles: an engine is a model and its tokenizer, a session is a session. */
#ifndef MUNINN_API_HANDLES_H
#define MUNINN_API_HANDLES_H

#include "engine/model/model.h"
#include "engine/model/session.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"

struct mn_engine {
    struct model *model;         /* NULL: the tokenizer alone */
    struct tokenizer *tokenizer; /* NULL when the model has none: ids only */
    struct chat_template chat;   /* that the folder brings */
    uint32_t bos_token_id;       /* UINT32_MAX: none */
    bool chat_checked;           /* whoever has been warned of it is not warned for every prompt */
    const struct mn_log *log;
    char banner[512];
    uint64_t hash; /* the model's and its tokenizer's */
};

struct mn_session {
    struct session *session;
    struct mn_engine *engine;
    struct mn_cost_table costs; /* n = 0: neither measured nor given yet */
    bool scheduled;             /* it has a scheduler, whose the cache is */
};

/* MN_ERR_USAGE: a missing argument is the caller's mistake like any other: refused, not followed. */
enum mn_status api_missing(const struct mn_log *log, const char *function, const char *argument);
/* Can the engine compute? */
enum mn_status api_need_model(const struct mn_engine *engine, const char *function);
/* Has the session no scheduler? */
enum mn_status api_need_unscheduled(const struct mn_session *session, const char *function);
/* Of parameters and of all structs in them, as api_check_room. */
enum mn_status api_check_generate_room(const struct mn_log *log, const struct mn_generate_params *params);
/* The engine's parameters of a session. */
enum mn_status api_session_params(struct session_params *out, const struct mn_engine *engine,
                                  const struct mn_session_params *params);
/* Are the words that later versions make fields of zero? `what`: the struct that they end. */
enum mn_status api_check_room(const struct mn_log *log, const char *what, const uint64_t *reserved, size_t n);
#define CHECK_ROOM(log, what, params) \
    api_check_room(log, what, (params)->reserved, sizeof(params)->reserved / sizeof(uint64_t))

#endif
