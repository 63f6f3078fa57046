/* Goal: the pre-tokenizer refuses every construct that it does not translate exactly, says where it stands, and ends
 * with an error on hostile patterns and texts.
 *
 * Method: a list of constructs; patterns built to be too long, too deep or to multiply; texts on which patterns need
 * exponentially many steps. Each case gives one error line, after few attempts. What is translated is compared with
 * another library in test_pretokenizer.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/text/pretokenizer.h"

enum { N_CUTS_MAX = 4096 };

struct messages {
    unsigned n_errors;
    char last[512];
};

static void message_write(void *user, enum mn_log_level level, const char *line)
{
    struct messages *messages = user;
    if (level == MN_LOG_ERROR)
        messages->n_errors++;
    snprintf(messages->last, sizeof messages->last, "%s", line);
}

static enum mn_status cut_count(void *user, const char *piece, size_t n_bytes)
{
    size_t *n_cuts = user;
    (void)piece;
    assert_true(n_bytes > 0 && ++*n_cuts <= N_CUTS_MAX);
    return MN_OK;
}

static void test_refused_patterns(void **state)
{
    (void)state;
    static const char *const patterns[] = {
        "(a)\\1",
        "\\k<a>",
        "(?<n>a)",
        "(?P<n>a)",
        "(*FAIL)",
        "(*LIMIT_MATCH=4000000000)a",
        "(?C1)a",
        "(?{x})",
        "(?#x)",
        "(?m)a",
        "(?i)a",
        "(?x: a)",
        "(?mi:a)",
        "(?|a|b)",
        "(?R)",
        "(?1)",
        "\\g<1>",
        "\\K",
        "\\G",
        "\\R",
        "\\X",
        "\\C",
        "\\N",
        "\\O",
        "\\Q",
        "\\cA",
        "\\M-a",
        "\\0",
        "\\101",
        "\\pL",
        "\\p{Foo}",
        "\\p{L",
        "\\p{L1}",
        "[[:alpha:]]",
        "[a[b]]",
        "[a&&b]",
        "[]a]",
        "[^]",
        "[",
        "[a",
        "[a-",
        "[z-a]",
        "[\\d-z]",
        "[a-\\d]",
        "[a-c-e]",
        "[--a]",
        "[\\S\\n]",
        "[\\W]",
        "a**",
        "a{2}{3}",
        "a{2}?",
        "a{1,2}+",
        "a{3,2}",
        "a{1001}",
        "a{99999999999}",
        "*a",
        "(?:+)",
        "^*",
        "(?=a)*",
        "\\b+",
        "a)",
        "(a",
        "((",
        "\\",
        "\\x",
        "\\x{",
        "\\x{}",
        "\\x{110000}",
        "\\x{d800}",
        "\\x80",
        "\\u12",
        "(?i:\xc3\x9f)",
        "(?i:ss)",
        "(?i:Fi)",
        "(?i:\\p{Lu})",
        "(?i:[\\w])",
        "(?<=a+)b",
        "\xff",
        "a\xc3",
    };
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        struct messages messages = {0};
        const struct mn_log log = {message_write, &messages};
        struct pretokenizer p;
        enum mn_status status = pretokenizer_from_pattern(&p, "tokenizer.json", patterns[i], strlen(patterns[i]), &log);
        if (status != MN_ERR_UNSUPPORTED || messages.n_errors != 1)
            fail_msg("pattern '%s': status %d, %u messages", patterns[i], (int)status, messages.n_errors);
        assert_non_null(strstr(messages.last, "tokenizer.json: key 'pre_tokenizer': pattern"));
        pretokenizer_destroy(&p);
    }
}

static char *repeated(const char *text, size_t times)
{
    size_t n = strlen(text);
    char *out = malloc(n * times + 1);
    assert_non_null(out);
    for (size_t i = 0; i < times; i++)
        memcpy(out + i * n, text, n);
    out[n * times] = 0;
    return out;
}

static void test_pattern_sizes(void **state)
{
    (void)state;
    struct messages messages = {0};
    const struct mn_log log = {message_write, &messages};
    struct pretokenizer p;

    char *too_long = repeated("a", MATCHER_PATTERN_BYTES_MAX + 1);
    assert_int_equal(pretokenizer_from_pattern(&p, "f", too_long, strlen(too_long), &log), MN_ERR_FORMAT);
    assert_non_null(strstr(messages.last, "limit 8192"));
    assert_int_equal(pretokenizer_from_pattern(&p, "f", too_long, MATCHER_PATTERN_BYTES_MAX, &log), MN_OK);
    pretokenizer_destroy(&p);
    free(too_long);

    /* Deep nesting, and repeats that multiply to a billion items. */
    char *deep = repeated("(", 100);
    assert_int_equal(pretokenizer_from_pattern(&p, "f", deep, strlen(deep), &log), MN_ERR_UNSUPPORTED);
    free(deep);
    const char *bomb = "(?:(?:(?:a{1000}){1000}){1000}){1000}";
    assert_int_equal(pretokenizer_from_pattern(&p, "f", bomb, strlen(bomb), &log), MN_ERR_UNSUPPORTED);
    char *words = repeated("\\b", 2000);
    assert_int_equal(pretokenizer_from_pattern(&p, "f", words, strlen(words), &log), MN_ERR_UNSUPPORTED);
    free(words);
    assert_int_equal(messages.n_errors, 4);
    pretokenizer_destroy(NULL);
    p = (struct pretokenizer){0};
    pretokenizer_destroy(&p);
}

/* Exponential and deep patterns reach a limit and say so; the number of attempts stays small. */
static void test_pattern_blow_up(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *unit;
        size_t times;
        const char *message;
    } cases[] = {
        {"(?:a+)+$", "a", 0, NULL},
        {"(?:a|a)+b", "a", 40, "its limit on steps"},
        {"(?:a+)+b", "a", 40, "its limit on steps"},
        {"(?:a*)*b", "a", 64, "its limit on steps"},
        {"(?:\\w*\\s*)*!", "ab ", 30, "its limit on steps"},
        {"(?:a|b)+", "ab", 1000000, "its limit on"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct messages messages = {0};
        const struct mn_log log = {message_write, &messages};
        struct pretokenizer p;
        struct pretokenizer_run run;
        size_t n_cuts = 0;
        char *text = repeated(cases[i].unit, cases[i].times);
        assert_int_equal(pretokenizer_from_pattern(&p, "f", cases[i].pattern, strlen(cases[i].pattern), &log), MN_OK);
        assert_int_equal(pretokenizer_run_init(&run, &p, strlen(text), &log), MN_OK);
        enum mn_status status = pretokenizer_split(&run, text, strlen(text), cut_count, &n_cuts, &log);
        assert_int_equal(status, cases[i].message ? MN_ERR_MEMORY : MN_OK);
        assert_int_equal(messages.n_errors, cases[i].message ? 1 : 0);
        if (cases[i].message && !strstr(messages.last, cases[i].message))
            fail_msg("pattern '%s': '%s'", cases[i].pattern, messages.last);
        assert_true(run.matcher.n_operations <= 100);
        pretokenizer_run_finish(&run);
        pretokenizer_destroy(&p);
        free(text);
    }
}

/* Each attempt stays under the limits but there are many: the budget of the text ends it. */
static void test_attempts_are_budgeted(void **state)
{
    (void)state;
    struct messages messages = {0};
    const struct mn_log log = {message_write, &messages};
    struct pretokenizer p;
    struct pretokenizer_run run;
    size_t n_cuts = 0;
    const char *pattern = "(?:a|a){1,15}b";
    char *text = repeated("a", 2000);
    assert_int_equal(pretokenizer_from_pattern(&p, "f", pattern, strlen(pattern), &log), MN_OK);
    assert_int_equal(pretokenizer_run_init(&run, &p, strlen(text), &log), MN_OK);
    assert_int_equal(pretokenizer_split(&run, text, strlen(text), cut_count, &n_cuts, &log), MN_ERR_MEMORY);
    assert_int_equal(messages.n_errors, 1);
    assert_true(run.matcher.n_operations < 10000);
    pretokenizer_run_finish(&run);
    pretokenizer_destroy(&p);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_patterns),
        cmocka_unit_test(test_pattern_sizes),
        cmocka_unit_test(test_pattern_blow_up),
        cmocka_unit_test(test_attempts_are_budgeted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
