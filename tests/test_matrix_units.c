/* Goal: matmuls on matrix units compute their formula in every weight type, and a row the same whether it runs alone or
 * with others; a model on them has the golden logits, a row's logits have the same bits beside other rows (D0), and
 * every strategy has the tokens of ar (D2); devices and builds that lack them say so. Method: the kernel cases of
 * matmuls with the tiles of matrix units, with a GPU's storage buffers, on every device that has such units (a current
 * lavapipe is one); passes of 1 to 16 rows bit for bit against 1-row passes. Golden values within the bound of
 * test_golden.c. The validation layer, with synchronization validation, must stay silent. MUNINN_TEST_VERBOSE prints
 * every case. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reference/kernel_cases.h"
#include "spec/generate.h"
#include "tests/testing.h"

/* Opens the device as if it were a GPU. False: it has no matrix units. */
static bool open_device(struct device **device, struct test_log *log)
{
    test_log_init(log);
    if (device_create(device, &(struct device_params){.select = test_device, .validate = MN_TEST_VALIDATE}, &log->log))
        fail_msg("device %s: %s", test_device, log->last);
    (*device)->caps.texel_loads = false;
    if ((*device)->caps.matrix_side)
        return true;
    if (matrix_units_lack())
        print_message("skipped: this build has no matrix units for want of %s\n", matrix_units_lack());
    else
        print_message("skipped: device '%s' has no matrix units that Muninn can use\n", (*device)->caps.name);
    device_destroy(*device);
    return false;
}

struct tally {
    uint32_t n_failed;
    double worst[WEIGHT_TYPES];
};

static void report(void *user, const struct kernel_case_result *result)
{
    struct tally *tally = user;
    tally->n_failed += !result->ok;
    for (int type = 0; type < WEIGHT_TYPES; type++) {
        char text[16];
        snprintf(text, sizeof text, ", %s, ", weight_type_name((enum weight_type)type));
        if (strstr(result->name, text))
            tally->worst[type] = fmax(tally->worst[type], result->nmse);
    }
    if (!result->ok || getenv("MUNINN_TEST_VERBOSE"))
        print_message("%s %s: %s: NMSE %.3g (limit %.3g) %s\n", result->ok ? "ok    " : "FAILED", result->kernel,
                      result->name, result->nmse, result->limit, result->detail);
}

static void test_kernels_on_units(void **state)
{
    (void)state;
    struct test_log log;
    struct device *device;
    struct kernels kernels;
    struct stream stream;
    struct tally tally = {0};
    uint32_t n_cases = 0, n_independence = 0;
    if (!open_device(&device, &log))
        skip();
    assert_int_equal(kernels_init(&kernels, device), MN_OK);
    assert_int_equal(stream_init(&stream, device, &kernels), MN_OK);
    const struct kernel_cases_params params = {.device = device,
                                               .kernels = &kernels,
                                               .stream = &stream,
                                               .matrix_units = true,
                                               .report = report,
                                               .user = &tally};
    const enum mn_status status = kernel_cases_run(&params, &n_cases),
                         independence = kernel_cases_row_independence(&params, &n_independence);
    print_message("%s, squares of %u: %u cases, %u row-independence checks, %u failed; largest NMSE", device->caps.name,
                  device->caps.matrix_side, n_cases, n_independence, tally.n_failed);
    for (int type = 0; type < WEIGHT_TYPES; type++)
        print_message(" %s %.2g", weight_type_name((enum weight_type)type), tally.worst[type]);
    print_message("\n");
    stream_finish(&stream);
    kernels_finish(&kernels);
    const uint32_t n_messages = device->n_messages;
    char first_message[sizeof device->first_message];
    memcpy(first_message, device->first_message, sizeof first_message);
    device_destroy(device);
    if (status || independence)
        fail_msg("%s", log.last);
    assert_true(n_cases > 0 && n_independence > 0);
    assert_int_equal(tally.n_failed, 0);
    if (n_messages)
        fail_msg("%u validation messages, the first: %.300s", n_messages, first_message);
}

/* ---- sessions ---- */

#define LOGIT_BOUND 2e-4

/* NULL: the device has no matrix units, which is an error that says so. */
static struct mn_engine *open_engine(struct test_log *log, const char *dir, const char *weight_type)
{
    struct mn_engine *engine = NULL;
    test_log_init(log);
    const enum mn_status status = mn_engine_create(&engine, &(struct mn_engine_params){.model_dir = dir,
                                                                                       .device = test_device,
                                                                                       .weight_type = weight_type,
                                                                                       .matrix_units = "on",
                                                                                       .validate = MN_TEST_VALIDATE,
                                                                                       .log = &log->log});
    if (status == MN_ERR_NO_DEVICE) {
        assert_null(engine);
        assert_int_equal(log->n_errors, 1);
        assert_non_null(strstr(log->last, "matrix_units on: "));
        print_message("skipped: %s\n", log->last);
        return NULL;
    }
    if (status)
        fail_msg("%s: %s", dir, log->last);
    assert_int_equal(engine->model->tuning.decode.path, PATH_MATRIX);
    assert_int_equal(engine->model->tuning.prefill.path, PATH_MATRIX);
    return engine;
}

static void check_golden(struct mn_engine *engine, const struct safetensors *file, const uint32_t *ids, uint32_t n_ids)
{
    uint32_t n_checked = 0;
    for (uint32_t i = 0; i < safetensors_n_tensors(file); i++) {
        const char *name = safetensors_tensor(file, i)->name;
        uint32_t steps;
        uint64_t n;
        if (sscanf(name, "logits.r%u", &steps) != 1)
            continue;
        float *golden = golden_floats(file, name, &n);
        struct session *session = test_session(
            engine, &(struct session_params){.num_steps = steps, .max_rows = 1, .kv_type = KV_F32});
        struct golden_error c = {.golden = golden};
        struct session_prefill_params prefill = {
            .ids = ids, .n = n_ids, .num_steps = steps, .each_logits = golden_compare, .user = &c};
        assert_int_equal(session_prefill(session, &prefill, NULL), MN_OK);
        print_message("%s: largest error %.3g\n", name, c.largest);
        assert_true(c.largest <= LOGIT_BOUND && c.largest > 0.0);
        session_destroy(session);
        free(golden);
        n_checked++;
    }
    assert_true(n_checked > 0);
}

/* Logits of six rows in one run are those of six runs of one row (D0). */
static void check_rows(struct mn_engine *engine)
{
    enum { N = 6 };
    const uint32_t n_vocab = engine->model->config.vocab_size;
    float *together = calloc(2 * (size_t)N * n_vocab, sizeof *together), *alone = together + (size_t)N * n_vocab;
    assert_non_null(together);
    for (int turn = 0; turn < 2; turn++) {
        const uint32_t n = turn ? 1 : N;
        struct session *session = test_session(
            engine, &(struct session_params){.num_steps = 4, .max_rows = 8, .kv_type = KV_F32, .n_ctx = 16});
        for (uint32_t at = 0; at < N; at += n) {
            struct row rows[N];
            uint32_t tokens[N];
            for (uint32_t i = 0; i < n; i++)
                rows[i] = (struct row){.token = (at + i) * 11 % n_vocab, .position = at + i};
            const struct session_run_params run = {
                .rows = rows, .n_rows = n, .n_new = n, .n_core = 4, .coda = true, .n_head = n};
            assert_int_equal(session_run(session, &run, tokens), MN_OK);
            for (uint32_t i = 0; i < n; i++)
                assert_int_equal(
                    session_read_logits(session, i, (n == 1 ? alone : together) + (size_t)(at + i) * n_vocab), MN_OK);
        }
        session_destroy(session);
    }
    assert_memory_equal(together, alone, (size_t)N * n_vocab * sizeof *alone);
    free(together);
}

static void check_strategies(struct mn_engine *engine)
{
    static const uint32_t prompt[] = {3, 41, 59, 26, 53, 58, 47, 13, 23, 34};
    static const struct {
        const char *strategy;
        uint32_t k, l;
    } settings[] = {{"draft-verify", 1, 1}, {"draft-verify", 2, 7}, {"draft-verify", 5, 3}, {"wavefront", 3, 0}};
    struct session *session = test_session(
        engine, &(struct session_params){.num_steps = 8, .max_rows = 8, .kv_type = KV_F16, .n_ctx = 32});
    for (int sampled = 0; sampled < 2; sampled++) {
        struct token_list expected = {0};
        struct mn_stats stats;
        struct mn_generate_params params = {
            .prompt = prompt,
            .n_prompt = sizeof prompt / sizeof *prompt,
            .n_new = 16,
            .strategy = "ar",
            .sampler = {.temperature = sampled ? 0.8f : 0.0f, .top_k = sampled ? 30 : 0, .top_p = 1.0f, .seed = 5},
            .init_scale = 1.0f,
            .ignore_eos = true,
            .on_token = token_list_add,
            .user = &expected};
        assert_int_equal(generate(session, &params, &stats), MN_OK);
        for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
            struct token_list got = {0};
            params.user = &got;
            params.strategy = settings[i].strategy;
            params.speculation.draft_steps = settings[i].k;
            params.speculation.lookahead = settings[i].l;
            assert_int_equal(generate(session, &params, &stats), MN_OK);
            assert_true(stats.lossless);
            assert_int_equal(got.n, expected.n);
            assert_memory_equal(got.ids, expected.ids, got.n * sizeof *got.ids);
        }
    }
    session_destroy(session);
}

static void check_model(const char *folder, const char *weight_type)
{
    struct test_log log;
    char path[512];
    struct safetensors *file;
    uint32_t n_ids;
    snprintf(path, sizeof path, VECTORS "%s", folder);
    struct mn_engine *engine = open_engine(&log, path, weight_type);
    if (!engine)
        skip();
    snprintf(path, sizeof path, VECTORS "%s/golden.safetensors", folder);
    assert_int_equal(safetensors_open_file(&file, path, NULL, &log.log), MN_OK);
    uint32_t *ids = golden_ids(file, "ids", &n_ids);
    assert_non_null(ids);
    check_golden(engine, file, ids, n_ids);
    check_rows(engine);
    check_strategies(engine);
    free(ids);
    safetensors_close(file);
    test_engine_done(engine);
}

static void test_f32_model(void **state)
{
    (void)state;
    check_model("square", "f32");
}

/* Its stored weights are bf16 numbers: nothing of them is rounded. */
static void test_bf16_model(void **state)
{
    (void)state;
    check_model("odd-bf16-sharded", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_f32_model), cmocka_unit_test(test_bf16_model),
                                       cmocka_unit_test(test_kernels_on_units)};
    return RUN_ON_EVERY_DEVICE(tests, NULL, NULL);
}
