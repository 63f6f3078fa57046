#version 460
// Reads a buffer once, from end to end: the device's read bandwidth, which every other kernel is held against.
// Shapes: data [n_chunks] of 16 bytes; sink [threads]: each thread's sum, by which the host sees that all of it was read.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(std430, binding = 1) readonly buffer Data { uvec4 c[]; } data;
layout(std430, binding = 2) writeonly buffer Sink { uint sum[]; } sink;
layout(push_constant) uniform Args { read_args args; };

void main()
{
    uint thread = gl_GlobalInvocationID.x;
    uvec4 sum = uvec4(0);
    for (uint i = thread; i < args.n_chunks; i += args.n_threads)
        sum += data.c[i];
    sink.sum[thread] = sum.x + sum.y + sum.z + sum.w;
}
