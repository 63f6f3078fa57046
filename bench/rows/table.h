/* Rows as tables of Markdown, for people: what all rows share stands in a line above, columns that say nothing are not
 * there, and the best row is marked. Whoever reads rows by a program takes another format. */
#ifndef MUNINN_BENCH_ROWS_TABLE_H
#define MUNINN_BENCH_ROWS_TABLE_H

#include "bench/rows/rows.h"

enum { TABLE_WIDTH = 120 };

/* One table per kind of row, model and device, at most TABLE_WIDTH wide: of what does not fit, measured columns are
 * left out and named, and rows that differ in too many settings come in several tables. `all_columns`: one table per
 * kind, with every column, as wide as it gets. MN_ERR_MEMORY. */
enum mn_status rows_write_tables(const struct rows *rows, bool all_columns, FILE *stream, const struct mn_log *log);

#endif
