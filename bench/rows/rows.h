/* Result rows: JSON objects with a "key", kept in files of JSON lines that a killed run can go on from. Shared by
 * `muninn bench`, `merge`, `compare`, `report` and `score`. */
#ifndef MUNINN_BENCH_ROWS_ROWS_H
#define MUNINN_BENCH_ROWS_ROWS_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/files/lines.h"
#include "engine/files/output_file.h"

/* Zeroed is an empty list. */
struct rows {
    cJSON **items; /* [n], owned */
    size_t n, capacity;
    size_t *slots; /* [n_slots] hash table of item numbers + 1, owned */
    size_t n_slots;
};

/* ---- rows.c ---- */

/* Takes the row. A row whose key is there already is added all the same. */
enum mn_status rows_add(struct rows *rows, cJSON *row, const struct mn_log *log);
/* The first row with this key, or NULL. */
const cJSON *rows_find(const struct rows *rows, const char *key);
void rows_free(struct rows *rows);

/* Of several rows with one key the newest stays, where the first one stood; rows without a key all stay. *n_older: how
 * many went. */
enum mn_status rows_keep_newest(struct rows *rows, size_t *n_older, const struct mn_log *log);

/* Reads a results file. A last line without its newline is what a killed run leaves behind: when it is no whole row it
 * is left out, and *n_good is where it begins. Every other line that is not a row is MN_ERR_FORMAT with its number. A
 * missing file is empty when `may_be_missing`. */
enum mn_status rows_read(struct rows *rows, const char *path, bool may_be_missing, uint64_t *n_good,
                         const struct mn_log *log);
/* The same from memory, with `path` for messages. */
enum mn_status rows_parse(struct rows *rows, const char *path, const char *text, size_t n_bytes, uint64_t *n_good,
                          const struct mn_log *log);

/* Opens a results file to append to, behind its last whole line: a cut-off one is taken away. Its rows go to *rows (may
 * be NULL). MN_ERR_FILE when another process has it open like this; a file of something else is MN_ERR_FORMAT and stays
 * as it is. Ends with output_commit. */
enum mn_status rows_open(struct output_file *out, const char *path, struct rows *rows, const struct mn_log *log);
/* Hands a row to the system at once: it is in the file as a whole. Where it does not fit nothing of it stays, and what
 * a killed program leaves of it rows_open repairs. */
enum mn_status rows_append(struct output_file *out, const cJSON *row, const struct mn_log *log);

/* A path's last part: people pass rows and pages on, and folders say who they are. */
const char *path_name(const char *path);
const char *row_string(const cJSON *row, const char *key); /* "" when it has none */
/* The values of `keys` [n] as one text, for grouping. malloc'ed, NULL without memory. */
char *row_values(const cJSON *row, const char *const *keys, size_t n);

/* ---- rows_write.c ---- */

/* "md", "csv", "json" or "jsonl"; Markdown is that of table.h. Lossy rows say so in each of them. */
enum mn_status rows_write(const struct rows *rows, const char *format, bool all_columns, FILE *stream,
                          const struct mn_log *log);

#endif
