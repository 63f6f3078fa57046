#version 460
// Reads a buffer once, from end to end: the device's read bandwidth, which every other kernel is held against.
// Shapes: data [n_chunks] of 16 bytes; sink [threads]: each thread's sum, by which the host sees that all of it was read.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "buffers.glsl"

READ4(0, data);
layout(std430, binding = 1) writeonly buffer Sink { uint sum[]; } sink;
layout(push_constant) uniform Args { read_args args; };

void main()
{
    // On a GPU all groups walk through the buffer side by side; on a CPU, where groups run one after the other, each has a piece of its own.
    bool pieces = args.group_chunks != 0;
    uint first = pieces ? gl_WorkGroupID.x * args.group_chunks : 0;
    uint end = pieces ? min(args.n_chunks, first + args.group_chunks) : args.n_chunks;
    uint thread = gl_GlobalInvocationID.x;
    uint step = pieces ? LOCAL : args.n_threads;
    uvec4 sum = uvec4(0);
    for (uint i = first + (pieces ? gl_LocalInvocationID.x : thread); i < end; i += step)
        sum += load4(data, i);
    sink.sum[thread] = sum.x + sum.y + sum.z + sum.w;
}
