/* Options: one table per subcommand drives getopt_long and the defaults. */
#include "cli/common/options.h"

#include <assert.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rows/nearest.h"
#include "cli/common/option_rules.h"
#include "cli/common/option_values.h"

enum {
    OPTIONS_MAX = 80, /* of a command, with groups and the common ones */
    OPTION_CODE = 1000
}; /* getopt code of table entry i: OPTION_CODE + i, above every character */

static const struct command_option common_table[] = {
    OPTIONS_GROUP("Every command"),
    {.name = "quiet",
     .letter = 'q',
     .kind = OPTION_FLAG,
     .offset = offsetof(struct common_options, quiet),
     .help = "say nothing on standard error but errors"},
    {.name = "verbose",
     .letter = 'v',
     .kind = OPTION_FLAG,
     .offset = offsetof(struct common_options, verbose),
     .help = "say more there: where the model was found, the device, what took how long"},
    {.name = "help",
     .letter = 'h',
     .kind = OPTION_FLAG,
     .offset = offsetof(struct common_options, help),
     .help = "this text"},
};

const struct command_option *option_at(const struct command *command, size_t index)
{
    const size_t n_common = sizeof common_table / sizeof *common_table;
    if (index < command->n_options)
        return &command->options[index];
    return index - command->n_options < n_common ? &common_table[index - command->n_options] : NULL;
}

/* A parse under way. */
struct parse {
    const struct command *command;
    void *values;
    struct common_options *common;
    bool given[OPTIONS_MAX];
    struct option longs[OPTIONS_MAX + 1];
    char letters[2 * OPTIONS_MAX + 3];
    const struct mn_log *log;
};

static enum mn_status parse_store(struct parse *parse, size_t index, const char *text)
{
    const bool common = index >= parse->command->n_options;
    parse->given[index] = true;
    return option_store(option_at(parse->command, index), text, common ? (void *)parse->common : parse->values,
                        parse->log);
}

static enum mn_status parse_defaults(struct parse *parse)
{
    enum mn_status status = MN_OK;
    for (size_t i = 0; i < parse->command->n_options && !status; i++)
        if (parse->command->options[i].value)
            status = option_store(&parse->command->options[i], parse->command->options[i].value, parse->values,
                                  parse->log);
    return status;
}

/* The tables in getopt's form. `letters` begins with "+", the first operand ends the options (none is allowed), or "-",
 * operands come as code 1 in their order; then ":", a missing argument is told from an unknown option. */
static void build_getopt(struct parse *parse)
{
    const struct command_option *option;
    size_t n_letters = 0, n_longs = 0;
    parse->letters[n_letters++] = parse->command->takes_operands ? '-' : '+';
    parse->letters[n_letters++] = ':';
    for (size_t i = 0; (option = option_at(parse->command, i)); i++) {
        const bool argument = option->kind != OPTION_FLAG;
        assert(i < OPTIONS_MAX);
        if (option->kind == OPTION_GROUP)
            continue;
        parse->longs[n_longs++] = (struct option){option->name, argument ? required_argument : no_argument, NULL,
                                                  OPTION_CODE + (int)i};
        if (option->letter)
            parse->letters[n_letters++] = option->letter;
        if (option->letter && argument)
            parse->letters[n_letters++] = ':';
    }
    parse->longs[n_longs] = (struct option){0};
    parse->letters[n_letters] = '\0';
}

static size_t index_of_code(const struct command *command, int code)
{
    size_t index = 0;
    if (code >= OPTION_CODE)
        return (size_t)(code - OPTION_CODE);
    while (option_at(command, index)->letter != code)
        index++;
    return index;
}

/* getopt_long takes any unambiguous beginning of a name; scripts written with one would break when an option is
 * added. */
static bool is_abbreviated(const char *word, const char *name)
{
    return !strncmp(word, "--", 2) && (strncmp(word + 2, name, strlen(name)) != 0 ||
                                       (word[2 + strlen(name)] != '\0' && word[2 + strlen(name)] != '='));
}

/* What getopt does not know, or knows and finds misused: a value for a flag. */
static enum mn_status refuse_unknown(const struct parse *parse, const char *word)
{
    char name[NEAREST_WORD_MAX + 1] = "", hint[NEAREST_HINT_BYTES];
    struct nearest nearest = {.word = name};
    const struct command_option *option;
    const size_t n = strncmp(word, "--", 2) ? 0 : strcspn(word + 2, "=");
    if (n < sizeof name) {
        memcpy(name, word + 2 * (n > 0), n);
        name[n] = '\0';
    }
    for (size_t i = 0; (option = option_at(parse->command, i)); i++) {
        if (option->kind == OPTION_GROUP)
            continue;
        if (option->kind == OPTION_FLAG && !strcmp(option->name, name))
            return log_fail(parse->log, MN_ERR_USAGE, "option '%s': --%s takes no value", word, name);
        nearest_offer(&nearest, option->name, strlen(option->name));
    }
    return log_fail(parse->log, MN_ERR_USAGE, "unknown option '%s'%s; see `muninn %s --help`", word,
                    nearest_hint(&nearest, "--", hint), parse->command->name);
}

/* Code and word as getopt left them; *stop when nothing is to be read behind it. */
static enum mn_status take_option(struct parse *parse, int code, const char *word, bool *stop)
{
    const char *command = parse->command->name;
    *stop = true;
    if (code == '?')
        return refuse_unknown(parse, word);
    if (code == ':')
        return log_fail(parse->log, MN_ERR_USAGE, "option '%s' needs a value; see `muninn %s --help`", word, command);
    const size_t index = index_of_code(parse->command, code);
    const char *name = option_at(parse->command, index)->name;
    if (is_abbreviated(word, name))
        return log_fail(parse->log, MN_ERR_USAGE,
                        "unknown option '%s' (names may not be shortened: --%s); see `muninn %s --help`", word, name,
                        command);
    enum mn_status status = parse_store(parse, index, optarg);
    *stop = status || parse->common->help;
    return status;
}

static enum mn_status take_operands(struct parse *parse, int argc, char **argv, int n_operands)
{
    const struct command *command = parse->command;
    while (command->takes_operands && optind < argc) /* those behind "--" */
        argv[++n_operands] = argv[optind++];
    if (command->takes_operands)
        *(struct operand_list *)(void *)((char *)parse->values + command->operands_offset) = (struct operand_list){
            argv + 1, (uint32_t)n_operands};
    else if (optind < argc)
        return log_fail(parse->log, MN_ERR_USAGE, "unexpected argument '%s'; see `muninn %s --help`", argv[optind],
                        command->name);
    return MN_OK;
}

enum mn_status options_parse(const struct command *command, int argc, char **argv, void *values,
                             struct common_options *common, const struct mn_log *log)
{
    struct parse parse = {.command = command, .values = values, .common = common, .log = log};
    int n_operands = 0;
    bool stop = false;
    *common = (struct common_options){0};
    enum mn_status status = parse_defaults(&parse);
    build_getopt(&parse);
    opterr = 0;
    optind = 1;
    while (!status && !stop) {
        const char *word = optind < argc ? argv[optind] : "";
        const int code = getopt_long(argc, argv, parse.letters, parse.longs, NULL);
        if (code == -1)
            break;
        if (code == 1)
            argv[++n_operands] = optarg; /* words before it are done with */
        else
            status = take_option(&parse, code, word, &stop);
    }
    if (status || stop)
        return status;
    status = take_operands(&parse, argc, argv, n_operands);
    if (!status && common->quiet && common->verbose)
        status = log_fail(log, MN_ERR_USAGE, "--quiet and --verbose exclude each other");
    return status ? status : option_rules_check(command, values, parse.given, log);
}

void options_free(const struct command *command, void *values)
{
    for (size_t i = 0; i < command->n_options; i++)
        if (command->options[i].kind == OPTION_IDS)
            free(((struct id_list *)(void *)((char *)values + command->options[i].offset))->ids);
}
