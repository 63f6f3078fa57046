/* Two result files against each other: which rows are a pair, what their samples say, and what changed around them.
 * Never measures. Thread-safety: none. */
#ifndef MUNINN_BENCH_ROWS_COMPARE_H
#define MUNINN_BENCH_ROWS_COMPARE_H

#include <stdio.h>

#include "engine/base/status.h"

/* A comparison for others to show: what `json` writes, with the names of files without their folders, and the rows of
 * pair i as rows[2 i] (A) and rows[2 i + 1]. Valid during the call. */
struct compared {
    const char *json;
    struct cJSON **rows; /* [n_rows] */
    size_t n_rows;
};

struct compare_params {
    const char *files[2];
    const char *ignore; /* settings in which a pair may differ, with commas between; NULL: none */
    const char *output; /* "md", "json", or "page": `show` is called instead of writing to `out` */
    enum mn_status (*show)(void *user, const struct compared *compared, const struct mn_log *log);
    void *user;
    float max_slowdown; /* percent; 0: any */
    FILE *out;
};

/* Writes the comparison. MN_ERR_FORMAT: a malformed file, or no setting in common; MN_ERR_CHECK: a pair is slower than
 * max_slowdown allows, its whole interval. */
enum mn_status compare_rows(const struct compare_params *params, const struct mn_log *log);

#endif
