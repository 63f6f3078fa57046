/* Goal: what mn_memory_plan says is what a session takes, to the byte, for every family and every way to keep a cache,
 * whether weights are loaded or not; the largest context that it names fits and one position more does not.
 * Method: the golden checkpoints on every device found; the plan beside the arenas of a session that was made; limits
 * of a device set by hand. */
#include <string.h>

#include "tests/testing.h"

static const char *const folders[] = {VECTORS "square",         VECTORS "odd-bf16-sharded",
                                      VECTORS "retrofit-llama", VECTORS "retrofit-olmo",
                                      VECTORS "ouro",           VECTORS "llama-fixed-depth"};
enum { N_FOLDERS = sizeof folders / sizeof *folders };

static struct mn_memory_plan plan_of(struct mn_engine *engine, const struct mn_session_params *params,
                                     uint64_t available)
{
    struct mn_memory_plan plan;
    assert_int_equal(mn_memory_plan(&plan, engine, params, available), MN_OK);
    return plan;
}

static void check_session(struct mn_engine *engine, const struct mn_session_params *params, const char *folder)
{
    const struct mn_memory_plan plan = plan_of(engine, params, 0);
    struct mn_session *session;
    assert_int_equal(mn_session_create(&session, engine, params), MN_OK);
    const struct session *s = session->session;
    if (plan.cache_bytes != s->cache.arena.bytes || plan.scratch_bytes != s->scratch.bytes + s->shared.bytes ||
        plan.weight_bytes != engine->model->weights.arena.bytes)
        fail_msg("%s, %s, %s: planned %zu + %zu + %zu bytes, reserved %zu + %zu + %zu", folder,
                 params->kv_policy ? params->kv_policy : "full", params->kv_type ? params->kv_type : "f16",
                 (size_t)plan.weight_bytes, (size_t)plan.cache_bytes, (size_t)plan.scratch_bytes,
                 (size_t)engine->model->weights.arena.bytes, (size_t)s->cache.arena.bytes,
                 (size_t)(s->scratch.bytes + s->shared.bytes));
    assert_int_equal(plan.cache_bytes_per_token, s->info.kv_bytes_per_token);
    assert_int_equal(plan.n_ctx, s->info.n_ctx);
    assert_true(plan.fits);
    mn_session_destroy(session);
}

static void test_plan_is_what_is_reserved(void **state)
{
    (void)state;
    for (int i = 0; i < N_FOLDERS; i++) {
        struct test_log log;
        test_log_init(&log);
        struct mn_engine *engine = test_engine(&log, folders[i], NULL);
        const struct mn_session_params ways[] = {{.n_ctx = 0},
                                                 {.n_ctx = 33, .kv_type = "f32"},
                                                 {.n_ctx = 50, .kv_policy = "share:2", .n_sequences = 3},
                                                 {.n_ctx = 37, .kv_type = "q8", .n_sequences = 2}};
        for (size_t k = 0; k < sizeof ways / sizeof *ways; k++)
            check_session(engine, &ways[k], folders[i]);
        test_engine_done(engine);
    }
}

/* Without its weights an engine says what it says with them. */
static void test_plan_without_weights(void **state)
{
    (void)state;
    for (int i = 0; i < N_FOLDERS; i++) {
        struct test_log log;
        test_log_init(&log);
        struct mn_engine *engine = test_engine(&log, folders[i], "bf16"), *planner;
        assert_int_equal(mn_engine_create(&planner, &(struct mn_engine_params){.model_dir = folders[i],
                                                                               .device = test_device,
                                                                               .weight_type = "bf16",
                                                                               .plan_only = true,
                                                                               .log = &log.log}),
                         MN_OK);
        const struct mn_session_params params = {.n_ctx = 40};
        const struct mn_memory_plan with = plan_of(engine, &params, 1000000),
                                    without = plan_of(planner, &params, 1000000);
        assert_memory_equal(&with, &without, sizeof with);
        mn_engine_destroy(planner);
        test_engine_done(engine);
    }
}

static void test_largest_context(void **state)
{
    (void)state;
    for (int i = 0; i < N_FOLDERS; i++) {
        struct test_log log;
        test_log_init(&log);
        struct mn_engine *engine = test_engine(&log, folders[i], NULL);
        struct mn_session_params params = {.n_ctx = 2};
        const struct mn_memory_plan two = plan_of(engine, &params, 1);
        const uint64_t least = two.weight_bytes + two.cache_bytes + two.scratch_bytes, some = 3 * least;
        assert_false(two.fits);
        assert_int_equal(two.largest_n_ctx, 0);
        assert_true(plan_of(engine, &params, least).fits);
        assert_false(plan_of(engine, &params, least - 1).fits);
        params.n_ctx = plan_of(engine, &params, some).largest_n_ctx;
        assert_true(params.n_ctx > 2);
        assert_true(plan_of(engine, &params, some).fits);
        params.n_ctx++;
        assert_false(plan_of(engine, &params, some).fits);
        test_engine_done(engine);
    }
}

/* A piece that no dispatch could bind does not fit, whatever memory there is. */
static void test_binding(void **state)
{
    (void)state;
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, folders[0], NULL);
    struct mn_session_params params = {.n_ctx = 64};
    struct caps *caps = &engine->model->device->caps;
    const struct caps own = *caps;
    caps->max_storage_range = 100 * 1024;
    struct mn_memory_plan plan = plan_of(engine, &params, 0);
    assert_false(plan.fits);
    assert_true(plan.binding);
    *caps = own;
    plan = plan_of(engine, &params, 0);
    assert_true(plan.fits);
    assert_false(plan.binding);
    params.n_ctx = 1 << 20; /* 8 steps of 64 values, twice, in 4 bytes: 4 GiB */
    params.kv_type = "f32";
    plan = plan_of(engine, &params, UINT64_C(1) << 60);
    assert_true(plan.binding);
    assert_int_equal(plan.largest_n_ctx, (1 << 20) - 1);
    params.n_ctx--;
    plan = plan_of(engine, &params, UINT64_C(1) << 60);
    assert_true(plan.fits);
    assert_int_equal(plan.cache_bytes_per_token, (2 + 4 * 8 + 2) * 2 * 64 * 4);
    test_engine_done(engine);
}

static void test_refused_as_a_session(void **state)
{
    (void)state;
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, VECTORS "ouro", NULL);
    struct mn_memory_plan plan;
    struct mn_session_params params = {.num_steps = 5};
    test_refused(&log, mn_memory_plan(&plan, engine, &params, 0), "num_steps 5", "deeper than trained");
    params.beyond_trained_depth = true;
    assert_int_equal(mn_memory_plan(&plan, engine, &params, 0), MN_OK);
    params = (struct mn_session_params){.kv_policy = "share:0"};
    test_refused(&log, mn_memory_plan(&plan, engine, &params, 0), "share:0", "policy");
    test_engine_done(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_is_what_is_reserved), cmocka_unit_test(test_plan_without_weights),
        cmocka_unit_test(test_largest_context),          cmocka_unit_test(test_binding),
        cmocka_unit_test(test_refused_as_a_session),
    };
    return RUN_ON_EVERY_DEVICE(tests, NULL, NULL);
}
