/* What a compute shader's SPIR-V says of its own interface: bindings, push constants, constants.
 *
 * Owns: nothing. Never: trusts a length or an id of the module; knows Vulkan or the kernels.
 * Thread-safety: stateless.
 */
#ifndef MUNINN_ENGINE_VULKAN_SPIRV_H
#define MUNINN_ENGINE_VULKAN_SPIRV_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

enum { SPIRV_MAX_BINDINGS = 32 };

struct spirv_interface {
    uint32_t n_bindings;     /* the highest binding + 1 */
    uint32_t bindings;       /* bit i: binding i exists */
    uint32_t texel_bindings; /* bit i: binding i is a storage texel buffer; else it is a storage buffer */
    uint32_t push_bytes;     /* the push-constant block, words throughout; 0: none */
    uint32_t n_constants;    /* the highest constant_id + 1, but for SPIRV_DEVICE_CONSTANT */
};

/* The constant_id of what is the same in all pipelines of a device. */
enum { SPIRV_DEVICE_CONSTANT = 31 };

/* MN_ERR_FORMAT: not a module, or an interface that this project's shaders do not have (other kinds of bindings, other
 * descriptor sets than 0, push constants that are not 32-bit words). `name` is for the message. */
enum mn_status spirv_reflect(struct spirv_interface *out, const uint32_t *words, size_t n_words, const char *name,
                             const struct mn_log *log);

/* Bytes of shared memory that the code of a specialised module uses, without padding. MN_ERR_FORMAT: not a module, or a
 * variable there whose size is not known. */
enum mn_status spirv_shared_bytes(uint32_t *bytes, const uint32_t *words, size_t n_words, const char *name,
                                  const struct mn_log *log);

#endif
