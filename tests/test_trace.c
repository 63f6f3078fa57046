/* Goal: the figures of `muninn trace` are what they are called.
 * Method: every figure of every step again in plain double loops, from the states of the trace and from logits computed
 * by other ways (a prefill per depth, as `muninn logits` does; single runs of t steps for generated tokens), on a model
 * with padded vectors and a prompt of two chunks, on one that converges, and on raven-tiny; generated tokens against
 * `ar`; the file of states through the project's own reader; interrupts and refusals. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analysis/depth_trace.h"
#include "engine/files/safetensors_write.h"
#include "engine/model/family.h"
#include "tests/testing.h"

static const struct random_shape odd_shape = {.n_embd = 30,
                                              .n_heads = 3,
                                              .intermediate_size = 50,
                                              .vocab_size = 101,
                                              .n_prelude = 2,
                                              .n_core = 2,
                                              .n_coda = 1,
                                              .block_size = 96,
                                              .tied = false,
                                              .qk_bias = true,
                                              .seed = 21};

/* ---- figures ---- */

struct distribution {
    double *log_p; /* [V] */
    double entropy;
    uint32_t best;
};

static struct distribution distribution_of(const float *logits, uint32_t n)
{
    struct distribution out = {.log_p = malloc(n * sizeof(double))};
    double largest = -INFINITY, sum = 0.0;
    assert_non_null(out.log_p);
    for (uint32_t i = 0; i < n; i++)
        if ((double)logits[i] > largest) {
            largest = (double)logits[i];
            out.best = i;
        }
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - largest);
    for (uint32_t i = 0; i < n; i++) {
        out.log_p[i] = (double)logits[i] - largest - log(sum);
        out.entropy -= exp(out.log_p[i]) * out.log_p[i];
    }
    return out;
}

static double divergence(const double *log_p, const double *log_q, uint32_t n)
{
    double kl = 0.0;
    for (uint32_t i = 0; i < n; i++)
        kl += exp(log_p[i]) * (log_p[i] - log_q[i]);
    return kl;
}

/* Entries below a tenth of the largest become 1/V, then all are normalised. */
static void flatten(const struct distribution *from, uint32_t n, double *log_p)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        const double p = exp(from->log_p[i]);
        log_p[i] = p < 0.1 * exp(from->log_p[from->best]) ? 1.0 / n : p;
        sum += log_p[i];
    }
    for (uint32_t i = 0; i < n; i++)
        log_p[i] = log(log_p[i] / sum);
}

static double norm_of_difference(const float *a, const float *b, uint32_t d)
{
    double sum = 0.0;
    for (uint32_t k = 0; k < d; k++)
        sum += pow((double)a[k] - (b ? (double)b[k] : 0.0), 2.0);
    return sqrt(sum);
}

/* Where the gate leaves, by its formula: the first step with 1 - prod (1 - sigmoid(w . s + b)) >= 0.9. */
static uint32_t expected_gate_exit(const struct mn_depth_trace *t, const float *states, const float *gate)
{
    double left = 1.0;
    for (uint32_t step = 1; step <= t->n_steps; step++) {
        double sum = (double)gate[t->n_embd];
        for (uint32_t k = 0; k < t->n_embd; k++)
            sum += (double)gate[k] * (double)states[(size_t)step * t->n_embd + k];
        left *= 1.0 - 1.0 / (1.0 + exp(-sum));
        if (1.0 - left >= 0.9)
            return step;
    }
    return 0;
}

/* The exit steps of one token by the definitions; 0: never. `gate` may be NULL. */
static void expected_exits(const struct mn_depth_trace *t, const float *states, const struct distribution *at,
                           uint32_t v, const float *gate, uint32_t *out)
{
    double *uniform = malloc(v * sizeof *uniform), *flat = malloc(v * sizeof *flat),
           *flat_before = malloc(v * sizeof *flat_before);
    uint32_t n_same = 0;
    for (uint32_t i = 0; i < v; i++)
        uniform[i] = flat_before[i] = -log((double)v);
    memset(out, 0, MN_EXIT_COUNT * sizeof *out);
    for (uint32_t step = 1; step <= t->n_steps; step++) {
        const float *s = states + (size_t)step * t->n_embd, *before = s - t->n_embd;
        const struct distribution *now = &at[step - 1], *last = step > 1 ? now - 1 : NULL;
        double inner = 0.0;
        for (uint32_t k = 0; k < t->n_embd; k++)
            inner += (double)s[k] * (double)before[k];
        const double n = norm_of_difference(s, NULL, t->n_embd), n_before = norm_of_difference(before, NULL, t->n_embd);
        flatten(now, v, flat);
        n_same = last && last->best == now->best ? n_same + 1 : 0;
        const bool asks[MN_EXIT_COUNT] = {
            [MN_EXIT_LATENT_DIFF] = norm_of_difference(s, before, t->n_embd) /
                                        n<0.03, [MN_EXIT_COSINE] = n_before> 0.0 &&
                                    1.0 - inner / (n * n_before) < 1e-3,
            [MN_EXIT_ENTROPY_DIFF] = fabs(now->entropy - (last ? last->entropy : 100.0)) < 1e-3,
            [MN_EXIT_KL] = divergence(last ? last->log_p : uniform, now->log_p, v) < 1e-3,
            [MN_EXIT_MINP_KL] = divergence(flat_before, flat, v) < 1e-5,
            [MN_EXIT_ARGMAX_STABILITY] = n_same >= 5,
        };
        for (int c = MN_EXIT_LATENT_DIFF; c < MN_EXIT_GATE; c++)
            if (asks[c] && !out[c])
                out[c] = step;
        memcpy(flat_before, flat, v * sizeof *flat);
    }
    out[MN_EXIT_GATE] = gate ? expected_gate_exit(t, states, gate) : 0;
    free(uniform);
    free(flat);
    free(flat_before);
}

/* logits [n_steps, V] of one token. */
static void check_token(const struct mn_depth_trace *t, uint32_t token, const float *logits, uint32_t v,
                        const float *gate, uint32_t *n_exits)
{
    const float *states = t->states + (size_t)token * (t->n_steps + 1) * t->n_embd;
    struct distribution *at = calloc(t->n_steps, sizeof *at);
    uint32_t exits[MN_EXIT_COUNT];
    assert_non_null(at);
    for (uint32_t step = 1; step <= t->n_steps; step++)
        at[step - 1] = distribution_of(logits + (size_t)(step - 1) * v, v);
    for (uint32_t step = 1; step <= t->n_steps; step++) {
        const struct mn_depth_step *got = &t->steps[(size_t)token * t->n_steps + step - 1];
        const float *s = states + (size_t)step * t->n_embd;
        const double norm = norm_of_difference(s, NULL, t->n_embd),
                     change = norm_of_difference(s, s - t->n_embd, t->n_embd) / norm;
        const struct distribution *p = &at[step - 1];
        if (fabs(got->norm - norm) > 1e-9 * norm || fabs(got->change - change) > 1e-9)
            fail_msg("token %u step %u: norm %.12g and change %.12g, expected %.12g and %.12g", token, step, got->norm,
                     got->change, norm, change);
        const double kl = divergence(at[t->n_steps - 1].log_p, p->log_p, v);
        if (fabs(got->kl - kl) > 1e-9 || fabs(got->entropy - p->entropy) > 1e-9)
            fail_msg("token %u step %u: kl %.12g and entropy %.12g, expected %.12g and %.12g", token, step, got->kl,
                     got->entropy, kl, p->entropy);
        assert_int_equal(got->top1, p->best);
        assert_true(fabs(got->top1_p - exp(p->log_p[p->best])) < 1e-9);
    }
    expected_exits(t, states, at, v, gate, exits);
    for (int c = MN_EXIT_LATENT_DIFF; c < MN_EXIT_COUNT; c++) {
        if (t->tokens[token].exits[c] != exits[c])
            fail_msg("token %u: %s exits at %u, expected %u", token, mn_exit_name((enum mn_exit_criterion)c),
                     t->tokens[token].exits[c], exits[c]);
        n_exits[c] += exits[c] != 0;
    }
    for (uint32_t step = 0; step < t->n_steps; step++)
        free(at[step].log_p);
    free(at);
}

struct copy {
    float *logits; /* [n_tokens, n_steps, V] */
    uint32_t n_steps, step;
};

static enum mn_status copy_logits(void *user, uint32_t position, const float *logits, uint32_t v)
{
    const struct copy *c = user;
    memcpy(c->logits + ((size_t)position * c->n_steps + c->step - 1) * v, logits, v * sizeof *logits);
    return MN_OK;
}

/* All logits by other ways: a prefill to each depth for the prompt; then, behind a prompt of full depth, each generated
 * token in one run of t steps for every t, the deepest last. */
static float *logits_otherwise(struct session *s, const struct mn_depth_trace *t, const uint32_t *prompt)
{
    const uint32_t v = s->model->config.vocab_size;
    struct copy c = {.logits = calloc((size_t)t->n_tokens * t->n_steps * v, sizeof(float)), .n_steps = t->n_steps};
    assert_non_null(c.logits);
    session_set_sampler(s, &(struct sampler_params){.top_p = 1.0f}, 0.0f);
    for (c.step = 1; c.step <= t->n_steps; c.step++) {
        struct session_prefill_params p = {
            .ids = prompt, .n = t->n_prompt, .num_steps = c.step, .each_logits = copy_logits, .user = &c};
        assert_int_equal(session_prefill(s, &p, NULL), MN_OK);
    }
    for (uint32_t i = t->n_prompt; i < t->n_tokens; i++)
        for (uint32_t step = 1; step <= t->n_steps; step++) {
            const struct row row = {.token = t->tokens[i].id, .position = i};
            const struct session_run_params run = {
                .rows = &row, .n_rows = 1, .n_new = 1, .n_core = step, .coda = true, .n_head = 1};
            assert_int_equal(session_run(s, &run, NULL), MN_OK);
            assert_int_equal(session_read_logits(s, 0, c.logits + ((size_t)i * t->n_steps + step - 1) * v), MN_OK);
        }
    return c.logits;
}

static void check_generated(struct session *s, const struct mn_depth_trace *t, const struct mn_depth_trace_params *p)
{
    struct token_list list = {0};
    struct mn_stats stats;
    const struct mn_generate_params g = {.prompt = p->prompt,
                                         .n_prompt = p->n_prompt,
                                         .n_new = p->n_new,
                                         .num_steps = p->num_steps,
                                         .ignore_eos = p->ignore_eos,
                                         .on_token = token_list_add,
                                         .user = &list};
    assert_int_equal(generate(s, &g, &stats), MN_OK);
    assert_int_equal(list.n, t->n_tokens - t->n_prompt);
    for (uint32_t i = 0; i < list.n; i++) {
        assert_int_equal(t->tokens[t->n_prompt + i].id, list.ids[i]);
        assert_true(t->tokens[t->n_prompt + i].generated);
        assert_int_equal(t->steps[(size_t)(t->n_prompt + i) * t->n_steps - 1].top1,
                         list.ids[i]); /* what stands before it said so */
    }
}

/* Along each axis the states after the steps vary about 0 by what is said, less from axis to axis. */
static void check_paths(const struct mn_depth_trace *t)
{
    const double n = (double)t->n_tokens * t->n_steps;
    assert_int_equal(t->n_components, 3);
    for (uint32_t c = 0; c < t->n_components; c++) {
        double sum = 0.0, squares = 0.0;
        for (uint32_t i = 0; i < t->n_tokens; i++)
            for (uint32_t step = 1; step <= t->n_steps; step++) {
                const double at = t->paths[((size_t)i * (t->n_steps + 1) + step) * t->n_components + c];
                sum += at / n;
                squares += at * at / n;
            }
        assert_true(fabs(sum) <= 1e-9 * sqrt(t->variance[0]));
        assert_true(fabs(squares - t->variance[c]) <= 1e-6 * t->variance[0] && t->variance[c] > 0.0);
        assert_true(c == 0 || t->variance[c] <= t->variance[c - 1]);
    }
}

static void check_model(const char *name, const char *dir, const struct mn_depth_trace_params *params,
                        enum kv_type kv_type)
{
    struct test_log log;
    struct mn_depth_trace t;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, dir, NULL);
    const struct session_params session_params = {
        .num_steps = params->num_steps, .max_rows = 1, .kv_type = kv_type, .n_ctx = params->n_prompt + params->n_new};
    struct session *s = test_session(engine, &session_params);
    const uint32_t v = engine->model->config.vocab_size, d = engine->model->config.n_embd;
    uint32_t n_exits[MN_EXIT_COUNT] = {0};
    assert_int_equal(depth_trace_run(&t, s, params), MN_OK);
    assert_true(t.n_prompt == params->n_prompt && t.n_tokens > t.n_prompt && t.n_steps == params->num_steps &&
                t.n_embd == d);
    assert_true(t.n_tokens == t.n_prompt + params->n_new || t.ended_by_eos);
    for (uint32_t i = 0; i < t.n_tokens; i++)
        assert_true(norm_of_difference(t.states + (size_t)i * (t.n_steps + 1) * d, NULL, d) == 0.0 ||
                    !engine->model->config.family->injects); /* then it begins with the token */
    float *logits = logits_otherwise(s, &t, params->prompt);
    for (uint32_t i = 0; i < t.n_tokens; i++)
        check_token(&t, i, logits + (size_t)i * t.n_steps * v, v, session_info(s)->exit_gate, n_exits);
    check_generated(s, &t, params);
    check_paths(&t);
    print_message("%s: %u tokens of %u steps; tokens that leave:", name, t.n_tokens, t.n_steps);
    for (int c = MN_EXIT_LATENT_DIFF; c < MN_EXIT_COUNT; c++)
        print_message(" %s %u", mn_exit_name((enum mn_exit_criterion)c), n_exits[c]);
    print_message("\n");
    free(logits);
    mn_depth_trace_finish(&t);
    session_destroy(s);
    test_engine_done(engine);
}

static struct mn_depth_trace_params params_of(const uint32_t *prompt, uint32_t n_prompt, uint32_t n_new,
                                              uint32_t num_steps)
{
    return (struct mn_depth_trace_params){.prompt = prompt,
                                          .n_prompt = n_prompt,
                                          .n_new = n_new,
                                          .num_steps = num_steps,
                                          .n_components = 3,
                                          .terminal = {0}};
}

static const uint32_t sort_prompt[] = {0, 393, 226, 23, 226, 29, 226, 21, 226, 22, 286};
enum { N_SORT = sizeof sort_prompt / sizeof *sort_prompt, N_LONG = 70 };

static void long_prompt(uint32_t *ids)
{
    for (uint32_t i = 0; i < N_LONG; i++)
        ids[i] = (i * 31 + 7) % odd_shape.vocab_size;
}

static void test_two_chunks(void **state)
{
    (void)state;
    uint32_t prompt[N_LONG];
    char *dir;
    long_prompt(prompt);
    random_model_write(&odd_shape, &dir);
    struct mn_depth_trace_params params = params_of(prompt, N_LONG, 4, 6);
    params.ignore_eos = true;
    check_model("odd shape", dir, &params, KV_F32);
    random_model_remove(dir);
}

static void test_converging(void **state)
{
    (void)state;
    static const uint32_t prompt[] = {0, 5, 9, 2, 30, 11, 7};
    struct mn_depth_trace_params params = params_of(prompt, sizeof prompt / sizeof *prompt, 5, 16);
    params.ignore_eos = true;
    check_model("converging", VECTORS "converging", &params, KV_F32);
}

static void test_raven_tiny(void **state)
{
    (void)state;
    const struct mn_depth_trace_params params = params_of(sort_prompt, N_SORT, 12, 12); /* ends with the end token */
    check_model("raven-tiny", RAVEN_TINY, &params, KV_F16);
}

static void test_families(void **state)
{
    (void)state;
    static const uint32_t prompt[] = {0, 5, 9, 2, 30, 11, 7};
    static const struct {
        const char *name, *dir;
        uint32_t num_steps;
    } rows[] = {{"retrofit-llama", VECTORS "retrofit-llama", 8},
                {"retrofit-olmo", VECTORS "retrofit-olmo", 8},
                {"ouro", VECTORS "ouro", 4}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mn_depth_trace_params params = params_of(prompt, sizeof prompt / sizeof *prompt, 5, rows[i].num_steps);
        params.ignore_eos = true;
        check_model(rows[i].name, rows[i].dir, &params, KV_F32);
    }
}

/* ---- path independence ---- */

static enum mn_status keep_best(void *user, uint32_t position, const float *logits, uint32_t v)
{
    ((uint32_t *)user)[position] = sampler_argmax(logits, v);
    return MN_OK;
}

/* The distances again by way of the session's own random starts; and what they must show: one limit for a model that
 * converges. */
static void test_inits(void **state)
{
    (void)state;
    struct test_log log;
    struct mn_depth_trace t;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    struct session *s = test_session(
        engine, &(struct session_params){.num_steps = 24, .max_rows = 1, .kv_type = KV_F32, .n_ctx = 32});
    const uint32_t d = engine->model->config.n_embd, depths[] = {2, 24};
    double mean[2] = {0};
    for (int which = 0; which < 2; which++) {
        struct mn_depth_trace_params params = params_of(sort_prompt, N_SORT, 3, depths[which]);
        params.n_inits = 3;
        params.init_scale = 1.0f;
        params.seed = 40;
        assert_int_equal(depth_trace_run(&t, s, &params), MN_OK);
        assert_int_equal(t.n_inits, 3);
        float *states = calloc((size_t)N_SORT * d, sizeof *states);
        for (uint32_t m = 0; m < 3; m++) {
            uint32_t best[N_SORT];
            session_set_sampler(s, &(struct sampler_params){.top_p = 1.0f, .seed = 40 + m}, 1.0f);
            const struct session_prefill_params p = {
                .ids = sort_prompt, .n = N_SORT, .num_steps = depths[which], .each_logits = keep_best, .user = best};
            assert_int_equal(session_prefill(s, &p, NULL), MN_OK);
            assert_int_equal(session_read_states(s, 0, 0, N_SORT, depths[which], states), MN_OK);
            for (uint32_t i = 0; i < N_SORT; i++) {
                const float *zero = t.states + ((size_t)i * (t.n_steps + 1) + t.n_steps) * d;
                const double expected = norm_of_difference(states + (size_t)i * d, zero, d) /
                                        norm_of_difference(zero, NULL, d);
                assert_true(fabs(t.distance[i * 3 + m] - expected) <= 1e-12 && expected > 0.0);
                assert_int_equal(t.init_top1[i * 3 + m], best[i]);
            }
        }
        for (uint32_t i = 0; i < t.n_tokens * 3; i++) {
            mean[which] += t.distance[i] / (t.n_tokens * 3);
            if (which == 1)
                assert_int_equal(t.init_top1[i], t.steps[(size_t)(i / 3) * t.n_steps + t.n_steps - 1].top1);
        }
        free(states);
        mn_depth_trace_finish(&t);
    }
    print_message("mean distance from the zero start: %.3g after 2 steps, %.3g after 24\n", mean[0], mean[1]);
    assert_true(mean[0] > 0.01 && mean[1] < 0.1 * mean[0]);
    session_destroy(s);
    test_engine_done(engine);
}

/* ---- interrupts and refusals ---- */

static uint32_t n_asked, stop_at;

static int stop_after(void *user)
{
    (void)user;
    return ++n_asked >= stop_at;
}

static void test_interrupt(void **state)
{
    (void)state;
    struct test_log log;
    struct mn_depth_trace full, part;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    struct session *s = test_session(
        engine, &(struct session_params){.num_steps = 5, .max_rows = 1, .kv_type = KV_F16, .n_ctx = 32});
    struct mn_depth_trace_params params = params_of(sort_prompt, N_SORT, 6, 5);
    params.ignore_eos = true;
    params.stop = stop_after;
    stop_at = UINT32_MAX;
    n_asked = 0;
    assert_int_equal(depth_trace_run(&full, s, &params), MN_OK);
    const uint32_t n_all = n_asked;
    uint32_t n_empty = 0, n_some = 0;
    for (stop_at = 1; stop_at <= n_all; stop_at += 3) {
        n_asked = 0;
        assert_int_equal(depth_trace_run(&part, s, &params), MN_ERR_INTERRUPTED);
        assert_true(part.n_tokens == 0 || (part.n_tokens >= N_SORT && part.n_tokens < full.n_tokens));
        for (uint32_t i = 0; i < part.n_tokens; i++) {
            assert_int_equal(part.tokens[i].id, full.tokens[i].id);
            assert_memory_equal(part.tokens[i].exits, full.tokens[i].exits, sizeof full.tokens[i].exits);
        }
        assert_memory_equal(part.steps, full.steps, part.n_tokens * full.n_steps * sizeof *full.steps);
        assert_memory_equal(part.states, full.states,
                            (size_t)part.n_tokens * (full.n_steps + 1) * full.n_embd * sizeof *full.states);
        n_empty += part.n_tokens == 0;
        n_some += part.n_tokens > 0;
        mn_depth_trace_finish(&part);
    }
    assert_true(n_empty > 0 && n_some > 0);
    assert_int_equal(log.n_errors, 0);
    mn_depth_trace_finish(&full);
    session_destroy(s);
    test_engine_done(engine);
}

static void assert_refused(struct session *s, struct test_log *log, const char *part,
                           const struct mn_depth_trace_params *params)
{
    struct mn_depth_trace t;
    log->n_errors = 0;
    assert_int_equal(depth_trace_run(&t, s, params), MN_ERR_USAGE);
    assert_int_equal(log->n_errors, 1);
    assert_non_null(strstr(log->last, part));
    mn_depth_trace_finish(&t);
}

static void test_refusals(void **state)
{
    (void)state;
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    struct session_params session_params = {.num_steps = 4, .max_rows = 1, .kv_type = KV_F16, .n_ctx = 16};
    struct session *s = test_session(engine, &session_params);
    struct mn_depth_trace_params p = params_of(sort_prompt, 0, 0, 4);
    assert_refused(s, &log, "prompt is empty", &p);
    p = params_of(sort_prompt, N_SORT, 6, 4);
    assert_refused(s, &log, "n_ctx", &p);
    p = params_of(sort_prompt, N_SORT, UINT32_MAX, 4);
    assert_refused(s, &log, "n_ctx", &p);
    p = params_of(sort_prompt, N_SORT, 0, 5);
    assert_refused(s, &log, "num_steps 5", &p);
    p = params_of(sort_prompt, N_SORT, 0, 4);
    p.n_components = MN_MAX_COMPONENTS + 1;
    assert_refused(s, &log, "n_components 7", &p);
    p.n_components = 2;
    p.init_scale = -1.0f;
    assert_refused(s, &log, "init_scale -1", &p);
    session_destroy(s);
    session_params.policy.share = 2;
    s = test_session(engine, &session_params);
    p = params_of(sort_prompt, N_SORT, 0, 4);
    assert_refused(s, &log, "share:k", &p);
    session_destroy(s);
    test_engine_done(engine);
}

/* ---- the file of states ---- */

static uint32_t n_entries(const char *dir)
{
    DIR *folder = opendir(dir);
    uint32_t n = 0;
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
        n += entry->d_name[0] != '.';
    closedir(folder);
    return n;
}

static void test_file(void **state)
{
    (void)state;
    enum { N = 2 * 3 * 5 };
    char dir[] = "/tmp/muninn-test-XXXXXX", path[160];
    float values[N];
    const uint32_t ids[2] = {7, 0xfffffffe};
    struct test_log log;
    struct safetensors *file;
    test_log_init(&log);
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/states.safetensors", dir);
    for (uint32_t i = 0; i < N; i++)
        values[i] = test_noise(3, i);
    const struct tensor_source tensors[] = {
        {.name = "states", .dtype = TENSOR_F32, .rank = 3, .shape = {2, 3, 5}, .data = values},
        {.name = "tokens", .dtype = TENSOR_U32, .rank = 1, .shape = {2}, .data = ids}};
    for (uint32_t n = 1; n <= 2; n++) { /* the second one replaces the first */
        struct output_file out;
        assert_int_equal(output_open(&out, path, &log.log), MN_OK);
        assert_int_equal(safetensors_write(&out, tensors, n, &log.log), MN_OK);
        assert_int_equal(output_commit(&out, &log.log), MN_OK);
        assert_int_equal(n_entries(dir), 1);
        assert_int_equal(safetensors_open_file(&file, path, NULL, &log.log), MN_OK);
        assert_int_equal(safetensors_n_tensors(file), n);
        const struct tensor_view *view = safetensors_find(file, "states");
        float got[N];
        assert_true(view && view->dtype == TENSOR_F32 && view->rank == 3 && view->shape[0] == 2 &&
                    view->shape[1] == 3 && view->shape[2] == 5);
        assert_int_equal(view->offset % 8, 0);
        assert_int_equal(safetensors_read(file, view, 0, sizeof got, got, &log.log), MN_OK);
        assert_memory_equal(got, values, sizeof got);
        if (n == 2) {
            uint32_t got_ids[2];
            view = safetensors_find(file, "tokens");
            assert_true(view && view->dtype == TENSOR_U32 && view->rank == 1 && view->shape[0] == 2);
            assert_int_equal(safetensors_read(file, view, 0, sizeof got_ids, got_ids, &log.log), MN_OK);
            assert_memory_equal(got_ids, ids, sizeof ids);
        }
        safetensors_close(file);
    }
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_file),       cmocka_unit_test(test_two_chunks),
                                       cmocka_unit_test(test_converging), cmocka_unit_test(test_raven_tiny),
                                       cmocka_unit_test(test_families),   cmocka_unit_test(test_inits),
                                       cmocka_unit_test(test_interrupt),  cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
