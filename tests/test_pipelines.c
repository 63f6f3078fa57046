/* Goal: mn_pipelines builds the pipelines of a session, no more and no fewer, without anything that a device which only
 * compiles lacks, and shows what a driver says of them under the right names. Method: shapes of every family with
 * caches and policies of all kinds, listed by an engine that is only planned, against those of a session of an engine
 * with weights, built with the same parameters; hooks that count every call; a driver that is made up, whose numbers
 * come back, and which fails; names of known drivers. What real compilers say is tests/test_compilers.py's. */
#include <string.h>

#include "engine/vulkan/statistics.h"
#include "tests/testing.h"
#include "tests/vk_hooks.h"

static const char *const shapes[] = {
    "d=32,heads=2,ff=64,vocab=96,layers=1-2-1,steps=4,ctx=300",
    "d=32,heads=4,kv=2,ff=64,vocab=98,layers=1-1-1,steps=4,ctx=64,family=retrofit-llama",
    "d=32,heads=2,ff=64,vocab=96,layers=1-1-1,steps=4,ctx=64,family=retrofit-olmo",
    "d=32,heads=2,ff=64,vocab=96,layers=2,steps=3,ctx=64,family=ouro",
    "d=32,heads=2,ff=64,vocab=96,layers=2,ctx=64,family=llama",
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static struct mn_engine *open_engine(struct test_log *log, const char *shape, const char *weight_type, bool plan_only)
{
    struct mn_engine *engine;
    test_log_init(log);
    const struct mn_engine_params params = {.synthetic = shape,
                                            .weight_type = weight_type,
                                            .device = test_device,
                                            .plan_only = plan_only,
                                            .log = &log->log};
    if (mn_engine_create(&engine, &params))
        fail_msg("%s: %s", shape, log->last);
    return engine;
}

/* ---- which ones ---- */

enum { LISTED_MAX = 256 };

struct listed {
    char name[64];
    uint32_t n_constants, constants[KERNEL_MAX_CONSTANTS];
};
struct list {
    struct listed items[LISTED_MAX];
    uint32_t n, stop_after; /* 0: never */
};

static void add_listed(struct list *list, const char *kernel, const uint32_t *constants, uint32_t n)
{
    struct listed *item = &list->items[list->n++];
    assert_true(list->n <= LISTED_MAX && n <= KERNEL_MAX_CONSTANTS);
    memset(item, 0, sizeof *item);
    snprintf(item->name, sizeof item->name, "%s", kernel);
    item->n_constants = n;
    memcpy(item->constants, constants, n * sizeof *constants);
}

static bool has(const struct list *list, const struct listed *item)
{
    for (uint32_t i = 0; i < list->n; i++)
        if (!memcmp(&list->items[i], item, sizeof *item))
            return true;
    return false;
}

static enum mn_status visit(void *user, const struct mn_pipeline *p)
{
    struct list *list = user;
    const bool of_weights = strchr("eqpgh", *p->kernel) && strcmp(p->kernel, "heads") != 0;
    assert_true(*p->what && *p->passes && *p->row_counts);
    assert_int_equal(p->constants[0], p->threads);
    assert_true(p->threads >= 1 && p->threads <= p->max_threads);
    assert_true(p->shared_bytes <= p->max_shared_bytes);
    assert_true(p->subgroup_size >= 4);
    assert_int_equal(p->weight_type != NULL, of_weights);
    assert_int_equal(p->n_rows != 0, of_weights);
    add_listed(list, p->kernel, p->constants, p->n_constants);
    return list->stop_after && list->n == list->stop_after ? MN_ERR_CHECK : MN_OK;
}

static void check_equal(const char *shape, const char *weight_type, const struct mn_session_params *params)
{
    struct test_log log, own_log;
    struct mn_engine *planned = open_engine(&log, shape, weight_type, true),
                     *engine = open_engine(&own_log, shape, weight_type, false);
    struct mn_session *session;
    static struct list listed, built;
    bool has_statistics;
    listed.n = built.n = listed.stop_after = 0;
    assert_int_equal(mn_pipelines(planned, params, &has_statistics, visit, &listed), MN_OK);
    assert_int_equal(has_statistics, planned->model->device->has_statistics);
    assert_int_equal(mn_session_create(&session, engine, params), MN_OK);
    for (const struct pipeline *p = engine->model->kernels.pipelines; p; p = p->next)
        if (p->id != KERNEL_FILL) /* made the weights */
            add_listed(&built, kernel_info(p->id)->name, p->constants, p->n_constants);
    for (uint32_t i = 0; i < built.n; i++)
        if (!has(&listed, &built.items[i]))
            fail_msg("%s: a session has a pipeline of %s that is not listed", shape, built.items[i].name);
    assert_int_equal(listed.n, built.n);
    assert_true(listed.n > 10);
    mn_session_destroy(session);
    mn_engine_destroy(engine);
    mn_engine_destroy(planned);
}

static void test_those_of_a_session(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++)
        check_equal(shapes[i], NULL, &(struct mn_session_params){.n_ctx = 64, .max_rows = 4});
    check_equal(shapes[0], "q8_0", &(struct mn_session_params){.n_ctx = 1200, .max_rows = 16});
    check_equal(shapes[0], "q4_1", &(struct mn_session_params){.kv_type = "q8", .kv_policy = "share:2", .max_rows = 2});
    check_equal(shapes[1], "f32", &(struct mn_session_params){.kv_type = "f32", .max_rows = 1});
    check_equal(shapes[3], "bf16+core.mlp=q8_0", &(struct mn_session_params){.kv_type = "q8", .max_rows = 3});
}

/* ---- with nothing but a compiler ---- */

static void test_needs_nothing(void **state)
{
    (void)state;
    static struct list listed;
    struct test_log log;
    struct mn_engine *engine = open_engine(&log, shapes[0], NULL, true);
    struct device *device = engine->model->device;
    assert_false(device->was_given_work);
    hooks_install(device);
    hooks_disarm();
    listed.n = listed.stop_after = 0;
    assert_int_equal(mn_pipelines(engine, &(struct mn_session_params){0}, NULL, visit, &listed), MN_OK);
    assert_int_equal(hooks.n[CALL_CreateComputePipelines], listed.n);
    assert_int_equal(hooks.n[CALL_CreateShaderModule], listed.n);
    assert_int_equal(hooks_n_calls(), 2 * listed.n);
    assert_int_equal(device->reserved_bytes, 0);
    assert_false(device->was_given_work);
    /* A second time they are there. */
    const uint32_t n = listed.n;
    listed.n = 0;
    assert_int_equal(mn_pipelines(engine, &(struct mn_session_params){0}, NULL, visit, &listed), MN_OK);
    assert_int_equal(listed.n, n);
    assert_int_equal(hooks_n_calls(), 2 * n);
    mn_engine_destroy(engine);
}

static void test_refusals(void **state)
{
    (void)state;
    static struct list listed;
    struct test_log log;
    struct mn_engine *engine = open_engine(&log, shapes[0], NULL, true);
    const struct mn_session_params good = {0};
    test_refused(&log, mn_pipelines(engine, NULL, NULL, visit, &listed), "params", "no parameters");
    test_refused(&log, mn_pipelines(engine, &good, NULL, NULL, &listed), "visit", "no visitor");
    test_refused(&log, mn_pipelines(engine, &(struct mn_session_params){.max_rows = 1000}, NULL, visit, &listed),
                 "rows", "too many rows");
    assert_int_equal(mn_pipelines(NULL, &good, NULL, visit, &listed), MN_ERR_USAGE);
    listed.n = 0;
    listed.stop_after = 3;
    assert_int_equal(mn_pipelines(engine, &good, NULL, visit, &listed), MN_ERR_CHECK);
    assert_int_equal(listed.n, 3);
    assert_int_equal(log.n_errors, 0);
    mn_engine_destroy(engine);
}

/* ---- what a driver says ---- */

static VkResult driver_result;
static uint32_t n_programs;

static VKAPI_ATTR VkResult VKAPI_CALL say_programs(VkDevice device, const VkPipelineInfoKHR *info, uint32_t *n,
                                                   VkPipelineExecutablePropertiesKHR *programs)
{
    (void)device;
    assert_non_null(info->pipeline);
    assert_true(*n >= n_programs);
    *n = n_programs;
    for (uint32_t i = 0; i < n_programs; i++) {
        assert_int_equal(programs[i].sType, VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR);
        programs[i].subgroupSize = 16u << i;
    }
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL say_numbers(VkDevice device, const VkPipelineExecutableInfoKHR *info, uint32_t *n,
                                                  VkPipelineExecutableStatisticKHR *numbers)
{
    static const struct {
        const char *name;
        VkPipelineExecutableStatisticFormatKHR format;
        VkPipelineExecutableStatisticValueKHR value;
    } said[] = {{"VGPRs", VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR, {.u64 = 96}},
                {"Spilled VGPRs", VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR, {.u64 = 3}},
                {"Spilled SGPRs", VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR, {.i64 = 4}},
                {"Something new", VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR, {.f64 = 0.5}},
                {"Is fast", VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR, {.b32 = VK_TRUE}}};
    (void)device;
    *n = sizeof said / sizeof *said;
    for (uint32_t i = 0; i < *n; i++) {
        assert_int_equal(numbers[i].sType, VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR);
        snprintf(numbers[i].name, sizeof numbers[i].name, "%s", said[i].name);
        numbers[i].format = said[i].format;
        numbers[i].value = said[i].value;
    }
    numbers[0].value.u64 += info->executableIndex * 8;
    return driver_result;
}

static enum mn_status look(void *user, const struct mn_pipeline *p)
{
    ++*(uint32_t *)user;
    assert_int_equal(p->subgroup_size, 16);
    assert_int_equal(p->n_statistics, 5 * n_programs);
    assert_string_equal(p->statistics[3].name, "Something new");
    assert_true(p->statistics[3].value == 0.5 && p->statistics[4].value == 1.0);
    assert_true(p->registers == 96.0 + 8.0 * (n_programs - 1) && p->spills == 7.0);
    assert_true(p->instructions == -1.0 && p->waves == -1.0 && p->scratch_bytes == -1.0 && p->code_bytes == -1.0);
    return MN_OK;
}

static void test_made_up_driver(void **state)
{
    (void)state;
    struct test_log log;
    struct mn_engine *engine = open_engine(&log, shapes[4], NULL, true);
    struct device *device = engine->model->device;
    const struct mn_session_params params = {.max_rows = 1};
    uint32_t n = 0;
    bool has_statistics = false;
    device->has_statistics = true;
    device->vk->GetPipelineExecutablePropertiesKHR = say_programs;
    device->vk->GetPipelineExecutableStatisticsKHR = say_numbers;
    for (n_programs = 1; n_programs <= 2; n_programs++)
        assert_int_equal(mn_pipelines(engine, &params, &has_statistics, look, &n), MN_OK);
    assert_true(has_statistics && n > 10);
    driver_result = VK_ERROR_OUT_OF_HOST_MEMORY;
    assert_int_equal(mn_pipelines(engine, &params, NULL, look, &n), MN_ERR_MEMORY);
    assert_non_null(strstr(log.last, "vkGetPipelineExecutableStatisticsKHR"));
    driver_result = VK_SUCCESS;
    mn_engine_destroy(engine);
}

static void test_known_names(void **state)
{
    (void)state;
    struct statistics_common c = {-1, -1, -1, -1, -1, -1, -1};
    statistics_place(&c, "Number of GPRs", 40); /* NVK */
    statistics_place(&c, "Max warps/SM", 48);
    statistics_place(&c, "Instruction count", 900);
    statistics_place(&c, "Latency", 1e9);
    assert_true(c.registers == 40 && c.waves == 48 && c.instructions == 900 && c.spills == -1 && c.code_bytes == -1);
    statistics_place(&c, "Registers used", 24); /* Turnip; the larger one stays */
    statistics_place(&c, "Max Waves Per Core", 64);
    assert_true(c.registers == 40 && c.waves == 64);
    statistics_place(&c, "Scratch size", 24576); /* RADV */
    statistics_place(&c, "SGPRs", 128);
    statistics_place(&c, "Code size", 5000);
    assert_true(c.scratch_bytes == 24576 && c.scalar_registers == 128 && c.code_bytes == 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_those_of_a_session), cmocka_unit_test(test_needs_nothing),
        cmocka_unit_test(test_refusals),           cmocka_unit_test(test_made_up_driver),
        cmocka_unit_test(test_known_names),
    };
    return RUN_ON_EVERY_DEVICE(tests, NULL, NULL);
}
