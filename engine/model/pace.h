/* Pace: submits of bounded length. Drivers reset a GPU that does not answer for about two seconds, and a shared one
 * should answer others sooner, so a run is cut into submits of about `submit_ns`.
 *
 * WORK is the measure: a multiply-add of a matmul or of attention, where reading a weight counts as much as
 * PACE_READ_ROWS more rows. Passes are recorded in pieces of at most `piece_work` (forward.c). How long a unit of work
 * takes is measured by every submit, for each stamp, so growing caches, long prompts and falling clocks are in the
 * estimate before the pass that meets them.
 * Never: changes what is computed; cutting leaves every bit as it is. Thread-safety: none.
 */
#ifndef MUNINN_ENGINE_MODEL_PACE_H
#define MUNINN_ENGINE_MODEL_PACE_H

#include "engine/model/session_internal.h"

enum { PACE_READ_ROWS = 8, PACE_MAX_RECORDINGS = 256 };

/* Work of `weights` matrix elements for `rows` rows; of attention over `positions` in all, of all its rows, in one
 * block. */
double pace_matmul_work(double weights, double rows);
double pace_attention_work(const struct session *session, double positions);

/* Sets the limits for the session's device; nothing is known of its speed yet. piece_work 0: what suits the device. */
void pace_init(struct session *session, double piece_work);

/* A run under construction. */
struct pace {
    struct session *session;
    bool teaches; /* its times are remembered */
    const struct recording *list[PACE_MAX_RECORDINGS];
    uint32_t n;
    double estimate_ns[SESSION_N_STAMPS]; /* of the list, by stamp */
    enum mn_status status;
};

/* Adds one pass over n_rows rows that attend to `positions` entries in all. What came before it is submitted when both
 * together would take too long. The first failure sticks. */
void pace_pass(struct pace *pace, enum pass pass, uint32_t stamp, uint32_t n_rows, double positions);
/* Submits the rest. */
enum mn_status pace_end(struct pace *pace);

/* Rows of a prompt that one run should take when its last position is `last`: fewer than SESSION_MAX_ROWS when the
 * attention of that many in one block would take too long, or when the logits buffer holds fewer. */
uint32_t pace_chunk_rows(const struct session *session, uint32_t last);

#endif
