/* Goal: the read-outs of `muninn trace --readouts` are what muninn.h calls them, and change nothing else of a trace.
 * Method: the estimates on made sequences whose limit is known; on a model of every family, `plain` against the
 * predictions of the trace itself (a prompt's with entries of the same step, generated ones with final entries), final
 * entries of a prompt against single rows behind a prefill; the trace with and without them; interrupts, refusals. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/depth_trace.h"
#include "analysis/readout.h"
#include "tests/testing.h"

/* ---- the estimates ---- */

enum { D = 24, STEPS = 6 };

/* s_t = limit + a_1 l_1^t v_1 + a_2 l_2^t v_2, with noise vectors for limit and v; drift: + t v_1. */
static void make_sequence(float *states, const double *a, const double *l, double drift)
{
    for (uint32_t t = 0; t <= STEPS; t++)
        for (uint32_t k = 0; k < D; k++)
            states[t * D + k] = (float)((double)test_noise(1, k) + a[0] * pow(l[0], t) * (double)test_noise(2, k) +
                                        a[1] * pow(l[1], t) * (double)test_noise(3, k) +
                                        drift * t * (double)test_noise(2, k));
}

/* |estimate - limit| over |s_step - limit|. */
static double error_of(enum mn_readout_rule rule, const float *states, uint32_t step)
{
    float out[D];
    double left = 0.0, plain = 0.0;
    readout_state(rule, states, step, D, out);
    for (uint32_t k = 0; k < D; k++) {
        left += pow((double)out[k] - (double)test_noise(1, k), 2.0);
        plain += pow((double)states[step * D + k] - (double)test_noise(1, k), 2.0);
    }
    return sqrt(left / plain);
}

static void test_estimates(void **state)
{
    (void)state;
    float states[(STEPS + 1) * D], out[D];
    make_sequence(states, (double[]){1.0, 0.0}, (double[]){0.5, 0.0}, 0.0); /* to a fixed point, straight */
    assert_true(error_of(MN_READOUT_PLAIN, states, 4) == 1.0);
    assert_true(error_of(MN_READOUT_AITKEN, states, 4) < 1e-4 && error_of(MN_READOUT_ANDERSON, states, 4) < 0.01);
    assert_true(error_of(MN_READOUT_AITKEN, states, 2) < 1e-4 && error_of(MN_READOUT_ANDERSON, states, 2) < 1e-4);
    assert_true(error_of(MN_READOUT_AITKEN, states, 1) == 1.0 && error_of(MN_READOUT_ANDERSON, states, 1) == 1.0);
    make_sequence(states, (double[]){1.0, 0.0}, (double[]){-0.5, 0.0}, 0.0); /* and turning round */
    assert_true(error_of(MN_READOUT_AITKEN, states, 4) < 1e-4 && error_of(MN_READOUT_ANDERSON, states, 4) < 0.01);
    make_sequence(states, (double[]){1.0, 1.0}, (double[]){0.7, -0.6}, 0.0); /* two ways at once: one factor fails */
    assert_true(error_of(MN_READOUT_ANDERSON, states, 4) < 0.01 && error_of(MN_READOUT_AITKEN, states, 4) > 0.5);
    make_sequence(states, (double[]){1.0, 0.0}, (double[]){-1.0, 0.0}, 0.0); /* an orbit of two: its middle */
    assert_true(error_of(MN_READOUT_ANDERSON, states, 4) < 0.01);
    assert_true(fabs(error_of(MN_READOUT_AITKEN, states, 4) - 1.0 / 9.0) < 1e-4); /* held at l = -0.8 */
    make_sequence(states, (double[]){0.0, 0.0}, (double[]){0.0, 0.0}, 1.0);       /* a slider: no limit to be found */
    readout_state(MN_READOUT_AITKEN, states, 4, D, out);                          /* held at l = 0.8 */
    for (uint32_t k = 0; k < D; k++)
        assert_true(fabs((double)out[k] - (double)test_noise(1, k) - 8.0 * (double)test_noise(2, k)) < 1e-4);
    readout_state(MN_READOUT_ANDERSON, states, 4, D, out); /* each factor held at 4 */
    for (uint32_t k = 0; k < D; k++)
        assert_true(fabs((double)out[k] - (double)states[4 * D + k]) < 8.0 * fabs((double)test_noise(2, k)) + 1e-4);
    memset(states, 0, sizeof states); /* nothing moves */
    readout_state(MN_READOUT_AITKEN, states, 4, D, out);
    assert_memory_equal(out, states, sizeof out);
    readout_state(MN_READOUT_ANDERSON, states, 4, D, out);
    assert_memory_equal(out, states, sizeof out);
}

/* ---- on models ---- */

struct fixture {
    struct test_log log;
    struct mn_engine *engine;
    struct session *s;
    struct mn_depth_trace t;
    struct mn_depth_trace_params params;
    uint32_t n_vocab;
    float *logits; /* [V] */
};

static const uint32_t prompt[] = {0, 5, 9, 2, 30, 11, 7};
enum { N = sizeof prompt / sizeof *prompt, N_NEW = 4 };

static void open_model(struct fixture *f, const char *dir, const uint32_t *steps, uint32_t n_steps)
{
    test_log_init(&f->log);
    f->engine = test_engine(&f->log, dir, NULL);
    f->params = (struct mn_depth_trace_params){.prompt = prompt,
                                               .n_prompt = N,
                                               .n_new = N_NEW,
                                               .num_steps = steps[n_steps - 1],
                                               .ignore_eos = true,
                                               .readout_steps = steps,
                                               .n_readouts = n_steps};
    const struct session_params p = {
        .num_steps = f->params.num_steps, .max_rows = 1, .kv_type = KV_F32, .n_ctx = N + N_NEW};
    f->s = test_session(f->engine, &p);
    f->n_vocab = session_info(f->s)->config->vocab_size;
    f->logits = calloc(f->n_vocab, sizeof *f->logits);
    assert_non_null(f->logits);
}

static void close_model(struct fixture *f)
{
    mn_depth_trace_finish(&f->t);
    free(f->logits);
    session_destroy(f->s);
    test_engine_done(f->engine);
}

static uint32_t readout_of(const struct mn_depth_trace *t, uint32_t token, uint32_t which, enum mn_readout_rule rule,
                           enum mn_entries entries)
{
    return t->readouts[(((size_t)token * t->readout_stride + which) * MN_READOUT_COUNT + rule) * MN_ENTRIES_COUNT +
                       entries];
}

/* What the row of `token` says after `step` steps while all before it stand at the last one. */
static void look_behind_final(struct fixture *f, uint32_t token, uint32_t step)
{
    uint32_t ids[N + N_NEW];
    for (uint32_t i = 0; i <= token; i++)
        ids[i] = f->t.tokens[i].id;
    const struct session_prefill_params before = {.ids = ids, .n = token, .num_steps = f->params.num_steps};
    const struct row row = {.token = ids[token], .position = token};
    const struct session_run_params run = {
        .rows = &row, .n_rows = 1, .n_new = 1, .n_core = step, .coda = true, .n_head = 1};
    if (token)
        assert_int_equal(session_prefill(f->s, &before, NULL), MN_OK);
    assert_int_equal(session_run(f->s, &run, NULL), MN_OK);
    assert_int_equal(session_read_logits(f->s, 0, f->logits), MN_OK);
}

/* Is it the best id, or as good as the best but for rounding? */
static bool is_best(const struct fixture *f, uint32_t id)
{
    const float best = f->logits[sampler_argmax(f->logits, f->n_vocab)];
    return f->logits[id] >= best - 1e-3f * fmaxf(1.0f, fabsf(best));
}

static void check_model(const char *name, const char *dir, uint32_t num_steps)
{
    const uint32_t steps[] = {1, 2, 3, num_steps};
    struct fixture f;
    uint32_t n_other[MN_READOUT_COUNT] = {0};
    open_model(&f, dir, steps, 4);
    assert_int_equal(depth_trace_run(&f.t, f.s, &f.params), MN_OK);
    assert_true(f.t.n_readouts == 4 && f.t.readout_stride == 4 && f.t.n_tokens == N + N_NEW);
    for (uint32_t i = 0; i < f.t.n_tokens; i++) {
        const struct mn_depth_step *at = f.t.steps + (size_t)i * f.t.n_steps;
        for (uint32_t k = 0; k < 4; k++) {
            const enum mn_entries as_traced = i < N ? MN_ENTRIES_SAME : MN_ENTRIES_FINAL;
            const uint32_t plain = readout_of(&f.t, i, k, MN_READOUT_PLAIN, as_traced);
            look_behind_final(&f, i, steps[k]);
            assert_true(is_best(&f, readout_of(&f.t, i, k, MN_READOUT_PLAIN, MN_ENTRIES_FINAL)));
            if (i >= N)
                assert_true(is_best(&f, at[steps[k] - 1].top1));
            else if (plain != at[steps[k] - 1].top1) /* near ties alone: fewer than one in a hundred of random models */
                print_message("%s: position %u, step %u: %u for %u\n", name, i, steps[k], plain, at[steps[k] - 1].top1);
            n_other[MN_READOUT_PLAIN] += i < N && plain != at[steps[k] - 1].top1;
            for (int rule = 1; rule < MN_READOUT_COUNT; rule++)
                for (int e = 0; e < MN_ENTRIES_COUNT; e++) {
                    const uint32_t id = readout_of(&f.t, i, k, (enum mn_readout_rule)rule, (enum mn_entries)e);
                    const uint32_t beside = readout_of(&f.t, i, k, MN_READOUT_PLAIN, (enum mn_entries)e);
                    assert_true(steps[k] > 1 || id == beside);
                    n_other[rule] += id != beside;
                }
        }
    }
    print_message("%s: of %u predictions other ones: plain %u, aitken %u, anderson %u\n", name, 4 * f.t.n_tokens,
                  n_other[0], n_other[1], n_other[2]);
    assert_int_equal(n_other[MN_READOUT_PLAIN], 0);
    assert_true(n_other[MN_READOUT_AITKEN] > 0 && n_other[MN_READOUT_ANDERSON] > 0);
    close_model(&f);
}

static void test_models(void **state)
{
    (void)state;
    check_model("raven-tiny", RAVEN_TINY, 6);
    check_model("retrofit-llama", VECTORS "retrofit-llama", 6);
    check_model("retrofit-olmo", VECTORS "retrofit-olmo", 6);
    check_model("ouro", VECTORS "ouro", 4);
}

/* ---- what else ---- */

static uint32_t n_asked, stop_at;

static int stop_after(void *user)
{
    (void)user;
    return ++n_asked >= stop_at;
}

/* The rest of the trace has the bits that it has without; who interrupts the read-outs keeps the complete steps. */
static void test_beside_the_trace(void **state)
{
    (void)state;
    static const uint32_t steps[] = {2, 4};
    struct fixture f;
    struct mn_depth_trace plain, some;
    open_model(&f, RAVEN_TINY, steps, 2);
    f.params.n_inits = 1;
    f.params.stop = stop_after;
    stop_at = UINT32_MAX;
    n_asked = 0;
    assert_int_equal(depth_trace_run(&f.t, f.s, &f.params), MN_OK);
    const uint32_t all = n_asked;
    stop_at = all - 1;
    n_asked = 0;
    assert_int_equal(depth_trace_run(&some, f.s, &f.params), MN_ERR_INTERRUPTED);
    assert_true(some.n_tokens == f.t.n_tokens && some.n_readouts == 1 && some.readout_stride == 2);
    assert_int_equal(some.n_inits, 1);
    f.params.n_readouts = 0;
    stop_at = UINT32_MAX;
    assert_int_equal(depth_trace_run(&plain, f.s, &f.params), MN_OK);
    assert_true(plain.n_readouts == 0 && !plain.readouts);
    const size_t n_states = (size_t)plain.n_tokens * (plain.n_steps + 1) * plain.n_embd;
    assert_memory_equal(plain.states, f.t.states, n_states * sizeof *plain.states);
    for (uint32_t i = 0; i < plain.n_tokens * plain.n_steps; i++)
        assert_true(plain.steps[i].top1 == f.t.steps[i].top1 && plain.steps[i].kl == f.t.steps[i].kl);
    mn_depth_trace_finish(&plain);
    mn_depth_trace_finish(&some);
    close_model(&f);
}

static void test_refusals(void **state)
{
    (void)state;
    static const uint32_t bad[2][2] = {{1, 5}, {0, 1}};
    struct fixture f;
    open_model(&f, RAVEN_TINY, (const uint32_t[]){4}, 1);
    for (int i = 0; i < 2; i++) {
        f.params.readout_steps = bad[i];
        f.params.n_readouts = 2;
        assert_int_equal(depth_trace_run(&f.t, f.s, &f.params), MN_ERR_USAGE);
        assert_non_null(strstr(f.log.last, i ? "readout_steps[0] 0" : "readout_steps[1] 5"));
        mn_depth_trace_finish(&f.t);
    }
    assert_null(mn_readout_name(MN_READOUT_COUNT));
    assert_null(mn_entries_name(MN_ENTRIES_COUNT));
    close_model(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_estimates), cmocka_unit_test(test_models),
                                       cmocka_unit_test(test_beside_the_trace), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
