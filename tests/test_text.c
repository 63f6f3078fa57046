/* Goal: what a terminal would act upon is shown and not sent, and a message is one line of well-formed UTF-8 wherever
 * it is cut; a file gets its bytes. Method: every code point through text_show; the messages that a log receives. */
#include <string.h>

#include "engine/base/text.h"
#include "tests/testing.h"

static size_t encode(char *out, uint32_t code)
{
    if (code < 0x80)
        return out[0] = (char)code, 1;
    if (code < 0x800)
        return out[0] = (char)(0xc0 | code >> 6), out[1] = (char)(0x80 | (code & 0x3f)), 2;
    if (code < 0x10000)
        return out[0] = (char)(0xe0 | code >> 12), out[1] = (char)(0x80 | (code >> 6 & 0x3f)),
               out[2] = (char)(0x80 | (code & 0x3f)), 3;
    return out[0] = (char)(0xf0 | code >> 18), out[1] = (char)(0x80 | (code >> 12 & 0x3f)),
           out[2] = (char)(0x80 | (code >> 6 & 0x3f)), out[3] = (char)(0x80 | (code & 0x3f)), 4;
}

static bool is_shown(uint32_t code)
{
    static const uint32_t marks[] = {0x61c,  0x200e, 0x200f, 0x202a, 0x202b, 0x202c,
                                     0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (code == marks[i])
            return true;
    return code < 0x20 || (code >= 0x7f && code <= 0x9f);
}

static void every_code_point(void **state)
{
    (void)state;
    for (uint32_t code = 0; code <= 0x10ffff; code++) {
        char bytes[4], shown[TEXT_SHOWN_BYTES], wanted[TEXT_SHOWN_BYTES];
        const size_t n = encode(bytes, code);
        if (code >= 0xd800 && code <= 0xdfff)
            continue;
        for (int one_line = 0; one_line < 2; one_line++) {
            assert_int_equal(text_show(shown, bytes, n, one_line), n);
            if (is_shown(code) && (one_line || (code != '\n' && code != '\t'))) {
                snprintf(wanted, sizeof wanted, "\\u%04x", (unsigned)code & 0xffff);
                assert_string_equal(shown, wanted);
            } else {
                assert_int_equal(strlen(shown), n);
                assert_memory_equal(shown, bytes, n);
            }
        }
    }
}

static void bytes_that_are_no_character(void **state)
{
    static const char *const bad[] = {
        "\x9b", "\xff", "\xc2", "\xe2\x80", "\xc0\x9b", "\xed\xa0\x80", "\xf4\x90\x80\x80"};
    char shown[TEXT_SHOWN_BYTES], wanted[TEXT_SHOWN_BYTES];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (size_t at = 0; at < strlen(bad[i]); at++) {
            assert_int_equal(text_show(shown, bad[i] + at, strlen(bad[i]) - at, false), 1);
            snprintf(wanted, sizeof wanted, "\\x%02x", (unsigned char)bad[i][at]);
            assert_string_equal(shown, wanted);
        }
}

static void characters_cut_by_a_chunk(void **state)
{
    static const struct {
        const char *bytes;
        size_t whole;
    } cases[] = {{"", 0},
                 {"a", 1},
                 {"a\xc2", 1},
                 {"a\xc2\x9b", 3},
                 {"a\xe2\x80", 1},
                 {"a\xe2", 1},
                 {"a\xe2\x80\xae", 4},
                 {"\xf0\x9f\x98", 0},
                 {"a\x9b", 2},
                 {"a\xff", 2},
                 {"\xe0\x80", 2},
                 {"\xc2\xc2", 1},
                 {"\xf0\x9f\x98\x80", 4},
                 {"\x80\x80\x80\x80", 4}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(utf8_whole(cases[i].bytes, strlen(cases[i].bytes)), cases[i].whole);
}

static void files_get_their_bytes(void **state)
{
    static const char text[] = "a\x1b[31m\xc2\x9b\xe2\x80\xae\xff\n";
    char read[64];
    FILE *file = tmpfile();
    (void)state;
    assert_non_null(file);
    text_puts(file, text);
    text_write_cell(file, "a|b\n\x1b\xc2\x9b", "|", '\\');
    rewind(file);
    const size_t n = fread(read, 1, sizeof read, file);
    fclose(file);
    assert_int_equal(n, strlen(text) + 8);
    assert_memory_equal(read, text, strlen(text));
    assert_memory_equal(read + strlen(text), "a\\|b  \xc2\x9b", 8);
}

struct line {
    char text[2048];
};

static void keep(void *user, enum mn_log_level level, const char *text)
{
    struct line *line = user;
    (void)level;
    snprintf(line->text, sizeof line->text, "%s", text);
}

static void messages_are_one_line(void **state)
{
    struct line line;
    const struct mn_log log = {.write = keep, .user = &line};
    (void)state;
    log_fail(&log, MN_ERR_FORMAT, "key '%s'", "\x1b[2J\n\t\xc2\x9b\xe2\x80\xae\x9b ä");
    assert_string_equal(line.text, "key '\\u001b[2J\\u000a\\u0009\\u009b\\u202e\\x9b ä'");
}

/* Wherever the cut falls: in characters of two, three and four bytes, and in what is shown of others. */
static void messages_are_cut_between_characters(void **state)
{
    static const char *const units[] = {"ä", "€", "\xf0\x9f\x98\x80", "\xe2\x80\xae", "\x9b"};
    struct line line;
    const struct mn_log log = {.write = keep, .user = &line};
    char text[4096];
    (void)state;
    for (size_t u = 0; u < sizeof units / sizeof *units; u++)
        for (size_t before = 0; before < 8; before++) {
            memset(text, 'x', before);
            text[before] = '\0';
            while (strlen(text) < 2048)
                strcat(text, units[u]);
            log_note(&log, MN_LOG_WARN, "%s", text);
            const size_t n = strlen(line.text);
            assert_true(n > 1000 && n < 1024);
            assert_string_equal(line.text + n - 3, "...");
            for (size_t at = 0; at < n;) {
                size_t bad_bytes;
                const size_t step = utf8_step((const unsigned char *)line.text + at, n - at, &bad_bytes);
                assert_true(step > 0);
                at += step;
            }
        }
    memset(text, 'x', 1020);
    text[1020] = '\0';
    log_note(&log, MN_LOG_WARN, "%s", text); /* what fits is not cut */
    assert_string_equal(line.text, text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point),          cmocka_unit_test(bytes_that_are_no_character),
        cmocka_unit_test(characters_cut_by_a_chunk), cmocka_unit_test(files_get_their_bytes),
        cmocka_unit_test(messages_are_one_line),     cmocka_unit_test(messages_are_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
