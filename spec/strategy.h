/* Strategies: the ways to spend depth on the next token, and what they share.
 *
 * A generation owns the list of tokens of one sequence and its rules for ending: exactly n_new tokens at most, stop tokens,
 * the caller's wish. Strategies compute rows through the session and hand tokens to `generation_commit` in order.
 * Never: touches Vulkan. Thread-safety: none.
 */
#ifndef MUNINN_STRATEGY_H
#define MUNINN_STRATEGY_H

#include "session.h"

struct generation {
    struct session *session;
    const struct mn_generate_params *params;
    struct mn_stats *stats;
    const struct mn_log *log;
    uint32_t num_steps;
    uint32_t max_inflight; /* rows */
    uint32_t pending;  /* the newest committed token: not yet in the cache */
    uint32_t position; /* where it stands */
    bool done;
};

struct strategy {
    const char *name;
    bool lossless;     /* emits the tokens of `ar` (policy full) */
    bool drafts;       /* uses draft_steps and lookahead */
    bool wave;         /* uses draft_steps and max_inflight */
    enum mn_status (*run)(struct generation *generation); /* from the first new token on, until done */
};

extern const struct strategy strategy_ar, strategy_draft_verify, strategy_wavefront;

/* NULL when there is no such strategy. */
const struct strategy *strategy_find(const char *name);

/* Takes the next token of the sequence: counts it, hands it to the caller, decides whether to go on. */
void generation_commit(struct generation *generation, uint32_t token);
/* Tokens that may still be committed. */
uint32_t generation_remaining(const struct generation *generation);
bool generation_is_stop(const struct generation *generation, uint32_t token);

/* ---- acceptance: equality with shared noise (the spec's section 3) ---- */

/* Number of leading drafts that equal the target's tokens. drafts[i] and targets[i] stand at the same position. */
uint32_t accept_prefix(const uint32_t *drafts, const uint32_t *targets, uint32_t n);

/* ---- statistics ---- */

/* One round: `drafted` tokens were proposed, the first `accepted` of them were right. */
void stats_round(struct mn_stats *stats, uint32_t drafted, uint32_t accepted);
double clock_ns(void);

#endif
