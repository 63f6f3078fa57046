/* Goal: what works on Huginn works on the other families, with the authors' numbers where there are any.
 * Method: on the golden checkpoints, likelihoods of mn_score from the golden logits at each depth; Ouro's states
 * through its gate, and the loops that `ar` takes for a prompt, against golden.json; labels of what is lossy; diffusion
 * and continuous compute on retrofits at the setting at which they must be ar; batches of a model of fixed depth. That
 * speculation is lossless is drawn in test_drawn.c, row independence is in test_lossless.c, figures of a trace are in
 * test_trace.c, refusals in test_family.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/json.h"
#include "tests/testing.h"

enum { N_NEW = 24, LOOPS = 4, MAX_DEPTHS = 8 };

struct fixture {
    struct test_log log;
    struct mn_engine *engine;
    struct safetensors *golden;
    uint32_t *ids, n; /* the prompt */
};

static void open_fixture(struct fixture *f, const char *folder)
{
    char path[512];
    test_log_init(&f->log);
    snprintf(path, sizeof path, VECTORS "%s", folder);
    f->engine = test_engine(&f->log, path, "f32");
    snprintf(path, sizeof path, VECTORS "%s/golden.safetensors", folder);
    assert_int_equal(safetensors_open_file(&f->golden, path, NULL, &f->log.log), MN_OK);
    f->ids = golden_ids(f->golden, "ids", &f->n);
    assert_non_null(f->ids);
}

static void close_fixture(struct fixture *f)
{
    free(f->ids);
    safetensors_close(f->golden);
    test_engine_done(f->engine);
}

static struct session *open_session(struct fixture *f, uint32_t num_steps, uint32_t share)
{
    const struct session_params params = {.n_ctx = f->n + N_NEW,
                                          .num_steps = num_steps,
                                          .max_rows = 8,
                                          .n_sequences = 3,
                                          .policy = {share},
                                          .kv_type = KV_F32};
    return test_session(f->engine, &params);
}

static struct token_list run(struct fixture *f, struct session *session, struct mn_generate_params params,
                             struct mn_stats *stats)
{
    struct token_list list = {0};
    params.prompt = f->ids;
    params.n_prompt = f->n;
    params.n_new = N_NEW;
    params.ignore_eos = true;
    params.on_token = token_list_add;
    params.user = &list;
    if (generate(session, &params, stats))
        fail_msg("%s: %s", params.strategy, f->log.last);
    assert_int_equal(list.n, N_NEW);
    return list;
}

static void assert_same(const struct token_list *a, const struct token_list *b, const char *what)
{
    for (uint32_t i = 0; i < N_NEW; i++)
        if (a->ids[i] != b->ids[i])
            fail_msg("%s: token %u is %u against %u", what, i, a->ids[i], b->ids[i]);
}

/* ---- score ---- */

/* The log-probability of ids behind the first, from golden logits of the same ids. */
static double golden_logprob(const struct fixture *f, const float *logits, uint32_t n_vocab)
{
    double logprob = 0.0;
    for (uint32_t i = 0; i + 1 < f->n; i++) {
        const float *row = logits + (size_t)i * n_vocab;
        double largest = -INFINITY, sum = 0.0;
        for (uint32_t k = 0; k < n_vocab; k++)
            largest = fmax(largest, (double)row[k]);
        for (uint32_t k = 0; k < n_vocab; k++)
            sum += exp((double)row[k] - largest);
        logprob += (double)row[f->ids[i + 1]] - largest - log(sum);
    }
    return logprob;
}

static enum mn_status keep_likelihoods(void *user, uint32_t item, const struct mn_likelihood *likelihoods)
{
    assert_int_equal(item, 0);
    memcpy(user, likelihoods, MAX_DEPTHS * sizeof *likelihoods);
    return MN_OK;
}

static void check_score(const char *folder, uint32_t n_expected)
{
    struct fixture f;
    open_fixture(&f, folder);
    const uint32_t n_vocab = f.engine->model->config.vocab_size;
    uint32_t steps[MAX_DEPTHS], n = 0, deepest = 0;
    double expected[MAX_DEPTHS];
    for (uint32_t i = 0; i < safetensors_n_tensors(f.golden); i++) {
        const char *name = safetensors_tensor(f.golden, i)->name;
        uint64_t n_values;
        if (sscanf(name, "logits.r%u", &steps[n]) != 1)
            continue;
        float *logits = golden_floats(f.golden, name, &n_values);
        expected[n] = golden_logprob(&f, logits, n_vocab);
        deepest = steps[n] > deepest ? steps[n] : deepest;
        free(logits);
        assert_true(++n < MAX_DEPTHS);
    }
    assert_int_equal(n, n_expected);
    for (uint32_t i = n; i < MAX_DEPTHS; i++)
        steps[i] = steps[0];
    struct mn_session *session;
    struct mn_likelihood got[MAX_DEPTHS];
    const struct mn_session_params session_params = {
        .n_ctx = f.n, .num_steps = deepest, .n_sequences = 2, .max_rows = 1, .kv_type = "f32"};
    assert_int_equal(mn_session_create(&session, f.engine, &session_params), MN_OK);
    const struct mn_score_item item = {f.ids, f.n, 1};
    const struct mn_score_params params = {.items = &item,
                                           .n_items = 1,
                                           .num_steps = steps,
                                           .n_num_steps = MAX_DEPTHS,
                                           .each = keep_likelihoods,
                                           .user = got};
    assert_int_equal(mn_score(session, &params), MN_OK);
    double largest = 0.0;
    for (uint32_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(got[i].logprob - expected[i]));
    print_message("%s: %u depths, largest error of a log-probability %.3g\n", folder, n, largest);
    assert_true(largest <= 2e-4);
    for (uint32_t i = 1; i < n; i++)
        assert_true(fabs(expected[i] - expected[0]) > 1e-3); /* else depths could be mixed up */
    mn_session_destroy(session);
    close_fixture(&f);
}

static void test_score(void **state)
{
    (void)state;
    check_score("retrofit-llama", 3);
    check_score("retrofit-tinyllama-bf16-sharded", 2);
    check_score("retrofit-olmo", 3);
    check_score("ouro", LOOPS);
    check_score("llama-fixed-depth", 1);
}

/* ---- states and the gate ---- */

/* gate [T, n] before the sigmoid is linear in the state: what session_read_states gives must give it. */
static void test_ouro_states(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t n_values;
    double largest = 0.0;
    open_fixture(&f, "ouro");
    float *golden = golden_floats(f.golden, "gate", &n_values);
    assert_non_null(golden);
    assert_int_equal(n_values, (uint64_t)LOOPS * f.n);
    struct session *session = open_session(&f, LOOPS, 0);
    const uint32_t d = f.engine->model->config.n_embd;
    const float *gate = session_info(session)->exit_gate;
    float *states = malloc((size_t)f.n * d * sizeof *states);
    assert_non_null(states);
    for (uint32_t u = 1; u <= LOOPS; u++) {
        const struct session_prefill_params prefill = {.ids = f.ids, .n = f.n, .num_steps = u};
        assert_int_equal(session_prefill(session, &prefill, NULL), MN_OK);
        assert_int_equal(session_read_states(session, 0, 0, f.n, u, states), MN_OK);
        for (uint32_t i = 0; i < f.n; i++) {
            double sum = (double)gate[d];
            for (uint32_t k = 0; k < d; k++)
                sum += (double)gate[k] * (double)states[(size_t)i * d + k];
            largest = fmax(largest, fabs(sum - (double)golden[(size_t)(u - 1) * f.n + i]));
        }
    }
    print_message("gate: largest error %.3g\n", largest);
    assert_true(largest <= 1e-4);
    free(states);
    free(golden);
    session_destroy(session);
    close_fixture(&f);
}

/* The last position decides for a prompt: golden.json {"exit": {"0.5": [loops of each position, ...], ...}}. */
static void test_ouro_gate_exit(void **state)
{
    (void)state;
    struct fixture f;
    struct json_doc doc;
    const cJSON *exits, *list;
    uint32_t n_early = 0;
    open_fixture(&f, "ouro");
    struct session *session = open_session(&f, LOOPS, 0);
    struct mn_stats stats;
    const struct token_list plain = run(&f, session, (struct mn_generate_params){.strategy = "ar"}, &stats);
    assert_true(stats.lossless);
    assert_int_equal(json_read_file(&doc, VECTORS "ouro/golden.json", 1 << 20, &f.log.log), MN_OK);
    assert_int_equal(json_get_object(&doc, doc.root, "exit", &exits), MN_OK);
    cJSON_ArrayForEach (list, exits) {
        char rule[32];
        uint32_t steps[N_NEW];
        snprintf(rule, sizeof rule, "gate:%s", list->string);
        struct mn_generate_params g = {.strategy = "ar", .exit = {.rule = rule}, .steps = steps};
        run(&f, session, g, &stats);
        assert_false(stats.lossless);
        assert_int_equal(cJSON_GetArraySize(list), f.n);
        assert_int_equal(steps[0], (uint32_t)cJSON_GetArrayItem(list, (int)f.n - 1)->valuedouble);
        for (uint32_t i = 0; i < N_NEW; i++) {
            assert_true(steps[i] >= 1 && steps[i] <= LOOPS);
            n_early += steps[i] < LOOPS;
        }
        /* Drafts that leave early are drafts: the target is unmoved. */
        g.strategy = "draft-verify";
        g.speculation.draft_steps = 3;
        g.speculation.lookahead = 4;
        g.steps = NULL;
        const struct token_list got = run(&f, session, g, &stats);
        assert_true(stats.lossless && stats.exit_rows > 0);
        assert_same(&got, &plain, rule);
    }
    assert_true(n_early > 0);
    json_destroy(&doc);
    session_destroy(session);
    close_fixture(&f);
}

/* ---- what is lossy says so ---- */

static void assert_lossy(const struct mn_stats *stats, const char *because)
{
    assert_false(stats->lossless);
    assert_non_null(stats->lossy_because);
    assert_non_null(strstr(stats->lossy_because, because));
}

static void test_share(void **state)
{
    (void)state;
    static const struct {
        const char *folder;
        uint32_t num_steps;
    } rows[] = {{"retrofit-llama", 8}, {"retrofit-olmo", 8}, {"ouro", LOOPS}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (uint32_t share = 1; share <= 2; share++) {
            struct fixture f;
            struct mn_stats stats;
            open_fixture(&f, rows[i].folder);
            struct session *session = open_session(&f, rows[i].num_steps, share);
            struct mn_generate_params g = {.strategy = "draft-verify",
                                           .speculation = {.draft_steps = 2, .lookahead = 3}};
            run(&f, session, g, &stats);
            assert_lossy(&stats, "share");
            g.strategy = "wavefront";
            run(&f, session, g, &stats);
            assert_lossy(&stats, "share");
            g.speculation.require_lossless = true;
            g.prompt = f.ids;
            g.n_prompt = f.n;
            g.n_new = 1;
            test_refused(&f.log, generate(session, &g, &stats), "share", rows[i].folder);
            session_destroy(session);
            close_fixture(&f);
        }
}

/* ---- what needs an injection: retrofits have one ---- */

static void check_retrofit(const char *folder)
{
    enum { R = 8 };
    struct fixture f;
    struct mn_stats stats;
    open_fixture(&f, folder);
    struct session *full = open_session(&f, R, 0), *shared = open_session(&f, R, 1);
    /* One row in flight, all steps in one tick, no averaging and no noise: ar with share:1. */
    struct mn_generate_params g = {.strategy = "ar", .init_scale = 1.0f, .sampler = {.seed = 3}};
    const struct token_list expected = run(&f, shared, g, &stats);
    g.strategy = "diffusion";
    g.speculation.draft_steps = R;
    g.speculation.max_inflight = 1;
    struct token_list got = run(&f, shared, g, &stats);
    assert_lossy(&stats, "diffusion");
    assert_same(&got, &expected, "diffusion as ar");
    assert_int_equal(stats.core_passes, (N_NEW - 1) * R);
    /* And as it is meant: the same run twice. */
    g.speculation.draft_steps = 2;
    g.speculation.max_inflight = 0;
    g.diffusion.headway = 2;
    g.diffusion.embed_average = 0.1f;
    g.diffusion.state_noise = 0.2f;
    got = run(&f, shared, g, &stats);
    const struct token_list again = run(&f, shared, g, &stats);
    assert_same(&got, &again, "diffusion twice");
    /* A warm start: the first token, which has nothing to start from, is ar's. */
    g = (struct mn_generate_params){.strategy = "ar", .num_steps = 2};
    const struct token_list plain = run(&f, full, g, &stats);
    g.continuous = true;
    got = run(&f, full, g, &stats);
    assert_lossy(&stats, "continuous");
    assert_int_equal(got.ids[0], plain.ids[0]);
    session_destroy(full);
    session_destroy(shared);
    close_fixture(&f);
}

static void test_retrofits(void **state)
{
    (void)state;
    check_retrofit("retrofit-llama");
    check_retrofit("retrofit-olmo");
}

/* ---- a model of fixed depth in a batch ---- */

static void test_llama_batch(void **state)
{
    (void)state;
    enum { N = 5 }; /* more than the session's places */
    struct fixture f;
    struct mn_stats stats[N], total;
    struct mn_generate_params g[N];
    struct token_list got[N] = {0};
    open_fixture(&f, "llama-fixed-depth");
    struct session *session = open_session(&f, 1, 0);
    for (uint32_t i = 0; i < N; i++)
        g[i] = (struct mn_generate_params){.prompt = f.ids + i,
                                           .n_prompt = f.n - 2 * i,
                                           .n_new = N_NEW - i,
                                           .strategy = "ar",
                                           .ignore_eos = true,
                                           .on_token = token_list_add,
                                           .user = &got[i]};
    assert_int_equal(generate_batch(session, g, N, stats, &total, NULL, NULL), MN_OK);
    for (uint32_t i = 0; i < N; i++) {
        struct token_list alone = {0};
        struct mn_stats one;
        g[i].user = &alone;
        assert_int_equal(generate(session, &g[i], &one), MN_OK);
        assert_true(one.lossless && alone.n == N_NEW - i && got[i].n == alone.n);
        assert_memory_equal(got[i].ids, alone.ids, alone.n * sizeof *alone.ids);
    }
    session_destroy(session);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_score),          cmocka_unit_test(test_ouro_states),
                                       cmocka_unit_test(test_ouro_gate_exit), cmocka_unit_test(test_share),
                                       cmocka_unit_test(test_retrofits),      cmocka_unit_test(test_llama_batch)};
    return RUN_ON_EVERY_DEVICE(tests, NULL, NULL);
}
