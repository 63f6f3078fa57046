/* Goal: continuous depth batching. Sequences that share passes emit the tokens they emit alone, whatever the strategy,
 * whoever is beside them and however deep each goes; a sequence that ends gives its place to the next one at once;
 * refusals name the sequence.
 * Method: batches of unequal prompts, lengths and depths against runs one by one, token for token, on the shipped
 * model and on a random one; passes counted; the Vulkan validation layer must stay silent. */
#include <stdio.h>
#include <string.h>

#include "tests/testing.h"

enum { N_MOST = 7, R = 8 };

static const struct random_shape odd_shape = {.n_embd = 60,
                                              .n_heads = 6,
                                              .intermediate_size = 92,
                                              .vocab_size = 173,
                                              .n_prelude = 1,
                                              .n_core = 2,
                                              .n_coda = 2,
                                              .block_size = 96,
                                              .tied = false,
                                              .qk_bias = true,
                                              .seed = 11};

static const uint32_t prompt[] = {0, 23, 29, 90, 100, 23, 27, 92, 26, 7, 61, 4, 8, 120, 33};

/* Sequence i: its own prompt, length and depth. */
static struct mn_generate_params sequence_params(const struct mn_generate_params *common, uint32_t i)
{
    static const uint32_t lengths[N_MOST] = {20, 1, 9, 14, 3, 17, 6}, depths[N_MOST] = {R, R, 5, 7, R, 6, R};
    struct mn_generate_params p = *common;
    p.prompt = prompt + i;
    p.n_prompt = 3 + (5 * i) % 6;
    p.n_new = lengths[i];
    p.num_steps = depths[i];
    if (p.speculation.draft_steps > 1) /* each may draft at a depth of its own */
        p.speculation.draft_steps -= i % 2;
    p.on_token = token_list_add;
    return p;
}

struct order {
    uint32_t n, ended[N_MOST], stop_after;
};

static int note_end(void *user, uint32_t i)
{
    struct order *order = user;
    order->ended[order->n++] = i;
    return order->n == order->stop_after;
}

static void assert_equal_lists(const struct token_list *got, const struct token_list *expected, const char *what,
                               uint32_t i)
{
    if (got->n != expected->n)
        fail_msg("%s, sequence %u: %u tokens against %u", what, i, got->n, expected->n);
    for (uint32_t j = 0; j < got->n; j++)
        if (got->ids[j] != expected->ids[j])
            fail_msg("%s, sequence %u: token %u is %u against %u", what, i, j, got->ids[j], expected->ids[j]);
}

/* `n_parallel` sequences at once, rows_each rows for each. */
static void check_batch(struct mn_engine *engine, const struct mn_generate_params *common, uint32_t n_parallel,
                        uint32_t rows_each, enum kv_type kv_type)
{
    struct session_params alone_params = {.num_steps = R, .max_rows = rows_each, .kv_type = kv_type, .n_ctx = 40};
    struct session_params params = alone_params;
    params.n_sequences = n_parallel;
    params.max_rows = n_parallel * rows_each;
    struct session *alone = test_session(engine, &alone_params), *together = test_session(engine, &params);
    struct mn_generate_params p[N_MOST];
    struct mn_stats stats[N_MOST], total, one;
    static struct token_list expected[N_MOST], got[N_MOST];
    struct order order = {0};
    uint64_t core_passes = 0, core_rows = 0, drafted = 0, accepted = 0, n_rounds = 0;
    memset(expected, 0, sizeof expected);
    memset(got, 0, sizeof got);
    for (uint32_t i = 0; i < N_MOST; i++) {
        p[i] = sequence_params(common, i);
        p[i].user = &expected[i];
        assert_int_equal(generate(alone, &p[i], &one), MN_OK);
        core_passes += one.core_passes;
        core_rows += one.core_rows;
        drafted += one.drafted;
        accepted += one.accepted;
        p[i].user = &got[i];
    }
    assert_int_equal(generate_batch(together, p, N_MOST, stats, &total, note_end, &order), MN_OK);
    uint32_t n_new = 0;
    for (uint32_t i = 0; i < N_MOST; i++) {
        assert_equal_lists(&got[i], &expected[i], common->strategy, i);
        assert_int_equal(stats[i].n_new, got[i].n);
        assert_int_equal(stats[i].n_prompt, p[i].n_prompt);
        n_new += got[i].n;
    }
    assert_int_equal(order.n, N_MOST);
    assert_int_equal(total.n_sequences, N_MOST);
    assert_int_equal(total.n_new, n_new);
    for (uint32_t at = 0; at <= MN_MAX_LOOKAHEAD; at++) { /* histograms are sums as well */
        uint64_t lengths = 0, accepted_at = 0;
        for (uint32_t i = 0; i < N_MOST; i++) {
            lengths += stats[i].accepted_lengths[at];
            accepted_at += at < MN_MAX_LOOKAHEAD ? stats[i].accepted_at[at] : 0;
        }
        assert_int_equal(total.accepted_lengths[at], lengths);
        if (at < MN_MAX_LOOKAHEAD)
            assert_int_equal(total.accepted_at[at], accepted_at);
        n_rounds += total.accepted_lengths[at];
    }
    if (!strcmp(common->strategy, "draft-verify"))
        assert_int_equal(n_rounds, total.rounds);
    if (strcmp(common->strategy, "auto") != 0) { /* its choices depend on times, its tokens do not */
        assert_int_equal(total.drafted, drafted);
        assert_int_equal(total.accepted, accepted);
        /* The same rows, in fewer passes. */
        assert_int_equal(total.core_rows, core_rows);
        if (n_parallel > 1)
            assert_true(total.core_passes < core_passes);
        else
            assert_int_equal(total.core_passes, core_passes);
    }
    session_destroy(alone);
    session_destroy(together);
}

static void check_strategies(const char *dir)
{
    static const float temperatures[] = {0.0f, 0.9f};
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, dir, NULL);
    for (int t = 0; t < 2; t++) {
        struct mn_generate_params common = {.sampler = {.temperature = temperatures[t], .top_p = 0.95f, .seed = 5},
                                            .ignore_eos = t == 0,
                                            .speculation = {.draft_steps = 2, .lookahead = 3}};
        common.strategy = "ar";
        check_batch(engine, &common, 3, 1, KV_F16);
        check_batch(engine, &common, N_MOST, 1, KV_Q8);
        common.strategy = "draft-verify";
        check_batch(engine, &common, 4, 4, KV_Q8);
        check_batch(engine, &common, 1, 4, KV_F16);
        common.strategy = "wavefront";
        common.speculation.max_inflight = 4;
        check_batch(engine, &common, 4, 4, t ? KV_Q8 : KV_F16);
    }
    test_engine_done(engine);
}

static void test_shipped(void **state)
{
    (void)state;
    check_strategies(RAVEN_TINY);
}

static void test_random(void **state)
{
    (void)state;
    char *dir;
    random_model_write(&odd_shape, &dir);
    check_strategies(dir);
    random_model_remove(dir);
}

/* Early exit and auto ask for rows in ways of their own. */
static void test_exit_and_auto(void **state)
{
    (void)state;
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    struct mn_generate_params common = {.strategy = "ar", .exit = {.rule = "argmax-stability:2"}, .ignore_eos = true};
    check_batch(engine, &common, 4, 1, KV_F16);
    common = (struct mn_generate_params){.strategy = "draft-verify",
                                         .exit = {.rule = "latent-diff:0.2"},
                                         .speculation = {.draft_steps = 4, .lookahead = 3},
                                         .ignore_eos = true};
    check_batch(engine, &common, 3, 4, KV_Q8);
    common = (struct mn_generate_params){.strategy = "auto", .ignore_eos = true};
    check_batch(engine, &common, 4, 16, KV_F16);
    common = (struct mn_generate_params){.strategy = "ar", .continuous = true, .ignore_eos = true};
    check_batch(engine, &common, 4, 1, KV_F16);
    test_engine_done(engine);
}

/* A waiting sequence enters when another one ends, not when all have. */
static void test_places_are_freed(void **state)
{
    (void)state;
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    struct session_params params = {.num_steps = R, .max_rows = 2, .n_sequences = 2, .kv_type = KV_F16, .n_ctx = 64};
    struct session *session = test_session(engine, &params);
    enum { N = 4 };
    static const uint32_t lengths[N] = {31, 11, 11, 11};
    struct mn_generate_params p[N];
    struct mn_stats stats[N], total;
    static struct token_list lists[N];
    struct order order = {0};
    for (uint32_t i = 0; i < N; i++)
        p[i] = (struct mn_generate_params){.prompt = prompt,
                                           .n_prompt = 4,
                                           .n_new = lengths[i],
                                           .ignore_eos = true,
                                           .on_token = token_list_add,
                                           .user = &lists[i]};
    assert_int_equal(generate_batch(session, p, N, stats, &total, note_end, &order), MN_OK);
    /* 30 ticks of two rows: the long one beside the three short ones, one behind the other. */
    assert_int_equal(total.core_passes, 30 * R);
    assert_int_equal(total.core_rows, 60 * R);
    const uint32_t wanted[N] = {1, 2, 0, 3};
    assert_memory_equal(order.ended, wanted, sizeof wanted);
    session_destroy(session);
    test_engine_done(engine);
}

static void write_own(void *user, enum mn_log_level level, const char *text)
{
    char *line = user;
    (void)level;
    snprintf(line, 256, "%s", text);
}

/* Those that cannot run are refused one by one, each with its reason; the others emit what they emit alone. */
static void test_some_cannot_run(void **state)
{
    (void)state;
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    struct session_params params = {.num_steps = 4, .max_rows = 2, .n_sequences = 2, .kv_type = KV_F16, .n_ctx = 64};
    struct session *session = test_session(engine, &params);
    enum { N = 6 };
    static const uint32_t unknown[] = {0, 23, 100000};
    static const bool runs[N] = {false, true, false, false, true, false};
    struct mn_generate_params p[N];
    struct mn_stats stats[N], total, one;
    static struct token_list lists[N], alone;
    struct order order = {0};
    char own[256] = "";
    const struct mn_log own_log = {write_own, own};
    memset(lists, 0, sizeof lists);
    memset(&alone, 0, sizeof alone);
    for (uint32_t i = 0; i < N; i++)
        p[i] = (struct mn_generate_params){.prompt = prompt,
                                           .n_prompt = 4,
                                           .n_new = 9,
                                           .ignore_eos = true,
                                           .on_token = token_list_add,
                                           .user = &alone};
    assert_int_equal(generate(session, &p[0], &one), MN_OK);
    for (uint32_t i = 0; i < N; i++)
        p[i].user = &lists[i];
    p[0].n_prompt = 0;
    p[2].prompt = unknown, p[2].n_prompt = 3, p[2].log = &own_log;
    p[3].n_new = 62;
    p[5].num_steps = 5;
    assert_int_equal(generate_batch(session, p, N, stats, &total, note_end, &order), MN_ERR_USAGE);
    assert_int_equal(log.n_errors, 3);
    assert_non_null(strstr(log.last, "sequence 5 of the batch: num_steps 5"));
    assert_string_equal(own, "token id 100000: the vocabulary has 512");
    assert_int_equal(order.n, N);
    for (uint32_t i = 0; i < N; i++) {
        assert_int_equal(stats[i].status, runs[i] ? MN_OK : MN_ERR_USAGE);
        assert_int_equal(stats[i].n_new, runs[i] ? 9 : 0);
        if (runs[i])
            assert_equal_lists(&lists[i], &alone, "beside refused ones", i);
    }
    assert_int_equal(total.n_sequences, 2);
    assert_int_equal(total.n_new, 18);
    assert_int_equal(total.n_prompt, 8);
    assert_true(total.lossless);
    assert_int_equal(total.status, MN_OK);
    session_destroy(session);
    test_engine_done(engine);
}

/* The caller ends a batch: what was said stays said, nothing else runs. */
static void test_ended_by_caller(void **state)
{
    (void)state;
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    struct session_params params = {.num_steps = 4, .max_rows = 2, .n_sequences = 2, .kv_type = KV_F16, .n_ctx = 64};
    struct session *session = test_session(engine, &params);
    enum { N = 3 };
    struct mn_generate_params p[N];
    struct mn_stats stats[N], total;
    static struct token_list lists[N];
    struct order order = {.stop_after = 1};
    for (uint32_t i = 0; i < N; i++)
        p[i] = (struct mn_generate_params){.prompt = prompt,
                                           .n_prompt = 4,
                                           .n_new = i == 1 ? 5 : 20,
                                           .ignore_eos = true,
                                           .on_token = token_list_add,
                                           .user = &lists[i]};
    assert_int_equal(generate_batch(session, p, N, stats, &total, note_end, &order), MN_OK);
    assert_int_equal(order.n, 1);
    assert_int_equal(lists[0].n, 5);
    assert_int_equal(lists[1].n, 5);
    assert_int_equal(lists[2].n, 0);
    assert_int_equal(stats[0].n_new, 5);
    session_destroy(session);
    test_engine_done(engine);
}

static void test_refusals(void **state)
{
    (void)state;
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    struct session_params params = {.num_steps = 4, .max_rows = 4, .n_sequences = 2, .kv_type = KV_F16, .n_ctx = 64};
    struct session *session = test_session(engine, &params);
    const struct mn_generate_params good = {.prompt = prompt, .n_prompt = 4, .n_new = 5};
    struct mn_stats stats[2], total;
    const struct {
        struct mn_generate_params second;
        const char *part;
    } cases[] = {
        {{.prompt = prompt, .n_prompt = 4, .n_new = 62},
         "sequence 1 of the batch: a prompt of 4 tokens and 62 new ones"},
        {{.prompt = prompt, .n_prompt = 0, .n_new = 5}, "sequence 1 of the batch: the prompt is empty"},
        {{.prompt = prompt, .n_prompt = 4, .n_new = 5, .num_steps = 5}, "sequence 1 of the batch: num_steps 5"},
        {{.prompt = prompt, .n_prompt = 4, .n_new = 5, .sampler = {.temperature = 1.0f}},
         "must be those of sequence 0"},
        {{.prompt = prompt, .n_prompt = 4, .n_new = 5, .strategy = "wavefront", .speculation = {.draft_steps = 1}},
         "must be those of sequence 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct mn_generate_params p[2] = {good, cases[i].second};
        log.n_errors = 0;
        assert_int_equal(generate_batch(session, p, 2, stats, &total, NULL, NULL), MN_ERR_USAGE);
        assert_int_equal(log.n_errors, 1);
        if (!strstr(log.last, cases[i].part))
            fail_msg("wanted '%s', got '%s'", cases[i].part, log.last);
    }
    assert_int_equal(generate_batch(session, &good, 0, stats, &total, NULL, NULL), MN_ERR_USAGE);
    session_destroy(session);
    params = (struct session_params){
        .num_steps = 4, .max_rows = 4, .n_sequences = 1, .policy = {.share = 1}, .kv_type = KV_F16, .n_ctx = 64};
    session = test_session(engine, &params);
    struct mn_generate_params diffusion = good;
    diffusion.strategy = "diffusion";
    diffusion.speculation.draft_steps = 2;
    assert_int_equal(generate_batch(session, &diffusion, 1, stats, &total, NULL, NULL), MN_ERR_USAGE);
    assert_non_null(strstr(log.last, "cannot run in a batch"));
    session_destroy(session);
    test_engine_done(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shipped),         cmocka_unit_test(test_random),
                                       cmocka_unit_test(test_exit_and_auto),   cmocka_unit_test(test_places_are_freed),
                                       cmocka_unit_test(test_ended_by_caller), cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_some_cannot_run)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
