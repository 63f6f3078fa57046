#version 460
// [q; k; v] = Wqkv norm(x), + bias on q and k, rotary on q and k (neighbouring pairs), q scaled, k and v into the cache.
// Shapes: Wqkv [q + k + v, d]: heads * HEAD_DIM rows for q, kv heads * HEAD_DIM each for k and v; x [rows, d], owed a
//         norm; q [rows, heads, head_pad];
//         cache [sequence, depth slot, kv heads, key or value, position, head_pad] as f16 pairs or f32.
// A row at depth t writes depth slot t mod n_slots and notes in `depths` that t + 1 depths exist. Skeleton: matmul.glsl.
#extension GL_GOOGLE_include_directive : require
#include "rows.glsl"
#include "matmul.glsl"
#include "heads.glsl"

layout(constant_id = 10) const uint KV_TYPE = CACHE_F16; // or CACHE_F32
layout(constant_id = 11) const uint CORE = 0; // core blocks have a depth axis, prelude and coda do not

layout(constant_id = 12) const uint SHARED_SLOTS = 0; // 0: every depth has a slot of its own
layout(constant_id = 13) const uint HEAD_DIM = 32;    // even

WRITE4(5, query);
WRITE2(5, query_pairs); // the same, and cache_words the same as cache: for heads that are no multiple of four
READ4(6, bias);   // float [q + k]; zeros when the model has none
READ4(7, rotary); // vec2 [position, head_dim / 2] of (cos, sin)
WRITE2(8, cache);
layout(std430, binding = 8) writeonly buffer CacheWords { uint w[]; } cache_words;
layout(std430, binding = 9) writeonly buffer Depths { uint d[]; } depths;  // [sequence, position]

// Two neighbours out of a buffer of floats; `at` is even.
vec2 half_of(uvec4 v, uint at) { return uintBitsToFloat((at & 2) == 0 ? v.xy : v.zw); }

// Outputs global_o .. global_o + 3, or with `pair` the first two of them: where a head is no multiple of four, four may belong to two heads.
void put(uint row_index, uvec4 row, uint global_o, vec4 y, bool live, const bool pair)
{
    const uint n_q = args.n_heads * HEAD_DIM, n_k = args.n_kv_heads * HEAD_DIM;
    const uint part = (global_o >= n_q ? 1 : 0) + (global_o >= n_q + n_k ? 1 : 0);
    const uint within = global_o - (part > 0 ? n_q : 0) - (part > 1 ? n_k : 0);
    const uint head = within / HEAD_DIM, i = within % HEAD_DIM;
    // A value is not turned and has no bias; what it would add is loaded all the same, from a place that exists.
    uint at_bias = (part > 0 ? n_q : 0) + within, at_cs = row.y * HEAD_DIM + i;
    uvec4 b = load4(bias, at_bias / 4), cs = load4(rotary, at_cs / 4);
    vec4 turned;
    if (pair)
        turned = turn(y.xy, half_of(b, at_bias), half_of(cs, at_cs)).xyxy;
    else
        turned = vec4(turn(y.xy, uintBitsToFloat(b.xy), uintBitsToFloat(cs.xy)), turn(y.zw, uintBitsToFloat(b.zw), uintBitsToFloat(cs.zw)));
    if (part < 2)
        y = turned;
    uint at = (row_index * args.n_heads + head) * args.head_pad + i;
    uvec4 q = floatBitsToUint(y * args.query_scale);
    if (live && part == 0) {
        if (pair)
            store2(query_pairs, at / 2, q.xy);
        else
            store4(query, at / 4, q);
    }
    uint depth = CORE != 0 ? row.w : 0;
    uint depth_slot = SHARED_SLOTS != 0 ? depth % args.n_slots : depth;
    at = ((((sequence_of(row) * args.n_slots + depth_slot) * args.n_kv_heads + head) * 2 + part - 1) * args.n_cells + cell_of(row)) * args.head_pad + i;
    if (KV_TYPE == CACHE_F16) {
        uint xy = to_half2(y.xy), zw = to_half2(y.zw);
        if (live && part > 0) {
            if (pair)
                cache_words.w[at / 2] = xy;
            else
                store2(cache, at / 4, uvec2(xy, zw));
        }
    } else if (live && part > 0) {
        store2(cache, at / 2, floatBitsToUint(y.xy));
        if (!pair)
            store2(cache, at / 2 + 1, floatBitsToUint(y.zw));
    }
}

void epilogue(uint item, uint row_index, uvec4 row, uint o, vec4 y, bool live)
{
    if (HEAD_DIM % 4 == 0) {
        put(row_index, row, args.row0 + min(o, args.n_out - 4), y, live && o < args.n_out, false);
    } else {
        put(row_index, row, args.row0 + min(o, args.n_out - 2), y, live && o < args.n_out, true);
        put(row_index, row, args.row0 + min(o + 2, args.n_out - 2), y.zwzw, live && o + 2 < args.n_out, true);
    }
}

void main()
{
    uint n_live = matmul();
    if (CORE != 0 && args.row0 == 0 && gl_WorkGroupID.x == 0)
        for (uint n = gl_LocalInvocationIndex; n < n_live; n += LOCAL) {
            uvec4 row = state_row(table_first(args.table) + gl_WorkGroupID.y * N + n);
            depths.d[slot_of(row, args.n_cells)] = row.w + 1;
        }
}
