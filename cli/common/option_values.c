#include "cli/common/option_values.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rows/lists.h"
#include "engine/files/lines.h"

/* Digits only: strtoull alone would take signs, blanks and 0x. */
static bool parse_u64(const char *text, uint64_t *out)
{
    size_t n = strspn(text, "0123456789");
    if (n == 0 || text[n] != '\0')
        return false;
    errno = 0;
    unsigned long long value = strtoull(text, NULL, 10);
    if (errno == ERANGE || value > UINT64_MAX)
        return false;
    *out = value;
    return true;
}

/* A decimal number: strtod alone would take nan, inf, hexadecimal and blanks. */
static bool parse_double(const char *text, double *out)
{
    char *end;
    if (*text == '\0' || strspn(text, "0123456789+-.eE") != strlen(text))
        return false;
    *out = strtod(text, &end);
    return *end == '\0' && isfinite(*out);
}

static enum mn_status parse_ids(const char *text, struct id_list *list, const struct mn_log *log)
{
    size_t n = 1;
    for (const char *c = text; *c; c++)
        n += *c == ',';
    if (n > IDS_MAX)
        return log_fail(log, MN_ERR_USAGE, "--ids: %zu ids; at most %d", n, IDS_MAX);
    free(list->ids);
    list->n = 0;
    list->ids = malloc(n * sizeof *list->ids);
    if (!list->ids)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for %zu ids", n);
    for (const char *at = text;; at++) {
        char item[24];
        size_t length = strcspn(at, ",");
        uint64_t value = 0;
        if (length < sizeof item) {
            memcpy(item, at, length);
            item[length] = '\0';
        }
        if (length >= sizeof item || !parse_u64(item, &value) || value >= UINT32_MAX)
            return log_fail(log, MN_ERR_USAGE, "--ids: '%.*s' at place %u: must be token ids like 0,301,270",
                            (int)(length < 40 ? length : 40), at, list->n + 1);
        list->ids[list->n++] = (uint32_t)value;
        at += length;
        if (*at == '\0')
            return MN_OK;
    }
}

const char *option_choices(const struct command_option *option, char *text, size_t text_bytes)
{
    if (!option->strategies && !option->choice_at)
        return option->choices;
    join_choices(option->strategies ? strategy_name_at : option->choice_at, text, text_bytes);
    return text;
}

static enum mn_status store_choice(const struct command_option *option, const char *text, const char **at,
                                   const struct mn_log *log)
{
    char names[CHOICES_BYTES];
    const char *choices = option_choices(option, names, sizeof names);
    *at = text;
    if (is_choice(choices, text))
        return MN_OK;
    return option->check && strchr(text, '+') ? option->check(text, log)
                                              : refuse_choice(option->name, text, choices, log);
}

static enum mn_status refuse_range(const struct command_option *option, const char *text, const char *what,
                                   const struct mn_log *log)
{
    return log_fail(log, MN_ERR_USAGE, "--%s %s: must be %s from %.10g to %.10g", option->name, text, what, option->min,
                    option->max);
}

enum mn_status option_store(const struct command_option *option, const char *text, void *values,
                            const struct mn_log *log)
{
    void *at = (char *)values + option->offset;
    uint64_t whole;
    double number;
    switch (option->kind) {
    case OPTION_FLAG: *(bool *)at = true; return MN_OK;
    case OPTION_U32:
        if (!parse_u64(text, &whole) || (double)whole < option->min || (double)whole > option->max)
            return refuse_range(option, text, "a whole number", log);
        *(uint32_t *)at = (uint32_t)whole;
        return MN_OK;
    case OPTION_U64:
        if (!parse_u64(text, (uint64_t *)at))
            return log_fail(log, MN_ERR_USAGE, "--%s %s: must be a whole number from 0 to 18446744073709551615",
                            option->name, text);
        return MN_OK;
    case OPTION_FLOAT:
        if (!parse_double(text, &number) || number < option->min || number > option->max)
            return refuse_range(option, text, "a number", log);
        *(float *)at = (float)number;
        return MN_OK;
    case OPTION_TEXT: *(const char **)at = text; return MN_OK;
    case OPTION_CHOICE: return store_choice(option, text, at, log);
    case OPTION_LIST: {
        struct text_list *list = at;
        if (*text == '\0')
            return log_fail(log, MN_ERR_USAGE, "--%s: must not be empty", option->name);
        if (list->n == CLI_LIST_MAX)
            return log_fail(log, MN_ERR_USAGE, "--%s %s: may be given at most %d times", option->name, text,
                            CLI_LIST_MAX);
        list->items[list->n++] = text;
        return MN_OK;
    }
    case OPTION_IDS: return parse_ids(text, at, log);
    case OPTION_GROUP: break;
    }
    return MN_ERR_USAGE;
}
