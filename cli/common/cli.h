/* The command line: what the subcommands share.
 *
 * A subcommand is a `struct command`: one option table that gives its --help, its defaults and its parser, and a
 * function that gets the parsed values. Data goes to stdout, everything else to stderr as `muninn: ...`.
 *
 * Owns: options, the default model, prompts, writing to stdout, the interrupt flag.
 * Never: computes anything; is included by another layer. Environment variables are read here only (MUNINN_MODEL,
 * XDG_CACHE_HOME, HOME, LP_NUM_THREADS).
 * Thread-safety: none; one thread.
 */
#ifndef MUNINN_CLI_COMMON_CLI_H
#define MUNINN_CLI_COMMON_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/files/lines.h"

enum {
    CLI_LIST_MAX = 16, /* times a repeatable option may be given */
    CLI_PATH_BYTES = 4096,
};

/* ---- options.c ---- */

enum option_kind {
    OPTION_FLAG,   /* bool */
    OPTION_U32,    /* uint32_t in [min, max] */
    OPTION_U64,    /* uint64_t */
    OPTION_FLOAT,  /* float in [min, max] */
    OPTION_TEXT,   /* const char *, into argv */
    OPTION_CHOICE, /* const char *, one of `choices` */
    OPTION_LIST,   /* struct text_list: repeatable, not empty */
    OPTION_IDS,    /* struct id_list: 1,2,3 */
};

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
    size_t offset;        /* of the value inside the command's values struct */
    const char *argument; /* how the help calls it; NULL for flags and choices */
    const char *value;    /* default, parsed like an argument; NULL: zero */
    const char *shown;    /* default in words, where it depends on the model or the machine */
    const char *choices;  /* "text|json" */
    bool strategies;      /* the choices are the strategies' names; the help lists them */
    double min, max;
    const char *help;
};

struct command {
    const char *name, *summary, *synopsis, *example;
    const char *notes; /* paragraphs behind the options; may be NULL */
    const struct command_option *options;
    size_t n_options, values_bytes;
    bool takes_operands;
    size_t operands_offset; /* of the struct operand_list in the values, where it does */
    enum mn_status (*run)(const void *values, const struct mn_log *log);
};

/* Parses argv[1..] into `values` (zeroed by the caller). *help is set when --help was asked for; then the rest is not
 * looked at. MN_ERR_USAGE names option and value. */
enum mn_status options_parse(const struct command *command, int argc, char **argv, void *values, bool *help,
                             const struct mn_log *log);
/* Frees what the parser allocated. */
void options_free(const struct command *command, void *values);
void options_print_help(const struct command *command, FILE *stream);
/* "ar|draft-verify|..." */
void options_strategies(char *text, size_t n_bytes);

/* ---- main.c ---- */

/* From this call on, SIGINT sets a flag instead of ending the process; a second one ends it. */
void cli_catch_interrupt(void);
bool cli_interrupted(void);

/* ---- files.c ---- */

/* The model folder to use: `option` if given, else the default model; the path is stored in `path` [CLI_PATH_BYTES].
 * MN_ERR_FILE when there is none. */
enum mn_status cli_model_dir(const char *option, char *path, const struct mn_log *log);

/* The folder for what may be measured again: muninn in $XDG_CACHE_HOME, else in ~/.cache; made when it is not there.
 * `path` [CLI_PATH_BYTES], or NULL when there is no such folder and none can be made. */
const char *cli_cache_dir(char *path);

/* Flushes stdout; a failure now or earlier (disk full, closed pipe) is MN_ERR_RUN. */
enum mn_status cli_flush(const struct mn_log *log);

/* MN_ERR_USAGE when an id is not below vocab_size. */
enum mn_status cli_check_ids(const uint32_t *ids, size_t n_ids, uint32_t vocab_size, const struct mn_log *log);

/* JSON pieces on stdout. A number that is not finite is written as 0: JSON has no word for it. */
void cli_json_key(const char *key, bool first); /* `"key":`, with a comma in front unless first */
void cli_json_string(const char *key, const char *text, bool first);
void cli_json_u64(const char *key, uint64_t value, bool first);
void cli_json_double(const char *key, double value, bool first);
void cli_json_bool(const char *key, bool value, bool first);
void cli_json_ids(const char *key, const uint32_t *ids, size_t n_ids, bool first);

/* ---- prompt.c ---- */

/* A text prompt as ids, special tokens recognised, with the model's begin token in front unless it is there or `bos` is
 * false. *ids is malloc'ed. MN_ERR_USAGE: not UTF-8, or more than IDS_MAX ids. MN_ERR_FILE: the model has no
 * tokenizer. */
enum mn_status cli_encode_prompt(struct mn_engine *engine, const char *text, size_t n_bytes, bool bos, uint32_t **ids,
                                 size_t *n_ids, const struct mn_log *log);

#endif
