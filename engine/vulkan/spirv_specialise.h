/* A compute shader's SPIR-V with its constants fixed, without the code that they rule out.
 *
 * Drivers take a module in whole, functions inlined, before they drop what a constant switches off: most of the time
 * that building a pipeline takes goes into code for weight types and layouts that it does not run.
 * Owns: nothing. Never: trusts a length or an id of the module; knows Vulkan or the kernels.
 * Thread-safety: stateless.
 */
#ifndef MUNINN_ENGINE_VULKAN_SPIRV_SPECIALISE_H
#define MUNINN_ENGINE_VULKAN_SPIRV_SPECIALISE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

struct spirv_constants {
    const uint32_t *values; /* of constant_id 0, 1, ..; what the module has beyond `n` keeps its default */
    uint32_t n;
};

/* *out is malloc'ed, of *n_out words, at most n_words. Its constants are no longer open, names are gone, and so are
 * functions that nothing calls and blocks that no branch reaches once conditions on constants are decided.
 * MN_ERR_FORMAT: not a module, or one that this project's shaders are not like (an open constant that is not one word).
 * `name` is for the message. */
enum mn_status spirv_specialise(uint32_t **out, size_t *n_out, const uint32_t *words, size_t n_words,
                                const struct spirv_constants *constants, const char *name, const struct mn_log *log);

#endif
