/* Goal: what a strategy may rely on, whatever it does. Method: strategies made for the purpose, run by the same code as
 * the real ones. */
#include <stdlib.h>
#include <string.h>

#include "spec/generation.h"
#include "tests/testing.h"

enum { N_CTX = 400, N_PROMPT = 3, N_MANY = 2 * SESSION_MAX_ROWS + 50 };
static const uint32_t prompt[N_PROMPT] = {0, 23, 29};

struct fixture {
    struct test_log log;
    struct mn_engine *engine;
    struct session *session;
};

static void open_fixture(struct fixture *f)
{
    test_log_init(&f->log);
    f->engine = test_engine(&f->log, RAVEN_TINY, NULL);
    f->session = test_session(
        f->engine, &(struct session_params){.num_steps = 2, .max_rows = 4, .kv_type = KV_F16, .n_ctx = N_CTX});
}

static void close_fixture(struct fixture *f)
{
    session_destroy(f->session);
    test_engine_done(f->engine);
}

/* ---- events ---- */

/* Commits without ever speaking of an event. */
static enum mn_status commit_all(struct generation *g)
{
    for (uint32_t i = 0; !g->done; i++)
        generation_commit(g, 100 + i, 1);
    return MN_OK;
}

/* Begins events and ends none. */
static enum mn_status commit_in_one_event(struct generation *g)
{
    generation_begin_event(g);
    return commit_all(g);
}

/* Ends what never began. */
static enum mn_status only_end(struct generation *g)
{
    generation_end_event(g, "end", 0, 0);
    return commit_all(g);
}

static void no_event(void *user, const struct mn_trace *trace)
{
    (void)user;
    fail_msg("an event '%s'", trace->event);
}

static void check_events(struct fixture *f, const struct strategy *strategy)
{
    struct token_list list = {0};
    struct mn_stats stats;
    const struct mn_generate_params params = {.prompt = prompt,
                                              .n_prompt = N_PROMPT,
                                              .n_new = N_MANY,
                                              .ignore_eos = true,
                                              .on_token = token_list_add,
                                              .on_trace = no_event,
                                              .user = &list};
    struct generation g;
    assert_int_equal(generation_open(&g, f->session, &params, &stats, &f->log.log), MN_OK);
    g.strategy = strategy;
    assert_int_equal(generation_prefill(&g, 0), MN_OK);
    assert_int_equal(g.strategy->run(&g), MN_OK);
    assert_int_equal(list.n, N_MANY);
    for (uint32_t i = 1; i < list.n; i++)
        assert_int_equal(list.ids[i], 100 + i - 1);
    /* What lies behind the tokens of an event is as it was. */
    const struct request none = {0};
    assert_true(g.n_committed <= SESSION_MAX_ROWS);
    assert_memory_equal(&g.request, &none, sizeof none);
    assert_true(g.steps_left == 0 && g.n_others == 0 && !g.open && !g.fresh);
    generation_close(&g);
}

static void test_events_of_the_careless(void **state)
{
    (void)state;
    static const struct strategy without = {.name = "without", .run = commit_all},
                                 endless = {.name = "endless", .run = commit_in_one_event},
                                 beginless = {.name = "beginless", .run = only_end};
    struct fixture f;
    open_fixture(&f);
    check_events(&f, &without);
    check_events(&f, &endless);
    check_events(&f, &beginless);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_events_of_the_careless)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
