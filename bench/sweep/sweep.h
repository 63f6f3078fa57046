/* muninn bench: every combination of the settings asked for, measured one after the other (sweep.c). settings.h knows
 * the combinations, measure.h how one of them is measured, bench/rows what a row is and where it is kept.
 *
 * Owns the results file while it runs. Changes the process's environment (cpu_device.h): for programs only.
 * Thread-safety: none. */
#ifndef MUNINN_BENCH_SWEEP_SWEEP_H
#define MUNINN_BENCH_SWEEP_SWEEP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/base/status.h"

enum { ROWS_PER_PASS = 128 };

struct sweep_params {
    const char *const *models;    /* [n_models] folders */
    const char *const *synthetic; /* [n_synthetic] shapes; behind the folders */
    uint32_t n_models, n_synthetic;
    /* Lists in the form of bench/rows/lists.h. devices, weight_types, matrix_units, num_steps, max_inflights and
     * prompt_tokens may be NULL: the best device, the type as stored, "off", the model's mean_recurrence, the
     * strategy's own, the prompts as they are. */
    const char *devices, *weight_types, *matrix_units, *kv_policies, *kv_types, *strategies, *num_steps, *draft_steps,
        *lookaheads, *max_inflights, *lookups, *branches, *prompt_tokens, *n_new, *batches;
    const char *made_up_note;        /* a warning before the first setting of a synthetic model; or NULL */
    const char *acceptance;          /* forced, "P,P,..."; NULL: as it comes */
    const char *shard;               /* "i/n"; NULL: all settings */
    const char *prompts, *answers;   /* a file, a folder; NULL: the fixed set, none */
    const char *results;             /* file to append rows to, or NULL */
    const char *output, *output_err; /* formats of rows_write for `out` and `rows_err`; output_err may be NULL */
    bool all_columns;                /* of Markdown */
    const char *cpu_threads;         /* see cpu_device_prepare */
    const char *cost_dir;            /* where measured costs are kept; NULL: nowhere */
    uint32_t repetitions;
    float min_seconds, temperature;
    uint64_t seed;
    bool resume, stop_at_eos, kernels, beyond; /* beyond: more steps than a model was made for */
    bool (*stop)(void);                        /* asked between prompts and settings; may be NULL */
    struct mn_progress progress;               /* the engine's */
    /* May be NULL. What the sweep is at, as mn_progress has it: `done` of `total`, or with a total of 0 the words
     * alone; NULL: nothing. */
    void (*show)(const char *what, uint64_t done, uint64_t total);
    FILE *out, *err; /* rows when all are there; what there is to say of them */
    FILE *rows_err;  /* rows as output_err has them */
};

/* MN_ERR_USAGE before anything runs; MN_ERR_INTERRUPTED with what there is shown and kept. A setting that cannot run
 * here costs its row: the sweep goes on and returns the first such failure at its end. MN_ERR_CHECK: a lossless
 * setting's tokens were not those of ar. */
enum mn_status sweep_run(const struct sweep_params *params, const struct mn_log *log);

/* MN_ERR_USAGE when something that would be written is an input, or another output. */
enum mn_status sweep_check_outputs(const struct sweep_params *params, const struct mn_log *log);

#endif
