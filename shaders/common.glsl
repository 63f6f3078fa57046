// Shared by all shaders: extensions, args.h, the workgroup size (specialization constant 0) and the state buffer (binding 0).
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_scalar_block_layout : require

#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL = 8;

layout(std430, binding = 0) buffer State {
    uint head[STATE_HEAD_WORDS];
    uvec4 rows[STATE_MAX_ROWS]; // token, position, sequence, depth
    uint tokens[STATE_MAX_ROWS];
} state;

// Buffers that are only read, as uvec4. A CPU device reads texel buffers with one wide load per lane, and storage buffers word by
// word under bounds checks; TEXELS makes them texel buffers (kernel.c has the list of these bindings).
#ifdef TEXELS
#define READ4(index, name) layout(binding = index, rgba32ui) readonly uniform uimageBuffer name
#define load4(name, at) imageLoad(name, int(at))
#else
#define READ4(index, name) layout(std430, binding = index) readonly buffer name##_block { uvec4 v[]; } name
#define load4(name, at) name.v[at]
#endif

uint table_first(uint table) { return state.head[2 * table]; }
uint table_count(uint table) { return state.head[2 * table + 1]; }

// Latent states and what else outlives a pass are kept per (sequence, position).
uint slot_of(uvec4 row, uint n_ctx) { return row.z * n_ctx + row.y; }
