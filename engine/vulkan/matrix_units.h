/* Matrix units (VK_KHR_cooperative_matrix): which of their shapes this project's shaders can use, and how they are
 * switched on.
 *
 * Never: decides whether they are worth it. A build without them (headers or a GLSL compiler that do not know the
 * extension) finds none on any device. Thread-safety: stateless.
 */
#ifndef MUNINN_ENGINE_VULKAN_MATRIX_UNITS_H
#define MUNINN_ENGINE_VULKAN_MATRIX_UNITS_H

#include "engine/vulkan/vk.h"

/* The side of the squares that the device's units multiply, f16 with sums in f32, a subgroup at a time: 16 or 8. 0:
 * none. `caps` is what is known of the device so far: subgroups, threads, shared memory. */
uint32_t matrix_units_side(struct device *device, VkPhysicalDevice physical, const struct caps *caps);

/* What vkCreateDevice needs to hear to switch them on. */
struct matrix_units_features {
#ifdef VK_KHR_cooperative_matrix
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix;
    VkPhysicalDeviceVulkanMemoryModelFeatures memory_model;
    VkPhysicalDeviceShaderFloat16Int8Features fp16;
#else
    int none;
#endif
};

/* Fills *features, which end in `next`, and returns the first of them; *extension is what has to be enabled. */
void *matrix_units_enable(struct matrix_units_features *features, void *next, const char **extension);

#endif
