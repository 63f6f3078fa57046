/* Every kernel of engine/kernel.h against the plain loops of ref.c, on random seeded inputs, on a given device.
 *
 * Dispatches go through the same pipelines, bindings and push constants as engine/forward.c; the tests and `muninn
 * selftest` run the same table. A case fails when an output's NMSE exceeds its operation's limit, when an integer
 * differs, when something is written that must not be (guard words lie around and inside all outputs), or when a value
 * is not finite.
 *
 * Owns: nothing between calls. Never: creates a device; prints. Thread-safety: none.
 */
#ifndef MUNINN_REFERENCE_KERNEL_CASES_H
#define MUNINN_REFERENCE_KERNEL_CASES_H

#include "engine/model/model.h"
#include "engine/vulkan/stream.h"
#include "reference/kernel_case.h"

struct kernel_cases_params {
    struct device *device;
    struct kernels *kernels;
    struct stream *stream;
    const struct tuning *tuning; /* NULL: what engine/model.c chooses for such a device */
    bool quick;                  /* a few cases per kernel, with the device's own tiles only */
    bool matrix_units; /* the matmuls on matrix units alone, which the device must have, with every weight type */
    void (*report)(void *user, const struct kernel_case_result *result); /* may be NULL */
    void *user;
};

/* Runs the table. MN_OK: all cases hold; MN_ERR_CHECK: some do not; others: the device failed. n_cases may be NULL. */
enum mn_status kernel_cases_run(const struct kernel_cases_params *params, uint32_t *n_cases);

/* Row independence: for every matmul kernel and tile, passes of 1 to 16 rows (as many as a stamp holds) must give the
 * bits of 1-row passes, and so must attention in tiles. Reported like a case; the NMSE is the share of output words
 * that differ, the limit 0. */
enum mn_status kernel_cases_row_independence(const struct kernel_cases_params *params, uint32_t *n_cases);

#endif
