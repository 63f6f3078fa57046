// What the kernels of attention share: what they are built with, what they read and write, how the cache is read.
//
//   q [rows, heads, head_pad], scaled        cache [sequence, depth slot, kv heads, key or value, position, head_pad]
//                                            q8: q8.glsl
//   o [rows, splits, heads, head_pad]
//
// A row at step t reads of position j the depth slot min(t, depths_j - 1) mod n_slots: its own step where position j got that
// far, else the deepest that position j has (drafts, early exits).
#include "rows.glsl"
#include "q8.glsl"
#include "halves.glsl"

layout(constant_id = 2) const uint KV_TYPE = CACHE_F16;
layout(constant_id = 3) const uint CORE = 0;
layout(constant_id = 4) const uint OCTETS = 4; // head_pad / 8
layout(constant_id = 5) const uint PER_LANE = 1; // positions a lane scores per block
layout(constant_id = 6) const uint SHARED_SLOTS = 0; // 0: every depth has a slot of its own
layout(constant_id = 8) const uint HEADS_PER_KV = 1; // query heads that share a key and value head
layout(constant_id = 9) const uint TILE_ROWS = 1; // rows of a workgroup
layout(constant_id = 10) const uint BRANCHES = 0; // 1: rows may be on branches; not those of a tile

READ4(1, query);
READ4(2, cache);
READ4(3, depths); // uint
WRITE4(4, attended);

layout(push_constant) uniform Args { attention_args pushed; };
attention_args args = pushed; // once: a CPU device gathers a push constant lane by lane at every use

const uint UNIT = KV_TYPE == CACHE_Q8 ? 2 : 1; // octets that are loaded at once
const uint UNITS = (OCTETS + UNIT - 1) / UNIT;
const uint QUERY_WORDS = 2 * OCTETS, UNIT_WORDS = 2 * UNIT;
const uint SCALES = (OCTETS + 3) / 4;          // of a position's key, and of its value, in q8
const uint ODD_SCALES = SCALES % 4 * (4 % SCALES); // 0: what is loaded at once is a whole position's, or all of one's

// Eight values of the cache; `at` counts octets.
void load_octet(uint at, out vec4 lo, out vec4 hi)
{
    if (KV_TYPE == CACHE_F16) {
        uvec4 v = load4(cache, at);
        lo = vec4(from_half2(v.x), from_half2(v.y));
        hi = vec4(from_half2(v.z), from_half2(v.w));
    } else {
        lo = uintBitsToFloat(load4(cache, 2 * at));
        hi = uintBitsToFloat(load4(cache, 2 * at + 1));
    }
}

// What a lane loads at once of a value; `at` counts units.
void load_unit(uint at, out vec4 lo[UNIT], out vec4 hi[UNIT])
{
    if (KV_TYPE == CACHE_Q8) {
        uvec4 word = load4(cache, at);
        [[unroll]] for (uint i = 0; i < UNIT; i++)
            q8_octet(word, i, lo[i], hi[i]);
    } else {
        load_octet(at, lo[0], hi[0]);
    }
}

float dot4(vec4 a, vec4 b, float sum)
{
    precise float s = fma(a.x, b.x, sum);
    s = fma(a.y, b.y, s);
    s = fma(a.z, b.z, s);
    s = fma(a.w, b.w, s);
    return s;
}

// Where (sequence, depth slot) begins that a row reads of a position, in entries of all heads; the row's place is
// (sequence, depth).
uint slot_read(uvec2 place, uint cell)
{
    uint slot = place.x * args.n_slots;
    if (CORE != 0) {
        const uint at = place.x * args.n_cells + cell;
        const uint depth = min(place.y, load4(depths, at / 4)[at % 4] - 1);
        slot += SHARED_SLOTS != 0 ? depth % args.n_slots : depth;
    }
    return slot;
}

// The entry of one position: where its key and its value begin, in units, and its scales, as q8_scales counts.
struct entry { uint key, value, scales; };

entry entry_of(uvec2 place, uint kv_head, uint position)
{
    const uint head = slot_read(place, position) * (args.n_heads / HEADS_PER_KV) + kv_head;
    const uint piece = head * (KV_TYPE == CACHE_Q8 ? q8_piece(OCTETS, args.n_cells) : 2 * args.n_cells * UNITS);
    const uint key = piece + position * UNITS;
    return entry(key, key + args.n_cells * UNITS,
                 KV_TYPE == CACHE_Q8 ? q8_scales(OCTETS, args.n_cells, piece, position) : 0);
}

// Unit c of a key or of a value, which begins at `begin`, as numbers in fours; `which` of the scales is its own.
void load_scaled(uint begin, uint scales, uint which, uint c, out vec4 x[UNIT_WORDS])
{
    vec4 lo[UNIT], hi[UNIT];
    load_unit(begin + c, lo, hi);
    float scale = 1.0;
    if (KV_TYPE == CACHE_Q8)
        scale = from_half2(load4(cache, (scales + c / 2) / 4)[(scales + c / 2) % 4])[which];
    [[unroll]] for (uint i = 0; i < UNIT; i++) {
        x[2 * i] = KV_TYPE == CACHE_Q8 ? lo[i] * scale : lo[i];
        x[2 * i + 1] = KV_TYPE == CACHE_Q8 ? hi[i] * scale : hi[i];
    }
}
