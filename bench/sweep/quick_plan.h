/* How `muninn bench --quick` keeps its time: what is tried, how far, and what is left out, decided by what has been
 * measured so far. Knows no device: a test brings made-up costs and a clock of its own. Thread-safety: none. */
#ifndef MUNINN_BENCH_SWEEP_QUICK_PLAN_H
#define MUNINN_BENCH_SWEEP_QUICK_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/status.h"

enum {
    QUICK_SECONDS = 120,
    QUICK_PROMPTS = 4,     /* of the fixed set */
    QUICK_REPETITIONS = 5, /* behind one that warms up */
    QUICK_SUBJECTS_MAX = 32,
    QUICK_WHY_BYTES = 160
};

/* A model; smaller ones first, so that what larger ones will take is known from them. */
struct quick_subject {
    uint64_t weight_bytes; /* 0: unknown */
    uint32_t n_settings;   /* the first is ar; what a subject is for comes early */
    bool synthetic;        /* its weights are made, its figures are in proportion to its size */
};

/* All but `close` end soon behind `deadline` (on the clock of `now`) with MN_ERR_INTERRUPTED. */
struct quick_ops {
    double (*now)(void *user);                                             /* seconds */
    bool (*stop)(void *user);                                              /* does somebody want an end? */
    enum mn_status (*open)(void *user, uint32_t subject, double deadline); /* MN_ERR_MEMORY: does not fit; said */
    /* Seconds of one token with ar. */
    enum mn_status (*time_token)(void *user, uint32_t subject, double deadline, double *seconds);
    enum mn_status (*measure)(void *user, uint32_t subject, uint32_t setting, uint32_t n_new, double deadline);
    /* Of a subject of which something was measured, what is wanted of its device at the end: behind all settings, in
     * the time that is kept for it, about finish_s seconds. MN_ERR_INTERRUPTED at the deadline costs nothing else. */
    enum mn_status (*finish)(void *user, uint32_t subject, double deadline);
    double (*finish_s)(void *user, uint32_t subject);
    void (*close)(void *user, uint32_t subject);
    /* The subject is over: `why` it was left out or cut short, or NULL. `n_measured` of its settings are there, the
     * first ones. */
    void (*over)(void *user, uint32_t subject, uint32_t n_measured, const char *why);
    void *user;
};

/* Goes through the subjects (at most QUICK_SUBJECTS_MAX) within `budget_s`, each with a fair share of what is left;
 * those that need more come again at the end. Failures of one cost that one; the first is returned at the end.
 * MN_ERR_INTERRUPTED at once when `stop` says so. */
enum mn_status quick_plan_run(const struct quick_ops *ops, const struct quick_subject *subjects, uint32_t n,
                              double budget_s);

#endif
