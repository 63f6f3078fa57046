#version 460
// y[n] = W a[n] + residual[n], and the statistics of y for the norm that follows it.
// Used for the adapter (residual: the embedding's constant half), the attention projection and the MLP's second matmul.
// Shapes: W [d, K], a [rows, K], y [rows, d]; parts [rows, groups] of (sum y^2, sum (y w)^2) over each workgroup's outputs,
// w the weight of the pending norm. Consumers add the parts up in order, so no dispatch is spent on a norm.
// ADVANCE: this is the last dispatch of a core pass; the rows' depths go up by one. Skeleton and lanes: matmul.glsl.
#extension GL_GOOGLE_include_directive : require
#include "matmul.glsl"

layout(constant_id = 9) const uint RESIDUAL = RESIDUAL_PLAIN;
layout(constant_id = 10) const uint ADVANCE = 0;
layout(constant_id = 11) const uint STATS = 1;

layout(std430, binding = 5) writeonly buffer Output { float y[]; } outputs;
layout(std430, binding = 6) readonly buffer Residual { float x[]; } residual;
layout(std430, binding = 7) readonly buffer ResidualNorm { float w[]; } residual_norm;
layout(std430, binding = 8) readonly buffer ResidualParts { vec2 p[]; } residual_parts;
layout(std430, binding = 9) readonly buffer NextNorm { float w[]; } next_norm;
layout(std430, binding = 10) writeonly buffer OutputParts { vec2 p[]; } output_parts;

shared vec2 squares[N_ITEMS];
shared float residual_sums[RESIDUAL == RESIDUAL_NORM ? N * LOCAL : 1];
shared float residual_scale[N];

void epilogue(uint item, uint row_index, uvec4 row, uint o, float y0, float y1)
{
    uint global_o = args.row0 + o;
    precise vec2 y = vec2(y0, y1);
    bvec2 live = bvec2(o < args.n_out, o + 1 < args.n_out);
    uint slot = slot_of(row, args.n_ctx);
    if (RESIDUAL != RESIDUAL_NONE) {
        uint at = (args.residual_by_slot != 0 ? slot : row_index) * args.residual_stride + global_o;
        precise vec2 x = vec2(live.x ? residual.x[at] : 0.0, live.y ? residual.x[at + 1] : 0.0);
        if (RESIDUAL == RESIDUAL_NORM) {
            float scale = residual_scale[item / (N_ITEMS / N)];
            x *= scale * vec2(live.x ? residual_norm.w[global_o] : 0.0, live.y ? residual_norm.w[global_o + 1] : 0.0);
        }
        y += x;
    }
    uint at = (args.out_by_slot != 0 ? slot : row_index) * args.out_stride + global_o;
    if (live.x)
        outputs.y[at] = y.x;
    if (live.y)
        outputs.y[at + 1] = y.y;
    if (STATS != 0) {
        y = vec2(live.x ? y.x : 0.0, live.y ? y.y : 0.0);
        precise vec2 weighted = y * vec2(live.x ? next_norm.w[global_o] : 0.0, live.y ? next_norm.w[global_o + 1] : 0.0);
        squares[item] = vec2(fma(y.x, y.x, y.y * y.y), fma(weighted.x, weighted.x, weighted.y * weighted.y));
    }
}

void main()
{
    uint lane = gl_LocalInvocationIndex;
    if (RESIDUAL == RESIDUAL_NORM && gl_WorkGroupID.y * N < table_count(args.table)) {
        uint n0 = gl_WorkGroupID.y * N, count = table_count(args.table);
        for (uint n = 0; n < N; n++) {
            uint row = table_first(args.table) + min(n0 + n, count - 1);
            float sum = 0.0;
            for (uint i = lane; i < args.n_parts_residual; i += LOCAL)
                sum += residual_parts.p[row * args.parts_residual_stride + i].x;
            residual_sums[n * LOCAL + lane] = sum;
        }
        barrier();
        for (uint n = lane; n < N; n += LOCAL) {
            float sum = 0.0;
            for (uint i = 0; i < LOCAL; i++)
                sum += residual_sums[n * LOCAL + i];
            residual_scale[n] = 1.0 / sqrt(fma(sum, 1.0 / float(args.n_norm), args.eps));
        }
        barrier();
    }
    uint n_live = matmul();
    if (STATS != 0) {
        barrier();
        for (uint n = lane; n < n_live; n += LOCAL) {
            uint row = table_first(args.table) + gl_WorkGroupID.y * N + n;
            vec2 sum = vec2(0.0);
            for (uint i = 0; i < N_ITEMS / N; i++)
                sum += squares[n * (N_ITEMS / N) + i];
            uint where = args.out_by_slot != 0 ? slot_of(state.rows[row], args.n_ctx) : row;
            output_parts.p[where * args.parts_out_stride + args.parts_out0 + gl_WorkGroupID.x] = sum;
        }
    }
    // No dispatch of this kind reads a depth in this mode, so the first group may write it without a race.
    if (ADVANCE != 0 && gl_WorkGroupID.x == 0)
        for (uint n = lane; n < n_live; n += LOCAL)
            state.rows[table_first(args.table) + gl_WorkGroupID.y * N + n].w += 1;
}
