#version 460
// y[n] = W a[n] + residual[n], and the statistics of y for the norm that follows it.
// Used for the adapter (residual: the embedding's constant half), the attention projection and the MLP's second matmul.
// Shapes: W [d, K], a [rows, K], y [rows, d]; parts [rows, groups] of (sum y^2, sum (y w)^2) over each workgroup's outputs,
// w the weight of the norm that is owed. Consumers add the parts up in order, so no dispatch is spent on a norm.
// ADVANCE: this is the last dispatch of a core pass; the rows' depths go up by one. Skeleton and lanes: matmul.glsl.
#extension GL_GOOGLE_include_directive : require
#include "rows.glsl"
#include "matmul.glsl"

layout(constant_id = 10) const uint RESIDUAL = RESIDUAL_PLAIN;
layout(constant_id = 11) const uint ADVANCE = 0;
layout(constant_id = 12) const uint STATS = 1;

WRITE4(5, outputs);
READ4(6, residual);
READ4(7, residual_norm);
READ4(8, residual_parts); // vec2
READ4(9, next_norm);
layout(std430, binding = 10) writeonly buffer OutputParts { vec2 p[]; } output_parts;
// The state buffer again, for ADVANCE: a CPU device reads it as a texel buffer, which it cannot write.
layout(std430, binding = 11) writeonly buffer Advanced { uint head[STATE_HEAD_WORDS]; uvec4 rows[STATE_MAX_ROWS]; } advanced;

#include "statistics.glsl"

void epilogue(uint item, uint row_index, uvec4 row, uint o, vec4 y, bool live_row)
{
    const uint global_o = args.row0 + min(o, args.n_out - 1) / 4 * 4;
    const bvec4 live = live_outputs(o);
    uint slot = slot_of(row, args.n_cells);
    if (RESIDUAL != RESIDUAL_NONE) {
        precise vec4 x = uintBitsToFloat(load4(residual, ((args.residual_by_slot != 0 ? slot : row_index) * args.residual_stride + global_o) / 4));
        if (RESIDUAL == RESIDUAL_NORM)
            x *= residual_scale_of(item) * uintBitsToFloat(load4(residual_norm, global_o / 4));
        precise vec4 sum = y + x;
        y = sum;
    }
    y = mix(vec4(0.0), y, live); // what lies beyond the last output is padding
    if (live_row && live.x)
        store4(outputs, ((args.out_by_slot != 0 ? slot : row_index) * args.out_stride + global_o) / 4, floatBitsToUint(y));
    if (STATS != 0) {
        precise vec4 weighted = y * mix(vec4(0.0), uintBitsToFloat(load4(next_norm, global_o / 4)), live);
        precise vec2 sum = vec2(fma(y.x, y.x, y.y * y.y) + fma(y.z, y.z, y.w * y.w),
                                fma(weighted.x, weighted.x, weighted.y * weighted.y) + fma(weighted.z, weighted.z, weighted.w * weighted.w));
        keep_squares(item, sum);
    }
}

void main()
{
    uint lane = gl_LocalInvocationIndex;
    if (RESIDUAL == RESIDUAL_NORM && gl_WorkGroupID.y * N < table_count(args.table))
        scale_residual(lane);
    uint n_live = matmul();
    if (STATS != 0)
        write_parts(lane, n_live);
    // No dispatch of this kind reads a depth in this mode, so the first group may write it without a race.
    if (ADVANCE != 0 && gl_WorkGroupID.x == 0)
        for (uint n = lane; n < n_live; n += LOCAL) {
            uint row = table_first(args.table) + gl_WorkGroupID.y * N + n;
            advanced.rows[row].w = state_row(row).w + 1;
        }
}
