/* What stands behind device, arenas, kernels and stream: Vulkan's own types. Of the whole project, only the files of
 * this folder include it, and tests that replace calls. */
#ifndef MUNINN_ENGINE_VULKAN_VK_H
#define MUNINN_ENGINE_VULKAN_VK_H

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include "engine/vulkan/stream.h"

/* Every Vulkan call goes through this table, so that a test can replace any of them by a failing one. */
/* clang-format off */
#define VK_INSTANCE_FUNCTIONS(X) \
    X(DestroyInstance) X(EnumeratePhysicalDevices) X(GetPhysicalDeviceProperties2) X(GetPhysicalDeviceFeatures2) \
    X(GetPhysicalDeviceMemoryProperties2) X(GetPhysicalDeviceQueueFamilyProperties) \
    X(EnumerateDeviceExtensionProperties) X(CreateDevice) X(GetDeviceProcAddr)

#define VK_DEVICE_FUNCTIONS(X) \
    X(DestroyDevice) X(GetDeviceQueue) X(AllocateMemory) X(FreeMemory) X(CreateBuffer) X(DestroyBuffer) \
    X(CreateBufferView) X(DestroyBufferView) \
    X(GetBufferMemoryRequirements) X(BindBufferMemory) X(MapMemory) X(CreateShaderModule) X(DestroyShaderModule) \
    X(CreateDescriptorSetLayout) X(DestroyDescriptorSetLayout) X(CreatePipelineLayout) X(DestroyPipelineLayout) \
    X(CreateComputePipelines) X(DestroyPipeline) X(CreateDescriptorPool) X(DestroyDescriptorPool) \
    X(AllocateDescriptorSets) X(UpdateDescriptorSets) X(CreateCommandPool) X(DestroyCommandPool) \
    X(AllocateCommandBuffers) X(BeginCommandBuffer) X(EndCommandBuffer) X(CmdBindPipeline) \
    X(CmdBindDescriptorSets) X(CmdPushConstants) X(CmdDispatch) X(CmdDispatchIndirect) X(CmdPipelineBarrier) \
    X(CmdCopyBuffer) X(CmdFillBuffer) X(CmdWriteTimestamp) X(CmdResetQueryPool) X(CreateQueryPool) \
    X(DestroyQueryPool) X(GetQueryPoolResults) X(CreateFence) X(DestroyFence) X(ResetFences) X(WaitForFences) \
    X(QueueSubmit) X(DeviceWaitIdle)

/* Of VK_KHR_pipeline_executable_properties: NULL unless device.has_statistics. */
#define VK_STATISTICS_FUNCTIONS(X) X(GetPipelineExecutablePropertiesKHR) X(GetPipelineExecutableStatisticsKHR)
/* clang-format on */

/* The table, and the device's own handles. */
struct vk {
    void *loader;
    PFN_vkGetInstanceProcAddr get_instance_proc;
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger;
    VkPhysicalDevice physical;
    VkDevice handle;
    VkQueue queue;
    uint32_t queue_family;
    VkPhysicalDeviceMemoryProperties memory;
#define X(name) PFN_vk##name name;
    VK_INSTANCE_FUNCTIONS(X)
    VK_DEVICE_FUNCTIONS(X)
    VK_STATISTICS_FUNCTIONS(X)
#undef X
};

/* Maps a failed VkResult to a status and logs it with `what`; remembers a lost device. */
enum mn_status device_fail(struct device *device, VkResult result, const char *what);

bool device_has_extension(struct device *device, VkPhysicalDevice physical, const char *name);

struct arena_block {
    VkBuffer buffer;
    VkDeviceMemory memory;
    uint8_t *mapped; /* NULL when the host cannot see it */
    uint64_t bytes;
    struct arena_block *next;
};

struct pipeline {
    enum kernel_id id;
    uint32_t n_constants;
    uint32_t constants[KERNEL_MAX_CONSTANTS];
    uint32_t shared_bytes;
    VkPipeline handle;
    struct pipeline *next;
};

struct kernels_vk {
    VkDescriptorSetLayout set_layouts[KERNEL_COUNT];
    VkPipelineLayout layouts[KERNEL_COUNT];
    struct spirv_interface interfaces[KERNEL_COUNT];
};

/* What a binding of the kernel is on this device. */
VkDescriptorType kernels_descriptor(const struct kernels *kernels, enum kernel_id id, uint32_t binding);

/* A piece of the staging ring: while the device copies out of one, the host fills the next. */
struct staging_slot {
    struct span span;
    VkCommandBuffer commands;
    VkFence fence;
    bool pending;
};

struct stream_vk {
    VkCommandPool pool;
    VkCommandBuffer transfer;
    VkFence fence;
    VkQueryPool timers; /* null when the device has no timestamps */
    struct staging_slot staging[STREAM_STAGING_SLOTS];
};

#endif
