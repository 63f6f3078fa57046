/* What tells devices apart that share a name: a CPU device's processors, and the place of one of several equal devices.
 * Never: tells machines with equal hardware apart, so that results of one kind of device stay together.
 * Thread-safety: stateless. */
#ifndef MUNINN_ENGINE_VULKAN_DEVICE_ID_H
#define MUNINN_ENGINE_VULKAN_DEVICE_ID_H

#include "engine/vulkan/device_select.h"

/* Writes caps->id. `all` [n]: the machine's devices, `which` is this one; their uuids, names, drivers are looked at. */
void device_id_write(struct caps *caps, const struct device_candidate *all, uint32_t n, uint32_t which);

#endif
