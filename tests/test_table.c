/* Tables of rows, as people get them.
 *
 * Goal: a table fits TABLE_WIDTH, says everything that tells its rows apart, and hides no lossy row. Method: tables of
 * rows made up here, word for word; then many sweeps over random dimensions: no line too wide, every row there once,
 * and each with all its settings, in its cells or in the line above. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rows/baseline.h"
#include "bench/rows/table.h"
#include "engine/base/text.h"
#include "engine/files/json.h"
#include "tests/testing.h"

static struct rows parse(const char *text)
{
    struct rows rows = {0};
    uint64_t n_good;
    assert_int_equal(rows_parse(&rows, "f", text, strlen(text), &n_good, NULL), MN_OK);
    assert_int_equal(rows_add_speedup(&rows, NULL), MN_OK);
    return rows;
}

/* *text malloc'ed. */
static void print(const struct rows *rows, bool all, char **text)
{
    size_t n;
    FILE *out = open_memstream(text, &n);
    assert_int_equal(rows_write_tables(rows, all, out, NULL), MN_OK);
    fclose(out);
}

static void check(const char *rows_text, bool all, const char *wanted)
{
    struct rows rows = parse(rows_text);
    char *got = NULL;
    print(&rows, all, &got);
    assert_string_equal(got, wanted);
    free(got);
    rows_free(&rows);
}

#define RUN(key, rest) \
    "{\"key\":\"" key \
    "\",\"bench\":\"run\",\"model\":\"m\",\"model_hash\":\"h\",\"device\":\"d\",\"kv_policy\":\"full\"," \
    "\"kv_type\":\"f16\",\"weight_type\":\"bf16\",\"num_steps\":32,\"batch\":1,\"prompt_tokens\":0,\"new_tokens\":" \
    "64," rest "}\n"
#define LOSSLESS "\"lossless\":true,\"equals_ar\":true,"

static void test_words(void **state)
{
    (void)state;
    /* Folded, in megabytes, without exponents; what does not apply is not there, and the best is marked. */
    check(RUN("1",
              LOSSLESS "\"strategy\":\"ar\",\"draft_steps\":0,\"lookahead\":0,\"decode_tok_s\":12345.6,\"drafted\":0,"
                       "\"acceptance_rate\":0,\"weight_bytes_per_token\":27700000")
              RUN("2", LOSSLESS
                  "\"strategy\":\"wavefront\",\"draft_steps\":4,\"lookahead\":0,\"max_inflight\":8,\"decode_tok_s\":"
                  "24691.2,\"drafted\":10,\"acceptance_rate\":0.5,\"weight_bytes_per_token\":6340000"),
          false,
          "m on d, weights bf16, cache full, cache type f16, R 32, W 8, batch 1, prompt length as it is, 64 new "
          "tokens\n\n"
          "| best | strategy  | K | tok/s | x of ar | accepted | MB/token | class    |\n"
          "|------|-----------|--:|------:|--------:|---------:|---------:|----------|\n"
          "|      | ar        |   | 12346 |    1.00 |          |     27.7 | lossless |\n"
          "| *    | wavefront | 4 | 24691 |    2.00 |   50.0 % |     6.34 | lossless |\n\n");
    /* Classes; rows that differ in a setting have it as a column. */
    check(
        RUN("1", LOSSLESS "\"strategy\":\"ar\",\"decode_tok_s\":10") RUN(
            "2",
            "\"lossless\":false,\"lossy_because\":\"strategy diffusion\",\"equals_ar\":true,\"strategy\":\"diffusion\","
            "\"agreement\":0.5,\"decode_tok_s\":30") RUN("3", "\"lossless\":true,\"equals_ar\":false,\"strategy\":"
                                                              "\"wavefront\",\"agreement\":0.9,\"decode_tok_s\":20")
            RUN("4",
                "\"lossless\":false,\"forced_acceptance\":[0.9,0.85],\"equals_ar\":false,\"strategy\":\"draft-verify\","
                "\"agreement\":0.25,\"decode_tok_s\":40"),
        false,
        "m on d, weights bf16, cache full, cache type f16, R 32, batch 1, prompt length as it is, 64 new tokens\n\n"
        "| best | strategy     | tok/s | x of ar | agreement | class                     |\n"
        "|------|--------------|------:|--------:|----------:|---------------------------|\n"
        "|      | ar           |    10 |    1.00 |           | lossless                  |\n"
        "|      | diffusion    |    30 |    3.00 |    50.0 % | LOSSY: strategy diffusion |\n"
        "|      | wavefront    |    20 |    2.00 |           | DIFFERS from ar           |\n"
        "| *    | draft-verify |    40 |    4.00 |           | forced 0.9,0.85           |\n\n");
    /* Two models, two tables; kinds as well. */
    check(
        "{\"key\":\"1\",\"bench\":\"floor\",\"model\":\"m\",\"device\":\"d\",\"us\":4.5,\"submit_us\":30.25}\n"
        "{\"key\":\"2\",\"bench\":\"pass\",\"model\":\"m\",\"device\":\"d\",\"pass\":\"core\",\"rows\":1,\"us\":100,"
        "\"bytes\":1500000}\n"
        "{\"key\":\"3\",\"bench\":\"pass\",\"model\":\"n\",\"device\":\"d\",\"pass\":\"core\",\"rows\":1,\"us\":200}\n",
        false,
        "m on d\n\n| pass | rows |  us |  MB |\n|------|-----:|----:|----:|\n| core |    1 | 100 | 1.5 |\n\n"
        "n on d\n\n| pass | rows |  us |\n|------|-----:|----:|\n| core |    1 | 200 |\n\n"
        "m on d\n\n| dispatch floor us | submit us |\n|------------------:|----------:|\n|               4.5 |      "
        "30.2 |\n\n");
    check("{\"key\":\"1\",\"bench\":\"else\"}\n", false, "");
}

/* Everything is there when everything is asked for, in one table, and nothing is folded. */
static void test_all_columns(void **state)
{
    (void)state;
    struct rows rows = parse(RUN("1", LOSSLESS "\"strategy\":\"ar\",\"decode_tok_s\":10,\"prefill_tok_s\":5"));
    char *text = NULL;
    print(&rows, true, &text);
    static const char *const titles[] = {"| model |", "| device |",        "| weights |",
                                         " R |",      "| prefill tok/s |", "| class "};
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
        assert_non_null(strstr(text, titles[i]));
    assert_null(strstr(text, "no room"));
    free(text);
    rows_free(&rows);
}

/* ---- any sweep ---- */

static uint32_t pick(uint32_t which, uint32_t i, uint32_t n)
{
    return (uint32_t)((test_noise(which, i) + 1.0f) * 0.5f * (float)n) % n;
}

/* Dimension j of sweep i has one value or several. */
static const char *value_of(uint32_t sweep, uint32_t row, uint32_t dimension, const char *const *values, uint32_t n)
{
    const bool varies = pick(1000 + sweep, dimension, 3) == 0;
    return values[varies ? pick(2000 + sweep * 16 + dimension, row, n) : pick(3000 + sweep, dimension, n)];
}

static cJSON *random_row(uint32_t sweep, uint32_t i)
{
    static const char
        *const weights[] = {"bf16", "f16", "f32"},
               *const cache[] = {"full", "share:4"}, *const types[] = {"f16", "f32"}, *const steps[] = {"4", "32"},
               *const batch[] = {"1", "16"}, *const prompt[] = {"0", "512"}, *const fresh[] = {"64", "1024"},
               *const threads[] = {"0", "2"}, *const commit[] = {"0123456789ab", "0123456789ac-dirty-00112233"},
               *const temp[] = {"0", "0.8"}, *const device[] = {"NVIDIA H200", "llvmpipe (LLVM 15.0.6, 256 bits)"},
               *const set[] = {"built-in", "one-prompt.jsonl#5644a7e356ef6a97"},
               *const reason[] = {"strategy diffusion", "kv_policy share:k"};
    char text[2048];
    snprintf(
        text, sizeof text,
        "{\"key\":\"%u\",\"bench\":\"run\",\"model\":\"raven-deep\",\"device\":\"%s\",\"weight_type\":\"%s\",\"kv_"
        "policy\":\"%s\","
        "\"kv_type\":\"%s\",\"num_steps\":%s,\"batch\":%s,\"prompt_tokens\":%s,\"new_tokens\":%s,\"cpu_threads\":\"%"
        "s\","
        "\"commit\":\"%s\",\"temperature\":%s,\"prompt_set\":\"%s\",\"strategy\":\"draft-verify\",\"draft_steps\":%u,"
        "\"lookahead\":7,\"max_inflight\":0,\"drafted\":9,\"acceptance_rate\":0.123456,\"prefill_tok_s\":12345.678,"
        "\"decode_tok_s\":%u.25,\"decode_spread\":0.0123,\"mean_acceptance_length\":3.25,\"weight_bytes_per_token\":"
        "1234567,"
        "\"gb_s\":1234.5,\"ceiling_percent\":101.25,\"agreement\":0.987,\"lossless\":%s,\"lossy_because\":\"%s\"}",
        i, value_of(sweep, i, 0, device, 2), value_of(sweep, i, 1, weights, 3), value_of(sweep, i, 2, cache, 2),
        value_of(sweep, i, 3, types, 2), value_of(sweep, i, 4, steps, 2), value_of(sweep, i, 5, batch, 2),
        value_of(sweep, i, 6, prompt, 2), value_of(sweep, i, 7, fresh, 2), value_of(sweep, i, 8, threads, 2),
        value_of(sweep, i, 9, commit, 2), value_of(sweep, i, 10, temp, 2), value_of(sweep, i, 11, set, 2), 1 + i % 4,
        1000 + i, i % 3 ? "false" : "true", i % 3 ? reason[i % 2] : "");
    return cJSON_Parse(text);
}

/* The settings that tell rows apart must stand in the line of a row or in the one above its table. */
static void check_row(const cJSON *row, const char *text)
{
    static const char *const keys[] = {"weight_type", "kv_policy",  "kv_type", "commit",
                                       "cpu_threads", "prompt_set", "device"};
    char speed[32];
    snprintf(speed, sizeof speed, " %.0f |", json_find(row, "decode_tok_s")->valuedouble);
    const char *line = strstr(text, speed), *above, *end;
    assert_non_null(line);
    assert_null(strstr(line + 1, speed));
    end = strchr(line, '\n');
    while (line > text && line[-1] != '\n')
        line--;
    for (above = line; above > text + 1 && !(above[-1] == '\n' && above[0] != '|' && above[0] != '\n');)
        above--;
    while (above > text && !(above[-1] == '\n' && above[-2] == '\n'))
        above--;
    const char *shared_end = strstr(above, "\n\n");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *value = row_string(row, keys[i]), *in_row = strstr(line, value), *in_shared = strstr(above, value);
        assert_true((in_row && in_row < end) || (in_shared && in_shared < shared_end));
    }
    if (cJSON_IsFalse(json_find(row, "lossless"))) {
        const char *lossy = strstr(line, "LOSSY: ");
        assert_true(lossy && lossy < end);
    }
}

static void test_any_sweep(void **state)
{
    (void)state;
    for (uint32_t sweep = 0; sweep < 200; sweep++) {
        struct rows rows = {0};
        for (uint32_t i = 0; i < 12; i++)
            assert_int_equal(rows_add(&rows, random_row(sweep, i), NULL), MN_OK);
        assert_int_equal(rows_add_speedup(&rows, NULL), MN_OK);
        char *text = NULL;
        print(&rows, false, &text);
        for (const char *line = text, *end; *line; line = end + 1) {
            end = strchr(line, '\n');
            assert_non_null(end);
            assert_true(end - line <= TABLE_WIDTH);
        }
        for (size_t i = 0; i < rows.n; i++)
            check_row(rows.items[i], text);
        free(text);
        rows_free(&rows);
    }
}

/* Names from outside neither end a cell nor leave its line, in any place. */
static void test_hostile_names(void **state)
{
    (void)state;
    cJSON *row = cJSON_CreateObject();
    char evil[200];
    memset(evil, 'x', sizeof evil);
    static const char begin[] = "a|b\n| c `d` <e>\t\xc3\xa9";
    memcpy(evil, begin, sizeof begin - 1);
    evil[sizeof evil - 1] = '\0';
    static const char *const keys[] = {"key",         "model",     "device",        "strategy",
                                       "weight_type", "kv_policy", "lossy_because", "commit"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        cJSON_AddStringToObject(row, keys[i], evil);
    cJSON_AddStringToObject(row, "bench", "run");
    cJSON_AddFalseToObject(row, "lossless");
    cJSON_AddNumberToObject(row, "decode_tok_s", 1e300);
    struct rows rows = {0};
    assert_int_equal(rows_add(&rows, row, NULL), MN_OK);
    for (int all = 0; all < 2; all++) {
        char *text = NULL;
        print(&rows, all, &text);
        uint32_t n_lines = 0;
        for (const char *line = text; *line; line = strchr(line, '\n') + 1)
            n_lines += *line == '|';
        assert_int_equal(n_lines, 3);
        assert_null(strstr(text, "a|b"));
        assert_non_null(strstr(text, "a\\|b"));
        free(text);
    }
    rows_free(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_all_columns),
        cmocka_unit_test(test_any_sweep),
        cmocka_unit_test(test_hostile_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
