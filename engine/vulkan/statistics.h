/* What a driver says of the machine code that it made of a pipeline: VK_KHR_pipeline_executable_properties.
 *
 * Every driver has names of its own. What is known to mean the same has one name here as well.
 * Owns: the list that it read. Never: submits; judges. Thread-safety: none.
 */
#ifndef MUNINN_ENGINE_VULKAN_STATISTICS_H
#define MUNINN_ENGINE_VULKAN_STATISTICS_H

#include "engine/vulkan/kernel.h"

/* -1: the driver does not say. */
struct statistics_common {
    double registers;        /* of a lane, as the driver counts them: mostly of 32 bits */
    double scalar_registers; /* of a subgroup */
    double spills;           /* registers, or stores of them, that found no room */
    double scratch_bytes;    /* of memory for them, per lane or subgroup */
    double code_bytes;
    double instructions;
    double waves; /* most subgroups at a time: on a SIMD (AMD), a core (Qualcomm), a multiprocessor (NVIDIA) */
};

struct statistic {
    char *name; /* as the driver has it */
    double value;
};

struct statistics {
    struct statistic *items; /* [n] owned */
    uint32_t n;
    uint32_t subgroup_size; /* 0: not said */
    struct statistics_common common;
};

/* A number of the driver under its name, into the common one of that meaning, if there is one. */
void statistics_place(struct statistics_common *common, const char *name, double value);

/* Empty where device.has_statistics is false. Of a pipeline that became several programs, what the first one says comes
 * first; `common` has the largest of each number. To be finished whatever the result. */
enum mn_status statistics_read(struct statistics *out, const struct kernels *kernels, const struct pipeline *pipeline);
void statistics_finish(struct statistics *statistics); /* zeroed is fine */

#endif
