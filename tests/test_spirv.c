/* Goal: what spirv.c reads from a shader is what the shader declares, what spirv_specialise.c makes of one is a valid
 * module of the same interface, and no module, however damaged, makes them read outside of it. Method: every version of
 * every kernel, against the C structs that feed it, against each other and, specialised with constants of all kinds,
 * through spirv-val; modules cut off after every word and with every word replaced; modules with one thing changed that
 * must be refused by name. That specialised modules compute the same, the tests of the kernels show. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/numbers.h"
#include "engine/vulkan/kernel.h"
#include "engine/vulkan/spirv_specialise.h"
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

/* ---- specialised ---- */

struct copy {
    uint32_t *words;
    size_t n;
};

static struct copy specialised(const struct kernel_code *code, const void *values, uint32_t n, const char *name)
{
    struct test_log log;
    struct copy out;
    const struct spirv_constants constants = {values, n};
    test_log_init(&log);
    if (spirv_specialise(&out.words, &out.n, code->words, code->bytes / 4, &constants, name, &log.log))
        fail_msg("%s", log.last);
    return out;
}

/* Sizes of arrays and workgroups: the other constants are switches and types. */
static bool is_size(enum kernel_id id, uint32_t constant)
{
    switch (id) {
    case KERNEL_QKV: return constant < 4 || constant == 8 || constant == 9 || constant == 11;
    case KERNEL_PROJ:
    case KERNEL_GATE:
    case KERNEL_HEAD: return constant < 4 || constant == 8 || constant == 9; /* 8 and 9: those of matrix units */
    case KERNEL_ATTENTION_TILE:
    case KERNEL_ATTENTION: return constant == 9 || constant < 2 || constant == 4 || constant == 5 || constant == 8;
    default: return constant == 0;
    }
}

/* Compilers of other people's drivers get these modules: the specification's own tool has to accept them. */
static void validate(const struct copy *module, const char *name)
{
    char path[] = "/tmp/muninn-spirv-XXXXXX", command[512];
    const int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, module->words, module->n * 4), (ssize_t)(module->n * 4));
    close(file);
    snprintf(command, sizeof command, "'%s' --target-env vulkan1.2 %s >&2", MN_SPIRV_VAL, path);
    if (system(command) != 0)
        fail_msg("%s: not valid; the module is %s", name, path);
    unlink(path);
}

static void test_specialised(void **state)
{
    (void)state;
    enum { ROUNDS = 8 };
    for (enum kernel_id id = 0; id < KERNEL_COUNT; id++)
        for (int variant = 0; variant < VARIANT_COUNT; variant++) {
            const struct kernel_info *info = kernel_info(id);
            const struct kernel_code *code = &info->code[variant];
            for (uint32_t round = 0; code->words && round < ROUNDS; round++) {
                uint32_t values[KERNEL_MAX_CONSTANTS];
                for (uint32_t i = 0; i < info->n_constants; i++)
                    values[i] = is_size(id, i) ? 8 : (uint32_t)(2.5f + 2.5f * test_noise(round * 64 + id, i));
                const struct copy module = specialised(code, values, info->n_constants, info->name);
                const struct kernel_code own = {module.words, module.n * 4};
                const struct spirv_interface before = reflect(code, info->name), after = reflect(&own, info->name);
                assert_true(module.n < code->bytes / 4);
                assert_int_equal(after.n_constants, 0);
                assert_int_equal(after.bindings, before.bindings);
                assert_int_equal(after.texel_bindings, before.texel_bindings);
                assert_int_equal(after.push_bytes, before.push_bytes);
                validate(&module, info->name);
                free(module.words);
            }
        }
}

/* The word `index` of the first instruction `op` whose word `key` is `value`. */
static uint32_t word_of(const struct copy *copy, uint32_t op, uint32_t key, uint32_t value, uint32_t index)
{
    for (size_t at = 5; at < copy->n; at += copy->words[at] >> 16)
        if ((copy->words[at] & 0xffff) == op && copy->words[at] >> 16 > max_u32(key, index) &&
            copy->words[at + key] == value)
            return copy->words[at + index];
    fail_msg("no instruction %u with word %u = %u", op, key, value);
    return 0;
}

/* The values that were given are in the module, and only what they leave. */
static void test_constants_decide(void **state)
{
    (void)state;
    struct gate_constants constants = {.matmul = {.threads = 24, .k_lanes = 1, .rows_per_lane = 4, .n_rows = 1}};
    const struct kernel_code *code = &kernel_info(KERNEL_GATE)->code[VARIANT_GPU];
    size_t n[2];
    for (int i = 0; i < 2; i++) {
        constants.matmul.weight_type = i ? WEIGHT_Q4_1 : WEIGHT_F32;
        const struct copy module = specialised(code, KERNEL_CONSTANTS(constants), "gate");
        const uint32_t size = word_of(&module, 71, 3, 25, 1);      /* OpDecorate BuiltIn WorkgroupSize */
        const uint32_t threads = word_of(&module, 44, 2, size, 3); /* OpConstantComposite */
        assert_int_equal(word_of(&module, 43, 2, threads, 3), 24); /* OpConstant */
        n[i] = module.n;
        free(module.words);
    }
    assert_true(n[0] < n[1] && n[1] < code->bytes / 4 * 2 / 3);
}

/* ---- damage ---- */

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

static void specialise_copy(const struct copy *copy, size_t n)
{
    static const uint32_t values[] = {8};
    struct test_log log;
    struct copy out;
    uint32_t *exact = malloc(n ? n * 4 : 1);
    assert_non_null(exact);
    memcpy(exact, copy->words, n * 4);
    test_log_init(&log);
    const enum mn_status status = spirv_specialise(&out.words, &out.n, exact, n, &(struct spirv_constants){values, 1},
                                                   "damaged", &log.log);
    assert_true(status == MN_OK ? out.n <= n : status == MN_ERR_FORMAT && !out.words);
    free(out.words);
    free(exact);
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

/* All of a module is read, and what is short is no shader any more, or one without its last function. */
static void test_damage_to_code(void **state)
{
    (void)state;
    static const uint32_t replacements[] = {0,
                                            1,
                                            43,
                                            0xffffffff,
                                            0x0002ffff,
                                            0x7fffffff,
                                            3u << 16 | 247,
                                            3u << 16 | 51,
                                            2u << 16 | 249,
                                            5u << 16 | 52,
                                            3u << 16 | 52,
                                            4u << 16 | 50,
                                            3u << 16 | 245};
    struct copy copy = copy_of(KERNEL_ARGMAX);
    for (size_t n = 0; n <= copy.n; n++)
        specialise_copy(&copy, n);
    for (size_t i = 0; i < copy.n; i++) {
        const uint32_t word = copy.words[i];
        for (size_t k = 0; k < sizeof replacements / sizeof *replacements; k++) {
            copy.words[i] = replacements[k];
            specialise_copy(&copy, copy.n);
        }
        copy.words[i] = word;
    }
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
        cmocka_unit_test(test_kernels_and_structs), cmocka_unit_test(test_texels),
        cmocka_unit_test(test_version_in_use),      cmocka_unit_test(test_specialised),
        cmocka_unit_test(test_constants_decide),    cmocka_unit_test(test_damage),
        cmocka_unit_test(test_damage_to_code),      cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
