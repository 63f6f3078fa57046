/* Goal: whoever waits is told what long work is at, and can end it within one submit or one pipeline.
 * Method: (1) What the callback is told while a model is loaded or made, a session created, costs measured, a prompt
 * read: phases that begin at 0, never fall back and end complete, with nothing between them. (2) The callback asks to
 * stop at its n-th call, for many n of small work: MN_ERR_INTERRUPTED without a line in the log, nothing made, and no
 * submit and no pipeline after it. (3) Engine and session are as good as new afterwards: they emit the same tokens. */
#include <stdlib.h>
#include <string.h>

#include "tests/testing.h"
#include "tests/vk_hooks.h"

#define SHAPE "d=32,heads=2,ff=64,vocab=96,layers=1-1-1,steps=4,ctx=64"
enum { MAX_PHASES = 64, N_NEW = 6 };

struct phase {
    const char *what;
    uint64_t first, last, total;
    uint32_t n;
};

static struct {
    struct phase phases[MAX_PHASES];
    uint32_t n_phases, n_calls, stop_at; /* stop_at 0: never */
    uint32_t n_after;                    /* calls after the one that stopped */
    bool stopped, open;
    uint32_t n_submits, n_pipelines; /* when it stopped */
} seen;

static int report(void *user, const char *what, uint64_t done, uint64_t total)
{
    assert_ptr_equal(user, &seen);
    seen.n_calls++;
    seen.n_after += seen.stopped;
    if (seen.stop_at && seen.n_calls == seen.stop_at) {
        seen.stopped = true;
        seen.n_submits = hooks.n[CALL_QueueSubmit];
        seen.n_pipelines = hooks.n[CALL_CreateComputePipelines];
    }
    if (!what) {
        assert_int_equal(done, 0);
        assert_int_equal(total, 0);
        assert_false(seen.open);
        return seen.stopped;
    }
    assert_true(done <= total);
    struct phase *p = &seen.phases[seen.n_phases ? seen.n_phases - 1 : 0];
    if (!seen.open) {
        assert_true(seen.n_phases < MAX_PHASES);
        p = &seen.phases[seen.n_phases++];
        *p = (struct phase){.what = what, .first = done, .total = total};
    }
    assert_string_equal(p->what, what);
    assert_int_equal(p->total, total);
    assert_true(done >= p->last);
    p->last = done;
    p->n++;
    seen.open = done < total;
    return seen.stopped;
}

static void forget(uint32_t stop_at)
{
    memset(&seen, 0, sizeof seen);
    seen.stop_at = stop_at;
}

/* The phase is there, was told from its beginning to its end, and more often than that. */
static const struct phase *told(const char *what, uint32_t at_least)
{
    for (uint32_t i = 0; i < seen.n_phases; i++)
        if (!strcmp(seen.phases[i].what, what)) {
            const struct phase *p = &seen.phases[i];
            assert_int_equal(p->first, 0);
            assert_int_equal(p->last, p->total);
            assert_true(p->n >= at_least);
            return p;
        }
    fail_msg("no phase '%s'", what);
    return NULL;
}

static enum mn_status open_engine(struct mn_engine **engine, const char *dir, const struct test_log *log)
{
    return mn_engine_create(engine, &(struct mn_engine_params){.model_dir = dir,
                                                               .synthetic = dir ? NULL : SHAPE,
                                                               .device = test_device,
                                                               .validate = MN_TEST_VALIDATE,
                                                               .log = &log->log,
                                                               .progress = {report, &seen}});
}

static const struct mn_session_params session_params = {.n_ctx = 48, .num_steps = 4, .max_rows = 4};

static enum mn_status generate_tokens(struct mn_session *session, const char *strategy, struct token_list *tokens)
{
    static const uint32_t prompt[] = {1, 2, 3, 4, 5};
    const struct mn_generate_params params = {.prompt = prompt,
                                              .n_prompt = 5,
                                              .n_new = N_NEW,
                                              .strategy = strategy,
                                              .speculation = {.draft_steps = 2, .lookahead = 2},
                                              .ignore_eos = true,
                                              .on_token = token_list_add,
                                              .user = tokens};
    struct mn_stats stats;
    *tokens = (struct token_list){0};
    return mn_generate(session, &params, &stats);
}

static void test_phases(void **state)
{
    (void)state;
    struct test_log log;
    struct mn_engine *engine;
    struct mn_session *session;
    struct mn_cost_table costs;
    struct token_list tokens;
    test_log_init(&log);
    for (int synthetic = 0; synthetic < 2; synthetic++) {
        forget(0);
        assert_int_equal(open_engine(&engine, synthetic ? NULL : RAVEN_TINY, &log), MN_OK);
        told(synthetic ? "making weights" : "reading weights", 10);
        assert_false(seen.open);
        forget(0);
        assert_int_equal(mn_session_create(&session, engine, &session_params), MN_OK);
        told("building pipelines", 10);
        told("warming up", 10);
        assert_int_equal(seen.n_phases, 2);
        forget(0);
        assert_int_equal(mn_session_costs(session, &costs), MN_OK);
        told("measuring the cost of passes", 10);
        forget(0);
        assert_int_equal(generate_tokens(session, "ar", &tokens), MN_OK);
        assert_int_equal(told("reading the prompt", 4)->total, 5 * 4);
        assert_int_equal(seen.n_phases, 1);
        assert_true(seen.n_calls > N_NEW); /* between tokens it is asked as well */
        mn_session_destroy(session);
        mn_engine_destroy(engine);
    }
    assert_int_equal(log.n_errors, 0);
}

/* Stops `work` at its first calls, each of them, then at some. Returns how many there are. */
static uint32_t stop_everywhere(enum mn_status (*work)(void *user), void *user, const struct test_log *log)
{
    uint32_t n_stopped = 0;
    for (uint32_t at = 1;; at += at < 16 ? 1 : at / 4) {
        forget(at);
        const enum mn_status status = work(user);
        assert_int_equal(log->n_errors, 0);
        if (!seen.stopped) {
            assert_int_equal(status, MN_OK);
            return n_stopped;
        }
        assert_int_equal(status, MN_ERR_INTERRUPTED);
        assert_int_equal(seen.n_after, 0);
        if (hooks.real.QueueSubmit) {
            assert_int_equal(hooks.n[CALL_QueueSubmit], seen.n_submits);
            assert_int_equal(hooks.n[CALL_CreateComputePipelines], seen.n_pipelines);
        }
        n_stopped++;
    }
}

struct work {
    struct mn_engine *engine;
    struct mn_session *session;
    const char *dir, *strategy;
    const struct test_log *log;
    struct token_list expected; /* of ar */
};

static enum mn_status load(void *user)
{
    struct work *w = user;
    struct mn_engine *engine = (struct mn_engine *)w;
    enum mn_status status = open_engine(&engine, w->dir, w->log);
    assert_int_equal(!engine, status != MN_OK);
    mn_engine_destroy(engine);
    return status;
}

static void test_stops_loading(void **state)
{
    (void)state;
    struct test_log log;
    test_log_init(&log);
    memset(&hooks, 0, sizeof hooks);
    assert_true(stop_everywhere(load, &(struct work){.log = &log}, &log) > 8);
    const struct random_shape shape = {.n_embd = 32,
                                       .n_heads = 2,
                                       .intermediate_size = 64,
                                       .vocab_size = 96,
                                       .n_prelude = 1,
                                       .n_core = 1,
                                       .n_coda = 1,
                                       .block_size = 64,
                                       .seed = 5};
    char *dir;
    random_model_write(&shape, &dir);
    assert_true(stop_everywhere(load, &(struct work){.dir = dir, .log = &log}, &log) > 8);
    random_model_remove(dir);
}

static enum mn_status make_session(void *user)
{
    struct work *w = user;
    struct mn_session *session = (struct mn_session *)w;
    enum mn_status status = mn_session_create(&session, w->engine, &session_params);
    assert_int_equal(!session, status != MN_OK);
    mn_session_destroy(session);
    return status;
}

static enum mn_status measure_costs(void *user)
{
    struct work *w = user;
    struct mn_cost_table costs;
    w->session->costs = (struct mn_cost_table){0};
    enum mn_status status = mn_session_costs(w->session, &costs);
    assert_int_equal(w->session->costs.n != 0, status == MN_OK);
    return status;
}

/* Also right behind one that was stopped: from new, and so far as it comes the tokens of `ar`. */
static enum mn_status generate_it(void *user)
{
    struct work *w = user;
    struct token_list tokens;
    const enum mn_status status = generate_tokens(w->session, w->strategy, &tokens);
    assert_true(status ? tokens.n <= N_NEW : tokens.n == N_NEW);
    assert_memory_equal(tokens.ids, w->expected.ids, tokens.n * sizeof *tokens.ids);
    return status;
}

static enum mn_status profile_it(void *user)
{
    struct work *w = user;
    struct mn_profile *profile = NULL;
    const struct mn_operation *operations;
    uint32_t n;
    double us;
    enum mn_status status = mn_profile_create(&profile, w->engine,
                                              &(struct mn_profile_params){.position = 5, .max_rows = 2});
    if (!status)
        status = mn_profile_pass(profile, MN_PASS_STEP, 2, &operations, &n);
    if (!status)
        status = mn_profile_time_pass(profile, &us);
    if (!status)
        status = mn_profile_time_empty(profile, 3, &us);
    mn_profile_destroy(profile);
    return status;
}

static void test_stops_running(void **state)
{
    (void)state;
    struct test_log log;
    struct work w = {.log = &log};
    test_log_init(&log);
    forget(0);
    assert_int_equal(open_engine(&w.engine, NULL, &log), MN_OK);
    hooks_install(w.engine->model->device);
    assert_true(stop_everywhere(make_session, &w, &log) > 20);
    forget(0);
    assert_int_equal(mn_session_create(&w.session, w.engine, &session_params), MN_OK);
    assert_int_equal(generate_tokens(w.session, "ar", &w.expected), MN_OK);
    assert_true(stop_everywhere(measure_costs, &w, &log) > 20);
    for (uint32_t i = 0; mn_strategy_at(i); i++) {
        if (mn_strategy_at(i)->kv_policy) /* diffusion's tokens are not those of ar */
            continue;
        w.strategy = mn_strategy_at(i)->name;
        assert_true(stop_everywhere(generate_it, &w, &log) > 10);
    }
    assert_true(stop_everywhere(profile_it, &w, &log) > 20);
    double gb_s;
    forget(1);
    assert_int_equal(mn_read_bandwidth(w.engine, &gb_s), MN_ERR_INTERRUPTED);
    forget(0);
    assert_int_equal(mn_read_bandwidth(w.engine, &gb_s), MN_OK);
    mn_session_destroy(w.session);
    test_engine_done(w.engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_phases),
        cmocka_unit_test(test_stops_loading),
        cmocka_unit_test(test_stops_running),
    };
    return RUN_ON_EVERY_DEVICE(tests, NULL, NULL);
}
