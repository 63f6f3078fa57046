#include "tests/odd_device.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of dispatches, and of what a binding is aligned to: what Vulkan promises at least. */
enum { MOST_GROUPS = 65535, ALIGNMENT = 256, MAX_MEMORIES = 4096, MAX_LISTED = 4096 };

void *__real_dlsym(void *handle, const char *name);
void *__wrap_dlsym(void *handle, const char *name);

struct memory {
    VkDeviceMemory handle;
    uint64_t bytes;
    uint32_t type, heap;
};

static struct {
    struct odd_device is;
    bool set;
    PFN_vkGetInstanceProcAddr instance_proc;
    struct vk real; /* functions alone */
    PFN_vkCreateInstance create_instance;
    VkPhysicalDeviceMemoryProperties told; /* of which types from n_real on are real ones under another name */
    uint32_t n_real, same_as[VK_MAX_MEMORY_TYPES];
    VkSubgroupFeatureFlags operations;
    bool asked_int64, asked_portable;
    struct memory memories[MAX_MEMORIES];
    uint32_t n_memories, n_submits, n_offences;
    volatile sig_atomic_t lost;
    char first[256];
} odd;

void odd_device_set(const struct odd_device *device)
{
    odd.set = device != NULL;
    odd.is = device ? *device : (struct odd_device){0};
    odd.asked_int64 = false;
    odd.lost = 0;
    odd.n_memories = odd.n_submits = odd.n_offences = 0;
    odd.first[0] = '\0';
}

uint32_t odd_device_n_offences(const char **first)
{
    *first = odd.first;
    return odd.n_offences;
}

uint32_t odd_device_n_submits(void)
{
    return odd.n_submits;
}

void odd_device_lose(void)
{
    odd.lost = 1;
}

static void offence(const char *format, ...)
{
    va_list list;
    if (odd.n_offences++)
        return;
    va_start(list, format);
    vsnprintf(odd.first, sizeof odd.first, format, list);
    va_end(list);
}

/* ---- what it says of itself ---- */

/* Beta headers alone have the name. */
static const char subset[] = "VK_KHR_portability_subset";

static VKAPI_ATTR VkResult VKAPI_CALL odd_CreateInstance(const VkInstanceCreateInfo *i, const VkAllocationCallbacks *a,
                                                         VkInstance *o)
{
    odd.asked_portable = false;
    for (uint32_t e = 0; e < i->enabledExtensionCount; e++)
        odd.asked_portable |= (i->flags & VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR) &&
                              !strcmp(i->ppEnabledExtensionNames[e], VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME);
    return odd.create_instance(i, a, o);
}

static VKAPI_ATTR VkResult VKAPI_CALL odd_EnumeratePhysicalDevices(VkInstance i, uint32_t *n, VkPhysicalDevice *list)
{
    if (!odd.is.portable || odd.asked_portable)
        return odd.real.EnumeratePhysicalDevices(i, n, list);
    *n = 0;
    return VK_SUCCESS;
}

#define OF(type, base) ((type *)(void *)(base))

static VKAPI_ATTR void VKAPI_CALL odd_GetPhysicalDeviceProperties2(VkPhysicalDevice d, VkPhysicalDeviceProperties2 *p)
{
    const struct odd_device *is = &odd.is;
    VkPhysicalDeviceLimits *limits = &p->properties.limits;
    odd.real.GetPhysicalDeviceProperties2(d, p);
    if (is->type)
        p->properties.deviceType = is->type;
    if (is->api_version)
        p->properties.apiVersion = is->api_version;
    if (is->storage_range)
        limits->maxStorageBufferRange = (uint32_t)is->storage_range;
    if (is->workgroup_threads)
        limits->maxComputeWorkGroupInvocations = limits->maxComputeWorkGroupSize[0] = is->workgroup_threads;
    if (is->shared_bytes)
        limits->maxComputeSharedMemorySize = is->shared_bytes;
    if (is->storage_buffers)
        limits->maxPerStageDescriptorStorageBuffers = is->storage_buffers;
    for (VkBaseOutStructure *at = p->pNext; at; at = at->pNext)
        switch (at->sType) {
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES:
            if (is->subgroup_size)
                OF(VkPhysicalDeviceSubgroupProperties, at)->subgroupSize = is->subgroup_size;
            odd.operations = OF(VkPhysicalDeviceSubgroupProperties, at)->supportedOperations;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES:
            if (is->subgroup_size)
                OF(VkPhysicalDeviceSubgroupSizeControlProperties, at)->minSubgroupSize =
                    OF(VkPhysicalDeviceSubgroupSizeControlProperties, at)->maxSubgroupSize = is->subgroup_size;
            if (is->one_size)
                OF(VkPhysicalDeviceSubgroupSizeControlProperties, at)->requiredSubgroupSizeStages = 0;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES:
            if (is->allocation_bytes)
                OF(VkPhysicalDeviceMaintenance3Properties, at)->maxMemoryAllocationSize = is->allocation_bytes;
            break;
        default: break;
        }
}

static VKAPI_ATTR void VKAPI_CALL odd_GetPhysicalDeviceFeatures2(VkPhysicalDevice d, VkPhysicalDeviceFeatures2 *f)
{
    odd.real.GetPhysicalDeviceFeatures2(d, f);
    if (!odd.is.plain_types)
        return;
    f->features.shaderInt16 = f->features.shaderInt64 = f->features.shaderFloat64 = VK_FALSE;
    for (VkBaseOutStructure *at = f->pNext; at; at = at->pNext)
        if (at->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES)
            OF(VkPhysicalDeviceShaderFloat16Int8Features, at)->shaderFloat16 =
                OF(VkPhysicalDeviceShaderFloat16Int8Features, at)->shaderInt8 = VK_FALSE;
}

/* Host memory that is coherent exists on every device: where the real types lose it, a real one is told twice. */
static VKAPI_ATTR void VKAPI_CALL odd_GetPhysicalDeviceMemoryProperties2(VkPhysicalDevice d,
                                                                         VkPhysicalDeviceMemoryProperties2 *p)
{
    VkPhysicalDeviceMemoryProperties *m = &p->memoryProperties;
    const struct odd_device *is = &odd.is;
    const VkMemoryPropertyFlags seen = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT,
                                coherent = VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
                                cached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
                                local = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    odd.real.GetPhysicalDeviceMemoryProperties2(d, p);
    odd.n_real = m->memoryTypeCount;
    for (uint32_t i = 0; i < m->memoryHeapCount; i++)
        if (is->heap_bytes && m->memoryHeaps[i].size > is->heap_bytes)
            m->memoryHeaps[i].size = is->heap_bytes;
    for (uint32_t i = 0; i < odd.n_real; i++) {
        VkMemoryPropertyFlags *flags = &m->memoryTypes[i].propertyFlags;
        const bool host = (*flags & (seen | coherent)) == (seen | coherent);
        if (host && (is->hidden || is->not_coherent) && m->memoryTypeCount < VK_MAX_MEMORY_TYPES) {
            odd.same_as[m->memoryTypeCount] = i;
            m->memoryTypes[m->memoryTypeCount++] = (VkMemoryType){seen | coherent, m->memoryTypes[i].heapIndex};
        }
        if (is->hidden && (*flags & local))
            *flags &= ~(seen | coherent | cached);
        if (is->never_coherent || (is->not_coherent && (*flags & local)))
            *flags &= ~coherent;
    }
    odd.told = *m;
}

static VKAPI_ATTR void VKAPI_CALL odd_GetPhysicalDeviceQueueFamilyProperties(VkPhysicalDevice d, uint32_t *n,
                                                                             VkQueueFamilyProperties *families)
{
    odd.real.GetPhysicalDeviceQueueFamilyProperties(d, n, families);
    for (uint32_t i = 0; families && i < *n; i++) {
        if (odd.is.no_timestamps || odd.is.timestamp_bits)
            families[i].timestampValidBits = odd.is.timestamp_bits;
        if (odd.is.no_compute)
            families[i].queueFlags &= ~(VkQueueFlags)VK_QUEUE_COMPUTE_BIT;
    }
}

static bool is_hidden(const char *extension)
{
    static const char *const narrow[] = {"VK_KHR_16bit_storage", "VK_KHR_8bit_storage", "VK_KHR_shader_float16_int8",
                                         "VK_KHR_cooperative_matrix"};
    if (odd.is.no_size_control && !strcmp(extension, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME))
        return true;
    for (size_t i = 0; odd.is.plain_types && i < sizeof narrow / sizeof *narrow; i++)
        if (!strcmp(extension, narrow[i]))
            return true;
    return false;
}

/* Whoever asks for the count alone is told of room for one more. */
static VKAPI_ATTR VkResult VKAPI_CALL odd_EnumerateDeviceExtensionProperties(VkPhysicalDevice d, const char *layer,
                                                                             uint32_t *n, VkExtensionProperties *list)
{
    const uint32_t room = *n;
    const VkResult result = odd.real.EnumerateDeviceExtensionProperties(d, layer, n, list);
    uint32_t kept = 0;
    if (!list)
        ++*n;
    if (!list || result < 0)
        return result;
    for (uint32_t i = 0; i < *n; i++)
        if (!is_hidden(list[i].extensionName))
            list[kept++] = list[i];
    if (odd.is.portable && kept < room) {
        list[kept] = (VkExtensionProperties){.specVersion = 1};
        snprintf(list[kept++].extensionName, sizeof list->extensionName, "%s", subset);
    }
    *n = kept;
    return result;
}

/* ---- what it is asked for ---- */

static bool offers(VkPhysicalDevice d, const char *extension)
{
    uint32_t n = MAX_LISTED;
    bool found = false;
    VkExtensionProperties *list = calloc(n, sizeof *list);
    if (list && odd_EnumerateDeviceExtensionProperties(d, NULL, &n, list) >= 0)
        for (uint32_t i = 0; i < n && !found; i++)
            found = !strcmp(list[i].extensionName, extension);
    free(list);
    return found;
}

static VKAPI_ATTR VkResult VKAPI_CALL odd_CreateDevice(VkPhysicalDevice d, const VkDeviceCreateInfo *i,
                                                       const VkAllocationCallbacks *a, VkDevice *o)
{
    VkDeviceCreateInfo info = *i;
    const char *extensions[16];
    bool asked_subset = false;
    info.ppEnabledExtensionNames = extensions;
    info.enabledExtensionCount = 0;
    for (uint32_t e = 0; e < i->enabledExtensionCount; e++) {
        const char *name = i->ppEnabledExtensionNames[e];
        if (!offers(d, name) || info.enabledExtensionCount == sizeof extensions / sizeof *extensions)
            offence("extension %s is asked for and not there", name);
        else if (odd.is.portable && !strcmp(name, subset))
            asked_subset = true; /* the real device has no such extension */
        else
            extensions[info.enabledExtensionCount++] = name;
    }
    if (odd.is.portable && !asked_subset)
        offence("%s is there and not asked for, as Vulkan wants", subset);
    odd.asked_int64 = i->pEnabledFeatures && i->pEnabledFeatures->shaderInt64;
    if (odd.asked_int64 && odd.is.plain_types)
        offence("64-bit integers are asked for and not there");
    for (const VkBaseInStructure *at = i->pNext; at; at = at->pNext)
        if (odd.is.plain_types && (at->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES ||
                                   at->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES))
            offence("narrow types are asked for and not there");
    return odd.real.CreateDevice(d, &info, a, o);
}

/* OpCapability of types that were not asked for, and of subgroups that are not there. */
static void check_capability(uint32_t capability)
{
    enum {
        FLOAT16 = 9,
        FLOAT64,
        INT64,
        INT16 = 22,
        INT8 = 39,
        SUBGROUPS = 61,
        QUAD = 68,
        NARROW = 4433,
        NARROW_LAST = 4450
    };
    const bool narrow = capability == FLOAT16 || capability == FLOAT64 || capability == INT16 || capability == INT8 ||
                        (capability >= NARROW && capability <= NARROW_LAST);
    if (narrow && odd.is.plain_types)
        offence("a shader needs capability %u: a type that is not there", capability);
    if (capability == INT64 && !odd.asked_int64)
        offence("a shader needs 64-bit integers, which were not asked for");
    if (capability >= SUBGROUPS && capability <= QUAD &&
        (odd.is.no_size_control || !(odd.operations >> (capability - SUBGROUPS) & 1)))
        offence("a shader needs capability %u: an operation in subgroups that is not there", capability);
}

static VKAPI_ATTR VkResult VKAPI_CALL odd_CreateShaderModule(VkDevice d, const VkShaderModuleCreateInfo *i,
                                                             const VkAllocationCallbacks *a, VkShaderModule *o)
{
    enum { HEADER_WORDS = 5, OP_CAPABILITY = 17 };
    for (size_t at = HEADER_WORDS; at + 1 < i->codeSize / 4 && (i->pCode[at] & 0xffff) == OP_CAPABILITY; at += 2)
        check_capability(i->pCode[at + 1]);
    return odd.real.CreateShaderModule(d, i, a, o);
}

static VKAPI_ATTR VkResult VKAPI_CALL odd_CreateComputePipelines(VkDevice d, VkPipelineCache c, uint32_t n,
                                                                 const VkComputePipelineCreateInfo *i,
                                                                 const VkAllocationCallbacks *a, VkPipeline *o)
{
    VkComputePipelineCreateInfo info = *i;
    const bool pinned = i->stage.pNext != NULL;
    if (n != 1)
        offence("%u pipelines at once: only one is looked at", n);
    if (pinned && (odd.is.no_size_control || odd.is.one_size))
        offence("a subgroup size is asked for and cannot be");
    if (pinned && odd.is.subgroup_size &&
        ((const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo *)i->stage.pNext)->requiredSubgroupSize !=
            odd.is.subgroup_size)
        offence("another subgroup size is asked for than the one there is");
    if (pinned && odd.is.any_subgroup) {
        info.stage.pNext = NULL;
        info.stage.flags = 0;
    }
    return odd.real.CreateComputePipelines(d, c, n, &info, a, o);
}

/* ---- memory ---- */

static uint32_t real_type(uint32_t type)
{
    return type < odd.n_real ? type : odd.same_as[type];
}

static VKAPI_ATTR void VKAPI_CALL odd_GetBufferMemoryRequirements(VkDevice d, VkBuffer b, VkMemoryRequirements *o)
{
    odd.real.GetBufferMemoryRequirements(d, b, o);
    for (uint32_t i = odd.n_real; i < odd.told.memoryTypeCount; i++)
        o->memoryTypeBits |= (o->memoryTypeBits >> odd.same_as[i] & 1) << i;
}

static VKAPI_ATTR VkResult VKAPI_CALL odd_AllocateMemory(VkDevice d, const VkMemoryAllocateInfo *i,
                                                         const VkAllocationCallbacks *a, VkDeviceMemory *o)
{
    VkMemoryAllocateInfo info = *i;
    const uint32_t heap = odd.told.memoryTypes[i->memoryTypeIndex].heapIndex;
    uint64_t taken = i->allocationSize;
    for (uint32_t m = 0; m < odd.n_memories; m++)
        taken += odd.memories[m].heap == heap ? odd.memories[m].bytes : 0;
    if (odd.is.allocation_bytes && i->allocationSize > odd.is.allocation_bytes)
        offence("%llu bytes are allocated at once", (unsigned long long)i->allocationSize);
    if (taken > odd.told.memoryHeaps[heap].size || odd.n_memories == MAX_MEMORIES)
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    info.memoryTypeIndex = real_type(i->memoryTypeIndex);
    const VkResult result = odd.real.AllocateMemory(d, &info, a, o);
    if (result == VK_SUCCESS)
        odd.memories[odd.n_memories++] = (struct memory){*o, i->allocationSize, i->memoryTypeIndex, heap};
    return result;
}

static struct memory *find_memory(VkDeviceMemory handle)
{
    for (uint32_t m = 0; m < odd.n_memories; m++)
        if (odd.memories[m].handle == handle)
            return &odd.memories[m];
    return NULL;
}

static VKAPI_ATTR void VKAPI_CALL odd_FreeMemory(VkDevice d, VkDeviceMemory handle, const VkAllocationCallbacks *a)
{
    struct memory *memory = find_memory(handle);
    if (memory)
        *memory = odd.memories[--odd.n_memories];
    odd.real.FreeMemory(d, handle, a);
}

/* The engine never flushes: what it maps has to be coherent. */
static VKAPI_ATTR VkResult VKAPI_CALL odd_MapMemory(VkDevice d, VkDeviceMemory handle, VkDeviceSize at, VkDeviceSize n,
                                                    VkMemoryMapFlags f, void **o)
{
    const struct memory *memory = find_memory(handle);
    const VkMemoryPropertyFlags both = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    if (!memory || (odd.told.memoryTypes[memory->type].propertyFlags & both) != both)
        offence("memory is mapped that the host does not see, or that is not coherent");
    return odd.real.MapMemory(d, handle, at, n, f, o);
}

/* ---- what is done with it ---- */

static VKAPI_ATTR void VKAPI_CALL odd_UpdateDescriptorSets(VkDevice d, uint32_t n, const VkWriteDescriptorSet *w,
                                                           uint32_t m, const VkCopyDescriptorSet *c)
{
    for (uint32_t i = 0; i < n; i++) {
        const VkDescriptorBufferInfo *b = w[i].pBufferInfo;
        if (w[i].descriptorType != VK_DESCRIPTOR_TYPE_STORAGE_BUFFER)
            continue;
        if (odd.is.storage_range && b->range > odd.is.storage_range)
            offence("a binding spans %llu bytes", (unsigned long long)b->range);
        if (b->offset % ALIGNMENT)
            offence("a binding begins at byte %llu", (unsigned long long)b->offset);
    }
    odd.real.UpdateDescriptorSets(d, n, w, m, c);
}

static VKAPI_ATTR void VKAPI_CALL odd_CmdDispatch(VkCommandBuffer c, uint32_t x, uint32_t y, uint32_t z)
{
    if (x > MOST_GROUPS || y > MOST_GROUPS || z > MOST_GROUPS)
        offence("a dispatch of %u x %u x %u workgroups", x, y, z);
    odd.real.CmdDispatch(c, x, y, z);
}

static VKAPI_ATTR VkResult VKAPI_CALL odd_CreateQueryPool(VkDevice d, const VkQueryPoolCreateInfo *i,
                                                          const VkAllocationCallbacks *a, VkQueryPool *o)
{
    if (odd.is.no_timestamps)
        offence("timestamps are asked for and not there");
    return odd.real.CreateQueryPool(d, i, a, o);
}

static VKAPI_ATTR VkResult VKAPI_CALL odd_GetQueryPoolResults(VkDevice d, VkQueryPool pool, uint32_t first, uint32_t n,
                                                              size_t bytes, void *data, VkDeviceSize stride,
                                                              VkQueryResultFlags flags)
{
    const VkResult result = odd.real.GetQueryPoolResults(d, pool, first, n, bytes, data, stride, flags);
    uint64_t *ticks = data;
    if (!odd.is.timestamp_bits || result != VK_SUCCESS)
        return result;
    const uint64_t most = (UINT64_C(1) << odd.is.timestamp_bits) - 1, start = ticks[0];
    if (!(flags & VK_QUERY_RESULT_64_BIT) || stride != sizeof *ticks)
        offence("timestamps are read as something else than words of 64 bits");
    for (uint32_t i = 0; i < n; i++)
        ticks[i] = (most + ticks[i] - start) & most;
    return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL odd_QueueSubmit(VkQueue q, uint32_t n, const VkSubmitInfo *i, VkFence f)
{
    odd.n_submits++;
    const bool lost = odd.lost || (odd.is.lost_at && odd.n_submits >= odd.is.lost_at);
    return lost ? VK_ERROR_DEVICE_LOST : odd.real.QueueSubmit(q, n, i, f);
}

/* ---- where the engine finds it ---- */

/* clang-format off */
#define ODD_DEVICE_FUNCTIONS(X) \
    X(CreateShaderModule) X(CreateComputePipelines) X(GetBufferMemoryRequirements) X(AllocateMemory) X(FreeMemory) \
    X(MapMemory) X(UpdateDescriptorSets) X(CmdDispatch) X(CreateQueryPool) X(GetQueryPoolResults) X(QueueSubmit)
#define ODD_INSTANCE_FUNCTIONS(X) \
    X(EnumeratePhysicalDevices) X(GetPhysicalDeviceProperties2) X(GetPhysicalDeviceFeatures2) \
    X(GetPhysicalDeviceMemoryProperties2) X(GetPhysicalDeviceQueueFamilyProperties) \
    X(EnumerateDeviceExtensionProperties) X(CreateDevice)
/* clang-format on */

#define X(fn) \
    if (!strcmp(name, "vk" #fn)) { \
        odd.real.fn = (PFN_vk##fn)real; \
        return (PFN_vkVoidFunction)odd_##fn; \
    }
static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL odd_GetDeviceProcAddr(VkDevice d, const char *name)
{
    const PFN_vkVoidFunction real = odd.real.GetDeviceProcAddr(d, name);
    ODD_DEVICE_FUNCTIONS(X)
    return real;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL odd_GetInstanceProcAddr(VkInstance instance, const char *name)
{
    const PFN_vkVoidFunction real = odd.instance_proc(instance, name);
    if (!strcmp(name, "vkCreateInstance")) {
        odd.create_instance = (PFN_vkCreateInstance)real;
        return (PFN_vkVoidFunction)odd_CreateInstance;
    }
    ODD_INSTANCE_FUNCTIONS(X)
    X(GetDeviceProcAddr)
    return real;
}
#undef X

void *__wrap_dlsym(void *handle, const char *name)
{
    void *symbol = __real_dlsym(handle, name);
    if (odd.set && symbol && !strcmp(name, "vkGetInstanceProcAddr")) {
        /* A function pointer cannot be converted in ISO C: copied, as in the engine. */
        const PFN_vkGetInstanceProcAddr own = odd_GetInstanceProcAddr;
        memcpy(&odd.instance_proc, &symbol, sizeof symbol);
        memcpy(&symbol, &own, sizeof symbol);
    }
    return symbol;
}
