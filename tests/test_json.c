/* Goal: the JSON layer accepts exactly strict JSON within its limits, and every refusal says file and place or key.
 * Method: one table row per document, good and bad (each bug class that concerns JSON: unbounded nesting, strings and
 * counts, duplicate keys, cut strings, numbers that change their value); getters are tried at the edges of their
 * ranges; hostile sizes (100,000 keys, a million brackets) must be answered at once. A captured log checks that there
 * is exactly one message per failure.
 */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/files/json.h"
#include "tests/capture.h"

enum { CAP_BYTES = 1 << 22 };

static enum mn_status parse(struct json_doc *doc, const char *text, size_t n, struct mn_log *log)
{
    /* An exactly sized copy: the sanitizers see a read past the end. */
    char *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, text, n);
    enum mn_status status = json_parse(doc, "some/file.json", copy, n, CAP_BYTES, log);
    free(copy);
    return status;
}

struct row {
    const char *text;
    const char *why; /* NULL: accepted */
};

static const struct row rows[] = {
    {"{}", NULL},
    {" [ ] \r\n\t", NULL},
    {"\"text\"", NULL},
    {"-0", NULL},
    {"[0, -1.5e-3, 1E+2, 10]", NULL},
    {"{\"a\": {\"b\": [true, false, null]}}", NULL},
    {"{\"a\": 1, \"A\": 2}", NULL}, /* keys differ in case */
    {"[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\"]", NULL},
    {"[\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"]", NULL},
    {"[1e-999]", NULL}, /* underflow is 0, not an error */
    /* ends and junk */
    {"", "ends where a value is expected"},
    {"  ", "ends where a value is expected"},
    {"{", "expected a string"},
    {"[", "ends where a value is expected"},
    {"[1", "ends inside"},
    {"{\"a\"", "expected ':'"},
    {"{\"a\":", "ends where a value is expected"},
    {"{\"a\":1", "ends inside"},
    {"{} x", "more after the end"},
    {"{}{}", "more after the end"},
    {"1 2", "more after the end"},
    {"[1]]", "more after the end"},
    {"[1,]", "expected a value"},
    {"[,1]", "expected a value"},
    {"{,}", "expected a string"},
    {"{\"a\":1,}", "expected a string"},
    {"{\"a\" 1}", "expected ':'"},
    {"{a:1}", "expected a string"},
    {"[1 2]", "expected ',' or ']'"},
    {"{\"a\":1 \"b\":2}", "expected ',' or '}'"},
    {"[1}", "expected ',' or ']'"},
    {"{\"a\":1]", "expected ',' or '}'"},
    {"\xef\xbb\xbf{}", "a byte order mark"}, /* where files begin, their reader skips it */
    {"// c\n{}", "expected a value"},
    {"['a']", "expected a value"},
    {"[1\v]", "expected ',' or ']'"}, /* white space of C, not of JSON */
    /* words and numbers */
    {"[nul]", "expected a value"},
    {"[TRUE]", "expected a value"},
    {"[truex]", "expected ',' or ']'"},
    {"[NaN]", "value NaN: JSON has no such number"},
    {"{\"k\": [1, Infinity]}", "key 'k': value Infinity"},
    {"[-Infinity]", "value -Infinity"},
    {"[nan]", "expected a value"},
    {"[Inf]", "expected a value"},
    {"[-]", "expected a value"},
    {"[+1]", "expected a value"},
    {"[01]", "leading zero"},
    {"[-01]", "leading zero"},
    {"[00]", "leading zero"},
    {"[0x10]", "expected ',' or ']'"},
    {"[.5]", "expected a value"},
    {"[1.]", "digits after its point"},
    {"[1e]", "digits in its exponent"},
    {"[1e+]", "digits in its exponent"},
    {"[1e999]", "outside the range of double"},
    {"{\"k\": -1e999}", "key 'k'"},
    {"{\"k\": 1111111111111111111111111111111111111111111111111111111111111111}", "key 'k': number too long"},
    {"{\"k\": [{\"x\": 1}, nan]}", "byte 17: expected a value"}, /* not x's */
    {"{\"a\": 1, \"k\": [2, nan]}", "key 'k': expected a value"},
    {"{\"k\": 1, }", "byte 9: expected a string"},
    {"[1111111111111111111111111111111111111111111111111111111111111111]", "number too long"},
    /* strings */
    {"\"", "without an end"},
    {"\"a\\", "without an end"},
    {"\"\\x41\"", "unknown escape"},
    {"\"\\u12\"", "bad \\u escape"},
    {"\"\\u12g4\"", "bad \\u escape"},
    {"\"\\u0000\"", "\\u0000"},
    {"{\"a\\u0000b\": 1}", "\\u0000"},
    {"\"a\tb\"", "control character"},
    {"\"a\nb\"", "control character"},
    {"\"\\ud83d\"", "lone surrogate"},
    {"\"\\ude00\"", "lone surrogate"},
    {"\"\\ud83dx\"", "lone surrogate"},
    {"\"\\ud83d\\n\"", "lone surrogate"},
    {"\"\\ud83d\\u0041\"", "lone surrogate"},
    {"\"\\ud83d\\ud83d\"", "lone surrogate"},
    {"\"\xff\"", "invalid UTF-8"},
    {"\"\x80\"", "invalid UTF-8"},
    {"\"\xc3\"", "invalid UTF-8"},
    {"\"\xc0\x80\"", "invalid UTF-8"},         /* overlong zero */
    {"\"\xe0\x80\xaf\"", "invalid UTF-8"},     /* overlong slash */
    {"\"\xed\xa0\x80\"", "invalid UTF-8"},     /* surrogate */
    {"\"\xf4\x90\x80\x80\"", "invalid UTF-8"}, /* beyond U+10FFFF */
    {"\"\xf0\x9f\x98", "invalid UTF-8"},
    {"{\"\xff\": 1}", "invalid UTF-8"},
    /* duplicate keys */
    {"{\"a\":1,\"b\":2,\"a\":3}", "key 'a': given twice"},
    {"{\"a\":1,\"\\u0061\":2}", "key 'a': given twice"},
    {"{\"\":1,\"\":2}", "given twice"},
    {"[{\"x\":{\"deep\":1,\"deep\":1}}]", "key 'deep': given twice"},
    {"{\"1\":1,\"2\":1,\"3\":1,\"4\":1,\"5\":1,\"6\":1,\"7\":1,\"8\":1,\"9\":1,\"10\":1,\"3\":1}",
     "key '3': given twice"},
};

static void test_rows(void **state)
{
    (void)state;
    struct capture c = {0};
    struct mn_log log = {capture_write, &c};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct json_doc doc;
        enum mn_status status = parse(&doc, rows[i].text, strlen(rows[i].text), &log);
        if (status != (rows[i].why ? MN_ERR_FORMAT : MN_OK))
            fail_msg("%s: %s, log \"%s\"", rows[i].text, mn_status_name(status), c.line);
        if (rows[i].why) {
            expect_log(&c, "some/file.json", rows[i].why);
            assert_null(doc.root);
        } else {
            assert_int_equal(c.n, 0);
        }
        json_destroy(&doc);
    }
}

static void test_zero_byte_in_the_buffer(void **state)
{
    (void)state;
    struct json_doc doc;
    assert_int_equal(parse(&doc, "[1]\0", 4, NULL), MN_ERR_FORMAT);
    assert_int_equal(parse(&doc, "\"a\0b\"", 5, NULL), MN_ERR_FORMAT);
    assert_int_equal(parse(&doc, "\0{}", 3, NULL), MN_ERR_FORMAT);
}

/* Builds n copies of `unit` between `head` and `tail`; the caller frees it. */
static char *repeat(const char *head, const char *unit, size_t n, const char *tail)
{
    size_t h = strlen(head), u = strlen(unit);
    char *text = malloc(h + n * u + strlen(tail) + 1);
    assert_non_null(text);
    memcpy(text, head, h);
    for (size_t i = 0; i < n; i++)
        memcpy(text + h + i * u, unit, u);
    strcpy(text + h + n * u, tail);
    return text;
}

static void test_nesting(void **state)
{
    (void)state;
    struct capture c = {0};
    struct mn_log log = {capture_write, &c};
    struct json_doc doc;
    char *text = repeat("", "[", JSON_DEPTH_MAX, "");
    char *closed = repeat(text, "]", JSON_DEPTH_MAX, "");
    assert_int_equal(parse(&doc, closed, strlen(closed), &log), MN_OK);
    json_destroy(&doc);
    free(text);
    free(closed);

    const char *const units[] = {"[", "{\"a\":", "[{\"a\":"};
    for (int i = 0; i < 3; i++) {
        text = repeat("", units[i], 500000, "");
        assert_int_equal(parse(&doc, text, strlen(text), &log), MN_ERR_FORMAT);
        expect_log(&c, "some/file.json", "nested too deeply");
        free(text);
    }
}

static void test_many_keys(void **state)
{
    (void)state;
    enum { N = 100000, KEY_BYTES = 24 };
    struct capture c = {0};
    struct mn_log log = {capture_write, &c};
    struct json_doc doc;
    char *text = malloc(N * (size_t)KEY_BYTES + 64);
    assert_non_null(text);
    for (int twice = 0; twice < 2; twice++) {
        size_t n = 0;
        text[n++] = '{';
        for (int i = 0; i < N; i++)
            n += (size_t)snprintf(text + n, KEY_BYTES, "\"key%d\":%d,", i, i);
        n += (size_t)snprintf(text + n, 64, "\"%s\":0}", twice ? "key77777" : "last");
        double start = clock_s();
        enum mn_status status = parse(&doc, text, n, &log);
        assert_true(clock_s() - start < 5); /* all pairs would be 5e9 comparisons: minutes under a sanitizer */
        assert_int_equal(status, twice ? MN_ERR_FORMAT : MN_OK);
        if (twice)
            expect_log(&c, "some/file.json", "key 'key77777': given twice");
        json_destroy(&doc);
    }
    free(text);
}

static void test_limits(void **state)
{
    (void)state;
    struct capture c = {0};
    struct mn_log log = {capture_write, &c};
    struct json_doc doc;
    assert_int_equal(json_parse(&doc, "f", "[1,2]", 5, 5, &log), MN_OK);
    json_destroy(&doc);
    assert_int_equal(json_parse(&doc, "f", "[1,2]", 5, 4, &log), MN_ERR_FORMAT);
    expect_log(&c, "f: 5 bytes", "limit is 4");

    char *text = repeat("[0", ",0", JSON_VALUES_MAX, "]");
    assert_int_equal(json_parse(&doc, "f", text, strlen(text), SIZE_MAX, &log), MN_ERR_FORMAT);
    expect_log(&c, "f: ", "too many values");
    free(text);

    json_destroy(NULL);
    doc = (struct json_doc){0};
    json_destroy(&doc);
}

static void test_messages_stay_short(void **state)
{
    (void)state;
    struct capture c = {0};
    struct mn_log log = {capture_write, &c};
    struct json_doc doc;
    uint32_t u32;
    /* The value ends in the middle of a character at the cut, the key holds a terminal escape. */
    char *text = repeat("{\"\\u001b[31m\": \"x", "\xc3\xa9", 1000, "\"}");
    assert_int_equal(parse(&doc, text, strlen(text), &log), MN_OK);
    assert_int_equal(json_get_u32(&doc, doc.root, "\033[31m", 0, 1, &u32), MN_ERR_FORMAT);
    assert_int_equal(c.n, 1);
    assert_true(strlen(c.line) < 300);
    assert_null(strchr(c.line, '\033'));
    assert_non_null(strstr(c.line, "\xc3\xa9\": must be an integer from 0 to 1"));
    json_destroy(&doc);
    free(text);
}

static void test_getters(void **state)
{
    (void)state;
    struct capture c = {0};
    struct mn_log log = {capture_write, &c};
    struct json_doc doc;
    const char *text = "{\"u\":7,\"whole\":7.0,\"half\":7.5,\"neg\":-1,\"top\":4294967295,\"over\":4294967296,"
                       "\"exact\":9007199254740991,\"inexact\":9007199254740993,\"huge\":1e300,\"tiny\":1e-300,"
                       "\"t\":true,\"f\":false,\"null\":null,\"s\":\"caf\\u00e9\",\"arr\":[1,2],\"obj\":{\"U\":1}}";
    uint32_t u32 = 99;
    uint64_t u64;
    double d;
    bool b;
    const char *s;
    const struct cJSON *node;
    assert_int_equal(parse(&doc, text, strlen(text), &log), MN_OK);
    const struct cJSON *r = doc.root;

    assert_int_equal(json_get_u32(&doc, r, "u", 7, 7, &u32), MN_OK);
    assert_int_equal(u32, 7);
    assert_int_equal(json_get_u32(&doc, r, "whole", 0, 10, &u32), MN_OK);
    assert_int_equal(json_get_u32(&doc, r, "top", 0, UINT32_MAX, &u32), MN_OK);
    assert_int_equal(u32, UINT32_MAX);
    assert_int_equal(json_get_u64(&doc, r, "exact", 0, JSON_INTEGER_MAX, &u64), MN_OK);
    assert_true(u64 == JSON_INTEGER_MAX);
    assert_int_equal(json_get_double(&doc, r, "half", 7.5, 7.5, &d), MN_OK);
    assert_int_equal(json_get_bool(&doc, r, "t", &b), MN_OK);
    assert_true(b);
    assert_int_equal(json_get_string(&doc, r, "s", 5, &s), MN_OK);
    assert_string_equal(s, "caf\xc3\xa9");
    assert_int_equal(json_get_object(&doc, r, "obj", &node), MN_OK);
    assert_null(json_find(node, "u")); /* case counts */
    assert_int_equal(json_get_array(&doc, r, "arr", &node), MN_OK);
    assert_int_equal(json_as_u32(&doc, "arr", node->child, 1, 1, &u32), MN_OK);
    assert_null(json_find(node, "u"));
    assert_null(json_find(NULL, "u"));
    assert_int_equal(c.n, 0);

    const struct {
        const char *key;
        uint32_t min, max;
        const char *value;
    } bad[] = {
        {"u", 8, 9, "value 7:"},
        {"u", 0, 6, "value 7:"},
        {"half", 0, 10, "value 7.5:"},
        {"neg", 0, 10, "value -1:"},
        {"over", 0, UINT32_MAX, "value 4294967296:"},
        {"huge", 0, UINT32_MAX, "value 1e300:"},
        {"tiny", 0, 10, "value 1e-300:"},
        {"t", 0, 10, "value true:"},
        {"null", 0, 10, "value null:"},
        {"s", 0, 10, "value \"caf\xc3\xa9\":"},
        {"arr", 0, 10, "value [...]:"},
        {"obj", 0, 10, "value {...}:"},
        {"U", 0, 10, "value (missing):"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char key[64];
        snprintf(key, sizeof key, "some/file.json: key '%s'", bad[i].key);
        u32 = 99;
        assert_int_equal(json_get_u32(&doc, r, bad[i].key, bad[i].min, bad[i].max, &u32), MN_ERR_FORMAT);
        assert_int_equal(u32, 99);
        expect_log(&c, key, bad[i].value);
    }
    assert_int_equal(json_get_u64(&doc, r, "inexact", 0, JSON_INTEGER_MAX, &u64), MN_ERR_FORMAT);
    expect_log(&c, "key 'inexact'", "must be an integer");
    assert_int_equal(json_get_double(&doc, r, "huge", 0, 1, &d), MN_ERR_FORMAT);
    expect_log(&c, "key 'huge'", "must be a number from 0 to 1");
    assert_int_equal(json_get_bool(&doc, r, "u", &b), MN_ERR_FORMAT);
    expect_log(&c, "key 'u'", "value 7: must be true or false");
    assert_int_equal(json_get_string(&doc, r, "s", 4, &s), MN_ERR_FORMAT);
    expect_log(&c, "key 's'", "at most 4 bytes");
    assert_int_equal(json_get_string(&doc, r, "u", 4, &s), MN_ERR_FORMAT);
    expect_log(&c, "key 'u'", "must be a string");
    assert_int_equal(json_get_object(&doc, r, "arr", &node), MN_ERR_FORMAT);
    expect_log(&c, "key 'arr'", "must be an object");
    assert_int_equal(json_get_array(&doc, r, "gone", &node), MN_ERR_FORMAT);
    expect_log(&c, "key 'gone'", "value (missing): must be an array");

    assert_int_equal(json_get_u32_or(&doc, r, "gone", 1, 2, 50, &u32), MN_OK);
    assert_int_equal(u32, 50);
    assert_int_equal(json_get_double_or(&doc, r, "null", 1, 2, 0.5, &d), MN_OK);
    assert_int_equal(json_get_bool_or(&doc, r, "f", true, &b), MN_OK);
    assert_false(b);
    assert_int_equal(json_get_string_or(&doc, r, "gone", 1, NULL, &s), MN_OK);
    assert_null(s);
    assert_int_equal(c.n, 0);
    assert_int_equal(json_get_u32_or(&doc, r, "u", 0, 1, 1, &u32), MN_ERR_FORMAT); /* present but bad: no fallback */
    expect_log(&c, "key 'u'", "value 7");
    json_destroy(&doc);
}

static void test_files(void **state)
{
    (void)state;
    struct capture c = {0};
    struct mn_log log = {capture_write, &c};
    struct json_doc doc;
    char dir[] = "/tmp/muninn-json-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));

    snprintf(path, sizeof path, "%s/gone.json", dir);
    assert_int_equal(json_read_file(&doc, path, 100, &log), MN_ERR_FILE);
    expect_log(&c, path, "No such file");
    assert_int_equal(json_read_file(&doc, dir, 100, &log), MN_ERR_FILE);
    expect_log(&c, dir, "not a regular file");

#ifndef _WIN32
    snprintf(path, sizeof path, "%s/pipe.json", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(json_read_file(&doc, path, 100, &log), MN_ERR_FILE); /* and does not wait for a writer */
    expect_log(&c, path, "not a regular file");
    unlink(path);
#endif

    snprintf(path, sizeof path, "%s/good.json", dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("{\"k\": 5}", file);
    fclose(file);
    uint32_t k;
    assert_int_equal(json_read_file(&doc, path, 8, &log), MN_OK);
    assert_int_equal(json_get_u32(&doc, doc.root, "k", 0, 4, &k), MN_ERR_FORMAT);
    expect_log(&c, path, "key 'k': value 5");
    json_destroy(&doc);
    assert_int_equal(json_read_file(&doc, path, 7, &log), MN_ERR_FORMAT);
    expect_log(&c, path, "limit is 7");
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(json_read_file(&doc, path, 7, &log), MN_ERR_FORMAT);
    expect_log(&c, path, "is empty");
    unlink(path);
    rmdir(dir);
}

static void test_write_string(void **state)
{
    (void)state;
    const struct {
        const char *bytes;
        size_t n;
        const char *expected;
    } cases[] = {
        {"plain", 5, "\"plain\""},
        {"", 0, "\"\""},
        {"a\"b\\c/", 6, "\"a\\\"b\\\\c/\""},
        {"\n\t\r\033\177", 5, "\"\\n\\u0009\\u000d\\u001b\\u007f\""},
        {"\xc2\x9b\xe2\x80\xae", 5, "\"\\u009b\\u202e\""},
        {"\0x", 2, "\"\\u0000x\""},
        {"\xc3\xa9\xf0\x9f\x98\x80", 6, "\"\xc3\xa9\xf0\x9f\x98\x80\""},
        {"a\xff"
         "b",
         3,
         "\"a\xef\xbf\xbd"
         "b\""},
        {"\xe2\x82", 2, "\"\xef\xbf\xbd\""}, /* a cut character is one replacement */
        {"\xe2\x82x", 3, "\"\xef\xbf\xbdx\""},
        {"\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""}, /* a surrogate is three */
        {"\xc0\x80", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = NULL;
        size_t n = 0;
        FILE *stream = open_memstream(&text, &n);
        assert_non_null(stream);
        json_write_string(stream, cases[i].bytes, cases[i].n);
        fclose(stream);
        assert_string_equal(text, cases[i].expected);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),         cmocka_unit_test(test_zero_byte_in_the_buffer),
        cmocka_unit_test(test_nesting),      cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_limits),       cmocka_unit_test(test_messages_stay_short),
        cmocka_unit_test(test_getters),      cmocka_unit_test(test_files),
        cmocka_unit_test(test_write_string),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
