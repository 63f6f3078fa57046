/* A line that is typed on a terminal, with cursor keys and a history of this run: libedit. Built where that library is
 * (MUNINN_EDIT). Lines are UTF-8. Thread-safety: none; one thread. */
#ifndef MUNINN_CLI_CHAT_EDIT_H
#define MUNINN_CLI_CHAT_EDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "engine/base/status.h"

struct editor;

/* Reads standard input, a terminal, and draws on `screen`, another or the same. Changes the character set of the
 * process to UTF-8 where it is another one. MN_ERR_MEMORY, or MN_ERR_RUN where the terminal cannot be used. */
enum mn_status editor_open(struct editor **out, FILE *screen, const struct mn_log *log);
/* *line [*n_bytes], without its newline, valid until the next call. False: the end of the input, or a signal, after
 * which what was typed is dropped. */
bool editor_read(struct editor *editor, const char *prompt, const char **line, size_t *n_bytes);
/* The history gets it. */
void editor_remember(struct editor *editor, const char *line);
void editor_close(struct editor *editor); /* NULL is fine */

#endif
