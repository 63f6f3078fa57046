/* The self-test of a device: every kernel against the plain C version of it. What `muninn selftest` runs.
 *
 * Owns: the device for the time of the test. Never: prints. Thread-safety: stateless. */
#ifndef MUNINN_REFERENCE_SELFTEST_H
#define MUNINN_REFERENCE_SELFTEST_H

#include "reference/kernel_case.h"

struct selftest_params {
    const char *device;                            /* NULL: the best one; an index; or part of a name */
    bool quick;                                    /* a few cases per kernel; else all of them, and row independence */
    void (*begin)(void *user, const char *banner); /* the device is open; may be NULL */
    void (*note)(void *user, const char *text);    /* what is not tested, and why; may be NULL */
    void (*report)(void *user, const struct kernel_case_result *result); /* may be NULL */
    void *user;                                                          /* of both */
    struct mn_progress progress;                                         /* a stop ends it with MN_ERR_INTERRUPTED */
    const struct mn_log *log;
};

/* MN_OK: all cases hold; MN_ERR_CHECK: some do not; others: there is no such device, or it failed. */
enum mn_status selftest_run(const struct selftest_params *params);

#endif
