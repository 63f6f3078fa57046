/* The self-test of a device: every kernel against the plain C version of it. What `muninn selftest` runs.
 *
 * Owns: the device for the time of the test. Never: prints. Thread-safety: stateless. */
#ifndef MUNINN_REFERENCE_SELFTEST_H
#define MUNINN_REFERENCE_SELFTEST_H

#include "reference/kernel_case.h"

/* The device under test; strings are valid during the call. */
struct selftest_device {
    const char *banner, *name, *driver, *id; /* as in mn_device_info */
    uint32_t driver_version;
};

struct selftest_params {
    const char *device; /* NULL: the best one; an index; or part of a name */
    bool quick;         /* a few cases per kernel; else all of them, and row independence */
    void (*begin)(void *user, const struct selftest_device *device); /* it is open; may be NULL */
    void (*note)(void *user, const char *text);                      /* what is not tested, and why; may be NULL */
    void (*report)(void *user, const struct kernel_case_result *result, bool matrix_units); /* may be NULL */
    void *user;                                                                             /* of all three */
    struct mn_progress progress; /* a stop ends it with MN_ERR_INTERRUPTED */
    const struct mn_log *log;
};

/* MN_OK: all cases hold; MN_ERR_CHECK: some do not; others: there is no such device, or it failed. */
enum mn_status selftest_run(const struct selftest_params *params);

#endif
