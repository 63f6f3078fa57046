/* What a program is to its system: arguments, standard streams, signals, the terminal, places that belong to a user.
 * process_posix.c and process_windows.c each have all of it. Texts are UTF-8.
 *
 * Thread-safety: one thread, but that the handler of process_catch may be called in another one at any time. */
#ifndef MUNINN_CLI_COMMON_PROCESS_H
#define MUNINN_CLI_COMMON_PROCESS_H

#include <stdbool.h>
#include <stddef.h>

/* Reasons to end, by the numbers that POSIX systems have for them; 128 and one of them is an exit code. */
enum { REASON_HANGUP = 1, REASON_INTERRUPT = 2, REASON_PIPE = 13, REASON_TERMINATE = 15 };

/* Called first of all: the standard streams are open and carry bytes as they are, terminals show UTF-8; a closed pipe
 * and a file size limit are failed writes, not the end of the process. Returns the arguments, which stay as long as the
 * process; NULL: they are no text, or there is no memory for them. */
char **process_begin(int argc, char **argv);

/* Ctrl-C, a request to end and a terminal that is gone no longer end the process but call `handler`, which may do no
 * more than a signal handler. What the process was started with as ignored stays ignored. */
void process_catch(void (*handler)(int reason));
/* Ends it at once as if nothing had been caught: out of a handler. */
void process_end_at_once(int reason);

/* Is there something to read on standard input, or its end? Waits up to so many milliseconds for it. */
bool process_input_waits(int milliseconds);
/* Bytes of standard input as they come, at most n_bytes; 0: its end; -1: errno says why not. */
long process_input_read(char *bytes, size_t n_bytes);

/* Does nobody read standard output any more? What an earlier write failed of is forgotten by now. */
bool process_reader_is_gone(void);
/* Columns of the terminal behind standard error; 0: unknown. */
size_t process_terminal_columns(void);
/* Can that terminal draw a line over again? */
bool process_terminal_redraws(void);

/* The path of the program itself with '/' between names; false: unknown, or longer. */
bool process_executable(char *path, size_t path_bytes);
/* The folder in which this user's programs keep what can be made again; false: none, or its path is longer. */
bool process_cache_home(char *path, size_t path_bytes);

#endif
