/* The transformer as dispatches: records one pass for one stamp of rows, in pieces. Included by session.c, pace.c and
 * benches. Never: submits, allocates device memory or looks at tokens. */
#ifndef MUNINN_ENGINE_MODEL_FORWARD_H
#define MUNINN_ENGINE_MODEL_FORWARD_H

#include "engine/model/session.h"

enum mn_status forward_record(struct session *session, enum pass pass, uint32_t stamp, struct pass_recording *out);

/* The same in one recording, however long it takes, which the session does not know: for benches, whose timers belong
 * to one. */
enum mn_status forward_record_whole(struct session *session, enum pass pass, uint32_t stamp, struct recording *out);

/* Matmul tile of a stamp. */
const struct tile *forward_tile(const struct session *session, uint32_t stamp);

#endif
