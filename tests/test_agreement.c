/* Goal: where the share of right predictions is given by depth, every strategy meets it: what draft-verify, waves and
 * auto report is what was given at the depths their drafts were made at, in batches too, and it is one text for all.
 *
 * Method: the linker hands the passes to this file, which computes nothing, so that thousands of tokens take a moment.
 * Every draft is followed in the trace from the depth at which it was made to its end; of each depth and place the
 * right ones are counted and held to the exact binomial distribution. Seeds are fixed: a test that passes passes
 * always. What strategies count themselves is compared with that. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "spec/strategy.h"
#include "tests/testing.h"

enum { R = 32, N_CTX = 192, N_PROMPT = 3, N_NEW = 180, N_SEEDS = 24, N_PLACES = 16, N_ROWS = 128 };
/* Of a right program, one group in so many would be refused; about 500 are looked at. */
static const double refused = 1e-7;

/* ---- passes that cost nothing ---- */

static double now = 1;

double __wrap_clock_ns(void);
enum mn_status __wrap_session_run(struct session *session, const struct session_run_params *params, uint32_t *tokens);
enum mn_status __wrap_session_prompt_run(struct session *session, struct session_prompt *prompt, uint32_t *rows,
                                         uint32_t *token);

double __wrap_clock_ns(void)
{
    return now;
}

enum mn_status __wrap_session_prompt_run(struct session *session, struct session_prompt *prompt, uint32_t *rows,
                                         uint32_t *token)
{
    (void)session, (void)rows;
    *token = prompt->params.ids[0];
    prompt->done = true;
    return MN_OK;
}

/* Rows are nearly free, so that auto drafts where it can. */
enum mn_status __wrap_session_run(struct session *session, const struct session_run_params *p, uint32_t *tokens)
{
    (void)session;
    now += 1e3 * (20 + 100 * p->n_core + p->n_rows + (p->n_new ? 50 : 0) + (p->n_head ? 50 : 0));
    for (uint32_t i = 0; i < p->n_head && tokens; i++)
        tokens[i] = (uint32_t)(now / 1e3 + i) % 64;
    return MN_OK;
}

static struct mn_cost_table costs(void)
{
    struct mn_cost_table t = {.n = MN_COST_POINTS, .submit_ns = 20e3};
    for (uint32_t i = 0; i < MN_COST_POINTS; i++) {
        t.rows[i] = i + 1;
        t.prelude_ns[i] = 50e3;
        t.core_ns[i] = 100e3 + 30 * i;
        t.head_ns[i] = 50e3;
    }
    return t;
}

/* ---- drafts, followed in the trace ---- */

struct tally {
    uint64_t n[N_PLACES][R + 1], right[N_PLACES][R + 1];
};

struct follow {
    struct tally *tally;
    uint64_t drafted, accepted; /* of waves: a draft for each position */
    uint32_t first_at[N_CTX];   /* depth at which the first row there entered behind the row before it; 0: none */
    bool lost[N_CTX];           /* that row was dropped because the prediction before it turned */
    int8_t verdict[N_CTX];      /* -1: none; of drafts at depth 4 */
    bool was_wave;
};

static void judge(struct follow *f, uint32_t place, uint32_t depth, uint32_t position, bool right)
{
    f->tally->n[place < N_PLACES ? place : N_PLACES - 1][depth]++;
    f->tally->right[place < N_PLACES ? place : N_PLACES - 1][depth] += right;
    if (depth == 4)
        f->verdict[position] = right;
}

/* Rows up to the first that was dropped were drafted on right tokens; the last row of a round drafts nothing. */
static void follow_round(struct follow *f, const struct mn_trace *t)
{
    for (uint32_t i = 0; i + 1 < t->n_rows && t->rows[i].kept; i++)
        judge(f, i, t->rows[i].depth_before, t->rows[i + 1].position, t->rows[i + 1].kept);
}

static void follow_tick(struct follow *f, const struct mn_trace *t)
{
    for (uint32_t i = 1; i < t->n_rows; i++) {
        const struct mn_trace_row *row = &t->rows[i];
        if (t->rows[i - 1].depth_before == 0 || f->first_at[row->position])
            continue;
        f->first_at[row->position] = t->rows[i - 1].depth_before;
        f->lost[row->position] = false;
    }
    for (uint32_t i = 1; i < t->n_rows; i++) {
        if (t->rows[i].kept)
            continue;
        if (t->rows[i - 1].kept)
            f->lost[t->rows[i].position] = true;
        else
            f->first_at[t->rows[i].position] = 0; /* it stood on a dropped row: another one will stand there */
        if (i + 1 == t->n_rows && t->rows[i].position + 1 < N_CTX)
            f->first_at[t->rows[i].position + 1] = 0;
    }
    const uint32_t behind = t->rows[0].position + 1;
    if (t->n_committed == 0 || behind >= N_CTX || !f->first_at[behind])
        return;
    const bool there = t->n_rows > 1 && t->rows[1].kept;
    if (!there && !f->lost[behind]) /* given up */
        return;
    judge(f, 0, f->first_at[behind], behind, there && !f->lost[behind]);
    f->drafted++;
    f->accepted += there && !f->lost[behind];
}

static void on_trace(void *user, const struct mn_trace *t)
{
    struct follow *f = user;
    const bool wave = !strcmp(t->event, "tick");
    if (!wave || !f->was_wave || t->rows[0].depth_before == 0)
        memset(f->first_at, 0, sizeof f->first_at);
    f->was_wave = wave;
    if (wave)
        follow_tick(f, t);
    else if (!strcmp(t->event, "round"))
        follow_round(f, t);
}

/* ---- exact binomial bounds ---- */

static double log_choose(double n, double k)
{
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1);
}

/* P(X <= k) or P(X >= k), the smaller one, of n draws with p. */
static double tail(uint64_t n, uint64_t k, double p)
{
    double low = 0.0, high = 0.0;
    if (p <= 0.0 || p >= 1.0)
        return k == (p > 0.0 ? n : 0) ? 1.0 : 0.0;
    for (uint64_t i = 0; i <= n; i++) {
        const double at = exp(log_choose((double)n, (double)i) + (double)i * log(p) + (double)(n - i) * log1p(-p));
        low += i <= k ? at : 0.0;
        high += i >= k ? at : 0.0;
    }
    return fmin(low, high);
}

/* What the contract says, written down again: straight lines. */
static double wanted_share(const struct mn_measuring_params *m, uint32_t k, uint32_t place, uint32_t depth)
{
    uint32_t at = 0;
    double before = 0.0;
    if (m->n_forced_acceptance) {
        const uint32_t last = m->n_forced_acceptance - 1;
        const double share = (double)m->forced_acceptance[place < last ? place : last];
        return depth <= k ? share : share + (1.0 - share) * (depth - k) / (R - k);
    }
    for (uint32_t i = 0; i <= m->n_forced_at; i++) {
        const bool end = i == m->n_forced_at;
        if (!end && m->forced_at[i].place != place &&
            (m->forced_at[i].place > place || (i + 1 < m->n_forced_at && m->forced_at[i + 1].place != 0)))
            continue;
        const uint32_t next = end ? R : m->forced_at[i].depth;
        const double share = end ? 1.0 : (double)m->forced_at[i].share;
        if (depth <= next)
            return before + (share - before) * (depth - at) / (next - at);
        at = next;
        before = share;
    }
    return 1.0;
}

static uint64_t hold(const struct tally *t, const struct mn_measuring_params *m, uint32_t k, const char *what)
{
    uint64_t n_all = 0;
    for (uint32_t place = 0; place < N_PLACES; place++)
        for (uint32_t depth = 1; depth <= R; depth++) {
            const uint64_t n = t->n[place][depth], right = t->right[place][depth];
            const double share = wanted_share(m, k, place, depth);
            n_all += n;
            if (n && tail(n, right, share) < refused)
                fail_msg("%s: place %u, depth %u: %u of %u right, %.4f was given", what, place + 1, depth,
                         (unsigned)right, (unsigned)n, share);
        }
    return n_all;
}

/* ---- runs ---- */

static struct fixture {
    struct test_log log;
    struct mn_engine *engine;
    struct session *session, *many; /* lend their limits */
} f;

static int open_all(void **state)
{
    const struct session_params params = {.num_steps = R, .max_rows = 64, .kv_type = KV_F16, .n_ctx = N_CTX},
                                many = {.num_steps = R,
                                        .max_rows = N_ROWS,
                                        .n_sequences = 4,
                                        .kv_type = KV_F16,
                                        .n_ctx = N_CTX};
    (void)state;
    test_log_init(&f.log);
    f.engine = test_engine(&f.log, VECTORS "square", NULL);
    f.session = test_session(f.engine, &params);
    f.many = test_session(f.engine, &many);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    session_destroy(f.session);
    session_destroy(f.many);
    test_engine_done(f.engine);
    return 0;
}

static const uint32_t prompt[N_PROMPT] = {1, 2, 3};

static struct mn_generate_params params_of(const char *strategy, uint32_t k, uint32_t l, uint32_t w, uint64_t seed,
                                           const struct mn_measuring_params *m)
{
    return (struct mn_generate_params){.prompt = prompt,
                                       .n_prompt = N_PROMPT,
                                       .n_new = N_NEW,
                                       .strategy = strategy,
                                       .ignore_eos = true,
                                       .sampler = {.seed = seed},
                                       .speculation = {.draft_steps = k, .lookahead = l, .max_inflight = w},
                                       .measuring = *m};
}

/* All seeds under one setting; what the strategy counts is what was followed. Its time in that of ar. */
static double run_all(struct tally *tally, const char *strategy, uint32_t k, uint32_t l, uint32_t w,
                      const struct mn_measuring_params *m)
{
    double ns = 0.0;
    memset(tally, 0, sizeof *tally);
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        struct follow follow = {.tally = tally};
        struct mn_stats stats;
        struct mn_cost_table table = costs();
        struct mn_generate_params p = params_of(strategy, k, l, w, seed, m);
        p.on_trace = on_trace;
        p.user = &follow;
        assert_int_equal(generate_with_costs(f.session, &table, &p, &stats), MN_OK);
        assert_int_equal(stats.n_new, N_NEW);
        assert_false(stats.lossless);
        assert_string_equal(stats.lossy_because, "forced acceptance");
        ns += stats.decode_ns;
        if (strcmp(strategy, "wavefront") != 0)
            continue;
        assert_int_equal(stats.drafted, follow.drafted);
        assert_int_equal(stats.accepted, follow.accepted);
    }
    return ns / (N_SEEDS * (N_NEW - 1) * 1e3 * (20 + 100 * R + 1 + 50 + 50));
}

static const struct mn_acceptance_at by_depth[] = {{2, 0, 0.6f}, {4, 0, 0.8f}, {8, 0, 0.95f}},
                                     by_place[] = {{2, 0, 0.7f}, {4, 0, 0.9f}, {4, 1, 0.85f}, {4, 2, 0.8f}};
static const float flat[] = {0.9f}, falling[] = {0.9f, 0.8f, 0.6f};
static const struct mn_measuring_params givens[] = {{.forced_at = by_depth, .n_forced_at = 3},
                                                    {.forced_at = by_place, .n_forced_at = 4},
                                                    {.forced_acceptance = flat, .n_forced_acceptance = 1},
                                                    {.forced_acceptance = falling, .n_forced_acceptance = 3}};
enum { N_GIVEN = sizeof givens / sizeof *givens };

static void test_draft_verify(void **state)
{
    (void)state;
    static struct tally tally;
    static const uint32_t ks[] = {1, 2, 3, 4, 8, 20}, ls[] = {1, 3, 7};
    char what[64];
    for (int g = 0; g < N_GIVEN; g++)
        for (size_t i = 0; i < sizeof ks / sizeof *ks; i++)
            for (size_t j = 0; j < sizeof ls / sizeof *ls; j++) {
                run_all(&tally, "draft-verify", ks[i], ls[j], 0, &givens[g]);
                snprintf(what, sizeof what, "given %d, draft-verify K %u L %u", g, ks[i], ls[j]);
                assert_true(hold(&tally, &givens[g], ks[i], what) > 1000);
                for (uint32_t depth = 1; depth <= R; depth++)
                    assert_true(depth == ks[i] || tally.n[0][depth] == 0);
            }
}

/* Rows enter at K, deeper where the wave is full, and at less in ticks that the oldest row cuts short (K 5). Places in
 * a round are the first one. */
static void test_wavefront(void **state)
{
    (void)state;
    static struct tally tally;
    static const uint32_t ks[] = {1, 2, 4, 5}, ws[] = {2, 4, 8, 16, 48};
    char what[64];
    uint64_t deeper = 0, less = 0;
    for (int g = 0; g < N_GIVEN; g++)
        for (size_t i = 0; i < sizeof ks / sizeof *ks; i++)
            for (size_t j = 0; j < sizeof ws / sizeof *ws; j++) {
                run_all(&tally, "wavefront", ks[i], 0, ws[j], &givens[g]);
                snprintf(what, sizeof what, "given %d, wavefront K %u W %u", g, ks[i], ws[j]);
                assert_true(hold(&tally, &givens[g], ks[i], what) > (ws[j] > 2 ? 3000 : 1000));
                for (uint32_t depth = 1; depth <= R; depth++)
                    *(depth < ks[i] ? &less : &deeper) += depth == ks[i] ? 0 : tally.n[0][depth];
                if (ws[j] == 48 && R % ks[i] == 0)
                    assert_true(tally.n[0][ks[i]] == N_SEEDS * (N_NEW - 2)); /* all but the first and the last */
            }
    assert_true(deeper > 1000 && less > 1000);
}

/* auto learns from such text as from any other: it drafts where that pays, at the depths that are right, and what it
 * drafts is right as often as was given. */
static void test_auto(void **state)
{
    (void)state;
    static struct tally tally;
    static const struct mn_acceptance_at late[] = {{5, 0, 0.0f}, {6, 0, 0.97f}},
                                         never[] = {{1, 0, 0.0f}, {31, 0, 0.0f}};
    static const struct mn_measuring_params more[] = {{.forced_at = late, .n_forced_at = 2},
                                                      {.forced_at = never, .n_forced_at = 2}};
    const struct mn_measuring_params *const all[] = {&givens[0], &givens[1], &more[0], &more[1]};
    /* At most, as shares of the time of ar; the third settles in a wave of 6 steps at the earliest, the last never. */
    static const double most[] = {0.30, 0.35, 0.35, 1.05}, least[] = {0.0, 0.0, 6.0 / R, 0.99};
    for (int g = 0; g < 4; g++) {
        const double share = run_all(&tally, "auto", 0, 0, 0, all[g]);
        print_message("auto, given %d: %u drafts in %u tokens, %.3f of the time of ar\n", g,
                      (unsigned)hold(&tally, all[g], 0, "auto"), N_SEEDS * N_NEW, share);
        assert_true(share <= most[g] && share >= least[g]);
    }
    struct mn_stats stats;
    struct mn_cost_table table = costs();
    struct mn_generate_params p = params_of("auto", 0, 0, 0, 0, &givens[2]);
    assert_int_equal(generate_with_costs(f.session, &table, &p, &stats), MN_ERR_USAGE);
    assert_non_null(strstr(f.log.last, "forced_acceptance: strategy auto chooses draft_steps itself"));
    f.log.n_errors = 0;
}

/* One text: a position's draft at depth 4 is right or wrong whoever makes it. Another prompt or seed is another text.
 */
static void test_one_text(void **state)
{
    (void)state;
    static struct tally tally;
    static const struct {
        const char *strategy;
        uint32_t l, w, seed, id;
    } runs[] = {{"wavefront", 0, 16, 3, 1},   {"wavefront", 0, 4, 3, 1},  {"draft-verify", 1, 0, 3, 1},
                {"draft-verify", 7, 0, 3, 1}, {"wavefront", 0, 16, 4, 1}, {"wavefront", 0, 16, 3, 5}};
    static struct follow follows[6];
    for (int i = 0; i < 6; i++) {
        struct mn_stats stats;
        const uint32_t ids[N_PROMPT] = {runs[i].id, 2, 3};
        struct mn_generate_params p = params_of(runs[i].strategy, 4, runs[i].l, runs[i].w, runs[i].seed, &givens[0]);
        follows[i] = (struct follow){.tally = &tally};
        memset(follows[i].verdict, -1, sizeof follows[i].verdict);
        p.prompt = ids;
        p.on_trace = on_trace;
        p.user = &follows[i];
        assert_int_equal(generate(f.session, &p, &stats), MN_OK);
        uint32_t n = 0, n_other = 0;
        for (uint32_t at = 0; at < N_CTX; at++) {
            const int8_t a = follows[0].verdict[at], b = follows[i].verdict[at];
            n += a >= 0 && b >= 0;
            n_other += a >= 0 && b >= 0 && a != b;
        }
        assert_true(n > 40);
        assert_true(i < 4 ? n_other == 0 : n_other > n / 8);
    }
}

/* What a sequence of a batch drafts is what it drafts alone, and the whole keeps to what was given. */
static void test_batch(void **state)
{
    (void)state;
    enum { N = 6 };
    static const struct {
        const char *strategy;
        uint32_t k, l, w;
    } runs[] = {{"wavefront", 4, 0, 8}, {"wavefront", 1, 0, 32}, {"draft-verify", 4, 3, 0}};
    for (size_t r = 0; r < sizeof runs / sizeof *runs; r++) {
        static struct tally tally;
        static struct follow follows[N];
        struct mn_generate_params p[N];
        struct mn_stats stats[N], total, alone;
        uint32_t ids[N][N_PROMPT];
        uint64_t differ = 0;
        memset(&tally, 0, sizeof tally);
        for (uint32_t i = 0; i < N; i++) {
            follows[i] = (struct follow){.tally = &tally};
            p[i] = params_of(runs[r].strategy, runs[r].k, runs[r].l, runs[r].w, 7, &givens[0]);
            memcpy(ids[i], prompt, sizeof prompt);
            ids[i][0] = 10 + i;
            p[i].prompt = ids[i];
            p[i].on_trace = on_trace;
            p[i].user = &follows[i];
        }
        assert_int_equal(generate_batch(f.many, p, N, stats, &total, NULL, NULL), MN_OK);
        hold(&tally, &givens[0], runs[r].k, runs[r].strategy);
        uint64_t drafted = 0, accepted = 0;
        for (uint32_t i = 0; i < N; i++) {
            p[i].on_trace = NULL;
            assert_int_equal(generate(f.session, &p[i], &alone), MN_OK);
            assert_int_equal(stats[i].drafted, alone.drafted);
            assert_int_equal(stats[i].accepted, alone.accepted);
            assert_int_equal(stats[i].rounds, alone.rounds);
            drafted += alone.drafted;
            accepted += alone.accepted;
            differ += stats[i].rounds != stats[0].rounds;
        }
        assert_true(total.drafted == drafted && total.accepted == accepted);
        assert_true(differ > 0); /* they do not fail in step */
    }
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct mn_acceptance_at bad[][3] = {
        {{40, 0, 0.5f}}, /* beyond R */
        {{32, 0, 0.5f}}, /* at R */
        {{0, 0, 0.5f}},
        {{4, 0, 1.5f}},
        {{4, 0, -0.1f}},
        {{4, 0, NAN}},
        {{4, 1, 0.5f}}, /* no first place */
        {{4, 0, 0.5f}, {4, 2, 0.4f}},
        {{8, 0, 0.5f}, {4, 0, 0.4f}},                /* not in order */
        {{4, 0, 0.5f}, {8, 0, 0.4f}},                /* falls */
        {{4, 0, 0.9f}, {4, 1, 0.8f}, {8, 0, 0.85f}}, /* falls in the first place */
        {{4, 0, 0.7f}, {8, 0, 0.8f}, {8, 1, 0.6f}}}; /* in the second */
    static const struct {
        uint32_t n;
        const char *part;
    } wanted[] = {{1, "forced_at 40: depths must be from 1 to num_steps 32"},
                  {1, "forced_at 32: a share of 0.5: at num_steps it is 1"},
                  {1, "forced_at 0: depths must be"},
                  {1, "forced_at 4: a share of 1.5"},
                  {1, "forced_at 4: a share of -0.1"},
                  {1, "forced_at 4: a share of nan"},
                  {1, "forced_at 4: place 1"},
                  {2, "forced_at 4: place 2"},
                  {2, "forced_at 4: stands behind depth 8"},
                  {2, "shares must not fall"},
                  {3, "forced_at 8: a share of 0.85 in place 0"},
                  {3, "forced_at 8: a share of 0.6 in place 1"}};
    static const char *const strategies[] = {"draft-verify", "wavefront", "auto"};
    struct mn_stats stats;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (size_t s = 0; s < 3; s++) {
            const struct mn_measuring_params m = {.forced_at = bad[i], .n_forced_at = wanted[i].n};
            const struct mn_generate_params p = params_of(strategies[s], 4, 3, 8, 0, &m);
            f.log.n_errors = 0;
            if (generate(f.session, &p, &stats) != MN_ERR_USAGE || f.log.n_errors != 1 ||
                !strstr(f.log.last, wanted[i].part))
                fail_msg("case %zu, %s: wanted '%s', got '%s'", i, strategies[s], wanted[i].part, f.log.last);
        }
    const struct mn_measuring_params both = {.forced_at = by_depth,
                                             .n_forced_at = 3,
                                             .forced_acceptance = flat,
                                             .n_forced_acceptance = 1},
                                     none = {.n_forced_at = 3};
    struct mn_generate_params p = params_of("wavefront", 4, 0, 8, 0, &both);
    assert_int_equal(generate(f.session, &p, &stats), MN_ERR_USAGE);
    assert_non_null(strstr(f.log.last, "forced_at: not with forced_acceptance"));
    p.measuring = none;
    assert_int_equal(generate(f.session, &p, &stats), MN_ERR_USAGE);
    p = params_of("ar", 0, 0, 0, 0, &givens[0]);
    assert_int_equal(generate(f.session, &p, &stats), MN_ERR_USAGE);
    assert_non_null(strstr(f.log.last, "forced_at: strategy ar has no drafts to accept"));
    p = params_of("draft-verify", 4, 3, 0, 0, &givens[0]);
    p.speculation.verification_threshold = 0.5f;
    assert_int_equal(generate(f.session, &p, &stats), MN_ERR_USAGE);
    assert_non_null(strstr(f.log.last, "verification_threshold: not with forced_at"));
    p.speculation.verification_threshold = 0.0f;
    p.speculation.require_lossless = true;
    assert_int_equal(generate(f.session, &p, &stats), MN_ERR_USAGE);
    assert_non_null(strstr(f.log.last, "require_lossless: forced acceptance is lossy"));
    f.log.n_errors = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_draft_verify), cmocka_unit_test(test_wavefront),
                                       cmocka_unit_test(test_auto),         cmocka_unit_test(test_one_text),
                                       cmocka_unit_test(test_batch),        cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, open_all, close_all);
}
