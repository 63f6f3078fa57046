/* Kernels: the table of compute shaders, their layouts, and pipelines specialised on demand.
 *
 * Owns: descriptor set layouts, pipeline layouts, pipelines.
 * Never: records or submits; compiles on the token path (sessions ask for all their pipelines when they are created).
 * Thread-safety: none.
 */
#ifndef MUNINN_ENGINE_VULKAN_KERNEL_H
#define MUNINN_ENGINE_VULKAN_KERNEL_H

#include "engine/vulkan/device.h"
#include "engine/vulkan/spirv.h"

/* KERNEL_EMBED ..: one per line of kernels.def. */
enum kernel_id {
#define KERNEL(id, file, args, constants) KERNEL_##id,
#include "engine/vulkan/kernels.def"
#undef KERNEL
    KERNEL_COUNT
};

enum { KERNEL_MAX_BINDINGS = 12, KERNEL_MAX_CONSTANTS = 16, KERNEL_MAX_PUSH_BYTES = 128 };

/* Versions of a shader, after the folders of shaders/ that its included files come from. There is one besides the
 * GPU's only where it differs. */
enum kernel_variant {
    VARIANT_GPU,
    VARIANT_CPU,    /* for caps.texel_loads */
    VARIANT_PLAIN,  /* without subgroup operations: no caps.subgroup_shuffle */
    VARIANT_MATRIX, /* of matmuls with PATH_MATRIX, where caps.matrix_side is not 0 */
    VARIANT_COUNT
};

struct kernel_code {
    const uint32_t *words; /* SPIR-V; NULL: the GPU's serves */
    size_t bytes;
};

struct kernel_info {
    const char *name; /* of its file in shaders/ */
    struct kernel_code code[VARIANT_COUNT];
    uint32_t push_bytes;  /* the C struct of its push constants */
    uint32_t n_constants; /* members of the C struct of its constants */
};

struct pipeline; /* vk.h */
struct kernels_vk;

struct kernels {
    struct device *device;
    struct kernels_vk *vk;
    struct pipeline *pipelines; /* a list */
};

const struct kernel_info *kernel_info(enum kernel_id id);

enum mn_status kernels_init(struct kernels *kernels, struct device *device);
void kernels_finish(struct kernels *kernels);

/* What this device runs: the version of the shader, and its interface as the SPIR-V has it. */
const struct kernel_code *kernels_code(const struct kernels *kernels, enum kernel_id id);
const struct spirv_interface *kernels_interface(const struct kernels *kernels, enum kernel_id id);

/* The pipeline of kernel `id`, built at the first request. `constants` is its struct in shaders/args.h: member i is
 * what the shader calls constant_id i, `n_constants` are given and none may be missing. Constant 0 is the workgroup's
 * thread count in every shader; with `caps.subgroup_size_control` the subgroup size is pinned. */
enum mn_status kernels_get(struct kernels *kernels, enum kernel_id id, const void *constants, uint32_t n_constants,
                           const struct pipeline **out);
/* The two arguments for a struct of constants. */
#define KERNEL_CONSTANTS(constants) &(constants), sizeof(constants) / sizeof(uint32_t)

/* What a pipeline was built of; `constants` live as long as the kernels. */
struct pipeline_info {
    enum kernel_id id;
    const uint32_t *constants; /* [n_constants] */
    uint32_t n_constants;
    uint32_t shared_bytes; /* of shared memory that a workgroup declares and uses */
};
struct pipeline_info pipeline_info(const struct pipeline *pipeline);

#endif
