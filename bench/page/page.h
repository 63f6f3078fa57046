/* The page of `muninn report`: the rows of result files, to look at in a browser. Never measures, never changes a row;
 * the same rows give the same page. Thread-safety: none. */
#ifndef MUNINN_BENCH_PAGE_PAGE_H
#define MUNINN_BENCH_PAGE_PAGE_H

#include <stdint.h>
#include <stdio.h>

#include "engine/base/status.h"

struct page_params {
    const char *const *files; /* [n_files]; "-" is standard input */
    uint32_t n_files;
    const char *title;
    const char *output; /* the page's file, never one of `files`; "-": `out` */
    FILE *out;
};

/* Of several rows with one key the newest is shown. A file is written under another name first: whoever opens it sees
 * the whole page or the one before. */
enum mn_status page_write(const struct page_params *params, const struct mn_log *log);

#endif
