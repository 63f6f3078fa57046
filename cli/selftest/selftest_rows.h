/* Rows of `muninn selftest --results`: one per kernel, with its cases added up, and one per trial of a promise.
 * Thread-safety: none. */
#ifndef MUNINN_CLI_SELFTEST_SELFTEST_ROWS_H
#define MUNINN_CLI_SELFTEST_SELFTEST_ROWS_H

#include "bench/rows/identity.h"
#include "bench/rows/rows.h"
#include "reference/promises.h"
#include "reference/selftest.h"

enum { SELFTEST_KERNELS_MAX = 64, SELFTEST_TEXT_BYTES = 256, SELFTEST_BANNER_BYTES = 1024 };

/* What the cases of a kernel came to. */
struct selftest_kernel {
    char name[32], detail[SELFTEST_TEXT_BYTES]; /* detail: of the first case that failed */
    bool matrix_units;
    uint32_t n_cases, n_failed;
    double nmse, limit; /* of the case closest to its limit */
};

/* Zeroed, but for the first three: nothing is kept until it is open. */
struct selftest_rows {
    const struct mn_log *log;
    const char *kv_type; /* of a model, else NULL */
    bool quick;
    bool is_open;
    struct output_file file;
    struct mn_model_info info; /* of the model; of a device alone what there is of it */
    struct identity identity;
    char banner[SELFTEST_BANNER_BYTES], name[SELFTEST_TEXT_BYTES], driver[SELFTEST_TEXT_BYTES], id[SELFTEST_TEXT_BYTES];
    struct selftest_kernel kernels[SELFTEST_KERNELS_MAX];
    uint32_t n_kernels;
};

/* Opens the file to append to; `path` NULL: none, and all that follows does nothing. */
enum mn_status selftest_rows_open(struct selftest_rows *rows, const char *path);
/* What the rows are of: a device, or a model from `dir` or `synthetic`, the other NULL. */
enum mn_status selftest_rows_of_device(struct selftest_rows *rows, const struct selftest_device *device);
enum mn_status selftest_rows_of_model(struct selftest_rows *rows, const struct mn_engine *engine, const char *dir,
                                      const char *synthetic);
/* Remembers a case for its kernel's row. */
void selftest_rows_case(struct selftest_rows *rows, const struct kernel_case_result *result, bool matrix_units);
/* Appends a trial's row. */
enum mn_status selftest_rows_promise(struct selftest_rows *rows, const struct promise_result *result);
/* Appends the kernels' rows, of what ran, and closes the file. */
enum mn_status selftest_rows_close(struct selftest_rows *rows);

#endif
