/* Goal: auto is lossless whatever it chooses, and its stored costs are trusted only when they are whole and for this
 * very set-up.
 * Method: tokens against ar, greedy and sampled, on the shipped model and a random one; cost files that make each
 * family the cheapest, damaged ones, and ones for another device. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spec/cost.h"
#include "tests/testing.h"

static const struct random_shape odd_shape = {.n_embd = 60,
                                              .n_heads = 6,
                                              .intermediate_size = 92,
                                              .vocab_size = 173,
                                              .n_prelude = 1,
                                              .n_core = 2,
                                              .n_coda = 2,
                                              .block_size = 160,
                                              .tied = false,
                                              .qk_bias = true,
                                              .seed = 11};
static const uint32_t prompt[] = {0, 23, 29, 90, 100, 23, 27, 92, 26, 7, 61};
enum { N_PROMPT = sizeof prompt / sizeof *prompt };

static struct token_list run(struct session *session, struct mn_generate_params params, struct mn_stats *stats)
{
    struct token_list list = {0};
    params.prompt = prompt;
    params.n_prompt = N_PROMPT;
    params.on_token = token_list_add;
    params.user = &list;
    assert_int_equal(generate(session, &params, stats), MN_OK);
    return list;
}

static void assert_same(const struct token_list *got, const struct token_list *expected)
{
    assert_int_equal(got->n, expected->n);
    assert_memory_equal(got->ids, expected->ids, got->n * sizeof *got->ids);
}

/* The one file in the folder. */
static void cost_file(const char *dir, char *path, size_t n_bytes)
{
    DIR *folder = opendir(dir);
    struct dirent *entry;
    uint32_t n = 0;
    assert_non_null(folder);
    while ((entry = readdir(folder)))
        if (entry->d_name[0] != '.') {
            snprintf(path, n_bytes, "%s/%s", dir, entry->d_name);
            n++;
        }
    closedir(folder);
    assert_int_equal(n, 1);
}

static char *read_text(const char *path)
{
    char *text = calloc(1, 1 << 16);
    FILE *file = fopen(path, "rb");
    assert_non_null(text);
    assert_non_null(file);
    assert_true(fread(text, 1, (1 << 16) - 1, file) > 0);
    fclose(file);
    return text;
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* A table in which a core pass of n rows takes core_ns (1 + slope (n - 1)), stored as this session's. */
static void fake_costs(const struct session *session, const char *dir, double core_ns, double slope, double head_ns)
{
    struct cost_table t = {.n = COST_POINTS, .submit_ns = 1000};
    for (uint32_t i = 0; i < COST_POINTS; i++) {
        t.rows[i] = i + 1;
        t.prelude_ns[i] = 1000;
        t.core_ns[i] = core_ns * (1.0 + slope * i);
        t.head_ns[i] = head_ns;
    }
    assert_true(cost_store(session, dir, &t));
}

static void check_lossless(bool random)
{
    struct test_log log;
    char *dir = NULL, costs[] = "/tmp/muninn-costs-XXXXXX", path[512];
    test_log_init(&log);
    if (random)
        random_model_write(&odd_shape, &dir);
    struct mn_engine *engine = test_engine(&log, random ? dir : RAVEN_TINY, NULL);
    assert_non_null(mkdtemp(costs));
    struct session_params params = {.num_steps = 16, .max_rows = 16, .kv_type = KV_F16, .n_ctx = 160};
    struct session *session = test_session(engine, &params);
    /* Measured, then faked: a row costs nothing more; as much as a pass of its own; more than that. */
    static const struct {
        double slope, head_ns;
    } fakes[] = {{-1, 0}, {0.0, 1000}, {1.0, 1000}, {3.0, 5e6}};
    uint64_t drafted = 0, choices = 0;
    for (size_t i = 0; i < sizeof fakes / sizeof *fakes; i++)
        for (int sampled = 0; sampled < 2; sampled++) {
            struct mn_generate_params g = {
                .n_new = 140,
                .strategy = "ar",
                .sampler = {.temperature = sampled ? 0.8f : 0.0f, .top_k = 40, .seed = 77 + i},
                .ignore_eos = i % 2 == 0,
                .init_scale = random ? 1.0f : 0.0f};
            struct mn_stats stats;
            struct token_list expected = run(session, g, &stats);
            g.strategy = "auto";
            g.speculation.cost_dir = costs;
            if (fakes[i].slope >= 0.0)
                fake_costs(session, costs, 1e6, fakes[i].slope, fakes[i].head_ns);
            struct token_list got = run(session, g, &stats);
            assert_same(&got, &expected);
            assert_true(stats.lossless);
            assert_string_equal(stats.strategy, "auto");
            cost_file(costs, path, sizeof path);
            drafted += stats.drafted;
            choices += stats.n_choices;
        }
    print_message("%llu drafts, %llu changes of mind\n", (unsigned long long)drafted, (unsigned long long)choices);
    assert_true(drafted > 0);
    unlink(path);
    assert_int_equal(rmdir(costs), 0);
    session_destroy(session);
    test_engine_done(engine);
    if (dir)
        random_model_remove(dir);
}

static void test_shipped(void **state)
{
    (void)state;
    check_lossless(false);
}

static void test_random(void **state)
{
    (void)state;
    check_lossless(true);
}

/* One row per pass, or one step: nothing to speculate with. */
static void test_degenerate(void **state)
{
    (void)state;
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    static const uint32_t steps[] = {1, 2, 4}, rows[] = {16, 2, 1};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct session_params params = {.num_steps = steps[i], .max_rows = rows[i], .kv_type = KV_F16, .n_ctx = 40};
        struct session *session = test_session(engine, &params);
        struct mn_generate_params g = {.n_new = 20, .strategy = "ar", .ignore_eos = true};
        struct mn_stats stats;
        struct token_list expected = run(session, g, &stats);
        g.strategy = "auto";
        struct token_list got = run(session, g, &stats);
        assert_same(&got, &expected);
        session_destroy(session);
    }
    test_engine_done(engine);
}

/* A cost file is an outside file. Whatever is in it, the tokens are right and a table that is not whole is measured
 * again. */
static void test_cost_files(void **state)
{
    (void)state;
    struct test_log log;
    char costs[] = "/tmp/muninn-costs-XXXXXX", path[512];
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    assert_non_null(mkdtemp(costs));
    struct session_params params = {.num_steps = 4, .max_rows = 16, .kv_type = KV_F16, .n_ctx = 40};
    struct session *session = test_session(engine, &params);
    struct cost_table table;
    assert_int_equal(cost_get(session, costs, &table), MN_OK);
    assert_int_equal(table.n, COST_POINTS);
    cost_file(costs, path, sizeof path);
    char *good = read_text(path);

    /* A whole file is used as it is. */
    fake_costs(session, costs, 123456, 0.5, 777);
    assert_int_equal(cost_get(session, costs, &table), MN_OK);
    assert_true(table.core_ns[0] == 123456 && table.head_ns[15] == 777 && table.core_ns[2] == 2 * 123456.0);
    assert_true(cost_at(&table, table.core_ns, 2) == 1.5 * 123456 && cost_at(&table, table.core_ns, 0) == 0.0);
    assert_true(cost_at(&table, table.head_ns, 32) == 2 * 777.0);

    char *fake = read_text(path);
    static const char *const damages[][2] = {{"777", "778"},
                                             {"\"checksum\":\"", "\"checksum\":\"0"},
                                             {"123456", "-1"},
                                             {"123456", "0"},
                                             {"123456", "1e300"},
                                             {"123456", "\"x\""},
                                             {"123456", "123456,5"},
                                             {"\"core_ns\"", "\"gore_ns\""},
                                             {"\"key\":\"", "\"key\":\"another "},
                                             {"}", ""},
                                             {"{", "[{"}};
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        char *at = strstr(fake, damages[i][0]), *damaged = malloc(1 << 17);
        assert_non_null(at);
        assert_non_null(damaged);
        snprintf(damaged, 1 << 17, "%.*s%s%s", (int)(at - fake), fake, damages[i][1], at + strlen(damages[i][0]));
        write_text(path, damaged);
        assert_int_equal(cost_get(session, costs, &table), MN_OK);
        if (table.head_ns[15] == 777)
            fail_msg("damage %zu (%s -> %s) was not noticed", i, damages[i][0], damages[i][1]);
        char *again = read_text(path); /* stored anew, whole */
        assert_string_not_equal(again, damaged);
        assert_int_equal(strncmp(again, good, (size_t)(strstr(good, ",\"checksum\"") - good)), 0);
        free(again);
        free(damaged);
    }
    assert_int_equal(log.n_errors, 0);
    free(fake);
    free(good);
    unlink(path);
    assert_int_equal(rmdir(costs), 0);
    /* No folder: measured all the same. */
    assert_int_equal(cost_get(session, costs, &table), MN_OK);
    assert_true(table.core_ns[0] > 0.0);
    session_destroy(session);
    test_engine_done(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shipped), cmocka_unit_test(test_random),
                                       cmocka_unit_test(test_degenerate), cmocka_unit_test(test_cost_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
