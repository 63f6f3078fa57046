/* What the report reads: every kind of JSON lines that Muninn writes, and the arrays of `-o json`. A file of another
 * kind is refused by the name of what it is. Never changes a row. Thread-safety: none. */
#ifndef MUNINN_BENCH_PAGE_READ_H
#define MUNINN_BENCH_PAGE_READ_H

#include "bench/rows/rows.h"

/* A row says what it is: by `bench` (any word: rows of kinds to come are rows), `event` (generate --trace), the result
 * of a scored line or their `summary`, the `stats` or the `total` of generate -o json; rows of the first version by
 * `key` alone. Others are no rows. */
bool page_is_row(const cJSON *value);

/* Adds the rows of a file ("-": standard input), in its order; rows without a key are rows as well. A last line that is
 * cut off is left out with a warning. MN_ERR_FILE, and MN_ERR_FORMAT for a file that is something else or has no row:
 * one message, which names it. */
enum mn_status page_read(struct rows *rows, const char *path, const struct mn_log *log);

#endif
