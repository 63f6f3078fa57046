/* What the device can read: the ceiling of everything that is bound by memory. */
#ifndef MUNINN_ENGINE_VULKAN_BANDWIDTH_H
#define MUNINN_ENGINE_VULKAN_BANDWIDTH_H

#include "engine/vulkan/kernel.h"

/* Measures reading a buffer of up to `bytes` (less where the device has less) that is larger than caches where it can
 * be: the fastest of several passes, in 10^9 bytes per second. The sums of what was read are checked: MN_ERR_CHECK when
 * they are wrong. */
enum mn_status bandwidth_measure(struct kernels *kernels, uint64_t bytes, double *gb_s);

#endif
