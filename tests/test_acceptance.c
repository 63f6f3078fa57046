/* Goal: --acceptance is read as it is meant, or refused by name, whatever is written there and in every locale; rows
 * keep what was given.
 *
 * Method: a table of texts with what must come of them; rows made, written and read back. */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rows/baseline.h"
#include "bench/sweep/measure.h"
#include "bench/sweep/sweep.h"
#include "engine/files/json.h"
#include "tests/testing.h"

static struct acceptance read_good(const char *text)
{
    struct acceptance a;
    assert_int_equal(acceptance_parse(&a, text, NULL), MN_OK);
    return a;
}

static void test_good(void **state)
{
    (void)state;
    static const char *const locales[] = {"C", "de_DE.UTF-8", "fr_FR.UTF-8", ""};
    for (int i = 0; i < 4; i++) {
        setlocale(LC_ALL, locales[i]); /* where the machine has it */
        struct acceptance a = read_good("0.9,0.85,1,0");
        assert_true(a.n_flat == 4 && a.n_at == 0);
        assert_true(a.flat[0] == 0.9f && a.flat[1] == 0.85f && a.flat[2] == 1.0f && a.flat[3] == 0.0f);
        a = read_good("2:0.6,4:.8/0.75/0.7,8:1.");
        assert_true(a.n_flat == 0 && a.n_at == 5);
        assert_true(a.at[0].depth == 2 && a.at[0].place == 0 && a.at[0].share == 0.6f);
        assert_true(a.at[3].depth == 4 && a.at[3].place == 2 && a.at[3].share == 0.7f);
        assert_true(a.at[4].depth == 8 && a.at[4].share == 1.0f);
        assert_string_equal(a.given, a.pairs);
        a = read_good("retrofit");
        assert_true(a.n_at == 2 && a.at[0].depth == 2 && a.at[1].share == 0.99f);
        assert_string_equal(a.given, "retrofit");
        assert_string_equal(a.pairs, "2:0.94,8:0.99");
    }
    setlocale(LC_ALL, "C");
    for (uint32_t i = 0; acceptance_profile_at(i); i++) {
        const struct acceptance a = read_good(acceptance_profile_at(i));
        assert_true(a.n_at > 0 && acceptance_fits(&a, 32));
    }
    const struct acceptance none = read_good(NULL);
    assert_true(none.n_flat == 0 && none.n_at == 0 && acceptance_fits(&none, 1));
}

static void test_bad(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } cases[] = {{"", "'': must be a number from 0 to 1"},
                 {"nan", "'nan': must be P,P"},
                 {"NaN", "'NaN': must be P,P"},
                 {"inf", "'inf': must be P,P"},
                 {"-inf", "'-inf': must be a number"},
                 {"4:nan", "'4:nan': shares must be"},
                 {"4:inf", "'4:inf': shares must be"},
                 {"1e-3", "'1e-3'"},
                 {"0x1", "'0x1'"},
                 {"1.5", "'1.5'"},
                 {"-0.5", "'-0.5'"},
                 {"+0.5", "'+0.5'"},
                 {" 0.5", "' 0.5'"},
                 {"0.5 ", "'0.5 '"},
                 {"0,9", "'9'"},
                 {"0.5,", "''"},
                 {",0.5", "''"},
                 {".", "'.'"},
                 {"0.5.5", "'0.5.5'"},
                 {"0.00000000000000000000000000000001", "must be a number"},
                 {"4:0.9,0.5", "'0.5': no depth"},
                 {"0.9,4:0.5", "'0.9': no depth"},
                 {"4:", "'4:': shares"},
                 {":0.5", "':0.5': the depth"},
                 {":", "':'"},
                 {"4:0.9/", "'4:0.9/': shares"},
                 {"4:/0.9", "'4:/0.9': shares"},
                 {"4:0.9:0.8", "'4:0.9:0.8': shares"},
                 {"0:0.1", "'0:0.1': the depth"},
                 {"-4:0.1", "'-4:0.1': the depth"},
                 {"4097:0.1", "'4097:0.1': the depth"},
                 {"4294967300:0.1", "the depth must be"},
                 {"4:0.9,4:0.95", "'4:0.95': depths must rise"},
                 {"4:0.9,2:0.8", "'2:0.8': depths must rise"},
                 {"4:0.9,8:0.8", "'8:0.8': less than"},
                 {"4:0.9/0.8,8:0.95/0.7", "'8:0.95/0.7': less than"},
                 {"4:0.9,8:0.95/0.85", "'8:0.95/0.85': less than"},
                 {"4:0.5/0.9,8:0.6", "'8:0.6': less than"},
                 {"huggin", "(did you mean huginn?)"},
                 {"retrofit,huginn", "'retrofit,huginn': must be P,P"},
                 {"huginn|retrofit", "must be P,P"},
                 {"\xff\xfe", "must be a number"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct acceptance a;
        struct test_log log;
        test_log_init(&log);
        if (acceptance_parse(&a, cases[i].text, &log.log) != MN_ERR_USAGE || log.n_errors != 1 ||
            strncmp(log.last, "--acceptance", 12) != 0 || !strstr(log.last, cases[i].part))
            fail_msg("'%s': wanted '%s', got '%s'", cases[i].text, cases[i].part, log.last);
    }
}

static void test_huge(void **state)
{
    (void)state;
    static char text[1 << 16];
    struct acceptance a;
    struct test_log log;
    size_t n = 0;
    test_log_init(&log);
    for (uint32_t i = 1; i <= 300; i++) /* rising pairs, too many */
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%u:0", i > 1 ? "," : "", i);
    assert_int_equal(acceptance_parse(&a, text, &log.log), MN_ERR_USAGE);
    assert_non_null(strstr(log.last, "more than 1023 bytes"));
    n = 0;
    for (uint32_t i = 1; i <= 5; i++)
        for (uint32_t j = 0; j < 60; j++)
            n += (size_t)snprintf(text + n, sizeof text - n, j ? "/1" : i > 1 ? ",%u:1" : "%u:1", i);
    assert_int_equal(acceptance_parse(&a, text, &log.log), MN_ERR_USAGE);
    assert_non_null(strstr(log.last, "more than 256 shares"));
    n = (size_t)snprintf(text, sizeof text, "4:1");
    for (uint32_t j = 1; j <= 63; j++)
        n += (size_t)snprintf(text + n, sizeof text - n, "/1");
    assert_int_equal(acceptance_parse(&a, text, &log.log), MN_ERR_USAGE);
    assert_non_null(strstr(log.last, "more than 63 places"));
    text[n - 2] = '\0';
    assert_int_equal(acceptance_parse(&a, text, NULL), MN_OK);
    assert_int_equal(a.n_at, 63);
    for (n = 0; n < 128; n += 2)
        memcpy(text + n, n ? ",1" : "01", 3);
    assert_int_equal(acceptance_parse(&a, text, &log.log), MN_ERR_USAGE);
    assert_non_null(strstr(log.last, "more than 63 places"));
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(acceptance_parse(&a, text, &log.log), MN_ERR_USAGE);
    assert_true(strlen(log.last) < 300);
}

/* Which depths a model has is known with its R. */
static void test_fit(void **state)
{
    (void)state;
    const struct acceptance a = read_good("4:0.9,8:1");
    struct test_log log;
    test_log_init(&log);
    assert_true(acceptance_fits(&a, 32) && acceptance_fits(&a, 8) && !acceptance_fits(&a, 7) &&
                !acceptance_fits(&a, 4));
    assert_int_equal(acceptance_check(&a, 7, &log.log), MN_ERR_USAGE);
    assert_string_equal(log.last, "--acceptance 4:0.9,8:1: depth 8 is above R 7");
    assert_int_equal(acceptance_check(&a, 4, &log.log), MN_ERR_USAGE);
    assert_string_equal(log.last, "--acceptance 4:0.9,8:1: depth 4 is R 4, where the share is 1");
    struct sweep_params params = {.kv_policies = "full",
                                  .kv_types = "f16",
                                  .strategies = "ar,wavefront,auto",
                                  .draft_steps = "1",
                                  .lookaheads = "2",
                                  .n_new = "6",
                                  .batches = "1",
                                  .num_steps = "32,4",
                                  .acceptance = "huginn"};
    static struct sweep_lists lists;
    assert_int_equal(sweep_lists_parse(&lists, &params, &log.log), MN_ERR_USAGE);
    assert_string_equal(log.last, "--acceptance huginn: depth 4 is R 4, where the share is 1");
    params.num_steps = "32";
    assert_int_equal(sweep_lists_parse(&lists, &params, &log.log), MN_OK);
    params.acceptance = "0.9";
    assert_int_equal(sweep_lists_parse(&lists, &params, &log.log), MN_ERR_USAGE);
    assert_non_null(strstr(log.last, "--acceptance 0.9: strategy auto chooses the depth"));
    params.acceptance = "4:0.9";
    assert_int_equal(sweep_lists_parse(&lists, &params, &log.log), MN_OK);
    struct setting_list list = {0};
    params.num_steps = NULL;
    assert_int_equal(sweep_lists_parse(&lists, &params, &log.log), MN_OK);
    assert_int_equal(settings_fill(&list, &lists, (struct bench_setting){0}, 4, NULL), MN_OK);
    assert_int_equal(settings_check_acceptance(&list, &lists.acceptance, &log.log), MN_ERR_USAGE);
    assert_int_equal(settings_fill(&list, &lists, (struct bench_setting){0}, 32, NULL), MN_OK);
    assert_int_equal(settings_check_acceptance(&list, &lists.acceptance, &log.log), MN_OK);
    free(list.items);
}

/* Every way of writing it is a name of its own, but for the flat form, which was always known by its numbers. */
static void test_keys(void **state)
{
    (void)state;
    static const char *const texts[] = {"0.9", "0.90", "4:0.9", "4:0.90", "huginn", "4:0.94", NULL};
    static const char *const ends[] = {"|a0.899999976", "|a0.899999976", "|a4:0.9", "|a4:0.90",
                                       "|ahuginn",      "|a4:0.94",      " s0"};
    struct bench_model model = {.prompt_set = "p", .info = {.device_banner = "b"}};
    const struct bench_setting setting = {.kv_policy = "full", .kv_type = "f32", .strategy = "wavefront"};
    for (int i = 0; i < IDENTITY_TEXTS; i++)
        model.identity.texts[i] = (struct identity_text){"x", "y", true};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const struct acceptance a = read_good(texts[i]);
        const struct bench_common common = {.cpu_threads = "", .acceptance = &a};
        char *key = row_key(&model, &setting, &common);
        assert_non_null(key);
        assert_string_equal(key + strlen(key) - strlen(ends[i]), ends[i]);
        free(key);
    }
}

/* Rows of this version and older ones, in words; what is no row of ours does no harm. */
static void test_words(void **state)
{
    (void)state;
    static const struct {
        const char *row, *words;
        enum row_class class_;
    } cases[] = {
        {"{\"lossless\":false,\"forced_acceptance\":[0.9,0.85]}", "0.9,0.85", ROW_FORCED},
        {"{\"lossless\":false,\"forced_acceptance\":[],\"forced_by_depth\":\"2:0.6,4:0.80\",\"forced_shares\":"
         "\"2:0.6,4:0.80\"}",
         "2:0.6,4:0.80", ROW_FORCED},
        {"{\"lossless\":false,\"forced_acceptance\":[],\"forced_by_depth\":\"huginn\",\"forced_shares\":\"4:0.94\"}",
         "huginn (4:0.94)", ROW_FORCED},
        {"{\"lossless\":true,\"forced_by_depth\":\"huginn\"}", "huginn", ROW_FORCED},
        {"{\"lossless\":true,\"forced_acceptance\":[],\"forced_by_depth\":\"\"}", "", ROW_LOSSLESS},
        {"{\"lossless\":false,\"forced_by_depth\":[1]}", "", ROW_LOSSY},
        {"{\"lossless\":true,\"forced_by_depth\":\"a|b\\nc`\",\"forced_shares\":\"\"}", "a\\|b c\\`", ROW_FORCED},
        {"{\"forced_by_depth\":\"1:0,2:0,3:0,4:0,5:0,6:0,7:0,8:0,9:0,10:0,11:0,12:0,13:0\"}",
         "1:0,2:0,3:0,4:0,5:0,6:0,7:0,8:0,9:0,10:0,11:0,12..", ROW_FORCED}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cJSON *row = cJSON_Parse(cases[i].row);
        char *words = NULL;
        size_t n;
        FILE *out = open_memstream(&words, &n);
        assert_true(row && out);
        row_write_acceptance(out, row);
        fclose(out);
        assert_string_equal(words, cases[i].words);
        assert_int_equal(row_class(row), cases[i].class_);
        free(words);
        cJSON_Delete(row);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad),
                                       cmocka_unit_test(test_huge), cmocka_unit_test(test_fit),
                                       cmocka_unit_test(test_keys), cmocka_unit_test(test_words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
