/* A Vulkan driver that says other things of its devices than the one below it, and holds the engine to them: what it
 * offers, what it is asked for and what is done with it go through here, from dlsym on, so that the engine reads such a
 * device as it reads any other. A test that links this needs -Wl,--wrap=dlsym. */
#ifndef MUNINN_TESTS_ODD_DEVICE_H
#define MUNINN_TESTS_ODD_DEVICE_H

#include "engine/vulkan/vk.h"

/* What differs from the real device; zero: nothing. */
struct odd_device {
    VkPhysicalDeviceType type; /* OTHER: as it is */
    uint32_t api_version, subgroup_size, workgroup_threads, shared_bytes, storage_buffers;
    uint64_t storage_range, allocation_bytes, heap_bytes;
    uint32_t timestamp_bits; /* they begin anew right behind the first one that is read */
    bool no_timestamps, no_compute;
    bool no_size_control; /* subgroups may have any size, so that the engine cannot use them */
    bool one_size;        /* subgroups have one size, which cannot be asked for */
    bool any_subgroup;    /* pipelines of its subgroup size are built with the real one: they are not to be run */
    bool plain_types;     /* no type of 8, 16 or 64 bits, neither in memory nor in registers */
    bool hidden;          /* the host does not see device-local memory */
    bool not_coherent;    /* device-local memory the host sees is not coherent */
    bool never_coherent;  /* no memory is: Vulkan does not allow that */
    bool portable;        /* of a portable subset of Vulkan: seen by those alone who ask for such devices */
    uint32_t lost_at;     /* from this submit on the device is lost; 0: never */
};

/* The device of every instance from here on; NULL: the real one. Counts begin anew. */
void odd_device_set(const struct odd_device *device);

/* What the engine did that this device does not allow: how often, and the first such thing. */
uint32_t odd_device_n_offences(const char **first);
uint32_t odd_device_n_submits(void);

/* From the next submit on the device is lost. A signal handler may call it. */
void odd_device_lose(void);

#endif
