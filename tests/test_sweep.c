/* What a sweep runs over: prompts from a file, and the settings that lists of values make.
 *
 * Goal: a prompt file is read as it is meant or refused with its line; every combination of a sweep that can run is
 * measured once. Method: tables of good and malformed files; a product small enough to be counted by hand. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/rows/rows.h"
#include "bench/sweep/measure.h"
#include "bench/sweep/prompts.h"
#include "bench/sweep/settings.h"
#include "bench/sweep/sweep.h"
#include "engine/files/json.h"
#include "tests/testing.h"

/* ---- prompt files ---- */

static enum mn_status read_prompts(struct prompt_set *set, const char *text, const struct mn_log *log)
{
    char path[] = "/tmp/muninn-test-prompts-XXXXXX";
    const int file = mkstemp(path);
    assert_int_equal(write(file, text, strlen(text)), strlen(text));
    close(file);
    enum mn_status status = prompts_read(set, path, log);
    unlink(path);
    return status;
}

static void test_prompts(void **state)
{
    (void)state;
    struct prompt_set set;
    assert_int_equal(prompts_read(&set, NULL, NULL), MN_OK);
    assert_string_equal(set.name, "built-in");
    assert_int_equal(set.n, 4);
    prompts_free(&set);
    assert_int_equal(read_prompts(&set, "{\"prompt\":\"a\"}\n\n{\"ids\":[1,2,3]}", NULL), MN_OK);
    assert_false(set.questions);
    assert_int_equal(set.n, 2);
    assert_string_equal(set.items[0].turns[0], "a");
    assert_int_equal(set.items[1].n_ids, 3);
    prompts_free(&set);
    assert_int_equal(read_prompts(&set,
                                  "{\"question_id\":81,\"category\":\"writing\",\"turns\":[\"a\",\"b\"],\"reference\":["
                                  "]}\n{\"question_id\":\"x\\\"y\",\"turns\":[\"c\"]}\n",
                                  NULL),
                     MN_OK);
    assert_true(set.questions);
    assert_int_equal(set.items[0].n_turns, 2);
    assert_string_equal(set.items[0].question_id, "81");
    assert_string_equal(set.items[0].category, "writing");
    assert_string_equal(set.items[1].question_id, "\"x\\\"y\"");
    prompts_free(&set);
    static const char *const bad[] = {"x",
                                      "[]",
                                      "{}",
                                      "{\"prompt\":1}",
                                      "{\"prompt\":\"a\",\"ids\":[1]}",
                                      "{\"ids\":[]}",
                                      "{\"ids\":[-1]}",
                                      "{\"ids\":[4294967295]}",
                                      "{\"ids\":[1.5]}",
                                      "{\"ids\":\"a\"}",
                                      "{\"prompt\":\"a\",\"n\":1}",
                                      "{\"prompt\":\"a\"} {}",
                                      "{\"prompt\":\"\xff\"}",
                                      "{\"question_id\":1,\"turns\":[\"a\"]}"};
    static const char *const bad_questions[] = {
        "{\"prompt\":\"a\"}",
        "{\"question_id\":1}",
        "{\"question_id\":1,\"turns\":[]}",
        "{\"question_id\":1,\"turns\":[1]}",
        "{\"question_id\":[],\"turns\":[\"a\"]}",
        "{\"question_id\":1,\"turns\":\"a\"}",
        "{\"question_id\":1,\"category\":2,\"turns\":[\"a\"]}",
        ("{\"question_id\":1,\"turns\":[\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\","
         "\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\"]}")};
    for (size_t i = 0; i < sizeof bad / sizeof *bad + sizeof bad_questions / sizeof *bad_questions; i++) {
        const bool question = i >= sizeof bad / sizeof *bad;
        char text[512];
        struct test_log log;
        test_log_init(&log);
        snprintf(text, sizeof text, "%s\n\n%s\n",
                 question ? "{\"question_id\":1,\"turns\":[\"a\"]}" : "{\"prompt\":\"a\"}",
                 question ? bad_questions[i - sizeof bad / sizeof *bad] : bad[i]);
        assert_int_equal(read_prompts(&set, text, &log.log), MN_ERR_FORMAT);
        assert_int_equal(log.n_errors, 1);
        assert_non_null(strstr(log.last, ": line 3: "));
        assert_int_equal(set.n, 0);
    }
    assert_int_equal(read_prompts(&set, "\n \n", NULL), MN_ERR_FORMAT);
}

/* ---- settings ---- */

static uint32_t count_settings(const struct setting_list *list, const char *strategy, uint32_t batch)
{
    uint32_t n = 0;
    for (size_t i = 0; i < list->n; i++)
        n += !strcmp(list->items[i].strategy, strategy) && list->items[i].batch == batch;
    return n;
}

static bool are_same_setting(const struct bench_setting *a, const struct bench_setting *b)
{
    return !strcmp(a->strategy, b->strategy) && !strcmp(a->kv_policy, b->kv_policy) && a->num_steps == b->num_steps &&
           a->draft_steps == b->draft_steps && a->lookahead == b->lookahead && a->max_inflight == b->max_inflight &&
           a->batch == b->batch;
}

/* Figures that a strategy has no use for make no setting of their own, and what cannot run is counted. */
static void test_settings(void **state)
{
    (void)state;
    static const struct {
        const char *strategy;
        uint32_t alone, in_batch;
    } wanted[] = {{"ar", 1, 1}, {"draft-verify", 4, 4}, {"wavefront", 2, 2}, {"diffusion", 2, 0}};
    const struct sweep_params params = {.kv_policies = "full",
                                        .kv_types = "f16",
                                        .strategies = "ar,draft-verify,wavefront,diffusion",
                                        .draft_steps = "1,2,8",
                                        .lookaheads = "2,3",
                                        .n_new = "6",
                                        .batches = "1,2"};
    static struct sweep_lists lists;
    struct setting_list list = {0};
    assert_int_equal(sweep_lists_parse(&lists, &params, NULL), MN_OK);
    for (size_t again = 1; again <= 2; again++) {
        const struct bench_setting base = {.weight_type = again == 1 ? "bf16" : "f32"};
        assert_int_equal(settings_fill(&list, &lists, base, 4, NULL), MN_OK);
        assert_int_equal(list.n, 16);
        /* K 8 is not below R, in draft-verify and wavefront with either lookahead and batch, in diffusion alone; and
         * diffusion runs in no batch. */
        assert_int_equal(list.n_impossible, again * (2 * (2 + 2) + 2 + 6));
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
            assert_int_equal(count_settings(&list, wanted[i].strategy, 1), wanted[i].alone);
            assert_int_equal(count_settings(&list, wanted[i].strategy, 2), wanted[i].in_batch);
        }
        for (size_t i = 0; i < list.n; i++) {
            const struct bench_setting *s = &list.items[i];
            assert_int_equal(s->num_steps, 4);
            assert_string_equal(s->weight_type, base.weight_type);
            assert_true(bench_rows(s) * s->batch <= ROWS_PER_PASS);
            for (size_t j = 0; j < i; j++)
                assert_false(are_same_setting(s, &list.items[j]));
        }
    }
    free(list.items);
}

/* Rows in flight are a dimension of the strategies that have some; in a batch of 2 there is room for 64 each. */
static void test_inflights(void **state)
{
    (void)state;
    const struct sweep_params params = {.kv_policies = "full",
                                        .kv_types = "f16",
                                        .strategies = "ar,wavefront",
                                        .draft_steps = "1,2",
                                        .lookaheads = "3",
                                        .max_inflights = "2,4,100",
                                        .n_new = "6",
                                        .batches = "1,2"},
                              too_many = {.max_inflights = "129"};
    static struct sweep_lists lists;
    struct setting_list list = {0};
    struct test_log log;
    assert_int_equal(sweep_lists_parse(&lists, &params, NULL), MN_OK);
    assert_int_equal(settings_fill(&list, &lists, (struct bench_setting){0}, 4, NULL), MN_OK);
    assert_int_equal(count_settings(&list, "ar", 1), 1);
    assert_int_equal(count_settings(&list, "wavefront", 1), 2 * 3);
    assert_int_equal(count_settings(&list, "wavefront", 2), 2 * 2);
    assert_int_equal(list.n_impossible, 2);
    for (size_t i = 0; i < list.n; i++)
        assert_true((list.items[i].max_inflight == 0) == !strcmp(list.items[i].strategy, "ar"));
    test_log_init(&log);
    assert_int_equal(sweep_lists_parse(&lists, &too_many, &log.log), MN_ERR_USAGE);
    assert_non_null(strstr(log.last, "--max-inflight: '129'"));
    free(list.items);
}

/* ---- names in rows ---- */

/* Its folder and its device have this name; the name of a folder is in no key. */
static struct bench_model model_named(const char *name)
{
    static const char *const others[IDENTITY_TEXTS] = {"", "", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
    struct bench_model model = {.prompt_set = "p\xc3.jsonl#1", .info = {.device_banner = "b"}};
    model.identity.texts[0] = (struct identity_text){"model", name, false};
    model.identity.texts[1] = (struct identity_text){"device", name, true};
    for (int i = 2; i < IDENTITY_TEXTS; i++)
        model.identity.texts[i] = (struct identity_text){others[i], "x", true};
    return model;
}

/* A folder may have any bytes in its name, and a device too. Rows can be read again, their keys are found again, and
 * another device has another one. */
static void test_names_in_rows(void **state)
{
    (void)state;
    const struct bench_common common = {.cpu_threads = "", .temperature = 0.8f, .acceptance = NULL};
    const struct bench_setting setting = {.kv_policy = "full", .kv_type = "f32", .strategy = "ar"};
    const char *const names[] = {"m\xff", "m\xfe"};
    struct rows rows = {0};
    FILE *file = tmpfile();
    assert_non_null(file);
    for (int i = 0; i < 2; i++) {
        const struct bench_model model = model_named(names[i]);
        struct row_builder b;
        cJSON *row;
        row_begin(&b, row_key(&model, &setting, &common), "run", &model, "f32");
        row_text(&b, "prompt_set", model.prompt_set);
        row_float(&b, "temperature", common.temperature);
        assert_int_equal(row_end(&b, &row, NULL), MN_OK);
        json_write_value(file, row);
        fputc('\n', file);
        cJSON_Delete(row);
    }
    char text[4096];
    uint64_t n_good;
    rewind(file);
    const size_t n = fread(text, 1, sizeof text, file);
    fclose(file);
    assert_int_equal(rows_parse(&rows, "f", text, n, &n_good, NULL), MN_OK);
    assert_int_equal(rows.n, 2);
    for (int i = 0; i < 2; i++) {
        const struct bench_model model = model_named(names[i]);
        char *key = row_key(&model, &setting, &common);
        assert_ptr_equal(rows_find(&rows, key), rows.items[i]); /* what --resume asks */
        assert_string_equal(row_string(rows.items[i], "model"), i ? "m\\xfe" : "m\\xff");
        assert_string_equal(row_string(rows.items[i], "prompt_set"), "p\\xc3.jsonl#1");
        assert_true(json_find(rows.items[i], "temperature")->valuedouble == 0.8);
        free(key);
    }
    rows_free(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prompts),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_inflights),
        cmocka_unit_test(test_names_in_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
