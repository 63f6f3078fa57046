#include "engine/vulkan/kernel.h"

#include <stdlib.h>
#include <string.h>

#include "argmax.spv.h"
#include "argmax_plain.spv.h"
#include "attention.spv.h"
#include "attention_plain.spv.h"
#include "attention_texels.spv.h"
#include "embed.spv.h"
#include "embed_plain.spv.h"
#include "engine/base/hash.h"
#include "engine/vulkan/vk.h"
#include "fill.spv.h"
#include "fill_plain.spv.h"
#include "gate.spv.h"
#include "gate_plain.spv.h"
#include "gate_texels.spv.h"
#include "head.spv.h"
#include "head_plain.spv.h"
#include "head_texels.spv.h"
#include "norm.spv.h"
#include "norm_plain.spv.h"
#include "proj.spv.h"
#include "proj_plain.spv.h"
#include "proj_texels.spv.h"
#include "qkv.spv.h"
#include "qkv_plain.spv.h"
#include "qkv_texels.spv.h"
#include "read.spv.h"
#include "read_plain.spv.h"
#include "read_texels.spv.h"
#include "sample.spv.h"
#include "sample_plain.spv.h"
#include "shaders/args.h"

#define ENTRY(name_, n_bindings_, args_) \
    { \
        .name = #name_, .spirv = name_##_spv, .spirv_bytes = sizeof name_##_spv, .plain = name_##_plain_spv, \
        .plain_bytes = sizeof name_##_plain_spv, .n_bindings = (n_bindings_), .push_bytes = sizeof(struct args_) \
    }

#define ENTRY_TEXELS(name_, n_bindings_, args_, mask_) \
    { \
        .name = #name_, .spirv = name_##_spv, .spirv_bytes = sizeof name_##_spv, .plain = name_##_plain_spv, \
        .plain_bytes = sizeof name_##_plain_spv, .texels = name_##_texels_spv, \
        .texels_bytes = sizeof name_##_texels_spv, .texel_bindings = (mask_), .n_bindings = (n_bindings_), \
        .push_bytes = sizeof(struct args_) \
    }

static const struct kernel_info table[KERNEL_COUNT] = {
    [KERNEL_EMBED] = ENTRY(embed, 6, embed_args),
    [KERNEL_QKV] = ENTRY_TEXELS(qkv, 10, matmul_args, 0xdf),
    [KERNEL_ATTENTION] = ENTRY_TEXELS(attention, 6, attention_args, 0x0f),
    [KERNEL_PROJ] = ENTRY_TEXELS(proj, 12, matmul_args, 0x3df),
    [KERNEL_GATE] = ENTRY_TEXELS(gate, 6, matmul_args, 0x1f),
    [KERNEL_HEAD] = ENTRY_TEXELS(head, 7, matmul_args, 0x1f),
    [KERNEL_NORM] = ENTRY(norm, 7, norm_args),
    [KERNEL_ARGMAX] = ENTRY(argmax, 3, argmax_args),
    [KERNEL_SAMPLE] = ENTRY(sample, 3, sample_args),
    [KERNEL_READ] = ENTRY_TEXELS(read, 3, read_args, 0x03),
    [KERNEL_FILL] = ENTRY(fill, 2, fill_args),
};

const struct kernel_info *kernel_info(enum kernel_id id)
{
    return &table[id];
}

/* What a device runs of a kernel: its SPIR-V or that of a twin. */
struct module {
    const uint32_t *spirv;
    size_t bytes;
    uint32_t texel_bindings;
};

static struct module choose_module(const struct kernel_info *info, const struct caps *caps)
{
    if (!caps->subgroup_shuffle)
        return (struct module){info->plain, info->plain_bytes, 0};
    if (caps->texel_loads && info->texels)
        return (struct module){info->texels, info->texels_bytes, info->texel_bindings};
    return (struct module){info->spirv, info->spirv_bytes, 0};
}

uint64_t kernel_hash(enum kernel_id id, const struct caps *caps)
{
    const struct module module = choose_module(&table[id], caps);
    return hash_bytes(HASH_START, module.spirv, module.bytes);
}

VkDescriptorType kernels_descriptor(const struct kernels *kernels, enum kernel_id id, uint32_t binding)
{
    return kernels->vk->texel_bindings[id] >> binding & 1 ? VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER
                                                          : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
}

static enum mn_status init_one(struct kernels *kernels, enum kernel_id id)
{
    struct device *device = kernels->device;
    const struct module chosen = choose_module(&table[id], &device->caps);
    VkShaderModuleCreateInfo module = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = chosen.bytes, .pCode = chosen.spirv};
    kernels->vk->texel_bindings[id] = chosen.texel_bindings;
    VkResult result = device->vk->CreateShaderModule(device->vk->handle, &module, NULL, &kernels->vk->modules[id]);
    if (result != VK_SUCCESS) {
        kernels->vk->modules[id] = VK_NULL_HANDLE;
        return device_fail(device, result, "vkCreateShaderModule");
    }
    VkDescriptorSetLayoutBinding bindings[KERNEL_MAX_BINDINGS];
    for (uint32_t i = 0; i < table[id].n_bindings; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){.binding = i,
                                                     .descriptorType = kernels_descriptor(kernels, id, i),
                                                     .descriptorCount = 1,
                                                     .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    VkDescriptorSetLayoutCreateInfo set = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                           .bindingCount = table[id].n_bindings,
                                           .pBindings = bindings};
    result = device->vk->CreateDescriptorSetLayout(device->vk->handle, &set, NULL, &kernels->vk->set_layouts[id]);
    if (result != VK_SUCCESS) {
        kernels->vk->set_layouts[id] = VK_NULL_HANDLE;
        return device_fail(device, result, "vkCreateDescriptorSetLayout");
    }
    VkPushConstantRange push = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = table[id].push_bytes};
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
        if (kernels->vk->modules[id])
            device->vk->DestroyShaderModule(device->vk->handle, kernels->vk->modules[id], NULL);
    }
    free(kernels->vk);
    *kernels = (struct kernels){0};
}

enum mn_status kernels_get(struct kernels *kernels, enum kernel_id id, const uint32_t *spec, uint32_t n_spec,
                           const struct pipeline **out)
{
    struct device *device = kernels->device;
    for (struct pipeline *p = kernels->pipelines; p; p = p->next)
        if (p->id == id && p->n_spec == n_spec && !memcmp(p->spec, spec, n_spec * sizeof *spec)) {
            *out = p;
            return MN_OK;
        }
    struct pipeline *pipeline = calloc(1, sizeof *pipeline);
    if (!pipeline)
        return log_fail(device->log, MN_ERR_MEMORY, "out of host memory for pipeline %s", table[id].name);
    pipeline->id = id;
    pipeline->n_spec = n_spec;
    memcpy(pipeline->spec, spec, n_spec * sizeof *spec);

    VkSpecializationMapEntry entries[KERNEL_MAX_SPEC];
    for (uint32_t i = 0; i < n_spec; i++)
        entries[i] = (VkSpecializationMapEntry){.constantID = i, .offset = i * 4, .size = 4};
    VkSpecializationInfo specialization = {
        .mapEntryCount = n_spec, .pMapEntries = entries, .dataSize = n_spec * 4u, .pData = spec};
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroup = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = device->caps.subgroup_size};
    /* Full subgroups may only be asked for when the workgroup is a whole number of them. */
    bool pin = device->caps.subgroup_size_control && spec[0] % device->caps.subgroup_size == 0;
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .pNext = pin ? &subgroup : NULL,
                  .flags = pin ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT_EXT : 0,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = kernels->vk->modules[id],
                  .pName = "main",
                  .pSpecializationInfo = &specialization},
        .layout = kernels->vk->layouts[id]};
    VkResult result = device->vk->CreateComputePipelines(device->vk->handle, VK_NULL_HANDLE, 1, &info, NULL,
                                                         &pipeline->handle);
    if (result != VK_SUCCESS) {
        free(pipeline);
        return device_fail(device, result, table[id].name);
    }
    pipeline->next = kernels->pipelines;
    kernels->pipelines = pipeline;
    *out = pipeline;
    return MN_OK;
}
