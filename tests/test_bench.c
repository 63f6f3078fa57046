/* What surrounds a measurement: how often, what samples say, lists of settings, result files.
 *
 * Goal: figures of a bench can be trusted without a device to make them. Method: a fake clock; the confidence interval
 * against a count of all orders of the samples; a results file cut at every byte; the same rows read back from
 * Markdown, CSV, JSON and JSON lines; tables of malformed files, each of which must be refused with its line. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/rows/baseline.h"
#include "bench/rows/lists.h"
#include "bench/rows/rows.h"
#include "bench/rows/sampling.h"
#include "engine/files/json.h"
#include "tests/testing.h"

/* ---- how often ---- */

struct fake {
    double now, step; /* one measurement takes `step` seconds */
    uint32_t n_calls, fail_at, stop_at;
};

static struct fake fake;

static double fake_now(void *user)
{
    return ((struct fake *)user)->now;
}

static enum mn_status fake_once(void *user, double *values)
{
    struct fake *f = user;
    f->now += f->step;
    values[0] = f->n_calls;
    values[1] = 1000.0 + f->n_calls;
    return ++f->n_calls == f->fail_at ? MN_ERR_RUN : MN_OK;
}

static bool fake_stop(void)
{
    return fake.stop_at && fake.n_calls >= fake.stop_at;
}

static struct samples sample(uint32_t repetitions, double seconds, double step, enum mn_status wanted, uint32_t fail_at,
                             uint32_t stop_at)
{
    struct samples samples;
    fake = (struct fake){.step = step, .fail_at = fail_at, .stop_at = stop_at};
    const struct sampling sampling = {repetitions, seconds, fake_now, &fake};
    assert_int_equal(sampling_run(&sampling, fake_once, &fake, 2, fake_stop, &samples, NULL), wanted);
    return samples;
}

static void test_sampling(void **state)
{
    (void)state;
    struct samples s = sample(5, 3.0, 1.0, MN_OK, 0, 0); /* repetitions decide */
    assert_int_equal(s.n, 5);
    assert_true(s.values[0][0] == 1.0); /* the warm-up, call 0, is not among them */
    assert_true(s.values[4][1] == 1005.0);
    samples_free(&s);
    s = sample(5, 3.0, 0.25, MN_OK, 0, 0); /* time decides */
    assert_int_equal(s.n, 12);
    samples_free(&s);
    s = sample(1, 0.0, 0.0, MN_OK, 0, 0);
    assert_int_equal(s.n, 1);
    samples_free(&s);
    s = sample(1, 1.0, 0.0, MN_OK, 0, 0); /* a clock that stands still ends too */
    assert_int_equal(s.n, SAMPLES_MAX);
    samples_free(&s);
    s = sample(5, 3.0, 1.0, MN_ERR_RUN, 3, 0);
    assert_int_equal(s.n, 0);
    assert_null(s.values);
    s = sample(5, 3.0, 1.0, MN_ERR_INTERRUPTED, 0, 3);
    assert_int_equal(fake.n_calls, 3);
}

static struct summary summary_of(const double *values, uint32_t n)
{
    double rows[16][4] = {{0}};
    for (uint32_t i = 0; i < n; i++)
        rows[i][1] = values[i];
    return samples_summary(&(struct samples){.n = n, .n_values = 2, .values = rows}, 1);
}

static void test_summary(void **state)
{
    (void)state;
    struct summary s = summary_of((const double[]){5, 1, 3, 2, 4}, 5);
    assert_true(s.median == 3.0 && s.min == 1.0 && s.max == 5.0 && s.mad == 1.0 && s.n_outliers == 0);
    s = summary_of((const double[]){4, 1, 3, 2}, 4);
    assert_true(s.median == 2.5 && s.mad == 1.0);
    /* modified z-score: 0.6745 * 6 / 1 = 4.05 is out, 0.6745 * 5 / 1 = 3.37 is in */
    s = summary_of((const double[]){10, 9, 11, 9, 11, 10, 16}, 7);
    assert_true(s.median == 10.0 && s.mad == 1.0 && s.n_outliers == 1);
    s = summary_of((const double[]){10, 9, 11, 9, 11, 10, 15}, 7);
    assert_int_equal(s.n_outliers, 0);
    /* more than half are equal: the mean deviation, 0.4, stands in; 4 / (0.4 / 0.7979) = 7.98 */
    s = summary_of((const double[]){7, 7, 7, 7, 7, 7, 7, 7, 7, 11}, 10);
    assert_true(s.mad == 0.0 && s.n_outliers == 1);
    s = summary_of((const double[]){7, 7, 7}, 3);
    assert_int_equal(s.n_outliers, 0);
    s = summary_of(NULL, 0);
    assert_true(s.median == 0.0);
}

/* P(U <= u) by going through all orders of n_a and n_b samples: bit i of `order` says whether place i is b's. */
static double count_orders(uint32_t n_a, uint32_t n_b, uint32_t most)
{
    uint64_t n = 0, n_below = 0;
    for (uint32_t order = 0; order < 1u << (n_a + n_b); order++) {
        uint32_t n_ones = 0, u = 0;
        for (uint32_t i = 0; i < n_a + n_b; i++) {
            const bool is_b = order >> i & 1;
            u += is_b ? 0 : n_ones;
            n_ones += is_b;
        }
        if (n_ones != n_b)
            continue;
        n++;
        n_below += u <= most;
    }
    return (double)n_below / (double)n;
}

static void test_interval(void **state)
{
    (void)state;
    for (uint32_t n_a = 1; n_a <= 7; n_a++)
        for (uint32_t n_b = 1; n_b <= 7; n_b++) {
            double a[7], b[7], quotients[49];
            struct interval r;
            uint32_t n = 0;
            int rank = -1;
            for (uint32_t i = 0; i < n_a; i++)
                a[i] = 10.0 + (double)test_noise(1, i);
            for (uint32_t j = 0; j < n_b; j++)
                b[j] = 20.0 + (double)test_noise(2, j);
            for (uint32_t i = 0; i < n_a; i++)
                for (uint32_t j = 0; j < n_b; j++)
                    quotients[n++] = b[j] / a[i];
            while (count_orders(n_a, n_b, (uint32_t)(rank + 1)) <= 0.025)
                rank++;
            const double middle = samples_median(quotients, n); /* sorts */
            assert_int_equal(samples_ratio(a, n_a, b, n_b, &r, NULL), MN_OK);
            assert_true(r.ratio == middle);
            assert_int_equal(r.bounded, rank >= 0);
            if (rank >= 0)
                assert_true(r.low == quotients[rank] && r.high == quotients[n - 1 - (uint32_t)rank] &&
                            r.low <= r.ratio && r.ratio <= r.high);
        }
    /* Many samples: the normal approximation agrees with itself on equal sides, and finds a difference of one percent
     * in little noise. */
    double a[200], b[200];
    struct interval r;
    for (uint32_t i = 0; i < 200; i++) {
        a[i] = 100.0 + (double)test_noise(3, i);
        b[i] = 101.0 + (double)test_noise(4, i);
    }
    assert_int_equal(samples_ratio(a, 200, b, 200, &r, NULL), MN_OK);
    assert_true(r.bounded && r.low > 1.005 && r.high < 1.015);
    assert_int_equal(samples_ratio(a, 200, a, 200, &r, NULL), MN_OK);
    assert_true(r.low < 1.0 && r.high > 1.0);
}

/* ---- lists ---- */

static void check_numbers(const char *text, const char *wanted)
{
    struct number_list list;
    char got[512] = "";
    struct test_log log;
    test_log_init(&log);
    const enum mn_status status = parse_numbers("x", text, 1, 64, &list, &log.log);
    if (!wanted) {
        assert_int_equal(status, MN_ERR_USAGE);
        assert_int_equal(log.n_errors, 1);
        assert_non_null(strstr(log.last, "--x"));
        return;
    }
    assert_int_equal(status, MN_OK);
    for (uint32_t i = 0; i < list.n; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%u", i ? " " : "", list.values[i]);
    assert_string_equal(got, wanted);
}

static void test_lists(void **state)
{
    (void)state;
    check_numbers("4", "4");
    check_numbers("1,2,4", "1 2 4");
    check_numbers("4,1,4", "4 1");
    check_numbers("1-4", "1 2 3 4");
    check_numbers("1-64*2", "1 2 4 8 16 32 64");
    check_numbers("3-20*2,7", "3 6 12 7");
    check_numbers("1-10+4", "1 5 9");
    static const char *const bad[] = {"",     ",",  "1,",   "0", "65", "1-65",   "4-1",         "1-8*1", "1-8+0",
                                      "1-8*", "-1", "1--2", "a", "1 ", "1-8*2x", "99999999999", "1.5",   "0x4"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        check_numbers(bad[i], NULL);
    struct word_list words;
    assert_int_equal(parse_words("x", "ar,wavefront,ar", "ar|wavefront", &words, NULL), MN_OK);
    assert_int_equal(words.n, 2);
    assert_int_equal(parse_words("x", "ar,", "ar|wavefront", &words, NULL), MN_ERR_USAGE);
    assert_int_equal(parse_words("x", "wave", "ar|wavefront", &words, NULL), MN_ERR_USAGE);
}

/* ---- rows ---- */

static const char three[] =
    "{\"key\":\"k1\",\"bench\":\"run\",\"time\":\"2026-01-01T00:00:00Z\",\"device\":\"a|b \\\"c\\\", "
    "<d>\",\"model\":\"=1+1\",\"strategy\":\"ar\",\"kv_policy\":\"full\",\"num_steps\":32,\"decode_tok_s\":100."
    "123456789,"
    "\"decode_samples\":[100.1,100.2],\"lossless\":true,\"lossy_because\":\"\",\"equals_ar\":true}\n"
    "{\"key\":\"k2\",\"bench\":\"run\",\"time\":\"2026-01-01T00:00:01Z\",\"device\":\"a|b \\\"c\\\", "
    "<d>\",\"model\":\"=1+1\",\"strategy\":\"draft-verify\",\"kv_policy\":\"full\",\"num_steps\":32,\"decode_tok_s\":"
    "150.5,"
    "\"decode_samples\":[150.5],\"lossless\":true,\"lossy_because\":\"\",\"equals_ar\":true}\n"
    "{\"key\":\"k3\",\"bench\":\"run\",\"time\":\"2026-01-01T00:00:02Z\",\"device\":\"a|b \\\"c\\\", "
    "<d>\",\"model\":\"=1+1\",\"strategy\":\"diffusion\",\"kv_policy\":\"share:1\",\"num_steps\":32,\"decode_tok_s\":"
    "250.25,"
    "\"decode_samples\":[],\"lossless\":false,\"lossy_because\":\"--strategy "
    "diffusion\",\"equals_ar\":false,\"extra\":null}\n";

static struct rows parse(const char *text, size_t n, uint64_t *n_good)
{
    struct rows rows = {0};
    assert_int_equal(rows_parse(&rows, "f", text, n, n_good, NULL), MN_OK);
    return rows;
}

/* What a kill can leave behind is any beginning of the file: whole rows stay, the rest goes, and what is appended then
 * is intact. */
static void test_cut_anywhere(void **state)
{
    (void)state;
    char path[] = "/tmp/muninn-test-rows-XXXXXX";
    close(mkstemp(path));
    for (size_t n = 0; n <= sizeof three - 1; n++) {
        size_t n_whole = 0, end = 0;
        for (size_t i = 0; i < sizeof three - 1; i++)
            if (three[i] == '\n' && i <= n) { /* a row whose newline alone is missing is whole */
                n_whole++;
                end = i + (i < n);
            }
        uint64_t n_good;
        struct rows rows = parse(three, n, &n_good);
        assert_int_equal(rows.n, n_whole);
        assert_int_equal(n_good, end);
        rows_free(&rows);
        if (n % 37 != 0 && n + 3 < sizeof three) /* the same through a file, for some of them */
            continue;
        FILE *file = fopen(path, "wb");
        assert_int_equal(fwrite(three, 1, n, file), n);
        fclose(file);
        struct output_file out;
        assert_int_equal(rows_open(&out, path, &rows, NULL), MN_OK);
        assert_int_equal(rows.n, n_whole);
        cJSON *more = cJSON_Parse("{\"key\":\"new\"}");
        assert_int_equal(rows_append(&out, more, NULL), MN_OK);
        cJSON_Delete(more);
        assert_int_equal(output_commit(&out, NULL), MN_OK);
        rows_free(&rows);
        assert_int_equal(rows_read(&rows, path, false, &n_good, NULL), MN_OK);
        assert_int_equal(rows.n, n_whole + 1);
        for (size_t i = 0; i < n_whole; i++)
            assert_int_equal(row_string(rows.items[i], "key")[1], '1' + (int)i);
        assert_non_null(rows_find(&rows, "new"));
        assert_null(rows_find(&rows, "k4"));
        rows_free(&rows);
    }
    unlink(path);
}

static void test_hostile_rows(void **state)
{
    (void)state;
    static const char *const bad[] = {"x\n",
                                      "[]\n",
                                      "{}\n",
                                      "{\"key\":1}\n",
                                      "{\"key\":\"a\"} {}\n",
                                      "{\"key\":\"a\",\"key\":\"b\"}\n",
                                      "{\"key\":\"a\",\"x\":01}\n",
                                      "{\"key\":\"\\u0000\"}\n",
                                      "{\"key\":\"a\",\"x\":NaN}\n",
                                      "{\"key\":\"\xff\"}\n",
                                      "hello",
                                      "{\"kex\":\"a\"}",
                                      "\177ELF"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[128];
        struct rows rows = {0};
        struct test_log log;
        uint64_t n_good;
        test_log_init(&log);
        snprintf(text, sizeof text, "{\"key\":\"good\"}\n\n%s", bad[i]);
        assert_int_equal(rows_parse(&rows, "f", text, strlen(text), &n_good, &log.log), MN_ERR_FORMAT);
        assert_non_null(strstr(log.last, "f: line 3:"));
        rows_free(&rows);
    }
    /* A file of something else stays as it is. */
    char path[] = "/tmp/muninn-test-rows-XXXXXX", back[16] = "";
    const int fd = mkstemp(path);
    assert_int_equal(write(fd, "letter", 6), 6);
    assert_int_equal(close(fd), 0);
    struct output_file out;
    assert_int_equal(rows_open(&out, path, NULL, NULL), MN_ERR_FORMAT);
    FILE *file = fopen(path, "rb");
    assert_int_equal(fread(back, 1, sizeof back, file), 6);
    assert_string_equal(back, "letter");
    fclose(file);
    unlink(path);
}

static void test_keep_newest(void **state)
{
    (void)state;
    static const char text[] = "{\"key\":\"a\",\"time\":\"2\",\"v\":1}\n{\"key\":\"b\",\"v\":2}\n{\"key\":\"a\","
                               "\"time\":\"1\",\"v\":3}\n{\"key\":\"b\",\"time\":\"0\",\"v\":4}\n";
    uint64_t n_good;
    size_t n_older;
    struct rows rows = parse(text, sizeof text - 1, &n_good);
    assert_int_equal(rows_keep_newest(&rows, &n_older, NULL), MN_OK);
    assert_int_equal(rows.n, 2);
    assert_int_equal(n_older, 2);
    assert_true(json_find(rows_find(&rows, "a"), "v")->valuedouble == 1.0);
    assert_true(json_find(rows_find(&rows, "b"), "v")->valuedouble == 4.0);
    for (int i = 0; i < 1000; i++) { /* the index grows with the list */
        char line[32];
        snprintf(line, sizeof line, "{\"key\":\"%d\"}", i);
        assert_int_equal(rows_add(&rows, cJSON_Parse(line), NULL), MN_OK);
    }
    for (int i = 0; i < 1000; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        assert_string_equal(row_string(rows_find(&rows, key), "key"), key);
    }
    assert_null(rows_find(&rows, "1000"));
    rows_free(&rows);
}

/* ---- formats ---- */

static char *print(struct rows *rows, const char *format)
{
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    assert_int_equal(rows_write(rows, format, true, out, NULL), MN_OK);
    fclose(out);
    return text;
}

enum { CELLS = 64 };

/* One record: fields in quotes, doubled quotes inside. */
static const char *read_csv_record(const char *at, char cells[CELLS][128], int *n)
{
    *n = 0;
    for (;;) {
        char *out = cells[(*n)++];
        assert_int_equal(*at++, '"');
        while (*at != '"' || at[1] == '"') {
            at += *at == '"';
            *out++ = *at++;
        }
        *out = '\0';
        at++;
        if (*at++ == '\n')
            return at;
    }
}

/* One line: cells between bars, backslashes in front of what is not one. */
static const char *read_markdown_line(const char *at, char cells[CELLS][128], int *n)
{
    *n = 0;
    assert_int_equal(*at++, '|');
    while (*at != '\n') {
        char *const cell = cells[(*n)++], *out = cell;
        at += strspn(at, " ");
        while (*at != '|') {
            at += *at == '\\';
            *out++ = *at++;
        }
        while (out > cell && out[-1] == ' ')
            out--;
        *out = '\0';
        at++;
    }
    return at + 1;
}

static int column_of(char titles[CELLS][128], int n, const char *title)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(titles[i], title))
            return i;
    fail_msg("no column '%s'", title);
    return -1;
}

static void test_formats_agree(void **state)
{
    (void)state;
    uint64_t n_good;
    struct rows rows = parse(three, sizeof three - 1, &n_good);
    assert_int_equal(rows_add_speedup(&rows, NULL), MN_OK);
    char *md = print(&rows, "md"), *csv = print(&rows, "csv"), *json = print(&rows, "json"),
         *jsonl = print(&rows, "jsonl");

    struct json_doc doc;
    assert_int_equal(json_parse(&doc, "json", json, strlen(json), 1 << 20, NULL), MN_OK);
    struct rows lines = parse(jsonl, strlen(jsonl), &n_good);
    assert_int_equal(cJSON_GetArraySize(doc.root), 3);
    assert_int_equal(lines.n, 3);
    static char titles[CELLS][128], cells[CELLS][128], md_titles[CELLS][128], md_cells[CELLS][128];
    int n_titles, n_cells, n_md;
    const char *at = read_csv_record(csv, titles, &n_titles), *md_at = read_markdown_line(md, md_titles, &n_md);
    md_at = strchr(md_at, '\n') + 1; /* the line of dashes */
    for (int r = 0; r < 3; r++) {
        const cJSON *a = cJSON_GetArrayItem(doc.root, r), *item;
        assert_true(cJSON_Compare(a, lines.items[r], true) && cJSON_Compare(a, rows.items[r], true));
        at = read_csv_record(at, cells, &n_cells);
        md_at = read_markdown_line(md_at, md_cells, &n_cells);
        assert_int_equal(n_cells, n_md);
        cJSON_ArrayForEach (item, a) {
            const char *cell = cells[column_of(titles, n_titles, item->string)];
            char *printed = cJSON_PrintUnformatted(item);
            if (cJSON_IsString(item))
                assert_string_equal(cell + (cell[0] == '\''), item->valuestring);
            else
                assert_string_equal(cell, cJSON_IsNull(item) ? "" : printed);
            free(printed);
        }
        assert_string_equal(cells[column_of(titles, n_titles, "model")], "'=1+1"); /* no formula */
        assert_string_equal(md_cells[column_of(md_titles, n_md, "device")], "a|b \"c\", <d>");
        assert_string_equal(md_cells[column_of(md_titles, n_md, "strategy")], json_find(a, "strategy")->valuestring);
        const double tok_s = json_find(a, "decode_tok_s")->valuedouble;
        assert_true(fabs(strtod(md_cells[column_of(md_titles, n_md, "tok/s")], NULL) - tok_s) < 1e-3 * tok_s);
        const cJSON *speedup = json_find(a, "speedup");
        assert_true(fabs(speedup->valuedouble - tok_s / 100.123456789) < 1e-12);
        assert_true(fabs(strtod(md_cells[column_of(md_titles, n_md, "x of ar")], NULL) - speedup->valuedouble) < 1e-2);
        assert_string_equal(md_cells[column_of(md_titles, n_md, "class")],
                            r < 2 ? "lossless" : "LOSSY: --strategy diffusion");
    }
    assert_string_equal(at, "");
    assert_string_equal(md_at, "\n");
    json_destroy(&doc);
    rows_free(&lines);
    rows_free(&rows);
    free(md);
    free(csv);
    free(json);
    free(jsonl);
}

/* Rows of others may hold numbers that no double holds: they go out as they came in, and what differs in the last
 * digit is not one setting. */
static void test_numbers_stay(void **state)
{
    (void)state;
    static const char text[] = JSON_BYTE_ORDER_MARK
        "{\"key\":\"a\",\"seed\":1234567890123456789,\"t\":1.50,\"f\":[0.10,2]}\n"
        "{\"key\":\"b\",\"seed\":1234567890123456790,\"t\":15e-1,\"f\":[0.1,2.0]}\n";
    static const char *const seed[] = {"seed"}, *const rest[] = {"t", "f"};
    uint64_t n_good;
    struct rows rows = parse(text, sizeof text - 1, &n_good);
    assert_int_equal(rows.n, 2);
    assert_int_equal(n_good, sizeof text - 1); /* the mark counts: here is where the file would be cut */
    char *jsonl = print(&rows, "jsonl"), *csv = print(&rows, "csv");
    assert_string_equal(jsonl, text + strlen(JSON_BYTE_ORDER_MARK));
    assert_non_null(strstr(csv, "\"1234567890123456789\",\"1.50\",\"[0.10,2]\""));
    char *a = row_values(rows.items[0], seed, 1), *b = row_values(rows.items[1], seed, 1),
         *c = row_values(rows.items[0], rest, 2), *d = row_values(rows.items[1], rest, 2);
    assert_string_not_equal(a, b);
    assert_string_equal(c, d);
    char *const texts[] = {jsonl, csv, a, b, c, d};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
    rows_free(&rows);
    rows = parse(JSON_BYTE_ORDER_MARK, 3, &n_good);
    assert_int_equal(n_good, 3);
    rows_free(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sampling),    cmocka_unit_test(test_summary),       cmocka_unit_test(test_interval),
        cmocka_unit_test(test_lists),       cmocka_unit_test(test_cut_anywhere),  cmocka_unit_test(test_hostile_rows),
        cmocka_unit_test(test_keep_newest), cmocka_unit_test(test_formats_agree), cmocka_unit_test(test_numbers_stay),

    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
