/* One pass of the model, recorded for one stamp of rows.
 * Never: submits, allocates device memory or looks at tokens. */
#ifndef MUNINN_ENGINE_MODEL_FORWARD_H
#define MUNINN_ENGINE_MODEL_FORWARD_H

#include "engine/model/recorder.h"

/* The pass in pieces, which are added to the session's. */
enum mn_status forward_record(struct session *session, enum pass pass, uint32_t stamp, struct pass_recording *out);

/* A pass in one recording, however long it takes, which the session does not know, with the list of its operations,
 * dispatch by dispatch: for those who measure, whose timers belong to one recording. */
struct whole_pass {
    struct recording recording;
    struct operation *operations; /* [n_operations] */
    uint32_t n_operations;
};
enum mn_status forward_record_whole(struct session *session, enum pass pass, uint32_t stamp, struct whole_pass *out);
/* The recording stays the stream's. */
void whole_pass_finish(struct whole_pass *whole);

#endif
