/* Goal: a strategy is what its descriptor says, and the code around it can rely on nothing more and on nothing less.
 * Method: the table of strategies as callers see it; and strategies made for the purpose, which the linker puts in the
 * table's way (strategy_find), run by the same code as the real ones. */
#include <stdio.h>
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

/* The strategy that is found whatever the name; NULL: the table's. */
static const struct strategy *made_up;

const struct strategy *__real_strategy_find(const char *name);
const struct strategy *__wrap_strategy_find(const char *name);

const struct strategy *__wrap_strategy_find(const char *name)
{
    return made_up ? made_up : __real_strategy_find(name);
}

static struct mn_generate_params params_of(struct token_list *list)
{
    return (struct mn_generate_params){.prompt = prompt,
                                       .n_prompt = N_PROMPT,
                                       .n_new = 4,
                                       .strategy = "made up",
                                       .ignore_eos = true,
                                       .on_token = token_list_add,
                                       .user = list};
}

/* ---- the table ---- */

static void test_table(void **state)
{
    (void)state;
    uint32_t n = 0, n_lossless = 0;
    for (const struct mn_strategy *about; (about = mn_strategy_at(n)); n++) {
        const struct strategy *strategy = __real_strategy_find(about->name);
        assert_ptr_equal(mn_strategy_find(about->name), about);
        assert_ptr_equal(&strategy->about, about);
        assert_true(about->help && *about->help);
        assert_true((strategy->next && strategy->absorb) || strategy->run);
        assert_true(!strategy->run || !about->batches); /* its rows cannot wait for those of others */
        struct mn_generate_params p = {.strategy = about->name, .speculation = {.lookahead = 5}};
        const uint32_t rows = mn_strategy_rows(&p);
        assert_int_equal(rows, about->usual_inflight ? about->usual_inflight : about->uses & MN_USES_LOOKAHEAD ? 6 : 1);
        p.speculation.max_inflight = 3;
        assert_int_equal(mn_strategy_rows(&p), about->usual_inflight ? 3 : rows);
        n_lossless += about->lossless;
        if (about->lossless)
            continue;
        char because[64];
        snprintf(because, sizeof because, "strategy %s", about->name);
        assert_string_equal(strategy->lossy_because(&p), because);
    }
    assert_true(n_lossless > 0 && n_lossless < n);
    assert_null(mn_strategy_find("guess"));
    assert_null(mn_strategy_find(NULL));
    assert_int_equal(mn_strategy_rows(NULL), 0);
    assert_int_equal(mn_strategy_rows(&(struct mn_generate_params){.strategy = "guess"}), 0);
    assert_int_equal(mn_strategy_rows(&(struct mn_generate_params){.strategy = NULL}), 1); /* ar */
    assert_int_equal(mn_strategy_rows(&(struct mn_generate_params){.strategy = "draft-verify",
                                                                   .speculation = {.lookahead = UINT32_MAX}}),
                     SESSION_MAX_ROWS);
}

/* ---- the descriptor ---- */

/* Plain decoding, with what happened to it written down. */
struct diary {
    uint32_t n_next, bytes[100];
};
static uint32_t n_opened, n_closed, n_wanted_rows;
static bool fails;

static uint32_t wanted_rows(const struct mn_generate_params *params)
{
    (void)params;
    return n_wanted_rows;
}

static const char *because(const struct mn_generate_params *params)
{
    (void)params;
    return "strategy diary";
}

static enum mn_status check_prompt(const struct generation *g)
{
    return g->params->n_prompt == N_PROMPT ? MN_OK
                                           : log_fail(g->log, MN_ERR_USAGE, "no diary of %u", g->params->n_prompt);
}

static enum mn_status open_diary(struct generation *g, void *own)
{
    const struct diary zero = {0};
    assert_memory_equal(own, &zero, sizeof zero);
    assert_ptr_equal(own, g->state);
    memset(own, 0xee, sizeof zero);
    ((struct diary *)own)->n_next = 0;
    n_opened++;
    return fails ? log_fail(g->log, MN_ERR_MEMORY, "no paper") : MN_OK;
}

static void close_diary(void *own)
{
    assert_int_equal(((struct diary *)own)->bytes[99], 0xeeeeeeee);
    n_closed++;
}

static enum mn_status next_line(struct generation *g, void *own, struct request *request)
{
    ((struct diary *)own)->n_next++;
    generation_begin_event(g);
    g->rows[0] = (struct row){.token = g->pending, .position = g->position, .sequence = g->sequence};
    *request = (struct request){.n_rows = 1, .n_new = 1, .steps = g->num_steps, .predict = true};
    return MN_OK;
}

static enum mn_status end_line(struct generation *g, void *own)
{
    generation_commit(g, g->predicted[0], g->rows[0].depth);
    generation_end_event(g, "line", 1, 1);
    assert_int_equal(((struct diary *)own)->n_next, g->stats->n_new - 1);
    return MN_OK;
}

static void note_line(void *user, const struct mn_trace *trace)
{
    (void)user;
    assert_string_equal(trace->event, "line");
    assert_int_equal(trace->n_committed, 1);
}

static const struct strategy diary = {.about = {.name = "diary", .help = "a diary", .batches = true},
                                      .state_bytes = sizeof(struct diary),
                                      .rows = wanted_rows,
                                      .lossy_because = because,
                                      .check = check_prompt,
                                      .open = open_diary,
                                      .close = close_diary,
                                      .next = next_line,
                                      .absorb = end_line};

static void test_descriptor(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    struct token_list expected = {0}, got = {0};
    struct mn_stats stats;
    struct mn_generate_params p = params_of(&expected);
    p.strategy = "ar";
    assert_int_equal(generate(f.session, &p, &stats), MN_OK);

    made_up = &diary;
    n_opened = n_closed = 0;
    p = params_of(&got);
    p.on_trace = note_line;
    assert_int_equal(generate(f.session, &p, &stats), MN_OK);
    assert_memory_equal(&got, &expected, sizeof got);
    assert_string_equal(stats.strategy, "diary");
    assert_false(stats.lossless);
    assert_string_equal(stats.lossy_because, "strategy diary");
    assert_true(n_opened == 1 && n_closed == 1);

    /* What it does not know is refused before its own check, and that before anything is opened. */
    p.continuous = true;
    test_refused(&f.log, generate(f.session, &p, &stats), "strategy diary", "continuous");
    p.continuous = false;
    p.exit.rule = "kl";
    test_refused(&f.log, generate(f.session, &p, &stats), "strategy diary", "early exit");
    p.exit.rule = NULL;
    p.n_prompt = 2;
    test_refused(&f.log, generate(f.session, &p, &stats), "no diary of 2", "its own check");
    p.n_prompt = N_PROMPT;
    p.speculation.require_lossless = true;
    test_refused(&f.log, generate(f.session, &p, &stats), "strategy diary is lossy", "require_lossless");
    p.speculation.require_lossless = false;
    assert_true(n_opened == 1 && n_closed == 1);

    /* What failed to open is closed. */
    fails = true;
    assert_int_equal(generate(f.session, &p, &stats), MN_ERR_MEMORY);
    assert_true(n_opened == 2 && n_closed == 2);
    fails = false;
    made_up = NULL;
    close_fixture(&f);
}

/* As many sequences share passes as its rows leave room for. */
static void test_rows_in_a_batch(void **state)
{
    (void)state;
    enum { N = 4, R = 2 };
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    struct session *session = test_session(
        engine,
        &(struct session_params){.num_steps = R, .max_rows = N, .n_sequences = N, .kv_type = KV_F16, .n_ctx = 64});
    made_up = &diary;
    for (n_wanted_rows = 1; n_wanted_rows <= 2 * N; n_wanted_rows *= 2) {
        struct token_list lists[N] = {{0}};
        struct mn_generate_params p[N];
        struct mn_stats stats[N], total;
        for (uint32_t i = 0; i < N; i++)
            p[i] = params_of(&lists[i]);
        n_opened = n_closed = 0;
        assert_int_equal(generate_batch(session, p, N, stats, &total, NULL, NULL), MN_OK);
        assert_true(n_opened == N && n_closed == N);
        for (uint32_t i = 1; i < N; i++)
            assert_memory_equal(&lists[i], &lists[0], sizeof lists[i]);
        /* Three tokens behind the prompt's, so many groups one behind another. */
        const uint32_t n_groups = n_wanted_rows < N ? n_wanted_rows : N;
        assert_int_equal(total.core_passes, 3 * R * n_groups);
    }
    made_up = NULL;
    session_destroy(session);
    test_engine_done(engine);
}

/* ---- events ---- */

/* Commits without ever speaking of an event. */
static enum mn_status commit_all(struct generation *g, void *own)
{
    (void)own;
    for (uint32_t i = 0; !g->done; i++)
        generation_commit(g, 100 + i, 1);
    return MN_OK;
}

/* Begins events and ends none. */
static enum mn_status commit_in_one_event(struct generation *g, void *own)
{
    generation_begin_event(g);
    return commit_all(g, own);
}

/* Ends what never began. */
static enum mn_status only_end(struct generation *g, void *own)
{
    generation_end_event(g, "end", 0, 0);
    return commit_all(g, own);
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
    struct mn_generate_params params = params_of(&list);
    struct generation g;
    params.n_new = N_MANY;
    params.on_trace = no_event;
    made_up = strategy;
    assert_int_equal(generation_open(&g, f->session, NULL, &params, &stats, &f->log.log), MN_OK);
    assert_false(stats.lossless); /* it does not say why */
    assert_string_equal(stats.lossy_because, strategy->about.name);
    assert_int_equal(generation_prefill(&g, 0), MN_OK);
    assert_int_equal(g.strategy->run(&g, g.state), MN_OK);
    assert_int_equal(list.n, N_MANY);
    for (uint32_t i = 1; i < list.n; i++)
        assert_int_equal(list.ids[i], 100 + i - 1);
    /* What lies behind the tokens of an event is as it was. */
    const struct request none = {0};
    assert_true(g.n_committed <= SESSION_MAX_ROWS);
    assert_memory_equal(&g.request, &none, sizeof none);
    assert_true(g.steps_left == 0 && g.n_others == 0 && !g.open && !g.fresh);
    generation_close(&g);
    made_up = NULL;
}

static void test_events_of_the_careless(void **state)
{
    (void)state;
    static const struct strategy without = {.about = {.name = "without"}, .run = commit_all},
                                 endless = {.about = {.name = "endless"}, .run = commit_in_one_event},
                                 beginless = {.about = {.name = "beginless"}, .run = only_end};
    struct fixture f;
    open_fixture(&f);
    check_events(&f, &without);
    check_events(&f, &endless);
    check_events(&f, &beginless);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_descriptor),
                                       cmocka_unit_test(test_rows_in_a_batch),
                                       cmocka_unit_test(test_events_of_the_careless)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
