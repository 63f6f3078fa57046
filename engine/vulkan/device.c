#include "engine/vulkan/device.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/system.h"
#include "engine/vulkan/device_id.h"
#include "engine/vulkan/device_select.h"
#include "engine/vulkan/matrix_units.h"
#include "engine/vulkan/subgroups.h"
#include "engine/vulkan/vk.h"

enum { MAX_FAMILIES = 32, MAX_EXTENSIONS = 128 };

static const char validation_layer[] = "VK_LAYER_KHRONOS_validation";
/* Of the beta headers, which nothing else needs. */
static const char portability_subset[] = "VK_KHR_portability_subset";

static enum mn_status status_of_result(VkResult result)
{
    switch (result) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_FRAGMENTED_POOL:
    case VK_ERROR_OUT_OF_POOL_MEMORY:
    case VK_ERROR_TOO_MANY_OBJECTS: return MN_ERR_MEMORY;
    case VK_ERROR_DEVICE_LOST:
    case VK_TIMEOUT: return MN_ERR_DEVICE_LOST;
    case VK_ERROR_INITIALIZATION_FAILED:
    case VK_ERROR_INCOMPATIBLE_DRIVER:
    case VK_ERROR_LAYER_NOT_PRESENT:
    case VK_ERROR_EXTENSION_NOT_PRESENT:
    case VK_ERROR_FEATURE_NOT_PRESENT: return MN_ERR_NO_DEVICE;
    default: return MN_ERR_RUN;
    }
}

enum mn_status device_fail(struct device *device, VkResult result, const char *what)
{
    enum mn_status status = status_of_result(result);
    if (status == MN_ERR_DEVICE_LOST)
        device->lost = true;
    return log_fail(device->log, status, "device '%s': %s: %s (VkResult %d)", device->caps.name, what,
                    mn_status_name(status), (int)result);
}

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    (void)types;
    struct device *device = user;
    if (!(severity & (VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT)))
        return VK_FALSE;
    if (device->n_messages++ == 0)
        snprintf(device->first_message, sizeof device->first_message, "%s", data->pMessage);
    log_note(device->log, MN_LOG_WARN, "validation: %s", data->pMessage);
    return VK_FALSE;
}

/* Zeroed, with room for Vulkan's side. NULL without memory. */
static struct device *new_device(const struct mn_log *log)
{
    struct {
        struct device device;
        struct vk vk;
    } *both = calloc(1, sizeof *both);
    if (!both)
        return NULL;
    both->device.vk = &both->vk;
    both->device.log = log;
    return &both->device;
}

static enum mn_status load_loader(struct device *device)
{
    device->vk->loader = library_open(system_vulkan_names);
    if (!device->vk->loader)
        return log_fail(device->log, MN_ERR_NO_DEVICE, "no Vulkan loader: %s", system_vulkan_advice);
    if (!library_find(device->vk->loader, "vkGetInstanceProcAddr", &device->vk->get_instance_proc))
        return log_fail(device->log, MN_ERR_NO_DEVICE, "the Vulkan loader has no vkGetInstanceProcAddr; reinstall it");
    return MN_OK;
}

static bool has_layer(struct device *device, const char *name)
{
    PFN_vkEnumerateInstanceLayerProperties enumerate =
        (PFN_vkEnumerateInstanceLayerProperties)device->vk->get_instance_proc(NULL,
                                                                              "vkEnumerateInstanceLayerProperties");
    VkLayerProperties layers[64];
    uint32_t n = 64;
    if (!enumerate || enumerate(&n, layers) < 0)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!strcmp(layers[i].layerName, name))
            return true;
    return false;
}

/* Without this the loader keeps drivers of a portable subset of Vulkan to itself: MoltenVK. */
static VkInstanceCreateFlags ask_for_portability(struct device *device, const char **extensions, uint32_t *n_extensions)
{
#ifdef VK_KHR_portability_enumeration
    PFN_vkEnumerateInstanceExtensionProperties enumerate = (PFN_vkEnumerateInstanceExtensionProperties)
                                                               device->vk->get_instance_proc(
                                                                   NULL, "vkEnumerateInstanceExtensionProperties");
    VkExtensionProperties list[MAX_EXTENSIONS];
    uint32_t n = MAX_EXTENSIONS;
    if (!enumerate || enumerate(NULL, &n, list) < 0)
        return 0;
    for (uint32_t i = 0; i < n; i++)
        if (!strcmp(list[i].extensionName, VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME)) {
            extensions[(*n_extensions)++] = VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME;
            return VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR;
        }
#else
    (void)device, (void)extensions, (void)n_extensions;
#endif
    return 0;
}

static enum mn_status create_instance(struct device *device, bool validate)
{
    PFN_vkCreateInstance create = (PFN_vkCreateInstance)device->vk->get_instance_proc(NULL, "vkCreateInstance");
    if (!create)
        return log_fail(device->log, MN_ERR_NO_DEVICE,
                        "the Vulkan loader has no vkCreateInstance; reinstall the package libvulkan1");
    if (validate && !has_layer(device, validation_layer))
        return log_fail(device->log, MN_ERR_NO_DEVICE,
                        "%s is not installed; install the package vulkan-validationlayers", validation_layer);

    VkApplicationInfo app = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .pApplicationName = "muninn", .apiVersion = VK_API_VERSION_1_2};
    VkValidationFeatureEnableEXT enables[] = {VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
    VkValidationFeaturesEXT features = {.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
                                        .enabledValidationFeatureCount = 1,
                                        .pEnabledValidationFeatures = enables};
    VkDebugUtilsMessengerCreateInfoEXT messenger = {.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
                                                    .pNext = &features,
                                                    .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                                                                       VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
                                                    .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_GENERAL_BIT_EXT |
                                                                   VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
                                                    .pfnUserCallback = on_message,
                                                    .pUserData = device};
    const char *layers[] = {validation_layer};
    const char *extensions[2] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME};
    uint32_t n_extensions = validate ? 1 : 0;
    const VkInstanceCreateFlags flags = ask_for_portability(device, extensions, &n_extensions);
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                 .pNext = validate ? &messenger : NULL,
                                 .flags = flags,
                                 .pApplicationInfo = &app,
                                 .enabledLayerCount = validate ? 1 : 0,
                                 .ppEnabledLayerNames = layers,
                                 .enabledExtensionCount = n_extensions,
                                 .ppEnabledExtensionNames = extensions};
    VkResult result = create(&info, NULL, &device->vk->instance);
    if (result != VK_SUCCESS) {
        device->vk->instance = VK_NULL_HANDLE;
        return log_fail(
            device->log, MN_ERR_NO_DEVICE,
            "no Vulkan instance (VkResult %d); install a driver, for example the package mesa-vulkan-drivers",
            (int)result);
    }
#define X(fn) \
    device->vk->fn = (PFN_vk##fn)device->vk->get_instance_proc(device->vk->instance, "vk" #fn); \
    if (!device->vk->fn) \
        return log_fail(device->log, MN_ERR_NO_DEVICE, "the Vulkan loader lacks vk" #fn ": Vulkan 1.2 is required");
    VK_INSTANCE_FUNCTIONS(X)
#undef X
    if (validate) {
        PFN_vkCreateDebugUtilsMessengerEXT create_messenger =
            (PFN_vkCreateDebugUtilsMessengerEXT)device->vk->get_instance_proc(device->vk->instance,
                                                                              "vkCreateDebugUtilsMessengerEXT");
        messenger.pNext = NULL;
        if (!create_messenger ||
            create_messenger(device->vk->instance, &messenger, NULL, &device->vk->messenger) != VK_SUCCESS)
            return log_fail(device->log, MN_ERR_NO_DEVICE, "the validation layer gives no debug messenger");
    }
    return MN_OK;
}

bool device_has_extension(struct device *device, VkPhysicalDevice physical, const char *name)
{
    VkExtensionProperties *list = NULL;
    uint32_t n = 0;
    bool found = false;
    if (device->vk->EnumerateDeviceExtensionProperties(physical, NULL, &n, NULL) != VK_SUCCESS || n == 0 || n > 4096)
        return false;
    list = calloc(n, sizeof *list);
    if (list && device->vk->EnumerateDeviceExtensionProperties(physical, NULL, &n, list) >= 0)
        for (uint32_t i = 0; i < n && !found; i++)
            found = !strcmp(list[i].extensionName, name);
    free(list);
    return found;
}

/* *timestamp_bits: of a timestamp there; 0: it has none. */
static bool find_queue_family(struct device *device, VkPhysicalDevice physical, uint32_t *family,
                              uint32_t *timestamp_bits)
{
    VkQueueFamilyProperties families[MAX_FAMILIES];
    uint32_t n = MAX_FAMILIES;
    device->vk->GetPhysicalDeviceQueueFamilyProperties(physical, &n, families);
    for (uint32_t i = 0; i < n; i++)
        if (families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) {
            *family = i;
            *timestamp_bits = families[i].timestampValidBits;
            return true;
        }
    return false;
}

static void read_heaps(const VkPhysicalDeviceMemoryProperties *memory, struct caps *caps)
{
    uint32_t largest = 0;
    for (uint32_t i = 0; i < memory->memoryHeapCount; i++)
        if ((memory->memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) &&
            memory->memoryHeaps[i].size > caps->device_heap_bytes) {
            caps->device_heap_bytes = memory->memoryHeaps[i].size;
            largest = i;
        }
    const VkMemoryPropertyFlags both = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                       VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    for (uint32_t i = 0; i < memory->memoryTypeCount; i++)
        if (memory->memoryTypes[i].heapIndex == largest && (memory->memoryTypes[i].propertyFlags & both) == both)
            caps->uma = true;
}

static enum device_type type_of(VkPhysicalDeviceType type)
{
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return DEVICE_DISCRETE;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return DEVICE_INTEGRATED;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return DEVICE_VIRTUAL;
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return DEVICE_CPU;
    default: return DEVICE_OTHER;
    }
}

/* NULL, or the reason why a device with these properties cannot be used. */
static const char *refusal_of(const struct caps *caps, const VkPhysicalDeviceLimits *limits)
{
    if (caps->api_version < VK_API_VERSION_1_2)
        return "it offers less than Vulkan 1.2";
    if (caps->subgroup_size < 4 || (caps->subgroup_size & (caps->subgroup_size - 1)))
        return "its subgroup size is not a power of two of at least 4";
    if (limits->maxPerStageDescriptorStorageBuffers < 12 || limits->maxPushConstantsSize < 128)
        return "it allows fewer than 12 storage buffers or 128 bytes of push constants per shader";
    return NULL;
}

/* Where the device is plugged in, as the system counts; 0: it does not say. */
static uint64_t read_pci(struct device *device, VkPhysicalDevice physical)
{
    VkPhysicalDevicePCIBusInfoPropertiesEXT bus = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT};
    VkPhysicalDeviceProperties2 props = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &bus};
    if (!device_has_extension(device, physical, VK_EXT_PCI_BUS_INFO_EXTENSION_NAME))
        return 0;
    device->vk->GetPhysicalDeviceProperties2(physical, &props);
    return (uint64_t)bus.pciDomain << 16 | (uint64_t)(bus.pciBus & 0xff) << 8 | (uint64_t)(bus.pciDevice & 0x1f) << 3 |
           (bus.pciFunction & 0x7);
}

/* Fills caps; returns NULL, or the reason why this device cannot be used. */
static const char *read_caps(struct device *device, VkPhysicalDevice physical, struct caps *caps)
{
    *caps = (struct caps){0};
    VkPhysicalDeviceSubgroupSizeControlProperties size_control = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES};
    VkPhysicalDeviceMaintenance3Properties maintenance3 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES, .pNext = &size_control};
    VkPhysicalDeviceDriverProperties driver = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES,
                                               .pNext = &maintenance3};
    VkPhysicalDeviceIDProperties id = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES, .pNext = &driver};
    VkPhysicalDeviceSubgroupProperties subgroup = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES,
                                                   .pNext = &id};
    VkPhysicalDeviceProperties2 props = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &subgroup};
    bool control = device_has_extension(device, physical, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
    if (!control)
        maintenance3.pNext = NULL;
    device->vk->GetPhysicalDeviceProperties2(physical, &props);
    VkPhysicalDeviceSubgroupSizeControlFeatures control_features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES};
    VkPhysicalDeviceShaderFloat16Int8Features fp16 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES,
        .pNext = control ? &control_features : NULL};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &fp16};
    device->vk->GetPhysicalDeviceFeatures2(physical, &features);
    VkPhysicalDeviceMemoryProperties2 memory = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
    device->vk->GetPhysicalDeviceMemoryProperties2(physical, &memory);

    const VkPhysicalDeviceLimits *limits = &props.properties.limits;
    snprintf(caps->name, sizeof caps->name, "%s", props.properties.deviceName);
    snprintf(caps->driver, sizeof caps->driver, "%s %s", driver.driverName, driver.driverInfo);
    memcpy(caps->uuid, id.deviceUUID, sizeof caps->uuid);
    caps->pci = read_pci(device, physical);
    caps->vendor_id = props.properties.vendorID;
    caps->device_id = props.properties.deviceID;
    caps->driver_version = props.properties.driverVersion;
    caps->api_version = props.properties.apiVersion;
    caps->type = type_of(props.properties.deviceType);
    caps->is_cpu = caps->type == DEVICE_CPU;
    subgroups_read(caps, &subgroup, control ? &size_control : NULL, &control_features);
    caps->fp16 = fp16.shaderFloat16;
    caps->own_halves = caps->is_cpu && !caps->fp16;
    caps->int8_dot = device_has_extension(device, physical, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
    caps->matrix_cores = device_has_extension(device, physical, "VK_KHR_cooperative_matrix") ||
                         device_has_extension(device, physical, "VK_NV_cooperative_matrix");
    caps->max_workgroup_threads = limits->maxComputeWorkGroupInvocations < limits->maxComputeWorkGroupSize[0]
                                      ? limits->maxComputeWorkGroupInvocations
                                      : limits->maxComputeWorkGroupSize[0];
    caps->max_shared_bytes = limits->maxComputeSharedMemorySize;
    caps->max_storage_range = limits->maxStorageBufferRange;
    caps->texel_loads = caps->is_cpu && caps->subgroup_shuffle && features.features.shaderInt64 &&
                        limits->maxPerStageDescriptorStorageImages >= DEVICE_TEXEL_BUFFERS;
    if (caps->texel_loads && caps->max_storage_range / 16 > limits->maxTexelBufferElements)
        caps->max_storage_range = limits->maxTexelBufferElements * 16ull;
    caps->max_allocation_bytes = maintenance3.maxMemoryAllocationSize;
    read_heaps(&memory.memoryProperties, caps);
    caps->matrix_side = matrix_units_side(device, physical, caps);
    if (caps->type == DEVICE_DISCRETE)
        caps->uma = false; /* a resizable BAR shows the whole heap, but reading through it is slow */

    uint32_t family;
    if (!find_queue_family(device, physical, &family, &caps->timestamp_bits))
        return "it has no compute queue";
    caps->timestamp_ns = caps->timestamp_bits ? (double)limits->timestampPeriod : 0.0;
    return refusal_of(caps, limits);
}

/* The machine's devices. */
struct physical_list {
    uint32_t n;
    VkPhysicalDevice handles[MAX_DEVICES];
    struct device_candidate devices[MAX_DEVICES];
};

static enum mn_status list_physical(struct device *device, struct physical_list *list)
{
    list->n = MAX_DEVICES;
    VkResult result = device->vk->EnumeratePhysicalDevices(device->vk->instance, &list->n, list->handles);
    if ((result != VK_SUCCESS && result != VK_INCOMPLETE) || list->n == 0)
        return log_fail(device->log, MN_ERR_NO_DEVICE,
                        "no Vulkan device (VkResult %d); install a driver, for example the package mesa-vulkan-drivers",
                        (int)result);
    for (uint32_t i = 0; i < list->n; i++)
        list->devices[i].refusal = read_caps(device, list->handles[i], &list->devices[i].caps);
    for (uint32_t i = 0; i < list->n; i++)
        device_id_write(&list->devices[i].caps, list->devices, list->n, i);
    return MN_OK;
}

static enum mn_status choose_physical(struct device *device, const char *select)
{
    struct physical_list list;
    uint32_t chosen;
    enum mn_status status = list_physical(device, &list);
    if (!status)
        status = device_choose(&chosen, list.devices, list.n, select, device->log);
    if (status)
        return status;
    device->vk->physical = list.handles[chosen];
    device->caps = list.devices[chosen].caps;
    return MN_OK;
}

static bool offers_statistics(struct device *device)
{
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR statistics = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &statistics};
    if (!device_has_extension(device, device->vk->physical, VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME))
        return false;
    device->vk->GetPhysicalDeviceFeatures2(device->vk->physical, &features);
    return statistics.pipelineExecutableInfo;
}

static enum mn_status load_functions(struct device *device)
{
#define X(fn) \
    device->vk->fn = (PFN_vk##fn)device->vk->GetDeviceProcAddr(device->vk->handle, "vk" #fn); \
    if (!device->vk->fn) \
        return log_fail(device->log, MN_ERR_NO_DEVICE, "device '%s' lacks vk" #fn, device->caps.name);
    VK_DEVICE_FUNCTIONS(X)
    if (device->has_statistics) {
        VK_STATISTICS_FUNCTIONS(X)
    }
#undef X
    return MN_OK;
}

static enum mn_status create_logical(struct device *device, bool statistics_wanted)
{
    uint32_t timestamp_bits;
    device->has_statistics = statistics_wanted && offers_statistics(device);
    find_queue_family(device, device->vk->physical, &device->vk->queue_family, &timestamp_bits);
    VkPhysicalDeviceMemoryProperties2 memory = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
    device->vk->GetPhysicalDeviceMemoryProperties2(device->vk->physical, &memory);
    device->vk->memory = memory.memoryProperties;

    VkPhysicalDeviceSubgroupSizeControlFeatures control = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
        .subgroupSizeControl = VK_TRUE,
        .computeFullSubgroups = VK_TRUE};
    const char *extensions[4];
    uint32_t n_extensions = 0;
    void *next = NULL;
    if (device_has_extension(device, device->vk->physical, portability_subset))
        extensions[n_extensions++] = portability_subset; /* Vulkan wants it; nothing of what it offers is used */
    struct matrix_units_features units;
    if (device->caps.subgroup_size_control) {
        next = &control;
        extensions[n_extensions++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
    }
    if (device->caps.matrix_side)
        next = matrix_units_enable(&units, next, &extensions[n_extensions++]);
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR statistics = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pNext = next,
        .pipelineExecutableInfo = VK_TRUE};
    if (device->has_statistics) {
        next = &statistics;
        extensions[n_extensions++] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
    }
    float priority = 1.0f;
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                     .queueFamilyIndex = device->vk->queue_family,
                                     .queueCount = 1,
                                     .pQueuePriorities = &priority};
    const VkPhysicalDeviceFeatures features = {
        .shaderInt64 = device->caps.texel_loads}; /* shaders/cpu writes pairs of words */
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = next,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue,
                               .enabledExtensionCount = n_extensions,
                               .ppEnabledExtensionNames = extensions,
                               .pEnabledFeatures = &features};
    VkResult result = device->vk->CreateDevice(device->vk->physical, &info, NULL, &device->vk->handle);
    if (result != VK_SUCCESS) {
        device->vk->handle = VK_NULL_HANDLE;
        return device_fail(device, result, "vkCreateDevice");
    }
    enum mn_status status = load_functions(device);
    if (!status)
        device->vk->GetDeviceQueue(device->vk->handle, device->vk->queue_family, 0, &device->vk->queue);
    return status;
}

enum mn_status device_create(struct device **out, const struct device_params *params, const struct mn_log *log)
{
    *out = NULL;
    struct device *device = new_device(log);
    if (!device)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a device");
    device->progress.to = params->progress;
    enum mn_status status = load_loader(device);
    if (!status)
        status = create_instance(device, params->validate);
    if (!status)
        status = choose_physical(device, params->select);
    if (!status)
        status = create_logical(device, params->statistics);
    if (status) {
        device_destroy(device);
        return status;
    }
    *out = device;
    return MN_OK;
}

#define KEEP(object, handle) \
    static VKAPI_ATTR void VKAPI_CALL keep_##object(VkDevice device, handle object, \
                                                    const VkAllocationCallbacks *callbacks) \
    { \
        (void)device, (void)object, (void)callbacks; \
    }
KEEP(buffer, VkBuffer)
KEEP(view, VkBufferView)
KEEP(memory, VkDeviceMemory)
KEEP(module, VkShaderModule)
KEEP(set_layout, VkDescriptorSetLayout)
KEEP(layout, VkPipelineLayout)
KEEP(pipeline, VkPipeline)
KEEP(descriptors, VkDescriptorPool)
KEEP(commands, VkCommandPool)
KEEP(fence, VkFence)
KEEP(timers, VkQueryPool)
#undef KEEP

void device_abandon(struct device *device)
{
    if (device->abandoned)
        return;
    device->lost = device->abandoned = true;
    device->vk->DestroyBuffer = keep_buffer;
    device->vk->DestroyBufferView = keep_view;
    device->vk->FreeMemory = keep_memory;
    device->vk->DestroyShaderModule = keep_module;
    device->vk->DestroyDescriptorSetLayout = keep_set_layout;
    device->vk->DestroyPipelineLayout = keep_layout;
    device->vk->DestroyPipeline = keep_pipeline;
    device->vk->DestroyDescriptorPool = keep_descriptors;
    device->vk->DestroyCommandPool = keep_commands;
    device->vk->DestroyFence = keep_fence;
    device->vk->DestroyQueryPool = keep_timers;
    log_note(device->log, MN_LOG_WARN, "device '%s' is still at work; what it uses is left to the end of the process",
             device->caps.name);
}

void device_destroy(struct device *device)
{
    if (!device)
        return;
    if (device->vk->handle && !device->abandoned) {
        if (device->was_given_work && !device->lost) /* devices that only compile need not be able to wait */
            device->vk->DeviceWaitIdle(device->vk->handle);
        if (device->vk->DestroyDevice)
            device->vk->DestroyDevice(device->vk->handle, NULL);
    }
    if (device->vk->messenger) {
        PFN_vkDestroyDebugUtilsMessengerEXT destroy =
            (PFN_vkDestroyDebugUtilsMessengerEXT)device->vk->get_instance_proc(device->vk->instance,
                                                                               "vkDestroyDebugUtilsMessengerEXT");
        if (destroy)
            destroy(device->vk->instance, device->vk->messenger, NULL);
    }
    if (device->vk->instance && device->vk->DestroyInstance && !device->abandoned)
        device->vk->DestroyInstance(device->vk->instance, NULL);
    /* The loader stays mapped: drivers leave threads and thread-local destructors behind that unmapping would pull
     * away. */
    free(device);
}

enum mn_status device_list(void (*visit)(void *, uint32_t, const struct caps *, const char *), void *user,
                           const struct mn_log *log)
{
    struct device *device = new_device(log);
    if (!device)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for the device list");
    struct physical_list list;
    enum mn_status status = load_loader(device);
    if (!status)
        status = create_instance(device, false);
    if (!status)
        status = list_physical(device, &list);
    for (uint32_t i = 0; !status && i < list.n; i++)
        visit(user, i, &list.devices[i].caps, list.devices[i].refusal);
    device_destroy(device);
    return status;
}

uint64_t device_available_bytes(const struct device *device)
{
    const uint64_t heap = device->caps.device_heap_bytes, system = device->caps.is_cpu ? system_available_bytes() : 0;
    if (device->caps.is_cpu) /* its heap is a number in the driver (2 GiB in llvmpipe) that bounds one allocation, not
                                their sum */
        return system - system / 20;
    return heap > device->reserved_bytes ? heap - device->reserved_bytes : 0;
}

void device_banner(const struct caps *caps, char *text, size_t text_bytes)
{
    snprintf(text, text_bytes,
             "%s | %s | uma %d | fp16 %d | int dot %d | subgroup %u | shared %u KiB | matrix cores %d", caps->name,
             caps->driver, caps->uma, caps->fp16, caps->int8_dot, caps->subgroup_size, caps->max_shared_bytes / 1024,
             caps->matrix_cores);
}
