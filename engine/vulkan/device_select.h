/* Which of the devices there are is meant.
 *
 * Owns: the rule. Never: calls Vulkan. Thread-safety: stateless. */
#ifndef MUNINN_ENGINE_VULKAN_DEVICE_SELECT_H
#define MUNINN_ENGINE_VULKAN_DEVICE_SELECT_H

#include "engine/vulkan/device.h"

enum { MAX_DEVICES = 16 };

struct device_candidate {
    struct caps caps;
    const char *refusal; /* NULL, or why it cannot be used */
};

/* *chosen of candidates [n]. `select` NULL: the best that can be used, the first of equals. A number of a device there
 * is: that one. Anything else, a number as well: the one usable device whose name is that, or has it as a part, letters
 * in any case. MN_ERR_USAGE lists the devices when none or several are meant; MN_ERR_NO_DEVICE when what is meant
 * cannot be used. */
enum mn_status device_choose(uint32_t *chosen, const struct device_candidate *candidates, uint32_t n,
                             const char *select, const struct mn_log *log);

#endif
