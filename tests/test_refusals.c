/* Goal: what cannot be done is refused, with one line that names the parameter or the argument, before anything runs.
 * Method: one random model with odd sizes, on every device found; settings that work, with one thing wrong at a time;
 * every public function without each of its arguments. The Vulkan validation layer must stay silent. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/testing.h"

enum { R = 8, N_CTX = 32, N_PROMPT = 9, N_FULL = N_CTX + 1 - N_PROMPT, V = 173 };

static const struct random_shape shape = {.n_embd = 60,
                                          .n_heads = 6,
                                          .intermediate_size = 92,
                                          .vocab_size = V,
                                          .n_prelude = 1,
                                          .n_core = 2,
                                          .n_coda = 3,
                                          .block_size = 96,
                                          .tied = false,
                                          .qk_bias = true,
                                          .seed = 12};
static const uint32_t prompt[N_PROMPT] = {0, 23, 29, 90, 100, 23, 27, 92, 26};

static struct test_model f;

static int open_model(void **state)
{
    (void)state;
    test_model_open(&f, &shape);
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    test_model_close(&f);
    return 0;
}

/* Runs good settings after the edits given; the message names the parameter and no option of a command line. */
#define REFUSE(flag, ...) \
    do { \
        struct mn_generate_params p = good; \
        (void)(__VA_ARGS__); \
        test_refused(&f.log, generate(session, &p, &stats), flag, #__VA_ARGS__); \
        if (strstr(f.log.last, "--")) \
            fail_msg("a command line's option in '%s'", f.log.last); \
        assert_int_equal(list.n + stats.n_new, 0); \
    } while (0)

static void test_refusals(void **state)
{
    (void)state;
    static const uint32_t beyond[] = {0, 5, V}, far_beyond[] = {UINT32_MAX};
    struct session *session = test_session(
        f.engine, &(struct session_params){.num_steps = R, .max_rows = 16, .kv_type = KV_F16, .n_ctx = N_CTX});
    struct token_list list = {0};
    struct mn_stats stats;
    const struct mn_generate_params good = {.prompt = prompt,
                                            .n_prompt = N_PROMPT,
                                            .n_new = 4,
                                            .strategy = "draft-verify",
                                            .speculation = {.draft_steps = 2, .lookahead = 3},
                                            .on_token = token_list_add,
                                            .user = &list};
    REFUSE("strategy", p.strategy = "beam");
    REFUSE("strategy", p.strategy = "");
    REFUSE("prompt", p.n_prompt = 0);
    REFUSE("prompt", p.prompt = NULL, p.n_prompt = 0);
    REFUSE("n_new 0", p.n_new = 0);
    REFUSE("n_ctx", p.n_new = N_FULL + 1);
    REFUSE("n_ctx", p.n_new = UINT32_MAX);
    REFUSE("n_ctx", p.n_prompt = UINT32_MAX);
    REFUSE("token id 173", p.prompt = beyond, p.n_prompt = 3);
    REFUSE("token id 4294967295", p.prompt = far_beyond, p.n_prompt = 1);
    REFUSE("num_steps", p.num_steps = R + 1);
    REFUSE("num_steps", p.num_steps = UINT32_MAX);
    REFUSE("draft_steps", p.speculation.draft_steps = 0);
    REFUSE("draft_steps", p.speculation.draft_steps = R);
    REFUSE("draft_steps", p.speculation.draft_steps = UINT32_MAX);
    REFUSE("draft_steps", p.num_steps = 2);
    REFUSE("num_steps", p.num_steps = 1, p.speculation.draft_steps = 1);
    REFUSE("draft_steps", p.strategy = "wavefront", p.speculation.draft_steps = 0);
    REFUSE("draft_steps", p.strategy = "wavefront", p.speculation.draft_steps = R);
    REFUSE("lookahead", p.speculation.lookahead = 0);
    REFUSE("lookahead", p.speculation.lookahead = 16);
    REFUSE("lookahead", p.speculation.lookahead = MN_MAX_LOOKAHEAD + 1);
    REFUSE("lookahead", p.speculation.lookahead = UINT32_MAX);
    REFUSE("max_inflight", p.strategy = "wavefront", p.speculation.max_inflight = 17);
    REFUSE("exit.rule", p.exit.rule = "patience");
    REFUSE("exit.rule", p.strategy = "wavefront", p.exit.rule = "cosine");
    REFUSE("require_lossless: exit in ar", p.strategy = "ar", p.exit.rule = "cosine",
           p.speculation.require_lossless = true);
    REFUSE("init_scale", p.init_scale = -1.0f);
    REFUSE("init_scale", p.init_scale = 1e9f);
    REFUSE("init_scale", p.init_scale = NAN);
    REFUSE("temperature", p.sampler.temperature = -0.5f);
    REFUSE("temperature", p.sampler.temperature = 1e-5f);
    REFUSE("temperature", p.sampler.temperature = 101.0f);
    REFUSE("temperature", p.sampler.temperature = NAN);
    REFUSE("top_p", p.sampler.temperature = 1.0f, p.sampler.top_p = -0.1f);
    REFUSE("top_p", p.sampler.temperature = 1.0f, p.sampler.top_p = 1.1f);
    REFUSE("top_p", p.sampler.temperature = 1.0f, p.sampler.top_p = NAN);
    REFUSE("min_p", p.sampler.temperature = 1.0f, p.sampler.min_p = -0.1f);
    REFUSE("min_p", p.sampler.temperature = 1.0f, p.sampler.min_p = 1.1f);
    REFUSE("min_p", p.sampler.temperature = 1.0f, p.sampler.min_p = INFINITY);
    assert_int_equal(generate(session, &good, &stats), MN_OK);
    assert_true(list.n > 0);
    session_destroy(session);
}

static enum mn_status no_logits(void *user, uint32_t position, const float *logits, uint32_t n_vocab)
{
    (void)user;
    (void)position;
    (void)logits;
    (void)n_vocab;
    return MN_OK;
}

static void test_session_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *flag;
        struct mn_session_params params;
    } cases[] = {
        {"n_ctx", {.n_ctx = 1}},
        {"n_ctx", {.n_ctx = CONFIG_BLOCK_MAX + 1}},
        {"n_ctx", {.n_ctx = UINT32_MAX}},
        {"num_steps", {.num_steps = CONFIG_RECURRENCE_MAX + 1}},
        {"129 rows", {.max_rows = SESSION_MAX_ROWS + 1}},
        {"kv_policy", {.kv_policy = "share"}},
        {"kv_policy", {.kv_policy = "share:"}},
        {"kv_policy", {.kv_policy = "share:0"}},
        {"kv_policy", {.kv_policy = "share:-1"}},
        {"kv_policy", {.kv_policy = "share:4x"}},
        {"kv_policy", {.kv_policy = "share:4097"}},
        {"kv_policy", {.kv_policy = "share:4294967297"}},
        {"kv_policy", {.kv_policy = ""}},
        {"kv_type", {.kv_type = "f8"}},
        {"kv_type", {.kv_type = ""}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mn_session *session;
        test_refused(&f.log, mn_session_create(&session, f.engine, &cases[i].params), cases[i].flag, cases[i].flag);
        assert_null(session);
    }
    struct mn_session *session;
    struct mn_session_params params = {.n_ctx = N_CTX, .num_steps = 4, .max_rows = 1};
    assert_int_equal(mn_session_create(&session, f.engine, &params), MN_OK);
    float *logits = malloc((size_t)N_CTX * V * sizeof *logits);
    test_refused(&f.log, mn_logits(session, prompt, N_PROMPT, 5, NULL, no_logits, NULL), "num_steps",
                 "logits too deep");
    test_refused(&f.log, mn_logits(session, prompt, N_CTX + 1, 4, NULL, no_logits, NULL), "n_ctx", "logits too long");
    test_refused(&f.log, mn_logits(session, prompt, 0, 4, NULL, no_logits, NULL), "prompt", "logits of nothing");
    free(logits);
    mn_session_destroy(session);
    mn_session_destroy(NULL);
}

/* Rows as session.h asks for them, or a refusal: positions of a sequence ascend, depths do not, rows that enter are at
 * depth 0. */
static void test_row_order(void **state)
{
    (void)state;
    static const struct {
        const char *flag; /* NULL: accepted */
        struct row rows[3];
        uint32_t n_new;
    } cases[] = {
        {NULL, {{1, 9, 0, 3, 0}, {1, 10, 0, 3, 0}, {1, 11, 0, 0, 0}}, 1},
        {NULL, {{1, 9, 0, 3, 0}, {1, 3, 1, 5, 0}, {1, 10, 0, 0, 0}}, 1}, /* other sequences do not count */
        {"position 9, depth 2 behind one at position 10", {{1, 10, 0, 2, 0}, {1, 9, 0, 2, 0}, {1, 11, 0, 2, 0}}, 0},
        {"position 9, depth 0 behind one at position 9", {{1, 9, 0, 0, 0}, {1, 9, 0, 0, 0}, {1, 11, 0, 0, 0}}, 0},
        {"depth 3 behind one at position 9, depth 2", {{1, 9, 0, 2, 0}, {1, 3, 1, 0, 0}, {1, 10, 0, 3, 0}}, 0},
        {"enters at depth 1", {{1, 9, 0, 3, 0}, {1, 10, 0, 1, 0}, {1, 11, 0, 0, 0}}, 2},
        {"position 32", {{1, 9, 0, 3, 0}, {1, 10, 0, 1, 0}, {1, N_CTX, 0, 0, 0}}, 1},
        {"sequence 2", {{1, 9, 0, 3, 0}, {1, 10, 0, 1, 0}, {1, 11, 2, 0, 0}}, 1},
        {"token id 173", {{1, 9, 0, 3, 0}, {1, 10, 0, 1, 0}, {V, 11, 0, 0, 0}}, 1},
        {"depth 4294967295", {{1, 9, 0, UINT32_MAX, 0}, {1, 10, 0, 1, 0}, {1, 11, 0, 0, 0}}, 1},
        {NULL, {{1, 9, 0, 3, 0}, {1, 10, 0, 3, 0}, {1, 10, 0, 0, N_CTX - 10}}, 1}, /* two at a position */
        {NULL, {{1, 9, 0, 3, 0}, {1, 10, 0, 2, N_CTX - 10}, {1, 11, 0, 2, N_CTX - 10}}, 0},
        {"position 14 on a branch", {{1, 9, 0, 3, 0}, {1, 13, 0, 0, N_CTX - 10}, {1, 14, 0, 0, N_CTX - 10}}, 2},
        {"position 9 on a branch", {{1, 8, 0, 3, 0}, {1, 9, 0, 0, N_CTX - 10}, {1, 11, 0, 0, 0}}, 2},
        {"shift 33", {{1, 9, 0, 3, 0}, {1, 10, 0, 0, N_CTX + 1}, {1, 11, 0, 0, 0}}, 2},
        {"positions 10 and 11", {{1, 9, 0, 3, 0}, {1, 10, 0, 0, N_CTX - 10}, {1, 11, 0, 0, N_CTX - 11}}, 2},
        {"depth 2 on the branch", {{1, 9, 0, 1, 0}, {1, 10, 0, 2, N_CTX - 10}, {1, 11, 0, 1, 0}}, 0},
    };
    struct session *session = test_session(
        f.engine,
        &(struct session_params){
            .num_steps = R, .max_rows = 4, .kv_type = KV_F16, .n_ctx = N_CTX, .n_sequences = 2, .n_branch = 4});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct session_run_params run = {.rows = cases[i].rows, .n_rows = 3, .n_new = cases[i].n_new, .n_core = 1};
        const struct session_counts before = session->counts;
        enum mn_status status = session_run(session, &run, NULL);
        if (cases[i].flag) {
            test_refused(&f.log, status, cases[i].flag, cases[i].flag);
            assert_memory_equal(&session->counts, &before, sizeof before);
        } else {
            assert_int_equal(status, MN_OK);
        }
    }
    session_destroy(session);
}

/* A bad id anywhere in a prompt is found before anything runs. */
static void test_checked_first(void **state)
{
    (void)state;
    struct session *session = test_session(
        f.engine, &(struct session_params){.num_steps = R, .max_rows = 4, .kv_type = KV_F16, .n_ctx = 256});
    uint32_t ids[200];
    for (uint32_t i = 0; i < 200; i++)
        ids[i] = i % V;
    ids[199] = V;
    struct mn_stats stats;
    struct mn_generate_params params = {.prompt = ids, .n_prompt = 200, .n_new = 4, .strategy = "auto"};
    test_refused(&f.log, generate(session, &params, &stats), "token id 173", "generate");
    params.exit.rule = "kl";
    params.strategy = "ar";
    test_refused(&f.log, generate(session, &params, &stats), "token id 173", "generate with early exit");
    test_refused(&f.log,
                 session_prefill(session, &(struct session_prefill_params){.ids = ids, .n = 200, .num_steps = R}, NULL),
                 "token id 173", "prefill");
    assert_int_equal(session->counts.passes[PASS_PRELUDE], 0);
    session_destroy(session);
}

static void no_device(void *user, const struct mn_device_info *info)
{
    (void)user;
    (void)info;
}

/* Without its arguments a public function says so. */
static void test_null_arguments(void **state)
{
    (void)state;
    struct mn_engine *engine = f.engine, *no_engine = (struct mn_engine *)&f;
    struct mn_session *session, *no_session = (struct mn_session *)&f;
    const struct mn_session_params params = {.n_ctx = N_CTX, .num_steps = 2, .max_rows = 1};
    const struct mn_generate_params good = {.prompt = prompt, .n_prompt = N_PROMPT, .n_new = 1};
    struct mn_stats stats, total;
    struct mn_agreement agreement;
    struct mn_model_info info;
    const struct mn_chat_message message = {"user", "a", 1};
    uint32_t *ids, token = 0;
    char *text;
    size_t n;
    double gb_s;
    test_refused(&f.log, mn_devices(NULL, NULL, &f.log.log), "visit", "mn_devices");
    test_refused(&f.log, mn_engine_create(NULL, &(struct mn_engine_params){.model_dir = f.dir, .log = &f.log.log}),
                 "out", "mn_engine_create");
    test_refused(&f.log, mn_engine_create(&no_engine, &(struct mn_engine_params){.log = &f.log.log}), "model_dir",
                 "mn_engine_create");
    assert_null(no_engine);
    test_refused(&f.log, mn_session_create(NULL, engine, &params), "out", "mn_session_create");
    test_refused(&f.log, mn_session_create(&no_session, engine, NULL), "params", "mn_session_create");
    assert_null(no_session);
    assert_int_equal(mn_session_create(&session, engine, &params), MN_OK);
    test_refused(&f.log, mn_read_bandwidth(engine, NULL), "gb_s", "mn_read_bandwidth");
    test_refused(&f.log, mn_tokenize(engine, NULL, 1, false, &ids, &n), "mn_tokenize", "text");
    test_refused(&f.log, mn_tokenize(engine, "a", 1, false, NULL, &n), "mn_tokenize", "ids");
    test_refused(&f.log, mn_tokenize(engine, "a", 1, false, &ids, NULL), "mn_tokenize", "n_ids");
    test_refused(&f.log, mn_detokenize(engine, NULL, 1, false, &text, &n), "mn_detokenize", "ids");
    test_refused(&f.log, mn_detokenize(engine, &token, 1, false, NULL, &n), "mn_detokenize", "text");
    test_refused(&f.log, mn_detokenize(engine, &token, 1, false, &text, NULL), "mn_detokenize", "n_bytes");
    test_refused(&f.log, mn_chat(engine, NULL, 1, &ids, &n), "mn_chat", "messages");
    test_refused(&f.log, mn_chat(engine, &message, 1, NULL, &n), "mn_chat", "ids");
    test_refused(&f.log, mn_generate(session, NULL, &stats), "params", "mn_generate");
    test_refused(&f.log, mn_generate(session, &good, NULL), "stats", "mn_generate");
    test_refused(&f.log, mn_generate_batch(session, NULL, 1, &stats, &total, NULL, NULL), "params",
                 "mn_generate_batch");
    test_refused(&f.log, mn_generate_batch(session, &good, 1, NULL, &total, NULL, NULL), "stats", "mn_generate_batch");
    test_refused(&f.log, mn_generate_batch(session, &good, 1, &stats, NULL, NULL, NULL), "total", "mn_generate_batch");
    test_refused(&f.log, mn_session_costs(session, NULL), "table", "mn_session_costs");
    test_refused(&f.log, mn_session_set_costs(session, NULL), "table", "mn_session_set_costs");
    test_refused(&f.log, mn_compare_ar(session, NULL, &token, 1, &agreement), "params", "mn_compare_ar");
    test_refused(&f.log, mn_compare_ar(session, &good, NULL, 1, &agreement), "tokens", "mn_compare_ar");
    test_refused(&f.log, mn_compare_ar(session, &good, &token, 1, NULL), "agreement", "mn_compare_ar");
    test_refused(&f.log, mn_logits(session, NULL, 1, 2, NULL, no_logits, NULL), "ids", "mn_logits");
    test_refused(&f.log, mn_logits(session, prompt, N_PROMPT, 2, NULL, NULL, NULL), "each", "mn_logits");
    assert_int_equal(mn_logits(session, prompt, N_PROMPT, 2, NULL, no_logits, NULL), MN_OK);
    test_refused(&f.log, mn_score(session, NULL), "params", "mn_score");

    /* Where even the log is missing, the status alone speaks. */
    assert_int_equal(mn_engine_create(&no_engine, NULL), MN_ERR_USAGE);
    assert_int_equal(mn_session_create(&no_session, NULL, &params), MN_ERR_USAGE);
    assert_int_equal(mn_read_bandwidth(NULL, &gb_s), MN_ERR_USAGE);
    assert_int_equal(mn_tokenize(NULL, "a", 1, false, &ids, &n), MN_ERR_USAGE);
    assert_int_equal(mn_detokenize(NULL, &token, 1, false, &text, &n), MN_ERR_USAGE);
    assert_int_equal(mn_chat(NULL, &message, 1, &ids, &n), MN_ERR_USAGE);
    assert_int_equal(mn_generate(NULL, &good, &stats), MN_ERR_USAGE);
    assert_int_equal(mn_generate_batch(NULL, &good, 1, &stats, &total, NULL, NULL), MN_ERR_USAGE);
    assert_int_equal(mn_compare_ar(NULL, &good, &token, 1, &agreement), MN_ERR_USAGE);
    assert_int_equal(mn_logits(NULL, prompt, N_PROMPT, 2, NULL, no_logits, NULL), MN_ERR_USAGE);
    assert_int_equal(mn_score(NULL, &(struct mn_score_params){0}), MN_ERR_USAGE);
    assert_int_equal(mn_devices(no_device, NULL, NULL), MN_OK);
    mn_engine_info(engine, NULL);
    mn_engine_info(NULL, &info);
    assert_int_equal(info.shape.vocab_size, 0);
    assert_true(mn_stats_acceptance_rate(NULL) == 0.0 && mn_stats_mean_acceptance_length(NULL) == 0.0 &&
                mn_stats_prefill_tok_s(NULL) == 0.0);
    assert_true(mn_stats_decode_tok_s(NULL) == 0.0 && mn_stats_weight_bytes_per_token(NULL) == 0.0 &&
                mn_stats_gb_s(NULL) == 0.0);
    assert_int_equal(f.log.n_errors, 0);
    mn_engine_destroy(NULL);
    mn_session_destroy(session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_refusals), cmocka_unit_test(test_session_refusals),
                                       cmocka_unit_test(test_row_order), cmocka_unit_test(test_checked_first),
                                       cmocka_unit_test(test_null_arguments)};
    return RUN_ON_EVERY_DEVICE(tests, open_model, close_model);
}
