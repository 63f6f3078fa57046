// The matmul skeleton on matrix units (VK_KHR_cooperative_matrix): squares of f16, added up in f32. A pass of one row and of N rows
// is one and the same product, since the squares are whole either way; rows behind the last one are zeros.
//
// 32 inputs are a block. A block of an output's weights is scaled by a power of two to a largest value of 2^14 to 2^15, or is the
// whole numbers of a quantised group; a block of a row's inputs is scaled likewise and cut in two halves, x = first + second:
//
//   y[n][o] = sum over blocks of  x_scale(n) * (w_scale(o) * sum_k W[o][k] * X[n][k] + w_minimum(o) * sum_k X[n][k])
//
// docs/decisions.md says what of that is exact. The blocks of a row are K_PARTS runs of equal length, each with a sum of its own, and
// the sums are added up in order. A team of subgroups works at a run: with few outputs in a workgroup there are K_PARTS teams, with
// many there is one that takes run after run. The order of additions is the same.
//
// A subgroup has SIDE outputs of all N rows; a team has all outputs of the workgroup.
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "skeleton.glsl"
#include "tile_rows.glsl"

layout(constant_id = 8) const uint SIDE = 16; // of the squares
layout(constant_id = 9) const uint SUBGROUP = 32;

const uint K_PARTS = 4, BLOCK_CHUNKS = 4, BLOCK = 8 * BLOCK_CHUNKS;
const uint OUTPUTS = LO * R;
const uint TEAM_SUBGROUPS = OUTPUTS / SIDE, TEAM = TEAM_SUBGROUPS * SUBGROUP, TEAMS = LOCAL / TEAM;
const uint ROW_SQUARES = N / SIDE, STEPS = BLOCK / SIDE;
const uint WEIGHT_HALVES = WEIGHT_TYPE == WEIGHT_F32 ? 2 : 1; // every other type is exact in one
// (output or row, chunk) pairs of a block that a lane fetches.
const uint WEIGHT_ITEMS = (OUTPUTS * BLOCK_CHUNKS + TEAM - 1) / TEAM, INPUT_ITEMS = (N * BLOCK_CHUNKS + TEAM - 1) / TEAM;
const float ZERO_POINT = WEIGHT_TYPE == WEIGHT_Q8_0 ? -128.0 : 0.0;
const uint STRIDE = BLOCK / 4 + 2; // fours; two more, for lanes to meet different banks

shared uvec2 block_weights[TEAMS * WEIGHT_HALVES * OUTPUTS * STRIDE];
shared uvec2 block_inputs[TEAMS * 2 * N * STRIDE];
shared float weight_scales[TEAMS * OUTPUTS], weight_minima[TEAMS * OUTPUTS], input_scales[TEAMS * N];
shared vec4 team_sums[TEAMS * N * OUTPUTS / 4];

#define WEIGHTS coopmat<float16_t, gl_ScopeSubgroup, SIDE, SIDE, gl_MatrixUseA>
#define INPUTS coopmat<float16_t, gl_ScopeSubgroup, SIDE, SIDE, gl_MatrixUseB>
#define SUMS coopmat<float, gl_ScopeSubgroup, SIDE, SIDE, gl_MatrixUseAccumulator>

// What a lane has fetched of the next block, before it goes into shared memory.
uvec4 fetched_words[WEIGHT_ITEMS];
vec2 fetched_scales[WEIGHT_ITEMS];
vec4 fetched_inputs[2 * INPUT_ITEMS];

uint own_team() { return gl_SubgroupID / TEAM_SUBGROUPS; }
uint own_lane() { return gl_SubgroupID % TEAM_SUBGROUPS * SUBGROUP + gl_SubgroupInvocationID; } // in the team

// Item `i` of a lane: which output or row, which chunk of the block. Four lanes side by side have a block.
uint item_owner(uint i) { return (i * TEAM + own_lane()) / BLOCK_CHUNKS; }
uint item_chunk() { return own_lane() % BLOCK_CHUNKS; }

uint weight_row_at(uint i) { return min(gl_WorkGroupID.x * OUTPUTS + item_owner(i), args.n_out - 1) * row_words(args.n_chunks); }

void fetch(uint block, uint count)
{
    const uint chunk = block * BLOCK_CHUNKS + item_chunk();
    const bool exists = chunk < args.n_chunks;
    [[unroll]] for (uint i = 0; i < WEIGHT_ITEMS; i++) {
        fetched_words[i] = exists ? load_word(weight_row_at(i), chunk) : uvec4(0);
        fetched_scales[i] = exists ? load_scale(weight_row_at(i), args.n_chunks, chunk) : vec2(0.0);
    }
    const uint n_live = min(N, count - gl_WorkGroupID.y * N);
    [[unroll]] for (uint i = 0; i < INPUT_ITEMS; i++) {
        const uint n = item_owner(i);
        fetched_inputs[2 * i] = fetched_inputs[2 * i + 1] = vec4(0.0);
        if (n < n_live && exists) {
            const uint index = tile_index(n, count);
            const uvec4 row = tile_rows[n];
            const bool raw = INPUT == INPUT_STATE && row.w == 0;
            const uint where = args.in_by_slot != 0 ? slot_of(row, args.n_cells) : index;
            const uint base = INPUT == INPUT_MERGE ? index : where * args.in_stride;
            fetched_inputs[2 * i] = load_four(base, row.y, raw, 8 * chunk, load_norm(8 * chunk));
            fetched_inputs[2 * i + 1] = load_four(base, row.y, raw, 8 * chunk + 4, load_norm(8 * chunk + 4));
        }
    }
}

// What brings the block of these eight values and of three neighbours to 2^14 .. 2^15, and back: powers of two. Blocks whose largest
// value is below 2^-107 come out smaller than that.
vec2 block_scale(vec4 lo, vec4 hi)
{
    const vec4 four = max(abs(lo), abs(hi));
    float largest = max(max(four.x, four.y), max(four.z, four.w));
    largest = max(largest, subgroupShuffleXor(largest, 1));
    largest = max(largest, subgroupShuffleXor(largest, 2));
    const uint exponent = max(floatBitsToUint(largest) >> 23, 20u);
    return uintBitsToFloat(uvec2(268 - exponent, exponent - 14) << 23);
}

uvec2 halves_of(vec4 x) { return uvec2(packHalf2x16(x.xy), packHalf2x16(x.zw)); }

uvec2 second_half(vec4 x, uvec2 first)
{
    precise vec4 rest = x - vec4(unpackHalf2x16(first.x), unpackHalf2x16(first.y));
    return halves_of(rest);
}

void put_weights(uint block)
{
    const uint chunk = block * BLOCK_CHUNKS + item_chunk(), team = own_team();
    [[unroll]] for (uint i = 0; i < WEIGHT_ITEMS; i++) {
        const uint o = item_owner(i);
        vec4 lo = vec4(0.0), hi = vec4(0.0);
        if (chunk < args.n_chunks) // of quantised types: whole numbers
            unpack_chunk(fetched_words[i], weight_row_at(i), vec2(1.0, ZERO_POINT), chunk, lo, hi);
        vec2 scale = fetched_scales[i];
        if (WEIGHT_TYPE == WEIGHT_F16) {
            scale.x = 1.0;
        } else if (!QUANTISED) {
            const vec2 there_and_back = block_scale(lo, hi);
            lo *= there_and_back.x;
            hi *= there_and_back.x;
            scale.x = there_and_back.y;
        }
        const uint at = (team * WEIGHT_HALVES * OUTPUTS + o) * STRIDE + 2 * item_chunk();
        const uvec2 first_lo = halves_of(lo), first_hi = halves_of(hi);
        block_weights[at] = first_lo;
        block_weights[at + 1] = first_hi;
        if (WEIGHT_HALVES == 2) {
            block_weights[at + OUTPUTS * STRIDE] = second_half(lo, first_lo);
            block_weights[at + OUTPUTS * STRIDE + 1] = second_half(hi, first_hi);
        }
        if (item_chunk() == 0) {
            weight_scales[team * OUTPUTS + o] = scale.x;
            weight_minima[team * OUTPUTS + o] = scale.y;
        }
    }
}

void put_inputs()
{
    const uint team = own_team();
    [[unroll]] for (uint i = 0; i < INPUT_ITEMS; i++) {
        const uint n = item_owner(i), at = (team * 2 * N + n) * STRIDE + 2 * item_chunk();
        const vec2 scale = block_scale(fetched_inputs[2 * i], fetched_inputs[2 * i + 1]);
        const vec4 lo = fetched_inputs[2 * i] * scale.x, hi = fetched_inputs[2 * i + 1] * scale.x;
        const uvec2 first_lo = halves_of(lo), first_hi = halves_of(hi);
        if (n < N) {
            block_inputs[at] = first_lo;
            block_inputs[at + 1] = first_hi;
            block_inputs[at + N * STRIDE] = second_half(lo, first_lo);
            block_inputs[at + N * STRIDE + 1] = second_half(hi, first_hi);
            if (item_chunk() == 0)
                input_scales[team * N + n] = scale.y;
        }
    }
}

// Adds the block in shared memory to the sums.
void add_block(inout SUMS sums[ROW_SQUARES])
{
    const uint team = own_team(), o0 = gl_SubgroupID % TEAM_SUBGROUPS * SIDE;
    SUMS w_scale, w_minimum, x_scale;
    coopMatLoad(w_scale, weight_scales, team * OUTPUTS + o0, 0, gl_CooperativeMatrixLayoutColumnMajor);
    if (WEIGHT_TYPE == WEIGHT_Q4_1)
        coopMatLoad(w_minimum, weight_minima, team * OUTPUTS + o0, 0, gl_CooperativeMatrixLayoutColumnMajor);
    [[unroll]] for (uint s = 0; s < ROW_SQUARES; s++) {
        SUMS product = SUMS(0.0), plain = SUMS(0.0);
        // The small ones first.
        [[dont_unroll]] for (uint halves = 2 * WEIGHT_HALVES; halves-- > 0;)
            [[dont_unroll]] for (uint k = 0; k < STEPS; k++) {
                WEIGHTS w;
                INPUTS x;
                coopMatLoad(w, block_weights, ((team * WEIGHT_HALVES + halves / 2) * OUTPUTS + o0) * STRIDE + k * SIDE / 4, STRIDE,
                            gl_CooperativeMatrixLayoutRowMajor);
                coopMatLoad(x, block_inputs, ((team * 2 + halves % 2) * N + s * SIDE) * STRIDE + k * SIDE / 4, STRIDE,
                            gl_CooperativeMatrixLayoutColumnMajor);
                product = coopMatMulAdd(w, x, product);
                if (WEIGHT_TYPE == WEIGHT_Q4_1)
                    plain = coopMatMulAdd(WEIGHTS(1.0), x, plain);
            }
        coopMatLoad(x_scale, input_scales, team * N + s * SIDE, 0, gl_CooperativeMatrixLayoutRowMajor);
        product = product * w_scale;
        if (WEIGHT_TYPE == WEIGHT_Q4_1)
            product = product + plain * w_minimum;
        sums[s] = sums[s] + product * x_scale;
    }
}

uint matmul()
{
    const uint count = table_count(args.table), n0 = gl_WorkGroupID.y * N;
    if (n0 >= count)
        return 0;
    const uint lane = gl_LocalInvocationIndex, team = own_team(), n_live = min(N, count - n0);
    const uint n_blocks = (args.n_chunks + BLOCK_CHUNKS - 1) / BLOCK_CHUNKS, part_blocks = (n_blocks + K_PARTS - 1) / K_PARTS;
    prepare_rows(lane, count);

    SUMS totals[ROW_SQUARES];
    [[unroll]] for (uint s = 0; s < ROW_SQUARES; s++)
        totals[s] = SUMS(0.0);
    for (uint turn = 0; turn < K_PARTS / TEAMS; turn++) {
        const uint first = (turn * TEAMS + team) * part_blocks;
        SUMS sums[ROW_SQUARES];
        [[unroll]] for (uint s = 0; s < ROW_SQUARES; s++)
            sums[s] = SUMS(0.0);
        fetch(first, count);
        for (uint b = 0; b < part_blocks; b++) {
            barrier(); // the block before has been read
            put_weights(first + b);
            put_inputs();
            if (b + 1 < part_blocks)
                fetch(first + b + 1, count);
            barrier();
            add_block(sums);
        }
        [[unroll]] for (uint s = 0; s < ROW_SQUARES; s++)
            totals[s] = totals[s] + sums[s];
    }

    const uint o0 = gl_SubgroupID % TEAM_SUBGROUPS * SIDE;
    [[unroll]] for (uint s = 0; s < ROW_SQUARES; s++)
        coopMatStore(totals[s], team_sums, ((team * N + s * SIDE) * OUTPUTS + o0) / 4, OUTPUTS / 4, gl_CooperativeMatrixLayoutColumnMajor);
    barrier();
    for (uint item = lane; item < N_ITEMS; item += LOCAL) {
        const uint n = item / LO, o = item % LO;
        precise vec4 y = vec4(0.0);
        [[unroll]] for (uint t = 0; t < TEAMS; t++)
            y += team_sums[(t * N + n) * OUTPUTS / 4 + o];
        epilogue(item, tile_index(n, count), tile_rows[n], gl_WorkGroupID.x * OUTPUTS + 4 * o, scaled(y.x, y.y, y.z, y.w, tile_scales[n]),
                 n < n_live);
    }
    return n_live;
}
