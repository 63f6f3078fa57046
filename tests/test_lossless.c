/* Goal: the determinism promises. D0: the same run gives the same bits. D1: a row's logits have the same bits for any
 * number of rows per pass, at mixed depths too. D2: draft-verify and wavefront emit the tokens of ar at the same depth
 * and seed, for every K, L and cap on the rows in flight.
 * Method: properties over K in 1..8, L in 1..8 (wavefront: K in {1,2,3,4,8}, R in {8,16,32}), greedy and sampled, on
 * the shipped model and on a random one with odd sizes, with stop tokens and the end of the context inside rounds and
 * waves; comparison token for token or bit for bit, on every device found; the Vulkan validation layer must stay
 * silent. */
#include <stdio.h>
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

static const uint32_t prompt[] = {0, 23, 29, 263 % 173, 100, 23, 27, 92, 26, 7, 61};
enum { N_PROMPT = sizeof prompt / sizeof *prompt };

struct fixture {
    struct test_log log;
    struct mn_engine *engine;
    char *dir; /* of the random model, or NULL */
};

static void open_model(struct fixture *f, bool random)
{
    *f = (struct fixture){0};
    test_log_init(&f->log);
    if (random)
        random_model_write(&odd_shape, &f->dir);
    f->engine = test_engine(&f->log, random ? f->dir : RAVEN_TINY, NULL);
}

static void open_folder(struct fixture *f, const char *folder, const char *weight_type)
{
    char path[256];
    *f = (struct fixture){0};
    test_log_init(&f->log);
    snprintf(path, sizeof path, VECTORS "%s", folder);
    f->engine = test_engine(&f->log, path, weight_type);
}

static void close_model(struct fixture *f)
{
    test_engine_done(f->engine);
    if (f->dir)
        random_model_remove(f->dir);
}

/* The list as its own bytes: two runs are compared with memcmp over everything. */
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

static void assert_same(const struct token_list *a, const struct token_list *b, const char *what)
{
    if (a->n != b->n)
        fail_msg("%s: %u tokens against %u", what, a->n, b->n);
    for (uint32_t i = 0; i < a->n; i++)
        if (a->ids[i] != b->ids[i])
            fail_msg("%s: token %u is %u against %u", what, i, a->ids[i], b->ids[i]);
}

static void check_d2(bool random, float temperature, enum kv_type kv_type)
{
    enum { R = 9, N = 20 };
    struct fixture f;
    open_model(&f, random);
    struct session_params params = {.num_steps = R, .max_rows = 9, .kv_type = kv_type, .n_ctx = 96};
    struct session *session = test_session(f.engine, &params);
    struct mn_generate_params g = {
        .n_new = N,
        .strategy = "ar",
        .sampler = {.temperature = temperature, .top_k = temperature > 0.0f ? 40 : 0, .top_p = 0.95f, .min_p = 0.01f},
        .init_scale = random ? 1.0f : 0.0f};
    uint64_t accepted = 0, rejected = 0;
    for (uint32_t k = 1; k <= 8; k++)
        for (uint32_t l = 1; l <= 8; l++) {
            /* Stop tokens end some of the runs inside a round; a new seed for each K keeps the samples apart. */
            g.ignore_eos = (k + l) % 2 == 0;
            g.sampler.seed = 1000 + k;
            g.strategy = "ar";
            struct mn_stats stats;
            struct token_list expected = run(session, g, &stats);
            assert_true(stats.lossless);
            g.strategy = "draft-verify";
            g.speculation.draft_steps = k;
            g.speculation.lookahead = l;
            struct token_list got = run(session, g, &stats);
            char what[64];
            snprintf(what, sizeof what, "K %u L %u temperature %g", k, l, (double)temperature);
            assert_same(&got, &expected, what);
            assert_true(stats.lossless);
            assert_true(g.ignore_eos ? got.n == N : got.n <= N);
            accepted += stats.accepted;
            rejected += stats.drafted - stats.accepted;
        }
    print_message("accepted %llu, rejected %llu drafts\n", (unsigned long long)accepted, (unsigned long long)rejected);
    /* A test in which every draft is right, or none, would not test the roll-back, or the resumption. */
    assert_true(accepted > 0 && rejected > 0);
    session_destroy(session);
    close_model(&f);
}

static void test_d2_shipped_greedy(void **state)
{
    (void)state;
    check_d2(false, 0.0f, KV_F16);
}

static void test_d2_shipped_sampled(void **state)
{
    (void)state;
    check_d2(false, 1.3f, KV_Q8);
}

static void test_d2_random_greedy(void **state)
{
    (void)state;
    check_d2(true, 0.0f, KV_Q8);
}

static void test_d2_random_sampled(void **state)
{
    (void)state;
    check_d2(true, 0.7f, KV_F16);
}

/* Wavefront over K, R, caps and seeds. Every K once with a stop token inside the wave (what ar says at place 9 becomes
 * one) and once up to the end of the context. */
static void check_wavefront(bool random, float temperature, enum kv_type kv_type)
{
    static const uint32_t depths[] = {8, 16, 32}, ks[] = {1, 2, 3, 4, 8}, caps[] = {0, 1, 3, 8};
    enum { N_CTX = 34, STOP_AT = 9 };
    struct fixture f;
    open_model(&f, random);
    struct model_config *config = &f.engine->model->config;
    const struct model_config as_it_is = *config;
    uint64_t kept = 0, dropped = 0;
    uint32_t n_stopped = 0, n_filled = 0;
    for (size_t r = 0; r < sizeof depths / sizeof *depths; r++) {
        struct session_params params = {
            .num_steps = depths[r], .max_rows = depths[r] == 32 ? 32 : 16, .kv_type = kv_type, .n_ctx = N_CTX};
        struct session *session = test_session(f.engine, &params);
        for (size_t i = 0; i < sizeof ks / sizeof *ks; i++)
            for (uint32_t stops = 0; stops < 2 && ks[i] < depths[r]; stops++) {
                struct mn_generate_params g = {
                    .n_new = N_CTX + 1 - N_PROMPT,
                    .strategy = "ar",
                    .sampler = {.temperature = temperature, .seed = 50 * r + 10 * stops + i}};
                struct mn_stats stats;
                g.ignore_eos = true;
                struct token_list expected = run(session, g, &stats);
                if (stops) {
                    config->n_eos = 1;
                    config->eos_token_ids[0] = expected.ids[STOP_AT];
                    g.ignore_eos = false;
                    uint32_t n = 0;
                    while (expected.ids[n++] != expected.ids[STOP_AT])
                        ;
                    expected.n = n;
                }
                g.strategy = "wavefront";
                g.speculation.draft_steps = ks[i];
                g.speculation.max_inflight = caps[(r + i + stops) % 4];
                struct token_list got = run(session, g, &stats);
                char what[96];
                snprintf(what, sizeof what, "wavefront K %u R %u cap %u temperature %g stops %u", ks[i], depths[r],
                         g.speculation.max_inflight, (double)temperature, stops);
                assert_same(&got, &expected, what);
                assert_true(stats.lossless);
                assert_true(g.speculation.max_inflight == 0 ||
                            stats.inflight_rows <= g.speculation.max_inflight * stats.rounds);
                kept += stats.accepted;
                dropped += stats.drafted - stats.accepted;
                n_stopped += stops && got.n < g.n_new;
                n_filled += got.n == N_CTX + 1 - N_PROMPT;
                *config = as_it_is;
            }
        session_destroy(session);
    }
    print_message("kept %llu, dropped %llu rows; %u runs ended at a stop token, %u at the end of the context\n",
                  (unsigned long long)kept, (unsigned long long)dropped, n_stopped, n_filled);
    assert_true(kept > 0 && dropped > 0 && n_stopped == 14 && n_filled == 14);
    close_model(&f);
}

/* The edges: one new token, a prompt of one token, and a caller who stops inside a round or a wave. */
static void test_edges(void **state)
{
    (void)state;
    struct fixture f;
    open_model(&f, false);
    struct session_params params = {.num_steps = 8, .max_rows = 8, .kv_type = KV_Q8, .n_ctx = 32};
    struct session *session = test_session(f.engine, &params);
    static const struct mn_generate_params settings[] = {
        {.strategy = "draft-verify", .speculation = {.draft_steps = 2, .lookahead = 5}},
        {.strategy = "draft-verify", .speculation = {.draft_steps = 7, .lookahead = 7}},
        {.strategy = "draft-verify",
         .speculation = {.draft_steps = 6, .lookahead = 5},
         .exit = {.rule = "latent-diff:0.3"}},
        {.strategy = "wavefront", .speculation = {.draft_steps = 1}},
        {.strategy = "wavefront", .speculation = {.draft_steps = 3, .max_inflight = 1}},
        {.strategy = "auto"}};
    static const struct {
        uint32_t n_prompt, n_new, stop_after;
    } edges[] = {{1, 1, 0},  {1, 32, 0},        {N_PROMPT, 1, 0}, {N_PROMPT, 2, 0},
                 {1, 20, 1}, {N_PROMPT, 20, 2}, {N_PROMPT, 20, 7}};
    for (size_t e = 0; e < sizeof edges / sizeof *edges; e++) {
        struct token_list expected = {.stop_after = edges[e].stop_after};
        struct mn_generate_params g = {.prompt = prompt,
                                       .n_prompt = edges[e].n_prompt,
                                       .n_new = edges[e].n_new,
                                       .ignore_eos = true,
                                       .on_token = token_list_add,
                                       .user = &expected};
        struct mn_stats stats;
        assert_int_equal(generate(session, &g, &stats), MN_OK);
        assert_int_equal(expected.n, edges[e].stop_after ? edges[e].stop_after : edges[e].n_new);
        for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
            struct token_list got = {.stop_after = edges[e].stop_after};
            struct mn_generate_params with = settings[i];
            with.prompt = g.prompt;
            with.n_prompt = g.n_prompt;
            with.n_new = g.n_new;
            with.ignore_eos = true;
            with.on_token = token_list_add;
            with.user = &got;
            assert_int_equal(generate(session, &with, &stats), MN_OK);
            assert_same(&got, &expected, with.strategy);
            assert_int_equal(stats.n_new, got.n);
        }
    }
    session_destroy(session);
    close_model(&f);
}

static void test_wavefront_shipped_greedy(void **state)
{
    (void)state;
    check_wavefront(false, 0.0f, KV_Q8);
}

static void test_wavefront_shipped_sampled(void **state)
{
    (void)state;
    check_wavefront(false, 1.2f, KV_F16);
}

static void test_wavefront_random_greedy(void **state)
{
    (void)state;
    check_wavefront(true, 0.0f, KV_F16);
}

static void test_wavefront_random_sampled(void **state)
{
    (void)state;
    check_wavefront(true, 0.8f, KV_Q8);
}

/* Rows of a round or a wave on both sides of an attention split's end (1,024 positions on CPU devices, 128 on GPUs). */
static void test_across_splits(void **state)
{
    (void)state;
    enum { N_LONG = 1016, N = 24, R = 6 };
    static const struct random_shape shape = {.n_embd = 20,
                                              .n_heads = 2,
                                              .intermediate_size = 28,
                                              .vocab_size = 61,
                                              .n_prelude = 1,
                                              .n_core = 2,
                                              .n_coda = 1,
                                              .block_size = 1200,
                                              .tied = true,
                                              .qk_bias = true,
                                              .seed = 21};
    static uint32_t ids[N_LONG];
    static const struct mn_generate_params settings[] = {
        {.strategy = "draft-verify", .speculation = {.draft_steps = 2, .lookahead = 5}},
        {.strategy = "draft-verify", .speculation = {.draft_steps = 3, .lookahead = 8}},
        {.strategy = "wavefront", .speculation = {.draft_steps = 1}},
        {.strategy = "wavefront", .speculation = {.draft_steps = 2, .max_inflight = 5}},
        {.strategy = "auto"}};
    struct fixture f = {0};
    struct mn_stats stats;
    uint64_t rejected = 0;
    test_log_init(&f.log);
    random_model_write(&shape, &f.dir);
    f.engine = test_engine(&f.log, f.dir, NULL);
    for (uint32_t i = 0; i < N_LONG; i++)
        ids[i] = i * 7 % 61;
    struct session_params params = {.num_steps = R, .max_rows = 9, .kv_type = KV_F16, .n_ctx = 1100};
    struct session *session = test_session(f.engine, &params);
    struct token_list expected = {0};
    struct mn_generate_params g = {.strategy = "ar",
                                   .prompt = ids,
                                   .n_prompt = N_LONG,
                                   .n_new = N,
                                   .ignore_eos = true,
                                   .on_token = token_list_add,
                                   .user = &expected};
    assert_int_equal(generate(session, &g, &stats), MN_OK);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        struct token_list got = {0};
        g.strategy = settings[i].strategy;
        g.speculation.draft_steps = settings[i].speculation.draft_steps;
        g.speculation.lookahead = settings[i].speculation.lookahead;
        g.speculation.max_inflight = settings[i].speculation.max_inflight;
        g.user = &got;
        assert_int_equal(generate(session, &g, &stats), MN_OK);
        assert_same(&got, &expected, g.strategy);
        rejected += stats.drafted - stats.accepted;
    }
    assert_true(expected.n == N && rejected > 0);
    session_destroy(session);
    close_model(&f);
}

static void read_bits(struct session *session, uint32_t row, uint32_t *bits)
{
    float *logits = malloc(session->model->config.vocab_size * sizeof *logits);
    assert_int_equal(session_read_logits(session, row, logits), MN_OK);
    memcpy(bits, logits, session->model->config.vocab_size * sizeof *logits);
    free(logits);
}

/* Logits of 16 rows behind a prompt, run `at_once` rows at a time. */
static void run_rows(struct session *session, uint32_t at_once, uint32_t *bits)
{
    const uint32_t n_vocab = session->model->config.vocab_size;
    struct session_prefill_params prefill = {.ids = prompt, .n = N_PROMPT, .num_steps = session->info.num_steps};
    assert_int_equal(session_prefill(session, &prefill, NULL), MN_OK);
    for (uint32_t begin = 0; begin < 16; begin += at_once) {
        struct row rows[16];
        uint32_t n = 16 - begin < at_once ? 16 - begin : at_once;
        for (uint32_t i = 0; i < n; i++)
            rows[i] = (struct row){.token = (begin + i) * 7 % 170, .position = N_PROMPT + begin + i};
        struct session_run_params run_params = {
            .rows = rows, .n_rows = n, .n_new = n, .n_core = session->info.num_steps, .coda = true, .n_head = n};
        assert_int_equal(session_run(session, &run_params, NULL), MN_OK);
        for (uint32_t i = 0; i < n; i++)
            read_bits(session, i, bits + (size_t)(begin + i) * n_vocab);
    }
}

/* The same rows in a staircase: at every tick a new row enters and all rows in flight advance two steps. */
static void run_staircase(struct session *session, uint32_t *bits)
{
    const uint32_t n_vocab = session->model->config.vocab_size, depth = session->info.num_steps;
    struct session_prefill_params prefill = {.ids = prompt, .n = N_PROMPT, .num_steps = depth};
    assert_int_equal(session_prefill(session, &prefill, NULL), MN_OK);
    uint32_t oldest = 0, newest = 0; /* rows [oldest, newest) are in flight */
    struct row rows[16];
    while (oldest < 16) {
        bool enter = newest < 16;
        if (enter) {
            rows[newest] = (struct row){.token = newest * 7 % 170, .position = N_PROMPT + newest};
            newest++;
        }
        struct session_run_params tick = {.rows = rows + oldest,
                                          .n_rows = newest - oldest,
                                          .n_new = enter,
                                          .n_core = 2,
                                          .coda = true,
                                          .n_head = newest - oldest};
        assert_int_equal(session_run(session, &tick, NULL), MN_OK);
        for (uint32_t i = oldest; i < newest; i++)
            rows[i].depth += 2;
        if (rows[oldest].depth == depth) {
            read_bits(session, 0, bits + (size_t)oldest * n_vocab);
            oldest++;
        }
    }
}

static void check_d1(struct fixture *f, uint32_t num_steps, enum kv_type kv_type)
{
    struct session_params params = {.num_steps = num_steps, .max_rows = 16, .kv_type = kv_type, .n_ctx = 96};
    struct session *session = test_session(f->engine, &params);
    const size_t n = 16 * (size_t)session->model->config.vocab_size;
    uint32_t *one = calloc(n, sizeof *one), *many = calloc(n, sizeof *many);
    run_rows(session, 1, one);
    for (uint32_t at_once = 1; at_once <= 16; at_once++) { /* 1 again: D0 */
        memset(many, 0, n * sizeof *many);
        run_rows(session, at_once, many);
        if (memcmp(one, many, n * sizeof *one))
            fail_msg("%u rows at once: other bits than one by one", at_once);
    }
    memset(many, 0, n * sizeof *many);
    if (num_steps % 2 == 0) {
        run_staircase(session, many);
        if (memcmp(one, many, n * sizeof *one))
            fail_msg("rows at staggered depths: other bits than one by one");
    }
    free(one);
    free(many);
    session_destroy(session);
    close_model(f);
}

static void test_d1_shipped(void **state)
{
    (void)state;
    struct fixture f;
    open_model(&f, false);
    check_d1(&f, 8, KV_F16);
    open_model(&f, false);
    check_d1(&f, 8, KV_Q8);
}

static void test_d1_random(void **state)
{
    (void)state;
    struct fixture f;
    open_model(&f, true);
    check_d1(&f, 8, KV_F16);
    open_model(&f, true);
    check_d1(&f, 8, KV_Q8);
}

static void test_d1_families(void **state)
{
    (void)state;
    static const struct {
        const char *folder;
        uint32_t num_steps;
        enum kv_type kv_type;
        const char *weight_type;
    } cases[] = {
        {"retrofit-llama", 6, KV_F16, NULL},    {"retrofit-olmo", 6, KV_F16, NULL},
        {"retrofit-olmo", 2, KV_F32, NULL},     {"ouro", 4, KV_F16, NULL},
        {"llama-fixed-depth", 1, KV_F16, NULL}, {"retrofit-llama", 4, KV_Q8, NULL},
        {"retrofit-olmo", 6, KV_Q8, NULL},      {"ouro", 4, KV_Q8, NULL},
        {"llama-fixed-depth", 1, KV_Q8, NULL},  {"quantised", 4, KV_Q8, "q4_1"},
        {"quantised", 2, KV_F16, "q8_0"},       {"retrofit-tinyllama-bf16-sharded", 2, KV_F16, "q4_1+all=q4_1"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture f;
        open_folder(&f, cases[i].folder, cases[i].weight_type);
        check_d1(&f, cases[i].num_steps, cases[i].kv_type);
    }
}

/* ---- a q8 cache is written once ---- */

/* What lies at positions 0 .. n - 1 of a block's pieces, one behind the other. */
static size_t entries_of(struct session *session, uint32_t block, uint32_t n, uint8_t *out)
{
    const struct kv_shape *shape = &session->cache.shape;
    const struct span kv = session->cache.blocks[block].kv;
    const uint32_t n_pieces = kv_block_slots(shape, block) * shape->n_kv_heads, pad = kv_q8_pad(shape->head_dim),
                   scales = 4 * kv_q8_groups(shape->head_dim);
    const uint64_t piece_bytes = kv_piece_bytes(shape);
    uint8_t *all = malloc(kv.bytes);
    size_t at = 0;
    assert_non_null(all);
    assert_int_equal(stream_download(&session->stream, kv, 0, all, kv.bytes), MN_OK);
    for (uint32_t i = 0; i < n_pieces; i++) {
        const uint8_t *piece = all + i * piece_bytes, *const parts[] = {piece, piece + (size_t)shape->n_ctx * pad,
                                                                        piece + 2 * (size_t)shape->n_ctx * pad};
        for (int part = 0; part < 3; part++) {
            const size_t bytes = (size_t)n * (part < 2 ? pad : scales);
            memcpy(out + at, parts[part], bytes);
            at += bytes;
        }
    }
    free(all);
    return at;
}

/* Drafts that were wrong, waves that were dropped, rows that ran together: what stays of the tokens that were committed
 * is what ar wrote, byte for byte. */
static void check_entries(bool random, const char *folder)
{
    enum { R = 9, N = 24, MOST = 1 << 20 };
    struct fixture f;
    if (folder)
        open_folder(&f, folder, NULL);
    else
        open_model(&f, random);
    const struct session_params params = {.num_steps = R, .max_rows = 9, .kv_type = KV_Q8, .n_ctx = 64};
    static const struct mn_generate_params settings[] = {
        {.strategy = "ar"},
        {.strategy = "draft-verify", .speculation = {.draft_steps = 3, .lookahead = 5}},
        {.strategy = "wavefront", .speculation = {.draft_steps = 2, .max_inflight = 6}}};
    uint8_t *bytes = calloc(2, MOST), *expected = bytes + MOST;
    uint64_t rejected = 0;
    assert_non_null(bytes);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        struct session *session = test_session(f.engine, &params);
        struct mn_generate_params g = settings[i];
        struct mn_stats stats;
        g.n_new = N;
        g.ignore_eos = true;
        run(session, g, &stats);
        rejected += stats.drafted - stats.accepted;
        size_t n = 0;
        for (uint32_t block = 0; block < kv_n_blocks(&session->cache.shape); block++)
            n += entries_of(session, block, N_PROMPT + N - 1, (i ? bytes : expected) + n);
        assert_true(n > 0 && n <= MOST);
        if (i && memcmp(bytes, expected, n))
            fail_msg("%s left other bytes in the cache than ar", g.strategy);
        session_destroy(session);
    }
    assert_true(rejected > 0);
    free(bytes);
    close_model(&f);
}

static void test_q8_entries(void **state)
{
    (void)state;
    check_entries(false, NULL);
    check_entries(true, NULL);
    check_entries(false, "retrofit-olmo");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_d1_shipped),
                                       cmocka_unit_test(test_d1_random),
                                       cmocka_unit_test(test_d1_families),
                                       cmocka_unit_test(test_q8_entries),
                                       cmocka_unit_test(test_d2_shipped_greedy),
                                       cmocka_unit_test(test_d2_shipped_sampled),
                                       cmocka_unit_test(test_d2_random_greedy),
                                       cmocka_unit_test(test_d2_random_sampled),
                                       cmocka_unit_test(test_wavefront_shipped_greedy),
                                       cmocka_unit_test(test_wavefront_shipped_sampled),
                                       cmocka_unit_test(test_wavefront_random_greedy),
                                       cmocka_unit_test(test_wavefront_random_sampled),
                                       cmocka_unit_test(test_across_splits),
                                       cmocka_unit_test(test_edges)};
    return RUN_ON_EVERY_DEVICE(tests, NULL, NULL);
}
