#include "engine/vulkan/buffer.h"

#include <inttypes.h>
#include <stdlib.h>

#include "engine/vulkan/vk.h"

void arena_init(struct arena *arena, struct device *device, const char *name, enum arena_kind kind)
{
    *arena = (struct arena){.device = device, .name = name, .kind = kind};
}

void arena_finish(struct arena *arena)
{
    struct device *device = arena->device;
    for (struct arena_block *block = arena->first, *next; block; block = next) {
        next = block->next;
        if (block->buffer)
            device->vk->DestroyBuffer(device->vk->handle, block->buffer, NULL);
        if (block->memory) {
            device->vk->FreeMemory(device->vk->handle, block->memory, NULL);
            device->reserved_bytes -= block->bytes;
        }
        free(block);
    }
    arena->first = arena->last = NULL;
    arena->bytes = 0;
    arena->committed = false;
}

uint64_t arena_span_bytes(uint64_t bytes)
{
    return bytes ? (bytes + ARENA_ALIGN - 1) & ~(uint64_t)(ARENA_ALIGN - 1) : ARENA_ALIGN;
}

enum mn_status arena_reserve(struct arena *arena, uint64_t bytes, struct span *out)
{
    const uint64_t limit = arena->device->caps.max_allocation_bytes;
    if (bytes > limit - ARENA_ALIGN)
        return log_fail(arena->device->log, MN_ERR_MEMORY,
                        "%s: one piece of %" PRIu64 " bytes exceeds the %" PRIu64 " that device '%s' allocates at once",
                        arena->name, bytes, limit, arena->device->caps.name);
    bytes = arena_span_bytes(bytes);
    if (!arena->last || arena->last->bytes + bytes > limit) {
        struct arena_block *block = calloc(1, sizeof *block);
        if (!block)
            return log_fail(arena->device->log, MN_ERR_MEMORY, "%s: out of host memory", arena->name);
        if (arena->last)
            arena->last->next = block;
        else
            arena->first = block;
        arena->last = block;
    }
    *out = (struct span){.block = arena->last, .offset = arena->last->bytes, .bytes = bytes};
    arena->last->bytes += bytes;
    arena->bytes += bytes;
    return MN_OK;
}

static uint32_t find_memory_type(const struct device *device, uint32_t allowed, VkMemoryPropertyFlags flags)
{
    for (uint32_t i = 0; i < device->vk->memory.memoryTypeCount; i++)
        if ((allowed >> i & 1) && (device->vk->memory.memoryTypes[i].propertyFlags & flags) == flags)
            return i;
    return UINT32_MAX;
}

static uint32_t choose_memory_type(const struct arena *arena, uint32_t allowed)
{
    const VkMemoryPropertyFlags local = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    /* Coherent memory always exists (Vulkan requires one such type), so no flush or invalidate is ever needed. */
    const VkMemoryPropertyFlags host = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const VkMemoryPropertyFlags wishes[3][3] = {
        [ARENA_DEVICE] = {arena->device->caps.uma ? local | host : local, local, 0},
        [ARENA_SHARED] = {local | host, host, host},
        [ARENA_READBACK] = {host | VK_MEMORY_PROPERTY_HOST_CACHED_BIT, host, host},
    };
    uint32_t type = UINT32_MAX;
    for (int i = 0; i < 3 && type == UINT32_MAX; i++)
        type = find_memory_type(arena->device, allowed, wishes[arena->kind][i]);
    return type;
}

static enum mn_status commit_block(struct arena *arena, struct arena_block *block)
{
    struct device *device = arena->device;
    VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                               .size = block->bytes,
                               .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_STORAGE_TEXEL_BUFFER_BIT |
                                        VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT |
                                        VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT};
    VkResult result = device->vk->CreateBuffer(device->vk->handle, &info, NULL, &block->buffer);
    if (result != VK_SUCCESS) {
        block->buffer = VK_NULL_HANDLE;
        return device_fail(device, result, "vkCreateBuffer");
    }
    VkMemoryRequirements needs;
    device->vk->GetBufferMemoryRequirements(device->vk->handle, block->buffer, &needs);
    uint32_t type = choose_memory_type(arena, needs.memoryTypeBits);
    if (type == UINT32_MAX)
        return log_fail(device->log, MN_ERR_MEMORY, "%s: device '%s' has no fitting memory type", arena->name,
                        device->caps.name);
    VkMemoryAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = needs.size, .memoryTypeIndex = type};
    const uint64_t heap = device->vk->memory.memoryHeaps[device->vk->memory.memoryTypes[type].heapIndex].size;
    /* Vulkan forbids to ask for more than the heap; software drivers would even grant it. */
    result = needs.size > heap ? VK_ERROR_OUT_OF_DEVICE_MEMORY
                               : device->vk->AllocateMemory(device->vk->handle, &allocate, NULL, &block->memory);
    if (result != VK_SUCCESS) {
        block->memory = VK_NULL_HANDLE;
        if (result == VK_ERROR_DEVICE_LOST)
            return device_fail(device, result, "vkAllocateMemory");
        return log_fail(device->log, MN_ERR_MEMORY,
                        "%s: needs %.1f MiB on device '%s' (heap of %.1f MiB), not available (VkResult %d); a smaller "
                        "n_ctx, kv_policy share:k or a smaller weight_type or kv_type needs less",
                        arena->name, (double)arena->bytes / 1048576.0, device->caps.name, (double)heap / 1048576.0,
                        (int)result);
    }
    device->reserved_bytes += block->bytes;
    if (device->reserved_bytes > device->peak_bytes)
        device->peak_bytes = device->reserved_bytes;
    result = device->vk->BindBufferMemory(device->vk->handle, block->buffer, block->memory, 0);
    if (result != VK_SUCCESS)
        return device_fail(device, result, "vkBindBufferMemory");
    if (device->vk->memory.memoryTypes[type].propertyFlags & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT) {
        void *address = NULL;
        result = device->vk->MapMemory(device->vk->handle, block->memory, 0, VK_WHOLE_SIZE, 0, &address);
        if (result != VK_SUCCESS)
            return device_fail(device, result, "vkMapMemory");
        block->mapped = address;
    }
    return MN_OK;
}

enum mn_status arena_commit(struct arena *arena)
{
    enum mn_status status = MN_OK;
    for (struct arena_block *block = arena->first; block && !status; block = block->next)
        status = commit_block(arena, block);
    if (status) {
        arena_finish(arena);
        return status;
    }
    arena->committed = true;
    return MN_OK;
}

void *span_host(struct span span)
{
    return span.block->mapped ? span.block->mapped + span.offset : NULL;
}

bool arena_next(const struct arena *arena, struct arena_block **at, struct span *out)
{
    *at = *at ? (*at)->next : arena->first;
    if (*at)
        *out = (struct span){.block = *at, .bytes = (*at)->bytes};
    return *at != NULL;
}
