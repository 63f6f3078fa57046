/* Goal: what is promised when the device fails. Memory that runs out, at any call: the right status, one error line
 * that says what failed, nothing leaked, and everything works again. A device that is lost or does not answer: sticky,
 * tokens committed before stay valid, later calls do not touch the device, everything can be destroyed.
 * Method: vk_hooks.h fails the n-th call of one kind, for every kind and n (of a long series the first, middle and
 * last). The validation layer below must stay silent. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/vulkan/vk.h"
#include "tests/testing.h"
#include "tests/vk_hooks.h"

/* What the error line of each call must contain. */
static const char *const mentions[N_CALLS] = {
#define X(name) "vkCreate" #name,
    HOOKS_OBJECTS(X)
#undef X
#define X(name, params, args) "vk" #name,
        HOOKS_PLAIN_CALLS(X)
#undef X
            " MiB",
    "device '", "vkEndCommandBuffer", "vkQueueSubmit"};

/* A pipeline is made by two calls: of its module, which does not outlive it, and of itself. */
static bool builds_pipeline(enum call call)
{
    return call == CALL_CreateShaderModule || call == CALL_CreateComputePipelines;
}

/* Steps through each index of a short series, and through the first, middle and last one of a long series - or of a
 * slow one: every pipeline that fails costs all pipelines before it. */
static uint32_t next_index(enum call call, uint32_t index, uint32_t n)
{
    const uint32_t most = builds_pipeline(call) ? 4 : 40;
    return n < most ? index + 1 : index < n / 2 ? n / 2 : index < n - 1 ? n - 1 : n;
}

static void assert_failed(struct test_log *log, enum mn_status got, enum mn_status expected, const char *mention)
{
    if (!hooks.fired || got != expected || log->n_errors != 1 || !strstr(log->last, mention))
        fail_msg("call %d number %u %s: %s instead of %s, %u error lines, the last: %.300s", (int)hooks.call,
                 hooks.index, hooks.fired ? "failed" : "was never made", mn_status_name(got), mn_status_name(expected),
                 log->n_errors, log->last);
    log->n_errors = 0;
}

static void assert_alive(const int *expected)
{
    for (int i = 0; i < N_OBJECTS; i++)
        if (hooks.alive[i] != expected[i])
            fail_msg("after call %d number %u: %d objects of kind %d are alive instead of %d", (int)hooks.call,
                     hooks.index, hooks.alive[i], i, expected[i]);
}

/* ---- a tiny model ---- */

static const struct random_shape tiny = {.n_embd = 16,
                                         .n_heads = 2,
                                         .intermediate_size = 24,
                                         .vocab_size = 32,
                                         .n_prelude = 1,
                                         .n_core = 1,
                                         .n_coda = 1,
                                         .block_size = 32,
                                         .tied = true,
                                         .qk_bias = true,
                                         .seed = 3};
static const struct session_params tiny_session = {
    .num_steps = 2, .max_rows = 2, .kv_type = KV_F16, .sampler = {.top_p = 1.0f}};
static const uint32_t prompt[] = {0, 7, 19, 4, 30, 11};
enum { N_PROMPT = sizeof prompt / sizeof *prompt, N_NEW = 6 };

struct rig {
    struct test_log log;
    char *dir;
    struct mn_engine *engine;
    struct token_list expected; /* of a run without faults */
};

static enum mn_status run_tokens(struct session *session, const char *strategy, struct token_list *list)
{
    struct mn_stats stats;
    struct mn_generate_params params = {.prompt = prompt,
                                        .n_prompt = N_PROMPT,
                                        .n_new = N_NEW,
                                        .strategy = strategy,
                                        .speculation = {.draft_steps = 1, .lookahead = 1},
                                        .ignore_eos = true,
                                        .on_token = token_list_add,
                                        .user = list};
    *list = (struct token_list){0};
    session->submit_ns = 0.0; /* as if every pass took for ever: each in its own submit, five for a token */
    enum mn_status status = generate(session, &params, &stats);
    assert_int_equal(stats.n_new, list->n);
    return status;
}

static void assert_prefix(const struct token_list *list, const struct token_list *expected)
{
    assert_true(list->n <= expected->n);
    assert_memory_equal(list->ids, expected->ids, list->n * sizeof *list->ids);
}

/* A new session gives the right tokens, and no object more than `alive` stays behind. */
static void assert_works(struct rig *rig, const int *alive)
{
    struct session *session;
    struct token_list list;
    assert_int_equal(session_create(&session, rig->engine->model, &tiny_session), MN_OK);
    assert_int_equal(run_tokens(session, "ar", &list), MN_OK);
    assert_int_equal(list.n, N_NEW);
    assert_prefix(&list, &rig->expected);
    session_destroy(session);
    if (alive)
        assert_alive(alive);
    assert_int_equal(rig->log.n_errors, 0);
}

static void rig_open(struct rig *rig)
{
    memset(rig, 0, sizeof *rig);
    test_log_init(&rig->log);
    random_model_write(&tiny, &rig->dir);
    rig->engine = test_engine(&rig->log, rig->dir, NULL);
    struct session *session = test_session(rig->engine, &tiny_session);
    assert_int_equal(run_tokens(session, "ar", &rig->expected), MN_OK);
    session_destroy(session);
    hooks_install(rig->engine->model->device);
}

static void rig_close(struct rig *rig)
{
    *rig->engine->model->device->vk = hooks.real;
    test_engine_done(rig->engine);
    random_model_remove(rig->dir);
}

/* ---- memory runs out ---- */

/* What model_load does once there is a device, and its end. */
static enum mn_status load_and_free(struct device *device, const char *dir)
{
    const struct weight_scheme scheme = weight_scheme_as_stored();
    struct model model = {.device = device};
    struct stream stream = {0};
    enum mn_status status = config_load(&model.config, dir, device->log);
    if (!status)
        status = kernels_init(&model.kernels, device);
    if (!status)
        status = stream_init(&stream, device, &model.kernels);
    if (!status)
        status = weights_load(&model.weights, dir, &model.config, &scheme, device, &stream);
    if (stream.device)
        stream_finish(&stream);
    weights_finish(&model.weights);
    kernels_finish(&model.kernels);
    return status;
}

static void check_memory_model(const char *dir)
{
    struct test_log log;
    struct device *device;
    test_log_init(&log);
    enum mn_status status = device_create(&device, &(struct device_params){.validate = MN_TEST_VALIDATE}, &log.log);
    assert_int_equal(status, MN_OK);
    hooks_install(device);
    const int none[N_OBJECTS] = {0};
    uint32_t counts[N_CALLS], n_faults = 0;
    assert_int_equal(load_and_free(device, dir), MN_OK);
    assert_alive(none);
    memcpy(counts, hooks.n, sizeof counts);
    for (int call = 0; call < N_CALLS; call++)
        for (uint32_t i = 0; i < counts[call]; i = next_index((enum call)call, i, counts[call]), n_faults++) {
            hooks_arm((enum call)call, i, n_faults % 2 ? VK_ERROR_OUT_OF_HOST_MEMORY : VK_ERROR_OUT_OF_DEVICE_MEMORY);
            assert_failed(&log, load_and_free(device, dir), MN_ERR_MEMORY, mentions[call]);
            assert_alive(none);
        }
    hooks_disarm();
    assert_int_equal(load_and_free(device, dir), MN_OK);
    assert_alive(none);
    print_message("%u faults\n", n_faults);
    assert_true(n_faults > 40);
    if (device->n_messages)
        fail_msg("validation: %.300s", device->first_message);
    device_destroy(device);
}

static void test_memory_model(void **state)
{
    (void)state;
    char *dir;
    random_model_write(&tiny, &dir);
    check_memory_model(dir);
    random_model_remove(dir);
    check_memory_model(VECTORS "retrofit-olmo");
    check_memory_model(VECTORS "ouro");
}

static uint32_t count_pipelines(const struct kernels *kernels)
{
    uint32_t n = 0;
    for (const struct pipeline *p = kernels->pipelines; p; p = p->next)
        n++;
    return n;
}

/* Pipelines are built once for an engine: to see them fail, it forgets them. */
static void renew_kernels(struct model *model)
{
    kernels_finish(&model->kernels);
    assert_int_equal(kernels_init(&model->kernels, model->device), MN_OK);
}

static void test_memory_session(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct model *model = rig.engine->model;
    struct session *session;
    int alive[N_OBJECTS];
    uint32_t counts[N_CALLS], n_faults = 0;
    renew_kernels(model);
    hooks_disarm();
    assert_int_equal(session_create(&session, model, &tiny_session), MN_OK);
    memcpy(counts, hooks.n, sizeof counts);
    session_destroy(session);
    const int before = hooks.alive[OBJECT_Pipeline] - (int)count_pipelines(&model->kernels);
    for (int call = 0; call < N_CALLS; call++)
        for (uint32_t i = 0; i < counts[call]; i = next_index((enum call)call, i, counts[call]), n_faults++) {
            if (builds_pipeline((enum call)call))
                renew_kernels(model);
            memcpy(alive, hooks.alive, sizeof alive);
            hooks_arm((enum call)call, i, n_faults % 2 ? VK_ERROR_OUT_OF_HOST_MEMORY : VK_ERROR_OUT_OF_DEVICE_MEMORY);
            assert_failed(&rig.log, session_create(&session, model, &tiny_session), MN_ERR_MEMORY, mentions[call]);
            assert_null(session);
            alive[OBJECT_Pipeline] = before + (int)count_pipelines(&model->kernels);
            assert_alive(alive);
            hooks_disarm();
            assert_works(&rig, builds_pipeline((enum call)call) ? NULL : alive);
        }
    print_message("%u faults\n", n_faults);
    assert_true(counts[CALL_CreateComputePipelines] > 10 && n_faults > 80);
    assert_int_equal(counts[CALL_CreateShaderModule], counts[CALL_CreateComputePipelines]);
    rig_close(&rig);
}

/* The session that met the fault goes on as if nothing had happened. */
static void test_memory_generate(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct session *session = test_session(rig.engine, &tiny_session);
    struct token_list list;
    uint32_t counts[N_CALLS], n_faults = 0;
    static const char *const strategies[] = {"ar", "draft-verify"};
    for (int s = 0; s < 2; s++) {
        hooks_disarm();
        assert_int_equal(run_tokens(session, strategies[s], &list), MN_OK);
        assert_prefix(&list, &rig.expected);
        memcpy(counts, hooks.n, sizeof counts);
        /* The token path allocates, maps, records and compiles nothing. */
        assert_int_equal(hooks_n_calls(),
                         counts[CALL_QueueSubmit] + counts[CALL_WaitForFences] + counts[CALL_ResetFences]);
        for (int call = 0; call < N_CALLS; call++)
            for (uint32_t i = 0; i < counts[call]; i = next_index((enum call)call, i, counts[call]), n_faults++) {
                hooks_arm((enum call)call, i, VK_ERROR_OUT_OF_HOST_MEMORY);
                assert_failed(&rig.log, run_tokens(session, strategies[s], &list), MN_ERR_MEMORY, mentions[call]);
                assert_true(list.n < N_NEW);
                assert_prefix(&list, &rig.expected);
                hooks_disarm();
                assert_int_equal(run_tokens(session, strategies[s], &list), MN_OK);
                assert_int_equal(list.n, N_NEW);
                assert_prefix(&list, &rig.expected);
            }
    }
    print_message("%u faults\n", n_faults);
    assert_true(n_faults > 60);
    session_destroy(session);
    rig_close(&rig);
}

/* Copies through the staging buffer, as on a device whose memory the host does not see. */
static void test_memory_transfer(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct session *session = test_session(rig.engine, &tiny_session);
    struct token_list list;
    float logits[32], again[32];
    assert_int_equal(run_tokens(session, "ar", &list), MN_OK);
    rig.engine->model->device->caps.uma = false;
    hooks_disarm();
    assert_int_equal(session_read_logits(session, 0, logits), MN_OK);
    static const enum call calls[] = {CALL_BeginCommandBuffer, CALL_EndCommandBuffer, CALL_QueueSubmit,
                                      CALL_WaitForFences, CALL_ResetFences};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        assert_int_equal(hooks.n[calls[i]], 1);
        hooks_arm(calls[i], 0, VK_ERROR_OUT_OF_DEVICE_MEMORY);
        assert_failed(&rig.log, session_read_logits(session, 0, again), MN_ERR_MEMORY, mentions[calls[i]]);
        hooks_disarm();
        assert_int_equal(session_read_logits(session, 0, again), MN_OK);
        assert_memory_equal(again, logits, sizeof logits);
    }
    session_destroy(session);
    rig_close(&rig);
}

/* ---- the device is lost ---- */

static void assert_lost(struct rig *rig, struct session *session)
{
    struct model *model = rig->engine->model;
    struct session *other;
    struct token_list list;
    float logits[32];
    uint32_t token;
    assert_true(model->device->lost);
    hooks_disarm();
    assert_int_equal(run_tokens(session, "ar", &list), MN_ERR_DEVICE_LOST);
    assert_int_equal(list.n, 0);
    assert_int_equal(run_tokens(session, "draft-verify", &list), MN_ERR_DEVICE_LOST);
    assert_int_equal(
        session_prefill(session, &(struct session_prefill_params){.ids = prompt, .n = 2, .num_steps = 1}, &token),
        MN_ERR_DEVICE_LOST);
    assert_int_equal(session_read_logits(session, 0, logits), MN_ERR_DEVICE_LOST);
    assert_int_equal(session_create(&other, model, &tiny_session), MN_ERR_DEVICE_LOST);
    assert_null(other);
    assert_int_equal(rig->log.n_errors, 5); /* one each */
    assert_non_null(strstr(rig->log.last, "lost"));
    assert_int_equal(hooks_n_calls(), 0);
    assert_int_equal(mn_status_exit_code(MN_ERR_DEVICE_LOST), 5);
    rig->log.n_errors = 0;
}

/* Fails call number `index`; the last session, and then the engine, are destroyed while the device is lost. */
static void check_lost(enum call call, uint32_t index, VkResult result)
{
    struct rig rig;
    struct token_list list;
    rig_open(&rig);
    int alive[N_OBJECTS];
    memcpy(alive, hooks.alive, sizeof alive);
    struct session *session = test_session(rig.engine, &tiny_session);
    hooks_arm(call, index, result);
    assert_failed(&rig.log, run_tokens(session, "ar", &list), MN_ERR_DEVICE_LOST, mentions[call]);
    assert_true(list.n < N_NEW && (index < 5 || list.n > 0));
    assert_prefix(&list, &rig.expected);
    assert_lost(&rig, session);
    session_destroy(session);
    assert_alive(alive);
    rig_close(&rig);
}

static void test_lost(void **state)
{
    (void)state;
    check_lost(CALL_QueueSubmit, 0, VK_ERROR_DEVICE_LOST);
    check_lost(CALL_QueueSubmit, 5 * N_NEW - 2, VK_ERROR_DEVICE_LOST);
    check_lost(CALL_WaitForFences, 0, VK_ERROR_DEVICE_LOST);
    check_lost(CALL_WaitForFences, 5 * N_NEW - 1, VK_ERROR_DEVICE_LOST);
    check_lost(CALL_WaitForFences, 1, VK_TIMEOUT);
    check_lost(CALL_WaitForFences, N_NEW, VK_TIMEOUT);
}

/* A wait that is really too short: the work is still running when everything is destroyed. */
static void test_timeout(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct session_params params = tiny_session;
    params.num_steps = 150;
    struct session *session = test_session(rig.engine, &params);
    struct session_prefill_params prefill = {.ids = prompt, .n = N_PROMPT, .num_steps = params.num_steps};
    uint32_t token;
    session->submit_ns = INFINITY; /* as if core passes took no time: all of them in one submit */
    session->stream.timeout_ns = 0;
    assert_int_equal(session_prefill(session, &prefill, &token), MN_ERR_DEVICE_LOST);
    assert_int_equal(rig.log.n_errors, 1);
    assert_non_null(strstr(rig.log.last, "vkWaitForFences"));
    rig.log.n_errors = 0;
    assert_lost(&rig, session);
    session_destroy(session);
    rig_close(&rig);
}

static VKAPI_ATTR VkResult VKAPI_CALL never_ready(VkDevice device, uint32_t n, const VkFence *fences, VkBool32 all,
                                                  uint64_t ns)
{
    (void)device, (void)n, (void)fences, (void)all, (void)ns;
    return VK_TIMEOUT;
}

/* Work that never ends may still use everything: nothing of the device is destroyed, neither with the session nor with
 * the model. */
static void test_hang(void **state)
{
    (void)state;
    if (!MN_TEST_VALIDATE) /* what is left behind on purpose is a leak to the leak checker */
        skip();
    struct rig rig;
    rig_open(&rig);
    struct device *device = rig.engine->model->device;
    struct session *session = test_session(rig.engine, &tiny_session);
    struct token_list list;
    int alive[N_OBJECTS];
    memcpy(alive, hooks.alive, sizeof alive);
    device->vk->WaitForFences = never_ready;
    assert_int_equal(run_tokens(session, "ar", &list), MN_ERR_DEVICE_LOST);
    session_destroy(session);
    assert_true(device->abandoned);
    kernels_finish(&rig.engine->model->kernels);
    weights_finish(&rig.engine->model->weights);
    assert_memory_equal(hooks.alive, alive, sizeof alive);
    /* In truth it does end; then the test may go on. */
    assert_int_equal(hooks.real.DeviceWaitIdle(device->vk->handle), VK_SUCCESS);
    rig.log.n_errors = 0;
    mn_engine_destroy(rig.engine);
    random_model_remove(rig.dir);
}

static void test_lost_while_creating(void **state)
{
    (void)state;
    static const enum call calls[] = {CALL_QueueSubmit, CALL_WaitForFences, CALL_AllocateMemory,
                                      CALL_CreateComputePipelines};
    struct rig rig;
    rig_open(&rig);
    struct model *model = rig.engine->model;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        struct session *session, *good;
        int alive[N_OBJECTS];
        if (calls[i] == CALL_CreateComputePipelines)
            renew_kernels(model);
        else
            assert_int_equal(session_create(&good, model, &tiny_session), MN_OK);
        memcpy(alive, hooks.alive, sizeof alive);
        hooks_arm(calls[i], 1, VK_ERROR_DEVICE_LOST);
        enum mn_status status = session_create(&session, model, &tiny_session);
        alive[OBJECT_Pipeline] += calls[i] == CALL_CreateComputePipelines;
        assert_failed(&rig.log, status, MN_ERR_DEVICE_LOST, "device '");
        assert_null(session);
        assert_alive(alive);
        assert_true(model->device->lost);
        if (calls[i] != CALL_CreateComputePipelines) {
            assert_lost(&rig, good);
            session_destroy(good);
        }
        model->device->lost = false; /* sticky for users; the next case begins anew */
        hooks_disarm();
    }
    assert_works(&rig, NULL);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory_session),
                                       cmocka_unit_test(test_memory_model),
                                       cmocka_unit_test(test_memory_generate),
                                       cmocka_unit_test(test_memory_transfer),
                                       cmocka_unit_test(test_lost),
                                       cmocka_unit_test(test_timeout),
                                       cmocka_unit_test(test_hang),
                                       cmocka_unit_test(test_lost_while_creating)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
