/* A sequence of the scheduler: a generation with parameters of its own.
 *
 * Owns: copies of what the caller's parameters point to. Never: decides whose turn it is. Thread-safety: none. */
#ifndef MUNINN_SPEC_SEQUENCE_H
#define MUNINN_SPEC_SEQUENCE_H

#include "spec/generation.h"
#include "spec/scheduler.h"

struct sequence {
    uint64_t id;
    struct generation generation; /* its params and stats are those below, unless the caller gave the stats */
    struct mn_generate_params params;
    struct mn_stats stats;
    void *copies; /* what params points to, in one piece */
    void (*on_end)(void *user, uint64_t id, const struct mn_stats *stats);
    void *user;
    uint32_t rows;         /* most in a pass */
    struct sequence *next; /* in the queue */
};

/* Refuses what cannot run beside others. Reserves all that it will need on the host. */
enum mn_status sequence_create(struct sequence **out, struct session *session, struct mn_cost_table *costs,
                               const struct sequence_params *params);
void sequence_destroy(struct sequence *sequence); /* NULL is fine */

#endif
