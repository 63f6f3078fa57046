/* Measuring one setting: a model on a device with its prompts and what `ar` says behind them (model.c), the setting
 * measured and turned into a row (run.c, row.c), answers for others to read (answers.c), every kernel by itself
 * (kernels.c). sweep.c calls these once per setting. Thread-safety: none. */
#ifndef MUNINN_BENCH_SWEEP_MEASURE_H
#define MUNINN_BENCH_SWEEP_MEASURE_H

#include "bench/rows/identity.h"
#include "bench/rows/rows.h"
#include "bench/rows/sampling.h"
#include "bench/sensors/sensors.h"
#include "bench/sweep/ceiling.h"
#include "bench/sweep/prompts.h"
#include "bench/sweep/settings.h"

/* ---- model.c ---- */

/* A prompt as ids, and what `ar` with a full cache says behind it. */
struct expected {
    const struct prompt *prompt;
    uint32_t turn;
    uint32_t *ids, n_ids;       /* owned */
    uint32_t *tokens, n_tokens; /* owned, room for n_new */
};

/* A model on a device and what its settings share. */
struct bench_model {
    struct mn_engine *engine;
    struct mn_model_info info;
    struct identity identity;
    const char *sensor_root;      /* borrowed */
    struct sensors *sensors;      /* owned; NULL: nothing is shown of the device */
    struct ceiling ceiling;       /* of the device, in rest */
    const char *prompt_set;       /* its name in rows */
    struct expected *expected;    /* [n_expected], owned: of the sizes below; a conversation's turns are apart */
    uint32_t n_expected, longest; /* longest: most ids of a prompt */
    uint32_t num_steps, n_new, prompt_tokens; /* n_new 0: nothing is known yet */
    const char *kv_type;
};

/* What a sweep shares. */
struct bench_common {
    struct sampling sampling;
    const struct prompt_set *prompts;
    uint64_t seed;
    float temperature;
    bool stop_at_eos, beyond;
    const char *cost_dir, *cpu_threads;
    const char *sensor_root;             /* of sensors_params; NULL: the system's */
    struct cost_memory *costs;           /* of all settings */
    struct ceiling_memory *ceilings;     /* of all models; NULL: each measures its own */
    const char *answers_dir;             /* NULL: none */
    const struct acceptance *acceptance; /* forced; NULL, or nothing given: none */
    bool (*stop)(void);
    struct mn_progress progress;
    void (*show)(const char *what, uint64_t done, uint64_t total); /* may be NULL */
    const struct mn_log *log;
};

/* `dir` or `synthetic`, the other NULL. Of the setting, device, weight_type and matrix_units are looked at. */
enum mn_status bench_model_open(struct bench_model *model, const char *dir, const char *synthetic,
                                const struct bench_setting *setting, const struct bench_common *common);
void bench_model_close(struct bench_model *model);
/* The ceiling once more, behind this model's settings; its rows, from `first` on, get it beside what they refer to. */
enum mn_status bench_model_end(struct ceiling *end, const struct bench_model *model, struct rows *rows, size_t first,
                               const struct mn_log *log);
/* Makes prompts and `ar`'s tokens for the setting's sizes, unless they are those of the setting before. */
enum mn_status bench_model_expect(struct bench_model *model, const struct bench_setting *setting,
                                  const struct bench_common *common);
/* The parameters of one prompt under a setting; callbacks are left to the caller. */
void bench_params(struct mn_generate_params *params, const struct expected *expected,
                  const struct bench_setting *setting, const struct bench_common *common);

/* ---- run.c ---- */

/* Measures one setting. *row is the caller's to cJSON_Delete. *equal: a lossless setting's tokens were those of ar;
 * true for lossy ones. */
enum mn_status bench_measure(struct bench_model *model, const struct bench_setting *setting,
                             const struct bench_common *common, cJSON **row, bool *equal);

/* ---- answers.c ---- */

/* What one prompt came to, for Spec-Bench's scripts. */
struct answer {
    const uint32_t *tokens;
    uint32_t n_tokens;
    const uint32_t *lengths; /* tokens committed by each decoding step; [n_lengths] */
    uint32_t n_lengths;
    double wall_s;
};

#define ANSWERS_PREFIX "muninn-" /* of every such file's name */
/* Writes DIR/MODEL_ID.jsonl, a line per question; answers [model->n_expected]. */
enum mn_status answers_write(const struct bench_model *model, const struct bench_setting *setting,
                             const struct bench_common *common, const struct answer *answers);

/* ---- kernels.c ---- */

/* Where its rows go, one by one as they are measured, and whether one is there already. */
struct kernel_rows {
    enum mn_status (*keep)(void *user, cJSON *row); /* takes the row */
    const cJSON *(*find)(void *user, const char *key);
    void *user;
};
/* Measures passes and kernels at 1 to 32 rows, those that are not there yet; the floor's row is the last. */
enum mn_status kernels_measure(struct bench_model *model, const struct bench_setting *setting,
                               const struct bench_common *common, const struct kernel_rows *rows);
/* The name of the last row: where it is, all are. malloc'ed, NULL without memory. */
char *kernels_last_key(const struct bench_model *model, const struct bench_setting *setting,
                       const struct bench_common *common);

/* ---- row.c ---- */

/* The name under which a setting is known in a results file: everything that a repetition must share. malloc'ed, NULL
 * without memory. */
char *row_key(const struct bench_model *model, const struct bench_setting *setting, const struct bench_common *common);
/* The same for a row of another kind. */
char *row_key_of(const struct bench_model *model, const char *kind, const char *rest);

/* A row under construction: a failed allocation sticks. */
struct row_builder {
    cJSON *row; /* owned until it is taken */
    bool failed;
};
/* Begins with what every row has; takes `key`, which may be NULL (no memory). */
void row_begin_at(struct row_builder *builder, char *key, const char *kind, const struct identity *identity,
                  const struct mn_model_info *info, const char *kv_type);
/* The same, and the bandwidth, where that was measured. */
void row_begin(struct row_builder *builder, char *key, const char *kind, const struct bench_model *model,
               const char *kv_type);
void row_text(struct row_builder *builder, const char *key, const char *value);
void row_number(struct row_builder *builder, const char *key, double value); /* what is not finite becomes 0 */
/* As a share of the ceiling, and why where that is above it: `what` reads `bytes` of weights again and again. */
void row_share(struct row_builder *builder, const struct bench_model *model, double gb_s, const char *what,
               double bytes);
void row_bool(struct row_builder *builder, const char *key, bool value);
void row_float(struct row_builder *builder, const char *key, float value); /* 0.8 as 0.8, not as the double of 0.8f */
void row_numbers(struct row_builder *builder, const char *key, const double *values, uint32_t n);
/* Hands the row over, or MN_ERR_MEMORY. */
enum mn_status row_end(struct row_builder *builder, cJSON **row, const struct mn_log *log);

#endif
