#version 460
// y[n] = W a[n] + residual[n], and the statistics of y for the norm that follows it.
// Used for the adapter (residual: the embedding's constant half), the attention projection and the MLP's second matmul.
// Shapes: W [d, K], a [rows, K], y [rows, d]; parts [rows, groups] of (sum y^2, sum (y w)^2) over each workgroup's outputs,
// w the weight of the pending norm. Consumers add the parts up in order, so no dispatch is spent on a norm.
// ADVANCE: this is the last dispatch of a core pass; the rows' depths go up by one. Skeleton and lanes: matmul.glsl.
#extension GL_GOOGLE_include_directive : require
#include "matmul.glsl"

layout(constant_id = 8) const uint RESIDUAL = RESIDUAL_PLAIN;
layout(constant_id = 9) const uint ADVANCE = 0;
layout(constant_id = 10) const uint STATS = 1;

WRITE4(5, outputs);
READ4(6, residual);
READ4(7, residual_norm);
READ4(8, residual_parts); // vec2
READ4(9, next_norm);
layout(std430, binding = 10) writeonly buffer OutputParts { vec2 p[]; } output_parts;
// The state buffer again, for ADVANCE: what TEXELS reads through a texel buffer it cannot write there.
layout(std430, binding = 11) writeonly buffer Advanced { uint head[STATE_HEAD_WORDS]; uvec4 rows[STATE_MAX_ROWS]; } advanced;

// With BROADCAST the workgroup is one subgroup: lanes meet in registers, and no barrier splits the shader.
shared vec2 squares[BROADCAST != 0 ? 1 : N_ITEMS];
shared float residual_sums[RESIDUAL == RESIDUAL_NORM && BROADCAST == 0 ? N * LOCAL : 1];
shared float residual_scale[BROADCAST != 0 ? 1 : N];
vec2 own_squares[N * R / 4];
float own_residual_scale; // of activation row (lane mod 8)

void epilogue(uint item, uint own, uint row_index, uvec4 row, uint o, vec4 y, bool live_row)
{
    const uint global_o = args.row0 + min(o, args.n_out - 1) / 4 * 4;
    const bvec4 live = live_outputs(o);
    uint slot = slot_of(row, args.n_ctx);
    if (RESIDUAL != RESIDUAL_NONE) {
        precise vec4 x = uintBitsToFloat(load4(residual, ((args.residual_by_slot != 0 ? slot : row_index) * args.residual_stride + global_o) / 4));
        if (RESIDUAL == RESIDUAL_NORM) {
            uint n = item / (N_ITEMS / N);
#ifdef NO_SUBGROUP
            float scale = residual_scale[n];
#else
            float scale = BROADCAST != 0 ? subgroupShuffle(own_residual_scale, n) : residual_scale[n];
#endif
            x *= scale * uintBitsToFloat(load4(residual_norm, global_o / 4));
        }
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
        if (BROADCAST != 0)
            own_squares[own] = sum;
        else
            squares[item] = sum;
    }
}

float load_residual_sum(uint at)
{
    uvec4 two = load4(residual_parts, at / 2);
    return uintBitsToFloat((at & 1) == 0 ? two.x : two.z);
}

float residual_row_scale(float sum)
{
    return 1.0 / sqrt(fma(sum, 1.0 / float(args.n_norm), args.eps));
}

void scale_residual(uint lane)
{
    const uint n0 = gl_WorkGroupID.y * N, count = table_count(args.table), first = table_first(args.table);
#ifndef NO_SUBGROUP
    if (BROADCAST != 0) {
        uint row = first + min(n0 + min(gl_SubgroupInvocationID & 7, N - 1), count - 1);
        float sum = 0.0;
        for (uint i = 0; i < args.n_parts_residual; i++)
            sum += load_residual_sum(row * args.parts_residual_stride + i);
        own_residual_scale = residual_row_scale(sum);
        return;
    }
#endif
    for (uint n = 0; n < N; n++) {
        uint row = first + min(n0 + n, count - 1);
        float sum = 0.0;
        for (uint i = lane; i < args.n_parts_residual; i += LOCAL)
            sum += load_residual_sum(row * args.parts_residual_stride + i);
        residual_sums[n * LOCAL + lane] = sum;
    }
    barrier();
    for (uint n = lane; n < N; n += LOCAL) {
        float sum = 0.0;
        for (uint i = 0; i < LOCAL; i++)
            sum += residual_sums[n * LOCAL + i];
        residual_scale[n] = residual_row_scale(sum);
    }
    barrier();
}

void write_parts(uint lane, uint n_live)
{
    const uint first = table_first(args.table) + gl_WorkGroupID.y * N;
#ifndef NO_SUBGROUP
    if (BROADCAST != 0) {
        vec2 sums = vec2(0.0); // lane n keeps those of row n
        [[unroll]] for (uint n = 0; n < N; n++) {
            vec2 sum = vec2(0.0);
            [[unroll]] for (uint i = 0; i < LOCAL; i++)
                [[unroll]] for (uint p = 0; p < R / 4; p++)
                    sum += subgroupShuffle(own_squares[n * (R / 4) + p], i);
            if (gl_SubgroupInvocationID == n)
                sums = sum;
        }
        if (gl_SubgroupInvocationID < n_live) {
            uint row = first + gl_SubgroupInvocationID;
            uint where = args.out_by_slot != 0 ? slot_of(state_row(row), args.n_ctx) : row;
            output_parts.p[where * args.parts_out_stride + args.parts_out0 + gl_WorkGroupID.x] = sums;
        }
        return;
    }
#endif
    barrier();
    for (uint n = lane; n < n_live; n += LOCAL) {
        uint row = first + n;
        vec2 sum = vec2(0.0);
        for (uint i = 0; i < N_ITEMS / N; i++)
            sum += squares[n * (N_ITEMS / N) + i];
        uint where = args.out_by_slot != 0 ? slot_of(state_row(row), args.n_ctx) : row;
        output_parts.p[where * args.parts_out_stride + args.parts_out0 + gl_WorkGroupID.x] = sum;
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
