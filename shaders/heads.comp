#version 460
// Queries and keys that wait for other values before they can be turned or stored: q = turn(norm(a_q)) / sqrt(h) for
// attention, k = turn(norm(a_k)) and v = a_v into the cache. What qkv.comp does where no value waits for another one.
// NORMED: all heads are normed together. Otherwise there is a bias in place of the norm, as in qkv.comp, and it is the
// cache that makes values wait: in q8 those of a group have one scale.
// Shapes: a [rows, (H + 2 G) h], neighbours are rotary pairs; norms or bias [(H + G) h]; q [rows, heads, head_pad];
// cache and depths as in qkv.comp, q8 as in q8.glsl. One workgroup per row; lanes stride over pairs, and over groups.
#extension GL_GOOGLE_include_directive : require
#include "state.glsl"
#include "lanes.glsl"
#include "heads.glsl"
#include "q8.glsl"

layout(constant_id = 1) const uint KV_TYPE = CACHE_F16;
layout(constant_id = 2) const uint CORE = 0;
layout(constant_id = 3) const uint SHARED_SLOTS = 0;
layout(constant_id = 4) const uint NORMED = 1;

layout(std430, binding = 1) readonly buffer Input { vec2 a[]; } inputs;
layout(std430, binding = 2) readonly buffer Weights { vec2 w[]; } weights; // of the norms; or the bias
layout(std430, binding = 3) readonly buffer Rotary { vec2 cs[]; } rotary; // [position, head_dim / 2] (cos, sin)
layout(std430, binding = 4) writeonly buffer Query { vec2 q[]; } query;
layout(std430, binding = 5) writeonly buffer Cache { vec2 v[]; } cache;
layout(std430, binding = 5) writeonly buffer CacheWords { uint w[]; } cache_words;
layout(std430, binding = 5) writeonly buffer CacheQuads { uvec4 w[]; } cache_quads;
layout(std430, binding = 6) writeonly buffer Depths { uint d[]; } depths;

layout(push_constant) uniform Args { heads_args args; };

// 1 / root mean square of the pairs first .. first + n - 1 of this row.
float scale_of(uint base, uint first, uint n)
{
    float mine = 0.0;
    for (uint p = first + gl_LocalInvocationIndex; p < first + n; p += LOCAL) {
        vec2 a = inputs.a[base + p];
        mine = fma(a.x, a.x, mine);
        mine = fma(a.y, a.y, mine);
    }
    return 1.0 / sqrt(fma(sum_lanes(mine), 1.0 / float(2 * n), args.eps));
}

// Pair p of a row, a query's or a key's, which is pair i of its head.
vec2 turned(uint base, uint p, uint i, uint position, float r)
{
    precise vec2 y = inputs.a[base + p];
    vec2 bias = vec2(0.0);
    if (NORMED != 0)
        y = y * r * weights.w[p];
    else
        bias = weights.w[p];
    return turn(y, bias, rotary.cs[position * (args.head_dim / 2) + i]);
}

void write_query(uint row_index, uint base, uint position, float r)
{
    const uint half_head = args.head_dim / 2;
    for (uint p = gl_LocalInvocationIndex; p < args.n_heads * half_head; p += LOCAL) {
        const uint head = p / half_head, i = p % half_head;
        query.q[(row_index * args.n_heads + head) * (args.head_pad / 2) + i] = turned(base, p, i, position, r) * args.query_scale;
    }
}

// `slot` counts the slots of all sequences.
void write_pairs(uint slot, uint cell, uint base, uint position, float r)
{
    const uint half_head = args.head_dim / 2, n_q = args.n_heads * half_head, n_k = args.n_kv_heads * half_head;
    for (uint p = n_q + gl_LocalInvocationIndex; p < n_q + 2 * n_k; p += LOCAL) {
        const uint part = p >= n_q + n_k ? 1 : 0, within = p - n_q - (part > 0 ? n_k : 0);
        const uint head = within / half_head, i = within % half_head;
        vec2 y = inputs.a[base + p];
        if (part == 0)
            y = turned(base, p, i, position, r);
        const uint entry = (slot * args.n_kv_heads + head) * 2 + part;
        const uint at = (entry * args.n_cells + cell) * (args.head_pad / 2) + i;
        if (KV_TYPE == CACHE_F16)
            cache_words.w[at] = to_half2(y);
        else
            cache.v[at] = y;
    }
}

// A lane has a group of a head: its 32 values, or as many as are left, of the key and of the value.
void write_groups(uint slot, uint cell, uint base, uint position, float r)
{
    const uint half_head = args.head_dim / 2, n_q = args.n_heads * half_head, n_k = args.n_kv_heads * half_head;
    const uint octets = args.head_pad / 8, n_groups = q8_groups(octets), words = q8_words(octets);
    for (uint item = gl_LocalInvocationIndex; item < args.n_kv_heads * n_groups; item += LOCAL) {
        const uint head = item / n_groups, group = item % n_groups;
        const uint piece = (slot * args.n_kv_heads + head) * q8_piece(octets, args.n_cells);
        uint scales = 0;
        [[dont_unroll]] for (uint part = 0; part < 2; part++) {
            vec2 y[16];
            float largest = 0.0;
            [[unroll]] for (uint k = 0; k < 16; k++) {
                const uint i = min(16 * group + k, half_head - 1), p = n_q + part * n_k + head * half_head + i;
                y[k] = inputs.a[base + p];
                if (part == 0)
                    y[k] = turned(base, p, i, position, r);
                y[k] = 16 * group + k < half_head ? q8_finite(y[k]) : vec2(0.0);
                largest = max(largest, max(abs(y[k].x), abs(y[k].y)));
            }
            const uint scale = q8_scale(largest);
            const float s = from_half2(scale).x, inverse = s > 0.0 ? 1.0 / s : 0.0;
            scales |= scale << (16 * part);
            uvec4 packed[2] = {uvec4(0), uvec4(0)};
            [[unroll]] for (uint k = 0; k < 16; k++) {
                const uvec2 bytes = q8_bytes(y[k], inverse) << (16 * (k % 8 / 4) + 8 * (k % 4 / 2));
                if (k % 2 == 0)
                    packed[k / 8].xy |= bytes;
                else
                    packed[k / 8].zw |= bytes;
            }
            const uint at = piece + (part * args.n_cells + cell) * words + 2 * group;
            cache_quads.w[at] = packed[0];
            if (2 * group + 1 < words)
                cache_quads.w[at + 1] = packed[1];
        }
        cache_words.w[q8_scales(octets, args.n_cells, piece, cell) + group] = scales;
    }
}

void main()
{
    if (gl_WorkGroupID.x >= table_count(args.table))
        return;
    const uint row_index = table_first(args.table) + gl_WorkGroupID.x;
    const uvec4 row = state.rows[row_index];
    const uint half_head = args.head_dim / 2, n_q = args.n_heads * half_head, n_k = args.n_kv_heads * half_head;
    const uint base = row_index * (args.in_stride / 2);
    float r_q = 1.0, r_k = 1.0;
    if (NORMED != 0) {
        r_q = scale_of(base, 0, n_q);
        r_k = scale_of(base, n_q, n_k);
    }
    const uint depth = CORE != 0 ? row.w : 0, depth_slot = SHARED_SLOTS != 0 ? depth % args.n_slots : depth;
    const uint slot = sequence_of(row) * args.n_slots + depth_slot;
    write_query(row_index, base, row.y, r_q);
    if (KV_TYPE == CACHE_Q8)
        write_groups(slot, cell_of(row), base, row.y, r_k);
    else
        write_pairs(slot, cell_of(row), base, row.y, r_k);
    if (CORE != 0 && gl_LocalInvocationIndex == 0)
        depths.d[slot_of(row, args.n_cells)] = row.w + 1;
}
