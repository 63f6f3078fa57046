#version 460
// Queries and keys that are normed over all heads together before they are turned: q = turn(norm(a_q)) / sqrt(h) for
// attention, k = turn(norm(a_k)) and v = a_v into the cache. What qkv.comp does where a head waits for no other one.
// Shapes: a [rows, (H + 2 G) h], neighbours are rotary pairs; norms [(H + G) h]; q [rows, heads, head_pad]; cache and
// depths as in qkv.comp. One workgroup per row; lanes stride over pairs.
#extension GL_GOOGLE_include_directive : require
#include "state.glsl"
#include "lanes.glsl"
#include "heads.glsl"

layout(constant_id = 1) const uint KV_F16 = 1;
layout(constant_id = 2) const uint CORE = 0;
layout(constant_id = 3) const uint SHARED_SLOTS = 0;

layout(std430, binding = 1) readonly buffer Input { vec2 a[]; } inputs;
layout(std430, binding = 2) readonly buffer Norms { vec2 w[]; } norms;
layout(std430, binding = 3) readonly buffer Rotary { vec2 cs[]; } rotary; // [position, head_dim / 2] (cos, sin)
layout(std430, binding = 4) writeonly buffer Query { vec2 q[]; } query;
layout(std430, binding = 5) writeonly buffer Cache { vec2 v[]; } cache;
layout(std430, binding = 5) writeonly buffer CacheWords { uint w[]; } cache_words;
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

void main()
{
    if (gl_WorkGroupID.x >= table_count(args.table))
        return;
    const uint row_index = table_first(args.table) + gl_WorkGroupID.x;
    const uvec4 row = state.rows[row_index];
    const uint half_head = args.head_dim / 2, n_q = args.n_heads * half_head, n_k = args.n_kv_heads * half_head;
    const uint base = row_index * (args.in_stride / 2);
    const float r_q = scale_of(base, 0, n_q), r_k = scale_of(base, n_q, n_k);
    const uint depth = CORE != 0 ? row.w : 0, depth_slot = SHARED_SLOTS != 0 ? depth % args.n_slots : depth;
    for (uint p = gl_LocalInvocationIndex; p < n_q + 2 * n_k; p += LOCAL) {
        const uint part = (p >= n_q ? 1 : 0) + (p >= n_q + n_k ? 1 : 0);
        const uint within = p - (part > 0 ? n_q : 0) - (part > 1 ? n_k : 0);
        const uint head = within / half_head, i = within % half_head;
        precise vec2 y = inputs.a[base + p];
        if (part < 2) {
            y = y * (part == 0 ? r_q : r_k) * norms.w[p];
            y = turn(y, vec2(0.0), rotary.cs[row.y * half_head + i]);
        }
        if (part == 0) {
            query.q[(row_index * args.n_heads + head) * (args.head_pad / 2) + i] = y * args.query_scale;
            continue;
        }
        const uint entry = ((row.z * args.n_slots + depth_slot) * args.n_kv_heads + head) * 2 + part - 1;
        const uint at = (entry * args.n_ctx + row.y) * (args.head_pad / 2) + i;
        if (KV_F16 != 0)
            cache_words.w[at] = to_half2(y);
        else
            cache.v[at] = y;
    }
    if (CORE != 0 && gl_LocalInvocationIndex == 0)
        depths.d[slot_of(row, args.n_ctx)] = row.w + 1;
}
