/* Sequences of a scheduler under observation: what they were given, what they said, how they ended. */
#ifndef MUNINN_TESTS_WATCHED_H
#define MUNINN_TESTS_WATCHED_H

#include <string.h>

#include "spec/scheduler.h"
#include "tests/testing.h"

enum { PROMPT_MAX = 70, N_CTX = 96 };

struct watched {
    struct mn_generate_params p;
    uint32_t prompt[PROMPT_MAX], stop_id;
    char rule[32];
    struct token_list expected, got;
    uint32_t cancel_at; /* after so many tokens; 0: never */
    uint64_t id;
    uint32_t n_ends;
    bool cancelled;
    struct mn_stats stats; /* at its end */
};

static inline int on_token(void *user, uint32_t token)
{
    struct watched *w = user;
    assert_int_equal(w->n_ends, 0);
    assert_false(w->cancelled);
    return token_list_add(&w->got, token);
}

static inline void on_end(void *user, uint64_t id, const struct mn_stats *stats)
{
    struct watched *w = user;
    w->n_ends++;
    w->id = w->id ? w->id : id;
    assert_int_equal(id, w->id);
    assert_int_equal(stats->n_new, w->got.n);
    assert_int_equal(stats->n_prompt, w->p.n_prompt);
    w->stats = *stats;
}

static inline void add(struct scheduler *s, struct watched *w)
{
    w->p.on_token = on_token;
    w->p.user = w;
    const struct sequence_params params = {.generate = &w->p, .on_end = on_end, .user = w};
    assert_int_equal(scheduler_add(s, &params, &w->id), MN_OK);
}

static inline struct scheduler *scheduler_of(struct session *session, uint32_t prompt_rows)
{
    static struct mn_cost_table costs; /* of this session alone: of no other */
    struct scheduler *s;
    costs = (struct mn_cost_table){0};
    assert_int_equal(scheduler_create(&s, session, &costs, &(struct mn_scheduler_params){.prompt_rows = prompt_rows}),
                     MN_OK);
    return s;
}

static inline uint32_t step(struct scheduler *s)
{
    uint32_t n_alive = UINT32_MAX;
    assert_int_equal(scheduler_step(s, &n_alive), MN_OK);
    return n_alive;
}

static inline struct mn_scheduler_stats stats_of(const struct scheduler *s)
{
    struct mn_scheduler_stats stats;
    scheduler_stats(s, &stats);
    return stats;
}

/* A scheduler on raven-tiny. */
struct tiny {
    struct test_log log;
    struct mn_engine *engine;
    struct session *session;
    struct scheduler *scheduler;
};

static inline void tiny_open(struct tiny *t, const struct session_params *params, uint32_t prompt_rows)
{
    test_log_init(&t->log);
    t->engine = test_engine(&t->log, RAVEN_TINY, NULL);
    t->session = test_session(t->engine, params);
    t->scheduler = scheduler_of(t->session, prompt_rows);
}

static inline void tiny_close(struct tiny *t)
{
    scheduler_destroy(t->scheduler);
    session_destroy(t->session);
    test_engine_done(t->engine);
}

static inline void usual(struct watched *w, uint32_t n_prompt, uint32_t n_new, uint32_t num_steps)
{
    memset(w, 0, sizeof *w);
    for (uint32_t i = 0; i < n_prompt; i++)
        w->prompt[i] = (31 * i + 3) % 400;
    w->p = (struct mn_generate_params){.prompt = w->prompt,
                                       .n_prompt = n_prompt,
                                       .n_new = n_new,
                                       .num_steps = num_steps,
                                       .strategy = "ar",
                                       .ignore_eos = true};
}

#endif
