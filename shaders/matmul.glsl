// The one matmul skeleton: y[n][o] = scale(n) * sum_k W[o][k] * a(n, k), for QKV, PROJ, GATE and HEAD.
//
//   W    [n_out, 8 * n_chunks], rows padded with zeros, planar 16-byte chunks of 8 weights (f32: two)
//   a    activations, f32; INPUT says how they are read
//
// A workgroup is LO x LK lanes: LK lanes share one output row and stride over its chunks; each lane owns R consecutive rows
// for N activation rows. Decoding on a GPU: LK = 32. On a CPU device, and for prefill: LK = 1, a lane is an output row.
// The order of additions in one output depends on LK alone, never on N or on how many rows run: chunk by chunk, two chains
// of four fma in a chunk, then the LK lanes in order. That makes the k-row and the 1-row pass equal bit for bit.
#include "common.glsl"

layout(constant_id = 1) const uint LK = 1;
layout(constant_id = 2) const uint R = 2; // even: rotary pairs and gate/up pairs are neighbours
layout(constant_id = 3) const uint N = 1;
layout(constant_id = 4) const uint WEIGHT_TYPE = WEIGHT_BF16;
layout(constant_id = 5) const uint INPUT = INPUT_PLAIN;
layout(constant_id = 6) const uint SCALE = SCALE_NONE;
layout(constant_id = 7) const uint SPLIT_MERGE = 1; // 0: a row never has more than one attention split

const uint LO = LOCAL / LK;
const uint N_ITEMS = N * R / 2 * LO;    // (activation row, output pair) results of a workgroup
const uint N_ACC = N * R + 2 * N;       // values each lane brings into the reduction over LK

layout(std430, binding = 1) readonly buffer Weights { uvec4 w[]; } weights;
layout(std430, binding = 2) readonly buffer Input { vec4 x[]; } inputs;
layout(std430, binding = 3) readonly buffer NormWeights { vec4 w[]; } norm_weights;
layout(std430, binding = 4) readonly buffer InputParts { vec2 p[]; } input_parts; // statistics, or (max, sum) of attention splits

layout(push_constant) uniform Args { matmul_args args; };

const uint LANE_STRIDE = LK + 1; // one word of padding keeps the readers on different banks
shared float lanes[LK == 1 ? 1 : N_ACC * LO * LANE_STRIDE];

void load_weights(uint chunk, out vec4 lo, out vec4 hi)
{
    if (WEIGHT_TYPE == WEIGHT_F32) {
        lo = uintBitsToFloat(weights.w[2 * chunk]);
        hi = uintBitsToFloat(weights.w[2 * chunk + 1]);
        return;
    }
    uvec4 v = weights.w[chunk];
    if (WEIGHT_TYPE == WEIGHT_F16) {
        lo = vec4(unpackHalf2x16(v.x), unpackHalf2x16(v.y));
        hi = vec4(unpackHalf2x16(v.z), unpackHalf2x16(v.w));
    } else {
        lo = uintBitsToFloat(uvec4(v.x << 16, v.x & 0xffff0000u, v.y << 16, v.y & 0xffff0000u));
        hi = uintBitsToFloat(uvec4(v.z << 16, v.z & 0xffff0000u, v.w << 16, v.w & 0xffff0000u));
    }
}

// Merges the attention partials of one row for one chunk of 8: sum_s e^(m_s - M) o_s / sum_s e^(m_s - M) l_s, splits in order.
void load_merged(uint row, uint position, uint chunk, out vec4 lo, out vec4 hi)
{
    uint chunks_per_head = args.head_pad / 8;
    uint head = chunk / chunks_per_head;
    uint within = chunk % chunks_per_head;
    uint n = SPLIT_MERGE == 0 ? 1 : position / args.split + 1;
    uint base = row * args.n_splits * args.n_heads + head;
    float largest = input_parts.p[base].x;
    for (uint s = 1; s < n; s++)
        largest = max(largest, input_parts.p[base + s * args.n_heads].x);
    float total = 0.0;
    lo = vec4(0.0);
    hi = vec4(0.0);
    for (uint s = 0; s < n; s++) {
        vec2 ml = input_parts.p[base + s * args.n_heads];
        float factor = exp(ml.x - largest);
        uint at = ((base + s * args.n_heads) * chunks_per_head + within) * 2;
        total = fma(factor, ml.y, total);
        lo = fma(vec4(factor), inputs.x[at], lo);
        hi = fma(vec4(factor), inputs.x[at + 1], hi);
    }
    float inverse = 1.0 / total;
    lo *= inverse;
    hi *= inverse;
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

// Each shader defines what becomes of the pair of outputs (o, o + 1) of activation row `row` (an index into the row table).
// `item` numbers the pairs of this workgroup row by row: item / (N_ITEMS / N) is the activation row within the group.
void epilogue(uint item, uint row, uint o, float y0, float y1);

// Runs the skeleton. Returns the number of activation rows in this group (0: nothing to do, uniform over the workgroup).
uint matmul()
{
    const uint first = table_first(args.table), count = table_count(args.table);
    const uint n0 = gl_WorkGroupID.y * N;
    if (n0 >= count)
        return 0;
    const uint n_live = min(N, count - n0);
    const uint k_lane = gl_LocalInvocationIndex % LK, o_lane = gl_LocalInvocationIndex / LK;
    const uint o_base = (gl_WorkGroupID.x * LO + o_lane) * R;

    uint w_base[R];
    [[unroll]] for (uint r = 0; r < R; r++)
        w_base[r] = min(o_base + r, args.n_out - 1) * args.n_chunks;
    uint x_base[N], part_base[N], position[N];
    bool raw[N];
    [[unroll]] for (uint n = 0; n < N; n++) {
        // Rows beyond the table repeat its last one: the stamp's arithmetic stays, the result is dropped.
        uint index = first + min(n0 + n, count - 1);
        uvec4 row = state.rows[index];
        uint where = args.in_by_slot != 0 ? slot_of(row, args.n_ctx) : index;
        x_base[n] = where * (args.in_stride / 4);
        part_base[n] = where * args.parts_in_stride;
        position[n] = row.y;
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
            load_weights(w_base[r] + c, w_lo[r], w_hi[r]);
        vec4 norm_lo = vec4(1.0), norm_hi = vec4(1.0);
        if (INPUT == INPUT_NORM || INPUT == INPUT_STATE) {
            norm_lo = norm_weights.w[2 * c];
            norm_hi = norm_weights.w[2 * c + 1];
        }
        [[unroll]] for (uint n = 0; n < N; n++) {
            vec4 lo, hi;
            if (INPUT == INPUT_MERGE) {
                load_merged(x_base[n], position[n], c, lo, hi);
            } else {
                lo = inputs.x[x_base[n] + 2 * c];
                hi = inputs.x[x_base[n] + 2 * c + 1];
                if (INPUT == INPUT_NORM || (INPUT == INPUT_STATE && !raw[n])) {
                    lo *= norm_lo;
                    hi *= norm_hi;
                }
            }
            [[unroll]] for (uint r = 0; r < R; r++) {
                precise float p = w_lo[r].x * lo.x;
                p = fma(w_lo[r].y, lo.y, p);
                p = fma(w_lo[r].z, lo.z, p);
                p = fma(w_lo[r].w, lo.w, p);
                precise float q = w_hi[r].x * hi.x;
                q = fma(w_hi[r].y, hi.y, q);
                q = fma(w_hi[r].z, hi.z, q);
                q = fma(w_hi[r].w, hi.w, q);
                precise float sum = acc[n * R + r] + (p + q);
                acc[n * R + r] = sum;
            }
        }
    }

    vec2 stats[N];
    [[unroll]] for (uint n = 0; n < N; n++) {
        stats[n] = vec2(0.0);
        if (SCALE != SCALE_NONE)
            for (uint i = k_lane; i < args.n_parts_in; i += LK)
                stats[n] += input_parts.p[part_base[n] + i];
    }

    if (LK == 1) {
        [[unroll]] for (uint n = 0; n < N; n++) {
            float scale = raw[n] ? 1.0 : row_scale(stats[n].x, stats[n].y);
            [[unroll]] for (uint p = 0; p < R / 2; p++)
                if (n < n_live)
                    epilogue(n * (N_ITEMS / N) + o_lane * (R / 2) + p, first + n0 + n, o_base + 2 * p, acc[n * R + 2 * p] * scale,
                             acc[n * R + 2 * p + 1] * scale);
        }
        return n_live;
    }

    [[unroll]] for (uint i = 0; i < N * R; i++)
        lanes[(i * LO + o_lane) * LANE_STRIDE + k_lane] = acc[i];
    if (SCALE != SCALE_NONE)
        [[unroll]] for (uint n = 0; n < N; n++) {
            lanes[((N * R + 2 * n) * LO + o_lane) * LANE_STRIDE + k_lane] = stats[n].x;
            lanes[((N * R + 2 * n + 1) * LO + o_lane) * LANE_STRIDE + k_lane] = stats[n].y;
        }
    barrier();
    for (uint item = gl_LocalInvocationIndex; item < N_ITEMS; item += LOCAL) {
        uint n = item / (N_ITEMS / N), rest = item % (N_ITEMS / N), o = rest / (R / 2), p = rest % (R / 2);
        uint at0 = ((n * R + 2 * p) * LO + o) * LANE_STRIDE, at1 = at0 + LO * LANE_STRIDE;
        uint at_stats = ((N * R + 2 * n) * LO + o) * LANE_STRIDE;
        float y0 = 0.0, y1 = 0.0;
        vec2 sums = vec2(0.0);
        for (uint k = 0; k < LK; k++) {
            y0 += lanes[at0 + k];
            y1 += lanes[at1 + k];
            if (SCALE != SCALE_NONE)
                sums += vec2(lanes[at_stats + k], lanes[at_stats + LO * LANE_STRIDE + k]);
        }
        if (n < n_live) {
            bool raw_row = INPUT == INPUT_STATE && state.rows[first + n0 + n].w == 0;
            float scale = raw_row ? 1.0 : row_scale(sums.x, sums.y);
            epilogue(item, first + n0 + n, (gl_WorkGroupID.x * LO + o) * R + 2 * p, y0 * scale, y1 * scale);
        }
    }
    return n_live;
}
