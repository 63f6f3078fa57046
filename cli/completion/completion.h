/* Completion scripts of three shells, each made from the option tables. Thread-safety: stateless. */
#ifndef MUNINN_CLI_COMPLETION_COMPLETION_H
#define MUNINN_CLI_COMPLETION_COMPLETION_H

#include "cli/common/options.h"

/* What the word behind an option is. */
enum value_kind {
    VALUE_NONE,  /* a flag: there is none */
    VALUE_WORDS, /* one of some words */
    VALUE_LIST,  /* some of them, with commas between */
    VALUE_FILE,
    VALUE_DIR,
    VALUE_OTHER, /* a number, a text: nothing to propose */
};

enum { VALUE_WORDS_BYTES = 512 };

/* `words` [VALUE_WORDS_BYTES] gets the words, with blanks between, of VALUE_WORDS and VALUE_LIST. */
enum value_kind option_value_kind(const struct command_option *option, char *words);
/* `commands` is all of them, with NULL behind the last. */

/* The names of the commands and "help", with blanks between. */
void write_command_names(const struct command *const *commands, FILE *stream);
/* The operand_choices of a command that has some, with blanks between. */
void write_operands(const struct command *const *commands, const struct command *command, FILE *stream);

/* ---- bash.c, zsh.c, fish.c ---- */

void write_bash(const struct command *const *commands, FILE *stream);
void write_zsh(const struct command *const *commands, FILE *stream);
void write_fish(const struct command *const *commands, FILE *stream);

#endif
