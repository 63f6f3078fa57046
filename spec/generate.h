/* The doors of spec: what api/ calls, beside scheduler.h. See mn_generate and mn_generate_batch in muninn.h.
 *
 * Owns: nothing between calls. Never: prints. Thread-safety: that of the session. */
#ifndef MUNINN_SPEC_GENERATE_H
#define MUNINN_SPEC_GENERATE_H

#include "engine/model/session.h"

/* generate.c. `costs` are the session's: a strategy that decides by them measures them if n is 0. */
enum mn_status generate_with_costs(struct session *session, struct mn_cost_table *costs,
                                   const struct mn_generate_params *params, struct mn_stats *stats);
/* With a table for this call alone. */
enum mn_status generate(struct session *session, const struct mn_generate_params *params, struct mn_stats *stats);
/* batch.c */
enum mn_status generate_batch_with_costs(struct session *session, struct mn_cost_table *costs,
                                         const struct mn_generate_params *params, uint32_t n, struct mn_stats *stats,
                                         struct mn_stats *total, int (*on_end)(void *user, uint32_t i), void *user);
enum mn_status generate_batch(struct session *session, const struct mn_generate_params *params, uint32_t n,
                              struct mn_stats *stats, struct mn_stats *total, int (*on_end)(void *user, uint32_t i),
                              void *user);

#endif
