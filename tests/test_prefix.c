/* Goal: a prompt that begins as one in the cache is not paid for again, and nobody can tell by the tokens.
 * Method: turns of a conversation, the same prompt again, one that shares its beginning with one that is being decoded,
 * on families with a coda and without, in all types of the cache: how many positions were reused, exactly; and every
 * sequence's tokens against mn_generate alone. What must not be reused, case by case. */
#include <string.h>

#include "spec/scheduler.h"
#include "tests/testing.h"

enum { R = 4, N_CTX = 96, MOST = 80, N_NEW = 7 };

static const struct world {
    const char *folder;
    enum kv_type kv_type;
    bool has_coda;
} worlds[] = {{RAVEN_TINY, KV_F16, true},
              {RAVEN_TINY, KV_Q8, true},
              {VECTORS "ouro", KV_F32, false},
              {VECTORS "ouro", KV_Q8, false},
              {VECTORS "retrofit-olmo", KV_F16, true}};

struct rig {
    struct test_log log;
    struct mn_engine *engine;
    struct session *alone, *session;
    struct mn_cost_table costs, costs_alone;
    struct scheduler *scheduler;
};

struct turn {
    struct mn_generate_params p;
    uint32_t prompt[MOST];
    struct token_list expected, got;
    uint32_t n_ends;
    uint64_t id;
    struct mn_stats stats;
};

static void rig_open(struct rig *rig, const struct world *w, uint32_t n_places, struct mn_scheduler_params params,
                     uint32_t share)
{
    memset(rig, 0, sizeof *rig);
    test_log_init(&rig->log);
    rig->engine = test_engine(&rig->log, w->folder, NULL);
    const struct session_params session = {.num_steps = R,
                                           .max_rows = 8,
                                           .n_sequences = n_places,
                                           .kv_type = w->kv_type,
                                           .policy = {share},
                                           .n_ctx = N_CTX};
    rig->alone = test_session(rig->engine, &session);
    rig->session = test_session(rig->engine, &session);
    assert_int_equal(scheduler_create(&rig->scheduler, rig->session, &rig->costs, &params), MN_OK);
}

static void rig_close(struct rig *rig)
{
    scheduler_destroy(rig->scheduler);
    session_destroy(rig->alone);
    session_destroy(rig->session);
    test_engine_done(rig->engine);
}

/* Ids 0 .. n - 1 of conversation `which`; all conversations are alike up to `same`. */
static void turn_set(struct turn *t, uint32_t which, uint32_t n, uint32_t same)
{
    memset(t, 0, sizeof *t);
    for (uint32_t i = 0; i < n; i++)
        t->prompt[i] = (5 + 17 * i + (i < same ? 0 : 3 + which * (7 + i))) % 90;
    t->p = (struct mn_generate_params){.prompt = t->prompt,
                                       .n_prompt = n,
                                       .n_new = N_NEW,
                                       .num_steps = R,
                                       .ignore_eos = true,
                                       .sampler = {.temperature = which % 2 ? 0.8f : 0.0f, .seed = which}};
}

static void on_end(void *user, uint64_t id, const struct mn_stats *stats)
{
    struct turn *t = user;
    (void)id;
    t->n_ends++;
    t->stats = *stats;
}

static void turn_add(struct rig *rig, struct turn *t)
{
    struct mn_stats stats;
    t->p.on_token = token_list_add;
    t->p.user = &t->expected;
    assert_int_equal(generate_with_costs(rig->alone, &rig->costs_alone, &t->p, &stats), MN_OK);
    assert_int_equal(stats.n_reused, 0);
    t->p.user = &t->got;
    const struct sequence_params params = {.generate = &t->p, .on_end = on_end, .user = t};
    assert_int_equal(scheduler_add(rig->scheduler, &params, &t->id), MN_OK);
}

static void run_all(struct rig *rig)
{
    uint32_t n_alive = 1;
    while (n_alive)
        assert_int_equal(scheduler_step(rig->scheduler, &n_alive), MN_OK);
}

static void step(struct rig *rig)
{
    assert_int_equal(scheduler_step(rig->scheduler, NULL), MN_OK);
}

static void turn_check(const struct turn *t, uint32_t n_reused, const char *what)
{
    assert_int_equal(t->n_ends, 1);
    if (t->got.n != t->expected.n || memcmp(t->got.ids, t->expected.ids, t->got.n * sizeof *t->got.ids) != 0)
        fail_msg("%s: other tokens than alone", what);
    if (t->stats.n_reused != n_reused)
        fail_msg("%s: %u positions were reused, not %u", what, t->stats.n_reused, n_reused);
}

static void run_turn(struct rig *rig, struct turn *t, uint32_t n_reused, const char *what)
{
    turn_add(rig, t);
    run_all(rig);
    turn_check(t, n_reused, what);
}

static uint32_t n_kept(const struct rig *rig)
{
    struct mn_scheduler_stats stats;
    scheduler_stats(rig->scheduler, &stats);
    return stats.n_kept;
}

/* ---- what is reused ---- */

static void check_turns(const struct world *w)
{
    static struct turn t, one, other;
    struct rig rig;
    rig_open(&rig, w, 2, (struct mn_scheduler_params){0}, 0);
    turn_set(&t, 1, 30, 0);
    run_turn(&rig, &t, 0, "a first turn");
    turn_set(&t, 1, 49, 0);
    run_turn(&rig, &t, 30, "a second turn");
    turn_set(&t, 1, 49, 0);
    run_turn(&rig, &t, 48, "the same again");
    t.p.strategy = "draft-verify", t.p.speculation.draft_steps = 2, t.p.speculation.lookahead = 3;
    t.got.n = t.expected.n = t.n_ends = 0;
    run_turn(&rig, &t, 48, "the same with another strategy");
    assert_int_equal(n_kept(&rig), 1);
    /* Another conversation, with 40 positions in common: beside it, with a copy; and both go on. */
    turn_set(&one, 1, 60, 0);
    turn_set(&other, 2, 50, 0);
    memcpy(other.prompt, one.prompt, 40 * sizeof *other.prompt);
    turn_add(&rig, &one);
    turn_add(&rig, &other);
    run_all(&rig);
    turn_check(&one, 49, "a third turn");
    turn_check(&other, 40, "a copy");
    assert_int_equal(n_kept(&rig), 2);
    turn_set(&one, 1, 70, 0);
    run_turn(&rig, &one, 60, "a fourth turn");
    rig_close(&rig);
}

static void test_turns(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < sizeof worlds / sizeof *worlds; i++)
        check_turns(&worlds[i]);
}

/* Three with one beginning at the same time: the first reads it, the others have it from there. */
static void test_at_the_same_time(void **state)
{
    (void)state;
    static struct turn t[3];
    struct rig rig;
    rig_open(&rig, &worlds[1], 3, (struct mn_scheduler_params){.prompt_rows = 10}, 0);
    for (uint32_t i = 0; i < 3; i++) {
        turn_set(&t[i], i, 44 + i, 33);
        turn_add(&rig, &t[i]);
    }
    run_all(&rig);
    turn_check(&t[0], 0, "the first");
    turn_check(&t[1], 33, "the second");
    turn_check(&t[2], 33, "the third");
    turn_set(&t[0], 7, 30, 15);
    run_turn(&rig, &t[0], 15, "what the place that it takes has in common with it");
    rig_close(&rig);
}

/* Few positions are read as fast as they are copied. */
static void test_worth_a_copy(void **state)
{
    (void)state;
    static struct turn t[3];
    struct rig rig;
    rig_open(&rig, &worlds[0], 3, (struct mn_scheduler_params){0}, 0);
    turn_set(&t[0], 0, 30, 16);
    t[0].p.n_new = 40;
    turn_add(&rig, &t[0]);
    step(&rig);
    turn_set(&t[1], 1, 30, 15);
    turn_add(&rig, &t[1]);
    step(&rig);
    turn_set(&t[2], 2, 30, 16);
    turn_add(&rig, &t[2]);
    run_all(&rig);
    turn_check(&t[0], 0, "the first");
    turn_check(&t[1], 0, "15 in common");
    turn_check(&t[2], 16, "16 in common");
    rig_close(&rig);
}

/* What a cancelled sequence had read is there. */
static void test_cancelled(void **state)
{
    (void)state;
    static struct turn talks, t;
    struct rig rig;
    rig_open(&rig, &worlds[0], 2, (struct mn_scheduler_params){.prompt_rows = 8}, 0);
    turn_set(&talks, 1, 5, 0);
    talks.p.n_new = 30;
    turn_add(&rig, &talks);
    step(&rig);
    turn_set(&t, 2, 60, 0);
    turn_add(&rig, &t);
    step(&rig);
    step(&rig);
    step(&rig);
    assert_int_equal(scheduler_cancel(rig.scheduler, t.id), MN_OK);
    assert_int_equal(t.got.n, 0);
    assert_int_equal(t.stats.end, MN_END_CALLER);
    turn_set(&t, 2, 60, 0);
    turn_add(&rig, &t);
    run_all(&rig);
    turn_check(&t, 24, "behind what was read");
    turn_check(&talks, 0, "one beside it");
    rig_close(&rig);
}

/* ---- what is not ---- */

static void check_depths(const struct world *w)
{
    static struct turn t;
    struct rig rig;
    rig_open(&rig, w, 1, (struct mn_scheduler_params){0}, 0);
    turn_set(&t, 1, 30, 0);
    run_turn(&rig, &t, 0, "at the full depth");
    turn_set(&t, 1, 35, 0);
    t.p.num_steps = R - 1;
    run_turn(&rig, &t, w->has_coda ? 0 : 30, "less deep");
    turn_set(&t, 1, 40, 0);
    run_turn(&rig, &t, 0, "deeper again");
    rig_close(&rig);
}

static void test_depths(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < sizeof worlds / sizeof *worlds; i++)
        check_depths(&worlds[i]);
}

static void test_beginnings(void **state)
{
    (void)state;
    static struct turn t;
    static float states[40 * 256];
    struct rig rig;
    rig_open(&rig, &worlds[0], 1, (struct mn_scheduler_params){0}, 0);
    assert_true(session_info(rig.session)->config->n_embd <= 256);
#define TURN(n, n_reused, ...) \
    do { \
        turn_set(&t, 1, n, 0); \
        __VA_ARGS__; \
        run_turn(&rig, &t, n_reused, #__VA_ARGS__); \
    } while (0)
    TURN(20, 0, t.p.init_scale = 0);
    TURN(21, 20, t.p.sampler.seed = 99);
    TURN(22, 0, t.p.init_scale = 0.5f);
    TURN(23, 22, t.p.init_scale = 0.5f);
    TURN(24, 0, (t.p.init_scale = 0.5f, t.p.sampler.seed = 99));
    TURN(25, 0, t.p.state0 = states);
    TURN(26, 0, t.p.init_scale = 0);
    TURN(27, 26, t.p.continuous = true);
    TURN(28, 0, t.p.exit.rule = "argmax-stability:1");
    TURN(29, 0, t.p.init_scale = 0);
    TURN(30, 29,
         (t.p.strategy = "draft-verify", t.p.exit.rule = "latent-diff:0.2", t.p.speculation.draft_steps = 2,
          t.p.speculation.lookahead = 2));
    TURN(31, 0, t.p.strategy = "auto"); /* its costs are measured in the only place there is */
    TURN(32, 31, t.p.strategy = "auto");
    TURN(10, 9, t.p.n_new = 2); /* shorter than what is there */
#undef TURN
    rig_close(&rig);
}

/* The place that was left first is taken first. */
static void test_oldest_goes(void **state)
{
    (void)state;
    static struct turn t;
    struct rig rig;
    rig_open(&rig, &worlds[0], 2, (struct mn_scheduler_params){0}, 0);
    for (uint32_t i = 1; i <= 3; i++) {
        turn_set(&t, i, 30, 0);
        run_turn(&rig, &t, 0, "a new one");
    }
    turn_set(&t, 2, 31, 0);
    run_turn(&rig, &t, 30, "the second");
    turn_set(&t, 1, 31, 0);
    run_turn(&rig, &t, 0, "the first, which is gone");
    turn_set(&t, 2, 32, 0);
    run_turn(&rig, &t, 31, "the second again");
    rig_close(&rig);
}

static void test_off(void **state)
{
    (void)state;
    static struct turn t;
    for (uint32_t share = 0; share < 2; share++) {
        struct rig rig;
        rig_open(&rig, &worlds[0], 2, (struct mn_scheduler_params){.no_reuse = !share}, share);
        for (uint32_t i = 0; i < 2; i++) {
            turn_set(&t, 1, 30, 0);
            run_turn(&rig, &t, 0, "nothing is kept");
            assert_int_equal(n_kept(&rig), 0);
        }
        rig_close(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_turns),        cmocka_unit_test(test_at_the_same_time),
                                       cmocka_unit_test(test_worth_a_copy), cmocka_unit_test(test_cancelled),
                                       cmocka_unit_test(test_depths),       cmocka_unit_test(test_beginnings),
                                       cmocka_unit_test(test_oldest_goes),  cmocka_unit_test(test_off)};
    return RUN_ON_EVERY_DEVICE(tests, NULL, NULL);
}
