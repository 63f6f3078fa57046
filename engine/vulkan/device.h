/* The Vulkan device: loader, instance, physical device choice, capabilities, queue.
 *
 * Owns: the loader handle, the Vulkan function table, VkInstance, VkDevice, one compute queue, `caps`.
 * Never: allocates buffers, records commands, asks for a vendor id to decide anything: code asks `caps`.
 * Thread-safety: none; one thread at a time per device. Several devices may be used from several
 * threads. */
#ifndef MUNINN_ENGINE_VULKAN_DEVICE_H
#define MUNINN_ENGINE_VULKAN_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/progress.h"

/* Most texel buffers a kernel may bind. */
enum { DEVICE_TEXEL_BUFFERS = 9 };

enum device_type { DEVICE_OTHER, DEVICE_INTEGRATED, DEVICE_DISCRETE, DEVICE_VIRTUAL, DEVICE_CPU };

/* What the device can do, read once. */
struct caps {
    char name[256];
    char driver[512]; /* "llvmpipe Mesa 22.3.6 (LLVM 15.0.6)" */
    uint32_t vendor_id, device_id, driver_version, api_version;
    uint8_t uuid[16];
    uint64_t pci; /* domain << 16 | bus << 8 | device << 3 | function; 0: not on such a bus, or not said */
    char id[256]; /* what tells it from devices with its name, see device_id.h; "": nothing has to */
    enum device_type type;
    bool is_cpu;           /* a software device: lanes are SIMD lanes of a CPU core */
    bool uma;              /* the largest device-local heap is host-visible too */
    bool subgroup_shuffle; /* shuffles and broadcasts exist and the subgroup size can be pinned to `subgroup_size` */
    bool subgroup_size_control;  /* subgroups can be had full, and of one size */
    bool subgroup_size_required; /* which has to be asked for; otherwise the device has no other */
    bool fp16, int8_dot, matrix_cores;
    bool own_halves;  /* shaders take f16 apart themselves: a software device without f16 */
    bool texel_loads; /* buffers that are only read are bound as texel buffers: faster on software devices */
    uint32_t
        matrix_side; /* of the squares that its matrix units multiply for shaders/matrix; 0: none, see matrix_units.h */
    uint32_t subgroup_size;
    uint32_t max_workgroup_threads;
    uint32_t max_shared_bytes;
    uint64_t max_storage_range; /* bytes one binding may span */
    uint64_t max_allocation_bytes;
    uint64_t device_heap_bytes; /* size of the largest device-local heap */
    double timestamp_ns;        /* nanoseconds per timestamp tick; 0: no timestamps */
    uint32_t timestamp_bits;    /* that a timestamp has before it begins anew */
};

struct vk; /* vk.h: handles and functions; for this folder and for tests */

struct device {
    const struct mn_log *log;
    struct progress progress; /* of whatever is done with the device */
    struct caps caps;
    struct vk *vk;
    uint64_t reserved_bytes; /* in arenas */
    uint64_t peak_bytes;     /* the most that was reserved at any time */
    bool lost;               /* sticky: every later call on the device returns MN_ERR_DEVICE_LOST */
    bool abandoned;          /* work may run on it for ever: nothing is destroyed any more */
    bool was_given_work;     /* something was submitted */
    bool has_statistics;     /* the driver will say what it makes of pipelines: statistics.h */
    uint32_t n_messages;     /* warnings and errors of the validation layer so far */
    char first_message[512];
};

struct device_params {
    const char *select; /* NULL: best device; "0", "1", ...: index; otherwise part of one name: device_select.h */
    bool validate;      /* load the validation layer with synchronization validation; count its messages */
    bool statistics;    /* pipelines are to be looked at: has_statistics, where the driver can */
    struct mn_progress progress;
};

/* Opens the chosen device. MN_ERR_NO_DEVICE when there is no loader, driver or fitting device (the message names the
 * package to install), MN_ERR_USAGE when `select` names none of them. */
enum mn_status device_create(struct device **out, const struct device_params *params, const struct mn_log *log);
void device_destroy(struct device *device);

/* Calls `visit` for every Vulkan device, usable or not (`refusal` is NULL, or why Muninn cannot use it). */
enum mn_status device_list(void (*visit)(void *user, uint32_t index, const struct caps *caps, const char *refusal),
                           void *user, const struct mn_log *log);

/* Bytes that can still be allocated: of the largest device-local heap what the arenas left; on a software device what
 * the system can give without swapping, less a twentieth. */
uint64_t device_available_bytes(const struct device *device);

/* For a device that never finished what it was given, not even after a last wait: from now on the functions that
 * destroy or free Vulkan objects do nothing, since a driver that still works on them would crash. What they hold is the
 * process's until it ends. */
void device_abandon(struct device *device);

/* NULL: this build can use matrix units (matrix_units.h); otherwise what it lacks. */
const char *matrix_units_lack(void);

/* The one line people paste into reports: name, driver, uma, fp16, int dot, subgroup size, shared memory, matrix
 * cores. */
void device_banner(const struct caps *caps, char *text, size_t text_bytes);

#endif
