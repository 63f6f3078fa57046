/* The sentence that a sweep ends with and a page begins with.
 *
 * Goal: it names the setting that the rows show to be best, with an interval that holds, and never one that is not
 * lossless as if it were. Method: rows made up for each case, and the sentence word for word; the interval against the
 * one that `muninn compare` takes (sampling.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rows/best.h"
#include "engine/files/json.h"
#include "tests/testing.h"

enum { ROWS_MAX_HERE = 8 };

/* A row of 10 samples around `speed`, and whatever else is given as JSON. */
static cJSON *make_row(const char *more, double speed)
{
    char text[2048], samples[256] = "";
    for (int i = 0; i < 10; i++)
        snprintf(samples + strlen(samples), sizeof samples - strlen(samples), "%s%.6g", i ? "," : "",
                 speed * (1.0 + 0.002 * (i - 4.5)));
    snprintf(
        text, sizeof text,
        "{\"bench\":\"run\",\"device\":\"d\",\"model\":\"m\",\"model_hash\":\"h\",\"kv_policy\":\"full\",\"lossless\":"
        "true,"
        "\"equals_ar\":true,\"num_steps\":32,\"forced_acceptance\":[],\"decode_tok_s\":%.9g,\"decode_samples\":[%s]}",
        speed, samples);
    cJSON *row = cJSON_Parse(text), *extra = cJSON_Parse(more), *next;
    assert_non_null(row);
    assert_non_null(extra);
    for (cJSON *item = extra->child; item; item = next) {
        next = item->next;
        cJSON_DetachItemViaPointer(extra, item);
        cJSON_DeleteItemFromObjectCaseSensitive(row, item->string);
        if (cJSON_IsNull(item))
            cJSON_Delete(item);
        else
            cJSON_AddItemToObject(row, item->string, item);
    }
    cJSON_Delete(extra);
    return row;
}

struct made {
    const char *more;
    double speed;
};

static char *sentences(struct rows *rows, const struct made *made)
{
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    for (int i = 0; i < ROWS_MAX_HERE && made[i].more; i++)
        assert_int_equal(rows_add(rows, make_row(made[i].more, made[i].speed), NULL), MN_OK);
    assert_int_equal(best_write(rows, out, NULL), MN_OK);
    fclose(out);
    return text;
}

#define AR "{\"strategy\":\"ar\"}"
#define WAVE4 "{\"strategy\":\"wavefront\",\"draft_steps\":4,\"max_inflight\":8}"
#define DRAFT2 "{\"strategy\":\"draft-verify\",\"draft_steps\":2,\"lookahead\":7}"

static const struct {
    const char *wanted;
    struct made rows[ROWS_MAX_HERE];
} cases[] = {
    {"m on d: best lossless setting: wavefront K 4, 1.66x of ar (1.65 to 1.67), 166 tok/s\n",
     {{AR, 100}, {DRAFT2, 120}, {WAVE4, 166}}},
    {"m on d: best lossless setting: ar itself, 100 tok/s; nothing was faster (draft-verify K 2 L 7: 0.90x, 0.89 to "
     "0.91)\n",
     {{DRAFT2, 90}, {AR, 100}, {WAVE4, 80}}},
    {"m on d: best lossless setting: wavefront K 4, 1.00x of ar (0.99 to 1.01: no difference seen), 100 tok/s\n",
     {{AR, 100}, {WAVE4, 100.01}}},
    {"m on d: ar, 12345 tok/s; no other lossless setting was measured\n", {{AR, 12345}}},
    {"m on d: fastest lossless setting: wavefront K 4 W 4, 1.66 tok/s; no row of ar to compare it with\n",
     {{"{\"strategy\":\"wavefront\",\"draft_steps\":4,\"max_inflight\":4}", 1.66}, {DRAFT2, 1.2}}},
    /* One sample. */
    {"m on d: best lossless setting: draft-verify K 2 L 7, 1.50x of ar (too few samples for an interval), 150 tok/s\n",
     {{"{\"strategy\":\"ar\",\"decode_samples\":[100]}", 100},
      {"{\"strategy\":\"draft-verify\",\"draft_steps\":2,\"lookahead\":7,\"decode_samples\":[150]}", 150}}},
    /* Samples that are none: from outside, or of an older version. */
    {"m on d: best lossless setting: wavefront K 4, 1.50x of ar (too few samples for an interval), 150 tok/s\n",
     {{"{\"strategy\":\"ar\",\"decode_samples\":[100,-1,\"x\"]}", 100}, {WAVE4, 150}}},
    {"m on d: best lossless setting: wavefront K 4, 1.50x of ar (too few samples for an interval), 150 tok/s\n",
     {{AR, 100}, {"{\"strategy\":\"wavefront\",\"draft_steps\":4,\"max_inflight\":8,\"decode_samples\":null}", 150}}},
    /* Its tokens were not those of ar. */
    {"m on d: best lossless setting: draft-verify K 2 L 7, 1.20x of ar (1.19 to 1.21), 120 tok/s; 1 setting that "
     "promised the tokens of ar gave others: left out\n",
     {{AR, 100}, {"{\"strategy\":\"wavefront\",\"draft_steps\":4,\"equals_ar\":false}", 300}, {DRAFT2, 120}}},
    {"m on d: fastest lossless setting: draft-verify K 2 L 7, 120 tok/s; no row of ar to compare it with\n",
     {{"{\"strategy\":\"ar\",\"num_steps\":8}", 0}, {DRAFT2, 120}}},
    /* Lossy: never an answer. */
    {"m on d: best lossless setting: wavefront K 4, 1.66x of ar (1.65 to 1.67), 166 tok/s\n",
     {{"{\"strategy\":\"diffusion\",\"lossless\":false,\"equals_ar\":true}", 900}, {AR, 100}, {WAVE4, 166}}},
    {"m on d: no lossless setting was measured\n", {{"{\"strategy\":\"diffusion\",\"lossless\":false}", 900}}},
    {"m on d: no lossless setting was measured\n", {{"{\"strategy\":\"wavefront\",\"lossless\":null}", 900}}},
    /* Forced: an answer of its own, beside the lossless one or alone. */
    {"m on d: ar, 100 tok/s; no other lossless setting was measured\nm on d: with forced agreement 0.9,0.85: best "
     "setting: wavefront K 4, 3.00x of ar (2.98 to 3.02), 300 tok/s\n",
     {{AR, 100},
      {"{\"strategy\":\"wavefront\",\"draft_steps\":4,\"max_inflight\":8,\"lossless\":false,\"equals_ar\":false,"
       "\"forced_acceptance\":[0.9,0.85]}",
       300}}},
    {"m on d: with forced agreement 1: fastest setting: wavefront K 4, 300 tok/s; no row of ar to compare it with\n",
     {{"{\"strategy\":\"wavefront\",\"draft_steps\":4,\"max_inflight\":8,\"lossless\":true,\"forced_acceptance\":[1]}",
       300}}},
    /* By depth: what was given differently is another condition, and none of it is lossless. */
    {"m on d: ar, 100 tok/s; no other lossless setting was measured\nm on d: with forced agreement huginn (4:0.94): "
     "best "
     "setting: wavefront K 4, 3.00x of ar (2.98 to 3.02), 300 tok/s; under one other condition 2.00x\n",
     {{AR, 100},
      {"{\"strategy\":\"wavefront\",\"draft_steps\":4,\"max_inflight\":8,\"lossless\":false,\"equals_ar\":false,"
       "\"forced_by_depth\":\"huginn\",\"forced_shares\":\"4:0.94\"}",
       300},
      {"{\"strategy\":\"wavefront\",\"draft_steps\":4,\"max_inflight\":8,\"lossless\":true,\"equals_ar\":true,"
       "\"forced_by_depth\":\"4:0.9\",\"forced_shares\":\"4:0.9\"}",
       200}}},
    /* Several conditions: units of each one's ar, not tokens per second. */
    {"m on d: best lossless setting: wavefront K 4, 1.50x of ar (1.49 to 1.51), 15 tok/s, at R 32; under one other "
     "condition 1.20x\n",
     {{AR, 10},
      {WAVE4, 15},
      {"{\"strategy\":\"ar\",\"num_steps\":4}", 100},
      {"{\"strategy\":\"wavefront\",\"num_steps\":4,\"draft_steps\":2}", 120}}},
    {"m on d: best lossless setting: wavefront K 4, 1.50x of ar (1.49 to 1.51), 15 tok/s, at weights f16; under 2 "
     "other "
     "conditions 0.80x to 1.20x\n",
     {{"{\"strategy\":\"ar\",\"weight_type\":\"f32\"}", 100},
      {"{\"strategy\":\"wavefront\",\"weight_type\":\"f32\"}", 120},
      {"{\"strategy\":\"ar\",\"weight_type\":\"bf16\"}", 10},
      {"{\"strategy\":\"wavefront\",\"weight_type\":\"bf16\"}", 8},
      {"{\"strategy\":\"ar\",\"weight_type\":\"f16\"}", 10},
      {"{\"strategy\":\"wavefront\",\"weight_type\":\"f16\",\"draft_steps\":4,\"max_inflight\":8}", 15}}},
    /* Models and devices, in their order; one model under two names. */
    {"z on d: best lossless setting: wavefront K 4, 1.50x of ar (1.49 to 1.51), 15 tok/s\n"
     "m on e: ar, 7 tok/s; no other lossless setting was measured\n"
     "o on d: ar, 9 tok/s; no other lossless setting was measured\n",
     {{"{\"strategy\":\"ar\",\"model\":\"z\"}", 10},
      {"{\"strategy\":\"ar\",\"device\":\"e\"}", 7},
      {WAVE4, 15},
      {"{\"strategy\":\"ar\",\"model\":\"o\",\"model_hash\":\"i\"}", 9}}},
    /* auto says what it used; names cannot end the line. */
    {"m on a b: fastest lossless setting: auto (last used wavefront K 3), 15 tok/s; no row of ar to compare it with\n",
     {{"{\"strategy\":\"auto\",\"device\":\"a\\nb\",\"chosen\":\"wavefront\",\"chosen_draft_steps\":3}", 15}}},
    {"", {{"{\"bench\":\"pass\",\"strategy\":\"ar\"}", 15}, {"{\"strategy\":\"ar\",\"decode_tok_s\":\"fast\"}", 15}}},
};

static void test_sentences(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rows rows = {0};
        char *text = sentences(&rows, cases[i].rows);
        assert_string_equal(text, cases[i].wanted);
        free(text);
        rows_free(&rows);
    }
}

/* The interval is that of `muninn compare`, and the marked row is the one of the sentence. */
static void test_interval_and_mark(void **state)
{
    (void)state;
    static const struct made made[ROWS_MAX_HERE] = {{AR, 100}, {WAVE4, 166}, {DRAFT2, 120}};
    struct rows rows = {0};
    struct best_list list;
    struct interval r;
    double a[10], b[10];
    free(sentences(&rows, made));
    for (int i = 0; i < 10; i++) {
        a[i] = cJSON_GetArrayItem(json_find(rows.items[0], "decode_samples"), i)->valuedouble;
        b[i] = cJSON_GetArrayItem(json_find(rows.items[1], "decode_samples"), i)->valuedouble;
    }
    assert_int_equal(samples_ratio(a, 10, b, 10, &r, NULL), MN_OK);
    assert_int_equal(best_find(&list, &rows, NULL), MN_OK);
    assert_int_equal(list.n, 1);
    assert_true(list.items[0].row == rows.items[1] && list.items[0].ar == rows.items[0]);
    assert_true(list.items[0].ratio.ratio == r.ratio && list.items[0].ratio.low == r.low &&
                list.items[0].ratio.high == r.high && list.items[0].ratio.bounded);
    assert_false(best_has(&list, rows.items[0]));
    assert_true(best_has(&list, rows.items[1]));
    assert_false(best_has(&list, rows.items[2]));
    best_free(&list);
    rows_free(&rows);

    static const struct made slow[ROWS_MAX_HERE] = {{AR, 100}, {WAVE4, 66}};
    free(sentences(&rows, slow));
    assert_int_equal(best_find(&list, &rows, NULL), MN_OK);
    assert_true(best_has(&list, rows.items[0]) && !best_has(&list, rows.items[1]));
    best_free(&list);
    rows_free(&rows);
}

static void test_classes(void **state)
{
    (void)state;
    static const struct {
        const char *more, *wanted;
    } rows[] = {{"{}", "lossless"},
                {"{\"lossless\":false}", "lossy"},
                {"{\"lossless\":false,\"forced_acceptance\":[0.9]}", "forced"},
                {"{\"lossless\":false,\"forced_acceptance\":null}", "lossy"},
                {"{\"lossless\":\"yes\"}", ""},
                {"{\"lossless\":null}", ""}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cJSON *row = make_row(rows[i].more, 1.0);
        assert_string_equal(row_class_name(row_class(row)), rows[i].wanted);
        cJSON_Delete(row);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sentences),
        cmocka_unit_test(test_interval_and_mark),
        cmocka_unit_test(test_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
