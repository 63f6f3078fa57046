/* mn_scheduler: spec/scheduler.h for everybody. */
#include "spec/scheduler.h"

#include <stdlib.h>

#include "api/handles.h"

struct mn_scheduler {
    struct mn_session *session;
    struct scheduler *scheduler;
};

enum mn_status mn_scheduler_create(struct mn_scheduler **out, struct mn_session *session,
                                   const struct mn_scheduler_params *params)
{
    const struct mn_log *log = session ? session->engine->log : NULL;
    if (out)
        *out = NULL;
    if (!out || !session || !params)
        return api_missing(log, "mn_scheduler_create", !out ? "out" : session ? "params" : "session");
    enum mn_status status = CHECK_ROOM(log, "mn_scheduler_params", params);
    if (!status)
        status = api_need_unscheduled(session, "mn_scheduler_create");
    if (status)
        return status;
    struct mn_scheduler *s = calloc(1, sizeof *s);
    if (!s)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a scheduler");
    status = scheduler_create(&s->scheduler, session->session, &session->costs, params);
    if (status) {
        free(s);
        return status;
    }
    s->session = session;
    session->scheduled = true;
    *out = s;
    return MN_OK;
}

void mn_scheduler_destroy(struct mn_scheduler *s)
{
    if (!s)
        return;
    s->session->scheduled = false;
    scheduler_destroy(s->scheduler);
    free(s);
}

enum mn_status mn_scheduler_add(struct mn_scheduler *s, const struct mn_generate_params *params,
                                void (*on_end)(void *user, uint64_t id, const struct mn_stats *stats), void *user,
                                uint64_t *id)
{
    const struct mn_log *log = s ? s->session->engine->log : NULL;
    if (id)
        *id = 0;
    if (!s || !params)
        return api_missing(log, "mn_scheduler_add", s ? "params" : "scheduler");
    enum mn_status status = api_check_generate_room(log, params);
    return status ? status
                  : scheduler_add(s->scheduler,
                                  &(struct sequence_params){.generate = params, .on_end = on_end, .user = user}, id);
}

enum mn_status mn_scheduler_cancel(struct mn_scheduler *s, uint64_t id)
{
    return s ? scheduler_cancel(s->scheduler, id) : api_missing(NULL, "mn_scheduler_cancel", "scheduler");
}

enum mn_status mn_scheduler_step(struct mn_scheduler *s, uint32_t *n_alive)
{
    if (n_alive)
        *n_alive = 0;
    return s ? scheduler_step(s->scheduler, n_alive) : api_missing(NULL, "mn_scheduler_step", "scheduler");
}

void mn_scheduler_stats(const struct mn_scheduler *s, struct mn_scheduler_stats *stats)
{
    if (!stats)
        return;
    *stats = (struct mn_scheduler_stats){0};
    if (s)
        scheduler_stats(s->scheduler, stats);
}
