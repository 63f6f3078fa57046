/* The cost table of a session. */
#include "api/handles.h"
#include "spec/cost.h"

enum mn_status mn_session_costs(struct mn_session *session, struct mn_cost_table *table)
{
    if (!session || !table)
        return api_missing(session ? session->engine->log : NULL, "mn_session_costs", session ? "table" : "session");
    enum mn_status status = session->costs.n ? MN_OK : api_need_unscheduled(session, "mn_session_costs");
    if (!status)
        status = cost_ready(session->session, &session->costs, 0);
    if (!status)
        *table = session->costs;
    return status;
}

enum mn_status mn_session_set_costs(struct mn_session *session, const struct mn_cost_table *table)
{
    if (!session || !table)
        return api_missing(session ? session->engine->log : NULL, "mn_session_set_costs",
                           session ? "table" : "session");
    enum mn_status status = CHECK_ROOM(session->engine->log, "mn_cost_table", table);
    if (!status)
        status = cost_check(table, session->engine->log);
    if (!status)
        session->costs = *table;
    return status;
}

size_t mn_session_cost_key(const struct mn_session *session, char *text, size_t n_bytes)
{
    return session && (text || n_bytes == 0) ? cost_key(session->session, text, n_bytes) : 0;
}
