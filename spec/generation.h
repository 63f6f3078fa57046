/* The life of a generation: open, begin, read, ticks or run, close. For the files that drive generations; strategies
 * need strategy.h alone. */
#ifndef MUNINN_SPEC_GENERATION_H
#define MUNINN_SPEC_GENERATION_H

#include "spec/generate.h"
#include "spec/strategy.h"

/* Refuses what cannot be; session, params, strategy, num_steps and log are set. MN_ERR_USAGE names option and value. */
enum mn_status generation_check(const struct generation *generation);
/* Of these, what all sequences of a batch have in common. */
enum mn_status generation_check_settings(const struct generation *generation);
/* Only fills in, for the checks above. */
void generation_set_up(struct generation *generation, struct session *session, struct mn_cost_table *costs,
                       const struct mn_generate_params *params, struct mn_stats *stats, const struct mn_log *log);
/* Checks, reserves all host memory, computes nothing. Also after a failure, generation_close is to be called. `costs`,
 * `params` and `stats` must outlive the generation. */
enum mn_status generation_open(struct generation *generation, struct session *session, struct mn_cost_table *costs,
                               const struct mn_generate_params *params, struct mn_stats *stats,
                               const struct mn_log *log);
/* Takes the cache's `sequence`, where the first `skip` positions of the prompt are already; sets its sampler. Measures
 * costs there, if the strategy decides by them and there are none. */
enum mn_status generation_begin(struct generation *generation, uint32_t sequence, uint32_t skip);
/* Nothing of the prompt is read yet, or only skipped: so many positions of it have come into the cache. */
void generation_skip(struct generation *generation, uint32_t n);
/* Reads up to *rows rows of the prompt, as generation_prompt has it; behind the last one it commits the first token. */
enum mn_status generation_read(struct generation *generation, uint32_t *rows);
/* Begins and reads everything. */
enum mn_status generation_prefill(struct generation *generation, uint32_t sequence);
/* Says how it ended where nobody has: `status`, or by the caller's wish. */
void generation_end(struct generation *generation, enum mn_status status);
void generation_close(struct generation *generation);

/* ---- ticks (schedule.c) ---- */

/* One pass sequence for all generations [n], none of which is done: opens their next requests where needed, takes the
 * steps that the shortest one needs, lets those that are complete absorb. Passes and bytes are added to *work. */
enum mn_status schedule_tick(struct session *session, struct generation *const *generations, uint32_t n,
                             struct mn_stats *work);
/* Ticks until the generation is done. */
enum mn_status schedule_run(struct generation *generation);

#endif
