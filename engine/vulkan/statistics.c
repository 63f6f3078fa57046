#include "engine/vulkan/statistics.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "engine/vulkan/vk.h"

enum { PROGRAMS_MAX = 8, NUMBERS_MAX = 256 };

static const struct statistics_common nothing = {-1, -1, -1, -1, -1, -1, -1};

/* Names in Mesa 22 to 26 (RADV, NVK, Turnip, Honeykrisp, ANV), AMDVLK and NVIDIA's driver. */
static const struct known_name {
    const char *name;
    size_t at;
} known_names[] = {
#define NAME(text_, field_) \
    { \
        text_, offsetof(struct statistics_common, field_) \
    }
    NAME("VGPRs", registers),
    NAME("Number of GPRs", registers),
    NAME("Registers used", registers),
    NAME("GPRs", registers),
    NAME("Max live registers", registers),
    NAME("Register Count", registers),
    NAME("numUsedVgprs", registers),
    NAME("SGPRs", scalar_registers),
    NAME("numUsedSgprs", scalar_registers),
    NAME("Spilled VGPRs", spills),
    NAME("Spilled SGPRs", spills), /* into lanes of vector registers, or out with those */
    NAME("Spills to memory", spills),
    NAME("Spill Count", spills),
    NAME("Spills", spills),
    NAME("STP Count", spills),
    NAME("Scratch size", scratch_bytes),
    NAME("Scratch", scratch_bytes),
    NAME("Scratch Memory Size", scratch_bytes),
    NAME("SLM size", scratch_bytes),
    NAME("Local Memory Size", scratch_bytes),
    NAME("scratchMemUsageInBytes", scratch_bytes),
    NAME("Code size", code_bytes),
    NAME("Code Size", code_bytes),
    NAME("Binary Size", code_bytes),
    NAME("Instructions", instructions),
    NAME("Instruction count", instructions),
    NAME("Instruction Count", instructions),
    NAME("Subgroups per SIMD", waves),
    NAME("Max Waves Per Core", waves),
    NAME("Max warps/SM", waves),
#undef NAME
};

void statistics_place(struct statistics_common *common, const char *name, double value)
{
    for (size_t i = 0; i < sizeof known_names / sizeof *known_names; i++)
        if (!strcmp(known_names[i].name, name)) {
            double *place = (double *)(void *)((char *)common + known_names[i].at);
            if (known_names[i].at == offsetof(struct statistics_common, spills))
                *place = *place < 0.0 ? value : *place + value; /* of vectors and of scalars */
            else if (value > *place)
                *place = value;
        }
}

static double number_of(const VkPipelineExecutableStatisticKHR *s)
{
    switch (s->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR: return s->value.b32 ? 1.0 : 0.0;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR: return (double)s->value.i64;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR: return (double)s->value.u64;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR: return s->value.f64;
    default: return 0.0;
    }
}

static enum mn_status no_memory(const struct device *device)
{
    return log_fail(device->log, MN_ERR_MEMORY, "out of host memory for what the driver says of a pipeline");
}

static enum mn_status add(struct statistics *out, const struct device *device,
                          const VkPipelineExecutableStatisticKHR *numbers, uint32_t n)
{
    struct statistics_common common = nothing;
    struct statistic *items = realloc(out->items, (out->n + n + 1) * sizeof *items);
    if (!items)
        return no_memory(device);
    out->items = items;
    for (uint32_t i = 0; i < n; i++) {
        struct statistic *item = &out->items[out->n];
        *item = (struct statistic){.name = strdup(numbers[i].name), .value = number_of(&numbers[i])};
        if (!item->name)
            return no_memory(device);
        out->n++;
        statistics_place(&common, item->name, item->value);
    }
    for (size_t i = 0; i < sizeof common / sizeof(double); i++) {
        double *most = (double *)(void *)&out->common + i;
        const double here = ((const double *)(const void *)&common)[i];
        *most = here > *most ? here : *most;
    }
    return MN_OK;
}

static enum mn_status read_program(struct statistics *out, const struct kernels *kernels,
                                   const struct pipeline *pipeline, uint32_t index)
{
    struct device *device = kernels->device;
    const VkPipelineExecutableInfoKHR which = {.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR,
                                               .pipeline = pipeline->handle,
                                               .executableIndex = index};
    uint32_t n = NUMBERS_MAX;
    VkPipelineExecutableStatisticKHR *numbers = calloc(n, sizeof *numbers);
    if (!numbers)
        return no_memory(device);
    for (uint32_t i = 0; i < n; i++)
        numbers[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
    const VkResult result = device->vk->GetPipelineExecutableStatisticsKHR(device->vk->handle, &which, &n, numbers);
    enum mn_status status = result < 0 ? device_fail(device, result, "vkGetPipelineExecutableStatisticsKHR")
                                       : add(out, device, numbers, n);
    free(numbers);
    return status;
}

enum mn_status statistics_read(struct statistics *out, const struct kernels *kernels, const struct pipeline *pipeline)
{
    struct device *device = kernels->device;
    *out = (struct statistics){.common = nothing};
    if (!device->has_statistics)
        return MN_OK;
    const VkPipelineInfoKHR info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, .pipeline = pipeline->handle};
    VkPipelineExecutablePropertiesKHR programs[PROGRAMS_MAX];
    uint32_t n = PROGRAMS_MAX;
    memset(programs, 0, sizeof programs);
    for (uint32_t i = 0; i < n; i++)
        programs[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR;
    const VkResult result = device->vk->GetPipelineExecutablePropertiesKHR(device->vk->handle, &info, &n, programs);
    if (result < 0)
        return device_fail(device, result, "vkGetPipelineExecutablePropertiesKHR");
    out->subgroup_size = n ? programs[0].subgroupSize : 0;
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < n && !status; i++)
        status = read_program(out, kernels, pipeline, i);
    return status;
}

void statistics_finish(struct statistics *statistics)
{
    for (uint32_t i = 0; i < statistics->n; i++)
        free(statistics->items[i].name);
    free(statistics->items);
    *statistics = (struct statistics){0};
}
