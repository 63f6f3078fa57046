/* Profiles: what one pass, and every dispatch of it, takes by itself. Public as mn_profile_*.
 *
 * Owns: a session of its own, whose cache holds positions up to where the rows stand. Never: knows statistics; a caller
 * repeats and judges. Thread-safety: none.
 */
#ifndef MUNINN_ENGINE_MODEL_PROFILE_H
#define MUNINN_ENGINE_MODEL_PROFILE_H

#include "engine/model/forward.h"

struct profile_params {
    uint32_t position; /* of the first row, at least 1 */
    uint32_t max_rows;
    enum kv_type kv_type;
};

struct profile {
    struct session *session;
    uint32_t position, n_rows;
    enum pass pass;
    double pass_us; /* that one took last; 0: not known yet */
    struct row rows[SESSION_MAX_ROWS];
    struct whole_pass plain, timed;  /* timed: with timestamps around its dispatches */
    struct mn_operation *operations; /* [plain.n_operations] */
    struct recording empty;
};

enum mn_status profile_create(struct profile **out, struct model *model, const struct profile_params *params);
void profile_destroy(struct profile *profile);

/* Takes a pass of n_rows rows for the calls that follow. */
enum mn_status profile_pass(struct profile *profile, enum pass pass, uint32_t n_rows);
/* Microseconds of that pass, in a submit with as many of them as fit into a short one, so that the submit hardly
 * counts; the first call warms up. */
enum mn_status profile_time_pass(struct profile *profile, double *us);
/* Microseconds of its dispatches: us [n_operations]. MN_ERR_UNSUPPORTED on a device without timestamps. */
enum mn_status profile_time_operations(struct profile *profile, double *us);
/* Microseconds of a submit with n dispatches that do next to nothing. */
enum mn_status profile_time_empty(struct profile *profile, uint32_t n_dispatches, double *us);

#endif
