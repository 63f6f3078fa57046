// Shared by all shaders: extensions, args.h, the workgroup size (specialization constant 0).
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_scalar_block_layout : require

#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL = 8;

// Where a row's own entries lie: at its position of its sequence, or, on a branch, beyond the positions.
uint sequence_of(uvec4 row) { return row.z & ROW_SEQUENCE_MASK; }
uint cell_of(uvec4 row) { return row.y + (row.z >> ROW_SEQUENCE_BITS); }

// Latent states and what else outlives a pass are kept per (sequence, cell).
uint slot_of(uvec4 row, uint n_cells) { return sequence_of(row) * n_cells + cell_of(row); }
