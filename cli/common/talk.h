/* What goes to standard error beside errors, for people: nothing with --quiet, more with --verbose. main.c sets it
 * once, before a command runs. Thread-safety: set before, read from anywhere. */
#ifndef MUNINN_CLI_COMMON_TALK_H
#define MUNINN_CLI_COMMON_TALK_H

#include <stdbool.h>
#include <stdio.h>

#include "engine/base/status.h"

/* MN_ERR_RUN: /dev/null cannot be opened for --quiet. */
enum mn_status cli_talk(bool quiet, bool verbose, const struct mn_log *log);
bool cli_is_quiet(void);
bool cli_is_verbose(void);
/* Is somebody watching: standard error is a terminal, and not --quiet? For what moves, and for advice. */
bool cli_is_watched(void);
/* Where banners, summaries and progress are written: standard error, or nowhere. */
FILE *cli_notes(void);
/* What stands around a line of cli_notes that is to stand back behind what is read: two escape sequences where that is
 * a terminal that has them and NO_COLOR is not set, "" elsewhere. */
struct dim {
    const char *begin, *end;
};
struct dim cli_dim(void);
/* With --verbose: one line, "muninn: ...", shown as log messages are. */
void cli_detail(const char *fmt, ...) MN_PRINTF(1, 2);

#endif
