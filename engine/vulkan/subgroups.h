/* Of which size a device's subgroups are, and whether that can be relied on.
 *
 * Thread-safety: stateless.
 */
#ifndef MUNINN_ENGINE_VULKAN_SUBGROUPS_H
#define MUNINN_ENGINE_VULKAN_SUBGROUPS_H

#include "engine/vulkan/vk.h"

/* Fills what caps says of subgroups. `control`: what VK_EXT_subgroup_size_control says; NULL: the device has none. */
void subgroups_read(struct caps *caps, const VkPhysicalDeviceSubgroupProperties *subgroup,
                    const VkPhysicalDeviceSubgroupSizeControlProperties *control,
                    const VkPhysicalDeviceSubgroupSizeControlFeatures *features);

#endif
