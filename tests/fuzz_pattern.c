/* Goal: no pattern of a tokenizer.json makes matching crash, leak or take more than its share of steps, and what is
 * matched is what PCRE2 matches.
 *
 * Method: libFuzzer target. The first line is the pattern, the rest a text. A refusal is one line. An accepted pattern
 * cuts the text into pieces that make it up, or reaches a limit; the steps are bounded by the length of the text. At
 * every character of a valid text the machine (regex.h) and PCRE2 with the same translated pattern find the same match,
 * where PCRE2 does not reach limits of its own. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "engine/text/pattern.h"
#include "engine/text/pretokenizer.h"
#include "tests/fuzz_tokens.h"

enum { TEXT_MAX = 64, ORACLE_STEPS = 20000, OUR_STEPS = 2000000 };

struct piece_state {
    const char *text;
    size_t at;
};

static enum mn_status piece_check(void *user, const char *piece, size_t n_bytes)
{
    struct piece_state *state = user;
    CHECK(n_bytes && piece == state->text + state->at);
    state->at += n_bytes;
    return MN_OK;
}

static bool is_utf8(const char *text, size_t n)
{
    uint32_t *ids;
    size_t n_ids;
    const enum mn_status status = tokenizer_encode(some_tokenizer(0), text, n, ENCODE_SPECIAL, &ids, &n_ids, NULL);
    free(ids);
    return status != MN_ERR_USAGE;
}

static void split_check(const struct pretokenizer *pretokenizer, const char *text, size_t n)
{
    struct pretokenizer_run run;
    struct piece_state state = {text, 0};
    unsigned n_messages = 0;
    const struct mn_log log = {message_count, &n_messages};
    pretokenizer_run_init(&run, pretokenizer, n);
    run.matcher.regex.max_steps = OUR_STEPS;
    const enum mn_status status = pretokenizer_split(&run, text, n, piece_check, &state, &log);
    CHECK(n_messages == (status != MN_OK) && (status || state.at == n));
    CHECK(status == MN_OK || status == MN_ERR_UNSUPPORTED);
    CHECK(run.matcher.regex.n_steps <= OUR_STEPS + TEXT_MAX + 4096 * CHARSET_PAGE);
    pretokenizer_run_finish(&run);
}

/* The same translated pattern, at every character. */
static void compare(const char *translated, const char *text, size_t n)
{
    int error;
    PCRE2_SIZE offset;
    const char *why;
    struct regex regex;
    struct regex_run run = {.max_steps = OUR_STEPS};
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)translated, strlen(translated),
                                     PCRE2_UTF | PCRE2_MULTILINE | PCRE2_ANCHORED | PCRE2_NO_START_OPTIMIZE, &error,
                                     &offset, NULL);
    CHECK(context && match);
    pcre2_set_match_limit(context, ORACLE_STEPS);
    if (code && regex_compile(&regex, translated, &why) == MN_OK) {
        for (size_t at = 0; at <= n; at++) {
            size_t end = SIZE_MAX;
            if (at < n && ((unsigned char)text[at] & 0xc0) == 0x80)
                continue;
            const enum regex_result ours = regex_match(&regex, &run, text, n, at, &end);
            if (ours != REGEX_FOUND && ours != REGEX_NONE)
                break;
            const int theirs = pcre2_match(code, (PCRE2_SPTR)text, n, at, 0, match, context);
            if (theirs < 0 && theirs != PCRE2_ERROR_NOMATCH)
                break;
            CHECK((ours == REGEX_FOUND) == (theirs > 0));
            CHECK(theirs < 0 || end == pcre2_get_ovector_pointer(match)[1]);
        }
        regex_destroy(&regex);
    }
    regex_run_finish(&run);
    pcre2_code_free(code);
    pcre2_match_data_free(match);
    pcre2_match_context_free(context);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *pattern = (const char *)data, *line_end = n ? memchr(pattern, '\n', n) : NULL, *why = NULL;
    const size_t n_pattern = line_end ? (size_t)(line_end - pattern) : n;
    const char *text = pattern + (line_end ? n_pattern + 1 : n);
    size_t n_text = n - (size_t)(text - pattern), offset;
    struct pretokenizer pretokenizer;
    unsigned n_messages = 0;
    const struct mn_log log = {message_count, &n_messages};
    n_text = n_text < TEXT_MAX ? n_text : TEXT_MAX;
    const enum mn_status status = pretokenizer_from_pattern(&pretokenizer, "fuzz", pattern, n_pattern, &log);
    CHECK(n_messages == (status != MN_OK));
    if (!status && is_utf8(text, n_text)) {
        char *translated = pattern_translate(pattern, n_pattern, &why, &offset);
        CHECK(translated);
        split_check(&pretokenizer, text, n_text);
        compare(translated, text, n_text);
        free(translated);
    }
    pretokenizer_destroy(&pretokenizer);
    return 0;
}
