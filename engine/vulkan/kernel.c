#include "engine/vulkan/kernel.h"

#include <stdlib.h>
#include <string.h>

#include "engine/vulkan/spirv_specialise.h"
#include "engine/vulkan/vk.h"
#include "kernels_spirv.h" /* CODE_embed ..: made by CMake of what lies in shaders/ */
#include "shaders/args.h"

static const struct kernel_info table[KERNEL_COUNT] = {
#define KERNEL(id_, file_, args_, constants_) \
    [KERNEL_##id_] = {.name = #file_, \
                      .code = {CODE_##file_}, \
                      .push_bytes = sizeof(struct args_), \
                      .n_constants = sizeof(struct constants_) / sizeof(uint32_t)},
#include "engine/vulkan/kernels.def"
#undef KERNEL
};

#define KERNEL(id_, file_, args_, constants_) \
    _Static_assert(sizeof(struct args_) <= KERNEL_MAX_PUSH_BYTES, #args_); \
    _Static_assert(sizeof(struct constants_) <= KERNEL_MAX_CONSTANTS * sizeof(uint32_t), #constants_);
#include "engine/vulkan/kernels.def"
#undef KERNEL

_Static_assert(CONSTANT_OWN_HALVES == SPIRV_DEVICE_CONSTANT, "one constant is the device's");
_Static_assert((int)KERNEL_MAX_CONSTANTS <= (int)SPIRV_DEVICE_CONSTANT, "and no kernel's");

const struct kernel_info *kernel_info(enum kernel_id id)
{
    return &table[id];
}

const struct kernel_code *kernels_code(const struct kernels *kernels, enum kernel_id id)
{
    const struct caps *caps = &kernels->device->caps;
    const enum kernel_variant variant = !caps->subgroup_shuffle ? VARIANT_PLAIN
                                        : caps->texel_loads     ? VARIANT_CPU
                                                                : VARIANT_GPU;
    const struct kernel_code *code = table[id].code;
    return code[variant].words ? &code[variant] : &code[VARIANT_GPU];
}

/* Matmuls begin their constants alike. */
static const struct kernel_code *pipeline_code(const struct kernels *kernels, const struct pipeline *pipeline)
{
    const struct kernel_code *matrix = &table[pipeline->id].code[VARIANT_MATRIX];
    const struct matmul_constants *constants = (const struct matmul_constants *)pipeline->constants;
    return matrix->words && constants->path == PATH_MATRIX ? matrix : kernels_code(kernels, pipeline->id);
}

const struct spirv_interface *kernels_interface(const struct kernels *kernels, enum kernel_id id)
{
    return &kernels->vk->interfaces[id];
}

VkDescriptorType kernels_descriptor(const struct kernels *kernels, enum kernel_id id, uint32_t binding)
{
    return kernels->vk->interfaces[id].texel_bindings >> binding & 1 ? VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER
                                                                     : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
}

/* A shader and the C struct that feeds it may only part ways where this is noticed. */
static enum mn_status check_interface(const struct device *device, const struct kernel_info *info,
                                      const struct spirv_interface *interface)
{
    if (interface->push_bytes != info->push_bytes || interface->n_constants > info->n_constants ||
        interface->n_bindings > KERNEL_MAX_BINDINGS)
        return log_fail(device->log, MN_ERR_CHECK,
                        "kernel %s: its shader has %u bytes of push constants, %u constants and %u bindings; the table "
                        "says %u, %u and at most %u",
                        info->name, interface->push_bytes, interface->n_constants, interface->n_bindings,
                        info->push_bytes, info->n_constants, KERNEL_MAX_BINDINGS);
    return MN_OK;
}

/* Matmuls on matrix units have the layout of the others. */
static enum mn_status check_matrix(const struct device *device, const struct kernel_info *info,
                                   const struct spirv_interface *interface)
{
    const struct kernel_code *code = &info->code[VARIANT_MATRIX];
    struct spirv_interface own;
    const enum mn_status status = spirv_reflect(&own, code->words, code->bytes / sizeof(uint32_t), info->name,
                                                device->log);
    if (status)
        return status;
    if (own.push_bytes != interface->push_bytes || own.bindings != interface->bindings ||
        (own.texel_bindings != interface->texel_bindings && !device->caps.texel_loads))
        return log_fail(device->log, MN_ERR_CHECK, "kernel %s: its shader for matrix units binds other buffers",
                        info->name);
    return MN_OK;
}

static enum mn_status init_one(struct kernels *kernels, enum kernel_id id)
{
    struct device *device = kernels->device;
    const struct kernel_info *info = &table[id];
    const struct kernel_code *code = kernels_code(kernels, id);
    struct spirv_interface *interface = &kernels->vk->interfaces[id];
    enum mn_status status = spirv_reflect(interface, code->words, code->bytes / sizeof(uint32_t), info->name,
                                          device->log);
    if (!status)
        status = check_interface(device, info, interface);
    if (!status && device->caps.matrix_side && info->code[VARIANT_MATRIX].words)
        status = check_matrix(device, info, interface);
    if (status)
        return status;
    VkDescriptorSetLayoutBinding bindings[KERNEL_MAX_BINDINGS];
    for (uint32_t i = 0; i < interface->n_bindings; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){.binding = i,
                                                     .descriptorType = kernels_descriptor(kernels, id, i),
                                                     .descriptorCount = 1,
                                                     .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    VkDescriptorSetLayoutCreateInfo set = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                           .bindingCount = interface->n_bindings,
                                           .pBindings = bindings};
    VkResult result = device->vk->CreateDescriptorSetLayout(device->vk->handle, &set, NULL,
                                                            &kernels->vk->set_layouts[id]);
    if (result != VK_SUCCESS) {
        kernels->vk->set_layouts[id] = VK_NULL_HANDLE;
        return device_fail(device, result, "vkCreateDescriptorSetLayout");
    }
    VkPushConstantRange push = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = info->push_bytes};
    VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                         .setLayoutCount = 1,
                                         .pSetLayouts = &kernels->vk->set_layouts[id],
                                         .pushConstantRangeCount = 1,
                                         .pPushConstantRanges = &push};
    result = device->vk->CreatePipelineLayout(device->vk->handle, &layout, NULL, &kernels->vk->layouts[id]);
    if (result != VK_SUCCESS) {
        kernels->vk->layouts[id] = VK_NULL_HANDLE;
        return device_fail(device, result, "vkCreatePipelineLayout");
    }
    return MN_OK;
}

enum mn_status kernels_init(struct kernels *kernels, struct device *device)
{
    *kernels = (struct kernels){.device = device, .vk = calloc(1, sizeof *kernels->vk)};
    if (!kernels->vk)
        return log_fail(device->log, MN_ERR_MEMORY, "out of host memory for the kernels");
    for (int id = 0; id < KERNEL_COUNT; id++) {
        enum mn_status status = init_one(kernels, (enum kernel_id)id);
        if (status) {
            kernels_finish(kernels);
            return status;
        }
    }
    return MN_OK;
}

void kernels_finish(struct kernels *kernels)
{
    struct device *device = kernels->device;
    if (!kernels->vk)
        return;
    for (struct pipeline *p = kernels->pipelines, *next; p; p = next) {
        next = p->next;
        device->vk->DestroyPipeline(device->vk->handle, p->handle, NULL);
        free(p);
    }
    for (int id = 0; id < KERNEL_COUNT; id++) {
        if (kernels->vk->layouts[id])
            device->vk->DestroyPipelineLayout(device->vk->handle, kernels->vk->layouts[id], NULL);
        if (kernels->vk->set_layouts[id])
            device->vk->DestroyDescriptorSetLayout(device->vk->handle, kernels->vk->set_layouts[id], NULL);
    }
    free(kernels->vk);
    *kernels = (struct kernels){0};
}

static enum mn_status create_module(const struct kernels *kernels, struct pipeline *pipeline, VkShaderModule *out)
{
    const struct device *device = kernels->device;
    const struct kernel_code *code = pipeline_code(kernels, pipeline);
    uint32_t values[SPIRV_DEVICE_CONSTANT + 1] = {[SPIRV_DEVICE_CONSTANT] = device->caps.own_halves};
    const struct spirv_constants constants = {values, SPIRV_DEVICE_CONSTANT + 1};
    uint32_t *words;
    size_t n_words;
    memcpy(values, pipeline->constants, pipeline->n_constants * sizeof *values); /* the module has no others: checked */
    enum mn_status status = spirv_specialise(&words, &n_words, code->words, code->bytes / sizeof *words, &constants,
                                             table[pipeline->id].name, device->log);
    if (status)
        return status;
    status = spirv_shared_bytes(&pipeline->shared_bytes, words, n_words, table[pipeline->id].name, device->log);
    if (status) {
        free(words);
        return status;
    }
    const VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = n_words * sizeof *words, .pCode = words};
    const VkResult result = device->vk->CreateShaderModule(device->vk->handle, &info, NULL, out);
    free(words);
    return result == VK_SUCCESS ? MN_OK : device_fail(kernels->device, result, "vkCreateShaderModule");
}

static enum mn_status create_pipeline(const struct kernels *kernels, struct pipeline *pipeline)
{
    struct device *device = kernels->device;
    VkShaderModule module;
    const enum mn_status status = create_module(kernels, pipeline, &module);
    if (status)
        return status;
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroup = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = device->caps.subgroup_size};
    /* Full subgroups may only be asked for when the workgroup is a whole number of them. */
    bool pin = device->caps.subgroup_size_control && pipeline->constants[0] % device->caps.subgroup_size == 0;
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = device->has_statistics ? VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR : 0,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .pNext = pin && device->caps.subgroup_size_required ? &subgroup : NULL,
                  .flags = pin ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT_EXT : 0,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main"},
        .layout = kernels->vk->layouts[pipeline->id]};
    const VkResult result = device->vk->CreateComputePipelines(device->vk->handle, VK_NULL_HANDLE, 1, &info, NULL,
                                                               &pipeline->handle);
    device->vk->DestroyShaderModule(device->vk->handle, module, NULL);
    return result == VK_SUCCESS ? MN_OK : device_fail(device, result, table[pipeline->id].name);
}

enum mn_status kernels_get(struct kernels *kernels, enum kernel_id id, const void *constants, uint32_t n_constants,
                           const struct pipeline **out)
{
    struct device *device = kernels->device;
    if (n_constants < table[id].n_constants || n_constants > KERNEL_MAX_CONSTANTS)
        return log_fail(device->log, MN_ERR_CHECK, "kernel %s has %u constants, not %u", table[id].name,
                        table[id].n_constants, n_constants);
    for (struct pipeline *p = kernels->pipelines; p; p = p->next)
        if (p->id == id && p->n_constants == n_constants &&
            !memcmp(p->constants, constants, n_constants * sizeof *p->constants)) {
            *out = p;
            return MN_OK;
        }
    enum mn_status status = progress_poll(&device->progress); /* compiling one may take a second */
    if (status)
        return status;
    struct pipeline *pipeline = calloc(1, sizeof *pipeline);
    if (!pipeline)
        return log_fail(device->log, MN_ERR_MEMORY, "out of host memory for pipeline %s", table[id].name);
    pipeline->id = id;
    pipeline->n_constants = n_constants;
    memcpy(pipeline->constants, constants, n_constants * sizeof *pipeline->constants);
    status = create_pipeline(kernels, pipeline);
    if (status) {
        free(pipeline);
        return status;
    }
    pipeline->next = kernels->pipelines;
    kernels->pipelines = pipeline;
    *out = pipeline;
    return MN_OK;
}

struct pipeline_info pipeline_info(const struct pipeline *pipeline)
{
    return (struct pipeline_info){pipeline->id, pipeline->constants, pipeline->n_constants, pipeline->shared_bytes};
}
