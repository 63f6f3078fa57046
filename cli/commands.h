/* The subcommands: main.c lists them, each file cli/NAME.c defines its own. */
#ifndef MUNINN_CLI_COMMANDS_H
#define MUNINN_CLI_COMMANDS_H

#include "cli/common/options.h"

/* In the order of `muninn help`. */
#define COMMANDS(X) \
    X(generate) \
    X(chat) \
    X(serve) \
    X(logits) \
    X(tokenize) \
    X(info) \
    X(quantize) \
    X(devices) \
    X(pipelines) X(selftest) X(bench) X(merge) X(compare) X(report) X(trace) X(score) X(divergence) X(man) X(completion)

#define X(name) extern const struct command command_##name;
COMMANDS(X)
#undef X

/* Those, in that order, with NULL behind the last. main.c has it. */
extern const struct command *const all_commands[];

#endif
