// How the lanes of a workgroup of proj.comp meet: the scale of a residual that is owed a norm, from the statistics that
// its producer left; and the statistics of the outputs, for the norm that follows. Sums are in a fixed order.

const uint RESIDUAL_LANES = PATH == PATH_TILED ? 2 : PATH == PATH_MATRIX ? LOCAL / N : LOCAL; // that add up the statistics of a row
shared float residual_sums[RESIDUAL == RESIDUAL_NORM ? N * RESIDUAL_LANES : 1];
shared float residual_scale[N];
shared vec2 squares[N_ITEMS];

float load_residual_sum(uint at)
{
    uvec4 two = load4(residual_parts, at / 2);
    return uintBitsToFloat((at & 1) == 0 ? two.x : two.z);
}

float residual_row_scale(float sum)
{
    return 1.0 / sqrt(fma(sum, 1.0 / float(args.n_norm), args.eps));
}

// Before the matmul.
void scale_residual(uint lane)
{
    const uint n0 = gl_WorkGroupID.y * N, count = table_count(args.table), first = table_first(args.table);
    for (uint at = lane; at < N * RESIDUAL_LANES; at += LOCAL) {
        uint row = first + min(n0 + at / RESIDUAL_LANES, count - 1);
        float sum = 0.0;
        for (uint i = at % RESIDUAL_LANES; i < args.n_parts_residual; i += RESIDUAL_LANES)
            sum += load_residual_sum(row * args.parts_residual_stride + i);
        residual_sums[at] = sum;
    }
    barrier();
    for (uint n = lane; n < N; n += LOCAL) {
        float sum = 0.0;
        for (uint i = 0; i < RESIDUAL_LANES; i++)
            sum += residual_sums[n * RESIDUAL_LANES + i];
        residual_scale[n] = residual_row_scale(sum);
    }
    barrier();
}

// In the epilogue of quad `item`.
float residual_scale_of(uint item) { return residual_scale[item / (N_ITEMS / N)]; }

void keep_squares(uint item, vec2 sum) { squares[item] = sum; }

// After the matmul.
void write_parts(uint lane, uint n_live)
{
    const uint first = table_first(args.table) + gl_WorkGroupID.y * N;
    barrier();
    for (uint n = lane; n < n_live; n += LOCAL) {
        uint row = first + n;
        vec2 sum = vec2(0.0);
        for (uint i = 0; i < N_ITEMS / N; i++)
            sum += squares[n * (N_ITEMS / N) + i];
        uint where = args.out_by_slot != 0 ? slot_of(state_row(row), args.n_cells) : row;
        output_parts.p[where * args.parts_out_stride + args.parts_out0 + gl_WorkGroupID.x] = sum;
    }
}
