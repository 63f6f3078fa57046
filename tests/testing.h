/* What the tests share: a log that remembers, engines under validation, golden tensors, random models. */
#ifndef MUNINN_TESTS_TESTING_H
#define MUNINN_TESTS_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four headers above it. */
#include <cmocka.h>

#include "analysis/compare.h"
#include "api/handles.h"
#include "engine/files/safetensors.h"
#include "engine/model/session_internal.h"
#include "spec/generate.h"

#define VECTORS MN_SOURCE_DIR "/tests/vectors/"
#define RAVEN_TINY MN_SOURCE_DIR "/models/raven-tiny"
#define RAVEN_DEEP MN_SOURCE_DIR "/models/raven-deep" /* the default model */

/* Counts error lines and warnings and keeps the last of each; notes are dropped. */
struct test_log {
    struct mn_log log;
    uint32_t n_errors, n_warnings;
    char last[1024], last_warning[1024];
};
void test_log_init(struct test_log *log);

/* A refusal: MN_ERR_USAGE and one error line, which has `word` in it. `what` names the case. Forgets the line. */
void test_refused(struct test_log *log, enum mn_status status, const char *word, const char *what);

/* Devices of this machine that Muninn can use, as values for `select`. Ends the program with 77 (skipped) when there is
 * none. */
enum { TEST_MAX_DEVICES = 16 };
struct test_devices {
    uint32_t n;
    char select[TEST_MAX_DEVICES][16];
};
void test_devices_find(struct test_devices *devices);

/* What test_engine opens; NULL: the best device. */
extern const char *test_device;

/* Runs all tests once on each device; returns the number of failures. */
int test_every_device(const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup, CMFixtureFunction teardown);
#define RUN_ON_EVERY_DEVICE(tests, setup, teardown) \
    test_every_device((tests), sizeof(tests) / sizeof *(tests), (setup), (teardown))

/* Opens a model on `test_device` with the validation layer on. Ends the program with 77 (skipped) when there is no
 * Vulkan device at all. */
struct mn_engine *test_engine(struct test_log *log, const char *dir, const char *weight_type);
/* Asserts that the validation layer said nothing and frees the engine. */
void test_engine_done(struct mn_engine *engine);

struct session *test_session(struct mn_engine *engine, const struct session_params *params);

/* Values of a golden tensor as floats or ids, malloc'ed; NULL when the file has none of that name. */
float *golden_floats(const struct safetensors *file, const char *name, uint64_t *n);
uint32_t *golden_ids(const struct safetensors *file, const char *name, uint32_t *n);

/* How far logits are from golden ones. golden_compare is for session_prefill's each_logits, with one of these as
 * `user`; what is no number is as far as can be. */
struct golden_error {
    const float *golden; /* [positions, n_vocab] */
    double largest;
};
enum mn_status golden_compare(void *user, uint32_t position, const float *logits, uint32_t n_vocab);

/* Shape of a checkpoint made from a seed. */
struct random_shape {
    uint32_t n_embd, n_heads, intermediate_size, vocab_size, n_prelude, n_core, n_coda, block_size;
    bool tied, qk_bias;
    uint64_t seed;
    const char *family; /* NULL: Huginn; "retrofit-llama", "retrofit-olmo"; "ouro", "llama": all blocks are n_core's */
    uint32_t n_kv_heads, head_dim; /* not Huginn's; 0: n_heads, n_embd / n_heads */
};
/* Writes config.json and model.safetensors (f32) into a fresh temporary folder; *dir is malloc'ed. */
void random_model_write(const struct random_shape *shape, char **dir);
void random_model_remove(char *dir);

/* A random model with an engine of its own on `test_device`. */
struct test_model {
    struct test_log log;
    struct mn_engine *engine;
    char *dir;
};
void test_model_open(struct test_model *m, const struct random_shape *shape);
void test_model_close(struct test_model *m);

/* The tokens of a run, for comparison. */
struct token_list {
    uint32_t n, ids[1024];
    uint32_t stop_after; /* the callback asks to stop after so many; 0: never */
    uint64_t n_kept;     /* for a trace: rows that survived */
};
int token_list_add(void *user, uint32_t token);

/* Deterministic test noise in [-1, 1). */
float test_noise(uint64_t seed, uint64_t index);

#endif
