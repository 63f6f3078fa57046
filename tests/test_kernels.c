/* Goal: every kernel computes its formula, writes what it should and nothing else, and computes a row the same whether
 * it runs alone or with others: on every Vulkan device found, with subgroup operations and without
 * (shaders/plain), with a CPU device's texel buffers (shaders/cpu) and without.
 * Method: kernel_cases.h runs each kernel on random inputs against plain loops in double (ref.c) with guard words
 * around and inside all outputs, and compares passes of 1 to 16 rows bit for bit with 1-row passes, for each way of
 * tiling. The loops themselves are held against the golden logits of the published code, with golden tokens for the
 * cache policies. The validation layer, with synchronization validation, must stay silent. MUNINN_TEST_VERBOSE prints
 * every case. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/vulkan/vk.h"
#include "reference/kernel_cases.h"
#include "reference/kernel_rig.h"
#include "reference/ref.h"
#include "tests/testing.h"

struct tally {
    uint32_t n_failed;
    bool verbose;
    double worst[KERNEL_COUNT];
};

static void report(void *user, const struct kernel_case_result *result)
{
    struct tally *tally = user;
    if (!result->ok)
        tally->n_failed++;
    for (int id = 0; id < KERNEL_COUNT; id++)
        if (!strcmp(kernel_info((enum kernel_id)id)->name, result->kernel))
            tally->worst[id] = fmax(tally->worst[id], result->nmse);
    if (!result->ok || tally->verbose)
        print_message("%s %s: %s: NMSE %.3g (limit %.3g) %s\n", result->ok ? "ok    " : "FAILED", result->kernel,
                      result->name, result->nmse, result->limit, result->detail);
}

enum twin { TWIN_OWN, TWIN_STORAGE, TWIN_PLAIN };

static void check_device(const char *select, enum twin twin)
{
    static const char *const names[] = {"", ", without texel buffers", ", plain twins"};
    struct test_log log;
    struct device *device = NULL;
    struct kernels kernels;
    struct stream stream;
    struct tally tally = {.verbose = getenv("MUNINN_TEST_VERBOSE") != NULL};
    test_log_init(&log);
    if (device_create(&device, &(struct device_params){.select = select, .validate = true}, &log.log))
        fail_msg("device %s: %s", select, log.last);
    /* kernel.c then takes the twins. */
    if (twin == TWIN_PLAIN)
        device->caps.subgroup_shuffle = false;
    if (twin == TWIN_STORAGE)
        device->caps.texel_loads = false;
    assert_int_equal(kernels_init(&kernels, device), MN_OK);
    assert_int_equal(stream_init(&stream, device, &kernels), MN_OK);
    const struct kernel_cases_params params = {.device = device,
                                               .kernels = &kernels,
                                               .stream = &stream,
                                               .report = report,
                                               .user = &tally,
                                               .quick = twin == TWIN_STORAGE};
    uint32_t n_cases = 0, n_independence = 0;
    enum mn_status status = kernel_cases_run(&params, &n_cases);
    enum mn_status independence = kernel_cases_row_independence(&params, &n_independence);
    print_message("%s%s: %u cases, %u row-independence checks, %u failed; largest NMSE", device->caps.name, names[twin],
                  n_cases, n_independence, tally.n_failed);
    for (int id = 0; id < KERNEL_COUNT; id++)
        print_message(" %s %.2g", kernel_info((enum kernel_id)id)->name, tally.worst[id]);
    print_message("\n");
    stream_finish(&stream);
    kernels_finish(&kernels);
    const uint32_t n_messages = device->n_messages;
    char first_message[sizeof device->first_message];
    memcpy(first_message, device->first_message, sizeof first_message);
    device_destroy(device);
    if (status || independence)
        fail_msg("%s", log.last);
    assert_true(n_cases > 0 && n_independence > 0);
    assert_int_equal(tally.n_failed, 0);
    if (n_messages)
        fail_msg("%u validation messages, the first: %.300s", n_messages, first_message);
}

static void test_all_devices(void **state)
{
    const struct test_devices *found = *state;
    for (uint32_t i = 0; i < found->n; i++)
        check_device(found->select[i], TWIN_OWN);
}

static void test_all_devices_storage(void **state)
{
    const struct test_devices *found = *state;
    for (uint32_t i = 0; i < found->n; i++)
        check_device(found->select[i], TWIN_STORAGE);
}

static void test_all_devices_plain(void **state)
{
    const struct test_devices *found = *state;
    for (uint32_t i = 0; i < found->n; i++)
        check_device(found->select[i], TWIN_PLAIN);
}

/* One case without a kernel: what is uploaded plays the part of its output. `stray` writes one word behind the
 * buffer. */
static bool accepts(const struct kernel_cases_params *params, enum element element, uint32_t n, const double *written,
                    const double *expected, bool stray)
{
    struct rig rig;
    assert_int_equal(rig_init(&rig, params), MN_OK);
    rig_begin(&rig, "rig", "self-check", 1);
    const struct guarded *buffer = rig_buffer(&rig, "output", element, n, written, expected,
                                              element == ELEMENT_U32 ? LIMIT_EXACT : LIMIT_MATMUL);
    rig_commit(&rig);
    if (stray)
        rig_write(&rig, buffer, n, (const uint32_t[]){0}, 1);
    rig_end(&rig);
    assert_int_equal(rig.status, MN_OK);
    const bool ok = rig.n_failed == 0;
    rig_finish(&rig);
    return ok;
}

/* The checks must be able to fail: wrong values, stray writes, missing writes and values that are not finite are
 * noticed. */
static void test_cases_notice(void **state)
{
    const struct test_devices *found = *state;
    struct test_log log;
    struct device *device;
    struct kernels kernels;
    struct stream stream;
    test_log_init(&log);
    assert_true(found->n > 0);
    assert_int_equal(
        device_create(&device, &(struct device_params){.select = found->select[0], .validate = true}, &log.log), MN_OK);
    assert_int_equal(kernels_init(&kernels, device), MN_OK);
    assert_int_equal(stream_init(&stream, device, &kernels), MN_OK);
    const struct kernel_cases_params p = {.device = device, .kernels = &kernels, .stream = &stream};
    static const double y[3] = {1.0, -2.0, 3.0};
    assert_true(accepts(&p, ELEMENT_F32, 3, y, y, false));
    assert_true(accepts(&p, ELEMENT_F16, 3, y, y, false));
    assert_true(accepts(&p, ELEMENT_U32, 2, (const double[]){1.0, 4e9}, (const double[]){1.0, 4e9}, false));
    assert_true(accepts(&p, ELEMENT_F32, 3, NULL, (const double[]){UNTOUCHED, UNTOUCHED, UNTOUCHED}, false));
    assert_true(accepts(&p, ELEMENT_F32, 3, y, (const double[]){1.0, ANYTHING, 3.0}, false));
    assert_false(accepts(&p, ELEMENT_F32, 3, y, (const double[]){1.0, -2.0, 3.0001}, false));
    assert_false(accepts(&p, ELEMENT_F16, 3, y, (const double[]){1.0, -2.0, 3.0001}, false));
    assert_false(accepts(&p, ELEMENT_U32, 2, (const double[]){1.0, 4e9}, (const double[]){1.0, 4e9 + 1.0}, false));
    assert_false(accepts(&p, ELEMENT_F32, 3, y, (const double[]){1.0, UNTOUCHED, 3.0}, false));
    assert_false(accepts(&p, ELEMENT_F16, 3, y, (const double[]){1.0, -2.0, UNTOUCHED}, false));
    assert_false(accepts(&p, ELEMENT_F32, 3, NULL, y, false));
    assert_false(accepts(&p, ELEMENT_F32, 3, (const double[]){1.0, (double)NAN, 3.0}, y, false));
    assert_false(accepts(&p, ELEMENT_F32, 3, y, y, true));
    stream_finish(&stream);
    kernels_finish(&kernels);
    assert_int_equal(device->n_messages, 0);
    device_destroy(device);
}

static VKAPI_ATTR void VKAPI_CALL no_barrier(VkCommandBuffer commands, VkPipelineStageFlags from,
                                             VkPipelineStageFlags to, VkDependencyFlags flags, uint32_t n_memory,
                                             const VkMemoryBarrier *memory, uint32_t n_buffers,
                                             const VkBufferMemoryBarrier *buffers, uint32_t n_images,
                                             const VkImageMemoryBarrier *images)
{
    (void)commands, (void)from, (void)to, (void)flags, (void)n_memory, (void)memory, (void)n_buffers, (void)buffers,
        (void)n_images, (void)images;
}

/* So must the validation layer: a copy that reads what another wrote, with the barrier between them taken away. */
static void test_validation_notices(void **state)
{
    const struct test_devices *found = *state;
    for (int with_barrier = 1; with_barrier >= 0; with_barrier--) {
        struct test_log log;
        struct device *device;
        struct kernels kernels;
        struct stream stream;
        struct arena arena;
        struct span spans[3];
        struct recording recording;
        test_log_init(&log);
        assert_int_equal(
            device_create(&device, &(struct device_params){.select = found->select[0], .validate = true}, &log.log),
            MN_OK);
        assert_int_equal(kernels_init(&kernels, device), MN_OK);
        assert_int_equal(stream_init(&stream, device, &kernels), MN_OK);
        arena_init(&arena, device, "test", ARENA_DEVICE);
        for (int i = 0; i < 3; i++)
            assert_int_equal(arena_reserve(&arena, ARENA_ALIGN, &spans[i]), MN_OK);
        assert_int_equal(arena_commit(&arena), MN_OK);
        if (!with_barrier)
            device->vk->CmdPipelineBarrier = no_barrier;
        assert_int_equal(stream_record(&stream, &recording), MN_OK);
        stream_copy(&stream, &recording, spans[0], spans[1], ARENA_ALIGN);
        stream_copy(&stream, &recording, spans[1], spans[2], ARENA_ALIGN);
        assert_int_equal(stream_end(&stream, &recording), MN_OK);
        assert_true(with_barrier ? device->n_messages == 0 : device->n_messages > 0);
        assert_true(with_barrier || strstr(device->first_message, "READ_AFTER_WRITE"));
        stream_finish(&stream);
        arena_finish(&arena);
        kernels_finish(&kernels);
        device_destroy(device);
    }
}

/* ---- the reference against the published code ---- */

struct golden {
    struct test_log log;
    struct ref_model *model;
    struct safetensors *file;
    uint32_t *ids, n, n_vocab;
};

static void compare_golden(struct golden *g, const char *name, const double *logits)
{
    uint64_t n;
    float *golden = golden_floats(g->file, name, &n);
    assert_non_null(golden);
    assert_int_equal(n, (uint64_t)g->n * g->n_vocab);
    double nmse = ref_nmse(golden, logits, n);
    free(golden);
    /* The golden values are float32 after up to 16 steps through a random core. */
    if (!(nmse < 1e-9))
        fail_msg("%s: NMSE %g", name, nmse);
}

static void check_steps(struct golden *g, uint32_t num_steps, const char *name, const float *state0)
{
    struct ref_session *session;
    const size_t n_states = (size_t)g->n * ref_model_config(g->model)->n_embd;
    double *logits = malloc((size_t)g->n * g->n_vocab * sizeof *logits), *states = malloc(n_states * sizeof *states);
    assert_non_null(logits);
    assert_non_null(states);
    for (size_t i = 0; i < n_states; i++)
        states[i] = state0 ? (double)state0[i] : 0.0;
    const struct ref_session_params params = {.n_ctx = g->n, .num_steps = num_steps};
    assert_int_equal(ref_session_create(&session, g->model, &params, &g->log.log), MN_OK);
    assert_int_equal(ref_forward(session, g->ids, g->n, 0, num_steps, state0 ? states : NULL, logits, &g->log.log),
                     MN_OK);
    compare_golden(g, name, logits);
    ref_session_destroy(session);
    free(states);
    free(logits);
}

/* Prefill, then one golden token at a time; the argmax after each must be the next golden token. */
static void check_decode(struct golden *g, uint32_t num_steps, uint32_t share, const char *name)
{
    struct ref_session *session;
    uint32_t n_tokens;
    uint32_t *tokens = golden_ids(g->file, name, &n_tokens);
    double *logits = malloc((size_t)g->n * g->n_vocab * sizeof *logits);
    float *row = malloc(g->n_vocab * sizeof *row);
    assert_non_null(tokens);
    assert_non_null(logits);
    assert_non_null(row);
    const struct ref_session_params params = {.n_ctx = g->n + n_tokens, .num_steps = num_steps, .policy = {share}};
    assert_int_equal(ref_session_create(&session, g->model, &params, &g->log.log), MN_OK);
    for (uint32_t i = 0; i < n_tokens; i++) {
        const uint32_t *ids = i ? &tokens[i - 1] : g->ids, n = i ? 1 : g->n, first = i ? g->n + i - 1 : 0;
        assert_int_equal(ref_forward(session, ids, n, first, num_steps, NULL, logits, &g->log.log), MN_OK);
        for (uint32_t k = 0; k < g->n_vocab; k++)
            row[k] = (float)logits[(size_t)(n - 1) * g->n_vocab + k];
        if (ref_argmax(row, g->n_vocab) != tokens[i])
            fail_msg("%s: token %u is %u, golden %u", name, i, ref_argmax(row, g->n_vocab), tokens[i]);
    }
    ref_session_destroy(session);
    free(row);
    free(logits);
    free(tokens);
}

/* Everything of the folder: `n_expected` tensors of logits, and the tokens of each policy that it has. */
static void check_reference(const char *folder, uint32_t num_steps, uint32_t n_expected)
{
    static const struct {
        uint32_t share;
        const char *name;
    } policies[] = {{0, "decode.full.tokens"}, {1, "decode.share1.tokens"}, {4, "decode.share4.tokens"}};
    struct golden g;
    char path[512];
    uint64_t n;
    uint32_t n_checked = 0;
    test_log_init(&g.log);
    snprintf(path, sizeof path, VECTORS "%s", folder);
    if (ref_model_load(&g.model, path, NULL, &g.log.log))
        fail_msg("%s: %s", folder, g.log.last);
    g.n_vocab = ref_model_config(g.model)->vocab_size;
    snprintf(path, sizeof path, VECTORS "%s/golden.safetensors", folder);
    assert_int_equal(safetensors_open_file(&g.file, path, NULL, &g.log.log), MN_OK);
    g.ids = golden_ids(g.file, "ids", &g.n);
    assert_non_null(g.ids);
    float *state0 = golden_floats(g.file, "state0", &n);
    for (uint32_t i = 0; i < safetensors_n_tensors(g.file); i++) {
        const char *name = safetensors_tensor(g.file, i)->name;
        uint32_t steps;
        const bool from_zero = sscanf(name, "logits.r%u", &steps) == 1;
        if (!from_zero && sscanf(name, "logits.state0.r%u", &steps) != 1)
            continue;
        check_steps(&g, steps, name, from_zero ? NULL : state0);
        n_checked++;
    }
    assert_int_equal(n_checked, n_expected);
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++)
        if (safetensors_find(g.file, policies[i].name))
            check_decode(&g, num_steps, policies[i].share, policies[i].name);
    free(state0);
    free(g.ids);
    safetensors_close(g.file);
    ref_model_free(g.model);
}

static void test_reference(void **state)
{
    (void)state;
    check_reference("square", 8, 5);
    check_reference("converging", 16, 4);
    check_reference("odd-bf16-sharded", 6, 4);
    check_reference("retrofit-llama", 8, 4);
    check_reference("retrofit-tinyllama-bf16-sharded", 6, 3);
    check_reference("retrofit-olmo", 8, 4);
    check_reference("ouro", 4, 4);
    check_reference("llama-fixed-depth", 1, 1);
}

int main(void)
{
    struct test_devices found;
    test_devices_find(&found);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),
        cmocka_unit_test_prestate(test_cases_notice, &found),
        cmocka_unit_test_prestate(test_validation_notices, &found),
        cmocka_unit_test_prestate(test_all_devices, &found),
        cmocka_unit_test_prestate(test_all_devices_storage, &found),
        cmocka_unit_test_prestate(test_all_devices_plain, &found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
