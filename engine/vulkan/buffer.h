/* Arenas: device memory that is planned first, reserved once, and handed out as spans.
 *
 * Owns: VkDeviceMemory and VkBuffer objects of one purpose (weights, cache, scratch, staging).
 * Never: grows or frees a part after `arena_commit`; a span never crosses a block.
 * Thread-safety: none.
 */
#ifndef MUNINN_ENGINE_VULKAN_BUFFER_H
#define MUNINN_ENGINE_VULKAN_BUFFER_H

#include "engine/vulkan/device.h"

/* Spans are multiples of this, the largest alignment a device may ask of a binding. */
enum { ARENA_ALIGN = 256 };

enum arena_kind {
    ARENA_DEVICE,   /* device-local; mapped as well when the device has uniform memory */
    ARENA_SHARED,   /* written by the host, read by shaders: small, device-local if possible */
    ARENA_READBACK, /* written by the device, read by the host, cached if possible */
};

struct arena_block; /* vk.h: one buffer and its memory */

/* A piece of an arena. Valid for binding once the arena is committed. */
struct span {
    struct arena_block *block;
    uint64_t offset, bytes;
};

struct arena {
    struct device *device;
    const char *name; /* "weights", "cache", ...: named in messages */
    enum arena_kind kind;
    struct arena_block *first, *last;
    uint64_t bytes; /* planned in all blocks */
    bool committed;
};

void arena_init(struct arena *arena, struct device *device, const char *name, enum arena_kind kind);
void arena_finish(struct arena *arena);

/* Plans a span of `bytes` (rounded up to ARENA_ALIGN).
 * MN_ERR_MEMORY when one span exceeds what the device allocates at once. */
enum mn_status arena_reserve(struct arena *arena, uint64_t bytes, struct span *out);

/* What a span of `bytes` takes of an arena. */
uint64_t arena_span_bytes(uint64_t bytes);

/* Allocates everything planned. MN_ERR_MEMORY names the needed and the available bytes; then nothing stays
 * allocated. */
enum mn_status arena_commit(struct arena *arena);

/* Host address of a span, or NULL when the host cannot see the arena. */
void *span_host(struct span span);

/* The spans that cover the whole arena, one by one: false when there are no more. *at is NULL before the first. */
bool arena_next(const struct arena *arena, struct arena_block **at, struct span *out);

#endif
