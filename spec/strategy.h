/* Strategies: the ways to spend depth on the next token, and what they share.
 *
 * A generation owns the list of tokens of one sequence and its rules for ending: exactly n_new tokens at most, stop tokens,
 * the caller's wish. Strategies compute rows through the session and hand tokens to `generation_commit` in order.
 * Never: touches Vulkan. Thread-safety: none.
 */
#ifndef MUNINN_STRATEGY_H
#define MUNINN_STRATEGY_H

#include "exit.h"
#include "session.h"

struct generation {
    struct session *session;
    const struct mn_generate_params *params;
    struct mn_stats *stats;
    const struct mn_log *log;
    uint32_t num_steps;
    uint32_t max_inflight; /* rows */
    struct exit_rule exit;
    struct exit_memory exit_memory;
    uint32_t pending;  /* the newest committed token: not yet in the cache */
    uint32_t position; /* where it stands */
    bool done;
    double start_ns;   /* when decoding began */
    uint64_t n_events;
};

struct strategy {
    const char *name;
    bool lossless;     /* emits the tokens of `ar` (policy full) */
    bool drafts;       /* uses draft_steps and lookahead */
    bool wave;         /* uses draft_steps and max_inflight */
    bool exits;        /* knows early exit, in the answer (`ar`) or in its drafts */
    enum mn_status (*run)(struct generation *generation); /* from the first new token on, until done */
};

extern const struct strategy strategy_ar, strategy_draft_verify, strategy_wavefront;

/* NULL when there is no such strategy. */
const struct strategy *strategy_find(const char *name);

/* Takes the next token of the sequence, which took `steps` steps: counts it, hands it to the caller, decides whether to go on. */
void generation_commit(struct generation *generation, uint32_t token, uint32_t steps);
/* Reports one event to the caller's trace: rows as they are after it. `before` [n] are their depths before, `predicted` [n] their
 * predictions; the first n_kept rows survived, the first n_committed predictions were committed. */
void generation_trace(struct generation *generation, const char *event, double start_ns, const struct row *rows, const uint32_t *before,
                      const uint32_t *predicted, uint32_t n, uint32_t n_kept, uint32_t n_committed);
/* Tokens that may still be committed. */
uint32_t generation_remaining(const struct generation *generation);
bool generation_is_stop(const struct generation *generation, uint32_t token);

/* ---- early exit (early_exit.c) ---- */

/* Takes a new row through at most `max_steps` steps, until the rule asks for the exit; row->depth is then what it took.
 * *token is its prediction. */
enum mn_status early_exit_row(struct generation *generation, struct row *row, uint32_t max_steps, uint32_t *token);
/* The same for a whole prompt, whose positions all take the same number of steps. */
enum mn_status early_exit_prompt(struct generation *generation, uint32_t *steps, uint32_t *token);

/* ---- acceptance: equality with shared noise (the spec's section 3) ---- */

/* Number of leading drafts that equal the target's tokens. drafts[i] and targets[i] stand at the same position. */
uint32_t accept_prefix(const uint32_t *drafts, const uint32_t *targets, uint32_t n);

/* ---- statistics ---- */

/* One round: `drafted` tokens were proposed, the first `accepted` of them were right. */
void stats_round(struct mn_stats *stats, uint32_t drafted, uint32_t accepted);
double clock_ns(void);

#endif
