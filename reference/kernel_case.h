/* What one case of the kernel tests came to. For those who look at results without seeing a device. */
#ifndef MUNINN_REFERENCE_KERNEL_CASE_H
#define MUNINN_REFERENCE_KERNEL_CASE_H

#include <stdbool.h>

#include "engine/base/status.h"

struct kernel_case_result {
    const char *kernel, *name; /* "proj", "tile 8x1, bf16, 3 rows, ..."; valid during the report */
    double nmse, limit;        /* of the output closest to its limit; for integers the share that differs */
    bool ok;
    const char *detail; /* the reason when not ok: which buffer, what is wrong */
};

#endif
