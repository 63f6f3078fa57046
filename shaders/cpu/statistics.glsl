// The same as gpu/statistics.glsl for a CPU device. With SHARING the workgroup is one subgroup: its lanes meet in
// registers, and no barrier splits the shader.
#define scale_residual scale_residual_apart
#define residual_scale_of residual_scale_apart
#define keep_squares keep_squares_apart
#define write_parts write_parts_apart
#include "../gpu/statistics.glsl"
#undef scale_residual
#undef residual_scale_of
#undef keep_squares
#undef write_parts

float own_residual_scale; // of activation row (lane mod 8)
vec2 own_squares[N * R / 4];

void scale_residual(uint lane)
{
    if (!SHARING) {
        scale_residual_apart(lane);
        return;
    }
    const uint n0 = gl_WorkGroupID.y * N, count = table_count(args.table), first = table_first(args.table);
    uint row = first + min(n0 + min(gl_SubgroupInvocationID & 7, N - 1), count - 1);
    float sum = 0.0;
    for (uint i = 0; i < args.n_parts_residual; i++)
        sum += load_residual_sum(row * args.parts_residual_stride + i);
    own_residual_scale = residual_row_scale(sum);
}

float residual_scale_of(uint item)
{
    if (!SHARING)
        return residual_scale_apart(item);
    return subgroupShuffle(own_residual_scale, item / (N_ITEMS / N));
}

void keep_squares(uint item, vec2 sum)
{
    if (SHARING)
        own_squares[own_quad] = sum;
    else
        keep_squares_apart(item, sum);
}

void write_parts(uint lane, uint n_live)
{
    if (!SHARING) {
        write_parts_apart(lane, n_live);
        return;
    }
    const uint first = table_first(args.table) + gl_WorkGroupID.y * N;
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
        uint where = args.out_by_slot != 0 ? slot_of(state_row(row), args.n_cells) : row;
        output_parts.p[where * args.parts_out_stride + args.parts_out0 + gl_WorkGroupID.x] = sums;
    }
}
