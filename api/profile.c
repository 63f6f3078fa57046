/* mn_profile_*: engine/model/profile.h for everybody. */
#include "engine/model/profile.h"

#include <stdlib.h>

#include "api/handles.h"

struct mn_profile {
    struct profile *profile;
    const struct mn_log *log;
};

enum mn_status mn_profile_create(struct mn_profile **out, struct mn_engine *engine,
                                 const struct mn_profile_params *params)
{
    if (out)
        *out = NULL;
    enum mn_status status = api_need_model(engine, "mn_profile_create");
    if (status)
        return status;
    const struct mn_log *log = engine->log;
    if (!out || !params)
        return api_missing(log, "mn_profile_create", out ? "params" : "out");
    status = CHECK_ROOM(log, "mn_profile_params", params);
    if (status)
        return status;
    if (params->position < 1 || params->max_rows < 1 || params->max_rows > SESSION_MAX_ROWS)
        return log_fail(log, MN_ERR_USAGE, "position %u, max_rows %u: must be at least 1, and 1 to %d",
                        params->position, params->max_rows, SESSION_MAX_ROWS);
    struct profile_params inner = {.position = params->position, .max_rows = params->max_rows, .kv_type = KV_F16};
    status = params->kv_type ? kv_type_parse(params->kv_type, &inner.kv_type, log) : MN_OK;
    struct mn_profile *p = status ? NULL : calloc(1, sizeof *p);
    if (!status && !p)
        status = log_fail(log, MN_ERR_MEMORY, "out of host memory for a profile");
    if (!status)
        status = profile_create(&p->profile, engine->model, &inner);
    if (status) {
        free(p);
        return status;
    }
    p->log = log;
    *out = p;
    return MN_OK;
}

void mn_profile_destroy(struct mn_profile *p)
{
    if (!p)
        return;
    profile_destroy(p->profile);
    free(p);
}

enum mn_status mn_profile_pass(struct mn_profile *p, enum mn_pass pass, uint32_t n_rows,
                               const struct mn_operation **operations, uint32_t *n_operations)
{
    static const enum pass passes[MN_PASSES] = {PASS_PRELUDE, PASS_CORE, PASS_CODA, PASS_HEAD_GREEDY};
    if (!p || !operations || !n_operations)
        return api_missing(p ? p->log : NULL, "mn_profile_pass", p ? "an argument" : "profile");
    const uint32_t most = session_info(p->profile->session)->max_rows;
    if ((int)pass < 0 || pass >= MN_PASSES || n_rows < 1 || n_rows > most)
        return log_fail(p->log, MN_ERR_USAGE, "pass %d of %u rows: must be a pass, and 1 to %u", (int)pass, n_rows,
                        most);
    enum mn_status status = profile_pass(p->profile, passes[pass], n_rows);
    *operations = status ? NULL : p->profile->operations;
    *n_operations = status ? 0 : p->profile->plain.n_operations;
    return status;
}

static enum mn_status need_pass(const struct mn_profile *p, const double *us, const char *function)
{
    if (!p || !us)
        return api_missing(p ? p->log : NULL, function, p ? "us" : "profile");
    return p->profile->operations ? MN_OK : log_fail(p->log, MN_ERR_USAGE, "%s: mn_profile_pass comes first", function);
}

enum mn_status mn_profile_time_pass(struct mn_profile *p, double *us)
{
    enum mn_status status = need_pass(p, us, "mn_profile_time_pass");
    return status ? status : profile_time_pass(p->profile, us);
}

enum mn_status mn_profile_time_operations(struct mn_profile *p, double *us)
{
    enum mn_status status = need_pass(p, us, "mn_profile_time_operations");
    return status ? status : profile_time_operations(p->profile, us);
}

bool mn_profile_has_timestamps(const struct mn_profile *p)
{
    return p && p->profile->session->stream.has_timers;
}

enum mn_status mn_profile_time_empty(struct mn_profile *p, uint32_t n_dispatches, double *us)
{
    if (!p || !us)
        return api_missing(p ? p->log : NULL, "mn_profile_time_empty", p ? "us" : "profile");
    return profile_time_empty(p->profile, n_dispatches, us);
}
