/* Text from outside: whole files, and JSON lines, one document per line, messages with file and line number.
 *
 * Owns: the limits on both. Never: keeps a file open; trusts a length. Thread-safety: stateless. */
#ifndef MUNINN_ENGINE_FILES_LINES_H
#define MUNINN_ENGINE_FILES_LINES_H

#include <stdio.h>

#include "engine/files/json.h"

enum {
    IDS_MAX = 1 << 20, /* ids in one list: the longest context there is */
    TEXT_FILE_BYTES_MAX = 64 << 20,
};

/* Reads a file, "-" for standard input, to *bytes (malloc'ed, zero-terminated behind n_bytes). */
enum mn_status text_file_read(const char *path, char **bytes, size_t *n_bytes, const struct mn_log *log);

/* The same for a prompt, which is taken byte for byte: a byte order mark stays, with a warning. UTF-16 is MN_ERR_FILE.
 */
enum mn_status prompt_file_read(const char *path, char **bytes, size_t *n_bytes, const struct mn_log *log);

/* The next line of a stream, with its newline if it has one, in *line [*n_bytes, and a zero behind], which grows
 * (malloc'ed; *capacity is its size). False: the end of the stream, no memory, or an error, which errno names then. */
bool line_read(FILE *stream, char **line, size_t *capacity, size_t *n_bytes);

/* A log that puts source and line number in front of messages of those who know nothing of lines: {line_log_write,
 * &line_log}. */
struct line_log {
    const struct mn_log *next;
    const char *source; /* a file, or "standard input" */
    size_t line;        /* from 1 */
};
void line_log_write(void *user, enum mn_log_level level, const char *text);
/* Nothing but blanks? */
bool line_is_blank(const char *line, size_t n_bytes);

/* Calls `take` for every line of `text` that is not blank, behind a byte order mark, with its number from 1 and a log
 * that puts source and number in front. The first failure ends it. */
enum mn_status lines_each(const char *source, const char *text, size_t n_bytes,
                          enum mn_status (*take)(void *user, size_t number, const char *line, size_t n_bytes,
                                                 const struct mn_log *log),
                          void *user, const struct mn_log *log);

/* The member `key` as token ids, at least one and each below vocab_size. *ids is malloc'ed. */
enum mn_status lines_get_ids(const struct json_doc *doc, const char *key, uint32_t vocab_size, uint32_t **ids,
                             uint32_t *n_ids);

#endif
