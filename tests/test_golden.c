/* Goal: the engine computes the model as the reference PyTorch code does.
 * Method: logits after several recurrence counts, with zero and with given initial states (bound 2e-4 absolute), and
 * greedy tokens with the cache policies full, share:1 and share:4 (equal), on golden checkpoints of every family; text
 * generations of the shipped model (equal). f32 weights and cache, on every device found; the Vulkan validation layer
 * must stay silent. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/json.h"
#include "spec/exit.h"
#include "tests/testing.h"

#define LOGIT_BOUND 2e-4

struct golden {
    struct test_log log;
    struct mn_engine *engine;
    struct safetensors *file;
    uint32_t *ids, n;
};

static void golden_open(struct golden *g, const char *folder)
{
    char path[512];
    test_log_init(&g->log);
    snprintf(path, sizeof path, VECTORS "%s", folder);
    g->engine = test_engine(&g->log, path, "f32");
    snprintf(path, sizeof path, VECTORS "%s/golden.safetensors", folder);
    assert_int_equal(safetensors_open_file(&g->file, path, NULL, &g->log.log), MN_OK);
    g->ids = golden_ids(g->file, "ids", &g->n);
    assert_non_null(g->ids);
}

static void golden_close(struct golden *g)
{
    free(g->ids);
    safetensors_close(g->file);
    test_engine_done(g->engine);
}

static void check_logits(struct golden *g, const char *name, uint32_t num_steps, const float *state0)
{
    uint64_t n;
    float *golden = golden_floats(g->file, name, &n);
    struct session_params params = {.num_steps = num_steps, .max_rows = 1, .kv_type = KV_F32};
    struct session *session = test_session(g->engine, &params);
    struct golden_error c = {.golden = golden};
    struct session_prefill_params prefill = {
        .ids = g->ids, .n = g->n, .num_steps = num_steps, .state0 = state0, .each_logits = golden_compare, .user = &c};
    assert_int_equal(session_prefill(session, &prefill, NULL), MN_OK);
    print_message("%s: largest error %.3g\n", name, c.largest);
    assert_true(c.largest <= LOGIT_BOUND);
    assert_true(c.largest > 0.0); /* exactly equal would mean that nothing was compared */
    session_destroy(session);
    free(golden);
}

static void check_decode(struct golden *g, const char *policy, uint32_t share, uint32_t num_steps)
{
    char name[64];
    uint32_t n_tokens;
    uint64_t n_logits;
    snprintf(name, sizeof name, "decode.%s.tokens", policy);
    uint32_t *golden = golden_ids(g->file, name, &n_tokens);
    if (!golden)
        return;
    snprintf(name, sizeof name, "decode.%s.logits", policy);
    float *golden_logits = golden_floats(g->file, name, &n_logits);
    const uint32_t n_vocab = g->engine->model->config.vocab_size;
    float *logits = malloc(n_vocab * sizeof *logits);
    struct session_params params = {.num_steps = num_steps, .max_rows = 1, .kv_type = KV_F32, .policy = {share}};
    struct session *session = test_session(g->engine, &params);
    struct session_prefill_params prefill = {.ids = g->ids, .n = g->n, .num_steps = num_steps};
    uint32_t token;
    assert_int_equal(session_prefill(session, &prefill, &token), MN_OK);
    struct golden_error c = {0};
    for (uint32_t i = 0; i < n_tokens; i++) {
        assert_int_equal(token, golden[i]);
        struct row row = {.token = token, .position = g->n + i};
        struct session_run_params run = {
            .rows = &row, .n_rows = 1, .n_new = 1, .n_core = num_steps, .coda = true, .n_head = 1};
        assert_int_equal(session_run(session, &run, &token), MN_OK);
        assert_int_equal(session_read_logits(session, 0, logits), MN_OK);
        c.golden = golden_logits + (size_t)(i + 1) * n_vocab; /* some files end with the row that made the last token */
        if ((i + 2) * (uint64_t)n_vocab <= n_logits)
            golden_compare(&c, 0, logits, n_vocab);
    }
    print_message("decode %s: %u tokens equal, largest logit error %.3g\n", policy, n_tokens, c.largest);
    assert_true(c.largest <= LOGIT_BOUND);
    session_destroy(session);
    free(logits);
    free(golden_logits);
    free(golden);
}

static void check_folder(const char *folder, uint32_t verify_steps, uint32_t n_expected)
{
    struct golden g;
    golden_open(&g, folder);
    uint64_t n;
    float *state0 = golden_floats(g.file, "state0", &n);
    uint32_t n_checked = 0;
    for (uint32_t i = 0; i < safetensors_n_tensors(g.file); i++) {
        const char *name = safetensors_tensor(g.file, i)->name;
        uint32_t steps;
        if (sscanf(name, "logits.r%u", &steps) == 1)
            check_logits(&g, name, steps, NULL);
        else if (sscanf(name, "logits.state0.r%u", &steps) == 1)
            check_logits(&g, name, steps, state0);
        else
            continue;
        n_checked++;
    }
    assert_int_equal(n_checked, n_expected);
    check_decode(&g, "full", 0, verify_steps);
    check_decode(&g, "share1", 1, verify_steps);
    check_decode(&g, "share4", 4, verify_steps);
    free(state0);
    golden_close(&g);
}

static void test_square(void **state)
{
    (void)state;
    check_folder("square", 8, 5);
}

static void test_converging(void **state)
{
    (void)state;
    check_folder("converging", 16, 4);
}

static void test_odd_bf16_sharded(void **state)
{
    (void)state;
    check_folder("odd-bf16-sharded", 6, 4);
}

static void test_retrofit_llama(void **state)
{
    (void)state;
    check_folder("retrofit-llama", 8, 4);
}

static void test_retrofit_tinyllama(void **state)
{
    (void)state;
    check_folder("retrofit-tinyllama-bf16-sharded", 6, 3);
}

static void test_retrofit_olmo(void **state)
{
    (void)state;
    check_folder("retrofit-olmo", 8, 4);
}

static void test_ouro(void **state)
{
    (void)state;
    check_folder("ouro", 4, 4);
}

/* golden.json: {"exit": {"0.5": [loops of each position, ...], ...}}. */
static void test_ouro_gate(void **state)
{
    (void)state;
    enum { LOOPS = 4, POSITIONS_MAX = 32 };
    struct golden g;
    struct json_doc doc;
    const cJSON *exits, *list, *loops;
    struct exit_memory memories[POSITIONS_MAX];
    uint32_t left[POSITIONS_MAX], n_thresholds = 0;
    golden_open(&g, "ouro");
    assert_true(g.n <= POSITIONS_MAX);
    const uint32_t d = g.engine->model->config.n_embd;
    float *states = malloc((size_t)LOOPS * g.n * d * sizeof *states);
    struct session *session = test_session(
        g.engine, &(struct session_params){.num_steps = LOOPS, .max_rows = 1, .kv_type = KV_F32});
    for (uint32_t u = 1; u <= LOOPS; u++) {
        const struct session_prefill_params prefill = {.ids = g.ids, .n = g.n, .num_steps = u};
        assert_int_equal(session_prefill(session, &prefill, NULL), MN_OK);
        assert_int_equal(session_read_states(session, 0, 0, g.n, u, states + (size_t)(u - 1) * g.n * d), MN_OK);
    }
    assert_int_equal(json_read_file(&doc, VECTORS "ouro/golden.json", 1 << 20, &g.log.log), MN_OK);
    assert_int_equal(json_get_object(&doc, doc.root, "exit", &exits), MN_OK);
    cJSON_ArrayForEach (list, exits) {
        const struct exit_rule rule = {.criterion = EXIT_GATE, .threshold = strtod(list->string, NULL)};
        for (uint32_t i = 0; i < g.n; i++) {
            left[i] = 0;
            memories[i] = (struct exit_memory){.survival = 1.0};
            for (uint32_t u = 1; u <= LOOPS; u++)
                if (exit_gate(&rule, &memories[i], session_info(session)->exit_gate,
                              states + ((size_t)(u - 1) * g.n + i) * d, d) &&
                    !left[i])
                    left[i] = u;
            left[i] = left[i] ? left[i] : LOOPS; /* the last loop takes what is left */
        }
        uint32_t i = 0;
        cJSON_ArrayForEach (loops, list)
            assert_int_equal(left[i++], (uint32_t)loops->valuedouble);
        assert_int_equal(i, g.n);
        n_thresholds++;
    }
    assert_int_equal(n_thresholds, 4);
    json_destroy(&doc);
    session_destroy(session);
    free(states);
    golden_close(&g);
}

static void test_llama(void **state)
{
    (void)state;
    check_folder("llama-fixed-depth", 1, 1);
}

/* One line of raven-tiny-generate.jsonl: {"ids", "num_steps", "tokens"}. */
static void check_line(struct session *session, const char *line, uint32_t number, const struct mn_log *log)
{
    struct json_doc doc = {0};
    assert_int_equal(json_parse(&doc, "raven-tiny-generate.jsonl", line, strlen(line), 1 << 20, log), MN_OK);
    uint32_t prompt[512], n_prompt = 0, golden[512], n_golden = 0, num_steps;
    const cJSON *node, *array;
    assert_int_equal(json_get_array(&doc, doc.root, "ids", &array), MN_OK);
    cJSON_ArrayForEach (node, array)
        assert_int_equal(json_as_u32(&doc, "ids", node, 0, 511, &prompt[n_prompt++]), MN_OK);
    assert_int_equal(json_get_array(&doc, doc.root, "tokens", &array), MN_OK);
    cJSON_ArrayForEach (node, array)
        assert_int_equal(json_as_u32(&doc, "tokens", node, 0, 511, &golden[n_golden++]), MN_OK);
    assert_int_equal(json_get_u32(&doc, doc.root, "num_steps", 1, 64, &num_steps), MN_OK);
    struct token_list list = {0};
    struct mn_stats stats;
    struct mn_generate_params params = {.prompt = prompt,
                                        .n_prompt = n_prompt,
                                        .n_new = n_golden,
                                        .num_steps = num_steps,
                                        .strategy = "draft-verify",
                                        .speculation = {.draft_steps = 2, .lookahead = 4},
                                        .ignore_eos = true,
                                        .on_token = token_list_add,
                                        .user = &list};
    assert_int_equal(generate(session, &params, &stats), MN_OK);
    assert_int_equal(list.n, n_golden);
    for (uint32_t i = 0; i < n_golden; i++)
        if (list.ids[i] != golden[i])
            fail_msg("line %u: token %u is %u, the reference has %u", number, i, list.ids[i], golden[i]);
    json_destroy(&doc);
}

static void test_raven_tiny(void **state)
{
    (void)state;
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    struct session_params params = {.num_steps = 32, .max_rows = 8, .kv_type = KV_F32};
    struct session *session = test_session(engine, &params);
    FILE *file = fopen(VECTORS "raven-tiny-generate.jsonl", "r");
    assert_non_null(file);
    char line[8192];
    uint32_t n = 0;
    while (fgets(line, sizeof line, file))
        check_line(session, line, ++n, &log.log);
    fclose(file);
    print_message("%u generations equal\n", n);
    assert_true(n >= 5);
    session_destroy(session);
    test_engine_done(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_square),
                                       cmocka_unit_test(test_converging),
                                       cmocka_unit_test(test_odd_bf16_sharded),
                                       cmocka_unit_test(test_retrofit_llama),
                                       cmocka_unit_test(test_retrofit_tinyllama),
                                       cmocka_unit_test(test_retrofit_olmo),
                                       cmocka_unit_test(test_ouro),
                                       cmocka_unit_test(test_ouro_gate),
                                       cmocka_unit_test(test_llama),
                                       cmocka_unit_test(test_raven_tiny)};
    return RUN_ON_EVERY_DEVICE(tests, NULL, NULL);
}
