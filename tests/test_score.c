/* Goal: mn_score's numbers are right, and do not depend on what shares a pass.
 * Method: (1) items of 2 to 150 ids, packed in every way that 1 to 16 sequences allow, at several depths in one run,
 * against the likelihoods of mn_logits of each item alone at each depth: equal as doubles, under full and shared
 * caches. (2) Against the model in double (ref.h): raven-tiny and a random model with odd sizes, within 1e-4 with f32
 * weights and cache; with the default types, rounded alike on both sides, within the bound of a cache entry that falls
 * to the other neighbour. (3) Callbacks, refusals, interruption. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reference/ref.h"
#include "tests/testing.h"

#define BOUND_F32 1e-4
#define BOUND_F16 2e-2
#define BOUND_Q8 2e-1

enum { V = 173, N_CTX = 160, R = 7, N_ITEMS = 23, MAX_DEPTHS = 8, MAX_IDS = 160 };

static const struct random_shape shape = {.n_embd = 60,
                                          .n_heads = 6,
                                          .intermediate_size = 92,
                                          .vocab_size = V,
                                          .n_prelude = 1,
                                          .n_core = 2,
                                          .n_coda = 2,
                                          .block_size = N_CTX,
                                          .tied = false,
                                          .qk_bias = true,
                                          .seed = 31};

static struct {
    struct test_log log;
    struct mn_engine *engine;
    char *dir;
    uint32_t ids[N_ITEMS][MAX_IDS];
    struct mn_score_item items[N_ITEMS];
} f;

/* Lengths and splits at and around the edges of a pass. */
static const struct {
    uint32_t n_ids, n_context;
} lengths[N_ITEMS] = {{2, 1},     {3, 2},    {20, 15}, {64, 63},       {65, 64}, {66, 1}, {5, 1},   {40, 20},
                      {150, 140}, {2, 1},    {2, 1},   {31, 30},       {33, 2},  {64, 1}, {63, 60}, {17, 9},
                      {129, 64},  {130, 65}, {12, 11}, {161 - 1, 100}, {9, 3},   {7, 6},  {50, 49}};

static struct mn_session *open_session(struct mn_engine *engine, uint32_t n_ctx, uint32_t num_steps,
                                       uint32_t n_sequences, const char *policy, const char *type)
{
    struct mn_session *session = NULL;
    const struct mn_session_params params = {.n_ctx = n_ctx,
                                             .num_steps = num_steps,
                                             .n_sequences = n_sequences,
                                             .max_rows = 1,
                                             .kv_policy = policy,
                                             .kv_type = type};
    assert_int_equal(mn_session_create(&session, engine, &params), MN_OK);
    return session;
}

/* Items whose continuation is what the model says at R steps. */
static const uint32_t said[] = {2, 5, 8, 16};

static void let_it_say(void)
{
    struct mn_session *session = open_session(f.engine, N_CTX, R, 1, NULL, NULL);
    for (size_t k = 0; k < sizeof said / sizeof *said; k++) {
        const struct mn_score_item *item = &f.items[said[k]];
        struct token_list list = {0};
        struct mn_stats stats;
        const struct mn_generate_params params = {.prompt = item->ids,
                                                  .n_prompt = item->n_context,
                                                  .n_new = item->n_ids - item->n_context,
                                                  .ignore_eos = true,
                                                  .on_token = token_list_add,
                                                  .user = &list};
        assert_int_equal(mn_generate(session, &params, &stats), MN_OK);
        memcpy(f.ids[said[k]] + item->n_context, list.ids, list.n * sizeof *list.ids);
    }
    mn_session_destroy(session);
}

static int open_engine(void **state)
{
    (void)state;
    test_log_init(&f.log);
    random_model_write(&shape, &f.dir);
    f.engine = test_engine(&f.log, f.dir, NULL);
    for (uint32_t i = 0; i < N_ITEMS; i++) {
        for (uint32_t j = 0; j < lengths[i].n_ids; j++)
            f.ids[i][j] = (j * 31 + i * 17 + j * j * 5) % V;
        f.items[i] = (struct mn_score_item){f.ids[i], lengths[i].n_ids, lengths[i].n_context};
    }
    let_it_say();
    return 0;
}

static int close_engine(void **state)
{
    (void)state;
    test_engine_done(f.engine);
    random_model_remove(f.dir);
    return 0;
}

/* ---- likelihoods, said again ---- */

struct expected {
    const struct mn_score_item *item;
    struct mn_likelihood likelihood;
};

static enum mn_status expect_position(void *user, uint32_t position, const float *logits, uint32_t n_vocab)
{
    struct expected *e = user;
    if (position + 1 < e->item->n_context)
        return MN_OK;
    uint32_t best = 0;
    double sum = 0.0;
    for (uint32_t i = 1; i < n_vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    for (uint32_t i = 0; i < n_vocab; i++)
        sum += exp((double)logits[i] - (double)logits[best]);
    const uint32_t id = e->item->ids[position + 1];
    e->likelihood.logprob += (double)logits[id] - (double)logits[best] - log(sum);
    e->likelihood.is_greedy = e->likelihood.is_greedy && id == best;
    return MN_OK;
}

static struct mn_likelihood alone(struct mn_session *session, const struct mn_score_item *item, uint32_t num_steps)
{
    struct expected e = {item, {0.0, true}};
    assert_int_equal(mn_logits(session, item->ids, item->n_ids - 1, num_steps, NULL, expect_position, &e), MN_OK);
    return e.likelihood;
}

struct collected {
    uint32_t n, n_depths, stop_after; /* stop_after 0: never */
    struct mn_likelihood likelihoods[N_ITEMS][MAX_DEPTHS];
    uint64_t done, total;
    uint32_t n_progress, interrupt_after; /* 0: never */
};

static enum mn_status collect(void *user, uint32_t item, const struct mn_likelihood *likelihoods)
{
    struct collected *c = user;
    assert_int_equal(item, c->n);
    memcpy(c->likelihoods[c->n++], likelihoods, c->n_depths * sizeof *likelihoods);
    return c->stop_after && c->n == c->stop_after ? MN_ERR_RUN : MN_OK;
}

static int watch(void *user, uint64_t done, uint64_t total)
{
    struct collected *c = user;
    assert_true(done >= c->done && done <= total);
    c->done = done;
    c->total = total;
    return ++c->n_progress == c->interrupt_after;
}

static struct mn_score_params params_of(const uint32_t *num_steps, uint32_t n, struct collected *c)
{
    *c = (struct collected){.n_depths = n, .stop_after = c->stop_after, .interrupt_after = c->interrupt_after};
    return (struct mn_score_params){.items = f.items,
                                    .n_items = N_ITEMS,
                                    .num_steps = num_steps,
                                    .n_num_steps = n,
                                    .each = collect,
                                    .progress = watch,
                                    .user = c};
}

/* ---- (1) who shares a pass does not matter ---- */

static void check_packing(const char *policy, const char *type)
{
    static const uint32_t steps[] = {5, 1, 2, 7, 2}; /* in no order, one twice */
    enum { N = sizeof steps / sizeof *steps };
    struct mn_likelihood expected[N_ITEMS][N];
    struct collected *c = calloc(1, sizeof *c);
    struct mn_session *one = open_session(f.engine, N_CTX, R, 1, policy, type);
    uint32_t n_greedy = 0;
    for (uint32_t i = 0; i < N_ITEMS; i++)
        for (uint32_t j = 0; j < N; j++)
            n_greedy += (expected[i][j] = alone(one, &f.items[i], steps[j])).is_greedy;
    mn_session_destroy(one);
    if (n_greedy == 0 || n_greedy == N_ITEMS * N)
        fail_msg("%u of %d likelihoods are greedy: the case cannot tell", n_greedy, N_ITEMS * N);
    static const uint32_t widths[] = {1, 5, 16};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        struct mn_session *session = open_session(f.engine, N_CTX, R, widths[w], policy, type);
        for (int run = 0; run < 2; run++) { /* what a run leaves in the cache does not matter either */
            struct mn_score_params params = params_of(steps, N, c);
            assert_int_equal(mn_score(session, &params), MN_OK);
            assert_int_equal(c->n, N_ITEMS);
            assert_int_equal(c->done, c->total);
            for (uint32_t i = 0; i < N_ITEMS; i++)
                for (uint32_t j = 0; j < N; j++)
                    if (memcmp(&c->likelihoods[i][j].logprob, &expected[i][j].logprob, sizeof(double)) ||
                        c->likelihoods[i][j].is_greedy != expected[i][j].is_greedy)
                        fail_msg("%s, %u sequences, item %u at %u steps: %.17g, alone %.17g", policy, widths[w], i,
                                 steps[j], c->likelihoods[i][j].logprob, expected[i][j].logprob);
        }
        mn_session_destroy(session);
    }
    free(c);
}

static void test_packing_full_f16(void **state)
{
    (void)state;
    check_packing("full", "f16");
}

static void test_packing_full_f32(void **state)
{
    (void)state;
    check_packing("full", "f32");
}

static void test_packing_share(void **state)
{
    (void)state;
    check_packing("share:2", "f16");
}

/* ---- the logits behind them ---- */

struct seen {
    struct collected c;
    float *logits;          /* [N_ITEMS, MAX_DEPTHS, N_CTX, V] */
    uint32_t n, stop_after; /* 0: never */
};

static float *seen_at(struct seen *s, uint32_t item, uint32_t depth, uint32_t place)
{
    return s->logits + (((size_t)item * MAX_DEPTHS + depth) * (N_CTX + 1) + place) * V;
}

static enum mn_status see(void *user, uint32_t item, uint32_t place, uint32_t depth, const float *logits,
                          uint32_t n_vocab)
{
    struct seen *s = (struct seen *)user;
    assert_true(item < N_ITEMS && place >= f.items[item].n_context && place < f.items[item].n_ids);
    assert_int_equal(n_vocab, V);
    assert_true(seen_at(s, item, depth, place)[0] == 0.0f); /* each once */
    memcpy(seen_at(s, item, depth, place), logits, V * sizeof *logits);
    return ++s->n == s->stop_after ? MN_ERR_FILE : MN_OK;
}

struct check_logits {
    struct seen *seen;
    uint32_t item, depth, n;
};

static enum mn_status check_position(void *user, uint32_t position, const float *logits, uint32_t n_vocab)
{
    struct check_logits *check = user;
    if (position + 1 < f.items[check->item].n_context)
        return MN_OK;
    check->n++;
    assert_memory_equal(logits, seen_at(check->seen, check->item, check->depth, position + 1),
                        n_vocab * sizeof *logits);
    return MN_OK;
}

/* Of every scored id at every depth, and bit for bit those of the item alone. */
static void test_logits(void **state)
{
    (void)state;
    static const uint32_t steps[] = {5, 1, 7};
    struct seen *s = calloc(1, sizeof *s);
    s->logits = calloc((size_t)N_ITEMS * MAX_DEPTHS * (N_CTX + 1) * V, sizeof *s->logits);
    assert_non_null(s->logits);
    struct mn_session *session = open_session(f.engine, N_CTX, R, 5, NULL, "f32");
    struct mn_score_params params = params_of(steps, 3, &s->c);
    params.user = s; /* begins with what the other callbacks take */
    params.logits = see;
    assert_int_equal(mn_score(session, &params), MN_OK);
    mn_session_destroy(session);
    session = open_session(f.engine, N_CTX, R, 1, NULL, "f32");
    uint32_t n = 0;
    for (uint32_t i = 0; i < N_ITEMS; i++)
        for (uint32_t j = 0; j < 3; j++) {
            struct check_logits check = {s, i, j, 0};
            const struct mn_score_item *item = &f.items[i];
            assert_int_equal(mn_logits(session, item->ids, item->n_ids - 1, steps[j], NULL, check_position, &check),
                             MN_OK);
            n += check.n;
        }
    assert_int_equal(n, s->n);
    assert_true(n > 3 * N_ITEMS);
    mn_session_destroy(session);

    /* Its status ends the run. */
    session = open_session(f.engine, N_CTX, R, 5, NULL, "f32");
    memset(s->logits, 0, (size_t)N_ITEMS * MAX_DEPTHS * (N_CTX + 1) * V * sizeof *s->logits);
    params = params_of(steps, 3, &s->c);
    params.user = s;
    params.logits = see;
    s->n = 0;
    s->stop_after = 4;
    assert_int_equal(mn_score(session, &params), MN_ERR_FILE);
    assert_int_equal(s->n, 4);
    mn_session_destroy(session);
    free(s->logits);
    free(s);
}

/* Core passes are those of the deepest depth alone, and passes are full. */
static void test_passes(void **state)
{
    (void)state;
    static const uint32_t steps[] = {1, 2, 4, 7};
    struct collected *c = calloc(1, sizeof *c);
    struct mn_session *session = open_session(f.engine, N_CTX, R, 16, NULL, NULL);
    const struct session_counts *counts = &session->session->counts;
    struct mn_score_params params = params_of(steps, 4, c);
    assert_int_equal(mn_score(session, &params), MN_OK);
    uint64_t n_passes = 0, n_rows = 0, wave = 0;
    for (uint32_t i = 0; i < N_ITEMS; i++) {
        wave += lengths[i].n_ids - 1;
        n_rows += lengths[i].n_ids - 1;
        if (i == 15 || i == N_ITEMS - 1) { /* a wave: 16 sequences */
            n_passes += (wave + SESSION_MAX_ROWS - 1) / SESSION_MAX_ROWS;
            wave = 0;
        }
    }
    assert_int_equal(counts->passes[PASS_PRELUDE], n_passes);
    assert_int_equal(counts->passes[PASS_CORE], n_passes * R);
    assert_int_equal(counts->passes[PASS_CODA], n_passes * 4);
    assert_int_equal(counts->rows[PASS_CORE], n_rows * R);
    assert_int_equal(c->total, n_rows * R);
    assert_int_equal(c->n_progress, n_passes * 4);
    mn_session_destroy(session);
    free(c);
}

/* ---- (2) the model in double ---- */

struct reference {
    struct ref_session *session;
    double *logits;
    uint32_t v;
};

static struct mn_likelihood reference_of(struct reference *r, const struct mn_score_item *item, uint32_t num_steps,
                                         struct mn_log *log)
{
    struct mn_likelihood l = {0.0, true};
    assert_int_equal(ref_forward(r->session, item->ids, item->n_ids - 1, 0, num_steps, NULL, r->logits, log), MN_OK);
    for (uint32_t at = item->n_context; at < item->n_ids; at++) {
        const double *logits = r->logits + (size_t)(at - 1) * r->v;
        double largest = -INFINITY, sum = 0.0;
        for (uint32_t i = 0; i < r->v; i++)
            largest = fmax(largest, logits[i]);
        for (uint32_t i = 0; i < r->v; i++)
            sum += exp(logits[i] - largest);
        l.logprob += logits[item->ids[at]] - largest - log1p(sum - 1.0);
        l.is_greedy = l.is_greedy && logits[item->ids[at]] == largest;
    }
    return l;
}

static void check_reference(const char *name, struct mn_engine *engine, const char *dir, const char *weight_type,
                            enum kv_type kv_type, const struct mn_score_item *items, uint32_t n_items, double bound)
{
    static const uint32_t steps[] = {1, 3, 6};
    struct collected *c = calloc(1, sizeof *c);
    struct ref_model *model;
    struct reference r = {0};
    uint32_t longest = 0, n_equal = 0;
    double largest = 0.0, per_token = 0.0;
    for (uint32_t i = 0; i < n_items; i++)
        longest = items[i].n_ids > longest ? items[i].n_ids : longest;
    struct ref_session_params ref_params = {longest, 6, {0}, kv_type};
    assert_int_equal(ref_model_load(&model, dir, weight_type, &f.log.log), MN_OK);
    assert_int_equal(ref_session_create(&r.session, model, &ref_params, &f.log.log), MN_OK);
    r.v = ref_model_config(model)->vocab_size;
    r.logits = malloc((size_t)longest * r.v * sizeof *r.logits);
    assert_non_null(r.logits);
    struct mn_session *session = open_session(engine, longest, 6, 4, "full", kv_type_name(kv_type));
    struct mn_score_params params = params_of(steps, 3, c);
    params.items = items;
    params.n_items = n_items;
    assert_int_equal(mn_score(session, &params), MN_OK);
    for (uint32_t i = 0; i < n_items; i++)
        for (uint32_t j = 0; j < 3; j++) {
            const struct mn_likelihood expected = reference_of(&r, &items[i], steps[j], &f.log.log);
            const double error = fabs(c->likelihoods[i][j].logprob - expected.logprob);
            largest = fmax(largest, error);
            per_token = fmax(per_token, error / (items[i].n_ids - items[i].n_context));
            n_equal += c->likelihoods[i][j].is_greedy == expected.is_greedy;
        }
    print_message("%s: largest error of a sum %.3g, per token %.3g; greedy equal %u of %u\n", name, largest, per_token,
                  n_equal, 3 * n_items);
    assert_true(largest <= bound);
    assert_int_equal(n_equal, 3 * n_items);
    mn_session_destroy(session);
    ref_session_destroy(r.session);
    ref_model_free(model);
    free(r.logits);
    free(c);
}

static void test_reference_odd(void **state)
{
    (void)state;
    check_reference("odd, f32", f.engine, f.dir, "f32", KV_F32, f.items, N_ITEMS, BOUND_F32);
    check_reference("odd, f16 cache", f.engine, f.dir, "f32", KV_F16, f.items, N_ITEMS, BOUND_F16);
    check_reference("odd, q8 cache", f.engine, f.dir, "f32", KV_Q8, f.items, N_ITEMS, BOUND_Q8);
}

static void test_reference_raven(void **state)
{
    (void)state;
    static const char *const texts[][2] = {{"sort 2 8 0 1 :", " 0 1 2 8"},
                                           {"282 + 216 =", " 498"},
                                           {"reverse a c b :", " b c a"},
                                           {"Kai crosses the clever river", " behind the mill."},
                                           {"sort 2 8 0 1 :", " 0 2 1 8"}};
    enum { N = sizeof texts / sizeof *texts };
    static const struct {
        const char *name, *weight_type, *kv_type;
        double bound;
    } cases[] = {{"raven-tiny, f32", "f32", "f32", BOUND_F32},
                 {"raven-tiny, bf16 weights, f32 cache", "bf16", "f32", BOUND_F32},
                 {"raven-tiny, bf16 weights, f16 cache", "bf16", "f16", BOUND_F16}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct test_log log;
        test_log_init(&log);
        struct mn_engine *engine = test_engine(&log, RAVEN_TINY, cases[k].weight_type);
        struct mn_score_item items[N];
        uint32_t ids[N][64];
        for (int i = 0; i < N; i++) {
            uint32_t n = 1;
            ids[i][0] = 0; /* begin token */
            for (int part = 0; part < 2; part++) {
                uint32_t *tokens;
                size_t n_tokens;
                assert_int_equal(mn_tokenize(engine, texts[i][part], strlen(texts[i][part]), true, &tokens, &n_tokens),
                                 MN_OK);
                assert_true(n + n_tokens <= 64);
                memcpy(ids[i] + n, tokens, n_tokens * sizeof *tokens);
                items[i].n_context = part ? items[i].n_context : n + (uint32_t)n_tokens;
                n += (uint32_t)n_tokens;
                free(tokens);
            }
            items[i].ids = ids[i];
            items[i].n_ids = n;
        }
        check_reference(cases[k].name, engine, RAVEN_TINY, cases[k].weight_type,
                        strcmp(cases[k].kv_type, "f16") ? KV_F32 : KV_F16, items, N, cases[k].bound);
        test_engine_done(engine);
    }
}

/* ---- (3) contracts ---- */

static void test_contracts(void **state)
{
    (void)state;
    static const uint32_t steps[] = {1, 3};
    struct collected *c = calloc(1, sizeof *c);
    struct mn_session *session = open_session(f.engine, N_CTX, R, 4, NULL, NULL);
    struct mn_score_params params = params_of(steps, 2, c);
    params.n_items = 0;
    params.items = NULL;
    assert_int_equal(mn_score(session, &params), MN_OK);
    assert_int_equal(c->n, 0);

    /* The item's callback ends the run with its own status, the other one with MN_ERR_INTERRUPTED. */
    c->stop_after = 6;
    params = params_of(steps, 2, c);
    assert_int_equal(mn_score(session, &params), MN_ERR_RUN);
    assert_int_equal(c->n, 6);
    c->stop_after = 0;
    c->interrupt_after = 3;
    params = params_of(steps, 2, c);
    assert_int_equal(mn_score(session, &params), MN_ERR_INTERRUPTED);
    assert_int_equal(c->n_progress, 3);
    assert_int_equal(f.log.n_errors, 0);
    c->interrupt_after = 0;

    params = params_of(steps, 2, c);
    params.progress = NULL;
    assert_int_equal(mn_score(session, &params), MN_OK);
    assert_int_equal(c->n, N_ITEMS);
    mn_session_destroy(session);
    free(c);
}

static void test_refusals(void **state)
{
    (void)state;
    struct collected *c = calloc(1, sizeof *c);
    struct mn_session *session = open_session(f.engine, 64, R, 2, NULL, NULL);
    uint32_t ids[66] = {1, 2, 3, V};
    uint32_t many[MN_MAX_SCORE_DEPTHS + 1];
    for (int i = 0; i <= MN_MAX_SCORE_DEPTHS; i++)
        many[i] = 1;
    static const uint32_t ok = 2, zero = 0, deep = R + 1;
    const struct {
        struct mn_score_item item;
        const uint32_t *steps;
        uint32_t n_steps;
        const char *said;
    } cases[] = {{{ids, 3, 0}, &ok, 1, "item 1: 0 ids of context and 3 in all"},
                 {{ids, 3, 3}, &ok, 1, "item 1: 3 ids of context and 3 in all"},
                 {{ids, 0, 0}, &ok, 1, "item 1: 0 ids"},
                 {{ids, 4, 1}, &ok, 1, "item 1: token id 173 at place 4"},
                 {{ids, 66, 1}, &ok, 1, "item 1: 66 ids do not fit into the context of 64"},
                 {{ids, 3, 1}, &zero, 1, "num_steps 0"},
                 {{ids, 3, 1}, &deep, 1, "num_steps 8"},
                 {{ids, 3, 1}, &ok, 0, "at 0 depths"},
                 {{ids, 3, 1}, many, MN_MAX_SCORE_DEPTHS + 1, "at 129 depths"},
                 {{ids, 3, 1}, NULL, 1, "missing"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct mn_score_item items[] = {{ids, 3, 1}, cases[i].item};
        struct mn_score_params params = params_of(cases[i].steps, cases[i].n_steps, c);
        params.items = items;
        params.n_items = 2;
        f.log.n_errors = 0;
        assert_int_equal(mn_score(session, &params), MN_ERR_USAGE);
        assert_int_equal(f.log.n_errors, 1);
        assert_int_equal(c->n_progress, 0);
        if (!strstr(f.log.last, cases[i].said))
            fail_msg("wanted ...%s..., got %s", cases[i].said, f.log.last);
    }
    /* 65 ids need 64 positions: the last one is only predicted. */
    for (uint32_t i = 0; i < 66; i++)
        ids[i] = i;
    const struct mn_score_item fits = {ids, 65, 64};
    struct mn_score_params params = params_of(&ok, 1, c);
    params.items = &fits;
    params.n_items = 1;
    assert_int_equal(mn_score(session, &params), MN_OK);
    assert_int_equal(c->n, 1);
    f.log.n_errors = 0;
    mn_session_destroy(session);
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_packing_full_f16), cmocka_unit_test(test_packing_full_f32),
                                       cmocka_unit_test(test_packing_share),    cmocka_unit_test(test_logits),
                                       cmocka_unit_test(test_passes),           cmocka_unit_test(test_reference_odd),
                                       cmocka_unit_test(test_reference_raven),  cmocka_unit_test(test_contracts),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
