/* Wrappers in device->vk: they count calls and live objects, fail the n-th call of one kind, and leave garbage where a
 * failed call leaves its result undefined. They sit above the validation layer, which sees what the engine does after a
 * failure. */
#ifndef MUNINN_TESTS_VK_HOOKS_H
#define MUNINN_TESTS_VK_HOOKS_H

#include "engine/vulkan/vk.h"

#define HOOKS_OBJECTS(X) \
    X(Buffer) \
    X(BufferView) \
    X(ShaderModule) X(DescriptorSetLayout) X(PipelineLayout) X(DescriptorPool) X(CommandPool) X(Fence) X(QueryPool)
/* Calls that only pass through. */
#define HOOKS_PLAIN_CALLS(X) \
    X(BindBufferMemory, (VkDevice d, VkBuffer b, VkDeviceMemory m, VkDeviceSize at), (d, b, m, at)) \
    X(MapMemory, (VkDevice d, VkDeviceMemory m, VkDeviceSize at, VkDeviceSize n, VkMemoryMapFlags f, void **o), \
      (d, m, at, n, f, o)) \
    X(AllocateDescriptorSets, (VkDevice d, const VkDescriptorSetAllocateInfo *i, VkDescriptorSet *o), (d, i, o)) \
    X(AllocateCommandBuffers, (VkDevice d, const VkCommandBufferAllocateInfo *i, VkCommandBuffer *o), (d, i, o)) \
    X(BeginCommandBuffer, (VkCommandBuffer c, const VkCommandBufferBeginInfo *i), (c, i)) \
    X(WaitForFences, (VkDevice d, uint32_t n, const VkFence *f, VkBool32 all, uint64_t ns), (d, n, f, all, ns)) \
    X(ResetFences, (VkDevice d, uint32_t n, const VkFence *f), (d, n, f))

enum call {
#define X(name) CALL_Create##name,
    HOOKS_OBJECTS(X)
#undef X
#define X(name, params, args) CALL_##name,
        HOOKS_PLAIN_CALLS(X)
#undef X
            CALL_AllocateMemory,
    CALL_CreateComputePipelines,
    CALL_EndCommandBuffer,
    CALL_QueueSubmit,
    N_CALLS
};

enum object {
#define X(name) OBJECT_##name,
    HOOKS_OBJECTS(X)
#undef X
        OBJECT_Memory,
    OBJECT_Pipeline,
    N_OBJECTS
};

extern struct hooks {
    struct vk real;
    uint32_t n[N_CALLS];
    int alive[N_OBJECTS];
    bool armed, fired;
    enum call call;
    uint32_t index;
    VkResult result;
    void (*on_submit)(const VkSubmitInfo *info); /* NULL, or: sees every submit before it is made */
} hooks;

/* Replaces the calls of a device; `hooks.real` holds what was there. All counts start anew. */
void hooks_install(struct device *device);
/* Call number `index` of its kind from here on fails with `result`. */
void hooks_arm(enum call call, uint32_t index, VkResult result);
/* Stops failing; calls are counted from here. */
void hooks_disarm(void);
/* Calls of all kinds since then. */
uint32_t hooks_n_calls(void);

#endif
