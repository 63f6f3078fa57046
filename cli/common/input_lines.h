/* Standard input line by line while it stays open: who reads may do something else between two lines, since nothing
 * here waits for longer than it is told to.
 *
 * Owns: the bytes that no line was made of yet. Never: waits for a line that is there already. Thread-safety: none; one
 * thread. */
#ifndef MUNINN_CLI_COMMON_INPUT_LINES_H
#define MUNINN_CLI_COMMON_INPUT_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/status.h"

/* Zeroed is empty. */
struct input_lines {
    char *bytes; /* [n_bytes] of the input, of which those before `at` are lines by now; owned */
    size_t n_bytes, at, capacity, n_seen; /* n_seen: behind `at`, looked through for the end of a line */
    size_t number;                        /* of the last line, from 1 */
    bool ended;                           /* there is no more to come */
};

/* MN_ERR_MEMORY. */
enum mn_status input_lines_open(struct input_lines *in, const struct mn_log *log);
/* The next whole line, or what is left at the end, without its newline; *line is valid until the next
 * input_lines_more. A byte order mark at the beginning is left out. False: there is none yet, or no more. */
bool input_lines_next(struct input_lines *in, const char **line, size_t *n_bytes);
/* Takes what is there; waits where there is nothing (process_input_waits says when). MN_ERR_FILE: a line of more than
 * TEXT_FILE_BYTES_MAX bytes, or an input that cannot be read; MN_ERR_MEMORY. */
enum mn_status input_lines_more(struct input_lines *in, const struct mn_log *log);
/* Every byte of an input that has ended is a line by now. */
bool input_lines_are_over(const struct input_lines *in);
void input_lines_close(struct input_lines *in);

#endif
