#version 460
// y[n] = norm(a[n]) + x[n], its sum of squares for the norm that follows, and whole vectors from one place to another.
// a may be owed a norm itself (a raw initial state, depth 0, is not); norm and x are there or not. The coda's input
// ln_f(s), a branch's norm and its sum with the residual, a looped state as its next step reads it.
// Shapes: a, x, y [rows or slots, d]; parts_in of a; parts_out [rows or slots, 1] of y. One workgroup per row; lanes
// stride over single elements. y may be x. ADVANCE: the last dispatch of a core pass; the row's depth goes up by one.
#extension GL_GOOGLE_include_directive : require
#include "state.glsl"
#include "lanes.glsl"

layout(constant_id = 1) const uint IN_BY_SLOT = 1;
layout(constant_id = 2) const uint RAW_AT_DEPTH_0 = 1;
layout(constant_id = 3) const uint OWED = 1; // a is owed a norm
layout(constant_id = 4) const uint NORM = 1; // and then comes the reader's own
layout(constant_id = 5) const uint ADD = 0;
layout(constant_id = 6) const uint ADD_BY_SLOT = 0;
layout(constant_id = 7) const uint OUT_BY_SLOT = 0;
layout(constant_id = 8) const uint ADVANCE = 0;

layout(std430, binding = 1) readonly buffer Input { float a[]; } inputs;
layout(std430, binding = 2) readonly buffer OwedNorm { float w[]; } owed_norm;
layout(std430, binding = 3) readonly buffer OwnNorm { float w[]; } own_norm;
layout(std430, binding = 4) readonly buffer InputParts { vec2 p[]; } input_parts;
layout(std430, binding = 5) readonly buffer Added { float x[]; } added;
layout(std430, binding = 6) writeonly buffer Output { float y[]; } outputs;
layout(std430, binding = 7) writeonly buffer OutputParts { vec2 p[]; } output_parts;

layout(push_constant) uniform Args { norm_args args; };

float input_value(uint base, uint k, bool owes, float r)
{
    float a = inputs.a[base + k];
    if (owes)
        a *= r * owed_norm.w[k];
    return a;
}

void main()
{
    uint lane = gl_LocalInvocationIndex;
    if (gl_WorkGroupID.x >= table_count(args.table))
        return;
    uint row_index = table_first(args.table) + gl_WorkGroupID.x;
    uvec4 row = state.rows[row_index];
    uint slot = slot_of(row, args.n_cells), in_row = IN_BY_SLOT != 0 ? slot : row_index;
    uint out_row = OUT_BY_SLOT != 0 ? slot : row_index;
    uint in_base = in_row * args.in_stride, out_base = out_row * args.out_stride;
    uint add_base = (ADD_BY_SLOT != 0 ? slot : row_index) * args.add_stride;
    float inverse_n = 1.0 / float(args.n_embd);
    bool owes = OWED != 0 && !(RAW_AT_DEPTH_0 != 0 && row.w == 0);

    float r_owed = 1.0, r_own = 1.0, mine = 0.0;
    if (OWED != 0) {
        if (owes)
            for (uint i = lane; i < args.n_parts_in; i += LOCAL)
                mine += input_parts.p[in_row * args.parts_in_stride + i].x;
        r_owed = 1.0 / sqrt(fma(sum_lanes(mine), inverse_n, args.eps));
    }
    if (NORM != 0) {
        mine = 0.0;
        for (uint k = lane; k < args.n_embd; k += LOCAL) {
            float a = input_value(in_base, k, owes, r_owed);
            mine = fma(a, a, mine);
        }
        r_own = 1.0 / sqrt(fma(sum_lanes(mine), inverse_n, args.eps));
    }

    mine = 0.0;
    for (uint k = lane; k < args.n_embd; k += LOCAL) {
        precise float y = input_value(in_base, k, owes, r_owed);
        if (NORM != 0)
            y = y * r_own * own_norm.w[k];
        if (ADD != 0)
            y += added.x[add_base + k];
        outputs.y[out_base + k] = y;
        mine = fma(y, y, mine);
    }
    float total = sum_lanes(mine);
    if (lane == 0) {
        output_parts.p[out_row * args.parts_out_stride] = vec2(total, 0.0);
        if (ADVANCE != 0)
            state.rows[row_index].w = row.w + 1;
    }
}
