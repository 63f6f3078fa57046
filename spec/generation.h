/* The life of a generation: open, prefill, ticks or run, close. For the files that drive generations; strategies need
 * strategy.h alone. */
#ifndef MUNINN_SPEC_GENERATION_H
#define MUNINN_SPEC_GENERATION_H

#include "spec/generate.h"
#include "spec/strategy.h"

/* Refuses what cannot be; session, params, strategy, num_steps and log are set. MN_ERR_USAGE names option and value. */
enum mn_status generation_check(const struct generation *generation);
/* Checks, reserves all host memory, sets the session's sampler. Also after a failure, generation_close is to be called.
 * `params` and `stats` must outlive the generation. */
enum mn_status generation_open(struct generation *generation, struct session *session,
                               const struct mn_generate_params *params, struct mn_stats *stats,
                               const struct mn_log *log);
/* Runs the prompt in the cache's `sequence` and commits the first token. */
enum mn_status generation_prefill(struct generation *generation, uint32_t sequence);
void generation_close(struct generation *generation);

#endif
