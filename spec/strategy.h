/* Strategies: the ways to spend depth on the next token, and what they share.
 *
 * A GENERATION is one sequence being continued: its tokens, its rules for ending (exactly n_new tokens at most, stop
 * tokens, the caller's wish) and its rows in flight. A strategy is a state machine over it: `next` says which rows
 * should go how many steps further (a REQUEST), `absorb` looks at the predictions and hands finished tokens to
 * `generation_commit` in order. schedule.c turns the requests of one or many generations into passes: that is where
 * rows of different sequences at different depths share the weights. Strategies whose rows cannot wait in such a queue
 * (diffusion) have `run` instead.
 *
 * A strategy is one file with one descriptor, and a line in strategies.h.
 *
 * Never: touches Vulkan.
 * Thread-safety: none. */
#ifndef MUNINN_SPEC_STRATEGY_H
#define MUNINN_SPEC_STRATEGY_H

#include "engine/base/clock.h"
#include "engine/model/session.h"

/* Rows generation.rows[first .. first + n_rows) go `steps` core steps further. */
struct request {
    uint32_t first, n_rows;
    uint32_t n_new; /* trailing rows that enter: through the prelude first */
    uint32_t steps;
    bool predict;      /* then coda and head: generation.predicted[] of these rows */
    bool given_states; /* entering rows keep the states that were written for them */
    bool draft;        /* the time is booked as drafting */
};

struct generation {
    struct session *session;
    const struct strategy *strategy;
    void *state;                 /* the strategy's own */
    struct mn_cost_table *costs; /* the session's; n = 0: neither measured nor given yet */
    const struct mn_generate_params *params;
    struct mn_stats *stats;
    const struct mn_log *log;
    uint32_t sequence, num_steps;
    uint32_t draft_steps, lookahead, max_inflight; /* the caller's, or what auto chose */
    uint32_t at_once;                              /* tokens by lookup, the same */
    uint32_t pending;                              /* the newest committed token: not yet in the cache */
    uint32_t position;                             /* where it stands */
    uint32_t pending_depth;                        /* steps that the row before it took */
    uint64_t prompt_hash;                          /* 0: nothing is drawn by it */
    struct session_prompt prompt;                  /* on its way into the cache */
    struct lookup *lookup;                         /* of prompt and answer so far; NULL: not asked for */
    uint32_t prompt_steps;                         /* how deep it went, once it is read */
    bool read, done;
    double start_ns; /* when decoding began */

    struct row rows[SESSION_MAX_ROWS];    /* in flight, by position */
    uint32_t predicted[SESSION_MAX_ROWS]; /* the token behind each row, as of its last prediction */
    uint32_t before[SESSION_MAX_ROWS];    /* depths at the beginning of an event, for its trace */
    bool dropped[SESSION_MAX_ROWS];       /* by the event, among those that its trace would call kept */
    uint32_t n_rows;

    uint64_t n_events;
    bool in_event;                                     /* false between two events */
    double event_ns;                                   /* when the event under way began */
    double event_draft_ns;                             /* and the time that drafts had taken until then */
    uint64_t event_pass;                               /* and the session's core passes until then */
    uint32_t committed[SESSION_MAX_ROWS], n_committed; /* by the event under way: no more than rows can be in flight */

    struct request request;
    uint32_t steps_left; /* of the request */
    uint32_t first_head; /* of the run just absorbed: logits of rows[request.first] are head row first_head */
    uint32_t n_others;   /* rows of other generations in the last pass */
    bool open, fresh;    /* a request is under way; its new rows have not entered yet */
};

struct strategy {
    struct mn_strategy about;
    bool injection;     /* needs a family that injects the embedding into every step */
    size_t state_bytes; /* of its state: zeroed, and handed to the functions below */
    /* NULL: 1. Most rows of one sequence in a pass, before there is a session. */
    uint32_t (*rows)(const struct mn_generate_params *params);
    /* NULL, or: the setting that makes a run lossy, or NULL. One that is always lossy says "strategy NAME". */
    const char *(*lossy_because)(const struct mn_generate_params *params);
    /* NULL, or: refuses values it cannot run with. What it does not use has been looked at by then; see check.c. */
    enum mn_status (*check)(const struct generation *generation);
    enum mn_status (*open)(struct generation *generation, void *state); /* NULL, or: before the prompt runs */
    void (*close)(void *state); /* NULL, or: frees what open made, also where open failed or was never called */
    /* NULL: generation_prompt. See there. */
    enum mn_status (*prompt)(struct generation *generation, void *state, uint32_t *rows, uint32_t *token);
    enum mn_status (*next)(struct generation *generation, void *state, struct request *request);
    enum mn_status (*absorb)(struct generation *generation, void *state);
    enum mn_status (*run)(struct generation *generation, void *state); /* instead of next and absorb */
};

/* NULL when there is no such strategy. */
const struct strategy *strategy_find(const char *name);

/* Goes on with the prompt, to the full depth: up to *rows rows of it, or what takes as many core steps; *rows becomes
 * how many they were. At its end sets generation.read and prompt_steps, and *token. */
enum mn_status generation_prompt(struct generation *generation, uint32_t *rows, uint32_t *token);

/* Takes the next token of the sequence, behind a row that took `steps` steps: counts it, hands it to the caller,
 * decides whether to go on. */
void generation_commit(struct generation *generation, uint32_t token, uint32_t steps);
/* An event begins now: tokens committed until its end are its own. Those of no event are in no trace. */
void generation_begin_event(struct generation *generation);
/* It ends now, and the caller's trace hears of it: the first n rows in flight as they are after it, of which the first
 * n_kept survived. Without an event under way nothing happens. */
void generation_end_event(struct generation *generation, const char *name, uint32_t n, uint32_t n_kept);
/* Tokens that may still be committed. */
uint32_t generation_remaining(const struct generation *generation);
bool generation_is_stop(const struct generation *generation, uint32_t token);

/* ---- for the checks of strategies (check.c) ---- */

bool is_share(float x); /* from 0 to 1 */
/* draft_steps below num_steps, and the forced acceptance of what they draft. */
enum mn_status check_drafts(const struct generation *generation);
enum mn_status check_forced(const struct generation *generation);
enum mn_status check_max_inflight(const struct generation *generation);
enum mn_status check_lookup(const struct generation *generation);
enum mn_status check_branches(const struct generation *generation);

/* ---- acceptance: equality with shared noise (accept.c; docs/contract.md, 4) ---- */

/* Is predicted[i] the token that row i + 1 assumed, which row i predicted at depth `entered`? Equality; or, where the
 * caller gives the share of right predictions, are both right or both wrong? `place` of that draft in its round; the
 * rows of a wave have none, 0. */
bool generation_agrees(const struct generation *generation, uint32_t i, uint32_t place, uint32_t entered);
/* What two predictions of one row at different depths are compared by: the token; or, where shares are given, 1 for a
 * right one and 0 for a wrong one. At full depth it is right. */
uint32_t generation_says(const struct generation *generation, uint32_t i, uint32_t place);
/* Is the share of right predictions given? */
bool accept_is_forced(const struct mn_measuring_params *params);
/* It, at a depth: straight lines in the depth from 0 at depth 0 through what is given to 1 at depth R. A share given
 * for draft_steps alone also holds at lesser depths. */
double accept_share(const struct mn_measuring_params *params, uint32_t num_steps, uint32_t draft_steps, uint32_t place,
                    uint32_t depth);
/* What tells prompts apart in these draws. */
uint64_t accept_prompt_hash(const struct mn_generate_params *params);
/* The lossy rule: is p(draft) >= threshold * max p? logits [n]. */
bool accept_threshold(const float *logits, uint32_t n, uint32_t draft, float threshold);

/* ---- statistics (stats.c) ---- */

/* One round: `drafted` tokens were proposed, the first `accepted` of them were right, `committed` tokens came of it.
 * `ended`: the sequence ended with the last of these, and drafts behind it count for nothing. */
void stats_round(struct mn_stats *stats, uint32_t drafted, uint32_t accepted, uint32_t committed, bool ended);
/* Adds who proposed what, and what came of it. */
void stats_add_proposals(struct mn_stats *sum, const struct mn_stats *stats);
/* Adds what a sequence came to: tokens, rounds, exits; its passes are counted by whoever runs them. */
void stats_add_sequence(struct mn_stats *sum, const struct mn_stats *stats);
/* Adds passes, bytes, submits and the prompts' time. */
void stats_add_work(struct mn_stats *sum, const struct mn_stats *work);
/* Adds the passes, bytes and submits between the two calls to the statistics. */
struct work_mark {
    struct session_counts counts;
};
struct work_mark work_begin(const struct session *session);
void work_end(struct mn_stats *work, const struct session *session, const struct work_mark *mark);

#endif
