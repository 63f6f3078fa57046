/* Kernels: the table of compute shaders, their layouts, and pipelines specialised on demand.
 *
 * Owns: shader modules, descriptor set layouts, pipeline layouts, pipelines.
 * Never: records or submits; compiles on the token path (sessions ask for all their pipelines when they are created).
 * Thread-safety: none.
 */
#ifndef MUNINN_ENGINE_VULKAN_KERNEL_H
#define MUNINN_ENGINE_VULKAN_KERNEL_H

#include "engine/vulkan/device.h"

/* One entry per shader file; the order is that of the table in kernel.c. */
enum kernel_id {
    KERNEL_EMBED,     /* embedding rows, scaled; initial state */
    KERNEL_QKV,       /* matmul + bias + rotary + cache write */
    KERNEL_ATTENTION, /* split-KV partial attention over depth slots */
    KERNEL_PROJ,      /* matmul + residual + norm statistics: adapter, attention projection, MLP down projection */
    KERNEL_GATE,      /* matmul + SiLU gate */
    KERNEL_HEAD,      /* matmul to logits + first stage of the argmax */
    KERNEL_NORM,      /* RMSNorm of whole rows: the coda's input */
    KERNEL_ARGMAX,    /* second stage of the argmax */
    KERNEL_SAMPLE,    /* temperature, top-k, top-p, min-p, Gumbel noise */
    KERNEL_READ,      /* reads a buffer: the measured ceiling */
    KERNEL_FILL,      /* weights from a seed: synthetic models */
    KERNEL_COUNT
};

enum { KERNEL_MAX_BINDINGS = 12, KERNEL_MAX_SPEC = 16, KERNEL_MAX_PUSH_BYTES = 128 };

struct kernel_info {
    const char *name;
    const uint32_t *spirv;
    size_t spirv_bytes;
    const uint32_t *plain; /* the twin without subgroup operations */
    size_t plain_bytes;
    const uint32_t *texels; /* the twin for caps.texel_loads; NULL: none */
    size_t texels_bytes;
    uint32_t texel_bindings; /* bit i: binding i is a texel buffer in that twin */
    uint32_t n_bindings;
    uint32_t push_bytes;
};

struct pipeline; /* vk.h */
struct kernels_vk;

struct kernels {
    struct device *device;
    struct kernels_vk *vk;
    struct pipeline *pipelines; /* a list */
};

const struct kernel_info *kernel_info(enum kernel_id id);
/* Hash of the SPIR-V that a device with these capabilities runs of kernel `id`: of the twin, where it runs one. */
uint64_t kernel_hash(enum kernel_id id, const struct caps *caps);

enum mn_status kernels_init(struct kernels *kernels, struct device *device);
void kernels_finish(struct kernels *kernels);

/* The pipeline of kernel `id` with specialization constants 0..n_spec-1, built at the first request. Constant 0 is the
 * workgroup's thread count in every shader; with `caps.subgroup_size_control` the subgroup size is pinned. */
enum mn_status kernels_get(struct kernels *kernels, enum kernel_id id, const uint32_t *spec, uint32_t n_spec,
                           const struct pipeline **out);

#endif
