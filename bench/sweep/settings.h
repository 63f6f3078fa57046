/* What a sweep runs over: lists of values as they are written on the command line, and their cross product.
 * Never opens a model or a device. Thread-safety: none. */
#ifndef MUNINN_BENCH_SWEEP_SETTINGS_H
#define MUNINN_BENCH_SWEEP_SETTINGS_H

#include <stddef.h>

#include "api/muninn.h"
#include "bench/rows/lists.h"
#include "bench/sweep/acceptance.h"

struct sweep_params;

/* The lists of a sweep. An empty one stands for the default, which the model or the machine knows. */
struct sweep_lists {
    struct word_list devices, weight_types, matrix_units, kv_policies, kv_types, strategies;
    struct number_list num_steps, draft_steps, lookaheads, lookups, branches, max_inflights, prompt_tokens, n_new,
        batches;
    uint32_t shard, n_shards; /* shard from 1 */
    struct acceptance acceptance;
};

/* Reads the lists and refuses what does not go together; MN_ERR_USAGE names the option. */
enum mn_status sweep_lists_parse(struct sweep_lists *lists, const struct sweep_params *params,
                                 const struct mn_log *log);

/* One point of the cross product. A figure that a strategy does not use is 0. */
struct bench_setting {
    const char *device, *weight_type, *matrix_units; /* NULL for the default */
    const char *kv_policy, *kv_type, *strategy;
    uint32_t num_steps, draft_steps, lookahead, max_inflight, lookup, branches, prompt_tokens, n_new,
        batch; /* prompt_tokens 0: the prompts as they are */
};

/* Most rows per pass of one sequence. */
uint32_t bench_rows(const struct bench_setting *setting);

/* Zeroed is an empty list. */
struct setting_list {
    struct bench_setting *items; /* [n], owned; their texts are those of the sweep_lists */
    size_t n, capacity;
    size_t n_impossible; /* combinations that cannot run, of all fillings */
};

/* MN_ERR_USAGE where shares are given for a depth that one of the settings has not. */
enum mn_status settings_check_acceptance(const struct setting_list *list, const struct acceptance *acceptance,
                                         const struct mn_log *log);

/* Every combination that can run, each once, in place of what the list had; those that share sizes stand together.
 * `base` has the device and the weight type. */
enum mn_status settings_fill(struct setting_list *list, const struct sweep_lists *lists, struct bench_setting base,
                             uint32_t mean_recurrence, const struct mn_log *log);

#endif
