#include "engine/vulkan/subgroups.h"

void subgroups_read(struct caps *caps, const VkPhysicalDeviceSubgroupProperties *subgroup,
                    const VkPhysicalDeviceSubgroupSizeControlProperties *control,
                    const VkPhysicalDeviceSubgroupSizeControlFeatures *features)
{
    const uint32_t size = subgroup->subgroupSize;
    const VkSubgroupFeatureFlags needed = VK_SUBGROUP_FEATURE_SHUFFLE_BIT | VK_SUBGROUP_FEATURE_BALLOT_BIT;
    caps->subgroup_size = size;
    /* NVK has one size and lets nobody ask for it: requiredSubgroupSizeStages is empty. */
    caps->subgroup_size_required = control && (control->requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
                                   size >= control->minSubgroupSize && size <= control->maxSubgroupSize;
    const bool one_size = control && control->minSubgroupSize == size && control->maxSubgroupSize == size;
    caps->subgroup_size_control = features->subgroupSizeControl && features->computeFullSubgroups &&
                                  (caps->subgroup_size_required || one_size);
    caps->subgroup_shuffle = caps->subgroup_size_control && (subgroup->supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
                             (subgroup->supportedOperations & needed) == needed;
}
