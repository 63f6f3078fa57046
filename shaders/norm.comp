#version 460
// y[n] = RMSNorm_f(RMSNorm_4(state)): the coda's input ln_f(s_r), where the state is still owed its block's last norm
// (a raw initial state, depth 0, is not). Also the sum of squares of y for the norm that follows.
// Shapes: states [slots, d], y [rows, d], parts_out [rows, 1]. One workgroup per row; lanes stride over single elements.
#extension GL_GOOGLE_include_directive : require
#include "state.glsl"

layout(std430, binding = 1) readonly buffer States { float s[]; } states;
layout(std430, binding = 2) readonly buffer Norm4 { float w[]; } norm_4;
layout(std430, binding = 3) readonly buffer NormF { float w[]; } norm_f;
layout(std430, binding = 4) readonly buffer StateParts { vec2 p[]; } state_parts;
layout(std430, binding = 5) writeonly buffer Output { float y[]; } outputs;
layout(std430, binding = 6) writeonly buffer OutputParts { vec2 p[]; } output_parts;

layout(push_constant) uniform Args { norm_args args; };

shared float lane_sum[LOCAL];

float sum_lanes(float mine)
{
    barrier(); // the previous sum has been read by everyone
    lane_sum[gl_LocalInvocationIndex] = mine;
    barrier();
    float sum = 0.0;
    for (uint i = 0; i < LOCAL; i++)
        sum += lane_sum[i];
    return sum;
}

void main()
{
    uint lane = gl_LocalInvocationIndex;
    if (gl_WorkGroupID.x >= table_count(args.table))
        return;
    uint row_index = table_first(args.table) + gl_WorkGroupID.x;
    uvec4 row = state.rows[row_index];
    uint slot = slot_of(row, args.n_ctx), in_base = slot * args.in_stride, out_base = row_index * args.out_stride;
    float inverse_n = 1.0 / float(args.n_embd);

    float mine = 0.0;
    if (row.w != 0)
        for (uint i = lane; i < args.n_parts_in; i += LOCAL)
            mine += state_parts.p[slot * args.parts_in_stride + i].x;
    float r4 = 1.0 / sqrt(fma(sum_lanes(mine), inverse_n, args.eps));

    mine = 0.0;
    for (uint k = lane; k < args.n_embd; k += LOCAL) {
        float x = states.s[in_base + k];
        if (row.w != 0)
            x *= r4 * norm_4.w[k];
        mine = fma(x, x, mine);
    }
    float rf = 1.0 / sqrt(fma(sum_lanes(mine), inverse_n, args.eps));

    mine = 0.0;
    for (uint k = lane; k < args.n_embd; k += LOCAL) {
        float x = states.s[in_base + k];
        if (row.w != 0)
            x *= r4 * norm_4.w[k];
        float y = x * rf * norm_f.w[k];
        outputs.y[out_base + k] = y;
        mine = fma(y, y, mine);
    }
    float total = sum_lanes(mine);
    if (lane == 0)
        output_parts.p[row_index * args.parts_out_stride] = vec2(total, 0.0);
}
