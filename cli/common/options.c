/* Options: one table per subcommand drives getopt_long, the defaults and the help. */
#include "cli/common/options.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rows/lists.h"
#include "engine/files/lines.h"

enum {
    OPTIONS_MAX = 64,
    OPTION_CODE = 1000
}; /* getopt code of table entry i: OPTION_CODE + i, above every character */

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

/* "ar|draft-verify|..." */
static void list_strategies(char *text, size_t n_bytes)
{
    *text = '\0';
    for (uint32_t i = 0; mn_strategy_at(i) && strlen(text) < n_bytes; i++)
        snprintf(text + strlen(text), n_bytes - strlen(text), "%s%s", i ? "|" : "", mn_strategy_at(i)->name);
}

static enum mn_status store_choice(const struct command_option *option, const char *text, const char **at,
                                   const struct mn_log *log)
{
    char names[256];
    if (option->strategies)
        list_strategies(names, sizeof names);
    const char *choices = option->strategies ? names : option->choices;
    if (!is_choice(choices, text))
        return log_fail(log, MN_ERR_USAGE, "--%s %s: must be one of %s", option->name, text, choices);
    *at = text;
    return MN_OK;
}

static enum mn_status refuse_range(const struct command_option *option, const char *text, const char *what,
                                   const struct mn_log *log)
{
    return log_fail(log, MN_ERR_USAGE, "--%s %s: must be %s from %.10g to %.10g", option->name, text, what, option->min,
                    option->max);
}

static enum mn_status store(const struct command_option *option, const char *text, void *values,
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
    }
    return MN_ERR_USAGE;
}

/* The tables in getopt's form. `letters` begins with "+", the first operand ends the options (none is allowed), or "-",
 * operands come as code 1 in their order; then ":", a missing argument is told from an unknown option. */
static void build_getopt(const struct command *command, struct option *longs, char *letters)
{
    size_t n_letters = 0;
    assert(command->n_options <= OPTIONS_MAX);
    letters[n_letters++] = command->takes_operands ? '-' : '+';
    letters[n_letters++] = ':';
    letters[n_letters++] = 'h';
    for (size_t i = 0; i < command->n_options; i++) {
        const struct command_option *option = &command->options[i];
        bool argument = option->kind != OPTION_FLAG;
        longs[i] = (struct option){option->name, argument ? required_argument : no_argument, NULL,
                                   OPTION_CODE + (int)i};
        if (option->letter)
            letters[n_letters++] = option->letter;
        if (option->letter && argument)
            letters[n_letters++] = ':';
    }
    longs[command->n_options] = (struct option){"help", no_argument, NULL, 'h'};
    longs[command->n_options + 1] = (struct option){0};
    letters[n_letters] = '\0';
}

static const struct command_option *option_of_code(const struct command *command, int code)
{
    if (code >= OPTION_CODE)
        return &command->options[code - OPTION_CODE];
    for (size_t i = 0; i < command->n_options; i++)
        if (command->options[i].letter == code)
            return &command->options[i];
    return NULL;
}

/* getopt_long takes any unambiguous beginning of a name; scripts written with one would break when an option is
 * added. */
static bool is_abbreviated(const char *word, const char *name)
{
    return !strncmp(word, "--", 2) && (strncmp(word + 2, name, strlen(name)) != 0 ||
                                       (word[2 + strlen(name)] != '\0' && word[2 + strlen(name)] != '='));
}

enum mn_status options_parse(const struct command *command, int argc, char **argv, void *values, bool *help,
                             const struct mn_log *log)
{
    struct option longs[OPTIONS_MAX + 2];
    char letters[2 * OPTIONS_MAX + 4];
    enum mn_status status = MN_OK;
    int n_operands = 0;
    *help = false;
    for (size_t i = 0; i < command->n_options && !status; i++)
        if (command->options[i].value)
            status = store(&command->options[i], command->options[i].value, values, log);
    build_getopt(command, longs, letters);
    opterr = 0;
    optind = 1;
    while (!status) {
        const char *word = optind < argc ? argv[optind] : "";
        int code = getopt_long(argc, argv, letters, longs, NULL);
        if (code == -1)
            break;
        if (code == 1) {
            argv[++n_operands] = optarg; /* words before it are done with */
            continue;
        }
        if (code == '?')
            return log_fail(log, MN_ERR_USAGE, "unknown or misused option '%s'; see `muninn %s --help`", word,
                            command->name);
        if (code == ':')
            return log_fail(log, MN_ERR_USAGE, "option '%s' needs a value; see `muninn %s --help`", word,
                            command->name);
        if (is_abbreviated(word, code == 'h' ? "help" : option_of_code(command, code)->name))
            return log_fail(log, MN_ERR_USAGE,
                            "unknown option '%s' (names may not be shortened); see `muninn %s --help`", word,
                            command->name);
        if (code == 'h') {
            *help = true;
            return MN_OK;
        }
        status = store(option_of_code(command, code), optarg, values, log);
    }
    while (command->takes_operands && optind < argc) /* those behind "--" */
        argv[++n_operands] = argv[optind++];
    if (!status && command->takes_operands)
        *(struct operand_list *)(void *)((char *)values + command->operands_offset) = (struct operand_list){
            argv + 1, (uint32_t)n_operands};
    else if (!status && optind < argc)
        return log_fail(log, MN_ERR_USAGE, "unexpected argument '%s'; see `muninn %s --help`", argv[optind],
                        command->name);
    return status;
}

void options_free(const struct command *command, void *values)
{
    for (size_t i = 0; i < command->n_options; i++)
        if (command->options[i].kind == OPTION_IDS)
            free(((struct id_list *)(void *)((char *)values + command->options[i].offset))->ids);
}

static void print_strategies(FILE *stream)
{
    const struct mn_strategy *strategy;
    for (uint32_t i = 0; (strategy = mn_strategy_at(i)); i++) {
        fprintf(stream, "  %-34s   %-12s  %s", "", strategy->name, strategy->help);
        if (strategy->usual_inflight)
            fprintf(stream, "; W is %u unless given", strategy->usual_inflight);
        fputc('\n', stream);
    }
}

void options_print_help(const struct command *command, FILE *stream)
{
    fprintf(stream, "%s\n\nUsage: muninn %s%s%s\n\nOptions:\n", command->summary, command->name,
            *command->synopsis ? " " : "", command->synopsis);
    for (size_t i = 0; i < command->n_options; i++) {
        const struct command_option *option = &command->options[i];
        const char *shown = option->shown                 ? option->shown
                            : option->value               ? option->value
                            : option->kind == OPTION_FLAG ? "off"
                                                          : "none";
        const char *argument = option->argument ? option->argument : option->choices ? option->choices : "";
        char left[64];
        snprintf(left, sizeof left, "%c%c%s --%s %s", option->letter ? '-' : ' ', option->letter ? option->letter : ' ',
                 option->letter ? "," : " ", option->name, argument);
        fprintf(stream, "  %-34s %s [default: %s]\n", left, option->help, shown);
        if (option->strategies)
            print_strategies(stream);
    }
    fprintf(stream, "  %-34s this text\n", "-h, --help");
    if (command->notes)
        fprintf(stream, "\n%s\n", command->notes);
    fprintf(stream, "\nExample:\n  %s\n", command->example);
}
