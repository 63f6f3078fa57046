/* Goal: what spirv.c reads from a shader is what the shader declares, and no module, however damaged, makes it read
 * outside of it. Method: every version of every kernel, against the C structs that feed it and against each other;
 * modules cut off after every word and with every word replaced; modules with one thing changed that must be refused by
 * name. */
#include <stdlib.h>
#include <string.h>

#include "engine/vulkan/kernel.h"
#include "shaders/args.h"
#include "tests/testing.h"

static struct spirv_interface reflect(const struct kernel_code *code, const char *name)
{
    struct test_log log;
    struct spirv_interface out;
    test_log_init(&log);
    if (spirv_reflect(&out, code->words, code->bytes / 4, name, &log.log))
        fail_msg("%s", log.last);
    return out;
}

static void test_kernels_and_structs(void **state)
{
    (void)state;
    for (enum kernel_id id = 0; id < KERNEL_COUNT; id++) {
        const struct kernel_info *info = kernel_info(id);
        const struct spirv_interface gpu = reflect(&info->code[VARIANT_GPU], info->name);
        assert_int_equal(gpu.texel_bindings, 0);
        assert_int_equal(gpu.bindings, (1u << gpu.n_bindings) - 1);
        assert_true(gpu.n_bindings >= 1 && gpu.n_bindings <= KERNEL_MAX_BINDINGS);
        for (int variant = 0; variant < VARIANT_COUNT; variant++) {
            if (!info->code[variant].words)
                continue;
            const struct spirv_interface own = reflect(&info->code[variant], info->name);
            assert_int_equal(own.bindings, gpu.bindings);
            assert_int_equal(own.n_bindings, gpu.n_bindings);
            assert_int_equal(own.push_bytes, info->push_bytes);
            assert_int_equal(own.texel_bindings != 0, variant == VARIANT_CPU);
            /* What spirv-opt finds unused it drops. */
            assert_true(own.n_constants >= 1 && own.n_constants <= info->n_constants);
        }
    }
}

/* What is only read is a texel buffer on a CPU device: seven of QKV's ten, the query, the cache and the depths are
 * written. */
static void test_texels(void **state)
{
    (void)state;
    const struct kernel_info *info = kernel_info(KERNEL_QKV);
    const struct spirv_interface own = reflect(&info->code[VARIANT_CPU], info->name);
    assert_int_equal(own.n_bindings, 10);
    assert_int_equal(own.texel_bindings, 0xdf);
}

/* Which version a device runs: it is what costs are measured of, too. */
static void test_version_in_use(void **state)
{
    (void)state;
    struct test_log log;
    test_log_init(&log);
    struct device device = {.log = &log.log};
    struct kernels kernels = {.device = &device};
    const struct kernel_code *attention = kernel_info(KERNEL_ATTENTION)->code, *qkv = kernel_info(KERNEL_QKV)->code,
                             *norm = kernel_info(KERNEL_NORM)->code;
    device.caps = (struct caps){.subgroup_shuffle = true};
    assert_ptr_equal(kernels_code(&kernels, KERNEL_ATTENTION), &attention[VARIANT_GPU]);
    device.caps = (struct caps){.subgroup_shuffle = true, .texel_loads = true};
    assert_ptr_equal(kernels_code(&kernels, KERNEL_ATTENTION), &attention[VARIANT_CPU]);
    assert_ptr_equal(kernels_code(&kernels, KERNEL_QKV), &qkv[VARIANT_CPU]);
    assert_ptr_equal(kernels_code(&kernels, KERNEL_NORM), &norm[VARIANT_GPU]);
    device.caps = (struct caps){.texel_loads = true};
    assert_ptr_equal(kernels_code(&kernels, KERNEL_ATTENTION), &attention[VARIANT_PLAIN]);
    assert_ptr_equal(kernels_code(&kernels, KERNEL_QKV), &qkv[VARIANT_GPU]);
    /* A constant that nobody gave would be the shader's default, whatever that is. */
    const struct pipeline *pipeline;
    const struct row_constants constants = {.threads = 8};
    assert_int_equal(kernels_get(&kernels, KERNEL_EMBED, KERNEL_CONSTANTS(constants), &pipeline), MN_ERR_CHECK);
    assert_non_null(strstr(log.last, "embed"));
}

/* ---- damage ---- */

struct copy {
    uint32_t *words;
    size_t n;
};

static struct copy copy_of(enum kernel_id id)
{
    const struct kernel_code *code = &kernel_info(id)->code[VARIANT_GPU];
    struct copy copy = {malloc(code->bytes), code->bytes / 4};
    assert_non_null(copy.words);
    memcpy(copy.words, code->words, code->bytes);
    return copy;
}

static enum mn_status reflect_copy(const struct copy *copy, size_t n, struct test_log *log)
{
    /* On the heap to the word, so that a sanitizer sees a step too far. */
    uint32_t *exact = malloc(n ? n * 4 : 1);
    struct spirv_interface out;
    assert_non_null(exact);
    memcpy(exact, copy->words, n * 4);
    test_log_init(log);
    const enum mn_status status = spirv_reflect(&out, exact, n, "damaged", &log->log);
    free(exact);
    return status;
}

/* The first function's place: what lies behind it is not read. */
static size_t preamble(const struct copy *copy)
{
    size_t at = 5;
    while (at < copy->n && (copy->words[at] & 0xffff) != 54)
        at += copy->words[at] >> 16;
    assert_true(at < copy->n);
    return at;
}

static void test_damage(void **state)
{
    (void)state;
    static const uint32_t replacements[] = {0, 1, 0xffffffff, 0xffff0000, 0x0001ffff, 0x7fffffff};
    struct test_log log;
    struct copy copy = copy_of(KERNEL_ARGMAX);
    const size_t end = preamble(&copy);
    for (size_t n = 0; n <= end; n++)
        assert_int_equal(reflect_copy(&copy, n, &log), MN_ERR_FORMAT);
    for (size_t i = 0; i < end; i++) {
        const uint32_t word = copy.words[i];
        for (size_t k = 0; k < sizeof replacements / sizeof *replacements; k++) {
            copy.words[i] = replacements[k];
            const enum mn_status status = reflect_copy(&copy, end + 1, &log);
            assert_true(status == MN_OK || status == MN_ERR_FORMAT);
        }
        copy.words[i] = word;
    }
    assert_int_equal(reflect_copy(&copy, end + 1, &log), MN_OK);
    free(copy.words);
}

/* ---- refusals ---- */

/* The nth instruction `op` whose word `index` is `value`. */
static uint32_t *instruction(const struct copy *copy, uint32_t op, uint32_t index, uint32_t value)
{
    for (size_t at = 5; at < copy->n; at += copy->words[at] >> 16)
        if ((copy->words[at] & 0xffff) == op && copy->words[at] >> 16 > index && copy->words[at + index] == value)
            return copy->words + at;
    fail_msg("no instruction %u with word %u = %u", op, index, value);
    return NULL;
}

static void check_refused(uint32_t op, uint32_t index, uint32_t value, uint32_t word, uint32_t replacement,
                          const char *message)
{
    struct test_log log;
    struct copy copy = copy_of(KERNEL_ARGMAX);
    assert_int_equal(reflect_copy(&copy, copy.n, &log), MN_OK);
    instruction(&copy, op, index, value)[word] = replacement;
    assert_int_equal(reflect_copy(&copy, copy.n, &log), MN_ERR_FORMAT);
    assert_non_null(strstr(log.last, message));
    free(copy.words);
}

static void test_refusals(void **state)
{
    (void)state;
    check_refused(71, 2, 33, 3, SPIRV_MAX_BINDINGS, "too high");    /* OpDecorate Binding */
    check_refused(71, 2, 34, 3, 1, "another set");                  /* OpDecorate DescriptorSet */
    check_refused(59, 3, 12, 3, 2, "neither a storage buffer");     /* OpVariable StorageBuffer -> Uniform */
    check_refused(72, 4, 4, 4, 64, "not one word after the other"); /* OpMemberDecorate Offset 4 */
    check_refused(21, 2, 32, 2, 64, "not a 32-bit word");           /* OpTypeInt 32 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels_and_structs),
        cmocka_unit_test(test_texels),
        cmocka_unit_test(test_version_in_use),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
