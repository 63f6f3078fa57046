/* Goal: kept branches. What a row on a branch computes are the bits that it has where its tokens are the sequence's
 * own, beside whatever rows, also after the branch became the sequence's own on its way; and waves that keep them
 * commit the tokens of ar, alone and several at once, and keep what they say they keep. Method: two continuations of a
 * drawn model in one staircase, in every cache type and policy, against either alone in a session that has no branches;
 * then wavefront with branches on the shipped model and on drawn ones, where predictions change often, over K, rows,
 * room and sampling. */
#include <stdlib.h>
#include <string.h>

#include "tests/testing.h"

enum { R = 6, N_CTX = 64, N_PROMPT = 5, N_LONG = 6, N_SHARED = 2, N_BRANCH = 4, V = 173, N_NEW = 40, N_SEQUENCES = 3 };

static const struct random_shape shape = {.n_embd = 60,
                                          .n_heads = 6,
                                          .intermediate_size = 92,
                                          .vocab_size = V,
                                          .n_prelude = 1,
                                          .n_core = 2,
                                          .n_coda = 1,
                                          .block_size = 96,
                                          .qk_bias = true,
                                          .seed = 31};
static const uint32_t prompt[N_PROMPT] = {0, 23, 29, 90, 100},
                      lines[2][N_LONG] = {{7, 8, 9, 10, 11, 12}, {7, 8, 80, 81, 82, 83}};

typedef uint32_t line_bits[N_LONG][V];

static struct session *open_session(struct mn_engine *engine, enum kv_type kv_type, uint32_t share, uint32_t n_branch)
{
    return test_session(engine, &(struct session_params){.num_steps = R,
                                                         .max_rows = 16,
                                                         .kv_type = kv_type,
                                                         .policy = {share},
                                                         .n_ctx = N_CTX,
                                                         .n_sequences = 2,
                                                         .n_branch = n_branch});
}

static void read_bits(struct session *session, uint32_t row, uint32_t *bits)
{
    float logits[V];
    assert_int_equal(session_read_logits(session, row, logits), MN_OK);
    memcpy(bits, logits, sizeof logits);
}

static void prefill(struct session *session)
{
    const struct session_prefill_params params = {.ids = prompt, .n = N_PROMPT, .sequence = 1, .num_steps = R};
    assert_int_equal(session_prefill(session, &params, NULL), MN_OK);
}

/* Row i of a line enters at tick i, and all that are in flight take a step. `both`: both lines, the second on a branch,
 * which at tick `taken` becomes the sequence's own. Else line `line` alone. */
static void run_lines(struct session *session, bool both, uint32_t line, uint32_t taken, line_bits *bits)
{
    struct row rows[2 * N_LONG];
    uint32_t which[2 * N_LONG], n = 0;
    prefill(session);
    for (uint32_t tick = 0; tick < N_LONG + R - 1; tick++) {
        if (both && tick == taken) {
            uint32_t n_taken = 0, kept = 0;
            for (uint32_t i = 0; i < n; i++)
                n_taken += rows[i].shift > 0;
            assert_int_equal(session_take_branch(session, 1, N_PROMPT + N_SHARED, n_taken, taken - N_SHARED), MN_OK);
            for (uint32_t i = 0; i < n; i++)
                if (which[i] == 1 || rows[i].position < N_PROMPT + N_SHARED) {
                    rows[kept] = rows[i];
                    rows[kept].shift = 0;
                    which[kept++] = which[i];
                }
            n = kept;
        }
        const uint32_t before = n;
        for (uint32_t l = 0; l < 2 && tick < N_LONG; l++) {
            const bool on_branch = both && l == 1 && tick >= N_SHARED && tick < taken;
            if (both ? (l == 1 && tick < N_SHARED) || (l == 0 && tick >= taken) : l != line)
                continue;
            which[n] = l;
            rows[n++] = (struct row){.token = lines[l][tick],
                                     .position = N_PROMPT + tick,
                                     .sequence = 1,
                                     .shift = on_branch ? N_CTX - N_PROMPT - N_SHARED : 0};
        }
        const struct session_run_params run = {
            .rows = rows, .n_rows = n, .n_new = n - before, .n_core = 1, .coda = true, .n_head = n};
        assert_int_equal(session_run(session, &run, NULL), MN_OK);
        uint32_t left = 0;
        for (uint32_t i = 0; i < n; i++) {
            if (++rows[i].depth == R) {
                read_bits(session, i, bits[which[i]][rows[i].position - N_PROMPT]);
                continue;
            }
            which[left] = which[i];
            rows[left++] = rows[i];
        }
        n = left;
    }
}

static void check_bits(struct mn_engine *engine, enum kv_type kv_type, uint32_t share)
{
    static line_bits alone[2], got[2];
    struct session *plain = open_session(engine, kv_type, share, 0),
                   *session = open_session(engine, kv_type, share, N_BRANCH);
    for (uint32_t l = 0; l < 2; l++)
        run_lines(plain, false, l, 0, alone);
    for (uint32_t taken = N_SHARED + 1; taken <= 2 * N_LONG; taken += taken < N_LONG ? 1 : N_LONG) {
        memset(got, 0, sizeof got);
        run_lines(session, true, 0, taken, got);
        const uint32_t n_home = taken > N_LONG ? N_LONG : 0;
        if (memcmp(got[0], alone[0], n_home * sizeof *got[0]) != 0)
            fail_msg("kv %s share %u: other bits beside a branch", kv_type_name(kv_type), share);
        if (memcmp(got[1] + N_SHARED, alone[1] + N_SHARED, (N_LONG - N_SHARED) * sizeof *got[1]) != 0)
            fail_msg("kv %s share %u: other bits on a branch, taken at tick %u", kv_type_name(kv_type), share, taken);
    }
    session_destroy(plain);
    session_destroy(session);
}

static void test_bits(void **state)
{
    (void)state;
    struct test_model f;
    test_model_open(&f, &shape);
    for (enum kv_type type = KV_F32; type < KV_TYPES; type++)
        check_bits(f.engine, type, type == KV_F16 ? 2 : 0);
    check_bits(f.engine, KV_F16, 0);
    test_model_close(&f);
}

struct world {
    struct mn_engine *engine;
    struct session *session;
    uint32_t prompts[N_SEQUENCES][N_PROMPT];
    uint64_t moves;
};

static struct mn_generate_params params_of(const struct world *w, uint32_t i, struct mn_generate_params p,
                                           struct token_list *list)
{
    p.prompt = w->prompts[i];
    p.n_prompt = N_PROMPT;
    p.n_new = N_NEW;
    p.ignore_eos = true;
    p.on_token = token_list_add;
    p.user = list;
    return p;
}

static void check_counts(struct world *w, const struct mn_stats *s, const struct mn_generate_params *p)
{
    uint64_t sum = 0;
    for (int i = 0; i < MN_PROPOSALS; i++)
        sum += s->proposed_by[i];
    assert_int_equal(sum, s->committed);
    assert_true(s->lossless && s->branches == 2 && s->accepted <= s->drafted && s->drafted <= s->committed);
    assert_true(s->most_inflight <=
                (p->speculation.max_inflight ? p->speculation.max_inflight : 48)); /* all rows of a pass */
    assert_true(s->branch_moves <= s->branch_moved && s->branch_moved <= s->branch_moves * N_BRANCH);
    w->moves += s->branch_moves;
}

/* Alone, then all together. */
static void check_tokens(struct world *w, struct mn_generate_params p, const struct token_list *expected)
{
    struct mn_generate_params each[N_SEQUENCES];
    struct token_list got[N_SEQUENCES];
    struct mn_stats stats[N_SEQUENCES], total;
    for (int together = 0; together < 2; together++) {
        memset(got, 0, sizeof got);
        for (uint32_t i = 0; i < N_SEQUENCES; i++) {
            each[i] = params_of(w, i, p, &got[i]);
            if (!together)
                assert_int_equal(generate(w->session, &each[i], &stats[i]), MN_OK);
        }
        if (together)
            assert_int_equal(generate_batch(w->session, each, N_SEQUENCES, stats, &total, NULL, NULL), MN_OK);
        for (uint32_t i = 0; i < N_SEQUENCES; i++) {
            assert_int_equal(got[i].n, N_NEW);
            assert_memory_equal(got[i].ids, expected[i].ids, N_NEW * sizeof *got[i].ids);
            check_counts(w, &stats[i], &p);
        }
    }
}

static void check_world(struct world *w, uint32_t n_vocab)
{
    static const struct mn_speculation_params settings[] = {{.draft_steps = 1, .max_inflight = 16, .branches = 2},
                                                            {.draft_steps = 1, .max_inflight = 3, .branches = 2},
                                                            {.draft_steps = 2, .branches = 2},
                                                            {.draft_steps = 3, .max_inflight = 6, .branches = 2},
                                                            {.draft_steps = 5, .max_inflight = 2, .branches = 2},
                                                            {.draft_steps = 1, .max_inflight = 1, .branches = 2}};
    for (uint32_t i = 0; i < N_SEQUENCES; i++)
        for (uint32_t j = 0; j < N_PROMPT; j++)
            w->prompts[i][j] = (i * 31 + j * j * 7 + 3) % n_vocab;
    for (int sampled = 0; sampled < 2; sampled++) {
        struct token_list expected[N_SEQUENCES] = {0};
        const struct mn_sampler_params sampler = {.temperature = sampled ? 0.9f : 0.0f, .seed = 5};
        struct mn_stats stats;
        for (uint32_t i = 0; i < N_SEQUENCES; i++) {
            const struct mn_generate_params ar = params_of(w, i, (struct mn_generate_params){.sampler = sampler},
                                                           &expected[i]);
            assert_int_equal(generate(w->session, &ar, &stats), MN_OK);
        }
        for (size_t k = 0; k < sizeof settings / sizeof *settings; k++)
            check_tokens(
                w, (struct mn_generate_params){.strategy = "wavefront", .sampler = sampler, .speculation = settings[k]},
                expected);
    }
}

static void test_tokens(void **state)
{
    (void)state;
    struct test_log log;
    struct test_model f;
    struct world w = {0};
    test_log_init(&log);
    struct session_params params = {.num_steps = 12,
                                    .max_rows = 48,
                                    .kv_type = KV_F16,
                                    .n_ctx = N_CTX,
                                    .n_sequences = N_SEQUENCES,
                                    .n_branch = N_BRANCH};
    w.engine = test_engine(&log, RAVEN_TINY, NULL);
    w.session = test_session(w.engine, &params);
    check_world(&w, 90);
    session_destroy(w.session);
    test_engine_done(w.engine);
    params.kv_type = KV_Q8;
    params.num_steps = R;
    test_model_open(&f, &shape);
    w.session = test_session(f.engine, &params);
    check_world(&w, V);
    session_destroy(w.session);
    test_model_close(&f);
    print_message("%llu branches became their sequence's own\n", (unsigned long long)w.moves);
    assert_true(w.moves > 100);
}

/* Each by its name, and nothing runs. */
static void test_refusals(void **state)
{
    (void)state;
    static const float half[] = {0.5f};
    static const struct {
        const char *flag;
        uint32_t n_branch;
        struct mn_generate_params p;
    } refused[] = {{"branches to keep", 4, {.strategy = "ar", .speculation = {.branches = 2}}},
                   {"branches to keep", 4, {.strategy = "auto", .speculation = {.branches = 2}}},
                   {"branches 3", 4, {.strategy = "wavefront", .speculation = {.draft_steps = 2, .branches = 3}}},
                   {"branch_positions", 0, {.strategy = "wavefront", .speculation = {.draft_steps = 2, .branches = 2}}},
                   {"not with lookup",
                    4,
                    {.strategy = "wavefront", .speculation = {.draft_steps = 2, .branches = 2, .lookup = 2}}},
                   {"not with forced_acceptance",
                    4,
                    {.strategy = "wavefront",
                     .speculation = {.draft_steps = 2, .branches = 2},
                     .measuring = {.forced_acceptance = half, .n_forced_acceptance = 1}}}};
    struct test_model f;
    struct token_list none = {0};
    struct mn_stats stats;
    test_model_open(&f, &shape);
    for (uint32_t n_branch = 0; n_branch <= 4; n_branch += 4) {
        struct world w = {.session = open_session(f.engine, KV_F16, 0, n_branch)};
        for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
            if (refused[i].n_branch != n_branch)
                continue;
            const struct mn_generate_params p = params_of(&w, 0, refused[i].p, &none);
            f.log.n_errors = 0;
            assert_int_equal(generate(w.session, &p, &stats), MN_ERR_USAGE);
            assert_true(f.log.n_errors == 1 && none.n == 0);
            if (!strstr(f.log.last, refused[i].flag))
                fail_msg("'%s' does not name %s", f.log.last, refused[i].flag);
        }
        session_destroy(w.session);
    }
    test_model_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bits), cmocka_unit_test(test_tokens),
                                       cmocka_unit_test(test_refusals)};
    return RUN_ON_EVERY_DEVICE(tests, NULL, NULL);
}
