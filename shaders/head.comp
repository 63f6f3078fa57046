#version 460
// logits[n] = W norm(x[n]) and, for each workgroup, the largest of its logits with the lowest id that has it.
// Shapes: W [V, d], x [rows, d] owed a norm of a norm, logits [rows, V]; best [rows, groups] of (value, id bits).
// Skeleton and lanes: matmul.glsl; second stage: argmax.comp.
#extension GL_GOOGLE_include_directive : require
#include "rows.glsl"
#include "matmul.glsl"

layout(constant_id = 10) const uint WHOLE_QUADS = 0; // V is a multiple of four

layout(std430, binding = 5) writeonly buffer Logits { float l[]; } logits;
WRITE4(5, logit_quads);
layout(std430, binding = 6) writeonly buffer Best { vec2 b[]; } best;

shared vec2 candidates[N_ITEMS];

void epilogue(uint item, uint row_index, uvec4 row, uint o, vec4 y, bool live_row)
{
    uint global_o = args.row0 + o;
    bvec4 live = live_outputs(o);
    // Past the end: NaN, which loses even against a row of NaN, so that no id beyond V can win.
    vec2 top = vec2(live.x ? y.x : uintBitsToFloat(0x7fc00000u), uintBitsToFloat(global_o));
    [[unroll]] for (uint i = 0; i < 4; i++)
        if (live[i]) {
            if (WHOLE_QUADS == 0 && live_row)
                logits.l[row_index * args.out_stride + global_o + i] = y[i];
            if (y[i] > top.x || (isnan(top.x) && !isnan(y[i])))
                top = vec2(y[i], uintBitsToFloat(global_o + i));
        }
    if (WHOLE_QUADS != 0 && live_row && live.x)
        store4(logit_quads, (row_index * args.out_stride + global_o) / 4, floatBitsToUint(y));
    candidates[item] = top;
}

void main()
{
    uint n_live = matmul();
    barrier();
    for (uint n = gl_LocalInvocationIndex; n < n_live; n += LOCAL) {
        // Items of a row are in order of o, so "greater than" alone keeps the lowest id among equals.
        vec2 top = candidates[n * (N_ITEMS / N)];
        for (uint i = 1; i < N_ITEMS / N; i++) {
            vec2 other = candidates[n * (N_ITEMS / N) + i];
            if (other.x > top.x || (isnan(top.x) && !isnan(other.x)))
                top = other;
        }
        uint row = table_first(args.table) + gl_WorkGroupID.y * N + n;
        best.b[row * args.parts_out_stride + args.parts_out0 + gl_WorkGroupID.x] = top;
    }
}
