// Buffers on a CPU device. It reads texel buffers with one wide load per lane, and storage buffers word by word under
// bounds checks; what it writes goes lane by lane and word by word. So what is only read is a texel buffer here, and
// what is written are words of 64 bits.
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require

#define READ4(index, name) layout(binding = index, rgba32ui) readonly uniform uimageBuffer name
#define WRITE4(index, name) layout(std430, binding = index) writeonly buffer name##_block { u64vec2 v[]; } name
#define WRITE2(index, name) layout(std430, binding = index) writeonly buffer name##_block { uint64_t v[]; } name
#define load4(name, at) imageLoad(name, int(at))
#define store4(name, at, value) name.v[at] = pack4(value)
#define store2(name, at, value) name.v[at] = packUint2x32(value)

u64vec2 pack4(uvec4 value) { return u64vec2(packUint2x32(value.xy), packUint2x32(value.zw)); }
