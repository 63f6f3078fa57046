/* Goal: what mn_scheduler promises. Sequences that come, go and are cancelled at any time, each with its own depth,
 * strategy, sampler and rules for ending, emit the tokens they emit alone; a step is fair; a pass that fails ends those
 * it was for, says so to each, and leaves the others.
 * Method: settings drawn anew at every run (MUNINN_TEST_SEED repeats one) on several families, policies and types of
 * the cache, against mn_generate of each sequence alone, token for token; rows and tokens counted step by step; calls
 * of the driver that fail. The Vulkan validation layer must stay silent. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/model/family.h"
#include "spec/scheduler.h"
#include "tests/testing.h"
#include "tests/vk_hooks.h"

enum { N_DRAWN = 14, PROMPT_MAX = 70, N_CTX = 96, WHAT_BYTES = 512 };

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

/* ---- one sequence of a test ---- */

struct watched {
    struct mn_generate_params p;
    uint32_t prompt[PROMPT_MAX], stop_id;
    char rule[32];
    struct token_list expected, got;
    uint32_t cancel_at; /* after so many tokens; 0: never */
    uint64_t id;
    uint32_t n_ends;
    bool cancelled;
    struct mn_stats stats; /* at its end */
};

static int on_token(void *user, uint32_t token)
{
    struct watched *w = user;
    assert_int_equal(w->n_ends, 0);
    assert_false(w->cancelled);
    return token_list_add(&w->got, token);
}

static void on_end(void *user, uint64_t id, const struct mn_stats *stats)
{
    struct watched *w = user;
    w->n_ends++;
    w->id = w->id ? w->id : id;
    assert_int_equal(id, w->id);
    assert_int_equal(stats->n_new, w->got.n);
    assert_int_equal(stats->n_prompt, w->p.n_prompt);
    w->stats = *stats;
}

static void add(struct scheduler *s, struct watched *w)
{
    w->p.on_token = on_token;
    w->p.user = w;
    const struct sequence_params params = {.generate = &w->p, .on_end = on_end, .user = w};
    assert_int_equal(scheduler_add(s, &params, &w->id), MN_OK);
}

static struct scheduler *scheduler_of(struct session *session, uint32_t prompt_rows)
{
    static struct mn_cost_table costs; /* of this session alone: of no other */
    struct scheduler *s;
    costs = (struct mn_cost_table){0};
    assert_int_equal(scheduler_create(&s, session, &costs, &(struct mn_scheduler_params){.prompt_rows = prompt_rows}),
                     MN_OK);
    return s;
}

static uint32_t step(struct scheduler *s)
{
    uint32_t n_alive = UINT32_MAX;
    assert_int_equal(scheduler_step(s, &n_alive), MN_OK);
    return n_alive;
}

static struct mn_scheduler_stats stats_of(const struct scheduler *s)
{
    struct mn_scheduler_stats stats;
    scheduler_stats(s, &stats);
    return stats;
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

struct tiny {
    struct test_log log;
    struct mn_engine *engine;
    struct session *session;
    struct scheduler *scheduler;
};

static void tiny_open(struct tiny *t, const struct session_params *params, uint32_t prompt_rows)
{
    test_log_init(&t->log);
    t->engine = test_engine(&t->log, RAVEN_TINY, NULL);
    t->session = test_session(t->engine, params);
    t->scheduler = scheduler_of(t->session, prompt_rows);
}

static void tiny_close(struct tiny *t)
{
    scheduler_destroy(t->scheduler);
    session_destroy(t->session);
    test_engine_done(t->engine);
}

static void usual(struct watched *w, uint32_t n_prompt, uint32_t n_new, uint32_t num_steps)
{
    memset(w, 0, sizeof *w);
    for (uint32_t i = 0; i < n_prompt; i++)
        w->prompt[i] = (31 * i + 3) % 400;
    w->p = (struct mn_generate_params){.prompt = w->prompt,
                                       .n_prompt = n_prompt,
                                       .n_new = n_new,
                                       .num_steps = num_steps,
                                       .strategy = "ar",
                                       .ignore_eos = true};
}

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

/* Rounds of the same work take the same memory. */
static void test_memory_is_stable(void **state)
{
    (void)state;
    enum { N = 6, N_ROUNDS = 40 };
    static struct watched q[N];
    struct tiny t;
    tiny_open(&t, &(struct session_params){.num_steps = 2, .max_rows = 4, .n_sequences = 2, .n_ctx = N_CTX}, 0);
    size_t before = 0;
    const uint64_t device_bytes = t.engine->model->device->reserved_bytes;
    for (uint32_t round = 0; round < N_ROUNDS; round++) {
        for (uint32_t i = 0; i < N; i++) {
            usual(&q[i], 50, 4, 2);
            q[i].p.strategy = i % 2 ? "draft-verify" : "ar";
            q[i].p.speculation.draft_steps = q[i].p.speculation.lookahead = 1;
            add(t.scheduler, &q[i]);
        }
        step(t.scheduler);
        for (uint32_t i = 0; i < N; i += 2) /* one is decoding, the others wait */
            assert_int_equal(scheduler_cancel(t.scheduler, q[i].id), MN_OK);
        while (step(t.scheduler)) {
        }
        before = round == 4 ? mallinfo2().uordblks : before;
    }
    assert_true(mallinfo2().uordblks < before + 32768); /* a sequence takes 4 KB and more */
    assert_int_equal(t.engine->model->device->reserved_bytes, device_bytes);
    tiny_close(&t);
}

/* ---- what is refused ---- */

static struct scheduler *called_back;
static enum mn_status back[4];

static int call_back(void *user, uint32_t token)
{
    struct watched *w = user;
    const struct sequence_params params = {.generate = &w->p};
    (void)token;
    back[0] = scheduler_add(called_back, &params, NULL);
    back[1] = scheduler_cancel(called_back, w->id);
    back[2] = scheduler_step(called_back, NULL);
    return 0;
}

static void test_refusals(void **state)
{
    (void)state;
    static struct watched q;
    struct tiny t;
    uint64_t id = 0;
    tiny_open(&t, &(struct session_params){.num_steps = 4, .max_rows = 4, .n_sequences = 2, .n_ctx = N_CTX}, 0);
    const struct sequence_params params = {.generate = &q.p, .on_end = on_end, .user = &q};
    usual(&q, 4, 4, 4);
#define REFUSED(change, word) \
    do { \
        usual(&q, 4, 4, 4); \
        change; \
        test_refused(&t.log, scheduler_add(t.scheduler, &params, &id), word, word); \
    } while (0)
    REFUSED(q.p.strategy = "diffusion", "strategy diffusion: cannot run beside others");
    REFUSED(q.p.strategy = "none", "strategy none");
    REFUSED(q.p.num_steps = 5, "num_steps 5");
    REFUSED(q.p.n_prompt = 0, "the prompt is empty");
    REFUSED(q.p.n_new = 95, "n_new 93 would fit");
    REFUSED(q.p.n_prompt = UINT32_MAX, "does not fit");
    REFUSED(q.p.n_stop_ids = 1, "stop_ids");
    REFUSED((q.stop_id = 1u << 30, q.p.stop_ids = &q.stop_id, q.p.n_stop_ids = 1), "token id 1073741824");
#undef REFUSED
    test_refused(&t.log, scheduler_cancel(t.scheduler, 0), "was never added", "0");
    test_refused(&t.log, scheduler_cancel(t.scheduler, 1), "was never added", "1");
    assert_int_equal(step(t.scheduler), 0);
    usual(&q, 4, 2, 4);
    q.p.on_token = call_back;
    q.p.user = &q;
    called_back = t.scheduler;
    assert_int_equal(scheduler_add(t.scheduler, &(struct sequence_params){.generate = &q.p}, &q.id), MN_OK);
    while (step(t.scheduler)) {
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(back[i], MN_ERR_USAGE);
    assert_int_equal(t.log.n_errors, 6); /* of two tokens */
    t.log.n_errors = 0;
    tiny_close(&t);
}

/* ---- passes that fail ---- */

enum { N_FAILING = 5, N_FAILING_NEW = 8 };

/* Two run, two wait, one has ended when the call fails. */
static void check_failure(enum call call, uint32_t index, VkResult result, enum mn_status expected)
{
    static struct watched q[N_FAILING];
    static struct token_list alone;
    struct tiny t;
    struct mn_stats stats;
    tiny_open(&t, &(struct session_params){.num_steps = 4, .max_rows = 2, .n_sequences = 2, .n_ctx = N_CTX}, 0);
    usual(&q[0], 4, N_FAILING_NEW, 4);
    q[0].p.on_token = token_list_add;
    q[0].p.user = &alone;
    alone = (struct token_list){0};
    assert_int_equal(generate(t.session, &q[0].p, &stats), MN_OK);
    hooks_install(t.engine->model->device);
    t.session->submit_ns = 0.0; /* as if every pass took for ever: each in its own submit */
    for (uint32_t i = 0; i < N_FAILING; i++) {
        usual(&q[i], 4, i == 0 ? 2 : N_FAILING_NEW, 4);
        add(t.scheduler, &q[i]);
    }
    step(t.scheduler);
    step(t.scheduler);
    assert_int_equal(q[0].n_ends, 1);
    assert_int_equal(q[0].stats.end, MN_END_LENGTH);
    hooks_arm(call, index, result);
    uint32_t n_alive = 9;
    assert_int_equal(scheduler_step(t.scheduler, &n_alive), expected);
    hooks_disarm();
    const bool lost = expected == MN_ERR_DEVICE_LOST;
    assert_int_equal(t.log.n_errors, 1);
    assert_int_equal(n_alive, lost ? 0 : 2);
    for (uint32_t i = 1; i < N_FAILING; i++) {
        assert_int_equal(q[i].n_ends, lost || i < 3);
        if (q[i].n_ends) {
            assert_int_equal(q[i].stats.end, MN_END_FAILED);
            assert_int_equal(q[i].stats.status, expected);
        }
    }
    if (lost) {
        usual(&q[0], 4, 4, 4);
        add(t.scheduler, &q[0]);
        assert_int_equal(scheduler_step(t.scheduler, &n_alive), MN_ERR_DEVICE_LOST);
        assert_int_equal(q[0].n_ends, 1);
        assert_int_equal(hooks_n_calls(), 0);
    } else {
        while (step(t.scheduler)) {
        }                                                       /* the others get what they get alone */
        assert_int_equal(stats_of(t.scheduler).reused_rows, 3); /* of the third, before */
    }
    for (uint32_t i = 1; i < N_FAILING; i++)
        assert_memory_equal(q[i].got.ids, alone.ids, q[i].got.n * sizeof *alone.ids);
    if (!lost)
        assert_int_equal(q[4].got.n, N_FAILING_NEW);
    t.log.n_errors = 0;
    *t.engine->model->device->vk = hooks.real;
    tiny_close(&t);
}

static void test_failures(void **state)
{
    (void)state;
    check_failure(CALL_QueueSubmit, 0, VK_ERROR_OUT_OF_DEVICE_MEMORY, MN_ERR_MEMORY);
    check_failure(CALL_QueueSubmit, 1, VK_ERROR_OUT_OF_HOST_MEMORY, MN_ERR_MEMORY);
    check_failure(CALL_QueueSubmit, 0, VK_ERROR_DEVICE_LOST, MN_ERR_DEVICE_LOST);
    check_failure(CALL_WaitForFences, 1, VK_TIMEOUT, MN_ERR_DEVICE_LOST);
}

/* Whoever waits may say no at any pass: those under way end, the session is as good as before. */
struct patience {
    uint32_t left;
};

static int ask(void *user, const char *what, uint64_t done, uint64_t total)
{
    struct patience *p = user;
    (void)what, (void)done, (void)total;
    return p->left && --p->left == 0;
}

static void test_interrupted(void **state)
{
    (void)state;
    static struct watched q[3];
    struct tiny t;
    struct patience patience = {0};
    tiny_open(&t, &(struct session_params){.num_steps = 4, .max_rows = 2, .n_sequences = 2, .n_ctx = N_CTX}, 0);
    struct progress *progress = session_progress(t.session);
    progress->to = (struct mn_progress){ask, &patience};
    for (uint32_t left = 1; left < 12; left++) {
        for (uint32_t i = 0; i < 3; i++) {
            usual(&q[i], 6, 5, 4);
            add(t.scheduler, &q[i]);
        }
        patience.left = left;
        enum mn_status status = MN_OK;
        while (!status)
            status = scheduler_step(t.scheduler, NULL);
        assert_int_equal(status, MN_ERR_INTERRUPTED);
        while (step(t.scheduler)) {
        }
        for (uint32_t i = 0; i < 3; i++) {
            assert_int_equal(q[i].n_ends, 1);
            assert_int_equal(q[i].stats.end, i < 2 ? MN_END_FAILED : MN_END_LENGTH);
            assert_memory_equal(q[i].got.ids, q[2].got.ids, q[i].got.n * sizeof q[i].got.ids[0]);
        }
    }
    assert_int_equal(t.log.n_errors, 0);
    tiny_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_drawn),
                                       cmocka_unit_test(test_prompts_do_not_stall),
                                       cmocka_unit_test(test_depths_share_passes),
                                       cmocka_unit_test(test_nobody_starves),
                                       cmocka_unit_test(test_memory_is_stable),
                                       cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_failures),
                                       cmocka_unit_test(test_interrupted)};
    return RUN_ON_EVERY_DEVICE(tests, NULL, NULL);
}
