/* What a pass costs on this device, by the number of its rows: measured once, kept in a file per device, driver and
 * model. Never: decides anything (that is auto.c). Thread-safety: none. */
#ifndef MUNINN_SPEC_COST_H
#define MUNINN_SPEC_COST_H

#include "engine/model/session.h"

enum { COST_POINTS = 16 };

struct cost_table {
    uint32_t n;                 /* measured row counts */
    uint32_t rows[COST_POINTS]; /* ascending, the first is 1 */
    double prelude_ns[COST_POINTS], core_ns[COST_POINTS],
        head_ns[COST_POINTS]; /* head: coda, head and choice of the token */
    double submit_ns;         /* what a submit costs beside its passes */
};

/* Cost of one of the three arrays at `rows` rows, linear between the points that were measured; 0 rows cost nothing. */
double cost_at(const struct cost_table *table, const double *ns, uint32_t rows);

/* Times passes of up to max_rows (at most 16) rows: overwrites positions of the first sequence's cache. */
enum mn_status cost_measure(struct session *session, struct cost_table *table);

/* The table from `dir`, or measured and stored there. A file that is damaged or of another device is measured anew with
 * a warning; so is a folder that cannot be written to. dir may be NULL. */
enum mn_status cost_get(struct session *session, const char *dir, struct cost_table *table);
/* Stores a table for this session's device and model; false when that fails. */
bool cost_store(const struct session *session, const char *dir, const struct cost_table *table);

#endif
