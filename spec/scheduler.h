/* Many sequences on one session, which come and go between steps. See mn_scheduler in muninn.h for what it promises.
 *
 * Owns: copies of the sequences' parameters, what they need on the host, and the session's cache while it lives.
 * Never: touches Vulkan; prints. Thread-safety: that of the session. */
#ifndef MUNINN_SPEC_SCHEDULER_H
#define MUNINN_SPEC_SCHEDULER_H

#include "engine/model/session.h"

struct scheduler;

/* One more sequence. Only `generate` is needed. */
struct sequence_params {
    const struct mn_generate_params *generate;
    const struct mn_log *log; /* where it goes why it is refused; NULL: generate->log, or the session's */
    struct mn_stats *stats;   /* filled in as it goes, until on_end; NULL: memory of the scheduler's */
    void (*on_end)(void *user, uint64_t id, const struct mn_stats *stats);
    void *user; /* of on_end */
};

/* `costs` are the session's: a strategy that decides by them measures them if n is 0. */
enum mn_status scheduler_create(struct scheduler **out, struct session *session, struct mn_cost_table *costs,
                                const struct mn_scheduler_params *params);
void scheduler_destroy(struct scheduler *scheduler); /* NULL is fine */
enum mn_status scheduler_add(struct scheduler *scheduler, const struct sequence_params *params, uint64_t *id);
enum mn_status scheduler_cancel(struct scheduler *scheduler, uint64_t id);
enum mn_status scheduler_step(struct scheduler *scheduler, uint32_t *n_alive);
void scheduler_stats(const struct scheduler *scheduler, struct mn_scheduler_stats *stats);

#endif
