// Buffers, read and written 16 or 8 bytes at a time.
#define READ4(index, name) layout(std430, binding = index) readonly buffer name##_block { uvec4 v[]; } name
#define WRITE4(index, name) layout(std430, binding = index) writeonly buffer name##_block { uvec4 v[]; } name
#define WRITE2(index, name) layout(std430, binding = index) writeonly buffer name##_block { uvec2 v[]; } name
#define load4(name, at) name.v[at]
#define store4(name, at, value) name.v[at] = value
#define store2(name, at, value) name.v[at] = value
