/* What is promised of a model on a device (docs/contract.md, 3), tried on it: D0, the same run gives the same bits; D1,
 * a row's logits have the same bits for any number of rows in its passes and any depths beside it; D2, lossless
 * strategies emit the tokens of `ar`. What `muninn selftest -m` and `--synthetic` run.
 *
 * Owns: a session for the time of the test. Never: prints. Thread-safety: stateless. */
#ifndef MUNINN_REFERENCE_PROMISES_H
#define MUNINN_REFERENCE_PROMISES_H

#include "api/muninn.h"

/* What one trial came to. */
struct promise_result {
    const char *promise, *what; /* "D1", "8 rows at once"; valid during the report */
    uint32_t num_steps;         /* depth of the rows */
    uint64_t n_compared;        /* logits of D0 and D1, tokens of D0 and D2 */
    uint64_t n_differ;          /* other bits, or other tokens; logits that are no numbers count as well */
    uint64_t drafted, accepted; /* of a strategy that drafts: both right and wrong drafts make it a trial */
    bool holds;
    const char *detail; /* the first difference when it does not hold, else "" */
};

struct promises_params {
    const char *kv_type; /* NULL: "f16" */
    uint32_t num_steps;  /* R of D2; 0: the model's mean_recurrence */
    bool quick;          /* fewer row counts and settings, half the tokens */
    void (*report)(void *user, const struct promise_result *result);
    void *user;
    const struct mn_log *log;
};

/* Of an engine with a model. MN_OK: all hold; MN_ERR_CHECK: some do not, and all were tried, but for tokens where
 * logits are no numbers or all alike; others: it cannot be tried, or the device failed. A model of fixed depth has D0
 * and D1 alone. */
enum mn_status promises_run(struct mn_engine *engine, const struct promises_params *params);

#endif
