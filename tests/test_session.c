/* Goal: the contracts of sessions and generation beyond "the right tokens": how a run ends, that the statistics
 * are what was done, that cutting a prompt or a submit into pieces changes nothing.
 * Method: one random model with odd sizes, on every device found. Tokens of strategies are compared with those of ar;
 * statistics are rebuilt from the trace; logits of cut prompts are compared bit for bit, those under share:k with the
 * reference in double. The Vulkan validation layer must stay silent. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reference/ref.h"
#include "tests/testing.h"

#define LOGIT_BOUND 2e-4

enum { R = 8, N_CTX = 32, N_PROMPT = 9, N_FULL = N_CTX + 1 - N_PROMPT, P = 1, C = 2, CODA = 3, V = 173 };

static const struct random_shape shape = {.n_embd = 60,
                                          .n_heads = 6,
                                          .intermediate_size = 92,
                                          .vocab_size = V,
                                          .n_prelude = P,
                                          .n_core = C,
                                          .n_coda = CODA,
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

static struct session *open_session(uint32_t max_rows, uint32_t share)
{
    return test_session(
        f.engine, &(struct session_params){
                      .num_steps = R, .max_rows = max_rows, .kv_type = KV_F16, .n_ctx = N_CTX, .policy = {share}});
}

/* K is close to R, so that most drafts are accepted and rounds are long. */
static const struct strategy_case {
    const char *name;
    uint32_t k, l;
} strategies[] = {
    {"ar", 0, 0}, {"draft-verify", 7, 6}, {"draft-verify", 2, 3}, {"draft-verify", 6, 12}, {"wavefront", 3, 0}};
enum { N_STRATEGIES = sizeof strategies / sizeof *strategies };

static struct mn_generate_params params_of(const struct strategy_case *s, uint32_t n_new, struct token_list *list)
{
    *list = (struct token_list){.stop_after = list->stop_after};
    return (struct mn_generate_params){.prompt = prompt,
                                       .n_prompt = N_PROMPT,
                                       .n_new = n_new,
                                       .strategy = s->name,
                                       .speculation = {.draft_steps = s->k, .lookahead = s->l},
                                       .ignore_eos = true,
                                       .on_token = token_list_add,
                                       .user = list};
}

static void assert_tokens(const struct token_list *got, const struct token_list *expected, uint32_t n, const char *what)
{
    if (got->n != n || memcmp(got->ids, expected->ids, n * sizeof *got->ids))
        fail_msg("%s: %u tokens, not the %u expected ones", what, got->n, n);
}

/* ---- how a run ends ---- */

static void test_length(void **state)
{
    (void)state;
    struct session *session = open_session(16, 0);
    struct token_list expected = {0}, list = {0};
    struct mn_stats stats;
    struct mn_generate_params params = params_of(&strategies[0], N_FULL, &expected);
    assert_int_equal(generate(session, &params, &stats), MN_OK);
    for (int s = 0; s < N_STRATEGIES; s++) {
        for (uint32_t n = 1; n <= N_FULL; n += n < 8 ? 1 : 7) {
            params = params_of(&strategies[s], n, &list);
            assert_int_equal(generate(session, &params, &stats), MN_OK);
            assert_tokens(&list, &expected, n, strategies[s].name);
            assert_int_equal(stats.n_new, n);
            assert_int_equal(stats.n_prompt, N_PROMPT);
        }
        /* The last position of the context is used; one more is too much. */
        params = params_of(&strategies[s], N_FULL, &list);
        assert_int_equal(generate(session, &params, &stats), MN_OK);
        assert_tokens(&list, &expected, N_FULL, strategies[s].name);
        params = params_of(&strategies[s], N_FULL + 1, &list);
        assert_int_equal(generate(session, &params, &stats), MN_ERR_USAGE);
        assert_int_equal(f.log.n_errors, 1);
        assert_non_null(strstr(f.log.last, "n_new 24 would fit"));
        assert_int_equal(list.n, 0);
        f.log.n_errors = 0;
    }
    session_destroy(session);
}

static void check_sums(const struct mn_stats *stats, uint32_t l)
{
    uint64_t drafted = 0, accepted = 0, rounds = 0, by_length = 0;
    for (uint32_t i = 0; i < MN_MAX_LOOKAHEAD; i++) {
        drafted += stats->drafted_at[i];
        accepted += stats->accepted_at[i];
        assert_true(stats->accepted_at[i] <= stats->drafted_at[i]);
        assert_true(i < l || stats->drafted_at[i] == 0);
        assert_true(i == 0 || (stats->drafted_at[i] <= stats->drafted_at[i - 1] &&
                               stats->accepted_at[i] <= stats->accepted_at[i - 1]));
    }
    for (uint32_t i = 0; i <= MN_MAX_LOOKAHEAD; i++) {
        rounds += stats->accepted_lengths[i];
        by_length += i * stats->accepted_lengths[i];
    }
    assert_int_equal(stats->drafted, drafted);
    assert_int_equal(stats->accepted, accepted);
    assert_int_equal(stats->rounds, rounds);
    assert_int_equal(stats->accepted, by_length);
}

/* Rows behind the first one that survived rounds. */
static void count_kept(void *user, const struct mn_trace *trace)
{
    struct token_list *list = user;
    for (uint32_t i = 1; i < trace->n_rows; i++)
        list->n_kept += trace->rows[i].kept;
}

/* Wherever a run ended: what rounds brought is what was committed, and drafts behind the end are in no figure. */
static void check_ended(const struct mn_stats *stats, const struct strategy_case *s, uint64_t n_kept)
{
    if (s->k == 0)
        return;
    assert_int_equal(stats->committed, stats->n_new - 1);
    assert_true(mn_stats_mean_acceptance_length(stats) ==
                (stats->rounds ? (double)(stats->n_new - 1) / (double)stats->rounds : 0.0));
    assert_true(stats->accepted <= stats->drafted && stats->accepted <= stats->committed);
    if (s->l == 0)
        return;
    check_sums(stats, s->l);
    assert_int_equal(stats->accepted, n_kept);
    const uint64_t on_drafts = stats->accepted + stats->rounds - stats->committed; /* rounds that ended on a draft */
    assert_true(on_drafts <= 1);
}

static void test_stop_token(void **state)
{
    (void)state;
    struct session *session = open_session(16, 0);
    struct model_config *config = &f.engine->model->config;
    struct token_list all = {0}, list = {0};
    struct mn_stats stats;
    struct mn_generate_params params = params_of(&strategies[0], N_FULL, &all);
    uint32_t n_inside = 0;
    assert_int_equal(generate(session, &params, &stats), MN_OK);
    const uint32_t eos = config->eos_token_ids[0];
    for (uint32_t at = 0; at < N_FULL; at++) {
        uint32_t first = 0;
        while (all.ids[first] != all.ids[at])
            first++;
        if (first != at)
            continue;
        config->eos_token_ids[0] = all.ids[at];
        for (int s = 0; s < N_STRATEGIES; s++) {
            params = params_of(&strategies[s], N_FULL, &list);
            params.ignore_eos = false;
            params.on_trace = count_kept;
            assert_int_equal(generate(session, &params, &stats), MN_OK);
            assert_tokens(&list, &all, at + 1, strategies[s].name);
            assert_int_equal(stats.n_new, at + 1);
            check_ended(&stats, &strategies[s], list.n_kept);
            n_inside += stats.rounds > 0 && strategies[s].l > 0 && stats.accepted + stats.rounds > at;
            params = params_of(&strategies[s], N_FULL, &list);
            assert_int_equal(generate(session, &params, &stats), MN_OK);
            assert_tokens(&list, &all, N_FULL, "with --ignore-eos");
        }
    }
    config->eos_token_ids[0] = eos;
    print_message("%u runs ended before the end of a round\n", n_inside);
    assert_true(n_inside > 5);
    session_destroy(session);
}

static void test_callback_stop(void **state)
{
    (void)state;
    struct session *session = open_session(16, 0);
    struct token_list all = {0}, list = {0};
    struct mn_stats stats;
    struct mn_generate_params params = params_of(&strategies[0], N_FULL, &all);
    uint32_t n_inside = 0;
    assert_int_equal(generate(session, &params, &stats), MN_OK);
    for (int s = 0; s < N_STRATEGIES; s++)
        for (uint32_t n = 1; n < 12; n++) {
            list.stop_after = n;
            params = params_of(&strategies[s], N_FULL, &list);
            params.on_trace = count_kept;
            assert_int_equal(generate(session, &params, &stats), MN_OK);
            assert_tokens(&list, &all, n, strategies[s].name);
            assert_int_equal(stats.n_new, n);
            check_ended(&stats, &strategies[s], list.n_kept);
            n_inside += strategies[s].l > 0 && stats.accepted + stats.rounds > n - 1;
        }
    assert_true(n_inside > 5); /* runs that ended before the last token of a round */
    session_destroy(session);
}

/* Where every draft is accepted, the rate is 1 wherever the run ends: no draft behind the end counts against it. */
static void test_rate_where_it_ends(void **state)
{
    (void)state;
    static const float all[] = {1.0f};
    struct session *session = open_session(16, 0);
    for (int s = 1; s < N_STRATEGIES; s++)
        for (uint32_t n = 1; n < N_FULL; n++) {
            struct token_list list = {.stop_after = n};
            struct mn_stats stats;
            struct mn_generate_params params = params_of(&strategies[s], N_FULL, &list);
            params.on_trace = count_kept;
            params.measuring = (struct mn_measuring_params){.forced_acceptance = all, .n_forced_acceptance = 1};
            assert_int_equal(generate(session, &params, &stats), MN_OK);
            assert_int_equal(stats.n_new, n);
            assert_int_equal(stats.drafted, stats.accepted);
            check_ended(&stats, &strategies[s], list.n_kept);
        }
    session_destroy(session);
}

/* ---- statistics ---- */

/* What the events of a run cost, by the rules: a pass reads its weights once per group of rows that share them,
 * attention reads every position up to the row's own in every block. */
struct account {
    const struct weights *weights;
    uint64_t n_max, prelude_passes, core_passes, coda_passes, core_rows, weight_bytes, positions, runs;
    double draft_ns;
    uint32_t k; /* 0: ar */
};

static void account(void *user, const struct mn_trace *trace)
{
    struct account *a = user;
    const struct weights *w = a->weights;
    const uint64_t n = trace->n_rows, groups = (n + a->n_max - 1) / a->n_max, drafts = a->k ? n - 1 : 0,
                   draft_steps = a->k ? a->k : 0;
    a->draft_ns += trace->draft_ns;
    assert_true(a->k ? trace->draft_ns > 0.0 : trace->draft_ns == 0.0); /* a part of the event, not of all before it */
    assert_true(trace->draft_ns <= trace->end_ns - trace->start_ns);
    a->prelude_passes += n;
    a->core_passes += n * draft_steps + (R - draft_steps);
    a->core_rows += n * R;
    a->coda_passes += drafts + 1;
    a->runs += a->k ? n + 1 : 1;
    a->weight_bytes += n * (w->prelude_bytes + draft_steps * w->core_bytes) + drafts * w->coda_bytes +
                       groups * ((R - draft_steps) * w->core_bytes + w->coda_bytes);
    for (uint64_t i = 0; i < n; i++)
        a->positions += (trace->rows[i].position + 1) * (uint64_t)(P + C * R + CODA * (i < drafts ? 2 : 1));
}

static void check_account(const struct session *session, const struct mn_stats *stats, const struct account *a)
{
    const uint32_t *per_pass = session->n_dispatches;
    const uint64_t entry = 2 * 6 * 16 * 2; /* key and value x heads x 10 padded to 16 x f16 */
    assert_true(fabs(stats->draft_ns - a->draft_ns) <= 1e-9 * stats->draft_ns);
    assert_int_equal(stats->prelude_passes, a->prelude_passes);
    assert_int_equal(stats->core_passes, a->core_passes);
    assert_int_equal(stats->coda_passes, a->coda_passes);
    assert_int_equal(stats->core_rows, a->core_rows);
    assert_int_equal(stats->weight_bytes, a->weight_bytes);
    assert_int_equal(stats->kv_bytes, a->positions * entry);
    assert_int_equal(stats->kv_bytes_per_token, (P + CODA + C * R) * entry);
    assert_int_equal(stats->dispatches, a->prelude_passes * per_pass[PASS_PRELUDE] +
                                            a->core_passes * per_pass[PASS_CORE] +
                                            a->coda_passes * (per_pass[PASS_CODA] + per_pass[PASS_HEAD_GREEDY]));
    assert_int_equal(stats->submits, a->runs);
}

static void test_statistics(void **state)
{
    (void)state;
    struct session *session = open_session(16, 0);
    uint64_t n_rejected = 0, n_wide = 0;
    for (int s = 0; s < N_STRATEGIES - 1; s++) {
        struct token_list list = {0};
        struct mn_stats stats;
        struct mn_generate_params params = params_of(&strategies[s], N_FULL, &list);
        struct account a = {
            .weights = &f.engine->model->weights, .n_max = f.engine->model->tuning.decode.n_max, .k = strategies[s].k};
        params.on_token = NULL;
        params.on_trace = account;
        params.user = &a;
        session->submit_ns = INFINITY; /* as if passes took no time: one submit a run */
        assert_int_equal(generate(session, &params, &stats), MN_OK);
        assert_true(stats.lossless);
        assert_string_equal(stats.strategy, strategies[s].name);
        assert_int_equal(stats.num_steps, R);
        assert_int_equal(stats.draft_steps, strategies[s].k);
        assert_int_equal(stats.lookahead, strategies[s].l);
        check_account(session, &stats, &a);
        if (strategies[s].k == 0) {
            assert_int_equal(stats.core_passes, (N_FULL - 1) * R);
            assert_int_equal(stats.rounds, 0);
            continue;
        }
        const uint64_t k = strategies[s].k;
        check_sums(&stats, strategies[s].l);
        assert_int_equal(stats.core_passes, (stats.drafted + stats.rounds) * k + stats.rounds * (R - k));
        assert_int_equal(stats.accepted + stats.rounds, N_FULL - 1);
        assert_true(mn_stats_acceptance_rate(&stats) == (double)stats.accepted / (double)stats.drafted);
        assert_true(mn_stats_mean_acceptance_length(&stats) == (double)(N_FULL - 1) / (double)stats.rounds);
        n_rejected += stats.drafted - stats.accepted;
        n_wide += stats.drafted_at[8] > 0;
    }
    assert_true(n_rejected > 0 && n_wide > 0);
    session_destroy(session);
}

/* The measure of the host's work: how many dispatches and submits a token takes. */
static void test_dispatches(void **state)
{
    (void)state;
    struct session *session = open_session(1, 0);
    assert_int_equal(session->n_dispatches[PASS_PRELUDE], 1 + 5 * P + 1);
    assert_int_equal(session->n_dispatches[PASS_CORE], 1 + 5 * C);
    assert_int_equal(session->n_dispatches[PASS_CODA], 1 + 5 * CODA);
    assert_int_equal(session->n_dispatches[PASS_HEAD_GREEDY], 2);
    assert_int_equal(session->n_dispatches[PASS_HEAD_SAMPLED], 2);
    struct token_list list = {0};
    struct mn_stats stats;
    struct mn_generate_params params = params_of(&strategies[0], 11, &list);
    assert_int_equal(generate(session, &params, &stats), MN_OK);
    assert_int_equal(stats.dispatches, 10 * (1 + 5 * P + 1 + R * (1 + 5 * C) + 1 + 5 * CODA + 2));
    /* However slow the device: at least one submit a token, at most one a pass. */
    assert_true(stats.submits >= 10 && stats.submits <= 10 * (R + 3));
    session_destroy(session);
}

/* Long work is cut into several submits, which changes nothing else. */
static void test_split_submits(void **state)
{
    (void)state;
    struct session *session = open_session(16, 0);
    struct token_list whole = {0}, cut = {0};
    float logits[V], logits_cut[V];
    struct mn_stats stats;
    for (int s = 0; s < N_STRATEGIES; s++) {
        struct mn_generate_params params = params_of(&strategies[s], N_FULL, &whole);
        session->submit_ns = INFINITY;
        assert_int_equal(generate(session, &params, &stats), MN_OK);
        assert_int_equal(session_read_logits(session, 0, logits), MN_OK);
        const uint64_t dispatches = stats.dispatches;
        params = params_of(&strategies[s], N_FULL, &cut);
        session->submit_ns = 0.0; /* as if every pass took for ever: each in its own submit */
        assert_int_equal(generate(session, &params, &stats), MN_OK);
        assert_int_equal(session_read_logits(session, 0, logits_cut), MN_OK);
        assert_tokens(&cut, &whole, N_FULL, strategies[s].name);
        assert_memory_equal(logits_cut, logits, sizeof logits);
        assert_int_equal(stats.dispatches, dispatches);
        assert_int_equal(stats.submits, stats.prelude_passes + stats.core_passes +
                                            2 * stats.coda_passes); /* a head behind every coda */
    }
    session_destroy(session);
}

static void test_kv_bytes(void **state)
{
    (void)state;
    for (uint32_t share = 0; share < 12; share++)
        for (int type = KV_F32; type < KV_TYPES; type++) {
            const struct kv_shape kv = {.n_kv_heads = 6,
                                        .head_dim = 10,
                                        .n_prelude = P,
                                        .n_core = C,
                                        .n_coda = CODA,
                                        .num_steps = R,
                                        .n_ctx = N_CTX,
                                        .n_sequences = 1,
                                        .policy = {share},
                                        .type = (enum kv_type)type};
            const uint64_t slots = share == 0 || share > R ? R : share;
            static const uint64_t bytes[] = {[KV_F32] = 16 * 4, [KV_F16] = 16 * 2, [KV_Q8] = 16 + 2};
            assert_int_equal(kv_bytes_per_token(&kv), 2 * 6 * bytes[type] * (P + CODA + C * slots));
        }
}

/* Of one head at one position: bytes, padded to 16, and f16 of every 32. A block pads the scales of each head. */
static void test_q8_bytes(void **state)
{
    (void)state;
    static const struct {
        uint32_t head_dim, entry, piece_of_5; /* 2 entry n_ctx, in whole words */
    } cases[] = {{2, 18, 192},  {16, 18, 192},   {24, 34, 352},    {32, 34, 352},    {34, 52, 528},   {48, 52, 528},
                 {64, 68, 688}, {96, 102, 1024}, {128, 136, 1360}, {160, 170, 1712}, {256, 272, 2720}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct kv_shape kv = {.n_kv_heads = 3,
                                    .head_dim = cases[i].head_dim,
                                    .n_prelude = 1,
                                    .n_core = 2,
                                    .num_steps = 4,
                                    .n_ctx = 5,
                                    .n_sequences = 2,
                                    .type = KV_Q8};
        assert_int_equal(kv_entry_bytes(&kv), 3 * cases[i].entry);
        assert_int_equal(kv_piece_bytes(&kv), cases[i].piece_of_5);
        assert_int_equal(kv_block_bytes(&kv, 0), 2 * 3 * cases[i].piece_of_5);
        assert_int_equal(kv_block_bytes(&kv, 1), 2 * 4 * 3 * cases[i].piece_of_5);
        assert_int_equal(kv_bytes_per_token(&kv), 2 * 3 * cases[i].entry * (1 + 2 * 4));
    }
}

/* ---- prompts in pieces ---- */

enum { N_LONG = 1 + 63 + 64 + 65 };

static enum mn_status keep_logits(void *user, uint32_t position, const float *logits, uint32_t n_vocab)
{
    memcpy((float *)user + (size_t)position * n_vocab, logits, n_vocab * sizeof *logits);
    return MN_OK;
}

static void long_prompt(uint32_t *ids)
{
    for (uint32_t i = 0; i < N_LONG; i++)
        ids[i] = (i * i * 31 + i * 7 + 3) % V;
}

static void prefill_pieces(struct session *session, const uint32_t *pieces, uint32_t n_pieces, float *logits)
{
    uint32_t ids[N_LONG], at = 0;
    long_prompt(ids);
    for (uint32_t i = 0; i < n_pieces; at += pieces[i++]) {
        struct session_prefill_params prefill = {.ids = ids + at,
                                                 .n = pieces[i],
                                                 .first = at,
                                                 .num_steps = session->info.num_steps,
                                                 .each_logits = keep_logits,
                                                 .user = logits};
        assert_int_equal(session_prefill(session, &prefill, NULL), MN_OK);
    }
    assert_int_equal(at, N_LONG);
}

static void test_prefill_pieces(void **state)
{
    (void)state;
    static const uint32_t one[] = {N_LONG}, odd[] = {1, 63, 64, 65}, other[] = {65, 64, 1, 63},
                          small[] = {7, 1, 2, 3, 30, 17, 100, 33};
    static const struct {
        const uint32_t *pieces;
        uint32_t n;
    } cuts[] = {{odd, 4}, {other, 4}, {small, 8}};
    struct session *session = test_session(
        f.engine, &(struct session_params){.num_steps = 4, .max_rows = 1, .kv_type = KV_F16, .n_ctx = 256});
    const size_t bytes = (size_t)N_LONG * V * sizeof(float);
    float *whole = calloc(1, bytes), *cut = calloc(1, bytes);
    prefill_pieces(session, one, 1, whole);
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        memset(cut, 0, bytes);
        prefill_pieces(session, cuts[i].pieces, cuts[i].n, cut);
        if (memcmp(cut, whole, bytes))
            fail_msg("cut %zu of the prompt gives other bits", i);
    }
    free(whole);
    free(cut);
    session_destroy(session);
}

/* ---- shared slots ---- */

static double largest_error(const float *got, const double *expected, size_t n)
{
    double largest = 0.0;
    for (size_t i = 0; i < n; i++) {
        double error = fabs((double)got[i] - expected[i]);
        if (!(error <= largest))
            largest = error;
    }
    return largest;
}

enum { SHARE_STEPS = 5, SHARE_ROWS = 3 };

/* A prompt of several chunks, then rows one by one, under share:k as the reference computes it: in one piece. The rows'
 * logits go to `rows` [SHARE_ROWS, V]. */
static void check_share(const struct ref_model *model, uint32_t share, double *rows)
{
    uint32_t ids[N_LONG];
    struct ref_session *ref;
    const struct ref_session_params ref_params = {
        .n_ctx = 256, .num_steps = SHARE_STEPS, .policy = {share}, .kv_type = KV_F32};
    double *expected = calloc((size_t)N_LONG * V, sizeof *expected);
    float *got = calloc((size_t)N_LONG * V, sizeof *got);
    long_prompt(ids);
    assert_int_equal(ref_session_create(&ref, model, &ref_params, &f.log.log), MN_OK);
    assert_int_equal(ref_forward(ref, ids, N_LONG, 0, SHARE_STEPS, NULL, expected, &f.log.log), MN_OK);
    struct session *session = test_session(
        f.engine, &(struct session_params){
                      .num_steps = SHARE_STEPS, .max_rows = 1, .kv_type = KV_F32, .n_ctx = 256, .policy = {share}});
    struct session_prefill_params prefill = {
        .ids = ids, .n = N_LONG, .num_steps = SHARE_STEPS, .each_logits = keep_logits, .user = got};
    assert_int_equal(session_prefill(session, &prefill, NULL), MN_OK);
    double error = largest_error(got, expected, (size_t)N_LONG * V), decoded = 0.0;
    for (uint32_t i = 0; i < SHARE_ROWS; i++) {
        struct row row = {.token = i * 50 + 1, .position = N_LONG + i};
        struct session_run_params run = {
            .rows = &row, .n_rows = 1, .n_new = 1, .n_core = SHARE_STEPS, .coda = true, .n_head = 1};
        double *row_expected = rows + (size_t)i * V;
        float row_got[V];
        assert_int_equal(ref_forward(ref, &row.token, 1, row.position, SHARE_STEPS, NULL, row_expected, &f.log.log),
                         MN_OK);
        assert_int_equal(session_run(session, &run, NULL), MN_OK);
        assert_int_equal(session_read_logits(session, 0, row_got), MN_OK);
        decoded = fmax(decoded, largest_error(row_got, row_expected, V));
    }
    print_message("share:%u: largest error %.3g in the prompt, %.3g behind it\n", share, error, decoded);
    assert_true(error <= LOGIT_BOUND && decoded <= LOGIT_BOUND);
    session_destroy(session);
    ref_session_destroy(ref);
    free(expected);
    free(got);
}

static void test_share(void **state)
{
    (void)state;
    struct ref_model *model;
    double rows[4][SHARE_ROWS * V];
    assert_int_equal(ref_model_load(&model, f.dir, "f32", &f.log.log), MN_OK);
    for (uint32_t share = 0; share < 4; share++)
        check_share(model, share, rows[share]);
    ref_model_free(model);
    /* A prompt's positions are all at the same step, so sharing shows behind it. Were it without effect, this would
     * show nothing. */
    for (uint32_t share = 1; share < 4; share++) {
        double largest = 0.0;
        for (uint32_t i = 0; i < SHARE_ROWS * V; i++)
            largest = fmax(largest, fabs(rows[share][i] - rows[0][i]));
        assert_true(largest > 10 * LOGIT_BOUND);
    }
}

static void test_share_is_lossy(void **state)
{
    (void)state;
    for (uint32_t share = 0; share < 3; share += 2) {
        struct session *session = open_session(16, share);
        struct token_list list = {0};
        struct mn_stats stats;
        for (int s = 0; s < N_STRATEGIES; s++) {
            struct mn_generate_params params = params_of(&strategies[s], 5, &list);
            assert_int_equal(generate(session, &params, &stats), MN_OK);
            assert_int_equal(list.n, 5);
            assert_int_equal(stats.lossless, share == 0);
            params = params_of(&strategies[s], 5, &list);
            params.speculation.require_lossless = true;
            enum mn_status status = generate(session, &params, &stats);
            if (share)
                test_refused(&f.log, status, "kv_policy", strategies[s].name);
            else
                assert_int_equal(status, MN_OK);
        }
        session_destroy(session);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_length),        cmocka_unit_test(test_stop_token),
                                       cmocka_unit_test(test_callback_stop), cmocka_unit_test(test_rate_where_it_ends),
                                       cmocka_unit_test(test_statistics),    cmocka_unit_test(test_dispatches),
                                       cmocka_unit_test(test_split_submits), cmocka_unit_test(test_kv_bytes),
                                       cmocka_unit_test(test_q8_bytes),      cmocka_unit_test(test_prefill_pieces),
                                       cmocka_unit_test(test_share),         cmocka_unit_test(test_share_is_lossy)};
    return RUN_ON_EVERY_DEVICE(tests, open_model, close_model);
}
