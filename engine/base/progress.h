/* How far long work is, and whether to go on: the caller's mn_progress and the phase that is under way.
 *
 * Never: measures time; shows anything. Thread-safety: none. */
#ifndef MUNINN_ENGINE_BASE_PROGRESS_H
#define MUNINN_ENGINE_BASE_PROGRESS_H

#include "engine/base/status.h"

/* Zeroed: nobody listens. */
struct progress {
    struct mn_progress to;
    const char *what; /* NULL: no phase is under way */
    uint64_t done, total;
    uint32_t n_nested; /* phases that began within this one, which goes on being reported, and count for it */
};

/* All return MN_ERR_INTERRUPTED when the caller's callback asks to stop, without a line in the log: who asks knows. */
enum mn_status progress_begin(struct progress *progress, const char *what, uint64_t total);
enum mn_status progress_add(struct progress *progress, uint64_t n);
/* Between two steps that change no figure: asks alone. In front of every submit and every pipeline. */
enum mn_status progress_poll(struct progress *progress);
/* Ends the phase, also of a failed step, whose status it hands on. One that went well is reported as complete. */
enum mn_status progress_end(struct progress *progress, enum mn_status status);

#endif
