// Shared by all shaders: extensions, args.h, the workgroup size (specialization constant 0), how buffers are read and written, and
// the state buffer (binding 0).
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_scalar_block_layout : require
#ifdef TEXELS
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#endif

#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL = 8;

// Buffers, 16 or 8 bytes at a time. A CPU device reads texel buffers with one wide load per lane, and storage buffers word by word
// under bounds checks; what it writes goes lane by lane and word by word, or with TEXELS in words of 64 bits. TEXELS makes what is
// only read texel buffers (kernel.c has the list of these bindings) and what is written pairs.
#ifdef TEXELS
#define READ4(index, name) layout(binding = index, rgba32ui) readonly uniform uimageBuffer name
#define load4(name, at) imageLoad(name, int(at))
#define WRITE4(index, name) layout(std430, binding = index) writeonly buffer name##_block { u64vec2 v[]; } name
#define WRITE2(index, name) layout(std430, binding = index) writeonly buffer name##_block { uint64_t v[]; } name
u64vec2 pack4(uvec4 value) { return u64vec2(packUint2x32(value.xy), packUint2x32(value.zw)); }
#define pack2(value) packUint2x32(value)
#else
#define READ4(index, name) layout(std430, binding = index) readonly buffer name##_block { uvec4 v[]; } name
#define load4(name, at) name.v[at]
#define WRITE4(index, name) layout(std430, binding = index) writeonly buffer name##_block { uvec4 v[]; } name
#define WRITE2(index, name) layout(std430, binding = index) writeonly buffer name##_block { uvec2 v[]; } name
#define pack4(value) value
#define pack2(value) value
#endif
#define store4(name, at, value) name.v[at] = pack4(value)
#define store2(name, at, value) name.v[at] = pack2(value)

// The state buffer: words, then rows (token, position, sequence, depth), then output tokens.
#ifdef TEXELS
READ4(0, state);
uvec4 state_row(uint index) { return load4(state, STATE_HEAD_WORDS / 4 + index); }
uvec2 table_range(uint table)
{
    uvec4 two = load4(state, table / 2);
    return (table & 1) == 0 ? two.xy : two.zw;
}
#else
layout(std430, binding = 0) buffer State {
    uint head[STATE_HEAD_WORDS];
    uvec4 rows[STATE_MAX_ROWS];
    uint tokens[STATE_MAX_ROWS];
} state;
uvec4 state_row(uint index) { return state.rows[index]; }
uvec2 table_range(uint table) { return uvec2(state.head[2 * table], state.head[2 * table + 1]); }
#endif
uint table_first(uint table) { return table_range(table).x; }
uint table_count(uint table) { return table_range(table).y; }

// Latent states and what else outlives a pass are kept per (sequence, position).
uint slot_of(uvec4 row, uint n_ctx) { return row.z * n_ctx + row.y; }
