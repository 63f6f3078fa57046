/* Goal: auto's two bounds. It is never slower than ar by more than 5 %, on any kind of text and device, also in short
 * runs; and it is within 10 % of the best fixed setting on the default model's text, over 64 tokens and over 160.
 * Method: a clock and a model of our own. The linker hands session_run, session_prompt_run and clock_ns, as the
 * strategies call them, to this file: a run takes what a table says for its passes and rows, the clock stands still
 * otherwise, and what a row predicts at a depth is looked up. So times are exact, the same everywhere, and thousands of
 * tokens take a moment. Text is made from profiles of how early predictions settle; one is recorded from the default
 * model. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "spec/strategy.h"
#include "tests/testing.h"

enum { R = 32, MAX_ROWS = 16, N_MOST = 192, N_VOCAB = 256 };

/* ---- devices ---- */

/* Microseconds; core: a core pass of 1 to 16 rows; head: coda, head and choice of one row, growing as the core does or
 * not at all. */
struct device_times {
    const char *name;
    double submit, prelude, head, core[MAX_ROWS];
    bool flat_head;
};

static const struct device_times devices[] = {
    /* a CPU: arithmetic counts, and rows are padded to 1, 2, 4, 8, 16 (lavapipe, measured on two days with other
       shaders) */
    {"cpu before",
     25,
     75,
     90,
     {138, 201, 300, 327, 430, 450, 470, 513, 790, 810, 840, 860, 890, 910, 930, 1000},
     false},
    {"cpu", 60, 90, 100, {133, 167, 242, 253, 381, 410, 438, 467, 732, 752, 778, 799, 832, 890, 894, 907}, false},
    /* bound by memory: rows are nearly free until the weights are read twice */
    {"gpu", 20, 60, 90, {100, 101, 102, 103, 104, 105, 106, 107, 150, 152, 154, 156, 158, 160, 162, 164}, true},
    /* in between */
    {"soft", 20, 100, 120, {200, 210, 225, 240, 280, 300, 320, 340, 500, 520, 540, 560, 580, 600, 620, 640}, false},
    /* every row costs what the first one does: nothing beats ar */
    {"serial",
     20,
     150,
     190,
     {300, 600, 900, 1200, 1500, 1800, 2100, 2400, 2700, 3000, 3300, 3600, 3900, 4200, 4500, 4800},
     false},
};
enum { N_DEVICES = sizeof devices / sizeof *devices };

/* ---- text: what the row at each position predicts at each depth, on the right tokens before it; [R] is the token
 * ---- */

static uint32_t predictions[N_MOST][R + 1];
static const struct device_times *device;
static double now = 1;
static bool real; /* hand calls on: while the default model is recorded */

double __wrap_clock_ns(void);
enum mn_status __real_session_run(struct session *session, const struct session_run_params *params, uint32_t *tokens);
enum mn_status __wrap_session_run(struct session *session, const struct session_run_params *params, uint32_t *tokens);
enum mn_status __real_session_prompt_run(struct session *session, struct session_prompt *prompt, uint32_t *rows,
                                         uint32_t *token);
enum mn_status __wrap_session_prompt_run(struct session *session, struct session_prompt *prompt, uint32_t *rows,
                                         uint32_t *token);

double __wrap_clock_ns(void)
{
    return now;
}

enum mn_status __wrap_session_prompt_run(struct session *session, struct session_prompt *prompt, uint32_t *rows,
                                         uint32_t *token)
{
    if (real)
        return __real_session_prompt_run(session, prompt, rows, token);
    *token = predictions[prompt->params.n - 1][R];
    prompt->done = true;
    return MN_OK;
}

enum mn_status __wrap_session_run(struct session *session, const struct session_run_params *p, uint32_t *tokens)
{
    if (real)
        return __real_session_run(session, p, tokens);
    assert_true(p->n_rows >= 1 && p->n_rows <= MAX_ROWS && p->n_head <= p->n_rows);
    double us = device->submit + p->n_core * device->core[p->n_rows - 1];
    if (p->n_new)
        us += device->prelude * device->core[p->n_new - 1] / device->core[0];
    if (p->n_head)
        us += device->head * (device->flat_head ? 1.0 : device->core[p->n_rows - 1] / device->core[0]);
    now += 1e3 * us;
    for (uint32_t i = 0; i < p->n_head && tokens; i++) {
        const struct row *row = &p->rows[p->n_rows - p->n_head + i];
        const uint32_t depth = row->depth + p->n_core;
        assert_true(depth <= R && row->position < N_MOST);
        const bool right = row->position == 0 || row->token == predictions[row->position - 1][R];
        tokens[i] = right ? predictions[row->position][depth] : (row->token * 31 + depth * 7 + 1) % N_VOCAB;
    }
    return MN_OK;
}

/* Share of the positions whose prediction has settled, by depth. */
struct profile {
    const char *name;
    double (*settled)(double depth, double place);
};

static double easy(double depth, double place)
{
    (void)place;
    return 1.0 - 0.9 * exp(-0.9 * depth);
}

static double medium(double depth, double place)
{
    (void)place;
    return 1.0 - exp(-0.25 * depth);
}

static double late(double depth, double place)
{
    (void)place;
    return depth / R;
}

static double half(double depth, double place)
{
    (void)place;
    return depth < 2 ? 0.3 : depth < R ? 0.5 : 1.0;
}

static double never(double depth, double place)
{
    (void)place;
    return depth < R ? 0.0 : 1.0;
}

static double turns_bad(double depth, double place)
{
    return place < 0.3 ? easy(depth, place) : late(depth, place);
}

static double turns_good(double depth, double place)
{
    return place < 0.3 ? late(depth, place) : easy(depth, place);
}

static const struct profile profiles[] = {
    {"easy", easy},           {"medium", medium},        {"late", late}, {"half", half}, {"never", never},
    {"turns bad", turns_bad}, {"turns good", turns_good}};
enum { N_PROFILES = sizeof profiles / sizeof *profiles };

static void make_text(const struct profile *profile, uint64_t seed, uint32_t n)
{
    for (uint32_t p = 0; p < n; p++) {
        const double draw = 0.5 + 0.5 * (double)test_noise(seed, p);
        for (uint32_t d = 0; d <= R; d++) {
            const bool settled = d == R || profile->settled(d, (double)p / n) > draw;
            predictions[p][d] = settled ? (p * 37 + 5) % N_VOCAB : (p * 37 + 6 + d / 3) % N_VOCAB;
        }
    }
}

/* ---- runs ---- */

static double run(struct session *session, struct mn_generate_params g, uint32_t n_new)
{
    static const uint32_t prompt[1] = {3};
    struct token_list list = {0};
    struct mn_stats stats;
    g.prompt = prompt;
    g.n_prompt = 1;
    g.n_new = n_new;
    g.ignore_eos = true;
    g.on_token = token_list_add;
    g.user = &list;
    assert_int_equal(generate(session, &g, &stats), MN_OK);
    assert_int_equal(list.n, n_new);
    for (uint32_t i = 0; i < n_new; i++)
        assert_int_equal(list.ids[i], predictions[i][R]);
    return stats.decode_ns;
}

static double run_best(struct session *session, uint32_t n_new)
{
    static const uint32_t ks[] = {1, 2, 3, 4, 5, 6, 8, 12}, ls[] = {1, 2, 3, 5, 7, 11, 15};
    double best = run(session, (struct mn_generate_params){.strategy = "ar"}, n_new);
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
        best = fmin(best,
                    run(session,
                        (struct mn_generate_params){.strategy = "wavefront", .speculation = {.draft_steps = ks[i]}},
                        n_new));
        for (size_t j = 0; j < sizeof ls / sizeof *ls; j++)
            best = fmin(best,
                        run(session,
                            (struct mn_generate_params){.strategy = "draft-verify",
                                                        .speculation = {.draft_steps = ks[i], .lookahead = ls[j]}},
                            n_new));
    }
    return best;
}

static double run_auto(struct session *session, uint32_t n_new)
{
    return run(session, (struct mn_generate_params){.strategy = "auto"}, n_new);
}

struct fixture {
    struct test_log log;
    struct mn_engine *engine;
    struct session *session; /* lends its limits: nothing is computed on it */
};

static void open_fixture(struct fixture *f)
{
    const struct session_params params = {.num_steps = R, .max_rows = MAX_ROWS, .kv_type = KV_F16, .n_ctx = N_MOST};
    test_log_init(&f->log);
    f->engine = test_engine(&f->log, VECTORS "square", NULL);
    f->session = test_session(f->engine, &params);
    now = 1.0;
}

static void close_fixture(struct fixture *f)
{
    session_destroy(f->session);
    test_engine_done(f->engine);
}

static void test_never_much_slower_than_ar(void **state)
{
    (void)state;
    enum { N_SEEDS = 32 };
    static const uint32_t lengths[] = {16, 32, 64, 128};
    struct fixture f;
    open_fixture(&f);
    double worst = 0.0, most = 0.0;
    for (size_t t = 0; t < N_PROFILES; t++)
        for (size_t d = 0; d < N_DEVICES; d++)
            for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
                double sum = 0.0;
                device = &devices[d];
                for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
                    make_text(&profiles[t], seed, lengths[l]);
                    const double share = run_auto(f.session, lengths[l]) /
                                         run(f.session, (struct mn_generate_params){.strategy = "ar"}, lengths[l]);
                    if (share > 1.05)
                        fail_msg("%s text on %s, %u tokens, seed %u: %.3f of ar's time", profiles[t].name,
                                 devices[d].name, lengths[l], (unsigned)seed, share);
                    most = fmax(most, share);
                    sum += share;
                }
                worst = fmax(worst, sum / N_SEEDS);
            }
    print_message("worst average over seeds: %.3f of ar's time, worst run: %.3f\n", worst, most);
    close_fixture(&f);
}

/* What every position of the default model's answer to a prompt predicts at every depth. */
static void record(const char *prompt, uint32_t n)
{
    const struct session_params params = {.num_steps = R, .max_rows = 1, .kv_type = KV_F16, .n_ctx = N_MOST};
    struct test_log log;
    uint32_t *ids;
    size_t n_ids;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_DEEP, NULL);
    struct session *session = test_session(engine, &params);
    assert_int_equal(mn_tokenize(engine, prompt, strlen(prompt), true, &ids, &n_ids), MN_OK);
    real = true;
    struct session_prefill_params prefill = {.ids = ids, .n = (uint32_t)n_ids, .num_steps = R};
    assert_int_equal(session_prefill(session, &prefill, &predictions[0][R]), MN_OK);
    for (uint32_t i = 1; i < n; i++) {
        struct row row = {.token = predictions[i - 1][R], .position = (uint32_t)n_ids + i - 1};
        for (uint32_t depth = 1; depth <= R; depth++, row.depth++) {
            struct session_run_params step = {
                .rows = &row, .n_rows = 1, .n_new = depth == 1, .n_core = 1, .coda = true, .n_head = 1};
            assert_int_equal(session_run(session, &step, &predictions[i][depth]), MN_OK);
        }
    }
    real = false;
    free(ids);
    session_destroy(session);
    test_engine_done(engine);
}

static void test_near_the_best_on_the_default_model(void **state)
{
    (void)state;
    enum { N_PROMPTS = 4, N_LENGTHS = 2 };
    static const uint32_t lengths[N_LENGTHS] = {64, 160};
    static const char *const prompts[N_PROMPTS] = {
        "<|begin_text|>sort 2 8 0 1 9 4 :", "<|begin_text|>Once upon a time",
        "<|begin_text|>sum mod 10 of 3 4 5 9 1 2 :",
        "<|begin_text|>Kai has 53 keys and Max has 52 keys. How many keys do they have together?"};
    double sums[N_DEVICES][N_LENGTHS] = {0};
    struct fixture f;
    open_fixture(&f);
    for (size_t i = 0; i < N_PROMPTS; i++) {
        record(prompts[i], lengths[N_LENGTHS - 1]);
        for (size_t d = 0; d < N_DEVICES; d++)
            for (size_t l = 0; l < N_LENGTHS; l++) {
                device = &devices[d];
                const double share = run_auto(f.session, lengths[l]) / run_best(f.session, lengths[l]);
                print_message("  %s: %s, %u tokens: %.3f\n", prompts[i], device->name, lengths[l], share);
                sums[d][l] += share / N_PROMPTS;
            }
    }
    for (size_t d = 0; d < N_DEVICES; d++)
        for (size_t l = 0; l < N_LENGTHS; l++) {
            print_message("%s, %u tokens: %.3f of the time of the best fixed setting\n", devices[d].name, lengths[l],
                          sums[d][l]);
            assert_true(sums[d][l] <= 1.10);
        }
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_never_much_slower_than_ar),
                                       cmocka_unit_test(test_near_the_best_on_the_default_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
