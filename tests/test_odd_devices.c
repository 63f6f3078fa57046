/* Goal: what a device lacks gets a fallback with the same results, or a refusal that says why; nothing is asked of a
 * device that it does not offer. Method: tests/odd_device.h stands between the engine and the driver, says other
 * things of the device and counts what the engine does against them. On each such device that can run: golden logits
 * within the bound of test_golden.c, the tokens of the device as it is, by every lossless strategy, and the same bits
 * where the shaders are the same ones. Limits of gigabytes are met by shapes that are planned only. On every device
 * found; the Vulkan validation layer must stay silent.
 *
 * `test_odd_devices table` prints the cases as docs/portability.md has them (tests/test_tables.py). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/odd_device.h"
#include "tests/testing.h"

#define LOGIT_BOUND 2e-4
#define GIB (UINT64_C(1) << 30)
#define MIB (UINT64_C(1) << 20)

enum { STEPS = 8, N_NEW = 12 };

enum outcome { RUNS, RUNS_ALIKE, BUILDS, REFUSED, NO_MEMORY, LOST };

struct odd_case {
    const char *what, *becomes;
    struct odd_device device;
    enum outcome outcome; /* RUNS_ALIKE: with the bits of the device as it is */
    const char *says;     /* of a refusal */
};

#define DISCRETE .type = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU
#define INTEGRATED .type = VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU

static const struct odd_case cases[] = {
    {"2 GiB of memory, all of it in one allocation at most",
     "same bits; larger models lie in several allocations or are refused with their size",
     {.allocation_bytes = 2 * GIB, .heap_bytes = 2 * GIB},
     RUNS_ALIKE,
     NULL},
    {"bindings of 128 MiB, Vulkan's least",
     "same bits; larger matrices are bound in windows",
     {.storage_range = 128 * MIB},
     RUNS_ALIKE,
     NULL},
    {"no types of 8, 16 or 64 bits, in storage or in registers",
     "runs: shaders that have any, for CPU devices or for matrix units, are left out",
     {.plain_types = true},
     RUNS,
     NULL},
    {"subgroups of 4, in a size that may change and cannot be asked for",
     "runs: sums meet in shared memory",
     {DISCRETE, .subgroup_size = 4, .no_size_control = true},
     RUNS,
     NULL},
    {"subgroups of 64, likewise", "runs", {DISCRETE, .subgroup_size = 64, .no_size_control = true}, RUNS, NULL},
    {"subgroups of 128, likewise", "runs", {DISCRETE, .subgroup_size = 128, .no_size_control = true}, RUNS, NULL},
    {"subgroups of one size, which cannot be asked for, as those of Mesa's NVK",
     "same bits: nothing is asked for",
     {.one_size = true},
     RUNS_ALIKE,
     NULL},
    {"subgroups of 64 and 128 that can be asked for",
     "every pipeline is built within the device's limits; 4 and 8 run on SwiftShader and lavapipe",
     {DISCRETE, .subgroup_size = 64, .any_subgroup = true},
     BUILDS,
     NULL},
    {"subgroups of 1 or 2", "refused", {.subgroup_size = 2}, REFUSED, "power of two of at least 4"},
    {"device memory that the host does not see",
     "runs: through staging buffers",
     {DISCRETE, .hidden = true},
     RUNS,
     NULL},
    {"device memory that the host sees and that is not coherent",
     "runs: only coherent memory is mapped, nothing is ever flushed",
     {INTEGRATED, .not_coherent = true},
     RUNS,
     NULL},
    {"no coherent memory at all, which Vulkan forbids",
     "refused",
     {.never_coherent = true},
     NO_MEMORY,
     "no fitting memory type"},
    {"a queue without timestamps",
     "same bits; passes are measured, kernels are not, which is said",
     {.no_timestamps = true},
     RUNS_ALIKE,
     NULL},
    {"timestamps of 36 bits that begin anew in between",
     "same bits; times are right",
     {.timestamp_bits = 36},
     RUNS_ALIKE,
     NULL},
    {"the least of all: 128 threads, 16 KiB shared, 128 MiB a binding, no timestamps, types or memory as above",
     "runs",
     {DISCRETE, .workgroup_threads = 128, .shared_bytes = 16384, .storage_range = 128 * MIB, .subgroup_size = 4,
      .allocation_bytes = GIB, .no_timestamps = true, .no_size_control = true, .plain_types = true, .hidden = true},
     RUNS,
     NULL},
    {"a portable subset of Vulkan, as MoltenVK has, without control of subgroups",
     "runs: such devices are asked for, and so is the subset, of whose features none is needed",
     {INTEGRATED, .portable = true, .subgroup_size = 32, .no_size_control = true, .storage_buffers = 31},
     RUNS,
     NULL},
    {"fewer than 12 storage buffers a shader", "refused", {.storage_buffers = 8}, REFUSED, "12 storage buffers"},
    {"Vulkan 1.1", "refused", {.api_version = VK_API_VERSION_1_1}, REFUSED, "less than Vulkan 1.2"},
    {"no compute queue", "refused", {.no_compute = true}, REFUSED, "no compute queue"},
    {"lost in the middle of a generation",
     "exit code 5, one line, tokens so far stand; whatever is asked next says so too (test `faults`: every call)",
     {0},
     LOST,
     NULL},
};
enum { N_CASES = sizeof cases / sizeof *cases };

static int print_table(void)
{
    printf("| a device with | what becomes of it |\n|---|---|\n");
    for (int i = 0; i < N_CASES; i++)
        printf("| %s | %s |\n", cases[i].what, cases[i].becomes);
    return ferror(stdout) != 0;
}

/* ---- a run ---- */

struct result {
    float *logits; /* of the prompt's positions */
    uint64_t n_logits;
    double error; /* the largest, against the golden ones */
    struct token_list tokens;
};

struct golden {
    struct safetensors *file;
    float *logits;
    uint32_t *ids, n_ids;
    uint64_t n_logits;
};

static void golden_open(struct golden *g)
{
    assert_int_equal(safetensors_open_file(&g->file, VECTORS "square/golden.safetensors", NULL, NULL), MN_OK);
    g->ids = golden_ids(g->file, "ids", &g->n_ids);
    g->logits = golden_floats(g->file, "logits.r8", &g->n_logits);
    assert_true(g->ids && g->logits);
}

static void golden_close(struct golden *g)
{
    free(g->ids);
    free(g->logits);
    safetensors_close(g->file);
}

static enum mn_status keep_logits(void *user, uint32_t position, const float *logits, uint32_t n_vocab)
{
    memcpy(((struct result *)user)->logits + (size_t)position * n_vocab, logits, n_vocab * sizeof *logits);
    return MN_OK;
}

static enum mn_status run_strategy(struct session *session, const struct golden *g, const char *strategy,
                                   struct token_list *list)
{
    struct mn_stats stats;
    *list = (struct token_list){0};
    const struct mn_generate_params params = {.prompt = g->ids,
                                              .n_prompt = g->n_ids,
                                              .n_new = N_NEW,
                                              .strategy = strategy,
                                              .speculation = {.draft_steps = 3, .lookahead = 1},
                                              .ignore_eos = true,
                                              .on_token = token_list_add,
                                              .user = list};
    return generate(session, &params, &stats);
}

/* Few rows a pass: a software device builds pipelines for long. */
static struct session *open_session(struct mn_engine *engine)
{
    const struct session_params params = {.num_steps = STEPS, .max_rows = 2, .kv_type = KV_F32, .n_ctx = 64};
    struct session *session = test_session(engine, &params);
    session->stream.timeout_ns = UINT64_MAX; /* whatever it says, it may be a CPU */
    return session;
}

/* Everything that a session built is within what the device says of itself. */
static void check_pipelines(const struct model *model)
{
    const struct caps *caps = &model->device->caps;
    for (const struct pipeline *p = model->kernels.pipelines; p; p = p->next)
        if (p->constants[0] > caps->max_workgroup_threads || p->shared_bytes > caps->max_shared_bytes)
            fail_msg("%s: %u threads and %u bytes of shared memory", kernel_info(p->id)->name, p->constants[0],
                     p->shared_bytes);
}

static void take_result(struct mn_engine *engine, const struct golden *g, struct result *result)
{
    static const char *const others[] = {"draft-verify", "wavefront"};
    struct session *session = open_session(engine);
    struct golden_error c = {.golden = g->logits};
    *result = (struct result){.logits = calloc(g->n_logits, sizeof(float)), .n_logits = g->n_logits};
    assert_non_null(result->logits);
    const struct session_prefill_params prefill = {
        .ids = g->ids, .n = g->n_ids, .num_steps = STEPS, .each_logits = keep_logits, .user = result};
    assert_int_equal(session_prefill(session, &prefill, NULL), MN_OK);
    const uint32_t n_vocab = engine->model->config.vocab_size;
    for (uint32_t i = 0; i < g->n_ids; i++)
        golden_compare(&c, i, result->logits + (size_t)i * n_vocab, n_vocab);
    result->error = c.largest;
    assert_int_equal(run_strategy(session, g, "ar", &result->tokens), MN_OK);
    assert_int_equal(result->tokens.n, N_NEW);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct token_list tokens;
        assert_int_equal(run_strategy(session, g, others[i], &tokens), MN_OK);
        assert_int_equal(tokens.n, N_NEW);
        assert_memory_equal(tokens.ids, result->tokens.ids, N_NEW * sizeof *tokens.ids);
    }
    check_pipelines(engine->model);
    session_destroy(session);
}

static void assert_no_offence(const struct odd_case *c)
{
    const char *first;
    if (odd_device_n_offences(&first))
        fail_msg("%s: %u offences, the first: %s", c->what, odd_device_n_offences(&first), first);
}

/* Kernels can be timed where there are timestamps, and no time is out of reason. */
static void check_times(struct mn_engine *engine, const struct odd_case *c)
{
    const struct mn_operation *operations;
    struct mn_profile *profile;
    double us[STREAM_MAX_TIMERS];
    uint32_t n;
    const struct mn_profile_params params = {.position = 1, .max_rows = 1};
    assert_int_equal(mn_profile_create(&profile, engine, &params), MN_OK);
    assert_int_equal(mn_profile_has_timestamps(profile), !c->device.no_timestamps);
    assert_int_equal(mn_profile_pass(profile, MN_PASS_STEP, 1, &operations, &n), MN_OK);
    assert_true(n > 0 && n < STREAM_MAX_TIMERS);
    const enum mn_status status = mn_profile_time_operations(profile, us);
    assert_int_equal(status, c->device.no_timestamps ? MN_ERR_UNSUPPORTED : MN_OK);
    for (uint32_t i = 0; i < n && !status; i++)
        if (us[i] < 0.0 || us[i] > 60e6)
            fail_msg("%s: kernel %u took %g us", c->what, i, us[i]);
    mn_profile_destroy(profile);
}

static void check_runs(const struct odd_case *c, const struct golden *g, const struct result *expected)
{
    struct test_log log;
    struct result got;
    test_log_init(&log);
    odd_device_set(&c->device);
    struct mn_engine *engine = test_engine(&log, VECTORS "square", "f32");
    take_result(engine, g, &got);
    print_message("%s: largest error %.3g\n", c->what, got.error);
    assert_true(got.error <= LOGIT_BOUND && got.error > 0.0);
    assert_memory_equal(got.tokens.ids, expected->tokens.ids, N_NEW * sizeof *got.tokens.ids);
    if (c->outcome == RUNS_ALIKE && memcmp(got.logits, expected->logits, got.n_logits * sizeof *got.logits))
        fail_msg("%s: other bits than without", c->what);
    if (c->device.timestamp_bits || c->device.no_timestamps)
        check_times(engine, c);
    assert_no_offence(c);
    test_engine_done(engine);
    free(got.logits);
}

/* ---- no run ---- */

static enum mn_status within_limits(void *user, const struct mn_pipeline *p)
{
    uint32_t *n = user;
    ++*n;
    if (p->threads > p->max_threads || p->shared_bytes > p->max_shared_bytes)
        fail_msg("%s %s: %u threads, %u bytes of shared memory", p->kernel, p->what, p->threads, p->shared_bytes);
    return MN_OK;
}

static void check_builds(const struct odd_case *c)
{
    static const uint32_t sizes[] = {64, 128};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct odd_device device = c->device;
        struct test_log log;
        struct mn_engine *engine;
        uint32_t n = 0;
        device.subgroup_size = sizes[i];
        test_log_init(&log);
        odd_device_set(&device);
        const struct mn_engine_params params = {
            .model_dir = VECTORS "square", .device = test_device, .plan_only = true, .log = &log.log};
        assert_int_equal(mn_engine_create(&engine, &params), MN_OK);
        assert_int_equal(engine->model->device->caps.subgroup_size, sizes[i]);
        assert_true(engine->model->device->caps.subgroup_shuffle);
        assert_int_equal(mn_pipelines(engine, &(struct mn_session_params){.max_rows = 1}, NULL, within_limits, &n),
                         MN_OK);
        assert_true(n > 10);
        assert_int_equal(odd_device_n_submits(), 0);
        assert_no_offence(c);
        mn_engine_destroy(engine);
    }
}

static void check_refused(const struct odd_case *c)
{
    struct test_log log;
    struct mn_engine *engine;
    test_log_init(&log);
    odd_device_set(&c->device);
    const struct mn_engine_params params = {.model_dir = VECTORS "square", .device = test_device, .log = &log.log};
    const enum mn_status status = mn_engine_create(&engine, &params);
    if (status != (c->outcome == REFUSED ? MN_ERR_NO_DEVICE : MN_ERR_MEMORY) || log.n_errors != 1 ||
        !strstr(log.last, c->says))
        fail_msg("%s: %s, %u lines, the last: %.300s", c->what, mn_status_name(status), log.n_errors, log.last);
    assert_null(engine);
    assert_int_equal(odd_device_n_submits(), 0);
    assert_no_offence(c);
}

static void check_lost(const struct odd_case *c, const struct golden *g, const struct result *expected)
{
    uint32_t begun = 0, ended = 0;
    for (int lost = 0; lost < 2; lost++) {
        struct test_log log;
        struct token_list list;
        test_log_init(&log);
        odd_device_set(&(struct odd_device){.lost_at = lost ? begun + (ended - begun) / 2 : 0});
        struct mn_engine *engine = test_engine(&log, VECTORS "square", "f32");
        struct session *session = open_session(engine);
        session->submit_ns = 0.0; /* as if every pass took for ever: each in its own submit */
        begun = odd_device_n_submits();
        const enum mn_status status = run_strategy(session, g, "ar", &list);
        ended = lost ? ended : odd_device_n_submits();
        assert_int_equal(status, lost ? MN_ERR_DEVICE_LOST : MN_OK);
        assert_int_equal(log.n_errors, lost);
        assert_true(lost ? list.n > 0 && list.n < N_NEW : list.n == N_NEW);
        assert_memory_equal(list.ids, expected->tokens.ids, list.n * sizeof *list.ids);
        if (lost) {
            assert_int_equal(mn_status_exit_code(status), 5);
            assert_int_equal(run_strategy(session, g, "ar", &list), MN_ERR_DEVICE_LOST);
            assert_int_equal(list.n, 0);
            assert_int_equal(log.n_errors, 2);
        }
        assert_no_offence(c);
        session_destroy(session);
        test_engine_done(engine);
    }
}

static void test_matrix(void **state)
{
    (void)state;
    struct test_log log;
    struct golden g;
    struct result expected;
    golden_open(&g);
    test_log_init(&log);
    odd_device_set(&(struct odd_device){0});
    struct mn_engine *engine = test_engine(&log, VECTORS "square", "f32");
    take_result(engine, &g, &expected);
    test_engine_done(engine);
    for (int i = 0; i < N_CASES; i++)
        switch (cases[i].outcome) {
        case RUNS:
        case RUNS_ALIKE: check_runs(&cases[i], &g, &expected); break;
        case BUILDS: check_builds(&cases[i]); break;
        case REFUSED:
        case NO_MEMORY: check_refused(&cases[i]); break;
        case LOST: check_lost(&cases[i], &g, &expected); break;
        }
    odd_device_set(NULL);
    free(expected.logits);
    golden_close(&g);
}

/* ---- limits of gigabytes ---- */

static uint32_t check_windows(const struct matrix *matrix, uint64_t most)
{
    for (uint32_t i = 0; i < matrix->n_windows; i++)
        assert_true(matrix->windows[i].bytes <= most);
    return matrix->n_windows > 1;
}

/* How many matrices are cut. */
static uint32_t check_weights(const struct weights *weights, const struct odd_device *device)
{
    const uint64_t most = device->storage_range ? device->storage_range : device->allocation_bytes;
    uint32_t n = check_windows(&weights->embedding, most) + check_windows(&weights->head, most) +
                 check_windows(&weights->adapter_state, most) + check_windows(&weights->adapter_embed, most);
    for (uint32_t i = 0; i < weights->n_blocks; i++) {
        const struct block_weights *b = &weights->blocks[i];
        n += check_windows(&b->qkv, most) + check_windows(&b->proj, most) + check_windows(&b->gate, most) +
             check_windows(&b->down, most);
    }
    for (const struct arena_block *block = weights->arena.first; block && device->allocation_bytes; block = block->next)
        assert_true(block->bytes <= device->allocation_bytes);
    return n;
}

static void test_gigabytes(void **state)
{
    (void)state;
    static const struct odd_device devices[] = {{DISCRETE, .allocation_bytes = 2 * GIB, .heap_bytes = 2 * GIB},
                                                {DISCRETE, .storage_range = 128 * MIB}};
    for (int i = 0; i < 2; i++) {
        struct test_log log;
        struct mn_engine *engine;
        test_log_init(&log);
        odd_device_set(&devices[i]);
        struct mn_engine_params params = {.synthetic = "huginn-3.5b",
                                          .weight_type = "f32",
                                          .device = test_device,
                                          .plan_only = true,
                                          .log = &log.log};
        assert_int_equal(mn_engine_create(&engine, &params), MN_OK);
        const uint32_t n = check_weights(&engine->model->weights, &devices[i]);
        assert_true(i == 0 || n > 10);
        assert_true(engine->model->weights.arena.bytes > 13 * GIB);
        mn_engine_destroy(engine);
        if (devices[i].heap_bytes) {
            params.plan_only = false;
            assert_int_equal(mn_engine_create(&engine, &params), MN_ERR_MEMORY);
            assert_int_equal(log.n_errors, 1);
            /* What the staging buffers have taken is gone. */
            if (!strstr(log.last, "need 13599.3 MiB") || !strstr(log.last, "has 2040.0 MiB"))
                fail_msg("message without sizes: %.300s", log.last);
        }
    }
    odd_device_set(NULL);
}

/* ---- f16 taken apart by shaders ---- */

/* Logits of the prompt, malloc'ed. */
static float *take_logits(const char *weight_type, enum kv_type kv_type, bool own_halves, uint64_t *n)
{
    struct test_log log;
    struct golden g;
    struct result result = {0};
    golden_open(&g);
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, VECTORS "square", weight_type);
    engine->model->device->caps.own_halves = own_halves; /* before its pipelines are built */
    const struct session_params params = {.num_steps = STEPS, .max_rows = 1, .kv_type = kv_type, .n_ctx = 64};
    struct session *session = test_session(engine, &params);
    result.logits = calloc(g.n_logits, sizeof(float));
    const struct session_prefill_params prefill = {
        .ids = g.ids, .n = g.n_ids, .num_steps = STEPS, .each_logits = keep_logits, .user = &result};
    assert_int_equal(session_prefill(session, &prefill, NULL), MN_OK);
    *n = g.n_logits;
    session_destroy(session);
    test_engine_done(engine);
    golden_close(&g);
    return result.logits;
}

/* The same bits, whoever takes f16 apart. */
static void test_halves(void **state)
{
    (void)state;
    static const struct {
        const char *weight_type;
        enum kv_type kv_type;
    } types[] = {{"f16", KV_F16}, {"q8_0", KV_Q8}, {"q4_1", KV_Q8}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        uint64_t n, n_own;
        float *logits = take_logits(types[i].weight_type, types[i].kv_type, false, &n),
              *own = take_logits(types[i].weight_type, types[i].kv_type, true, &n_own);
        if (n != n_own || memcmp(logits, own, n * sizeof *own))
            fail_msg("%s: other bits", types[i].weight_type);
        free(logits);
        free(own);
    }
}

/* The driver above has teeth: what the engine does not do is noticed. */
static void test_offences(void **state)
{
    (void)state;
    struct test_log log;
    struct device *device;
    const char *first;
    void *at;
    test_log_init(&log);
    odd_device_set(&(struct odd_device){.not_coherent = true, .allocation_bytes = MIB, .no_timestamps = true});
    const struct device_params params = {.select = test_device};
    assert_int_equal(device_create(&device, &params, &log.log), MN_OK);
    const struct vk *vk = device->vk;
    const VkMemoryAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = 2 * MIB};
    VkDeviceMemory memory;
    assert_int_equal(odd_device_n_offences(&first), 0);
    assert_int_equal(vk->AllocateMemory(vk->handle, &allocate, NULL, &memory), VK_SUCCESS);
    assert_int_equal(odd_device_n_offences(&first), 1);
    assert_non_null(strstr(first, "2097152 bytes"));
    if (!(device->vk->memory.memoryTypes[0].propertyFlags & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT) &&
        vk->MapMemory(vk->handle, memory, 0, VK_WHOLE_SIZE, 0, &at) == VK_SUCCESS)
        assert_int_equal(odd_device_n_offences(&first), 2);
    vk->FreeMemory(vk->handle, memory, NULL);
    device_destroy(device);
    odd_device_set(NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_matrix), cmocka_unit_test(test_gigabytes),
                                       cmocka_unit_test(test_halves), cmocka_unit_test(test_offences)};
    if (argc == 2 && !strcmp(argv[1], "table"))
        return print_table();
    return RUN_ON_EVERY_DEVICE(tests, NULL, NULL);
}
