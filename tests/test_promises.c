/* Goal: what `muninn selftest -m` tries of a model holds here, and does not where a device loses work: each of D0, D1
 * and D2 can fail, says where, and the rest is tried all the same. Method: promises_run on the shipped model and on
 * small ones of other families, in full and quick; then with a queue that drops the commands of every n-th submit, and
 * with one that drops all of them. */
#include <stdio.h>
#include <string.h>

#include "engine/vulkan/vk.h"
#include "reference/promises.h"
#include "tests/testing.h"

struct tally {
    uint32_t n[3], n_failed[3]; /* of D0, D1, D2 */
    uint64_t accepted, rejected;
    char detail[256];
};

static void count(void *user, const struct promise_result *result)
{
    struct tally *tally = user;
    const uint32_t which = (uint32_t)(result->promise[1] - '0');
    assert_true(which < 3 && result->n_compared > 0 && *result->what);
    assert_true(result->holds == (result->n_differ == 0) && result->holds == (*result->detail == '\0'));
    tally->n[which]++;
    tally->n_failed[which] += !result->holds;
    tally->accepted += result->accepted;
    tally->rejected += result->drafted - result->accepted;
    if (!result->holds)
        snprintf(tally->detail, sizeof tally->detail, "%s %s: %s", result->promise, result->what, result->detail);
}

static enum mn_status try(struct mn_engine *engine, const struct test_log *log, bool quick, uint32_t num_steps,
                          struct tally *tally)
{
    *tally = (struct tally){0};
    return promises_run(engine,
                        &(struct promises_params){
                            .quick = quick, .num_steps = num_steps, .report = count, .user = tally, .log = &log->log});
}

static void assert_holds(const struct tally *t)
{
    if (t->n_failed[0] || t->n_failed[1] || t->n_failed[2])
        fail_msg("%u, %u, %u trials failed, the last: %s", t->n_failed[0], t->n_failed[1], t->n_failed[2], t->detail);
}

static void test_shipped(void **state)
{
    (void)state;
    struct test_log log;
    struct tally t;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    assert_int_equal(try(engine, &log, false, 8, &t), MN_OK);
    assert_holds(&t);
    assert_int_equal(t.n[0], 3);
    assert_int_equal(t.n[1], 19);
    assert_int_equal(t.n[2], 2 * (3 * 5 + 1));
    assert_true(t.accepted > 0 && t.rejected > 0); /* else D2 would not try the roll-back, or the resumption */
    test_engine_done(engine);
}

/* Of fixed depth there are D0 and D1; a context of few positions has room for few rows. */
static void test_families(void **state)
{
    (void)state;
    static const struct {
        const char *family;
        uint32_t block_size;
        bool drafts;
    } cases[] = {
        {NULL, 96, true}, {NULL, 5, true}, {"retrofit-olmo", 96, true}, {"ouro", 96, true}, {"llama", 96, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct test_model m;
        struct tally t;
        test_model_open(&m, &(struct random_shape){.n_embd = 48,
                                                   .n_heads = 4,
                                                   .intermediate_size = 64,
                                                   .vocab_size = 73,
                                                   .n_core = 2,
                                                   .block_size = cases[i].block_size,
                                                   .seed = 5 + i,
                                                   .family = cases[i].family});
        assert_int_equal(try(m.engine, &m.log, true, cases[i].drafts ? 4 : 0, &t), MN_OK);
        assert_holds(&t);
        assert_true(t.n[0] == 3 && t.n[1] > 0 && (t.n[2] > 0) == cases[i].drafts);
        test_model_close(&m);
    }
}

/* ---- a device that loses work ---- */

static PFN_vkQueueSubmit real_submit;
static uint32_t n_submits, drop_every;

static VkResult VKAPI_PTR lossy_submit(VkQueue queue, uint32_t n, const VkSubmitInfo *infos, VkFence fence)
{
    VkSubmitInfo none = infos[0];
    assert_int_equal(n, 1);
    if (++n_submits % drop_every)
        return real_submit(queue, n, infos, fence);
    none.commandBufferCount = 0;
    return real_submit(queue, 1, &none, fence);
}

static void test_lossy_device(void **state)
{
    (void)state;
    struct test_log log;
    struct tally t;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    struct vk *vk = engine->model->device->vk;
    real_submit = vk->QueueSubmit;
    vk->QueueSubmit = lossy_submit;
    drop_every = 7;
    assert_int_equal(try(engine, &log, true, 8, &t), MN_ERR_CHECK);
    print_message("one of 7 submits lost: %u of %u, %u of %u and %u of %u trials failed, the last: %s\n", t.n_failed[0],
                  t.n[0], t.n_failed[1], t.n[1], t.n_failed[2], t.n[2], t.detail);
    assert_true(t.n_failed[0] > 0 && t.n_failed[1] > 0 && t.n_failed[2] > 0);
    assert_true(t.n[0] == 3 && t.n[1] == 5 && t.n[2] == 6);
    drop_every = 1; /* all alike, and alike twice */
    assert_int_equal(try(engine, &log, true, 8, &t), MN_ERR_CHECK);
    assert_true(t.n_failed[0] == 1 && t.n[0] == 1 && t.n[1] == 0 && t.n[2] == 0);
    vk->QueueSubmit = real_submit;
    assert_int_equal(try(engine, &log, true, 8, &t), MN_OK);
    assert_holds(&t);
    test_engine_done(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shipped), cmocka_unit_test(test_families),
                                       cmocka_unit_test(test_lossy_device)};
    return RUN_ON_EVERY_DEVICE(tests, NULL, NULL);
}
