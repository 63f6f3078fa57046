#version 460
// [q; k; v] = Wqkv norm(x), + bias on q and k, rotary on q and k (neighbouring pairs), q scaled, k and v into the cache.
// Shapes: Wqkv [3d, d], x [rows, d] with a pending norm, q [rows, heads, head_pad],
//         cache [sequence, position, depth slot, key or value, heads, head_pad] as f16 pairs or f32.
// A row at depth t writes depth slot t mod n_slots and notes in `depths` that t + 1 depths exist. Skeleton: matmul.glsl.
#extension GL_GOOGLE_include_directive : require
#include "matmul.glsl"

layout(constant_id = 9) const uint KV_F16 = 1;
layout(constant_id = 10) const uint CORE = 0; // core blocks have a depth axis, prelude and coda do not

layout(std430, binding = 5) writeonly buffer Query { vec2 q[]; } query;
layout(std430, binding = 6) readonly buffer Bias { vec2 b[]; } bias;       // [2, d]: q then k; zeros when the model has none
layout(std430, binding = 7) readonly buffer Rotary { vec2 cs[]; } rotary;   // [position, head_dim / 2] of (cos, sin)
layout(std430, binding = 8) writeonly buffer Cache { uint kv[]; } cache;
layout(std430, binding = 9) writeonly buffer Depths { uint d[]; } depths;  // [sequence, position]

void epilogue(uint item, uint row_index, uvec4 row, uint o, float y0, float y1)
{
    if (o >= args.n_out)
        return;
    uint d = args.n_heads * args.head_dim;
    uint global_o = args.row0 + o;
    uint part = global_o / d, within = global_o % d;
    uint head = within / args.head_dim, i = within % args.head_dim;
    vec2 y = vec2(y0, y1);
    if (part < 2) {
        vec2 cs = rotary.cs[row.y * (args.head_dim / 2) + i / 2];
        precise vec2 b = y + bias.b[(part * d + within) / 2];
        precise vec2 turned = vec2(fma(-b.y, cs.y, b.x * cs.x), fma(b.y, cs.x, b.x * cs.y));
        y = turned;
    }
    if (part == 0) {
        query.q[((row_index * args.n_heads + head) * args.head_pad + i) / 2] = y * args.query_scale;
        return;
    }
    uint slot = slot_of(row, args.n_ctx);
    uint depth = CORE != 0 ? row.w : 0;
    uint at = (((slot * args.n_slots + depth % args.n_slots) * 2 + part - 1) * args.n_heads + head) * args.head_pad + i;
    if (KV_F16 != 0) {
        cache.kv[at / 2] = packHalf2x16(y);
    } else {
        cache.kv[at] = floatBitsToUint(y.x);
        cache.kv[at + 1] = floatBitsToUint(y.y);
    }
    if (CORE != 0 && global_o == d)
        depths.d[slot] = depth + 1;
}

void main()
{
    matmul();
}
