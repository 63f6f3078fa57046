/* What happens inside the recurrence: every token's state and prediction after every step. See mn_depth_trace_run in
 * muninn.h.
 *
 * The prompt's positions take each step together through the prefill path, with coda and head behind it: step t of a
 * position has the bits of a prefill of depth t, and the last step those from which generation goes on. Generated
 * tokens, greedy ones, follow one by one as `ar` decodes them: their step t is what a row says that leaves at depth t
 * while all before it stand at the last one.
 *
 * Owns: the figures of one trace, in host memory. Never: prints. Thread-safety: none.
 */
#ifndef MUNINN_ANALYSIS_DEPTH_TRACE_H
#define MUNINN_ANALYSIS_DEPTH_TRACE_H

#include "engine/model/session.h"

enum mn_status depth_trace_check(const struct session *session, const struct mn_depth_trace_params *params);
/* Sets the session's sampler to greedy. */
enum mn_status depth_trace_run(struct mn_depth_trace *trace, struct session *session,
                               const struct mn_depth_trace_params *params);

#endif
