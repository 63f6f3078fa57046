/* Goal: a second implementation of Vulkan, which shares no code with the first, passes the selftest, gives the golden
 * values and keeps what docs/contract.md says of bits: SwiftShader, subgroups of 4 and no f16.
 * Method: the driver that Debian's chromium brings along is the only one that the loader is shown; no browser runs. The
 * selftest's quick cases; logits and greedy tokens of a golden checkpoint; the same logits, bit for bit, for a row
 * alone and beside others, and again (D0, D1); the tokens of `ar` from every lossless strategy (D2). Exit 77: skipped,
 * there is no such driver. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "reference/selftest.h"
#include "tests/testing.h"

#define LOGIT_BOUND 2e-4

enum { STEPS = 8, N_ROWS = 4, N_NEW = 12 };

static const char manifest[] = "/usr/lib/chromium/vk_swiftshader_icd.json";

static void report(void *user, const struct kernel_case_result *result, bool matrix_units)
{
    (void)result, (void)matrix_units;
    ++*(uint32_t *)user;
}

static void test_selftest(void **state)
{
    (void)state;
    struct test_log log;
    uint32_t n = 0;
    test_log_init(&log);
    const struct selftest_params params = {.quick = true, .report = report, .user = &n, .log = &log.log};
    if (selftest_run(&params) != MN_OK)
        fail_msg("after %u cases: %s", n, log.last);
    print_message("%u cases\n", n);
    assert_true(n > 20);
}

struct rig {
    struct test_log log;
    struct mn_engine *engine;
    struct session *session;
    struct safetensors *file;
    uint32_t *ids, n_ids, n_vocab;
};

static void rig_open(struct rig *r)
{
    memset(r, 0, sizeof *r);
    test_log_init(&r->log);
    r->engine = test_engine(&r->log, VECTORS "square", "f32");
    assert_non_null(strstr(r->engine->model->device->caps.name, "SwiftShader"));
    const struct session_params params = {.num_steps = STEPS, .max_rows = N_ROWS, .kv_type = KV_F32, .n_ctx = 64};
    r->session = test_session(r->engine, &params);
    r->n_vocab = r->engine->model->config.vocab_size;
    assert_int_equal(safetensors_open_file(&r->file, VECTORS "square/golden.safetensors", NULL, NULL), MN_OK);
    r->ids = golden_ids(r->file, "ids", &r->n_ids);
    assert_non_null(r->ids);
}

static void rig_close(struct rig *r)
{
    free(r->ids);
    safetensors_close(r->file);
    session_destroy(r->session);
    test_engine_done(r->engine);
}

static struct token_list run(struct rig *r, const char *strategy)
{
    struct token_list list = {0};
    struct mn_stats stats;
    const struct mn_generate_params params = {.prompt = r->ids,
                                              .n_prompt = r->n_ids,
                                              .n_new = N_NEW,
                                              .strategy = strategy,
                                              .speculation = {.draft_steps = 3, .lookahead = N_ROWS - 1},
                                              .ignore_eos = true,
                                              .on_token = token_list_add,
                                              .user = &list};
    assert_int_equal(generate(r->session, &params, &stats), MN_OK);
    assert_true(stats.lossless);
    assert_int_equal(list.n, N_NEW);
    return list;
}

static void test_golden(void **state)
{
    (void)state;
    struct rig r;
    uint64_t n_logits;
    uint32_t n_tokens;
    rig_open(&r);
    float *golden = golden_floats(r.file, "logits.r8", &n_logits);
    uint32_t *tokens = golden_ids(r.file, "decode.full.tokens", &n_tokens);
    assert_true(golden && tokens && n_tokens == N_NEW);
    struct golden_error c = {.golden = golden};
    const struct session_prefill_params prefill = {
        .ids = r.ids, .n = r.n_ids, .num_steps = STEPS, .each_logits = golden_compare, .user = &c};
    assert_int_equal(session_prefill(r.session, &prefill, NULL), MN_OK);
    print_message("largest error %.3g\n", c.largest);
    assert_true(c.largest <= LOGIT_BOUND && c.largest > 0.0);
    static const char *const strategies[] = {"ar", "draft-verify", "wavefront"};
    for (size_t i = 0; i < sizeof strategies / sizeof *strategies; i++) {
        const struct token_list list = run(&r, strategies[i]);
        assert_memory_equal(list.ids, tokens, N_NEW * sizeof *tokens);
    }
    free(golden);
    free(tokens);
    rig_close(&r);
}

/* Logits of N_ROWS rows behind the prompt, `together` at a time: [N_ROWS, V], malloc'ed. */
static float *take_rows(struct rig *r, uint32_t together)
{
    float *logits = calloc((size_t)N_ROWS * r->n_vocab, sizeof *logits);
    assert_non_null(logits);
    const struct session_prefill_params prefill = {.ids = r->ids, .n = r->n_ids, .num_steps = STEPS};
    assert_int_equal(session_prefill(r->session, &prefill, NULL), MN_OK);
    for (uint32_t at = 0; at < N_ROWS; at += together) {
        struct row rows[N_ROWS];
        uint32_t tokens[N_ROWS];
        for (uint32_t i = 0; i < together; i++)
            rows[i] = (struct row){.token = (at + i) * 11 % r->n_vocab, .position = r->n_ids + at + i};
        const struct session_run_params params = {
            .rows = rows, .n_rows = together, .n_new = together, .n_core = STEPS, .coda = true, .n_head = together};
        assert_int_equal(session_run(r->session, &params, tokens), MN_OK);
        for (uint32_t i = 0; i < together; i++)
            assert_int_equal(session_read_logits(r->session, i, logits + (size_t)(at + i) * r->n_vocab), MN_OK);
    }
    return logits;
}

static void test_bits(void **state)
{
    (void)state;
    static const uint32_t together[] = {1, 2, N_ROWS};
    struct rig r;
    rig_open(&r);
    float *alone = take_rows(&r, 1);
    for (size_t i = 0; i < sizeof together / sizeof *together; i++) {
        float *got = take_rows(&r, together[i]);
        if (memcmp(got, alone, (size_t)N_ROWS * r.n_vocab * sizeof *got))
            fail_msg("%u rows together: other bits than one by one", together[i]);
        free(got);
    }
    free(alone);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_selftest), cmocka_unit_test(test_golden),
                                       cmocka_unit_test(test_bits)};
    if (access(manifest, R_OK)) {
        printf("skipped: there is no %s (Debian package chromium)\n", manifest);
        return 77;
    }
    /* Newer loaders read the first, older ones the second. */
    if (setenv("VK_DRIVER_FILES", manifest, 1) || setenv("VK_ICD_FILENAMES", manifest, 1))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
