/* --help of a command, from its option table, and words that the manual pages share with it. Thread-safety: stateless.
 */
#ifndef MUNINN_CLI_COMMON_HELP_H
#define MUNINN_CLI_COMMON_HELP_H

#include "cli/common/options.h"

#define OVERVIEW_SUMMARY "a Vulkan compute engine for recurrent-depth language models"
#define OVERVIEW_EXAMPLE "muninn generate -p 'sort 2 8 0 1 :'"
#define EXIT_CODES \
    "0 ok, 1 run error, 2 usage, 3 no usable device, 4 bad model or input file, 5 device lost or timeout,\n" \
    "6 out of memory, 7 self-test or equality check failed; 130, 143, 129 ended by Ctrl-C, SIGTERM, SIGHUP: what " \
    "there " \
    "is\nby then is kept, and a second one ends it at once; 141 nobody reads its output any more."

/* The default in words, as help and man page show it. */
const char *option_shown(const struct command_option *option);
void print_help(const struct command *command, FILE *stream);

#endif
