/* The subcommands: main.c lists them, each file cli/NAME.c defines its own. */
#ifndef MUNINN_CLI_COMMANDS_H
#define MUNINN_CLI_COMMANDS_H

#include "cli/common/options.h"

/* In the order of `muninn help`. */
#define COMMANDS(X) \
    X(generate) \
    X(logits) X(tokenize) X(info) X(devices) X(selftest) X(bench) X(merge) X(compare) X(report) X(trace) X(score)

#define X(name) extern const struct command command_##name;
COMMANDS(X)
#undef X

#endif
