/* The page of `muninn report`: the rows of result files, to look at in a browser. Never measures, never changes a row;
 * the same rows give the same page. Thread-safety: none. */
#ifndef MUNINN_BENCH_PAGE_PAGE_H
#define MUNINN_BENCH_PAGE_PAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/base/status.h"

struct page_params {
    const char *const *files; /* [n_files]; "-" is standard input */
    uint32_t n_files;
    const char *title;  /* NULL: by what the rows are about */
    const char *output; /* the page's file, never one of `files`; "-": `out` */
    FILE *out;
    bool (*stop)(void); /* asked before the page is written and before it gets its name; may be NULL */
};

/* Of several rows with one key the newest is shown. Whoever opens the file sees the whole page or the one before
 * (engine/files/output_file.h). MN_ERR_INTERRUPTED when `stop` said so. */
enum mn_status page_write(const struct page_params *params, const struct mn_log *log);

/* The page of a comparison (bench/rows/compare.h) in the stead of one of files: `files` are the two, which are not read
 * again. */
struct compared;
enum mn_status page_write_comparison(const struct page_params *params, const struct compared *compared,
                                     const struct mn_log *log);

#endif
