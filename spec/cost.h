/* What a pass costs on this device, by the number of its rows: measured, or given by whoever measured it before.
 *
 * Never: decides anything (that is auto.c); knows files or the environment.
 * Thread-safety: none. */
#ifndef MUNINN_SPEC_COST_H
#define MUNINN_SPEC_COST_H

#include "engine/model/session.h"

/* Cost of one of the table's arrays at `rows` rows, linear between the points that were measured; 0 rows cost
 * nothing. */
double cost_at(const struct mn_cost_table *table, const double *ns, uint32_t rows);

/* Times passes of up to max_rows (at most 16) rows, unless the table is there (n > 0): overwrites positions of that
 * sequence's cache. */
enum mn_status cost_ready(struct session *session, struct mn_cost_table *table, uint32_t sequence);

/* MN_ERR_USAGE for a table that cannot have been measured. */
enum mn_status cost_check(const struct mn_cost_table *table, const struct mn_log *log);

/* See mn_session_cost_key. */
size_t cost_key(const struct session *session, char *text, size_t n_bytes);

#endif
