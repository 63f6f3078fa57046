// Shared by all shaders: extensions, args.h, the workgroup size (specialization constant 0).
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_scalar_block_layout : require

#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL = 8;

// Latent states and what else outlives a pass are kept per (sequence, position).
uint slot_of(uvec4 row, uint n_ctx) { return row.z * n_ctx + row.y; }
