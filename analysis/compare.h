/* What is said about a session from outside: how its tokens compare with those of `ar`, and how likely given ones are.
 * See mn_compare_ar and mn_score in muninn.h.
 *
 * Owns: nothing between calls. Never: prints. Thread-safety: that of the session. */
#ifndef MUNINN_ANALYSIS_COMPARE_H
#define MUNINN_ANALYSIS_COMPARE_H

#include "engine/model/session.h"

/* agreement.c */
enum mn_status compare_ar(struct session *full, const struct mn_generate_params *params, const uint32_t *tokens,
                          uint32_t n_tokens, struct mn_agreement *agreement);
/* score.c */
enum mn_status score(struct session *session, const struct mn_score_params *params);

#endif
