// The one matmul skeleton: y[n][o] = scale(n) * sum_k W[o][k] * a(n, k), for QKV, PROJ, GATE and HEAD.
//
//   W    [n_out, 8 * n_chunks], rows padded with zeros, stored as weights.glsl says
//   a    activations, f32; INPUT says how they are read
//
// A workgroup has LO x R outputs of N activation rows. PATH says how its LO x LK lanes divide the work:
//
//   apart     matmul_apart, below: LK lanes share output rows and stride over their chunks; each lane owns R consecutive rows
//             for all N activation rows. Decoding on a GPU: LK = 32.
//   sharing   cpu/matmul.glsl: LK = 1, a lane is R output rows, and the lanes of a CPU device hand their inputs round
//   tiled     gpu/tile.glsl: many rows; both factors pass through shared memory, and LK lanes divide the N rows
//   matrix    matrix/matmul.glsl: matrix units multiply squares of f16
//
// The order of additions in one output depends on PATH and LK alone, never on N or on how many rows run: that makes the k-row
// and the 1-row pass equal bit for bit. Apart and sharing: chunk by chunk, two chains of four fma in a chunk, then the LK lanes
// in order.
// Include rows.glsl and matmul.glsl, which includes this, define epilogue, and call matmul.

layout(constant_id = 1) const uint LK = 1;
layout(constant_id = 2) const uint R = 4; // a multiple of four: epilogues take four outputs
layout(constant_id = 3) const uint N = 1;
layout(constant_id = 4) const uint WEIGHT_TYPE = WEIGHT_BF16;
layout(constant_id = 5) const uint INPUT = INPUT_PLAIN;
layout(constant_id = 6) const uint SCALE = SCALE_NONE;
layout(constant_id = 7) const uint PATH = PATH_APART;

const uint LO = LOCAL / LK;
const uint N_ITEMS = N * R / 4 * LO;    // (activation row, four outputs) results of a workgroup
const uint MEET = N < 4 ? N : 4;        // activation rows whose lanes meet at a time: shared memory for more of them costs waves
const uint N_STATS = SCALE != SCALE_NONE ? 2 : 0;
const uint N_ACC = MEET * (R + N_STATS); // values each lane brings into the reduction over LK

READ4(1, weights);
#define weight_word(at) load4(weights, at)
#include "weights.glsl"
READ4(2, inputs);
READ4(3, norm_weights);
READ4(4, input_parts); // vec2: statistics, or (max, sum) of attention splits

layout(push_constant) uniform Args { matmul_args pushed; };
matmul_args args = pushed; // read once: a CPU device gathers a push constant lane by lane, at every use

const uint LANE_STRIDE = LK + 1; // one word of padding keeps the readers on different banks
shared float lanes[LK == 1 || PATH != PATH_APART ? 1 : N_ACC * LO * LANE_STRIDE];

vec2 load_part(uint at)
{
    uvec4 two = load4(input_parts, at / 2);
    return uintBitsToFloat((at & 1) == 0 ? two.xy : two.zw);
}

vec2 sum_parts(uint base)
{
    vec2 sum = vec2(0.0);
    for (uint i = 0; i < args.n_parts_in; i++)
        sum += load_part(base + i);
    return sum;
}

// Four inputs of a row from attention partials: sum_s e^(m_s - M) o_s / sum_s e^(m_s - M) l_s, splits in order.
vec4 load_merged(uint row, uint position, uint at)
{
    uint head = at / args.head_pad, within = at % args.head_pad;
    uint n = position / args.split + 1;
    uint base = row * args.n_splits * args.n_heads + head;
    float largest = load_part(base).x;
    for (uint s = 1; s < n; s++)
        largest = max(largest, load_part(base + s * args.n_heads).x);
    float total = 0.0;
    vec4 sum = vec4(0.0);
    for (uint s = 0; s < n; s++) {
        vec2 ml = load_part(base + s * args.n_heads);
        float factor = exp(ml.x - largest);
        total = fma(factor, ml.y, total);
        sum = fma(vec4(factor), uintBitsToFloat(load4(inputs, ((base + s * args.n_heads) * args.head_pad + within) / 4)), sum);
    }
    return sum * (1.0 / total);
}

// Inputs at .. at + 3 of a row, times the norm's weights where there is a norm. x_base counts values.
vec4 load_four(uint x_base, uint position, bool raw, uint at, vec4 norm)
{
    if (INPUT == INPUT_MERGE)
        return load_merged(x_base, position, at);
    vec4 x = uintBitsToFloat(load4(inputs, (x_base + at) / 4));
    if (INPUT == INPUT_NORM || (INPUT == INPUT_STATE && !raw))
        x *= norm;
    return x;
}

vec4 load_norm(uint at)
{
    return INPUT == INPUT_NORM || INPUT == INPUT_STATE ? uintBitsToFloat(load4(norm_weights, at / 4)) : vec4(1.0);
}

// One chunk of 8: two chains of four fma, then their sum onto the accumulator. The order every path keeps.
float add_chunk(float acc, vec4 w_lo, vec4 w_hi, vec4 lo, vec4 hi)
{
    precise float p = w_lo.x * lo.x;
    p = fma(w_lo.y, lo.y, p);
    p = fma(w_lo.z, lo.z, p);
    p = fma(w_lo.w, lo.w, p);
    precise float q = w_hi.x * hi.x;
    q = fma(w_hi.y, hi.y, q);
    q = fma(w_hi.z, hi.z, q);
    q = fma(w_hi.w, hi.w, q);
    precise float sum = acc + (p + q);
    return sum;
}

float row_scale(float sum, float sum_weighted)
{
    if (SCALE == SCALE_NONE)
        return 1.0;
    float r = 1.0 / sqrt(fma(sum, 1.0 / float(args.n_norm), args.eps));
    if (SCALE == SCALE_ONE)
        return r;
    return r * (1.0 / sqrt(fma(r * r, sum_weighted * (1.0 / float(args.n_norm)), args.eps)));
}

// precise: no compiler may fuse the scale with what an epilogue adds, here in one pipeline and there not.
vec4 scaled(float a, float b, float c, float d, float scale)
{
    precise vec4 y = vec4(a, b, c, d) * scale;
    return y;
}

// Each shader defines what becomes of the outputs o .. o + 3 of activation row `row`, number `row_index` of the table; o is a
// multiple of four. `item` numbers the quads of this workgroup row by row: item / (N_ITEMS / N) is the activation row within the
// group. Without `live` the row repeats the table's last one and must not be stored. (Loads stay outside such conditions, where a
// compiler can share them between the rows.)
void epilogue(uint item, uint row_index, uvec4 row, uint o, vec4 y, bool live);

// Which of the outputs o .. o + 3 exist.
bvec4 live_outputs(uint o)
{
    return lessThan(uvec4(o, o + 1, o + 2, o + 3), uvec4(args.n_out));
}

// Adds up what the lanes of rows m .. m + MEET - 1 of the group brought, lane by lane, and ends their outputs.
void add_lanes(uint m, uint n0, uint n_live)
{
    const uint first = table_first(args.table) + n0, quads = N_ITEMS / N;
    for (uint item = gl_LocalInvocationIndex; item < MEET * quads; item += LOCAL) {
        uint n = item / quads, rest = item % quads, o = rest / (R / 4), p = rest % (R / 4);
        uint at0 = ((n * R + 4 * p) * LO + o) * LANE_STRIDE, step = LO * LANE_STRIDE;
        uint at_stats = ((MEET * R + 2 * n) * LO + o) * LANE_STRIDE;
        precise vec4 y = vec4(0.0);
        vec2 sums = vec2(0.0);
        for (uint k = 0; k < LK; k++) {
            y += vec4(lanes[at0 + k], lanes[at0 + step + k], lanes[at0 + 2 * step + k], lanes[at0 + 3 * step + k]);
            if (SCALE != SCALE_NONE)
                sums += vec2(lanes[at_stats + k], lanes[at_stats + step + k]);
        }
        n += m;
        if (n < n_live) {
            uvec4 row = state_row(first + n);
            bool raw_row = INPUT == INPUT_STATE && row.w == 0;
            float scale = raw_row ? 1.0 : row_scale(sums.x, sums.y);
            y *= scale;
            epilogue(m * quads + item, first + n, row, (gl_WorkGroupID.x * LO + o) * R + 4 * p, y, true);
        }
    }
}

// Each lane by itself, and the LK lanes of an output meet at the end. Returns the number of activation rows in this group (0:
// nothing to do, uniform over the workgroup), as matmul does.
uint matmul_apart()
{
    const uint first = table_first(args.table), count = table_count(args.table);
    const uint n0 = gl_WorkGroupID.y * N;
    if (n0 >= count)
        return 0;
    const uint n_live = min(N, count - n0);
    const uint k_lane = gl_LocalInvocationIndex % LK, o_lane = gl_LocalInvocationIndex / LK;
    const uint o_base = (gl_WorkGroupID.x * LO + o_lane) * R;

    const uint w_stride = row_words(args.n_chunks);
    uint w_base[R];
    [[unroll]] for (uint r = 0; r < R; r++)
        w_base[r] = min(o_base + r, args.n_out - 1) * w_stride;
    uint x_base[N], part_base[N];
    uvec4 rows[N];
    bool raw[N];
    [[unroll]] for (uint n = 0; n < N; n++) {
        // Rows beyond the table repeat its last one: the stamp's arithmetic stays, the result is dropped.
        uint index = first + min(n0 + n, count - 1);
        uvec4 row = state_row(index);
        uint where = args.in_by_slot != 0 ? slot_of(row, args.n_cells) : index;
        x_base[n] = where * args.in_stride;
        part_base[n] = where * args.parts_in_stride;
        rows[n] = row;
        raw[n] = INPUT == INPUT_STATE && row.w == 0;
        if (INPUT == INPUT_MERGE)
            x_base[n] = index;
    }

    float acc[N * R];
    [[unroll]] for (uint i = 0; i < N * R; i++)
        acc[i] = 0.0;
    for (uint c = k_lane; c < args.n_chunks; c += LK) {
        vec4 w_lo[R], w_hi[R];
        [[unroll]] for (uint r = 0; r < R; r++)
            load_group(w_base[r], args.n_chunks, c, w_lo[r], w_hi[r]);
        vec4 norm_lo = load_norm(8 * c), norm_hi = load_norm(8 * c + 4);
        // Row by row, not in a loop: where a row's inputs take one (load_merged), compilers do not unroll the loop around
        // it, and look accumulators up in memory.
#define ADD_ROW(number) \
        if (number < N) { \
            const uint n = number < N ? number : 0; \
            vec4 lo = load_four(x_base[n], rows[n].y, raw[n], 8 * c, norm_lo); \
            vec4 hi = load_four(x_base[n], rows[n].y, raw[n], 8 * c + 4, norm_hi); \
            [[unroll]] for (uint r = 0; r < R; r++) \
                acc[n * R + r] = add_chunk(acc[n * R + r], w_lo[r], w_hi[r], lo, hi); \
        }
        ADD_ROW(0) ADD_ROW(1) ADD_ROW(2) ADD_ROW(3) ADD_ROW(4) ADD_ROW(5) ADD_ROW(6) ADD_ROW(7)
#undef ADD_ROW
    }

    if (LK == 1) {
        [[unroll]] for (uint n = 0; n < N; n++) {
            vec2 stats = SCALE != SCALE_NONE ? sum_parts(part_base[n]) : vec2(0.0);
            float scale = raw[n] ? 1.0 : row_scale(stats.x, stats.y);
            [[unroll]] for (uint p = 0; p < R / 4; p++)
                epilogue(n * (N_ITEMS / N) + o_lane * (R / 4) + p, first + min(n0 + n, count - 1), rows[n], o_base + 4 * p,
                         scaled(acc[n * R + 4 * p], acc[n * R + 4 * p + 1], acc[n * R + 4 * p + 2], acc[n * R + 4 * p + 3], scale), n < n_live);
        }
        return n_live;
    }

    vec2 stats[N];
    [[unroll]] for (uint n = 0; n < N; n++)
        stats[n] = vec2(0.0);
    if (SCALE != SCALE_NONE)
        for (uint i = k_lane; i < args.n_parts_in; i += LK)
            [[unroll]] for (uint n = 0; n < N; n++)
                stats[n] += load_part(part_base[n] + i);
    [[unroll]] for (uint m = 0; m < N; m += MEET) {
        if (m > 0)
            barrier(); // the rows before have been read
        [[unroll]] for (uint i = 0; i < MEET * R; i++)
            lanes[(i * LO + o_lane) * LANE_STRIDE + k_lane] = acc[m * R + i];
        if (SCALE != SCALE_NONE)
            [[unroll]] for (uint n = 0; n < MEET; n++) {
                lanes[((MEET * R + 2 * n) * LO + o_lane) * LANE_STRIDE + k_lane] = stats[m + n].x;
                lanes[((MEET * R + 2 * n + 1) * LO + o_lane) * LANE_STRIDE + k_lane] = stats[m + n].y;
            }
        barrier();
        add_lanes(m, n0, n_live);
    }
    return n_live;
}
