#version 460
// Second stage of the argmax: tokens[row] = id of the largest candidate, ties to the lowest id; ids stay below V even for NaN.
// Shapes: best [rows, groups] of (value, id bits). One workgroup per row of the table; lanes stride over the groups.
#extension GL_GOOGLE_include_directive : require
#include "state.glsl"

layout(std430, binding = 1) readonly buffer Best { vec2 b[]; } best;
layout(push_constant) uniform Args { argmax_args args; };

shared vec2 candidates[LOCAL];

bool beats(vec2 a, vec2 b)
{
    return a.x > b.x || (a.x == b.x && floatBitsToUint(a.y) < floatBitsToUint(b.y)) || (isnan(b.x) && !isnan(a.x));
}

void main()
{
    uint lane = gl_LocalInvocationIndex;
    if (gl_WorkGroupID.x >= table_count(args.table))
        return;
    uint row = table_first(args.table) + gl_WorkGroupID.x;
    vec2 top = best.b[row * args.n_groups];
    for (uint i = lane; i < args.n_groups; i += LOCAL) {
        vec2 other = best.b[row * args.n_groups + i];
        if (beats(other, top))
            top = other;
    }
    candidates[lane] = top;
    barrier();
    if (lane == 0) {
        for (uint i = 1; i < LOCAL; i++)
            if (beats(candidates[i], top))
                top = candidates[i];
        state.tokens[row] = floatBitsToUint(top.y);
    }
}
