/* Terminal behaviour: what a token's latent state does at the end of its recurrence, judged by the last steps. The
 * rules are those of mn_terminal_kind in muninn.h.
 *
 * Owns: the rules. Never: touches the device. Thread-safety: stateless.
 */
#ifndef MUNINN_ANALYSIS_TERMINAL_H
#define MUNINN_ANALYSIS_TERMINAL_H

#include "api/muninn.h"

enum { TERMINAL_PERIOD_MAX = 32 };

/* Judges one trajectory: states [n_steps + 1, d], the initial one first. */
struct mn_terminal terminal_classify(const struct mn_terminal_rule *rule, const float *states, uint32_t n_steps,
                                     uint32_t d);

#endif
