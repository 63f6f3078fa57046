/* Goal: tokens by lookup. What is found is what the text's last occurrence of its last tokens had behind it, however
 * long the text is; and rows that enter on it change no token of a lossless strategy, on texts that repeat themselves
 * and texts that do not, alone and several at once.
 * Method: a plain search over all of a drawn text against the index, at every length of it, with tails; then wavefront,
 * draft-verify and auto with lookup against ar, over lookup, K, rows and sampling; counts of who proposed what. */
#include <stdlib.h>
#include <string.h>

#include "spec/lookup.h"
#include "spec/pricing.h"
#include "tests/testing.h"

enum { N_TEXT = 400, N_TAIL = 5, R = 12, N_NEW = 48, N_CTX = 96, N_PROMPT = 24, N_SEQUENCES = 3 };

/* Of the last LOOKUP_LONGEST tokens, else the last LOOKUP_SHORTEST, the latest occurrence that something follows in the
 * first n_known tokens. */
static uint32_t search(const uint32_t *text, uint32_t n, uint32_t n_known, uint32_t *found, uint32_t most)
{
    static const uint32_t lengths[] = {LOOKUP_LONGEST, LOOKUP_SHORTEST};
    uint32_t virtual[N_TEXT + MN_MAX_LOOKUP];
    memcpy(virtual, text, n * sizeof *text);
    for (int i = 0; i < 2; i++)
        for (uint32_t at = n_known; lengths[i] <= n && at-- > lengths[i];) {
            if (memcmp(text + at - lengths[i], text + n - lengths[i], lengths[i] * sizeof *text) != 0)
                continue;
            uint32_t length = lengths[i];
            while (length < LOOKUP_LONGEST && length < at && text[at - 1 - length] == text[n - 1 - length])
                length++;
            if (length < LOOKUP_LONGEST && length < most)
                most = length;
            for (uint32_t j = 0; j < most; j++)
                found[j] = virtual[n + j] = virtual[at + j];
            return most;
        }
    return 0;
}

static void test_index(void **state)
{
    (void)state;
    uint32_t text[N_TEXT], n_found = 0, n_wrong_hash = 0;
    struct test_log log;
    struct lookup *lookup;
    test_log_init(&log);
    assert_int_equal(lookup_create(&lookup, N_TEXT, &log.log), MN_OK);
    for (uint32_t i = 0; i < N_TEXT; i++) /* pieces again and again, with changes */
        text[i] = i < 40 || i % 37 == 0 ? i * i * 2654435761u >> 29 : text[i - 1 - i * 7 % 39];
    for (uint32_t n = 0; n + N_TAIL < N_TEXT; lookup_push(lookup, text[n++]))
        for (uint32_t n_tail = 0; n_tail <= N_TAIL && n + n_tail > 0; n_tail++) {
            uint32_t expected[MN_MAX_LOOKUP] = {0}, found[MN_MAX_LOOKUP] = {0};
            const uint32_t most = n % 3 ? 8 : MN_MAX_LOOKUP, is = lookup_find(lookup, text + n, n_tail, found, most),
                           should = search(text, n + n_tail, n, expected, most);
            n_found += is > 0;
            n_wrong_hash += is != should; /* two runs with one hash: the later one alone is known */
            if (is && is == should)
                assert_memory_equal(found, expected, is * sizeof *found);
        }
    assert_true(n_found > 200 && n_wrong_hash * 20 < n_found);
    lookup_push(lookup, 1);
    lookup_destroy(lookup);
    lookup_destroy(NULL);
}

struct world {
    struct mn_engine *engine;
    struct session *session;
    uint32_t prompts[N_SEQUENCES][N_PROMPT];
};

static struct token_list run(struct world *w, uint32_t i, struct mn_generate_params p, struct mn_stats *stats)
{
    struct token_list list = {0};
    p.prompt = w->prompts[i];
    p.n_prompt = N_PROMPT;
    p.n_new = N_NEW;
    p.ignore_eos = true;
    p.on_token = token_list_add;
    p.user = &list;
    assert_int_equal(generate(w->session, &p, stats), MN_OK);
    return list;
}

static void check_counts(const struct mn_stats *s)
{
    uint64_t sum = 0;
    for (int i = 0; i < MN_PROPOSALS; i++)
        sum += s->proposed_by[i];
    assert_int_equal(sum, s->committed);
    assert_true(s->proposed_by[MN_PROPOSAL_LOOKUP] <= s->looked_up && s->lossless);
    for (uint32_t i = 0; i < MN_AGREEMENT_DEPTHS; i++)
        assert_true(s->agreed_at[i] <= s->predicted_at[i] && (i + 1 < R || !s->predicted_at[i]));
}

/* Several sequences together have the tokens that each has alone. */
static void check_batch(struct world *w, struct mn_generate_params p, const struct token_list *expected)
{
    struct mn_generate_params each[N_SEQUENCES];
    struct token_list got[N_SEQUENCES] = {0};
    struct mn_stats stats[N_SEQUENCES], total;
    for (uint32_t i = 0; i < N_SEQUENCES; i++) {
        each[i] = p;
        each[i].prompt = w->prompts[i];
        each[i].n_prompt = N_PROMPT;
        each[i].n_new = N_NEW;
        each[i].ignore_eos = true;
        each[i].on_token = token_list_add;
        each[i].user = &got[i];
    }
    assert_int_equal(generate_batch(w->session, each, N_SEQUENCES, stats, &total, NULL, NULL), MN_OK);
    for (uint32_t i = 0; i < N_SEQUENCES; i++)
        assert_memory_equal(got[i].ids, expected[i].ids, N_NEW * sizeof *got[i].ids);
    check_counts(&total);
    each[1].speculation.lookup++;
    assert_int_equal(generate_batch(w->session, each, N_SEQUENCES, stats, &total, NULL, NULL), MN_ERR_USAGE);
}

static void test_lossless(void **state)
{
    (void)state;
    static const struct mn_generate_params settings[] = {
        {.strategy = "wavefront", .speculation = {.draft_steps = 1, .lookup = 4}},
        {.strategy = "wavefront", .speculation = {.draft_steps = 4, .max_inflight = 16, .lookup = 8}},
        {.strategy = "wavefront", .speculation = {.draft_steps = 11, .max_inflight = 5, .lookup = 63}},
        {.strategy = "draft-verify", .speculation = {.draft_steps = 2, .lookahead = 9, .lookup = 8}},
        {.strategy = "draft-verify", .speculation = {.draft_steps = 5, .lookahead = 3, .lookup = 63}},
        {.strategy = "auto", .speculation = {.lookup = 8}}};
    struct world w;
    struct test_log log;
    test_log_init(&log);
    w.engine = test_engine(&log, RAVEN_TINY, NULL);
    struct session_params params = {
        .num_steps = R, .max_rows = 48, .kv_type = KV_F16, .n_ctx = N_CTX, .n_sequences = N_SEQUENCES};
    w.session = test_session(w.engine, &params);
    for (uint32_t i = 0; i < N_SEQUENCES; i++) /* one period, a longer one, none */
        for (uint32_t j = 0; j < N_PROMPT; j++)
            w.prompts[i][j] = i == 0 ? 20 + j % 3 : i == 1 ? 20 + j % 11 : (j * j * 7 + 3) % 90;
    uint64_t by_lookup = 0, wrong = 0;
    for (int sampled = 0; sampled < 2; sampled++) {
        struct token_list expected[N_SEQUENCES];
        const struct mn_sampler_params sampler = {.temperature = sampled ? 0.9f : 0.0f, .seed = 5};
        struct mn_stats stats;
        for (uint32_t i = 0; i < N_SEQUENCES; i++)
            expected[i] = run(&w, i, (struct mn_generate_params){.sampler = sampler}, &stats);
        for (size_t k = 0; k < sizeof settings / sizeof *settings; k++) {
            struct mn_generate_params p = settings[k];
            p.sampler = sampler;
            for (uint32_t i = 0; i < N_SEQUENCES; i++) {
                const struct token_list got = run(&w, i, p, &stats);
                assert_memory_equal(got.ids, expected[i].ids, N_NEW * sizeof *got.ids);
                check_counts(&stats);
                by_lookup += stats.proposed_by[MN_PROPOSAL_LOOKUP];
                wrong += stats.looked_up - stats.proposed_by[MN_PROPOSAL_LOOKUP];
            }
            check_batch(&w, p, expected);
        }
    }
    print_message("%llu tokens by lookup, %llu looked up in vain\n", (unsigned long long)by_lookup,
                  (unsigned long long)wrong);
    assert_true(by_lookup > 10 && wrong > 50);
    session_destroy(w.session);
    test_engine_done(w.engine);
}

/* What auto goes by: where rows cost nothing, any chance is worth them; where all cost the same, none is; between, it
 * takes a text that repeats itself. */
static void test_worth(void **state)
{
    (void)state;
    struct mn_cost_table costs = {.n = 2, .rows = {1, 16}, .submit_ns = 10};
    const struct pricing pricing = {.costs = &costs};
    const struct lookup_record never = {.found = 98, .right = 0}, always = {.found = 98, .right = 98};
    static const double slopes[] = {0.0, 0.1, 1.0};
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 2; j++) {
            costs.core_ns[j] = 100.0 + 100.0 * slopes[i] * (costs.rows[j] - 1.0);
            costs.head_ns[j] = costs.prelude_ns[j] = costs.core_ns[j] / 10;
        }
        assert_true(lookup_pays_in_wave(&always, &pricing, 32, 4, 6) == (i < 2));
        assert_true(lookup_pays_in_wave(&never, &pricing, 32, 4, 6) == (i < 1));
        assert_true(lookup_pays_in_round(&never, &pricing, 4) == (i < 1));
        assert_true(i == 2 || lookup_pays_in_round(&always, &pricing, 4));
    }
}

/* Each by its name, and nothing runs. */
static void test_refusals(void **state)
{
    (void)state;
    static const float half[] = {0.5f};
    static const struct mn_generate_params refused[] = {
        {.strategy = "ar", .speculation = {.lookup = 1}},
        {.strategy = "wavefront", .speculation = {.draft_steps = 2, .lookup = MN_MAX_LOOKUP + 1}},
        {.strategy = "draft-verify",
         .speculation = {.draft_steps = 2, .lookahead = 2, .lookup = 2},
         .exit = {.rule = "kl"}},
        {.strategy = "wavefront",
         .speculation = {.draft_steps = 2, .lookup = 2},
         .measuring = {.forced_acceptance = half, .n_forced_acceptance = 1}}};
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    struct session_params params = {.num_steps = 4, .max_rows = 16, .kv_type = KV_F16, .n_ctx = 16};
    struct session *session = test_session(engine, &params);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct mn_generate_params p = refused[i];
        struct mn_stats stats;
        const uint32_t prompt[] = {20, 21};
        p.prompt = prompt;
        p.n_prompt = 2;
        p.n_new = 2;
        log.n_errors = 0;
        assert_int_equal(generate(session, &p, &stats), MN_ERR_USAGE);
        assert_true(log.n_errors == 1 && !strncmp(log.last, "lookup", 6));
    }
    assert_int_equal(
        mn_strategy_rows(&(struct mn_generate_params){.strategy = "wavefront", .speculation = {.lookup = 8}}), 16);
    session_destroy(session);
    test_engine_done(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_index), cmocka_unit_test(test_lossless),
                                       cmocka_unit_test(test_worth), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
