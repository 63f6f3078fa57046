/* Goal: what mn_scheduler promises. Sequences that come, go and are cancelled at any time, each with its own depth,
 * strategy, sampler and rules for ending, emit the tokens they emit alone; a step is fair.
 * Method: settings drawn anew at every run (MUNINN_TEST_SEED repeats one) on several families, policies and types of
 * the cache, against mn_generate of each sequence alone, token for token; rows and tokens counted step by step. The
 * Vulkan validation layer must stay silent. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/model/family.h"
#include "tests/watched.h"

enum { N_DRAWN = 14, WHAT_BYTES = 512 };

/* ---- dice ---- */

struct dice {
    uint64_t state;
};

static uint32_t draw(struct dice *d, uint32_t low, uint32_t high)
{
    uint64_t z = d->state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return low + (uint32_t)((z ^ (z >> 31)) % (high - low + 1));
}

static bool one_in(struct dice *d, uint32_t n)
{
    return draw(d, 1, n) == 1;
}

static uint64_t chosen_seed(void)
{
    const char *text = getenv("MUNINN_TEST_SEED");
    return text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
}

/* ---- drawn sequences against the same ones alone ---- */

struct world {
    const char *folder; /* NULL: shape */
    struct random_shape shape;
    uint32_t num_steps, share;
    enum kv_type kv_type;
};

static const struct world worlds[] = {
    {.folder = RAVEN_TINY, .num_steps = 6, .kv_type = KV_F16},
    {.folder = RAVEN_DEEP, .num_steps = 8, .kv_type = KV_Q8},
    {.folder = RAVEN_TINY, .num_steps = 5, .share = 2, .kv_type = KV_F16},
    {.folder = VECTORS "ouro", .num_steps = 4, .kv_type = KV_F32},
    {.folder = VECTORS "retrofit-olmo", .num_steps = 5, .kv_type = KV_F16},
    {.shape = {.family = "llama",
               .n_embd = 48,
               .n_heads = 4,
               .n_kv_heads = 2,
               .head_dim = 10,
               .intermediate_size = 44,
               .vocab_size = 97,
               .n_core = 2,
               .block_size = N_CTX,
               .seed = 5},
     .num_steps = 1,
     .kv_type = KV_F16},
    {.shape = {.family = "ouro",
               .n_embd = 32,
               .n_heads = 3,
               .n_kv_heads = 1,
               .head_dim = 16,
               .intermediate_size = 60,
               .vocab_size = 131,
               .n_core = 2,
               .block_size = N_CTX,
               .seed = 6},
     .num_steps = 4,
     .kv_type = KV_Q8},
};

static void draw_strategy(const struct world *w, const struct model_config *config, struct watched *q, struct dice *d)
{
    static const char *const strategies[] = {"ar", "draft-verify", "wavefront", "auto"};
    struct mn_generate_params *p = &q->p;
    /* Under sharing, what auto says depends on when it changes its mind. */
    p->strategy = strategies[config->family->fixed_depth ? 0 : draw(d, 0, w->share ? 2 : 3)];
    p->num_steps = w->num_steps > 2 && one_in(d, 2) ? draw(d, 2, w->num_steps) : w->num_steps;
    p->speculation.draft_steps = draw(d, 1, p->num_steps > 1 ? p->num_steps - 1 : 1);
    p->speculation.lookahead = draw(d, 1, 3);
    p->speculation.max_inflight = draw(d, 1, 6);
    if (!strcmp(p->strategy, "draft-verify") && one_in(d, 3))
        p->exit.rule = "latent-diff:0.2";
    if (!strcmp(p->strategy, "ar") && !config->family->fixed_depth && one_in(d, 3))
        p->exit.rule = one_in(d, 2) ? "argmax-stability:1" : "latent-diff:0.3";
    else if (!strcmp(p->strategy, "ar") && config->family->injects && one_in(d, 4))
        p->continuous = true;
    if (p->exit.rule) {
        snprintf(q->rule, sizeof q->rule, "%s", p->exit.rule);
        p->exit.rule = q->rule;
    }
}

/* Half of the prompts begin alike. */
static void draw_sequence(const struct world *w, const struct model_config *config, struct watched *q, struct dice *d)
{
    const uint32_t same = one_in(d, 2) ? draw(d, 18, PROMPT_MAX) : 0;
    memset(q, 0, sizeof *q);
    q->p = (struct mn_generate_params){.prompt = q->prompt,
                                       .n_prompt = same || one_in(d, 4) ? draw(d, 20, PROMPT_MAX) : draw(d, 1, 12),
                                       .n_new = one_in(d, 6) ? 1 : draw(d, 2, 20),
                                       .ignore_eos = one_in(d, 2),
                                       .sampler = {.temperature = one_in(d, 2) ? 0.0f : 0.1f * (float)draw(d, 5, 15),
                                                   .top_k = one_in(d, 2) ? draw(d, 1, 40) : 0,
                                                   .top_p = one_in(d, 2) ? 0.9f : 0.0f,
                                                   .seed = draw(d, 1, 3)}};
    if (config->family->injects && one_in(d, 4))
        q->p.init_scale = 0.5f;
    for (uint32_t i = 0; i < PROMPT_MAX; i++)
        q->prompt[i] = i < same ? (7 * i + 3) % config->vocab_size : draw(d, 0, config->vocab_size - 1);
    draw_strategy(w, config, q, d);
    q->expected.stop_after = q->got.stop_after = one_in(d, 6) ? draw(d, 1, q->p.n_new) : 0;
    q->cancel_at = one_in(d, 4) ? draw(d, 1, q->p.n_new) : 0;
    if (one_in(d, 5)) {
        q->stop_id = draw(d, 0, config->vocab_size - 1);
        q->p.stop_ids = &q->stop_id;
        q->p.n_stop_ids = 1;
    }
}

static void run_alone(struct session *session, struct watched *q, struct dice *d, const char *what)
{
    struct mn_stats stats;
    struct mn_generate_params p = q->p;
    p.on_token = token_list_add;
    p.user = &q->expected;
    if (generate(session, &p, &stats))
        fail_msg("%s refused alone", what);
    if (!q->p.n_stop_ids || q->expected.n < 2 || one_in(d, 2))
        return;
    /* One that does come; but not of itself twice. */
    q->stop_id = q->expected.ids[draw(d, 0, q->expected.n - 1)];
    q->expected = (struct token_list){.stop_after = q->expected.stop_after};
    assert_int_equal(generate(session, &p, &stats), MN_OK);
    assert_int_equal(stats.end, q->expected.ids[q->expected.n - 1] == q->stop_id ? MN_END_TOKEN : stats.end);
}

static void check_end(const struct watched *q, const char *what, uint32_t i)
{
    const struct token_list *got = &q->got, *expected = &q->expected;
    if (q->n_ends != 1)
        fail_msg("%s sequence %u ended %u times", what, i, q->n_ends);
    for (uint32_t j = 0; j < got->n; j++)
        if (j >= expected->n || got->ids[j] != expected->ids[j])
            fail_msg("%s sequence %u (%s, R %u): token %u is %u, alone %u", what, i, q->p.strategy, q->p.num_steps, j,
                     got->ids[j], j < expected->n ? expected->ids[j] : UINT32_MAX);
    if (got->n != expected->n && !q->cancelled)
        fail_msg("%s sequence %u (%s): %u tokens, alone %u", what, i, q->p.strategy, got->n, expected->n);
    if (q->cancelled)
        assert_int_equal(q->stats.end, MN_END_CALLER);
    assert_true(q->stats.end != MN_END_NONE && q->stats.end != MN_END_FAILED && q->stats.status == MN_OK);
    assert_true(q->stats.n_reused < q->p.n_prompt);
}

/* Adds and cancels between any two steps. */
static void run_together(struct scheduler *s, struct watched *q, uint32_t n, struct dice *d)
{
    uint32_t n_added = 0, n_alive = 0;
    while (n_added < n || n_alive) {
        while (n_added < n && (n_alive == 0 || one_in(d, 4)))
            add(s, &q[n_added++]), n_alive++;
        for (uint32_t i = 0; i < n_added; i++)
            if (q[i].cancel_at && q[i].n_ends == 0 && (q[i].got.n >= q[i].cancel_at || one_in(d, 40))) {
                const uint32_t before = q[i].got.n;
                assert_int_equal(scheduler_cancel(s, q[i].id), MN_OK);
                q[i].cancelled = true;
                assert_int_equal(q[i].n_ends, 1);
                assert_int_equal(q[i].got.n, before);
                assert_int_equal(scheduler_cancel(s, q[i].id), MN_OK); /* again: it has ended */
            }
        n_alive = step(s);
    }
}

static void check_world(const struct world *w, uint32_t index, uint64_t seed)
{
    static struct watched q[N_DRAWN];
    struct dice d = {seed ^ (uint64_t)index << 40};
    struct test_log log;
    char what[WHAT_BYTES], *dir = NULL;
    test_log_init(&log);
    snprintf(what, sizeof what, "MUNINN_TEST_SEED=%llu world %u:", (unsigned long long)seed, index);
    if (!w->folder)
        random_model_write(&w->shape, &dir);
    struct mn_engine *engine = test_engine(&log, w->folder ? w->folder : dir, NULL);
    const struct session_params params = {.num_steps = w->num_steps,
                                          .max_rows = draw(&d, 6, 14),
                                          .n_sequences = draw(&d, 1, 4),
                                          .kv_type = w->kv_type,
                                          .policy = {w->share},
                                          .n_ctx = N_CTX};
    struct session *alone = test_session(engine, &params), *together = test_session(engine, &params);
    struct scheduler *s = scheduler_of(together, draw(&d, 1, 20));
    for (uint32_t i = 0; i < N_DRAWN; i++) {
        draw_sequence(w, &engine->model->config, &q[i], &d);
        run_alone(alone, &q[i], &d, what);
    }
    run_together(s, q, N_DRAWN, &d);
    uint64_t n_reused = 0, n_prompt = 0;
    for (uint32_t i = 0; i < N_DRAWN; i++) {
        check_end(&q[i], what, i);
        n_reused += q[i].stats.n_reused;
        n_prompt += q[i].p.n_prompt;
    }
    const struct mn_scheduler_stats stats = stats_of(s);
    assert_int_equal(stats.n_ended, N_DRAWN);
    assert_int_equal(stats.reused_rows, n_reused);
    print_message("%s %s: %u of %u positions reused\n", what, w->folder ? w->folder : w->shape.family,
                  (unsigned)n_reused, (unsigned)n_prompt);
    assert_true(w->share == 0 || n_reused == 0);
    scheduler_destroy(s);
    session_destroy(alone);
    session_destroy(together);
    test_engine_done(engine);
    if (dir)
        random_model_remove(dir);
}

static void test_drawn(void **state)
{
    (void)state;
    const uint64_t seed = chosen_seed();
    for (uint32_t i = 0; i < sizeof worlds / sizeof *worlds; i++)
        check_world(&worlds[i], i, seed);
}

/* ---- fairness, by counts ---- */

/* A long prompt goes in pieces between the passes of those under way, which get a token in every step. */
static void test_prompts_do_not_stall(void **state)
{
    (void)state;
    static struct watched q[4];
    struct tiny t;
    tiny_open(&t, &(struct session_params){.num_steps = 4, .max_rows = 8, .n_sequences = 4, .n_ctx = N_CTX}, 8);
    usual(&q[0], 4, 40, 4);
    usual(&q[1], 5, 40, 4);
    usual(&q[2], 60, 5, 4);
    usual(&q[3], 18, 5, 4);
    q[2].prompt[0] = 100, q[3].prompt[0] = 101; /* nothing to reuse */
    add(t.scheduler, &q[0]);
    add(t.scheduler, &q[1]);
    assert_int_equal(step(t.scheduler), 2);
    assert_int_equal(q[0].got.n, 2); /* the prompt's, and the first decoded one */
    add(t.scheduler, &q[2]);
    add(t.scheduler, &q[3]);
    for (uint32_t i = 1; i <= 10; i++) { /* 60 + 18 rows, 8 at a time: the older prompt first */
        const uint64_t before = stats_of(t.scheduler).prompt_rows;
        assert_int_equal(step(t.scheduler), 4);
        const struct mn_scheduler_stats now = stats_of(t.scheduler);
        assert_int_equal(now.prompt_rows - before, i < 10 ? 8 : 60 + 18 - 9 * 8);
        assert_int_equal(q[0].got.n, 2 + i);
        assert_int_equal(q[1].got.n, 2 + i);
        assert_int_equal(q[2].got.n, i < 8 ? 0 : i - 6);
        assert_int_equal(q[3].got.n, i < 10 ? 0 : 2);
    }
    tiny_close(&t);
}

/* Sequences of different depths take the same passes: one that is half as deep has a token twice as often. */
static void test_depths_share_passes(void **state)
{
    (void)state;
    static struct watched q[2];
    struct tiny t;
    tiny_open(&t, &(struct session_params){.num_steps = 8, .max_rows = 2, .n_sequences = 2, .n_ctx = N_CTX}, 0);
    usual(&q[0], 4, 9, 8);
    usual(&q[1], 4, 33, 2);
    add(t.scheduler, &q[0]);
    add(t.scheduler, &q[1]);
    for (uint32_t i = 1; i <= 32; i++) {
        assert_int_equal(step(t.scheduler), i < 32 ? 2 : 0);
        assert_int_equal(q[0].got.n, 1 + i / 4);
        assert_int_equal(q[1].got.n, 1 + i);
    }
    assert_int_equal(stats_of(t.scheduler).total.core_passes, 64);
    assert_int_equal(step(t.scheduler), 0); /* nothing to do is fine */
    tiny_close(&t);
}

/* Nobody overtakes: one that needs many rows gets in although others, which need one, never stop coming. */
static void test_nobody_starves(void **state)
{
    (void)state;
    enum { N = 40 };
    static struct watched q[N], wide;
    struct tiny t;
    tiny_open(&t, &(struct session_params){.num_steps = 4, .max_rows = 4, .n_sequences = 3, .n_ctx = N_CTX}, 0);
    usual(&wide, 4, 6, 4);
    wide.p.strategy = "wavefront";
    wide.p.speculation.draft_steps = 1;
    wide.p.speculation.max_inflight = 4;
    uint32_t n = 0;
    for (; n < 3; n++) {
        usual(&q[n], 4, 4 + n, 4);
        add(t.scheduler, &q[n]);
    }
    step(t.scheduler);
    add(t.scheduler, &wide);
    for (; n < N && wide.n_ends == 0; n++) {
        usual(&q[n], 4, 2, 4);
        add(t.scheduler, &q[n]);
        step(t.scheduler);
        for (uint32_t i = 3; i <= n && wide.n_ends == 0; i++)
            assert_int_equal(q[i].got.n, 0);
        if (n >= 3 + 6) /* the first three have ended */
            assert_true(wide.got.n > 0);
    }
    assert_int_equal(wide.n_ends, 1);
    while (step(t.scheduler)) {
    }
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(q[i].n_ends, 1);
    tiny_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_drawn), cmocka_unit_test(test_prompts_do_not_stall),
                                       cmocka_unit_test(test_depths_share_passes),
                                       cmocka_unit_test(test_nobody_starves)};
    return RUN_ON_EVERY_DEVICE(tests, NULL, NULL);
}
