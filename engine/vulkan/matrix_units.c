#include "engine/vulkan/matrix_units.h"

#include "engine/vulkan/kernel.h"

static bool has_shaders(void)
{
    return kernel_info(KERNEL_PROJ)->code[VARIANT_MATRIX].words != NULL;
}

#ifdef VK_KHR_cooperative_matrix

const char *matrix_units_lack(void)
{
    return has_shaders() ? NULL : "a GLSL compiler that knows GL_KHR_cooperative_matrix";
}

enum { MAX_SHAPES = 256, MIN_SHARED_BYTES = 32768 };

static bool has_features(struct device *device, VkPhysicalDevice physical)
{
    struct matrix_units_features f;
    const char *extension;
    VkPhysicalDeviceFeatures2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2};
    matrix_units_enable(&f, NULL, &extension);
    if (!device_has_extension(device, physical, extension))
        return false;
    all.pNext = &f.matrix;
    device->vk->GetPhysicalDeviceFeatures2(physical, &all);
    return f.matrix.cooperativeMatrix && f.memory_model.vulkanMemoryModel && f.fp16.shaderFloat16;
}

uint32_t matrix_units_side(struct device *device, VkPhysicalDevice physical, const struct caps *caps)
{
    VkCooperativeMatrixPropertiesKHR shapes[MAX_SHAPES];
    uint32_t n = MAX_SHAPES, side = 0;
    PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR list =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)device->vk->get_instance_proc(
            device->vk->instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    /* shaders/matrix: values go round within pinned subgroups, four of which are the smallest workgroup. */
    if (!has_shaders() || !list || !caps->subgroup_shuffle || caps->max_shared_bytes < MIN_SHARED_BYTES ||
        caps->max_workgroup_threads < 4 * caps->subgroup_size || !has_features(device, physical))
        return 0;
    for (uint32_t i = 0; i < n; i++)
        shapes[i] = (VkCooperativeMatrixPropertiesKHR){.sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR};
    if (list(physical, &n, shapes) < 0)
        return 0;
    for (uint32_t i = 0; i < n; i++) {
        const VkCooperativeMatrixPropertiesKHR *s = &shapes[i];
        if (s->MSize == s->NSize && s->MSize == s->KSize && (s->MSize == 8 || s->MSize == 16) && s->MSize > side &&
            s->AType == VK_COMPONENT_TYPE_FLOAT16_KHR && s->BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
            s->CType == VK_COMPONENT_TYPE_FLOAT32_KHR && s->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
            s->scope == VK_SCOPE_SUBGROUP_KHR)
            side = s->MSize;
    }
    return caps->subgroup_size <= 4 * side ? side : 0; /* a lane fetches at least a chunk of a block */
}

void *matrix_units_enable(struct matrix_units_features *f, void *next, const char **extension)
{
    *f = (struct matrix_units_features){
        .matrix = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
                   .pNext = &f->memory_model,
                   .cooperativeMatrix = VK_TRUE},
        .memory_model = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES,
                         .pNext = &f->fp16,
                         .vulkanMemoryModel = VK_TRUE},
        .fp16 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES,
                 .pNext = next,
                 .shaderFloat16 = VK_TRUE}};
    *extension = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME;
    return &f->matrix;
}

#else

const char *matrix_units_lack(void)
{
    return has_shaders() ? "Vulkan headers that know VK_KHR_cooperative_matrix"
                         : "a GLSL compiler that knows GL_KHR_cooperative_matrix";
}

uint32_t matrix_units_side(struct device *device, VkPhysicalDevice physical, const struct caps *caps)
{
    (void)device, (void)physical, (void)caps;
    return 0;
}

void *matrix_units_enable(struct matrix_units_features *features, void *next, const char **extension)
{
    (void)features, (void)extension;
    return next;
}

#endif
