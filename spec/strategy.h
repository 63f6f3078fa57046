/* Strategies: the ways to spend depth on the next token, and what they share.
 *
 * A GENERATION is one sequence being continued: its tokens, its rules for ending (exactly n_new tokens at most, stop
 * tokens, the caller's wish) and its rows in flight. A strategy is a state machine over it: `next` says which rows
 * should go how many steps further (a REQUEST), `absorb` looks at the predictions and hands finished tokens to
 * `generation_commit` in order. schedule.c turns the requests of one or many generations into passes: that is where
 * rows of different sequences at different depths share the weights. Strategies whose rows cannot wait in such a queue
 * (diffusion) have `run` instead. Never: touches Vulkan. Thread-safety: none.
 */
#ifndef MUNINN_SPEC_STRATEGY_H
#define MUNINN_SPEC_STRATEGY_H

#include "engine/base/clock.h"
#include "engine/model/session.h"
#include "spec/exit.h"

struct automatic; /* auto.c */
struct window;    /* diffusion.c */

/* Rows generation.rows[first .. first + n_rows) go `steps` core steps further. */
struct request {
    uint32_t first, n_rows;
    uint32_t n_new; /* trailing rows that enter: through the prelude first */
    uint32_t steps;
    bool predict;      /* then coda and head: generation.predicted[] of these rows */
    bool given_states; /* entering rows keep the states that were written for them */
    bool draft;        /* the time is booked as drafting */
};

/* A row on its way out under an exit rule; see early_exit.c. */
struct early_exit {
    uint32_t row, step, max_steps;
    bool active, entered, leave, predicted;
    float *before, *now; /* [n_prompt, n_embd] latent states of the step before and of this one */
    struct row *rows;    /* [n_prompt] of a prompt that leaves early */
};

/* Depths below R at which predictions are wanted on the way, to learn how often they are the final ones; see auto.c. */
enum { PROBE_DEPTHS = 9 };
struct probe {
    uint32_t depths[PROBE_DEPTHS], n_depths; /* ascending; 0: no probing */
};

struct generation {
    struct session *session;
    const struct strategy *strategy;
    const struct mn_generate_params *params;
    struct mn_stats *stats;
    const struct mn_log *log;
    uint32_t sequence, num_steps;
    uint32_t draft_steps, lookahead, max_inflight; /* the caller's, or what auto chose */
    uint32_t pending;                              /* the newest committed token: not yet in the cache */
    uint32_t position;                             /* where it stands */
    uint32_t pending_depth;                        /* steps that the row before it took */
    bool done;
    double start_ns; /* when decoding began */
    uint64_t n_events;

    struct row rows[SESSION_MAX_ROWS];    /* in flight, by position */
    uint32_t predicted[SESSION_MAX_ROWS]; /* the token behind each row, as of its last prediction */
    uint32_t before[SESSION_MAX_ROWS];    /* depths at the beginning of an event, for its trace */
    uint32_t n_rows;
    uint32_t phase, cursor; /* the strategy's own; phase 0 is the place between two events */
    uint32_t first_head;    /* of the run just absorbed: logits of rows[request.first] are head row first_head */
    double event_ns;        /* when the event under way began */
    uint64_t event_pass;    /* and the session's core passes until then */
    uint32_t committed[SESSION_MAX_ROWS], n_committed; /* by the event under way */
    struct request request;
    uint32_t steps_left; /* of the request */
    uint32_t n_others;   /* rows of other generations in the last pass */
    bool open, fresh;    /* a request is under way; its new rows have not entered yet */

    struct exit_rule exit;
    struct exit_memory exit_memory;
    struct early_exit early;
    struct probe probe;
    struct automatic *automatic;
    struct window *window;
    float *logits; /* [vocab_size], for strategies that look at them */
    float *warm;   /* [n_embd], for the warm start */
};

struct strategy {
    const char *name;
    bool lossless;                                         /* emits the tokens of `ar` (policy full) */
    bool drafts;                                           /* uses draft_steps and lookahead */
    bool wave;                                             /* uses draft_steps and max_inflight */
    bool exits;                                            /* knows early exit, in the answer (`ar`) or in its drafts */
    bool batches;                                          /* can share passes with other sequences */
    enum mn_status (*open)(struct generation *generation); /* NULL, or: before the prompt runs */
    void (*close)(struct generation *generation);          /* NULL, or: frees what open made */
    enum mn_status (*next)(struct generation *generation, struct request *request);
    enum mn_status (*absorb)(struct generation *generation);
    enum mn_status (*run)(struct generation *generation); /* instead of next and absorb */
};

extern const struct strategy strategy_ar, strategy_draft_verify, strategy_wavefront, strategy_auto, strategy_diffusion;

/* NULL when there is no such strategy. */
const struct strategy *strategy_find(const char *name);

/* Takes the next token of the sequence, behind a row that took `steps` steps: counts it, hands it to the caller,
 * decides whether to go on. */
void generation_commit(struct generation *generation, uint32_t token, uint32_t steps);
/* An event begins now. */
void generation_event(struct generation *generation);

/* Reports one event that has just ended to the caller's trace: the first n rows in flight as they are after it. The
 * first n_kept rows survived. */
void generation_trace(struct generation *generation, const char *event, uint32_t n, uint32_t n_kept);
/* Tokens that may still be committed. */
uint32_t generation_remaining(const struct generation *generation);
bool generation_is_stop(const struct generation *generation, uint32_t token);
/* Steps from depth `from` to `to`, or to the first probe between them. */
uint32_t generation_steps_to(const struct generation *generation, uint32_t from, uint32_t to);

/* ---- the scheduler (schedule.c) ---- */

/* One pass sequence for all generations [n], none of which is done: opens their next requests where needed, takes the
 * steps that the shortest one needs, lets those that are complete absorb. Passes and bytes are added to *work. */
enum mn_status schedule_tick(struct session *session, struct generation *const *generations, uint32_t n,
                             struct mn_stats *work);
/* Ticks until the generation is done. */
enum mn_status schedule_run(struct generation *generation);

/* ---- early exit (early_exit.c) ---- */

/* Rows[row] enters under the exit rule, for at most `max_steps` steps. */
void early_exit_begin(struct generation *generation, uint32_t row, uint32_t max_steps);
void early_exit_next(struct generation *generation, struct request *request);
/* Sets early.active to false when the row has left; its prediction is then in place and its depth what it took. */
enum mn_status early_exit_absorb(struct generation *generation);
/* The same for a whole prompt, whose positions all take the same number of steps. */
enum mn_status early_exit_prompt(struct generation *generation, uint32_t *steps, uint32_t *token);

/* ---- acceptance: equality with shared noise (the spec's section 3) ---- */

/* Is predicted[i] the token that row i + 1 assumed? Equality; or a draw where the caller forces acceptance, for the
 * draft at `place` of a round. */
bool generation_agrees(const struct generation *generation, uint32_t i, uint32_t place);
/* The lossy rule: is p(draft) >= threshold * max p? logits [n]. */
bool accept_threshold(const float *logits, uint32_t n, uint32_t draft, float threshold);
/* A draw that comes out true with `probability`, the same one for the same place. */
bool accept_forced(float probability, uint64_t seed, uint32_t position, uint32_t attempt);

/* ---- statistics ---- */

/* One round: `drafted` tokens were proposed, the first `accepted` of them were right. */
void stats_round(struct mn_stats *stats, uint32_t drafted, uint32_t accepted);
/* Adds the passes, bytes and submits between the two calls to the statistics. */
struct work_mark {
    struct session_counts counts;
};
struct work_mark work_begin(const struct session *session);
void work_end(struct mn_stats *work, const struct session *session, const struct work_mark *mark);

#endif
