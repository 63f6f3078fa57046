/* What a row promises, and which row of `ar` it is measured against. Reads rows alone. Thread-safety: stateless. */
#ifndef MUNINN_BENCH_ROWS_BASELINE_H
#define MUNINN_BENCH_ROWS_BASELINE_H

#include "bench/rows/rows.h"

/* forced: how often drafts were right was given, not found out. Such a row says what a setting would bring, and its
 * tokens mean nothing; a lossy one has tokens of its own, which may be as good. */
enum row_class { ROW_LOSSLESS, ROW_FORCED, ROW_LOSSY, ROW_CLASS_UNKNOWN };
enum row_class row_class(const cJSON *row);
/* Of a forced row: what was given, on one line of at most 120 bytes. */
void row_write_acceptance(FILE *out, const cJSON *row);
/* "lossless", "forced", "lossy", "". */
const char *row_class_name(enum row_class class_);

bool row_is_run(const cJSON *row);
double row_tok_s(const cJSON *row); /* decode_tok_s; 0 when it is none */
/* Is it what others are compared with: ar with a full cache? */
bool row_is_baseline(const cJSON *row);
/* Rows that are equal in these may be compared. `row` decides whether the model is known by its content or its name. */
size_t condition_keys(const cJSON *row, const char *const **keys);
/* Their values. malloc'ed, NULL without memory. */
char *row_conditions(const cJSON *row);

/* The rows of ar in a list, by their conditions. Zeroed is an empty one. */
struct baselines {
    struct baseline {
        char *conditions; /* owned */
        const cJSON *row;
        size_t at; /* in the list of rows */
    } * items;     /* [n] sorted, owned; the rows are the list's */
    size_t n;
};
enum mn_status baselines_init(struct baselines *baselines, const struct rows *rows, const struct mn_log *log);
/* The row to compare one of these conditions with, or NULL. Of several the first in the list of rows. */
const cJSON *baselines_find(const struct baselines *baselines, const char *conditions);
void baselines_free(struct baselines *baselines);

/* Sets "speedup" in every row of a run. */
enum mn_status rows_add_speedup(struct rows *rows, const struct mn_log *log);

#endif
