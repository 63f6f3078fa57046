/* The answer that rows give: of each model on each device the best setting, as a sentence for people. `muninn bench`
 * ends with it, its table marks the row, the page begins with it.
 *
 * Best is the fastest setting in units of ar's tokens per second under equal conditions: the speed itself says nothing
 * across batches or depths. Lossless rows and those with forced acceptance are answers of their own; a lossy row is
 * none, and neither is a lossless one whose tokens were not those of ar. Thread-safety: stateless. */
#ifndef MUNINN_BENCH_ROWS_BEST_H
#define MUNINN_BENCH_ROWS_BEST_H

#include "bench/rows/baseline.h"
#include "bench/rows/sampling.h"

struct best {
    enum row_class class_; /* ROW_LOSSLESS or ROW_FORCED; ROW_LOSSY and ROW_CLASS_UNKNOWN where there is nothing else */
    const cJSON *row;      /* the best one but ar; NULL: there is none */
    const cJSON *ar;       /* what it is compared with, or, without a row, the fastest ar; NULL: there is none */
    const cJSON *any;      /* one row of the group: its model and device */
    struct interval ratio; /* of ar; without samples on both sides the quotient of the medians, not bounded */
    size_t n_conditions;   /* under which there is a best row beside an ar row; also without ar: 0 */
    double least, most;    /* speedups of the best rows under the other conditions, by medians */
    size_t n_differ;       /* rows left out because their tokens were not those of ar */
    uint32_t varying;      /* bit i: the i-th of condition_keys(any) has several values */
};

/* Is it worth its name: above ar? */
bool best_is_faster(const struct best *best);
/* The sentence, without a newline. malloc'ed, NULL without memory. */
char *best_sentence(const struct best *best);

/* By model and device, in the order of their first rows; of each the lossless answer before the forced one. Zeroed is
 * an empty list. */
struct best_list {
    struct best *items; /* [n], owned; rows are the list's */
    size_t n;
};
enum mn_status best_find(struct best_list *list, const struct rows *rows, const struct mn_log *log);
void best_free(struct best_list *list);
/* Is the row one that is worth marking: the best one, or the ar that nothing was faster than? */
bool best_has(const struct best_list *list, const cJSON *row);
/* One sentence per line, as text_puts writes. */
enum mn_status best_write(const struct rows *rows, FILE *stream, const struct mn_log *log);

/* "wavefront K 4", with what the strategy has of K, L, and W where it is not the usual one. */
void write_setting_name(FILE *stream, const cJSON *row);

#endif
