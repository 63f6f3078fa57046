/* muninn bench in four files: options and the cross product (bench.c), one setting measured (bench_run.c), rows in and out (rows.c),
 * and result files put together (merge.c). sampling.c knows how often, lists.c what over. */
#ifndef MUNINN_BENCH_COMMAND_H
#define MUNINN_BENCH_COMMAND_H

#include "rows.h"
#include "sampling.h"

/* One point of the cross product. A figure that a strategy does not use is 0. */
struct bench_setting {
    const char *device, *model, *weight_type; /* device and weight_type: NULL for the default */
    const char *kv_policy, *kv_type, *strategy;
    uint32_t num_steps, draft_steps, lookahead, max_inflight, prompt_tokens, n_new, batch; /* prompt_tokens 0: the prompts as they are */
};

/* A model on a device and what its settings share. */
struct bench_model {
    struct mn_engine *engine;
    struct mn_model_info info;
    const char *dir;
    char hash[CLI_HASH_BYTES];           /* of config.json and the tensors' headers */
    double ceiling_gb_s;                 /* measured read bandwidth */
    uint32_t n_prompts, *prompts[8], lengths[8]; /* at the prompt length of the setting under way; owned */
    uint32_t prompt_tokens;              /* that length; UINT32_MAX: none yet */
    struct reference *reference;         /* what ar says; owned */
};

/* ---- bench_run.c ---- */

enum mn_status bench_model_open(struct bench_model *model, const struct bench_setting *setting, const char *dir, const struct mn_log *log);
void bench_model_close(struct bench_model *model);

/* What a sweep shares. */
struct bench_common {
    struct sampling sampling;
    uint64_t seed;
    float temperature;
    const char *cost_dir;
    const float *acceptance; /* forced; [n_acceptance] or none */
    uint32_t n_acceptance;
    bool (*stop)(void);
    const struct mn_log *log;
};

/* Measures one setting. *row is the caller's to cJSON_Delete. MN_ERR_CHECK when a lossless setting's tokens are not those of ar. */
enum mn_status bench_measure(struct bench_model *model, const struct bench_setting *setting, const struct bench_common *common, cJSON **row);

/* ---- rows.c; the rest of it is in rows.h ---- */

/* The name under which a setting is known in a results file: everything that a repetition must share. malloc'ed, NULL without memory. */
char *row_key(const struct bench_model *model, const struct bench_setting *setting, const struct bench_common *common);

#endif
