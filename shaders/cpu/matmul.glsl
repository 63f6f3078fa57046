// The matmul skeleton on a CPU device, and a way through it for lanes that share what they load: LK = 1, N <= 8, the
// workgroup is one subgroup of at least 8. Every lane is an output row and needs the same inputs, but such a device loads
// lane by lane and pays per load instruction: so 8 lanes fetch four inputs each, 32 at once, and hand them round. The
// order of additions is that of matmul_apart.
#extension GL_KHR_shader_subgroup_shuffle : require

#include "skeleton.glsl"

const bool SHARING = PATH == PATH_SHARING;

uint own_quad; // while an epilogue runs with SHARING: which of the lane's quads it has, numbered row by row

uint matmul_sharing()
{
    const uint first = table_first(args.table), count = table_count(args.table);
    const uint n0 = gl_WorkGroupID.y * N;
    if (n0 >= count)
        return 0;
    const uint n_live = min(N, count - n0);
    const uint o_lane = gl_SubgroupInvocationID, o_base = (gl_WorkGroupID.x * LO + o_lane) * R;
    const uint w_stride = row_words(args.n_chunks);
    uint w_base[R];
    [[unroll]] for (uint r = 0; r < R; r++)
        w_base[r] = min(o_base + r, args.n_out - 1) * w_stride;

    const uint own_index = first + min(n0 + min(gl_SubgroupInvocationID & 7, N - 1), count - 1);
    const uvec4 own_row = state_row(own_index);
    uint x_base[N];
    uvec4 rows[N];
    bool raw[N];
    [[unroll]] for (uint n = 0; n < N; n++) {
        uint index = first + min(n0 + n, count - 1);
        rows[n] = subgroupShuffle(own_row, n);
        raw[n] = INPUT == INPUT_STATE && rows[n].w == 0;
        x_base[n] = INPUT == INPUT_MERGE ? index : (args.in_by_slot != 0 ? slot_of(rows[n], args.n_cells) : index) * args.in_stride;
    }

    float acc[N * R];
    [[unroll]] for (uint i = 0; i < N * R; i++)
        acc[i] = 0.0;
    for (uint c0 = 0; c0 < args.n_chunks; c0 += 4) {
        uint at = min(8 * c0 + 4 * (gl_SubgroupInvocationID & 7), 8 * args.n_chunks - 4);
        vec4 norm = load_norm(at), mine[N];
        [[unroll]] for (uint n = 0; n < N; n++)
            mine[n] = load_four(x_base[n], rows[n].y, raw[n], at, norm);
        // Unrolled, the loop outgrows the instruction cache.
        [[dont_unroll]] for (uint j = 0; j < min(4, args.n_chunks - c0); j++) {
            vec4 w_lo[R], w_hi[R];
            [[unroll]] for (uint r = 0; r < R; r++)
                load_group(w_base[r], args.n_chunks, c0 + j, w_lo[r], w_hi[r]);
            [[unroll]] for (uint n = 0; n < N; n++) {
                vec4 lo = subgroupShuffle(mine[n], 2 * j), hi = subgroupShuffle(mine[n], 2 * j + 1);
                [[unroll]] for (uint r = 0; r < R; r++)
                    acc[n * R + r] = add_chunk(acc[n * R + r], w_lo[r], w_hi[r], lo, hi);
            }
        }
    }

    // A lane adds up the statistics of one activation row and hands its scale round.
    float own_scale = 1.0;
    if (SCALE != SCALE_NONE) {
        vec2 stats = sum_parts((args.in_by_slot != 0 ? slot_of(own_row, args.n_cells) : own_index) * args.parts_in_stride);
        own_scale = INPUT == INPUT_STATE && own_row.w == 0 ? 1.0 : row_scale(stats.x, stats.y);
    }
    [[unroll]] for (uint n = 0; n < N; n++) {
        float scale = SCALE != SCALE_NONE ? subgroupShuffle(own_scale, n) : 1.0;
        [[unroll]] for (uint p = 0; p < R / 4; p++) {
            own_quad = n * (R / 4) + p;
            epilogue(n * (N_ITEMS / N) + o_lane * (R / 4) + p, first + min(n0 + n, count - 1), rows[n], o_base + 4 * p,
                     scaled(acc[n * R + 4 * p], acc[n * R + 4 * p + 1], acc[n * R + 4 * p + 2], acc[n * R + 4 * p + 3], scale), n < n_live);
        }
    }
    return n_live;
}

uint matmul()
{
    if (SHARING)
        return matmul_sharing();
    return matmul_apart();
}
