/* Goal: early exit takes the steps that the reference code takes, for every criterion; drafts that exit early stay
 * lossless.
 * Method: steps and tokens of golden.json (default thresholds, at most 32 steps, f32) for two checkpoints and all six
 * criteria; draft-verify with each criterion on its drafts against plain ar, greedy and sampled; exits only at steps
 * where one is due, and where none is due before the end the tokens of ar; bad rules refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/json.h"
#include "spec/exit.h"
#include "tests/testing.h"

static const char *const names[] = {"latent-diff", "cosine", "entropy-diff", "kl", "minp-kl", "argmax-stability"};
enum { N_CRITERIA = sizeof names / sizeof *names, MAX_TOKENS = 64 };

static uint32_t read_array(const struct json_doc *doc, const cJSON *object, const char *key, uint32_t *out)
{
    const cJSON *array, *node;
    uint32_t n = 0;
    assert_int_equal(json_get_array(doc, object, key, &array), MN_OK);
    cJSON_ArrayForEach (node, array) {
        assert_true(n < MAX_TOKENS);
        assert_int_equal(json_as_u32(doc, key, node, 0, 100000, &out[n++]), MN_OK);
    }
    return n;
}

static void check_folder(const char *folder)
{
    struct test_log log;
    char path[512];
    test_log_init(&log);
    snprintf(path, sizeof path, VECTORS "%s", folder);
    struct mn_engine *engine = test_engine(&log, path, "f32");
    struct session_params params = {.num_steps = 32, .max_rows = 1, .kv_type = KV_F32};
    struct session *session = test_session(engine, &params);
    snprintf(path, sizeof path, VECTORS "%s/golden.safetensors", folder);
    struct safetensors *file;
    assert_int_equal(safetensors_open_file(&file, path, NULL, &log.log), MN_OK);
    uint32_t n_prompt, *prompt = golden_ids(file, "ids", &n_prompt);
    snprintf(path, sizeof path, VECTORS "%s/golden.json", folder);
    struct json_doc doc = {0};
    const cJSON *criteria, *criterion;
    assert_int_equal(json_read_file(&doc, path, 1 << 20, &log.log), MN_OK);
    assert_int_equal(json_get_object(&doc, doc.root, "criteria", &criteria), MN_OK);
    for (size_t c = 0; c < N_CRITERIA; c++) {
        uint32_t steps[MAX_TOKENS], tokens[MAX_TOKENS], got_steps[MAX_TOKENS];
        assert_int_equal(json_get_object(&doc, criteria, names[c], &criterion), MN_OK);
        uint32_t n = read_array(&doc, criterion, "steps", steps);
        assert_int_equal(read_array(&doc, criterion, "tokens", tokens), n);
        struct token_list list = {0};
        struct mn_stats stats;
        struct mn_generate_params g = {.prompt = prompt,
                                       .n_prompt = n_prompt,
                                       .n_new = n,
                                       .strategy = "ar",
                                       .exit = {.rule = names[c]},
                                       .steps = got_steps,
                                       .ignore_eos = true,
                                       .on_token = token_list_add,
                                       .user = &list};
        assert_int_equal(generate(session, &g, &stats), MN_OK);
        assert_false(stats.lossless);
        assert_int_equal(list.n, n);
        for (uint32_t i = 0; i < n; i++)
            if (list.ids[i] != tokens[i] || got_steps[i] != steps[i])
                fail_msg("%s %s: token %u is %u after %u steps, the reference has %u after %u", folder, names[c], i,
                         list.ids[i], got_steps[i], tokens[i], steps[i]);
        print_message("%s %s: %u tokens and their steps equal\n", folder, names[c], n);
    }
    json_destroy(&doc);
    safetensors_close(file);
    free(prompt);
    session_destroy(session);
    test_engine_done(engine);
}

static void test_converging(void **state)
{
    (void)state;
    check_folder("converging");
}

static void test_square(void **state)
{
    (void)state;
    check_folder("square");
}

static void test_drafts(void **state)
{
    (void)state;
    static const uint32_t prompt[] = {0, 393, 226, 23, 226, 29, 226, 21, 226, 22, 286};
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    struct session_params params = {.num_steps = 12, .max_rows = 6, .kv_type = KV_F16, .n_ctx = 64};
    struct session *session = test_session(engine, &params);
    bool some_exited = false;
    for (size_t c = 0; c < 2 * N_CRITERIA; c++) {
        struct token_list expected = {0}, got = {0};
        struct mn_stats stats;
        struct mn_generate_params g = {.prompt = prompt,
                                       .n_prompt = sizeof prompt / sizeof *prompt,
                                       .n_new = 24,
                                       .strategy = "ar",
                                       .sampler = {.temperature = c < N_CRITERIA ? 0.0f : 1.1f, .seed = c},
                                       .ignore_eos = true,
                                       .on_token = token_list_add,
                                       .user = &expected};
        assert_int_equal(generate(session, &g, &stats), MN_OK);
        char rule[64];
        /* Looser than the defaults, which are made for longer drafts, so that exits happen at different depths. */
        static const double thresholds[] = {0.3, 0.05, 0.1, 0.05, 0.01, 2};
        snprintf(rule, sizeof rule, "%s:%g", names[c % N_CRITERIA], thresholds[c % N_CRITERIA]);
        g.strategy = "draft-verify";
        g.speculation.draft_steps = 7;
        g.speculation.lookahead = 5;
        g.exit.rule = rule;
        g.user = &got;
        assert_int_equal(generate(session, &g, &stats), MN_OK);
        assert_true(stats.lossless);
        assert_int_equal(got.n, expected.n);
        assert_memory_equal(got.ids, expected.ids, got.n * sizeof *got.ids);
        assert_true(stats.exit_rows > 0 && stats.exit_steps <= 7 * stats.exit_rows);
        some_exited |= stats.exit_steps < 7 * stats.exit_rows;
        print_message("%s: drafts of %.2f steps on average\n", rule,
                      (double)stats.exit_steps / (double)stats.exit_rows);
    }
    assert_true(some_exited);
    session_destroy(session);
    test_engine_done(engine);
}

/* The steps of a criterion's tokens when it may leave from `min_steps` on and is checked every `interval` steps. */
static void steps_of(struct session *session, const char *rule, uint32_t min_steps, uint32_t interval,
                     struct token_list *list, uint32_t *steps)
{
    static const uint32_t prompt[] = {0, 393, 226, 23, 226, 29, 226, 21, 226, 22, 286};
    struct mn_stats stats;
    *list = (struct token_list){0};
    struct mn_generate_params g = {.prompt = prompt,
                                   .n_prompt = sizeof prompt / sizeof *prompt,
                                   .n_new = 8,
                                   .strategy = "ar",
                                   .exit = {.rule = rule, .min_steps = min_steps, .check_interval = interval},
                                   .steps = steps,
                                   .ignore_eos = true,
                                   .on_token = token_list_add,
                                   .user = list};
    assert_int_equal(generate(session, &g, &stats), MN_OK);
    assert_int_equal(list->n, 8);
}

static void test_when_due(void **state)
{
    (void)state;
    enum { R = 12, N = 8 };
    static const char *const rules[N_CRITERIA] = {"latent-diff:0.3", "cosine:0.05",  "entropy-diff:0.1",
                                                  "kl:0.05",         "minp-kl:0.01", "argmax-stability:2"};
    static const uint32_t min_steps[] = {1, 4, 9}, intervals[] = {1, 3, 5};
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    struct session_params params = {.num_steps = R, .max_rows = 1, .kv_type = KV_F16, .n_ctx = 64};
    struct session *session = test_session(engine, &params);
    struct token_list plain, list;
    uint32_t steps[N], first[N];
    steps_of(session, NULL, 0, 0, &plain, NULL);
    for (size_t c = 0; c < N_CRITERIA; c++) {
        uint32_t n_early = 0;
        steps_of(session, rules[c], 1, 1, &list, first);
        for (size_t m = 0; m < sizeof min_steps / sizeof *min_steps; m++)
            for (size_t k = 0; k < sizeof intervals / sizeof *intervals; k++) {
                steps_of(session, rules[c], min_steps[m], intervals[k], &list, steps);
                for (uint32_t i = 0; i < N; i++) {
                    const bool due = steps[i] >= min_steps[m] && steps[i] % intervals[k] == 0;
                    if (steps[i] > R || (steps[i] < R && !due))
                        fail_msg("%s from step %u, every %u: token %u left after %u", rules[c], min_steps[m],
                                 intervals[k], i, steps[i]);
                    n_early += steps[i] < R;
                }
                /* The prompt's states come to rest: once small, the latent values stay so, and the next due step is the
                 * exit. */
                uint32_t expected = first[0] > min_steps[m] ? first[0] : min_steps[m];
                while (expected % intervals[k])
                    expected++;
                if (c < 2 && steps[0] != expected)
                    fail_msg("%s from step %u, every %u: the prompt left after %u, not %u", rules[c], min_steps[m],
                             intervals[k], steps[0], expected);
            }
        assert_true(n_early > 0);
        /* Due at the last step only, or never. */
        for (uint32_t never = 0; never < 2; never++) {
            steps_of(session, rules[c], never ? 1 : R, never ? R + 1 : 1, &list, steps);
            assert_memory_equal(list.ids, plain.ids, N * sizeof *list.ids);
            for (uint32_t i = 0; i < N; i++)
                assert_int_equal(steps[i], R);
        }
    }
    session_destroy(session);
    test_engine_done(engine);
}

static void test_rules(void **state)
{
    (void)state;
    struct test_log log;
    struct exit_rule rule;
    test_log_init(&log);
    static const char *const bad[] = {"", "kld", "kl:", "kl:x", "kl:0", "kl:-1", "kl:nan", "kl:1e-3x", "KL", "none"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        log.n_errors = 0;
        assert_int_equal(exit_parse(bad[i], &rule, &log.log), MN_ERR_USAGE);
        assert_int_equal(log.n_errors, 1);
        assert_non_null(strstr(log.last, "exit.rule "));
    }
    assert_int_equal(exit_parse("minp-kl:0.5", &rule, &log.log), MN_OK);
    assert_int_equal(rule.criterion, EXIT_MINP_KL);
    assert_true(rule.threshold == 0.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_converging), cmocka_unit_test(test_square),
                                       cmocka_unit_test(test_drafts), cmocka_unit_test(test_when_due),
                                       cmocka_unit_test(test_rules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
