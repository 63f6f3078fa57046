/* Read-outs: what coda and head say of a state that was not computed but estimated from the steps before it, and
 * which coda entries of earlier positions they say it from. A measurement: see mn_readout_rule in muninn.h.
 *
 * Owns: nothing between calls. Never: changes what decoding computes. Thread-safety: that of the session. */
#ifndef MUNINN_ANALYSIS_READOUT_H
#define MUNINN_ANALYSIS_READOUT_H

#include "engine/model/session.h"

/* The state that `rule` reads out after `step` steps: states [step + 1, d], the initial one first; out [d]. */
void readout_state(enum mn_readout_rule rule, const float *states, uint32_t step, uint32_t d, float *out);

/* Fills t->readouts from the complete trace *t of this session's tokens. Leaves the session's states and coda entries
 * in disorder. MN_ERR_MEMORY, MN_ERR_INTERRUPTED, and what session_run fails with. */
enum mn_status readout_measure(struct mn_depth_trace *t, struct session *session,
                               const struct mn_depth_trace_params *params);

#endif
