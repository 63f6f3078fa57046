#include "bench/rows/lists.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rows/nearest.h"

static enum mn_status refuse(const char *option, const char *piece, size_t n, const char *why, const struct mn_log *log)
{
    return log_fail(log, MN_ERR_USAGE, "--%s: '%.*s': %s", option, (int)(n < 60 ? n : 60), piece, why);
}

static enum mn_status add(const char *option, const char *piece, size_t n, uint64_t value, struct number_list *out,
                          const struct mn_log *log)
{
    for (uint32_t i = 0; i < out->n; i++)
        if (out->values[i] == value)
            return MN_OK;
    if (out->n == LIST_VALUES_MAX)
        return refuse(option, piece, n, "more than 128 values", log);
    out->values[out->n++] = (uint32_t)value;
    return MN_OK;
}

/* Reads digits; false when there are none or too many. */
static bool read_number(const char **at, const char *end, uint64_t *out)
{
    const char *start = *at;
    *out = 0;
    while (*at < end && **at >= '0' && **at <= '9' && *at - start < 10)
        *out = 10 * *out + (uint64_t)(*(*at)++ - '0');
    return *at > start;
}

static enum mn_status add_piece(const char *option, const char *piece, size_t n, uint32_t min, uint32_t max,
                                struct number_list *out, const struct mn_log *log)
{
    static const char form[] = "must be a number, first-last, first-last+step or first-last*factor";
    const char *at = piece, *const end = piece + n;
    uint64_t first, last, by = 1;
    char op = '+';
    if (!read_number(&at, end, &first))
        return refuse(option, piece, n, form, log);
    last = first;
    if (at < end) {
        if (*at++ != '-' || !read_number(&at, end, &last))
            return refuse(option, piece, n, form, log);
        if (at < end) {
            op = *at++;
            if ((op != '+' && op != '*') || !read_number(&at, end, &by) || at < end)
                return refuse(option, piece, n, form, log);
        }
    }
    if (last < first)
        return refuse(option, piece, n, "the last value is below the first", log);
    if ((op == '+' && by < 1) || (op == '*' && (by < 2 || first < 1)))
        return refuse(option, piece, n, "would never reach its end", log);
    if (first < min || last > max)
        return log_fail(log, MN_ERR_USAGE, "--%s: '%.*s': values must be from %" PRIu32 " to %" PRIu32, option,
                        (int)(n < 60 ? n : 60), piece, min, max);
    enum mn_status status = MN_OK;
    for (uint64_t value = first; value <= last && !status; value = op == '+' ? value + by : value * by)
        status = add(option, piece, n, value, out, log);
    return status;
}

enum mn_status parse_numbers(const char *option, const char *text, uint32_t min, uint32_t max, struct number_list *out,
                             const struct mn_log *log)
{
    enum mn_status status = MN_OK;
    out->n = 0;
    for (const char *at = text; !status;) {
        const size_t n = strcspn(at, ",");
        status = add_piece(option, at, n, min, max, out, log);
        at += n;
        if (*at == '\0')
            break;
        at++;
    }
    return status;
}

const char *strategy_name_at(uint32_t index)
{
    const struct mn_strategy *strategy = mn_strategy_at(index);
    return strategy ? strategy->name : NULL;
}

void join_choices(const char *(*at)(uint32_t index), char *text, size_t text_bytes)
{
    size_t n = 0;
    *text = '\0';
    for (uint32_t i = 0; at(i) && n < text_bytes; i++)
        n += (size_t)snprintf(text + n, text_bytes - n, "%s%s", i ? "|" : "", at(i));
}

bool is_choice(const char *choices, const char *word)
{
    const size_t n = strlen(word);
    for (const char *at = choices;; at++) {
        const size_t length = strcspn(at, "|");
        if (length == n && !memcmp(at, word, n))
            return true;
        at += length;
        if (*at == '\0')
            return false;
    }
}

enum mn_status refuse_choice(const char *option, const char *word, const char *choices, const struct mn_log *log)
{
    struct nearest nearest = {.word = word};
    char hint[NEAREST_HINT_BYTES];
    nearest_offer_choices(&nearest, choices);
    return log_fail(log, MN_ERR_USAGE, "--%s %s: must be one of %s%s", option, word, choices,
                    nearest_hint(&nearest, "", hint));
}

enum mn_status parse_words(const char *option, const char *text, const char *choices, struct word_list *out,
                           const struct mn_log *log)
{
    if (strlen(text) >= sizeof out->text)
        return log_fail(log, MN_ERR_USAGE, "--%s: more than %zu bytes", option, sizeof out->text - 1);
    memcpy(out->text, text, strlen(text) + 1);
    out->n = 0;
    for (char *at = out->text; at;) {
        char *const word = at;
        at = strchr(at, ',');
        if (at)
            *at++ = '\0';
        if (*word == '\0')
            return log_fail(log, MN_ERR_USAGE, "--%s %s: an empty word", option, text);
        if (choices && !is_choice(choices, word))
            return refuse_choice(option, word, choices, log);
        bool known = false;
        for (uint32_t i = 0; i < out->n; i++)
            known |= !strcmp(out->words[i], word);
        if (known)
            continue;
        if (out->n == LIST_VALUES_MAX)
            return log_fail(log, MN_ERR_USAGE, "--%s: more than %d words", option, LIST_VALUES_MAX);
        out->words[out->n++] = word;
    }
    return MN_OK;
}
