/* Result rows: JSON objects with a "key", kept in files of JSON lines that a killed run can go on from. Shared by `muninn bench`,
 * `merge` and `score`. */
#ifndef MUNINN_ROWS_H
#define MUNINN_ROWS_H

#include <cjson/cJSON.h>

#include "cli.h"

/* Zeroed is an empty list. */
struct rows {
    cJSON **items; /* [n], owned */
    size_t n, capacity;
};

/* Takes the row. */
enum mn_status rows_add(struct rows *rows, cJSON *row, const struct mn_log *log);
const cJSON *rows_find(const struct rows *rows, const char *key);
void rows_free(struct rows *rows);
/* Of several rows with one key the newest stays, where the first one stood. *n_older: how many went. */
enum mn_status rows_keep_newest(struct rows *rows, size_t *n_older, const struct mn_log *log);

/* Reads a results file. A last line without its newline is what a killed run leaves behind: it is left out, and *n_good is where it begins.
 * Every other line that is not a row is MN_ERR_FORMAT with its number. A missing file is empty when `may_be_missing`. */
enum mn_status rows_read(struct rows *rows, const char *path, bool may_be_missing, uint64_t *n_good, const struct mn_log *log);

/* Opens a results file to append to, behind its last whole line: a cut-off one is taken away. Its rows go to *rows (may be NULL). */
enum mn_status rows_open(FILE **file, const char *path, struct rows *rows, const struct mn_log *log);
/* Hands a row to the system in one write: it is in the file as a whole, or as a cut-off last line, which rows_open repairs. */
enum mn_status rows_append(FILE *file, const char *path, const cJSON *row, const struct mn_log *log);
/* Waits until what was appended is on the disk. */
enum mn_status rows_sync(FILE *file, const char *path, const struct mn_log *log);

/* "md", "csv", "json" or "jsonl", with the columns of `muninn bench`. Lossy rows say so in each of them. */
enum mn_status rows_write(const struct rows *rows, const char *format, FILE *stream, const struct mn_log *log);

#endif
