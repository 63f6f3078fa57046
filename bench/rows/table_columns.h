/* The columns of tables for people, by kind of row. Thread-safety: constants. */
#ifndef MUNINN_BENCH_ROWS_TABLE_COLUMNS_H
#define MUNINN_BENCH_ROWS_TABLE_COLUMNS_H

#include <stddef.h>

enum cell_kind {
    CELL_TEXT,
    CELL_NUMBER,
    CELL_COUNT,     /* 0: the strategy has no such figure */
    CELL_SPREAD,    /* a share; none of one sample */
    CELL_MB,        /* 10^6 bytes */
    CELL_TIMES,     /* 2 decimals */
    CELL_SHARE,     /* of the ceiling, percent; what is above it has a line below the table */
    CELL_MS,        /* what comes in a burst is 0 */
    CELL_ACCEPTED,  /* a share; none where nothing was drafted */
    CELL_AGREEMENT, /* a share; of lossy rows alone: it is 1 or a fault elsewhere, and chance where acceptance is forced
                     */
    CELL_PROMPT,
    CELL_MARK,
    CELL_CLASS
};

/* What becomes of a column in a table of TABLE_WIDTH. */
enum column_use {
    COLUMN_STAYS,
    COLUMN_FOLDS, /* into the line above, where all rows agree; else the rows are apart in it */
    COLUMN_GOES   /* when there is no room: the lowest rank first */
};

struct column {
    const char *title, *key;
    enum cell_kind kind;
    int digits;
    enum column_use use;
    int rank;
    const char *before, *behind; /* around the value in the line above; NULL: nothing */
};

struct table_kind {
    const char *kind;             /* "bench" of its rows */
    const struct column *columns; /* [n] */
    size_t n;
};
extern const struct table_kind table_kinds[]; /* [table_n_kinds] in the order of their tables */
extern const size_t table_n_kinds;

#endif
