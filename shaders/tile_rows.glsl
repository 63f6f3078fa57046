// The activation rows of a workgroup that shares them among its lanes: which they are, and what their sums are scaled by.
const bool TILED = PATH == PATH_TILED || PATH == PATH_MATRIX;
const uint SUMMERS = PATH == PATH_MATRIX ? LOCAL / N : 2; // lanes that add up the statistics of a row

shared uvec4 tile_rows[TILED ? N : 1];
shared float tile_scales[TILED ? N : 1];
shared vec2 tile_sums[TILED ? N * SUMMERS : 1];

uint tile_index(uint n, uint count) { return table_first(args.table) + min(gl_WorkGroupID.y * N + n, count - 1); }

// The rows of the tile, and their scales. Loads run ahead of the additions, whose order is that of the parts.
void prepare_rows(uint lane, uint count)
{
    for (uint n = lane; n < N; n += LOCAL)
        tile_rows[n] = state_row(tile_index(n, count));
    if (SCALE != SCALE_NONE)
        for (uint at = lane; at < N * SUMMERS; at += LOCAL) {
            const uint index = tile_index(at / SUMMERS, count);
            const uint where = args.in_by_slot != 0 ? slot_of(state_row(index), args.n_cells) : index;
            vec2 sum = vec2(0.0);
            for (uint i = at % SUMMERS; i < args.n_parts_in; i += 4 * SUMMERS) {
                vec2 part[4];
                [[unroll]] for (uint j = 0; j < 4; j++)
                    part[j] = load_part(where * args.parts_in_stride + min(i + j * SUMMERS, args.n_parts_in - 1));
                [[unroll]] for (uint j = 0; j < 4; j++)
                    sum += i + j * SUMMERS < args.n_parts_in ? part[j] : vec2(0.0);
            }
            tile_sums[at] = sum;
        }
    barrier();
    for (uint n = lane; n < N; n += LOCAL) {
        vec2 sum = vec2(0.0);
        if (SCALE != SCALE_NONE)
            for (uint i = 0; i < SUMMERS; i++)
                sum += tile_sums[n * SUMMERS + i];
        tile_scales[n] = INPUT == INPUT_STATE && tile_rows[n].w == 0 ? 1.0 : row_scale(sum.x, sum.y);
    }
}
