/* Goal: the lossy ways to spend depth do what they say and say that they are lossy: diffusion, warm start, threshold
 * acceptance, forced acceptance; and the comparison with ar tells how far they strayed.
 * Method: each at the setting at which it must be ar again, token for token; counts where it must not; labels;
 * refusals. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/testing.h"

static const struct random_shape odd_shape = {.n_embd = 60,
                                              .n_heads = 6,
                                              .intermediate_size = 92,
                                              .vocab_size = 173,
                                              .n_prelude = 1,
                                              .n_core = 2,
                                              .n_coda = 2,
                                              .block_size = 96,
                                              .tied = false,
                                              .qk_bias = true,
                                              .seed = 11};
static const uint32_t prompt[] = {0, 23, 29, 90, 100, 23, 27, 92, 26, 7, 61};
enum { N_PROMPT = sizeof prompt / sizeof *prompt, R = 8 };

struct fixture {
    struct test_log log;
    struct mn_engine *engine;
    struct session *full, *shared; /* shared: share:1 */
    char *dir;
};

static void open_fixture(struct fixture *f, bool random)
{
    *f = (struct fixture){0};
    test_log_init(&f->log);
    if (random)
        random_model_write(&odd_shape, &f->dir);
    f->engine = test_engine(&f->log, random ? f->dir : RAVEN_TINY, NULL);
    struct session_params params = {.num_steps = R, .max_rows = 16, .kv_type = KV_F16, .n_ctx = 80};
    f->full = test_session(f->engine, &params);
    params.policy.share = 1;
    f->shared = test_session(f->engine, &params);
}

static void close_fixture(struct fixture *f)
{
    session_destroy(f->full);
    session_destroy(f->shared);
    test_engine_done(f->engine);
    if (f->dir)
        random_model_remove(f->dir);
}

static struct token_list run(struct session *session, struct mn_generate_params params, struct mn_stats *stats)
{
    struct token_list list = {0};
    params.prompt = prompt;
    params.n_prompt = N_PROMPT;
    params.on_token = token_list_add;
    params.user = &list;
    assert_int_equal(generate(session, &params, stats), MN_OK);
    assert_int_equal(stats->n_new, list.n);
    return list;
}

static uint32_t n_equal(const struct token_list *a, const struct token_list *b)
{
    uint32_t n = 0;
    while (n < a->n && n < b->n && a->ids[n] == b->ids[n])
        n++;
    return n;
}

static void assert_lossy(const struct mn_stats *stats, const char *because)
{
    assert_false(stats->lossless);
    assert_non_null(stats->lossy_because);
    assert_string_equal(stats->lossy_because, because);
}

/* One row in flight, all steps in one tick, no averaging and no noise: ar with share:1. */
static void check_diffusion_as_ar(bool random)
{
    struct fixture f;
    struct mn_stats stats;
    open_fixture(&f, random);
    struct mn_generate_params g = {
        .n_new = 40, .strategy = "ar", .ignore_eos = true, .init_scale = random ? 1.0f : 0.0f, .sampler = {.seed = 3}};
    struct token_list expected = run(f.shared, g, &stats);
    g.strategy = "diffusion";
    g.speculation.draft_steps = R;
    g.speculation.max_inflight = 1;
    struct token_list got = run(f.shared, g, &stats);
    assert_lossy(&stats, "strategy diffusion");
    assert_int_equal(got.n, 40);
    assert_int_equal(n_equal(&got, &expected), 40);
    assert_int_equal(stats.rounds, 39);
    assert_int_equal(stats.core_passes, 39 * R);
    close_fixture(&f);
}

static void test_diffusion_as_ar(void **state)
{
    (void)state;
    check_diffusion_as_ar(false);
    check_diffusion_as_ar(true);
}

static void test_diffusion(void **state)
{
    (void)state;
    struct fixture f;
    struct mn_stats stats;
    open_fixture(&f, false);
    for (uint32_t headway = 1; headway <= 3; headway++)
        for (uint32_t k = 1; k <= R; k += 3) {
            struct mn_generate_params g = {
                .n_new = 30,
                .strategy = "diffusion",
                .speculation = {.draft_steps = k},
                .diffusion = {.headway = headway, .embed_average = 0.1f, .state_noise = 0.2f},
                .ignore_eos = headway != 2,
                .sampler = {.seed = k}};
            struct token_list got = run(f.shared, g, &stats), again = run(f.shared, g, &stats);
            assert_int_equal(got.n, again.n);
            assert_int_equal(n_equal(&got, &again), got.n); /* the same run, the same tokens */
            assert_true(got.n == 30 || !g.ignore_eos);
            assert_true(stats.core_passes == stats.rounds * k && stats.coda_passes == stats.rounds);
            assert_true(stats.inflight_rows >= stats.rounds && stats.inflight_rows <= 16 * stats.rounds);
            assert_true(stats.weight_bytes > 0);
        }
    /* Every position takes all its steps: nothing is frozen early. The same with a threshold anything meets: one tick
     * each. */
    struct mn_generate_params g = {.n_new = 20,
                                   .strategy = "diffusion",
                                   .speculation = {.draft_steps = 1},
                                   .diffusion = {.freeze_threshold = 1e-9f},
                                   .ignore_eos = true};
    uint32_t steps[20];
    g.steps = steps;
    run(f.shared, g, &stats);
    for (uint32_t i = 1; i < 20; i++)
        assert_int_equal(steps[i], R);
    g.diffusion.freeze_threshold = 1e6f;
    run(f.shared, g, &stats);
    for (uint32_t i = 1; i < 20; i++)
        assert_int_equal(steps[i], 1);
    assert_int_equal(stats.rounds, 19);
    close_fixture(&f);
}

/* Continuous compute is ar for the first token; behind it, on a model that forgets its initial state badly, it is
 * not. */
static void test_continuous(void **state)
{
    (void)state;
    struct fixture f;
    struct mn_stats stats;
    open_fixture(&f, true);
    struct mn_generate_params g = {.n_new = 40, .strategy = "ar", .num_steps = 2, .ignore_eos = true};
    struct token_list expected = run(f.full, g, &stats);
    g.continuous = true;
    struct token_list got = run(f.full, g, &stats), again = run(f.full, g, &stats);
    assert_lossy(&stats, "continuous");
    assert_int_equal(got.n, 40);
    assert_int_equal(n_equal(&got, &again), 40);
    const uint32_t n = n_equal(&got, &expected);
    print_message("continuous at 2 steps: %u of 40 tokens before the first difference\n", n);
    assert_true(n >= 1 && n < 40);
    close_fixture(&f);
}

static void test_threshold(void **state)
{
    (void)state;
    struct fixture f;
    struct mn_stats stats, loose;
    open_fixture(&f, true);
    struct mn_generate_params g = {
        .n_new = 60, .strategy = "ar", .ignore_eos = true, .speculation = {.draft_steps = 1, .lookahead = 4}};
    struct token_list expected = run(f.full, g, &stats);
    g.strategy = "draft-verify";
    run(f.full, g, &loose);
    g.speculation.verification_threshold = 1.0f;
    struct token_list got = run(f.full, g, &stats);
    assert_lossy(&stats, "verification_threshold");
    assert_int_equal(n_equal(&got, &expected), 60); /* as likely as the best is the best */
    assert_int_equal(stats.accepted, loose.accepted);
    g.speculation.verification_threshold = 1e-30f;
    got = run(f.full, g, &loose);
    assert_int_equal(got.n, 60);
    assert_int_equal(loose.accepted, loose.drafted); /* everything passes */
    assert_true(loose.rounds < stats.rounds && n_equal(&got, &expected) < 60);
    close_fixture(&f);
}

static void test_forced(void **state)
{
    (void)state;
    struct fixture f;
    struct mn_stats stats;
    open_fixture(&f, false);
    static const float all[] = {1.0f}, none[] = {0.0f}, first_only[] = {1.0f, 0.0f}, half[] = {0.5f};
    struct mn_generate_params g = {.n_new = 61,
                                   .strategy = "draft-verify",
                                   .ignore_eos = true,
                                   .speculation = {.draft_steps = 2, .lookahead = 4},
                                   .measuring = {.forced_acceptance = all, .n_forced_acceptance = 1}};
    run(f.full, g, &stats);
    assert_lossy(&stats, "forced acceptance");
    assert_int_equal(stats.accepted, stats.drafted);
    assert_int_equal(stats.rounds, 60 / 5);
    g.measuring.forced_acceptance = none;
    run(f.full, g, &stats);
    assert_int_equal(stats.accepted, 0);
    assert_int_equal(stats.rounds, 60);
    g.measuring.forced_acceptance = first_only;
    g.measuring.n_forced_acceptance = 2;
    run(f.full, g, &stats);
    assert_int_equal(stats.rounds, 30);
    assert_int_equal(stats.accepted_lengths[1], 30);
    g.measuring.forced_acceptance = half;
    g.measuring.n_forced_acceptance = 1;
    run(f.full, g, &stats);
    assert_true(stats.rounds > 60 / 5 && stats.rounds < 60 && stats.accepted > 0 && stats.accepted < stats.drafted);
    g.strategy = "wavefront";
    g.speculation.max_inflight = 8;
    g.measuring.forced_acceptance = all;
    run(f.full, g, &stats);
    const uint64_t fewest = stats.rounds;
    assert_int_equal(stats.accepted, stats.drafted);
    g.measuring.forced_acceptance = none;
    run(f.full, g, &stats);
    assert_int_equal(stats.accepted, 0);
    assert_true(fewest < stats.rounds);
    close_fixture(&f);
}

static void test_compare(void **state)
{
    (void)state;
    struct fixture f;
    struct mn_stats stats;
    struct mn_agreement a;
    open_fixture(&f, true);
    struct mn_generate_params g = {.prompt = prompt,
                                   .n_prompt = N_PROMPT,
                                   .n_new = 40,
                                   .strategy = "draft-verify",
                                   .ignore_eos = true,
                                   .speculation = {.draft_steps = 2, .lookahead = 3}};
    struct token_list same = run(f.full, g, &stats);
    assert_int_equal(compare_ar(f.full, &g, same.ids, same.n, &a), MN_OK);
    assert_true(a.n_compared == 40 && a.n_equal == 40 && !a.diverged && a.forced_agreement == 1.0);
    /* One token exchanged: found, with the margin it had. */
    struct token_list other = same;
    other.ids[7] = (same.ids[7] + 1) % 173;
    assert_int_equal(compare_ar(f.full, &g, other.ids, other.n, &a), MN_OK);
    assert_true(a.diverged && a.first_divergence == 7 && a.n_equal == 39);
    assert_true(a.token == other.ids[7] && a.ar_token == same.ids[7] && a.margin > 0.0f);
    assert_true(a.forced_agreement >= 7.0 / 40 && a.forced_agreement < 1.0);
    /* A run that ended early, and one token alone. */
    assert_int_equal(compare_ar(f.full, &g, same.ids, 10, &a), MN_OK);
    assert_true(a.n_compared == 10 && a.n_equal == 10 && a.diverged && a.first_divergence == 10 &&
                a.token == UINT32_MAX && a.ar_token == same.ids[10]);
    g.n_new = 1;
    assert_int_equal(compare_ar(f.full, &g, same.ids, 1, &a), MN_OK);
    assert_true(a.n_compared == 1 && !a.diverged && a.forced_agreement == 1.0);
    /* A real lossy run: what the free-running comparison says about its beginning is what the tokens say. */
    g.n_new = 40;
    g.strategy = "ar";
    g.exit.rule = "latent-diff:0.9";
    struct token_list exits = run(f.full, g, &stats);
    assert_int_equal(compare_ar(f.full, &g, exits.ids, exits.n, &a), MN_OK);
    assert_int_equal(a.first_divergence, n_equal(&exits, &same));
    assert_true(a.diverged && a.forced_agreement < 1.0);
    g.sampler.temperature = 0.8f;
    assert_int_equal(compare_ar(f.full, &g, exits.ids, exits.n, &a), MN_OK);
    assert_true(a.forced_agreement < 0.0); /* greedy runs only */
    f.log.n_errors = 0;
    assert_int_equal(compare_ar(f.shared, &g, exits.ids, exits.n, &a), MN_ERR_USAGE);
    assert_int_equal(compare_ar(f.full, &g, exits.ids, 0, &a), MN_ERR_USAGE);
    assert_int_equal(compare_ar(f.full, &g, exits.ids, 41, &a), MN_ERR_USAGE);
    assert_int_equal(f.log.n_errors, 3);
    close_fixture(&f);
}

static void test_refusals(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, false);
    static const float bad[] = {0.5f, 1.5f};
    const struct {
        bool shared;
        struct mn_generate_params p;
        const char *part;
    } cases[] = {
        {false, {.strategy = "diffusion", .speculation = {.draft_steps = 2}}, "share:1"},
        {true, {.strategy = "diffusion", .speculation = {.draft_steps = 0}}, "draft_steps 0"},
        {true, {.strategy = "diffusion", .speculation = {.draft_steps = R + 1}}, "draft_steps 9"},
        {true,
         {.strategy = "diffusion", .speculation = {.draft_steps = 2}, .diffusion = {.headway = 17}},
         "headway 17"},
        {true, {.strategy = "diffusion", .speculation = {.draft_steps = 2, .max_inflight = 17}}, "max_inflight 17"},
        {true,
         {.strategy = "diffusion", .speculation = {.draft_steps = 2}, .diffusion = {.freeze_threshold = -1.0f}},
         "freeze_threshold"},
        {true,
         {.strategy = "diffusion", .speculation = {.draft_steps = 2}, .diffusion = {.freeze_threshold = NAN}},
         "freeze_threshold"},
        {true,
         {.strategy = "diffusion", .speculation = {.draft_steps = 2}, .diffusion = {.state_noise = 1.5f}},
         "state_noise"},
        {true,
         {.strategy = "diffusion", .speculation = {.draft_steps = 2}, .diffusion = {.embed_average = 1.0f}},
         "embed_average"},
        {true,
         {.strategy = "diffusion", .speculation = {.draft_steps = 2}, .exit = {.rule = "kl"}},
         "exit.rule kl: strategy diffusion has no early exit"},
        {true,
         {.strategy = "diffusion", .speculation = {.draft_steps = 2, .require_lossless = true}},
         "require_lossless: strategy diffusion"},
        {true,
         {.strategy = "wavefront", .speculation = {.draft_steps = 2, .require_lossless = true}},
         "require_lossless: kv_policy share:k"},
        {false, {.strategy = "wavefront", .speculation = {.draft_steps = 2}, .continuous = true}, "continuous"},
        {false, {.strategy = "auto", .continuous = true}, "continuous"},
        {false, {.strategy = "ar", .speculation = {.verification_threshold = 0.5f}}, "verification_threshold"},
        {false,
         {.strategy = "draft-verify", .speculation = {.draft_steps = 2, .lookahead = 2, .verification_threshold = NAN}},
         "verification_threshold"},
        {false,
         {.strategy = "draft-verify",
          .speculation = {.draft_steps = 2, .lookahead = 2, .verification_threshold = 1.1f}},
         "verification_threshold"},
        {false,
         {.strategy = "draft-verify",
          .speculation = {.draft_steps = 2, .lookahead = 2, .verification_threshold = 0.5f, .require_lossless = true}},
         "require_lossless"},
        {false,
         {.strategy = "draft-verify",
          .speculation = {.draft_steps = 2, .lookahead = 2},
          .measuring = {.forced_acceptance = bad, .n_forced_acceptance = 2}},
         "forced_acceptance of 1.5"},
        {false,
         {.strategy = "ar", .measuring = {.forced_acceptance = bad, .n_forced_acceptance = 1}},
         "forced_acceptance: strategy ar"},
        {false,
         {.strategy = "ar", .continuous = true, .speculation = {.require_lossless = true}},
         "require_lossless: continuous"},
        {false, {.strategy = "guess"}, "strategy guess"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mn_generate_params p = cases[i].p;
        struct mn_stats stats;
        p.prompt = prompt;
        p.n_prompt = N_PROMPT;
        p.n_new = 10;
        f.log.n_errors = 0;
        if (generate(cases[i].shared ? f.shared : f.full, &p, &stats) != MN_ERR_USAGE || f.log.n_errors != 1 ||
            !strstr(f.log.last, cases[i].part))
            fail_msg("case %zu: wanted one line with '%s', got %u, '%s'", i, cases[i].part, f.log.n_errors, f.log.last);
    }
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_diffusion_as_ar), cmocka_unit_test(test_diffusion),
                                       cmocka_unit_test(test_continuous),      cmocka_unit_test(test_threshold),
                                       cmocka_unit_test(test_forced),          cmocka_unit_test(test_compare),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
