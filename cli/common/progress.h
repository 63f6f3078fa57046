/* One line on a terminal that says what long work is at: what, how much of it, how long it took and what is left.
 *
 * It is on stderr, and only where that is a terminal, without --quiet. Nothing is shown of a phase in its first half
 * second, and no more than ten lines a second after it; a phase that ends takes its line away. Whoever writes something
 * else calls cli_progress_clear first; messages (main.c) do. Never: shown to a pipe; writes what could drive a
 * terminal, but for its own carriage return and erasing. Thread-safety: none; one thread. */
#ifndef MUNINN_CLI_COMMON_PROGRESS_H
#define MUNINN_CLI_COMMON_PROGRESS_H

#include "api/muninn.h"

/* For the library: shows its phases, and asks it to stop once a signal came (interrupt.h). */
struct mn_progress cli_progress(void);
/* Work of the program's own, within which the library's phases come and go: stands in front of theirs. A `total` of 0
 * shows `what` alone; NULL ends it. Time counts from where `done` was lowest. */
void cli_progress_own(const char *what, uint64_t done, uint64_t total);
/* The line is gone; it comes again when there is more to say. */
void cli_progress_clear(void);

#endif
