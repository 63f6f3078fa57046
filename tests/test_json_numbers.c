/* Goal: numbers of documents come out as they came in, floats read back the same, the words that Python writes for
 * what JSON has no number for are null where nobody reads them, and every string that is written is valid JSON.
 * Method: a table of texts goes through the parser and the printer; drawn doubles and floats of all magnitudes are
 * written and read; each look-up is tried on each word; byte order marks stand where they may and where they may not.
 */
#include <math.h>
#include <stdlib.h>

#include "engine/base/decimal.h"
#include "engine/base/hash.h"
#include "engine/base/philox.h"
#include "engine/files/json.h"
#include "engine/files/lines.h"
#include "tests/capture.h"

enum { CAP_BYTES = 1 << 20, N_DRAWN = 20000 };

static void parse(struct json_doc *doc, const char *text, bool foreign, enum mn_status expected, struct mn_log *log)
{
    const size_t n = strlen(text);
    char *copy = malloc(n ? n : 1); /* exactly sized: the sanitizers see a read past the end */
    assert_non_null(copy);
    memcpy(copy, text, n);
    const enum mn_status status = (foreign ? json_parse_foreign : json_parse)(doc, "some/file.json", copy, n, CAP_BYTES,
                                                                              log);
    free(copy);
    if (status != expected)
        fail_msg("%s: %s", text, mn_status_name(status));
}

static void test_texts_stay(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "1234567890123456789",
        "9007199254740991",
        "9007199254740993",
        "5000000000000001",
        "18446744073709551615",
        "0.30000000000000004",
        "0.1000000000000000055511151231257827",
        "[1,1.0,1e0,10E-1,-0,0,-0.0]",
        "1e-999",
        "123456789012345",
        "-123456789012345",
        "1234567890123456",
        "{\"a 1\":[2.50,{\"\\\\\":\"3\"}],\"b\":[-7e+2]}",
        "[\"\\\"1\",2.0]",
    };
    struct json_doc doc;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        parse(&doc, texts[i], false, MN_OK, NULL);
        struct cJSON *copy = cJSON_Duplicate(doc.root, true); /* rows are made of copies */
        json_destroy(&doc);
        char *printed = json_print(copy);
        assert_string_equal(printed, texts[i]);
        free(printed);
        cJSON_Delete(copy);
    }
}

static void test_one_name_per_number(void **state)
{
    (void)state;
    static const char *const same[][4] = {
        {"1", "1.0", "1e0", "10E-1"},
        {"1000", "1e3", "1000.000", "0.1e4"},
        {"12345678901234567890", "1234567890123456789e1", "12345678901234567890.0", "1.2345678901234567890E19"},
        {"0.30000000000000004", "3.0000000000000004e-1", "30000000000000004e-17", "0.300000000000000040"},
        {"0", "0.0", "0e5", "0.000E-7"},
        {"-5e300", "-5E+300", "-50e299", "-0.5e301"},
        {"1e-999", "10e-1000", "0.1e-998", "1.0e-999"}};
    char names[sizeof same / sizeof *same][JSON_NUMBER_NAME_BYTES], name[JSON_NUMBER_NAME_BYTES];
    struct json_doc doc;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        for (size_t k = 0; k < 4; k++) {
            parse(&doc, same[i][k], false, MN_OK, NULL);
            json_number_name(doc.root, k ? name : names[i]);
            if (k)
                assert_string_equal(name, names[i]);
            json_destroy(&doc);
        }
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(names[i], names[k]);
    assert_string_equal(names[0], "1");
    assert_string_equal(names[2], "12345678901234567890");
    assert_true(decimal_same("7000000000000000001", "7000000000000000001.0"));
    assert_false(decimal_same("7000000000000000001", "7000000000000000002"));
}

/* An integer that a double rounds to is not the integer that was given. */
static void test_integers_are_exact(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
    } rows[] = {{"9007199254740991", true},
                {"9007199254740991.0", true},
                {"90071992547409910e-1", true},
                {"9007199254740991.2", false},
                {"3.0000000000000000001", false},
                {"0.99999999999999999999", false},
                {"3.00", true},
                {"1e-999", false}};
    struct json_doc doc;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct capture c = {0};
        struct mn_log log = {capture_write, &c};
        uint64_t value;
        parse(&doc, rows[i].text, false, MN_OK, &log);
        assert_int_equal(json_as_u64(&doc, "k", doc.root, 0, JSON_INTEGER_MAX, &value),
                         rows[i].good ? MN_OK : MN_ERR_FORMAT);
        if (!rows[i].good)
            expect_log(&c, rows[i].text, "must be an integer");
        json_destroy(&doc);
    }
}

static void test_doubles_and_floats_read_back(void **state)
{
    (void)state;
    char text[DECIMAL_BYTES];
    for (uint32_t i = 0; i < N_DRAWN; i++) {
        const uint32_t counter[4] = {i, 0, 0, 0}, key[2] = {7, 7};
        uint32_t bits[4];
        uint64_t wide;
        double d;
        philox(counter, key, bits);
        wide = (uint64_t)bits[0] << 32 | bits[1];
        memcpy(&d, &wide, sizeof d);
        if (isfinite(d)) {
            const int n = decimal_write(text, d);
            assert_int_equal(n, (int)strlen(text));
            assert_true(decimal_read(text, NULL) == d);
        }
        d = (double)bits[2] / (double)(bits[3] % 1000 + 1);
        decimal_write(text, d);
        assert_true(decimal_read(text, NULL) == d);
        float f;
        memcpy(&f, &bits[3], sizeof f);
        if (isfinite(f)) {
            decimal_write_float(text, f);
            assert_true(strtof(text, NULL) == f);
        }
    }
    decimal_write(text, 0.1 + 0.2);
    assert_string_equal(text, "0.30000000000000004");
    decimal_write(text, 0.1);
    assert_string_equal(text, "0.1");
    decimal_write_float(text, 0.8f);
    assert_string_equal(text, "0.8");
}

static char *print_double(double value)
{
    struct cJSON *node = cJSON_CreateNumber(value);
    char *text = json_print(node);
    cJSON_Delete(node);
    return text;
}

/* What cJSON's own printer would round: it takes doubles for equal whose quotient differs from 1 by an epsilon. */
static void test_numbers_made_here(void **state)
{
    (void)state;
    const double values[] = {9007199254740991.0, 0.30000000000000004, 5000000000000001.0, -1e-300, 0.1, 1e308, 3.0};
    const char *const texts[] = {
        "9007199254740991", "0.30000000000000004", "5000000000000001", "-1e-300", "0.1", "1e+308", "3"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char *text = print_double(values[i]);
        assert_string_equal(text, texts[i]);
        free(text);
    }
    char *text = print_double(NAN);
    assert_string_equal(text, "null");
    free(text);
}

/* ---- NaN and its kind ---- */

static const char *const words[] = {"NaN", "Infinity", "-Infinity"};

static void test_words_nobody_reads(void **state)
{
    (void)state;
    struct json_doc doc;
    char text[256];
    for (size_t i = 0; i < 3; i++) {
        snprintf(text, sizeof text, "{\"a\":\"%s\",\"b\":[0.0,%s,-1],\"c\":%s,\"d\":7.0}", words[i], words[i],
                 words[i]);
        parse(&doc, text, true, MN_OK, NULL);
        char *printed = json_print(doc.root);
        snprintf(text, sizeof text, "{\"a\":\"%s\",\"b\":[0.0,null,-1],\"c\":null,\"d\":7.0}", words[i]);
        assert_string_equal(printed, text);
        free(printed);
        json_destroy(&doc);
    }
    parse(&doc, "[nan]", true, MN_ERR_FORMAT, NULL);
    parse(&doc, "[inf]", true, MN_ERR_FORMAT, NULL);
    parse(&doc, "[+Infinity]", true, MN_ERR_FORMAT, NULL);
    parse(&doc, "[-NaN]", true, MN_ERR_FORMAT, NULL);
    parse(&doc, "[NaNs]", true, MN_ERR_FORMAT, NULL);
}

static void test_words_somebody_reads(void **state)
{
    (void)state;
    struct capture c = {0};
    struct mn_log log = {capture_write, &c};
    for (size_t i = 0; i < 3; i++) {
        char text[64], value[32];
        struct json_doc doc;
        uint32_t u32;
        double d;
        bool b;
        const char *s;
        const struct cJSON *node;
        snprintf(text, sizeof text, "{\"k\":%s}", words[i]);
        snprintf(value, sizeof value, "value %s:", words[i]);
        parse(&doc, text, true, MN_OK, &log);
        assert_true(json_is_given(doc.root, "k"));
        for (int getter = 0; getter < 8; getter++) {
            const enum mn_status status = getter == 0   ? json_get_u32_or(&doc, doc.root, "k", 0, 9, 1, &u32)
                                          : getter == 1 ? json_get_double_or(&doc, doc.root, "k", -1, 1, 1, &d)
                                          : getter == 2 ? json_get_bool_or(&doc, doc.root, "k", true, &b)
                                          : getter == 3 ? json_get_string_or(&doc, doc.root, "k", 9, "x", &s)
                                          : getter == 4 ? json_get_u32(&doc, doc.root, "k", 0, 9, &u32)
                                          : getter == 5 ? json_get_double(&doc, doc.root, "k", -1, 1, &d)
                                          : getter == 6 ? json_get_array(&doc, doc.root, "k", &node)
                                                        : json_get_object(&doc, doc.root, "k", &node);
            assert_int_equal(status, MN_ERR_FORMAT);
            expect_log(&c, "some/file.json: key 'k'", value);
        }
        json_destroy(&doc);
        snprintf(text, sizeof text, "{\"other\":1,\"k\":[2,%s]}", words[i]);
        parse(&doc, text, false, MN_ERR_FORMAT, &log); /* a file of the user's own */
        expect_log(&c, "key 'k'", value);
    }
}

/* ---- what stands in front ---- */

static enum mn_status take(void *user, size_t number, const char *line, size_t n_bytes, const struct mn_log *log)
{
    struct json_doc doc;
    enum mn_status status = json_parse(&doc, "JSON", line, n_bytes, CAP_BYTES, log);
    json_destroy(&doc);
    *(size_t *)user = number;
    return status;
}

static void test_byte_order_mark(void **state)
{
    (void)state;
    struct capture c = {0};
    struct mn_log log = {capture_write, &c};
    struct json_doc doc;
    size_t last = 0;
    parse(&doc, JSON_BYTE_ORDER_MARK "{\"a\":1}", true, MN_OK, &log);
    json_destroy(&doc);
    parse(&doc, JSON_BYTE_ORDER_MARK JSON_BYTE_ORDER_MARK "{}", true, MN_ERR_FORMAT, &log);
    expect_log(&c, "byte 0", "a byte order mark");
    parse(&doc, "[1, " JSON_BYTE_ORDER_MARK "2]", true, MN_ERR_FORMAT, &log);
    expect_log(&c, "byte 4", "a byte order mark");

    const char good[] = JSON_BYTE_ORDER_MARK "{\"a\":1}\r\n{\"b\":2}\r\n";
    assert_int_equal(lines_each("f", good, sizeof good - 1, take, &last, &log), MN_OK);
    assert_int_equal(last, 2);
    const char bad[] = "{\"a\":1}\n" JSON_BYTE_ORDER_MARK "{\"b\":2}\n";
    assert_int_equal(lines_each("f", bad, sizeof bad - 1, take, &last, &log), MN_ERR_FORMAT);
    expect_log(&c, "f: line 2: ", "a byte order mark");
    assert_int_equal(lines_each("f", JSON_BYTE_ORDER_MARK, 3, take, &last, &log), MN_OK);
}

static void test_utf16(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } rows[] = {{"\xff\xfe{\0}\0", 6}, {"\xfe\xff\0{\0}", 6}, {"{\0}\0", 4}, {"\0{\0}", 4}, {"\xff\xfe", 2}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int foreign = 0; foreign < 2; foreign++) {
            struct capture c = {0};
            struct mn_log log = {capture_write, &c};
            struct json_doc doc;
            assert_int_equal(
                (foreign ? json_parse_foreign : json_parse)(&doc, "f.json", rows[i].bytes, rows[i].n, CAP_BYTES, &log),
                MN_ERR_FORMAT);
            expect_log(&c, "f.json: byte 0", "UTF-16");
        }
}

/* ---- names ---- */

static void test_names(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"plain", "plain"},           {"m\xff", "m\\xff"},
                                          {"m\xfe", "m\\xfe"},          {"\xc3\xa9\xc3", "\xc3\xa9\\xc3"},
                                          {"\xe2\x82|", "\\xe2\\x82|"}, {"", ""}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *name = json_name(rows[i][0]), *written = NULL;
        size_t n;
        assert_string_equal(name, rows[i][1]);
        FILE *stream = open_memstream(&written, &n);
        json_write_name(stream, rows[i][0]);
        assert_int_equal(fclose(stream), 0);
        struct json_doc doc;
        parse(&doc, written, false, MN_OK, NULL);
        assert_string_equal(doc.root->valuestring, name);
        json_destroy(&doc);
        free(written);
        free(name);
    }
}

/* A tree with text that is no UTF-8, whoever put it there, is written as valid JSON. */
static void test_trees_are_valid(void **state)
{
    (void)state;
    struct cJSON *tree = cJSON_CreateObject();
    cJSON_AddStringToObject(tree, "k\xff", "v\xc3");
    cJSON_AddRawToObject(tree, "raw", "[1.50]");
    cJSON_AddNullToObject(tree, "none");
    cJSON_AddTrueToObject(tree, "yes");
    cJSON_AddFalseToObject(tree, "no");
    cJSON_AddArrayToObject(tree, "empty");
    char *text = json_print(tree);
    cJSON_Delete(tree);
    assert_string_equal(text, "{\"k\xef\xbf\xbd\":\"v\xef\xbf\xbd\",\"raw\":[1.50],\"none\":null,\"yes\":true,\"no\":"
                              "false,\"empty\":[]}");
    struct json_doc doc;
    parse(&doc, text, false, MN_OK, NULL);
    json_destroy(&doc);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts_stay),
        cmocka_unit_test(test_one_name_per_number),
        cmocka_unit_test(test_integers_are_exact),
        cmocka_unit_test(test_doubles_and_floats_read_back),
        cmocka_unit_test(test_numbers_made_here),
        cmocka_unit_test(test_words_nobody_reads),
        cmocka_unit_test(test_words_somebody_reads),
        cmocka_unit_test(test_byte_order_mark),
        cmocka_unit_test(test_utf16),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_trees_are_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
