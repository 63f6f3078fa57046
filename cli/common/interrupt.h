/* Ctrl-C, SIGTERM, a terminal that is gone, a reader that is gone.
 * Thread-safety: the flag may be read from anywhere. */
#ifndef MUNINN_CLI_COMMON_INTERRUPT_H
#define MUNINN_CLI_COMMON_INTERRUPT_H

#include <stdbool.h>

/* From this call on, SIGINT, SIGTERM and SIGHUP set a flag instead of ending the process; a second one of them ends it
 * at once. One that the process was started with as ignored (nohup, a shell's background jobs) stays ignored. */
void cli_catch_interrupt(void);
bool cli_interrupted(void);
/* Was it Ctrl-C? */
bool cli_interrupt_is_typed(void);
/* For who goes on after a Ctrl-C: it is forgotten, and the next one is the first. False: there was none, or another
 * reason to end, which stays. */
bool cli_interrupt_forget(void);
/* Nobody reads standard output any more: an interrupt like the others, but for having nobody to be told to. */
void cli_interrupt_closed_pipe(void);
bool cli_pipe_is_closed(void);
/* The exit code of a run that was interrupted: 128 and the signal's number, like a shell's for what a signal ended. */
int cli_interrupt_exit_code(void);

#endif
