/* Goal: a device is chosen by number or by part of its name, and a number that is no device's is tried as a part of a
 * name; what is meant by none or by several is refused with the list. Method: machines made up of names, types and
 * refusals. */
#include <stdio.h>
#include <string.h>

#include "engine/vulkan/device_select.h"
#include "engine/vulkan/subgroups.h"
#include "tests/testing.h"

struct machine {
    const char *name;
    enum device_type type;
    const char *refusal;
};

static enum mn_status choose(const struct machine *machine, uint32_t n, const char *select, uint32_t *chosen,
                             struct test_log *log)
{
    static struct device_candidate candidates[MAX_DEVICES];
    memset(candidates, 0, sizeof candidates);
    for (uint32_t i = 0; i < n; i++) {
        snprintf(candidates[i].caps.name, sizeof candidates[i].caps.name, "%s", machine[i].name);
        candidates[i].caps.type = machine[i].type;
        candidates[i].refusal = machine[i].refusal;
    }
    test_log_init(log);
    return device_choose(chosen, candidates, n, select, &log->log);
}

static const struct machine mixed[] = {{"llvmpipe (LLVM 15.0.6, 256 bits)", DEVICE_CPU, NULL},
                                       {"NVIDIA GeForce RTX 4090", DEVICE_DISCRETE, NULL},
                                       {"NVIDIA GeForce RTX 4090 D", DEVICE_DISCRETE, NULL},
                                       {"Intel(R) UHD Graphics 770", DEVICE_INTEGRATED, NULL},
                                       {"Old Card 15", DEVICE_DISCRETE, "it offers less than Vulkan 1.2"}};
enum { N_MIXED = sizeof mixed / sizeof *mixed };

static void what_is_chosen(void **state)
{
    static const struct {
        const char *select;
        uint32_t device;
    } cases[] = {{NULL, 1},       {"0", 0},
                 {"3", 3},        {"003", 3},
                 {"256", 0},      {"770", 3},
                 {"15", 0}, /* the other one of that name cannot be used */
                 {"llvmpipe", 0}, {"INTEL(r)", 3},
                 {"4090 d", 2},   {"nvidia geforce rtx 4090", 1}}; /* the whole name, which is part of another */
    struct test_log log;
    uint32_t chosen;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(choose(mixed, N_MIXED, cases[i].select, &chosen, &log), MN_OK);
        assert_int_equal(chosen, cases[i].device);
    }
}

static void what_is_refused(void **state)
{
    static const struct {
        const char *select, *says;
        enum mn_status status;
    } cases[] = {
        {"4090", "1 NVIDIA GeForce RTX 4090, 2 NVIDIA GeForce RTX 4090 D; give a number", MN_ERR_USAGE},
        {"", "several", MN_ERR_USAGE},
        {"8", "there are: 0 llvmpipe", MN_ERR_USAGE},
        {"99999999999999999999999", "3 Intel(R) UHD Graphics 770", MN_ERR_USAGE},
        {"-1", "neither", MN_ERR_USAGE},
        {"radeon", "4 Old Card 15", MN_ERR_USAGE},
        {"4", "less than Vulkan 1.2", MN_ERR_NO_DEVICE},
        {"old", "less than Vulkan 1.2", MN_ERR_NO_DEVICE},
    };
    struct test_log log;
    uint32_t chosen;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(choose(mixed, N_MIXED, cases[i].select, &chosen, &log), cases[i].status);
        assert_int_equal(log.n_errors, 1);
        if (!strstr(log.last, cases[i].says))
            fail_msg("device '%s': %s", cases[i].select, log.last);
    }
}

/* Two cards of one name have but their numbers, and many long names end between names. */
static void twins(void **state)
{
    struct machine many[MAX_DEVICES];
    struct test_log log;
    uint32_t chosen;
    (void)state;
    for (int i = 0; i < MAX_DEVICES; i++)
        many[i] = (struct machine){
            "A card with a very long name, as the makers of cards like them, and then some words more, and more",
            DEVICE_DISCRETE, NULL};
    assert_int_equal(choose(many, MAX_DEVICES, NULL, &chosen, &log), MN_OK);
    assert_int_equal(chosen, 0);
    assert_int_equal(choose(many, MAX_DEVICES, "15", &chosen, &log), MN_OK);
    assert_int_equal(chosen, 15);
    assert_int_equal(choose(many, MAX_DEVICES, many[0].name, &chosen, &log), MN_ERR_USAGE);
    assert_non_null(strstr(log.last, "0 A card"));
    assert_int_equal(choose(many, 1, "", &chosen, &log), MN_OK);
}

/* Values go round in a subgroup only where its size is certain: asked for, or the only one. */
static void subgroups(void **state)
{
    enum { COMPUTE = VK_SHADER_STAGE_COMPUTE_BIT, SHUFFLES = VK_SUBGROUP_FEATURE_SHUFFLE_BIT };
    const struct {
        bool control, full;
        uint32_t size, min, max, stages, operations;
        bool shuffles, required;
    } cases[] = {
        {true, true, 64, 32, 64, COMPUTE, SHUFFLES, true, true},   /* RADV */
        {true, true, 32, 32, 32, 0, SHUFFLES, true, false},        /* NVK */
        {true, true, 32, 8, 32, 0, SHUFFLES, false, false},        /* any of three sizes */
        {true, true, 32, 8, 16, COMPUTE, SHUFFLES, false, false},  /* a size that cannot be asked for */
        {true, false, 32, 32, 32, COMPUTE, SHUFFLES, false, true}, /* subgroups may have holes */
        {false, false, 32, 32, 32, COMPUTE, SHUFFLES, false, false} /* nothing is known of sizes */,
        {true, true, 32, 32, 32, COMPUTE, 0, false, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct caps caps = {0};
        const VkPhysicalDeviceSubgroupProperties subgroup = {.subgroupSize = cases[i].size,
                                                             .supportedStages = COMPUTE,
                                                             .supportedOperations = VK_SUBGROUP_FEATURE_BALLOT_BIT |
                                                                                    cases[i].operations};
        const VkPhysicalDeviceSubgroupSizeControlProperties control = {.minSubgroupSize = cases[i].min,
                                                                       .maxSubgroupSize = cases[i].max,
                                                                       .requiredSubgroupSizeStages = cases[i].stages};
        const VkPhysicalDeviceSubgroupSizeControlFeatures features = {.subgroupSizeControl = cases[i].control,
                                                                      .computeFullSubgroups = cases[i].full};
        subgroups_read(&caps, &subgroup, cases[i].control ? &control : NULL, &features);
        if (caps.subgroup_shuffle != cases[i].shuffles || caps.subgroup_size_required != cases[i].required)
            fail_msg("case %zu: shuffles %d, size required %d", i, caps.subgroup_shuffle, caps.subgroup_size_required);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_chosen), cmocka_unit_test(what_is_refused),
                                       cmocka_unit_test(twins), cmocka_unit_test(subgroups)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
