/* The stream: recording, submitting, waiting, uploading, downloading and timing on the one compute queue.
 *
 * Owns: the command pool, descriptor pools, the fences, the staging ring, the query pool.
 * Never: allocates after recording is done; has anything but uploads under way when a call returns.
 * Thread-safety: none.
 */
#ifndef MUNINN_ENGINE_VULKAN_STREAM_H
#define MUNINN_ENGINE_VULKAN_STREAM_H

#include "engine/vulkan/buffer.h"
#include "engine/vulkan/kernel.h"

enum { STREAM_STAGING_SLOTS = 2, STREAM_STAGING_BYTES = 4 << 20, STREAM_MAX_TIMERS = 512 }; /* bytes of one slot */

struct stream_descriptors; /* one descriptor pool in a list */

struct stream_vk; /* vk.h */

struct stream {
    struct device *device;
    struct kernels *kernels;
    struct stream_vk *vk;
    bool has_timers; /* false when the device has no timestamps */
    struct arena staging_arena;
    uint32_t next_slot;
    struct stream_descriptors *descriptors;
    uint64_t timeout_ns; /* longest wait for one submit before the device counts as lost */
    bool pending;
    uint64_t n_submits, n_dispatches; /* submitted so far: what tests assert on instead of time */
    /* While `profile` is set, recordings get a timestamp before the first and after each dispatch, for
     * stream_read_timers. */
    bool profile;
    uint32_t n_profiled; /* timestamps in the recording made last; [i + 1] - [i] is dispatch i of kernel profiled[i] */
    enum kernel_id profiled[STREAM_MAX_TIMERS];
};

/* A command buffer under construction or ready for replay. */
struct recording {
    struct VkCommandBuffer_T *handle; /* a VkCommandBuffer */
    uint32_t n_dispatches;
};

enum mn_status stream_init(struct stream *stream, struct device *device, struct kernels *kernels);
void stream_finish(struct stream *stream);

enum mn_status stream_record(struct stream *stream, struct recording *recording);
/* Adds one dispatch. `bindings` are spans in binding order; `push` is the kernel's push-constant struct. A memory
 * barrier follows each dispatch, since in this model every dispatch reads what the one before it wrote. */
enum mn_status stream_dispatch(struct stream *stream, struct recording *recording, const struct pipeline *pipeline,
                               const struct span *bindings, const void *push, uint32_t groups_x, uint32_t groups_y,
                               uint32_t groups_z);
/* The same with the three group counts read by the device from `groups` (3 x uint32). */
enum mn_status stream_dispatch_indirect(struct stream *stream, struct recording *recording,
                                        const struct pipeline *pipeline, const struct span *bindings, const void *push,
                                        struct span groups);
void stream_copy(struct stream *stream, struct recording *recording, struct span from, struct span to, uint64_t bytes);
enum mn_status stream_end(struct stream *stream, struct recording *recording);

/* Submits recordings in order (one may appear many times), then waits for all of them. Each recording's effects are
 * visible to the next. MN_ERR_DEVICE_LOST when the wait exceeds `timeout_ns`. */
enum mn_status stream_run(struct stream *stream, const struct recording *const *recordings, uint32_t n);

/* Copies host bytes into a span, directly when the host sees it. Else the last pieces may still be under way when it
 * returns: what is submitted later comes behind them, and who frees the span without a submit after it calls
 * stream_wait first. */
enum mn_status stream_upload(struct stream *stream, struct span to, uint64_t offset, const void *from, uint64_t bytes);
/* Waits for uploads under way. */
enum mn_status stream_wait(struct stream *stream);
/* Copies back, and waits until that is done. */
enum mn_status stream_download(struct stream *stream, struct span from, uint64_t offset, void *to, uint64_t bytes);
enum mn_status stream_fill(struct stream *stream, struct span to, uint32_t word);
/* Copies inside a span, n pieces of which none overlaps another one, and waits. Offsets and bytes are multiples of 4.
 */
struct stream_piece {
    uint64_t from, to, bytes;
};
enum mn_status stream_copy_pieces(struct stream *stream, struct span in, const struct stream_piece *pieces, uint32_t n);
/* Timer values in nanoseconds since timer 0; all zero on a device without timestamps. */
enum mn_status stream_read_timers(struct stream *stream, uint32_t n, double *ns);

#endif
