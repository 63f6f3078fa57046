/* --help of a command, from its option table. Thread-safety: stateless. */
#ifndef MUNINN_CLI_COMMON_HELP_H
#define MUNINN_CLI_COMMON_HELP_H

#include "cli/common/options.h"

/* The default in words, as help and man page show it. */
const char *option_shown(const struct command_option *option);
void print_help(const struct command *command, FILE *stream);

#endif
