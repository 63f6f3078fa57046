#include "tests/vk_hooks.h"

#include <string.h>

struct hooks hooks;

static VkResult strike(enum call call)
{
    uint32_t index = hooks.n[call]++;
    if (!hooks.armed || call != hooks.call || index != hooks.index)
        return VK_SUCCESS;
    hooks.fired = true;
    return hooks.result;
}

#define X(name) \
    static VKAPI_ATTR VkResult VKAPI_CALL hook_Create##name(VkDevice d, const Vk##name##CreateInfo *i, \
                                                            const VkAllocationCallbacks *a, Vk##name *o) \
    { \
        memset(o, 0xa5, sizeof *o); \
        VkResult result = strike(CALL_Create##name); \
        if (result == VK_SUCCESS) \
            result = hooks.real.Create##name(d, i, a, o); \
        hooks.alive[OBJECT_##name] += result == VK_SUCCESS; \
        return result; \
    } \
    static VKAPI_ATTR void VKAPI_CALL hook_Destroy##name(VkDevice d, Vk##name object, const VkAllocationCallbacks *a) \
    { \
        hooks.alive[OBJECT_##name]--; \
        hooks.real.Destroy##name(d, object, a); \
    }
HOOKS_OBJECTS(X)
#undef X

#define X(name, params, args) \
    static VKAPI_ATTR VkResult VKAPI_CALL hook_##name params \
    { \
        VkResult result = strike(CALL_##name); \
        return result == VK_SUCCESS ? hooks.real.name args : result; \
    }
HOOKS_PLAIN_CALLS(X)
#undef X

static VKAPI_ATTR VkResult VKAPI_CALL hook_AllocateMemory(VkDevice d, const VkMemoryAllocateInfo *i,
                                                          const VkAllocationCallbacks *a, VkDeviceMemory *o)
{
    memset(o, 0xa5, sizeof *o);
    VkResult result = strike(CALL_AllocateMemory);
    if (result == VK_SUCCESS)
        result = hooks.real.AllocateMemory(d, i, a, o);
    hooks.alive[OBJECT_Memory] += result == VK_SUCCESS;
    return result;
}

static VKAPI_ATTR void VKAPI_CALL hook_FreeMemory(VkDevice d, VkDeviceMemory memory, const VkAllocationCallbacks *a)
{
    hooks.alive[OBJECT_Memory]--;
    hooks.real.FreeMemory(d, memory, a);
}

static VKAPI_ATTR VkResult VKAPI_CALL hook_CreateComputePipelines(VkDevice d, VkPipelineCache c, uint32_t n,
                                                                  const VkComputePipelineCreateInfo *i,
                                                                  const VkAllocationCallbacks *a, VkPipeline *o)
{
    *o = VK_NULL_HANDLE; /* the one kind of object of which Vulkan promises that */
    VkResult result = strike(CALL_CreateComputePipelines);
    if (result == VK_SUCCESS)
        result = hooks.real.CreateComputePipelines(d, c, n, i, a, o);
    hooks.alive[OBJECT_Pipeline] += result == VK_SUCCESS;
    return result;
}

static VKAPI_ATTR void VKAPI_CALL hook_DestroyPipeline(VkDevice d, VkPipeline pipeline, const VkAllocationCallbacks *a)
{
    hooks.alive[OBJECT_Pipeline]--;
    hooks.real.DestroyPipeline(d, pipeline, a);
}

/* A failed end leaves a buffer that can be begun again, hence the real call in any case. */
static VKAPI_ATTR VkResult VKAPI_CALL hook_EndCommandBuffer(VkCommandBuffer c)
{
    VkResult result = strike(CALL_EndCommandBuffer), real = hooks.real.EndCommandBuffer(c);
    return result == VK_SUCCESS ? real : result;
}

static VKAPI_ATTR VkResult VKAPI_CALL hook_QueueSubmit(VkQueue q, uint32_t n, const VkSubmitInfo *i, VkFence f)
{
    VkResult result = strike(CALL_QueueSubmit);
    if (result == VK_SUCCESS && hooks.on_submit)
        hooks.on_submit(i);
    return result == VK_SUCCESS ? hooks.real.QueueSubmit(q, n, i, f) : result;
}

void hooks_install(struct device *device)
{
    memset(&hooks, 0, sizeof hooks);
    hooks.real = *device->vk;
#define X(name) device->vk->Create##name = hook_Create##name, device->vk->Destroy##name = hook_Destroy##name;
    HOOKS_OBJECTS(X)
#undef X
#define X(name, params, args) device->vk->name = hook_##name;
    HOOKS_PLAIN_CALLS(X)
#undef X
    device->vk->AllocateMemory = hook_AllocateMemory;
    device->vk->FreeMemory = hook_FreeMemory;
    device->vk->CreateComputePipelines = hook_CreateComputePipelines;
    device->vk->DestroyPipeline = hook_DestroyPipeline;
    device->vk->EndCommandBuffer = hook_EndCommandBuffer;
    device->vk->QueueSubmit = hook_QueueSubmit;
}

void hooks_arm(enum call call, uint32_t index, VkResult result)
{
    memset(hooks.n, 0, sizeof hooks.n);
    hooks.armed = true;
    hooks.fired = false;
    hooks.call = call;
    hooks.index = index;
    hooks.result = result;
}

void hooks_disarm(void)
{
    memset(hooks.n, 0, sizeof hooks.n);
    hooks.armed = false;
}

uint32_t hooks_n_calls(void)
{
    uint32_t n = 0;
    for (int i = 0; i < N_CALLS; i++)
        n += hooks.n[i];
    return n;
}
