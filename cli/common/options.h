/* Options of the command line: a subcommand is a `struct command`, one option table that gives its --help, its man
 * page, its completion, its defaults and its parser, and a function that gets the parsed values. Behind a command's own
 * options come those of all commands: --quiet, --verbose, --help.
 *
 * Owns: parsing. Never: knows what an option means, reads the environment.
 * Thread-safety: none; one thread. */
#ifndef MUNINN_CLI_COMMON_OPTIONS_H
#define MUNINN_CLI_COMMON_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/base/status.h"

enum { CLI_LIST_MAX = 16 }; /* times a repeatable option may be given */

enum option_kind {
    OPTION_FLAG,   /* bool */
    OPTION_U32,    /* uint32_t in [min, max] */
    OPTION_U64,    /* uint64_t */
    OPTION_FLOAT,  /* float in [min, max] */
    OPTION_TEXT,   /* const char *, into argv */
    OPTION_CHOICE, /* const char *, one of `choices` */
    OPTION_LIST,   /* struct text_list: repeatable, not empty */
    OPTION_IDS,    /* struct id_list: 1,2,3 */
    OPTION_GROUP,  /* no option: `help` heads those behind it */
};

/* Heads the options behind it, in --help and in the man page. */
#define OPTIONS_GROUP(heading) \
    { \
        .kind = OPTION_GROUP, .help = heading \
    }

struct text_list {
    const char *items[CLI_LIST_MAX];
    uint32_t n;
};

struct id_list {
    uint32_t *ids; /* [n], owned; NULL: the option was not given */
    uint32_t n;
};

/* Words that are no options, before, between or behind them; into argv. */
struct operand_list {
    char *const *items;
    uint32_t n;
};

struct command_option {
    const char *name; /* long name, without dashes */
    char letter;      /* short name, or 0 */
    enum option_kind kind;
    size_t offset;                            /* of the value inside the command's values struct */
    const char *argument;                     /* how the help calls it; NULL for flags and choices */
    const char *value;                        /* default, parsed like an argument; NULL: zero */
    const char *shown;                        /* default in words, where it depends on the model or the machine */
    const char *choices;                      /* "text|json" */
    const char *(*choice_at)(uint32_t index); /* instead: the names of a table, NULL behind the last */
    /* Where a value may also be a name with exceptions, NAME+..: says whether it is one. */
    enum mn_status (*check)(const char *text, const struct mn_log *log);
    bool strategies; /* the choices are the strategies' names; the help lists them */
    double min, max;
    const char *help;
};

/* Options that several commands have, by the offset of their value. */
#define MODEL_OPTION(at) \
    { \
        .name = "model", .letter = 'm', .kind = OPTION_TEXT, .offset = at, .argument = "DIR", \
        .shown = "$MUNINN_MODEL, else raven-deep", .help = "model folder" \
    }
#define BEYOND_OPTION(at) \
    { \
        .name = "beyond-trained-depth", .kind = OPTION_FLAG, .offset = at, \
        .help = "allow more steps than the model was made for: what comes out is not what it was trained to say" \
    }
#define DEVICE_OPTION(at) \
    { \
        .name = "device", .kind = OPTION_TEXT, .offset = at, .argument = "D", .shown = "the best one", \
        .help = "number or part of a name, see `muninn devices`" \
    }
#define NUM_STEPS_OPTION(at) \
    { \
        .name = "num-steps", .kind = OPTION_U32, .offset = at, .argument = "R", \
        .shown = "the model's mean_recurrence", .min = 1, .max = 4096, .help = "recurrence steps" \
    }
#define WEIGHT_TYPE_OPTION(at) \
    { \
        .name = "weight-type", .kind = OPTION_CHOICE, .offset = at, .choice_at = mn_weight_type_at, \
        .check = mn_weight_type_check, .shown = "as stored", \
        .help = "convert the matrices; TYPE+GROUP=TYPE makes exceptions, docs/quantisation.md" \
    }
#define MATRIX_UNITS_OPTION(at) \
    { \
        .name = "matrix-units", .kind = OPTION_CHOICE, .offset = at, .choices = "auto|on|off", .value = "off", \
        .help = "matmuls on a GPU's matrix units; auto: where a trial on the device says that they are faster" \
    }
#define KV_TYPE_OPTION(at, value_, help_) \
    { \
        .name = "kv-type", .kind = OPTION_CHOICE, .offset = at, .choice_at = mn_kv_type_at, .value = value_, \
        .help = help_ \
    }

/* An option that has an effect only beside another one; without it, it is refused. */
struct option_rule {
    const char *option;  /* names without dashes */
    const char *with;    /* these must ask for something, one of "a|b": a text, a number other than 0, a flag */
    const char *without; /* or: none of these may */
    bool (*takes)(const char *value); /* `with` is one option with a text, which must be such a one */
};

struct command {
    const char *name, *summary, *synopsis, *example;
    const char *notes; /* paragraphs behind the options; may be NULL */
    const struct command_option *options;
    size_t n_options, values_bytes;
    const struct option_rule *rules; /* may be NULL */
    size_t n_rules;
    bool takes_operands;
    size_t operands_offset;      /* of the struct operand_list in the values, where it does */
    const char *operand_choices; /* "a|b", or "COMMAND" for the commands' names; NULL: they are files */
    enum mn_status (*run)(const void *values, const struct mn_log *log);
};

/* What every command takes. */
struct common_options {
    bool quiet, verbose, help;
};

/* The command's options and the common ones, groups among them; NULL behind the last. */
const struct command_option *option_at(const struct command *command, size_t index);

/* Parses argv[1..] into `values` (zeroed by the caller) and `common`. When --help was asked for, the rest is not looked
 * at. MN_ERR_USAGE names option and value. */
enum mn_status options_parse(const struct command *command, int argc, char **argv, void *values,
                             struct common_options *common, const struct mn_log *log);
/* Frees what the parser allocated. */
void options_free(const struct command *command, void *values);

#endif
