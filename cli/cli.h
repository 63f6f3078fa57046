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
#ifndef MUNINN_CLI_H
#define MUNINN_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "status.h"

enum {
    CLI_LIST_MAX = 16,     /* times a repeatable option may be given */
    CLI_IDS_MAX = 1 << 20, /* ids in one --ids list: the longest context there is */
    CLI_FILE_BYTES_MAX = 64 << 20,
    CLI_PATH_BYTES = 4096,
    CLI_HASH_BYTES = 17,
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

struct option_spec {
    const char *name; /* long name, without dashes */
    char letter;      /* short name, or 0 */
    enum option_kind kind;
    size_t offset;        /* of the value inside the command's values struct */
    const char *argument; /* how the help calls it; NULL for flags and choices */
    const char *value;    /* default, parsed like an argument; NULL: zero */
    const char *shown;    /* default in words, where it depends on the model or the machine */
    const char *choices;  /* "text|json" */
    double min, max;
    const char *help;
};

struct command {
    const char *name, *summary, *synopsis, *example;
    const char *notes; /* paragraphs behind the options; may be NULL */
    const struct option_spec *options;
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

/* ---- main.c ---- */

/* From this call on, SIGINT sets a flag instead of ending the process; a second one ends it. */
void cli_catch_interrupt(void);
bool cli_interrupted(void);

/* ---- common.c ---- */

/* The model folder to use: `option` if given, else the default model; the path is stored in `path` [CLI_PATH_BYTES].
 * MN_ERR_FILE when there is none. */
enum mn_status cli_model_dir(const char *option, char *path, const struct mn_log *log);

/* The folder for what may be measured again: muninn in $XDG_CACHE_HOME, else in ~/.cache; made when it is not there.
 * `path` [CLI_PATH_BYTES], or NULL when there is no such folder and none can be made. */
const char *cli_cache_dir(char *path);

/* Reads a file, "-" for standard input, to *bytes (malloc'ed, zero-terminated behind n_bytes). */
enum mn_status cli_read_file(const char *path, char **bytes, size_t *n_bytes, const struct mn_log *log);

/* A log that puts source and line number in front of messages of those who know nothing of lines: {cli_write_with_line,
 * &line_log}. */
struct line_log {
    const struct mn_log *next;
    const char *source; /* a file, or "standard input" */
    size_t line;        /* from 1 */
};
void cli_write_with_line(void *user, enum mn_log_level level, const char *text);
/* Nothing but blanks? */
bool cli_is_blank(const char *line, size_t n_bytes);

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

/* ---- cpu_device.c ---- */

/* Worker threads and heap for a device that is a CPU, before an engine is created. `option` NULL: by the size of the
 * model in `dir`, unless LP_NUM_THREADS is set. */
void cli_prepare_cpu_device(const char *option, const char *dir);
void cli_prepare_cpu_device_synthetic(const char *option, const char *shape);

/* ---- model_hash.c ---- */

/* FNV-1a, going on from `hash`. */
#define CLI_FOLD_START UINT64_C(0xcbf29ce484222325)
uint64_t cli_fold(uint64_t hash, const void *bytes, size_t n_bytes);
/* FNV-1a of config.json and of the tensor files' names, sizes, beginnings and ends, as hexadecimal digits: `text`
 * [CLI_HASH_BYTES]. MN_ERR_FILE. */
enum mn_status cli_model_hash(const char *dir, char *text, const struct mn_log *log);

/* ---- prompt.c ---- */

/* A text prompt as ids, special tokens recognised, with the model's begin token in front unless it is there or `bos` is
 * false. *ids is malloc'ed. MN_ERR_USAGE: not UTF-8, or more than CLI_IDS_MAX ids. MN_ERR_FILE: the model has no
 * tokenizer. */
enum mn_status cli_encode_prompt(struct mn_engine *engine, const char *text, size_t n_bytes, bool bos, uint32_t **ids,
                                 size_t *n_ids, const struct mn_log *log);

/* ---- text.c ---- */

/* Generated text on its way out: printed as it comes, ended by stop strings. What may be the beginning of a stop string
 * is held back until the next text decides. Which stop string ends the text depends on the text alone, not on how it
 * was cut into tokens: the one that is complete first; of several complete at once, the longest. */
struct text_out {
    const struct text_list *stops;
    FILE *stream; /* NULL: the text is only collected */
    char *text;   /* [n], owned */
    size_t n, capacity, n_printed;
    bool stopped; /* a stop string was found; the text ends before it */
};

/* Appends. MN_ERR_MEMORY. Write errors stay on the stream: see cli_flush. */
enum mn_status text_out_push(struct text_out *out, const char *bytes, size_t n_bytes, const struct mn_log *log);
/* The end of the text: prints what was held back. */
void text_out_finish(struct text_out *out);
void text_out_free(struct text_out *out);

/* ---- the subcommands ---- */

extern const struct command command_devices, command_info, command_generate, command_logits, command_tokenize,
    command_selftest, command_bench, command_merge, command_compare, command_report, command_score, command_trace;

#endif
