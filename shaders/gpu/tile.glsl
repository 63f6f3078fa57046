// Many activation rows (prompts): a product in tiles. Step by step, 32 inputs at a time, the workgroup unpacks the
// weights of its LO * R outputs and fetches those inputs of its N activation rows into shared memory, once for all
// lanes. Then a lane multiplies four outputs with its rows: N / LK of them, one behind the other, where the lanes apart
// would load every input for themselves. R = 4.
//
// An output is one chain of fma over the inputs in the order of `slot_of_input`, step by step: it depends on nothing
// else.
#include "tile_rows.glsl"

const uint STEP_CHUNKS = 4, STEP = 8 * STEP_CHUNKS;
const uint TILE_OUTPUTS = LO * R;
const uint LANE_ROWS = (N + LK - 1) / LK; // activation rows of a lane
const uint ROW_QUADS = (LANE_ROWS * LK + 3) / 4;

// In fours, from one input to the next. Two more than there are: lanes that write different chunks meet different
// banks.
const uint OUTPUTS_STRIDE = TILE_OUTPUTS / 4 + 2, ROWS_STRIDE = ROW_QUADS + 2;

shared vec4 tile_weights[TILED ? STEP * OUTPUTS_STRIDE : 1];
shared vec4 tile_inputs[TILED ? STEP * ROWS_STRIDE : 1];

// Where input i of chunk c of a step lies: the chunks side by side.
uint slot_of_input(uint c, uint i) { return i * STEP_CHUNKS + c; }

// Four outputs of a chunk of inputs: the inputs' vectors of four are written whole.
void fetch_weights(uint lane, uint c0)
{
    const uint o0 = gl_WorkGroupID.x * TILE_OUTPUTS, w_stride = row_words(args.n_chunks);
    for (uint at = lane; at < TILE_OUTPUTS / 4 * STEP_CHUNKS; at += LOCAL) {
        const uint quad = at / STEP_CHUNKS, c = at % STEP_CHUNKS;
        vec4 lo[4], hi[4];
        [[unroll]] for (uint j = 0; j < 4; j++) {
            lo[j] = hi[j] = vec4(0.0); // behind the last chunk
            if (c0 + c < args.n_chunks)
                load_group(min(o0 + 4 * quad + j, args.n_out - 1) * w_stride, args.n_chunks, c0 + c, lo[j], hi[j]);
        }
        [[unroll]] for (uint i = 0; i < 4; i++) {
            const uint at_lo = slot_of_input(c, i), at_hi = slot_of_input(c, 4 + i);
            tile_weights[at_lo * OUTPUTS_STRIDE + quad] = vec4(lo[0][i], lo[1][i], lo[2][i], lo[3][i]);
            tile_weights[at_hi * OUTPUTS_STRIDE + quad] = vec4(hi[0][i], hi[1][i], hi[2][i], hi[3][i]);
        }
    }
}

// Four rows of half a chunk.
void fetch_inputs(uint lane, uint c0, uint count)
{
    for (uint at = lane; at < ROW_QUADS * STEP_CHUNKS * 2; at += LOCAL) {
        const uint quad = at / (2 * STEP_CHUNKS), c = at / 2 % STEP_CHUNKS, half_chunk = at % 2;
        const bool live = c0 + c < args.n_chunks;
        const uint k = 8 * (live ? c0 + c : 0) + 4 * half_chunk;
        const vec4 norm = load_norm(k);
        vec4 x[4];
        [[unroll]] for (uint j = 0; j < 4; j++) {
            const uint n = min(4 * quad + j, N - 1), index = tile_index(n, count);
            const uvec4 row = tile_rows[n];
            const bool raw = INPUT == INPUT_STATE && row.w == 0;
            const uint where = args.in_by_slot != 0 ? slot_of(row, args.n_cells) : index;
            const uint base = INPUT == INPUT_MERGE ? index : where * args.in_stride;
            x[j] = live ? load_four(base, row.y, raw, k, norm) : vec4(0.0);
        }
        [[unroll]] for (uint i = 0; i < 4; i++) {
            const uint slot = slot_of_input(c, 4 * half_chunk + i);
            tile_inputs[slot * ROWS_STRIDE + quad] = vec4(x[0][i], x[1][i], x[2][i], x[3][i]);
        }
    }
}

uint matmul_tiled()
{
    const uint count = table_count(args.table), n0 = gl_WorkGroupID.y * N;
    if (n0 >= count)
        return 0;
    const uint lane = gl_LocalInvocationIndex, o_lane = lane % LO, n_first = lane / LO * LANE_ROWS;
    const uint n_live = min(N, count - n0);
    prepare_rows(lane, count);
    vec4 acc[LANE_ROWS];
    [[unroll]] for (uint i = 0; i < LANE_ROWS; i++)
        acc[i] = vec4(0.0);
    for (uint c0 = 0; c0 < args.n_chunks; c0 += STEP_CHUNKS) {
        barrier();
        fetch_weights(lane, c0);
        fetch_inputs(lane, c0, count);
        barrier();
        for (uint k = 0; k < STEP; k++) {
            const vec4 w = tile_weights[k * OUTPUTS_STRIDE + o_lane];
            vec4 x = vec4(0.0);
            [[unroll]] for (uint i = 0; i < LANE_ROWS; i++) {
                const uint n = n_first + i;
                if (LANE_ROWS % 4 != 0)
                    x[i % 4] = tile_inputs[k * ROWS_STRIDE + n / 4][n % 4];
                else if (i % 4 == 0)
                    x = tile_inputs[k * ROWS_STRIDE + n / 4];
                precise vec4 sum = fma(w, vec4(x[i % 4]), acc[i]);
                acc[i] = sum;
            }
        }
    }
    [[unroll]] for (uint i = 0; i < LANE_ROWS; i++) {
        const uint n = n_first + i;
        if (n < N)
            epilogue(n * (N_ITEMS / N) + o_lane, tile_index(n, count), tile_rows[n],
                     (gl_WorkGroupID.x * LO + o_lane) * R,
                     scaled(acc[i].x, acc[i].y, acc[i].z, acc[i].w, tile_scales[n]), n < n_live);
    }
    return n_live;
}
