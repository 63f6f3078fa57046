#include "engine/vulkan/stream.h"

#include <stdlib.h>
#include <string.h>

#include "engine/vulkan/vk.h"

enum { SETS_PER_POOL = 256, MAX_RECORDINGS_PER_SUBMIT = 256 };
enum { FILL_BYTES = 256 << 20 }; /* of one submit: a software device may have to be given the pages first */

static const uint64_t FINISH_NS = 5000000000ull;

/* A GPU that takes so long hangs; a software device compiles in its first submits, and shares its cores with others. */
static const uint64_t TIMEOUT_NS = 120000000000ull, CPU_TIMEOUT_NS = 1800000000000ull;

struct stream_descriptors {
    VkDescriptorPool pool;
    uint32_t n_used, n_views;
    VkBufferView views[SETS_PER_POOL * DEVICE_TEXEL_BUFFERS];
    struct stream_descriptors *next;
};

static enum mn_status stream_check(struct stream *stream, VkResult result, const char *what)
{
    return result == VK_SUCCESS ? MN_OK : device_fail(stream->device, result, what);
}

static enum mn_status lost(struct stream *stream)
{
    return log_fail(stream->device->log, MN_ERR_DEVICE_LOST, "device '%s' was lost earlier", stream->device->caps.name);
}

static enum mn_status create_fence(struct stream *stream, VkFence *fence)
{
    VkFenceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    enum mn_status status = stream_check(
        stream, stream->device->vk->CreateFence(stream->device->vk->handle, &info, NULL, fence), "vkCreateFence");
    if (status)
        *fence = VK_NULL_HANDLE;
    return status;
}

/* A command buffer without a command yet. */
static enum mn_status record_nothing(VkCommandBuffer *commands, struct stream *stream)
{
    struct recording recording;
    enum mn_status status = stream_record(stream, &recording);
    if (status)
        return status;
    *commands = recording.handle;
    return stream_end(stream, &recording);
}

static enum mn_status init_slot(struct stream *stream, struct staging_slot *slot)
{
    enum mn_status status = create_fence(stream, &slot->fence);
    if (!status)
        status = arena_reserve(&stream->staging_arena, STREAM_STAGING_BYTES, &slot->span);
    if (!status)
        status = record_nothing(&slot->commands, stream);
    return status;
}

enum mn_status stream_init(struct stream *stream, struct device *device, struct kernels *kernels)
{
    *stream = (struct stream){
        .device = device, .kernels = kernels, .timeout_ns = device->caps.is_cpu ? CPU_TIMEOUT_NS : TIMEOUT_NS};
    if (device->lost)
        return lost(stream);
    stream->vk = calloc(1, sizeof *stream->vk);
    if (!stream->vk)
        return log_fail(device->log, MN_ERR_MEMORY, "out of host memory for a stream");
    arena_init(&stream->staging_arena, device, "staging", ARENA_READBACK);
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                    .queueFamilyIndex = device->vk->queue_family};
    /* A failed call leaves its result undefined: handles are null again before anyone destroys them. */
    enum mn_status status = stream_check(
        stream, device->vk->CreateCommandPool(device->vk->handle, &pool, NULL, &stream->vk->pool),
        "vkCreateCommandPool");
    if (status)
        stream->vk->pool = VK_NULL_HANDLE;
    if (!status)
        status = create_fence(stream, &stream->vk->fence);
    if (!status && device->caps.timestamp_ns > 0.0) {
        VkQueryPoolCreateInfo timers = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                        .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                        .queryCount = STREAM_MAX_TIMERS};
        status = stream_check(stream,
                              device->vk->CreateQueryPool(device->vk->handle, &timers, NULL, &stream->vk->timers),
                              "vkCreateQueryPool");
        if (status)
            stream->vk->timers = VK_NULL_HANDLE;
        stream->has_timers = !status;
    }
    for (uint32_t i = 0; i < STREAM_STAGING_SLOTS && !status; i++)
        status = init_slot(stream, &stream->vk->staging[i]);
    if (!status)
        status = arena_commit(&stream->staging_arena);
    if (!status)
        status = record_nothing(&stream->vk->transfer, stream);
    if (status)
        stream_finish(stream);
    return status;
}

/* After a timeout the work may still be running on what will be destroyed: it gets a last chance, a bounded one. */
static void finish_work(struct device *device, VkFence fence, bool pending)
{
    if (pending && device->vk->WaitForFences(device->vk->handle, 1, &fence, VK_TRUE, FINISH_NS) == VK_TIMEOUT)
        device_abandon(device);
}

void stream_finish(struct stream *stream)
{
    struct device *device = stream->device;
    if (!stream->vk) {
        *stream = (struct stream){0};
        return;
    }
    finish_work(device, stream->vk->fence, stream->pending);
    for (uint32_t i = 0; i < STREAM_STAGING_SLOTS; i++) {
        finish_work(device, stream->vk->staging[i].fence, stream->vk->staging[i].pending);
        if (stream->vk->staging[i].fence)
            device->vk->DestroyFence(device->vk->handle, stream->vk->staging[i].fence, NULL);
    }
    for (struct stream_descriptors *d = stream->descriptors, *next; d; d = next) {
        next = d->next;
        device->vk->DestroyDescriptorPool(device->vk->handle, d->pool, NULL);
        for (uint32_t i = 0; i < d->n_views; i++)
            device->vk->DestroyBufferView(device->vk->handle, d->views[i], NULL);
        free(d);
    }
    if (stream->vk->pool)
        device->vk->DestroyCommandPool(device->vk->handle, stream->vk->pool, NULL);
    if (stream->vk->fence)
        device->vk->DestroyFence(device->vk->handle, stream->vk->fence, NULL);
    if (stream->vk->timers)
        device->vk->DestroyQueryPool(device->vk->handle, stream->vk->timers, NULL);
    arena_finish(&stream->staging_arena);
    free(stream->vk);
    *stream = (struct stream){0};
}

static enum mn_status begin(struct stream *stream, VkCommandBuffer handle)
{
    /* One recording may sit in a submit many times: r core passes are one command buffer submitted r times. */
    VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                     .flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT};
    return stream_check(stream, stream->device->vk->BeginCommandBuffer(handle, &info), "vkBeginCommandBuffer");
}

enum mn_status stream_record(struct stream *stream, struct recording *recording)
{
    *recording = (struct recording){0};
    VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                        .commandPool = stream->vk->pool,
                                        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                        .commandBufferCount = 1};
    enum mn_status status = stream_check(
        stream, stream->device->vk->AllocateCommandBuffers(stream->device->vk->handle, &info, &recording->handle),
        "vkAllocateCommandBuffers");
    if (!status)
        status = begin(stream, recording->handle);
    if (!status && stream->profile && stream->vk->timers) {
        stream->n_profiled = 0;
        stream->device->vk->CmdResetQueryPool(recording->handle, stream->vk->timers, 0, STREAM_MAX_TIMERS);
        stream->device->vk->CmdWriteTimestamp(recording->handle, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT,
                                              stream->vk->timers, 0);
    }
    return status;
}

static enum mn_status add_descriptor_pool(struct stream *stream)
{
    struct stream_descriptors *d = calloc(1, sizeof *d);
    if (!d)
        return log_fail(stream->device->log, MN_ERR_MEMORY, "out of host memory for descriptors");
    const VkDescriptorPoolSize sizes[] = {
        {.type = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, .descriptorCount = SETS_PER_POOL * KERNEL_MAX_BINDINGS},
        {.type = VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER, .descriptorCount = SETS_PER_POOL * DEVICE_TEXEL_BUFFERS},
    };
    VkDescriptorPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                       .maxSets = SETS_PER_POOL,
                                       .poolSizeCount = stream->device->caps.texel_loads ? 2 : 1,
                                       .pPoolSizes = sizes};
    VkResult result = stream->device->vk->CreateDescriptorPool(stream->device->vk->handle, &info, NULL, &d->pool);
    if (result != VK_SUCCESS) {
        free(d);
        return device_fail(stream->device, result, "vkCreateDescriptorPool");
    }
    d->next = stream->descriptors;
    stream->descriptors = d;
    return MN_OK;
}

/* A view lives as long as the pool of the set that holds it. */
static enum mn_status add_view(struct stream *stream, const struct span *span, VkBufferView *out)
{
    struct stream_descriptors *d = stream->descriptors;
    VkBufferViewCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO,
                                   .buffer = span->block->buffer,
                                   .format = VK_FORMAT_R32G32B32A32_UINT,
                                   .offset = span->offset,
                                   .range = (span->bytes + 15) / 16 *
                                            16}; /* whole texels; spans are spaced by ARENA_ALIGN */
    enum mn_status status = stream_check(
        stream, stream->device->vk->CreateBufferView(stream->device->vk->handle, &info, NULL, out),
        "vkCreateBufferView");
    if (!status)
        d->views[d->n_views++] = *out;
    return status;
}

static enum mn_status bind(struct stream *stream, struct recording *recording, const struct pipeline *pipeline,
                           const struct span *bindings, const void *push)
{
    struct device *device = stream->device;
    const struct kernel_info *info = kernel_info(pipeline->id);
    const uint32_t n_bindings = kernels_interface(stream->kernels, pipeline->id)->n_bindings;
    if (!stream->descriptors || stream->descriptors->n_used == SETS_PER_POOL) {
        enum mn_status status = add_descriptor_pool(stream);
        if (status)
            return status;
    }
    VkDescriptorSet set;
    VkDescriptorSetAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                            .descriptorPool = stream->descriptors->pool,
                                            .descriptorSetCount = 1,
                                            .pSetLayouts = &stream->kernels->vk->set_layouts[pipeline->id]};
    VkResult result = device->vk->AllocateDescriptorSets(device->vk->handle, &allocate, &set);
    if (result != VK_SUCCESS)
        return device_fail(device, result, "vkAllocateDescriptorSets");
    stream->descriptors->n_used++;
    VkDescriptorBufferInfo buffers[KERNEL_MAX_BINDINGS];
    VkBufferView views[KERNEL_MAX_BINDINGS];
    VkWriteDescriptorSet writes[KERNEL_MAX_BINDINGS];
    for (uint32_t i = 0; i < n_bindings; i++) {
        if (bindings[i].bytes > device->caps.max_storage_range)
            return log_fail(device->log, MN_ERR_MEMORY,
                            "kernel %s: binding %u spans %.1f MiB, device '%s' allows %.1f MiB; a smaller n_ctx or "
                            "kv_policy share:k needs less",
                            info->name, i, (double)bindings[i].bytes / 1048576.0, device->caps.name,
                            (double)device->caps.max_storage_range / 1048576.0);
        const VkDescriptorType type = kernels_descriptor(stream->kernels, pipeline->id, i);
        if (type == VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER) {
            enum mn_status status = add_view(stream, &bindings[i], &views[i]);
            if (status)
                return status;
        }
        buffers[i] = (VkDescriptorBufferInfo){
            .buffer = bindings[i].block->buffer, .offset = bindings[i].offset, .range = bindings[i].bytes};
        writes[i] = (VkWriteDescriptorSet){.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                           .dstSet = set,
                                           .dstBinding = i,
                                           .descriptorCount = 1,
                                           .descriptorType = type,
                                           .pBufferInfo = &buffers[i],
                                           .pTexelBufferView = &views[i]};
    }
    device->vk->UpdateDescriptorSets(device->vk->handle, n_bindings, writes, 0, NULL);
    device->vk->CmdBindPipeline(recording->handle, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline->handle);
    device->vk->CmdBindDescriptorSets(recording->handle, VK_PIPELINE_BIND_POINT_COMPUTE,
                                      stream->kernels->vk->layouts[pipeline->id], 0, 1, &set, 0, NULL);
    device->vk->CmdPushConstants(recording->handle, stream->kernels->vk->layouts[pipeline->id],
                                 VK_SHADER_STAGE_COMPUTE_BIT, 0, info->push_bytes, push);
    return MN_OK;
}

static void profile(struct stream *stream, struct recording *recording, enum kernel_id id)
{
    if (!stream->profile || !stream->vk->timers || stream->n_profiled + 2 > STREAM_MAX_TIMERS)
        return;
    stream->profiled[stream->n_profiled] = id;
    stream->device->vk->CmdWriteTimestamp(recording->handle, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, stream->vk->timers,
                                          ++stream->n_profiled);
}

static void barrier(struct stream *stream, VkCommandBuffer handle)
{
    VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                              .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
                              .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                                               VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT |
                                               VK_ACCESS_INDIRECT_COMMAND_READ_BIT};
    VkPipelineStageFlags stages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    stream->device->vk->CmdPipelineBarrier(handle, stages, stages | VK_PIPELINE_STAGE_DRAW_INDIRECT_BIT, 0, 1, &memory,
                                           0, NULL, 0, NULL);
}

enum mn_status stream_dispatch(struct stream *stream, struct recording *recording, const struct pipeline *pipeline,
                               const struct span *bindings, const void *push, uint32_t groups_x, uint32_t groups_y,
                               uint32_t groups_z)
{
    enum mn_status status = bind(stream, recording, pipeline, bindings, push);
    if (status)
        return status;
    stream->device->vk->CmdDispatch(recording->handle, groups_x, groups_y, groups_z);
    barrier(stream, recording->handle);
    profile(stream, recording, pipeline->id);
    recording->n_dispatches++;
    return MN_OK;
}

enum mn_status stream_dispatch_indirect(struct stream *stream, struct recording *recording,
                                        const struct pipeline *pipeline, const struct span *bindings, const void *push,
                                        struct span groups)
{
    enum mn_status status = bind(stream, recording, pipeline, bindings, push);
    if (status)
        return status;
    stream->device->vk->CmdDispatchIndirect(recording->handle, groups.block->buffer, groups.offset);
    barrier(stream, recording->handle);
    profile(stream, recording, pipeline->id);
    recording->n_dispatches++;
    return MN_OK;
}

void stream_copy(struct stream *stream, struct recording *recording, struct span from, struct span to, uint64_t bytes)
{
    VkBufferCopy region = {.srcOffset = from.offset, .dstOffset = to.offset, .size = bytes};
    stream->device->vk->CmdCopyBuffer(recording->handle, from.block->buffer, to.block->buffer, 1, &region);
    barrier(stream, recording->handle);
}

enum mn_status stream_end(struct stream *stream, struct recording *recording)
{
    /* What the device wrote becomes readable by the host; the wait on the fence alone does not promise that. */
    VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                              .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
                              .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
    stream->device->vk->CmdPipelineBarrier(recording->handle,
                                           VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
                                           VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &memory, 0, NULL, 0, NULL);
    return stream_check(stream, stream->device->vk->EndCommandBuffer(recording->handle), "vkEndCommandBuffer");
}

static enum mn_status submit(struct stream *stream, const VkCommandBuffer *handles, uint32_t n, VkFence fence,
                             bool *pending)
{
    struct device *device = stream->device;
    VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = n, .pCommandBuffers = handles};
    /* Reset before use, not after: should the reset fail, the next submit starts with another one. */
    VkResult result = device->vk->ResetFences(device->vk->handle, 1, &fence);
    if (result != VK_SUCCESS)
        return device_fail(device, result, "vkResetFences");
    device->was_given_work = true;
    result = device->vk->QueueSubmit(device->vk->queue, 1, &info, fence);
    if (result != VK_SUCCESS)
        return device_fail(device, result, "vkQueueSubmit");
    *pending = true;
    stream->n_submits++;
    return MN_OK;
}

static enum mn_status wait_for(struct stream *stream, VkFence fence, bool *pending)
{
    struct device *device = stream->device;
    VkResult result = device->vk->WaitForFences(device->vk->handle, 1, &fence, VK_TRUE, stream->timeout_ns);
    /* A wait that ran out of memory says nothing about the work, which must end before anything of it is used again. */
    if (result < 0 && result != VK_ERROR_DEVICE_LOST && device->vk->DeviceWaitIdle(device->vk->handle) != VK_SUCCESS)
        result = VK_ERROR_DEVICE_LOST;
    *pending = result == VK_TIMEOUT || result == VK_ERROR_DEVICE_LOST;
    return stream_check(stream, result, "vkWaitForFences");
}

static enum mn_status submit_and_wait(struct stream *stream, const VkCommandBuffer *handles, uint32_t n)
{
    enum mn_status status = submit(stream, handles, n, stream->vk->fence, &stream->pending);
    return status ? status : wait_for(stream, stream->vk->fence, &stream->pending);
}

enum mn_status stream_run(struct stream *stream, const struct recording *const *recordings, uint32_t n)
{
    if (stream->device->lost)
        return lost(stream);
    enum mn_status status = MN_OK;
    for (uint32_t at = 0; at < n && !status;) {
        VkCommandBuffer handles[MAX_RECORDINGS_PER_SUBMIT];
        uint32_t count = 0;
        status = progress_poll(&stream->device->progress);
        if (status)
            break;
        for (; at < n && count < MAX_RECORDINGS_PER_SUBMIT; at++) {
            handles[count++] = recordings[at]->handle;
            stream->n_dispatches += recordings[at]->n_dispatches;
        }
        status = submit_and_wait(stream, handles, count);
    }
    return status;
}

static enum mn_status record_copy(struct stream *stream, VkCommandBuffer commands, struct span from,
                                  uint64_t from_offset, struct span to, uint64_t to_offset, uint64_t bytes)
{
    struct recording recording = {.handle = commands};
    enum mn_status status = begin(stream, commands);
    if (status)
        return status;
    from.offset += from_offset;
    to.offset += to_offset;
    stream_copy(stream, &recording, from, to, bytes);
    return stream_end(stream, &recording);
}

static enum mn_status wait_slot(struct stream *stream, struct staging_slot *slot)
{
    return slot->pending ? wait_for(stream, slot->fence, &slot->pending) : MN_OK;
}

enum mn_status stream_wait(struct stream *stream)
{
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < STREAM_STAGING_SLOTS && !status; i++)
        status = wait_slot(stream, &stream->vk->staging[i]);
    return status;
}

enum mn_status stream_upload(struct stream *stream, struct span to, uint64_t offset, const void *from, uint64_t bytes)
{
    if (stream->device->lost)
        return lost(stream);
    if (span_host(to)) {
        memcpy((uint8_t *)span_host(to) + offset, from, bytes);
        return MN_OK;
    }
    enum mn_status status = MN_OK;
    for (uint64_t at = 0; at < bytes && !status; at += STREAM_STAGING_BYTES) {
        struct staging_slot *slot = &stream->vk->staging[stream->next_slot++ % STREAM_STAGING_SLOTS];
        const uint64_t n = bytes - at < STREAM_STAGING_BYTES ? bytes - at : STREAM_STAGING_BYTES;
        status = progress_poll(&stream->device->progress);
        if (!status)
            status = wait_slot(stream, slot);
        if (status)
            break;
        memcpy(span_host(slot->span), (const uint8_t *)from + at, n);
        status = record_copy(stream, slot->commands, slot->span, 0, to, offset + at, n);
        if (!status)
            status = submit(stream, &slot->commands, 1, slot->fence, &slot->pending);
    }
    return status;
}

enum mn_status stream_download(struct stream *stream, struct span from, uint64_t offset, void *to, uint64_t bytes)
{
    if (stream->device->lost)
        return lost(stream);
    if (stream->device->caps.uma && span_host(from)) {
        memcpy(to, (const uint8_t *)span_host(from) + offset, bytes);
        return MN_OK;
    }
    const struct span staging = stream->vk->staging[0].span;
    enum mn_status status = stream_wait(stream); /* the slot must be free */
    for (uint64_t at = 0; at < bytes && !status; at += STREAM_STAGING_BYTES) {
        const uint64_t n = bytes - at < STREAM_STAGING_BYTES ? bytes - at : STREAM_STAGING_BYTES;
        status = record_copy(stream, stream->vk->transfer, from, offset + at, staging, 0, n);
        if (!status)
            status = submit_and_wait(stream, &stream->vk->transfer, 1);
        if (!status)
            memcpy((uint8_t *)to + at, span_host(staging), n);
    }
    return status;
}

enum mn_status stream_copy_pieces(struct stream *stream, struct span in, const struct stream_piece *pieces, uint32_t n)
{
    enum { AT_ONCE = 256 };
    VkBufferCopy regions[AT_ONCE];
    struct recording recording = {.handle = stream->vk->transfer};
    if (stream->device->lost)
        return lost(stream);
    enum mn_status status = progress_poll(&stream->device->progress);
    if (!status)
        status = begin(stream, recording.handle);
    if (status)
        return status;
    for (uint32_t at = 0, count; at < n; at += count) {
        count = n - at < AT_ONCE ? n - at : AT_ONCE;
        for (uint32_t i = 0; i < count; i++)
            regions[i] = (VkBufferCopy){.srcOffset = in.offset + pieces[at + i].from,
                                        .dstOffset = in.offset + pieces[at + i].to,
                                        .size = pieces[at + i].bytes};
        stream->device->vk->CmdCopyBuffer(recording.handle, in.block->buffer, in.block->buffer, count, regions);
    }
    barrier(stream, recording.handle);
    status = stream_end(stream, &recording);
    return status ? status : submit_and_wait(stream, &stream->vk->transfer, 1);
}

static enum mn_status fill_piece(struct stream *stream, VkBuffer buffer, uint64_t offset, uint64_t n, uint32_t word)
{
    struct recording recording = {.handle = stream->vk->transfer};
    enum mn_status status = progress_poll(&stream->device->progress);
    if (!status)
        status = begin(stream, stream->vk->transfer);
    if (status)
        return status;
    stream->device->vk->CmdFillBuffer(stream->vk->transfer, buffer, offset, n, word);
    barrier(stream, stream->vk->transfer);
    status = stream_end(stream, &recording);
    return status ? status : submit_and_wait(stream, &stream->vk->transfer, 1);
}

enum mn_status stream_fill(struct stream *stream, struct span to, uint32_t word)
{
    if (stream->device->lost)
        return lost(stream);
    enum mn_status status = MN_OK;
    for (uint64_t at = 0, n; at < to.bytes && !status; at += n) {
        n = to.bytes - at < FILL_BYTES ? to.bytes - at : FILL_BYTES;
        status = fill_piece(stream, to.block->buffer, to.offset + at, n, word);
    }
    return status;
}

enum mn_status stream_read_timers(struct stream *stream, uint32_t n, double *ns)
{
    uint64_t ticks[STREAM_MAX_TIMERS];
    const uint32_t bits = stream->device->caps.timestamp_bits;
    const uint64_t mask = bits < 64 ? (UINT64_C(1) << bits) - 1 : UINT64_MAX; /* short ones begin anew within minutes */
    memset(ns, 0, n * sizeof *ns);
    if (!stream->vk->timers)
        return MN_OK;
    VkResult result = stream->device->vk->GetQueryPoolResults(stream->device->vk->handle, stream->vk->timers, 0, n,
                                                              sizeof ticks, ticks, sizeof *ticks,
                                                              VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT);
    if (result != VK_SUCCESS)
        return device_fail(stream->device, result, "vkGetQueryPoolResults");
    for (uint32_t i = 0; i < n; i++)
        ns[i] = (double)((ticks[i] - ticks[0]) & mask) * stream->device->caps.timestamp_ns;
    return MN_OK;
}
