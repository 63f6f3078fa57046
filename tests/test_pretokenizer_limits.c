/* Goal: the pre-tokenizer refuses every construct that it does not translate exactly, says where it stands, and ends
 * with an error on hostile patterns and texts.
 *
 * Method: a list of constructs; patterns built to be too long, too deep or to multiply; texts on which patterns need
 * exponentially many steps. Each case gives one error line, after a bounded number of steps. What is translated is
 * compared with another library in test_pretokenizer.c. */
#include <inttypes.h>
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
    assert_true(n_bytes > 0);
    ++*n_cuts;
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

/* What a split does with a text: `*n_steps` of the matcher, and what it says. */
static enum mn_status split_count(const char *pattern, const char *text, size_t n_bytes, uint64_t *n_steps,
                                  uint64_t *max_steps, struct messages *messages)
{
    const struct mn_log log = {message_write, messages};
    struct pretokenizer p;
    struct pretokenizer_run run;
    size_t n_cuts = 0;
    *messages = (struct messages){0};
    if (pretokenizer_from_pattern(&p, "f", pattern, strlen(pattern), &log))
        fail_msg("pattern '%s': %s", pattern, messages->last);
    pretokenizer_run_init(&run, &p, n_bytes);
    const enum mn_status status = pretokenizer_split(&run, text, n_bytes, cut_count, &n_cuts, &log);
    *n_steps = run.matcher.regex.n_steps;
    *max_steps = run.matcher.regex.max_steps;
    pretokenizer_run_finish(&run);
    pretokenizer_destroy(&p);
    return status;
}

/* Patterns that take exponentially or quadratically many steps reach the limit of the text, which grows with its length
 * alone, and say so with their own name; also where no step is a branch and all are characters of one scan. */
static void test_pattern_blow_up(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *unit;
        size_t times;
        const char *message;
    } cases[] = {
        {"(?:a+)+$", "a", 0, NULL},
        {"(?:a|a)+b", "a", 40, "steps"},
        {"(?:a+)+b", "a", 40, "steps"},
        {"(?:a*)*b", "a", 64, "steps"},
        {"(?:\\w*\\s*)*!", "ab ", 30, "steps"},
        {"(?:a|a){1,15}b", "a", 2000, "steps"},
        {"(?:a|b)+", "ab", 3000000, "MiB of memory"},
        {"a+b|.", "a", 100000, "steps"},
        {"a++b|.", "a", 100000, "steps"},
        {"a*?b|.", "a", 100000, "steps"},
        {"(?>a+)b|.", "a", 100000, "steps"},
        {"(?=(a+))b|.", "a", 100000, "steps"},
        {"(?!a+b)a", "a", 100000, "steps"},
        {".*b|.", "a", 100000, "steps"},
        {"(?i:a+b)|.", "aA", 50000, "steps"},
        {"\\p{L}+!|.", "\xe4\xb8\xad", 100000, "steps"},
        {"\\s+\\S\\S|\\s", " ", 100000, "steps"},
        {"[^b]+b|a", "a", 100000, "steps"},
        {"(?:aa)+b|.", "a", 100000, "steps"},
        {"a{1000}b|.", "a", 100000, "steps"},
        {"(?:(?:a{100}){100}b)|.", "a", 100000, "steps"},
        {"(?<=a{1000})b|.", "a", 100000, "steps"},
        {"$|a+$", "a", 100000, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct messages messages;
        uint64_t n_steps, max_steps;
        char *text = repeated(cases[i].unit, cases[i].times);
        const size_t n = strlen(text);
        enum mn_status status = split_count(cases[i].pattern, text, n, &n_steps, &max_steps, &messages);
        if (status != (cases[i].message ? MN_ERR_UNSUPPORTED : MN_OK))
            fail_msg("pattern '%s': status %d after %" PRIu64 " steps", cases[i].pattern, (int)status, n_steps);
        assert_int_equal(messages.n_errors, cases[i].message ? 1 : 0);
        if (cases[i].message && (!strstr(messages.last, cases[i].message) || !strstr(messages.last, cases[i].pattern)))
            fail_msg("pattern '%s': '%s'", cases[i].pattern, messages.last);
        /* The last scan may pass the limit by the length of the text. */
        assert_true(max_steps <= 20000000 + 400 * (uint64_t)n && n_steps <= max_steps + n);
        free(text);
    }
}

/* What patterns of real tokenizers take grows with the text and stays far below the limit, also on texts that are one
 * long run of something. */
static void test_published_patterns_are_linear(void **state)
{
    (void)state;
    static const char *const patterns[] = {
        /* GPT-2 */
        "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
        /* Llama 3 */
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
        "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
        /* GPT-4o */
        "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"
        "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}{1,3}|"
        " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    };
    static const char *const units[] = {" ",           "\n", " \n", "a",        "A",        "aA",           "1",
                                        "!",           "! ", "'",   "\xcc\x81", " hello's", "\xe4\xb8\xad", "\t x",
                                        "\xc3\xa9 \n", "/"};
    enum { N = 100000 };
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        for (size_t k = 0; k < sizeof units / sizeof *units; k++) {
            struct messages messages;
            uint64_t n_steps, max_steps;
            char *text = repeated(units[k], N / strlen(units[k]));
            assert_int_equal(split_count(patterns[i], text, strlen(text), &n_steps, &max_steps, &messages), MN_OK);
            if (n_steps > UINT64_C(60) * N)
                fail_msg("pattern %zu on '%s': %.1f steps per byte", i, units[k], (double)n_steps / N);
            free(text);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_patterns),
        cmocka_unit_test(test_pattern_sizes),
        cmocka_unit_test(test_pattern_blow_up),
        cmocka_unit_test(test_published_patterns_are_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
