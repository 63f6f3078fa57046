/* The budget of `muninn bench --quick`.
 *
 * Goal: whatever a device costs, the time is kept, what is measured is enough to compare, and what is left out is said.
 * Method: a made-up clock that costs move; a piece of work that passes its deadline ends a submit later, as the engine
 * ends it. Known cases word for word, and many random ones against the budget. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/sweep/estimate.h"
#include "bench/sweep/quick_plan.h"
#include "tests/testing.h"

enum { SUBJECTS_MAX = 5, SUBMIT_MS = 150, FINISH_MS = 500 };

struct cost {
    double open_s, token_s, slower; /* slower: a setting beside ar */
    enum mn_status open_status, measure_status;
};
#define COST(open, token, times) \
    { \
        .open_s = (open), .token_s = (token), .slower = (times) \
    }

struct fake {
    double now, stop_at; /* stop_at 0: never */
    struct cost costs[SUBJECTS_MAX];
    uint32_t n_measured[SUBJECTS_MAX], n_new[SUBJECTS_MAX], n_over;
    bool opened[SUBJECTS_MAX], finished[SUBJECTS_MAX], closed[SUBJECTS_MAX], over[SUBJECTS_MAX];
    double finish_s; /* 0: FINISH_MS */
    enum mn_status finish_status;
    char why[SUBJECTS_MAX][QUICK_WHY_BYTES];
};

static double now(void *user)
{
    return ((struct fake *)user)->now;
}

static bool has_to_stop(void *user)
{
    const struct fake *f = user;
    return f->stop_at > 0.0 && f->now >= f->stop_at;
}

/* Work that takes so long, unless its deadline or somebody ends it. */
static enum mn_status work(struct fake *f, double seconds, double deadline)
{
    double end = deadline;
    if (f->stop_at > 0.0 && f->stop_at < end)
        end = f->stop_at > f->now ? f->stop_at : f->now;
    if (f->now + seconds <= end) {
        f->now += seconds;
        return MN_OK;
    }
    f->now = (end > f->now ? end : f->now) + SUBMIT_MS / 1000.0;
    return MN_ERR_INTERRUPTED;
}

static enum mn_status open_subject(void *user, uint32_t i, double deadline)
{
    struct fake *f = user;
    enum mn_status status = f->costs[i].open_status ? f->costs[i].open_status : work(f, f->costs[i].open_s, deadline);
    f->opened[i] = !status;
    f->closed[i] = false; /* what was postponed comes again */
    return status;
}

static enum mn_status time_token(void *user, uint32_t i, double deadline, double *seconds)
{
    struct fake *f = user;
    *seconds = f->costs[i].token_s;
    return work(f, 2.0 * f->costs[i].token_s, deadline);
}

static enum mn_status measure(void *user, uint32_t i, uint32_t setting, uint32_t n_new, double deadline)
{
    struct fake *f = user;
    const double tokens = QUICK_PROMPTS * n_new, runs = 1 + QUICK_REPETITIONS;
    assert_int_equal(setting, f->n_measured[i]);
    assert_false(f->finished[i]);
    f->n_new[i] = n_new;
    enum mn_status status = work(f, tokens * f->costs[i].token_s * (setting ? runs * f->costs[i].slower : runs + 1),
                                 deadline);
    status = status ? status : f->costs[i].measure_status;
    f->n_measured[i] += !status;
    return status;
}

static double finish_s(void *user, uint32_t i)
{
    const struct fake *f = user;
    (void)i;
    return f->finish_s > 0.0 ? f->finish_s : FINISH_MS / 1000.0;
}

/* Once, behind all that is measured of it. */
static enum mn_status finish(void *user, uint32_t i, double deadline)
{
    struct fake *f = user;
    assert_true(f->opened[i] && !f->closed[i] && !f->finished[i] && f->n_measured[i]);
    enum mn_status status = f->finish_status ? f->finish_status : work(f, finish_s(f, i), deadline);
    f->finished[i] = !status;
    return status;
}

static void close_subject(void *user, uint32_t i)
{
    ((struct fake *)user)->closed[i] = true;
}

static void over(void *user, uint32_t i, uint32_t n_measured, const char *why)
{
    struct fake *f = user;
    assert_false(f->over[i]); /* once */
    f->over[i] = true;
    f->n_over++;
    assert_int_equal(n_measured, f->n_measured[i]);
    snprintf(f->why[i], sizeof f->why[i], "%s", why ? why : "");
}

static enum mn_status run(struct fake *f, const struct quick_subject *subjects, uint32_t n)
{
    const struct quick_ops ops = {now,    has_to_stop, open_subject,  time_token, measure,
                                  finish, finish_s,    close_subject, over,       f};
    const enum mn_status status = quick_plan_run(&ops, subjects, n, QUICK_SECONDS);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(f->opened[i], f->closed[i]);
    return status;
}

/* raven-tiny, raven-deep, and shapes of 185 MB, 2.25 GB and 7.1 GB. */
static const struct quick_subject usual[] = {
    {1800000, 6, false}, {1800000, 6, false}, {185000000, 4, true}, {2253000000, 4, true}, {7130000000, 4, true}};

static void test_fast_device(void **state)
{
    (void)state;
    struct fake f = {.costs = {COST(0.5, 0.0005, 0.6), COST(0.5, 0.0005, 0.6), COST(0.5, 0.001, 0.6),
                               COST(1, 0.003, 0.6), COST(3, 0.009, 0.6)}};
    assert_int_equal(run(&f, usual, 5), MN_OK);
    assert_true(f.now < QUICK_SECONDS);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(f.n_measured[i], usual[i].n_settings);
        assert_string_equal(f.why[i], "");
    }
    assert_int_equal(f.n_new[0], 64);
}

/* What a slow device cannot do is known from what it did, and costs no time. */
static void test_slow_device(void **state)
{
    (void)state;
    struct fake f = {
        .costs = {COST(1, 0.004, 0.7), COST(1, 0.005, 0.7), COST(3, 0.6, 1), COST(40, 8, 1), COST(120, 25, 1)}};
    assert_int_equal(run(&f, usual, 5), MN_OK);
    assert_true(f.n_measured[0] >= 3 && f.n_measured[1] >= 3);
    assert_int_equal(f.n_measured[2], 0);
    assert_string_equal(f.why[2], "left out: a token of ar takes 0.6 s here, and the fewest settings would take 8 min");
    assert_string_equal(
        f.why[3], "left out: by the smaller one, making its weights would take about 37 s here, and a token 7.3 s");
    assert_string_equal(
        f.why[4], "left out: by the smaller one, making its weights would take about 2 min here, and a token 23 s");
    assert_false(f.opened[3] || f.opened[4]);
    assert_true(f.now < 80.0);
}

/* What was too slow for its share has what the others leave: an included model is measured on any device that can. */
static void test_postponed(void **state)
{
    (void)state;
    struct fake f = {.costs = {COST(1, 0.03, 1), COST(1, 0.12, 1), COST(3, 1.2, 1), COST(40, 8, 1), COST(120, 25, 1)}};
    assert_int_equal(run(&f, usual, 5), MN_OK);
    assert_true(f.n_measured[0] >= 3);
    assert_int_equal(f.n_measured[1], 0);
    assert_memory_equal(f.why[1], "left out: a token of ar takes 0.12 s here", 41);
    assert_int_equal(f.n_over, 5);
    assert_true(f.now < QUICK_SECONDS);
}

/* One that fails costs itself. */
static void test_failures(void **state)
{
    (void)state;
    struct fake f = {.costs = {{1, 0.001, 1, MN_ERR_FILE, MN_OK},
                               {1, 0.001, 1, MN_OK, MN_ERR_CHECK},
                               {1, 0.001, 1, MN_ERR_MEMORY, MN_OK},
                               {1, 0.001, 1, MN_OK, MN_OK},
                               {1000, 0.001, 1, MN_OK, MN_OK}}};
    assert_int_equal(run(&f, usual, 5), MN_ERR_FILE);
    assert_int_equal(f.n_over, 5);
    assert_string_equal(f.why[0], "0 of 6 settings: one failed");
    assert_string_equal(f.why[1], "0 of 6 settings: one failed");
    assert_string_equal(f.why[2], "left out: it does not fit");
    assert_int_equal(f.n_measured[3], 4);
    assert_memory_equal(f.why[4], "left out: it was not ready after ", 33);
    assert_true(f.now < QUICK_SECONDS);
    memset(&f, 0, sizeof f);
    f.costs[0].open_status = MN_ERR_MEMORY; /* what does not fit is no failure */
    assert_int_equal(run(&f, usual, 1), MN_OK);
}

static void test_interrupted(void **state)
{
    (void)state;
    for (int at = 1; at < 60; at++) {
        struct fake f = {.stop_at = at};
        for (uint32_t i = 0; i < 5; i++)
            f.costs[i] = (struct cost){.open_s = 2.0, .token_s = 0.006, .slower = 1.0};
        assert_int_equal(run(&f, usual, 5), MN_ERR_INTERRUPTED);
        assert_true(f.now <= at + 1.0);
    }
}

/* What is measured at the end of a subject has its time, and its failures take nothing from the settings. */
static void test_finish(void **state)
{
    (void)state;
    for (int failing = 0; failing < 2; failing++) {
        struct fake f = {.costs = {COST(0.5, 0.0005, 0.6), COST(0.5, 0.0005, 0.6)},
                         .finish_status = failing ? MN_ERR_CHECK : MN_OK};
        assert_int_equal(run(&f, usual, 2), f.finish_status);
        for (uint32_t i = 0; i < 2; i++) {
            assert_int_equal(f.finished[i], !failing);
            assert_int_equal(f.n_measured[i], usual[i].n_settings);
            assert_string_equal(f.why[i], "");
        }
    }
    /* Where it would take most of the time, the settings have it. */
    struct fake slow = {.costs = {COST(0.5, 0.0005, 0.6)}, .finish_s = 1000.0};
    assert_int_equal(run(&slow, usual, 1), MN_OK);
    assert_int_equal(slow.n_measured[0], 6);
    assert_false(slow.finished[0]);
    assert_true(slow.now <= QUICK_SECONDS);
    /* Nothing to end where nothing was measured: `finish` asserts it. */
    struct fake none = {.costs = {COST(0.5, 1000.0, 1)}};
    assert_int_equal(run(&none, usual, 1), MN_OK);
    assert_false(none.finished[0]);
    /* Somebody wants an end while it runs. */
    struct fake ended = {.costs = {COST(0.5, 0.0005, 0.6)}, .finish_s = 5.0};
    assert_int_equal(run(&ended, usual, 1), MN_OK);
    struct fake again = {.costs = {COST(0.5, 0.0005, 0.6)}, .finish_s = 5.0, .stop_at = ended.now - 1.0};
    assert_int_equal(run(&again, usual, 1), MN_ERR_INTERRUPTED);
    assert_true(again.now <= again.stop_at + 1.0);
}

/* Costs over seven orders of magnitude, in any order, also such that nothing can be told from the ones before. */
static void test_any_device(void **state)
{
    (void)state;
    for (uint32_t trial = 0; trial < 5000; trial++) {
        struct fake f = {0};
        for (uint32_t i = 0; i < 5; i++) {
            const float x = test_noise(trial, 3 * i), y = test_noise(trial, 3 * i + 1),
                        z = test_noise(trial, 3 * i + 2);
            f.costs[i] = (struct cost){.open_s = x * x * x * x > 0.5f ? 300.0 : 3.0 * (x + 1.0),
                                       .slower = 1.0 + (double)z};
            f.costs[i].token_s = 1e-4;
            for (float step = -1.0f; step < y; step += 0.3f)
                f.costs[i].token_s *= 10.0;
        }
        assert_int_equal(run(&f, usual, 5), MN_OK);
        assert_int_equal(f.n_over, 5);
        assert_true(f.now <= QUICK_SECONDS);
        for (uint32_t i = 0; i < 5; i++)
            assert_true(f.n_measured[i] == usual[i].n_settings || *f.why[i]);
        for (uint32_t i = 0; i < 5; i++)
            assert_int_equal(f.finished[i], f.n_measured[i] > 0);
    }
}

/* ---- before a sweep ---- */

static void test_estimate(void **state)
{
    (void)state;
    const struct sampling sampling = {.min_repetitions = 5, .min_seconds = 3.0};
    const struct bench_setting one = {.kv_type = "f16", .strategy = "ar", .num_steps = 32, .n_new = 64, .batch = 1};
    struct bench_setting several[3] = {one, one, one};
    /* 4 prompts of 64 tokens at 0.1 s: 25.6 s once; a warm-up, 5 samples, and what ar says. */
    assert_true(fabs(sweep_estimate(&one, 1, 0.1, 32, 4, &sampling) - 25.6 * 7) < 1e-9);
    assert_true(fabs(sweep_estimate(several, 3, 0.1, 32, 4, &sampling) - 25.6 * 19) < 1e-9);
    several[1].num_steps = 16; /* what ar says is another text, in half the time */
    assert_true(fabs(sweep_estimate(several, 2, 0.1, 32, 4, &sampling) - 25.6 * (7 + 3.5)) < 1e-9);
    several[0].batch = 4;
    assert_true(fabs(sweep_estimate(several, 1, 0.1, 32, 4, &sampling) - (6.4 * 6 + 25.6)) < 1e-9);
    /* Fast ones take the least time. */
    assert_true(fabs(sweep_estimate(&one, 1, 1e-4, 32, 4, &sampling) - (0.0256 * 2 + 3.0)) < 1e-9);

    char text[ESTIMATE_BYTES];
    assert_false(sweep_estimate_words(text, "m", 0.01, 50.0, 10, 1));
    assert_true(sweep_estimate_words(text, "m", 0.01, 50.0, 10, 2));
    assert_string_equal(text, "m: a token of ar takes 0.01 s here; 10 settings of each model: about 2 min");
    assert_true(sweep_estimate_words(text, "m", 8.0, 36000.0, 10, 1));
    assert_string_equal(text,
                        "m: a token of ar takes 8 s here; 10 settings: about 10 h. Hopeless on this device: a smaller "
                        "shape, -n 8 -r 1, or `muninn bench --quick`");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fast_device), cmocka_unit_test(test_slow_device), cmocka_unit_test(test_postponed),
        cmocka_unit_test(test_failures),    cmocka_unit_test(test_interrupted), cmocka_unit_test(test_any_device),
        cmocka_unit_test(test_finish),      cmocka_unit_test(test_estimate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
