#version 460
// Split-KV attention of one (head, split, row): partial o = sum_j e^(s_j - m) v_j, and (m, sum_j e^(s_j - m)).
//
//   q [rows, heads, head_pad], scaled        keys, values [sequence, position, depth slot, heads, head_pad]
//   o [rows, splits, heads, head_pad]        ml [rows, splits, heads] of (maximum, sum)
//
// A row at step t reads of position j the depth slot min(t, depths_j - 1) mod n_slots: its own step where position j got that
// far, else the deepest that position j has (drafts, early exits). The splits of a row follow from its position alone.
// Lanes: first one lane per position for the scores, then lanes over (position group, four dimensions) for the values.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(constant_id = 1) const uint SPLIT = 128; // positions per workgroup
layout(constant_id = 2) const uint KV_F16 = 1;
layout(constant_id = 3) const uint CORE = 0;

layout(std430, binding = 1) readonly buffer Query { vec4 q[]; } query;
layout(std430, binding = 2) readonly buffer Keys { uvec4 k[]; } keys;
layout(std430, binding = 3) readonly buffer Values { uvec2 v[]; } values;
layout(std430, binding = 4) readonly buffer Depths { uint d[]; } depths;
layout(std430, binding = 5) writeonly buffer PartialOutput { vec4 o[]; } partial_output;
layout(std430, binding = 6) writeonly buffer PartialSums { vec2 ml[]; } partial_sums;

layout(push_constant) uniform Args { attention_args args; };

shared float weight[SPLIT];   // scores, then e^(s - m)
shared uint slots[SPLIT];     // row of the cache (position and depth slot) each position is read from
shared float lane_value[LOCAL];
shared vec4 group_sum[LOCAL];

vec4 load_value(uint at) // `at` counts groups of four values
{
    if (KV_F16 != 0) {
        uvec2 v = values.v[at];
        return vec4(unpackHalf2x16(v.x), unpackHalf2x16(v.y));
    }
    return uintBitsToFloat(uvec4(values.v[2 * at], values.v[2 * at + 1]));
}

float dot4(vec4 a, vec4 b, float sum)
{
    precise float s = fma(a.x, b.x, sum);
    s = fma(a.y, b.y, s);
    s = fma(a.z, b.z, s);
    s = fma(a.w, b.w, s);
    return s;
}

float score(uint q_base, uint cache_row, uint head)
{
    float s = 0.0, s2 = 0.0;
    uint n = args.head_pad / 8;
    uint base = (cache_row * args.n_heads + head) * n;
    for (uint c = 0; c < n; c++) {
        vec4 lo, hi;
        if (KV_F16 != 0) {
            uvec4 k = keys.k[base + c];
            lo = vec4(unpackHalf2x16(k.x), unpackHalf2x16(k.y));
            hi = vec4(unpackHalf2x16(k.z), unpackHalf2x16(k.w));
        } else {
            lo = uintBitsToFloat(keys.k[2 * (base + c)]);
            hi = uintBitsToFloat(keys.k[2 * (base + c) + 1]);
        }
        s = dot4(query.q[q_base + 2 * c], lo, s);
        s2 = dot4(query.q[q_base + 2 * c + 1], hi, s2);
    }
    return s + s2;
}

void main()
{
    const uint lane = gl_LocalInvocationIndex;
    const uint head = gl_WorkGroupID.x, split = gl_WorkGroupID.y;
    if (gl_WorkGroupID.z >= table_count(args.table))
        return;
    const uint row_index = table_first(args.table) + gl_WorkGroupID.z;
    const uvec4 row = state.rows[row_index];
    const uint start = split * SPLIT;
    if (start > row.y)
        return;
    const uint n = min(SPLIT, row.y + 1 - start);
    const uint q_base = (row_index * args.n_heads + head) * (args.head_pad / 4);

    float largest = uintBitsToFloat(0xff800000u);
    for (uint i = lane; i < n; i += LOCAL) {
        uint position_slot = row.z * args.n_ctx + start + i;
        uint cache_row = position_slot * args.n_slots;
        if (CORE != 0)
            cache_row += min(row.w, depths.d[position_slot] - 1) % args.n_slots;
        slots[i] = cache_row;
        float s = score(q_base, cache_row, head);
        weight[i] = s;
        largest = max(largest, s);
    }
    lane_value[lane] = largest;
    barrier();
    for (uint i = 0; i < LOCAL; i++)
        largest = max(largest, lane_value[i]);
    barrier();
    float sum = 0.0;
    for (uint i = lane; i < n; i += LOCAL) {
        float e = exp(weight[i] - largest);
        weight[i] = e;
        sum += e;
    }
    lane_value[lane] = sum;
    barrier();

    const uint quads = args.head_pad / 4;
    const uint width = min(quads, LOCAL), n_groups = LOCAL / width;
    const uint group = lane / width;
    const uint out_row = (row_index * args.n_splits + split) * args.n_heads + head;
    for (uint quad0 = 0; quad0 < quads; quad0 += width) {
        uint quad = quad0 + lane % width;
        vec4 o = vec4(0.0);
        if (group < n_groups && quad < quads)
            for (uint i = group; i < n; i += n_groups)
                o = fma(vec4(weight[i]), load_value((slots[i] * args.n_heads + head) * quads + quad), o);
        if (n_groups > 1) {
            group_sum[lane] = o;
            barrier();
            if (group == 0)
                for (uint g = 1; g < n_groups; g++)
                    o += group_sum[g * width + lane];
            barrier();
        }
        if (group == 0 && quad < quads)
            partial_output.o[out_row * quads + quad] = o;
    }
    if (lane == 0) {
        float total = 0.0;
        for (uint i = 0; i < LOCAL; i++)
            total += lane_value[i];
        partial_sums.ml[out_row] = vec2(largest, total);
    }
}
