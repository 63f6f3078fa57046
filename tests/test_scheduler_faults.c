/* Goal: a scheduler when things go wrong. A pass that fails ends those it was for, says so to each, and leaves the
 * others; what cannot run is refused by name; memory that runs out refuses one sequence and leaks nothing, and rounds
 * of work take no more and more of it.
 * Method: calls of the driver that fail; the n-th allocation fails, for every n; blocks are counted. The Vulkan
 * validation layer must stay silent. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "tests/vk_hooks.h"
#include "tests/watched.h"

/* ---- memory ---- */

static struct {
    bool on;
    uint32_t n, fail_at; /* allocations so far; the one that fails, 0 for none */
    long n_alive;
} blocks;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void __wrap_free(void *block);

static bool fails(void)
{
    return blocks.on && ++blocks.n == blocks.fail_at;
}

static void *counted(void *block)
{
    blocks.n_alive += blocks.on && block;
    return block;
}

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : counted(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : counted(__real_calloc(n, size));
}

void __wrap_free(void *block)
{
    blocks.n_alive -= blocks.on && block;
    __real_free(block);
}

static enum mn_status add_three(struct tiny *t, struct watched *q)
{
    static const char *const strategies[] = {"auto", "draft-verify", "ar"};
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < 3 && !status; i++) {
        usual(&q[i], 20, 4, 4);
        q[i].p.strategy = strategies[i];
        q[i].p.speculation.draft_steps = q[i].p.speculation.lookahead = 2;
        q[i].p.exit.rule = i ? "latent-diff:0.2" : NULL;
        q[i].p.on_token = on_token;
        q[i].p.user = &q[i];
        status = scheduler_add(
            t->scheduler, &(struct sequence_params){.generate = &q[i].p, .on_end = on_end, .user = &q[i]}, &q[i].id);
    }
    return status;
}

static void test_memory_runs_out(void **state)
{
    (void)state;
    static struct watched q[3], all[3];
    struct tiny t;
    tiny_open(&t, &(struct session_params){.num_steps = 4, .max_rows = 8, .n_sequences = 2, .n_ctx = N_CTX}, 0);
    assert_int_equal(add_three(&t, all), MN_OK);
    while (step(t.scheduler))
        ;
    scheduler_destroy(t.scheduler);
    enum mn_status status = MN_ERR_MEMORY;
    for (blocks.fail_at = 1; status; blocks.fail_at++) {
        static struct mn_cost_table costs;
        blocks.on = true;
        blocks.n = 0;
        status = scheduler_create(&t.scheduler, t.session, &costs, &(struct mn_scheduler_params){0});
        if (!status)
            status = add_three(&t, q);
        const bool failed = status != MN_OK;
        assert_int_equal(status, failed ? MN_ERR_MEMORY : MN_OK);
        assert_int_equal(t.log.n_errors, failed);
        t.log.n_errors = 0;
        while (t.scheduler && step(t.scheduler)) /* those that are there run */
            ;
        for (uint32_t i = 0; t.scheduler && i < 3; i++) {
            assert_int_equal(q[i].got.n, q[i].n_ends ? all[i].got.n : 0);
            assert_memory_equal(q[i].got.ids, all[i].got.ids, q[i].got.n * sizeof *q[i].got.ids);
        }
        scheduler_destroy(t.scheduler);
        t.scheduler = NULL;
        blocks.on = false;
        memset(q, 0, sizeof q);
        if (blocks.n_alive)
            fail_msg("allocation %u failed: %ld blocks are left", blocks.fail_at, blocks.n_alive);
    }
    print_message("%u allocations\n", blocks.fail_at - 2);
    assert_true(blocks.fail_at > 12);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory_runs_out), cmocka_unit_test(test_memory_is_stable),
                                       cmocka_unit_test(test_refusals), cmocka_unit_test(test_failures),
                                       cmocka_unit_test(test_interrupted)};
    return RUN_ON_EVERY_DEVICE(tests, NULL, NULL);
}
