#version 460
// [q; k; v] = Wqkv norm(x), + bias on q and k, rotary on q and k (neighbouring pairs), q scaled, k and v into the cache.
// Shapes: Wqkv [3d, d], x [rows, d] with a pending norm, q [rows, heads, head_pad],
//         cache [sequence, depth slot, heads, key or value, position, head_pad] as f16 pairs or f32.
// A row at depth t writes depth slot t mod n_slots and notes in `depths` that t + 1 depths exist. Skeleton: matmul.glsl.
#extension GL_GOOGLE_include_directive : require
#include "matmul.glsl"

layout(constant_id = 8) const uint KV_F16 = 1;
layout(constant_id = 9) const uint CORE = 0; // core blocks have a depth axis, prelude and coda do not

layout(constant_id = 10) const uint SHARED_SLOTS = 0; // 0: every depth has a slot of its own
layout(constant_id = 11) const uint HEAD_DIM = 32;    // even

layout(std430, binding = 5) writeonly buffer Query { vec4 q[]; } query;
READ4(6, bias);   // float [2, d]: q then k; zeros when the model has none
READ4(7, rotary); // vec2 [position, head_dim / 2] of (cos, sin)
layout(std430, binding = 8) writeonly buffer Cache { uvec2 kv[]; } cache;
layout(std430, binding = 9) writeonly buffer Depths { uint d[]; } depths;  // [sequence, position]

// Two neighbours out of a buffer of floats; `at` is even.
vec2 half_of(uvec4 v, uint at) { return uintBitsToFloat((at & 2) == 0 ? v.xy : v.zw); }

vec2 turn(vec2 y, vec2 bias_pair, vec2 cs)
{
    precise vec2 b = y + bias_pair;
    precise vec2 turned = vec2(fma(-b.y, cs.y, b.x * cs.x), fma(b.y, cs.x, b.x * cs.y));
    return turned;
}

// Outputs global_o .. global_o + 3, or with `pair` the first two of them: where a head is no multiple of four, four may belong to two heads.
void put(uint row_index, uvec4 row, uint global_o, vec4 y, const bool pair)
{
    const uint d = args.n_heads * HEAD_DIM;
    const uint part = (global_o >= d ? 1 : 0) + (global_o >= 2 * d ? 1 : 0), within = global_o - part * d;
    const uint head = within / HEAD_DIM, i = within % HEAD_DIM;
    if (part < 2) {
        uint at_bias = part * d + within, at_cs = row.y * HEAD_DIM + i;
        uvec4 b = load4(bias, at_bias / 4), cs = load4(rotary, at_cs / 4);
        if (pair)
            y.xy = turn(y.xy, half_of(b, at_bias), half_of(cs, at_cs));
        else
            y = vec4(turn(y.xy, uintBitsToFloat(b.xy), uintBitsToFloat(cs.xy)), turn(y.zw, uintBitsToFloat(b.zw), uintBitsToFloat(cs.zw)));
    }
    if (part == 0) {
        uint at = (row_index * args.n_heads + head) * args.head_pad + i;
        y *= args.query_scale;
        if (!pair)
            query.q[at / 4] = y;
        else if ((at & 2) == 0)
            query.q[at / 4].xy = y.xy;
        else
            query.q[at / 4].zw = y.xy;
        return;
    }
    uint slot = slot_of(row, args.n_ctx);
    uint depth = CORE != 0 ? row.w : 0;
    uint depth_slot = SHARED_SLOTS != 0 ? depth % args.n_slots : depth;
    uint at = ((((row.z * args.n_slots + depth_slot) * args.n_heads + head) * 2 + part - 1) * args.n_ctx + row.y) * args.head_pad + i;
    if (KV_F16 != 0) {
        if (!pair)
            cache.kv[at / 4] = uvec2(packHalf2x16(y.xy), packHalf2x16(y.zw));
        else
            cache.kv[at / 4][at / 2 & 1] = packHalf2x16(y.xy);
    } else {
        cache.kv[at / 2] = floatBitsToUint(y.xy);
        if (!pair)
            cache.kv[at / 2 + 1] = floatBitsToUint(y.zw);
    }
    if (CORE != 0 && global_o == d)
        depths.d[slot] = depth + 1;
}

void epilogue(uint item, uint own, uint row_index, uvec4 row, uint o, vec4 y)
{
    if (o >= args.n_out)
        return;
    if (HEAD_DIM % 4 == 0) {
        put(row_index, row, args.row0 + o, y, false);
    } else {
        put(row_index, row, args.row0 + o, y, true);
        if (o + 2 < args.n_out)
            put(row_index, row, args.row0 + o + 2, y.zwzw, true);
    }
}

void main()
{
    matmul();
}
