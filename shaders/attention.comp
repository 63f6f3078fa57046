#version 460
// Split-KV attention of one (head, split, row): partial o = sum_j e^(s_j - m) v_j, and (m, sum_j e^(s_j - m)).
//
//   q [rows, heads, head_pad], scaled        cache [sequence, depth slot, kv heads, key or value, position, head_pad]
//   o [rows, splits, heads, head_pad]        ml [rows, splits, heads] of (maximum, sum)
//
// A row at step t reads of position j the depth slot min(t, depths_j - 1) mod n_slots: its own step where position j got that
// far, else the deepest that position j has (drafts, early exits). The splits of a row follow from its position alone.
//
// One workgroup walks its positions in blocks of PER_LANE x LOCAL, keeping a running maximum: a lane scores PER_LANE positions of
// the block; then lanes turn into (position group, eight dimensions) to add up the values. How lanes hand values round: exchange.glsl.
#extension GL_GOOGLE_include_directive : require
#include "rows.glsl"

layout(constant_id = 1) const uint SPLIT = 128; // positions per workgroup
layout(constant_id = 2) const uint KV_F16 = 1;
layout(constant_id = 3) const uint CORE = 0;
layout(constant_id = 4) const uint OCTETS = 4; // head_pad / 8
layout(constant_id = 5) const uint PER_LANE = 1; // positions a lane scores per block
layout(constant_id = 6) const uint SHARED_SLOTS = 0; // 0: every depth has a slot of its own
layout(constant_id = 7) const uint WHOLE = 0; // 1: no row ever has a second split; o is divided by the sum, and ml not written
layout(constant_id = 8) const uint HEADS_PER_KV = 1; // query heads that share a key and value head

READ4(1, query);
READ4(2, cache);
READ4(3, depths); // uint
WRITE4(4, partial_output);
layout(std430, binding = 5) writeonly buffer PartialSums { vec2 ml[]; } partial_sums;

layout(push_constant) uniform Args { attention_args pushed; };
attention_args args = pushed; // once: a CPU device gathers a push constant lane by lane at every use

const uint WIDTH = OCTETS < LOCAL ? OCTETS : LOCAL;        // lanes that cover a head's dimensions
const uint N_GROUPS = LOCAL / WIDTH;           // positions handled at the same time by such lanes
const uint PASSES = (OCTETS + WIDTH - 1) / WIDTH;
const uint QUERY_WORDS = 2 * OCTETS;

#include "exchange.glsl"

// Eight values of the cache; `at` counts octets.
void load_octet(uint at, out vec4 lo, out vec4 hi)
{
    if (KV_F16 != 0) {
        uvec4 v = load4(cache, at);
        lo = vec4(unpackHalf2x16(v.x), unpackHalf2x16(v.y));
        hi = vec4(unpackHalf2x16(v.z), unpackHalf2x16(v.w));
    } else {
        lo = uintBitsToFloat(load4(cache, 2 * at));
        hi = uintBitsToFloat(load4(cache, 2 * at + 1));
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

void main()
{
    const uint lane = own_lane();
    const uint head = gl_WorkGroupID.x, kv_head = head / HEADS_PER_KV, n_kv_heads = args.n_heads / HEADS_PER_KV, split = gl_WorkGroupID.y;
    if (gl_WorkGroupID.z >= table_count(args.table))
        return;
    const uint row_index = table_first(args.table) + gl_WorkGroupID.z;
    const uvec4 row = state_row(row_index);
    const uint start = split * SPLIT;
    if (start > row.y)
        return;
    const uint end = min(start + SPLIT, row.y + 1);
    const uint q_base = (row_index * args.n_heads + head) * (2 * OCTETS);
    vec4 q[QUERY_WORDS];
    load_query(q_base, lane, q);

    const uint octet = lane % WIDTH, group = lane / WIDTH;
    const float least = uintBitsToFloat(0xff800000u);
    float largest = least, sum = 0.0;
    vec4 o_lo[PASSES], o_hi[PASSES];
    [[unroll]] for (uint p = 0; p < PASSES; p++)
        o_lo[p] = o_hi[p] = vec4(0.0);

    for (uint block = start; block < end; block += PER_LANE * LOCAL) {
        float score[PER_LANE], before = largest;
        uint key[PER_LANE];
        [[unroll]] for (uint u = 0; u < PER_LANE; u++) {
            // A lane past the end scores the last position again and then counts for nothing.
            uint position = min(block + u * LOCAL + lane, end - 1);
            uint position_slot = row.z * args.n_ctx + position;
            uint slot = row.z * args.n_slots;
            if (CORE != 0) {
                uint depth = min(row.w, load4(depths, position_slot / 4)[position_slot % 4] - 1);
                slot += SHARED_SLOTS != 0 ? depth % args.n_slots : depth;
            }
            key[u] = ((slot * n_kv_heads + kv_head) * 2 * args.n_ctx + position) * OCTETS;
            float s_lo = 0.0, s_hi = 0.0;
            [[unroll]] for (uint c = 0; c < OCTETS; c++) {
                vec4 lo, hi;
                load_octet(key[u] + c, lo, hi);
                s_lo = dot4(q[2 * c], lo, s_lo);
                s_hi = dot4(q[2 * c + 1], hi, s_hi);
            }
            score[u] = block + u * LOCAL + lane < end ? s_lo + s_hi : least;
        }

        float top = score[0];
        [[unroll]] for (uint u = 1; u < PER_LANE; u++)
            top = max(top, score[u]);
        largest = max(largest, max_of_lanes(top, lane));
        float fade = exp(before - largest);
        sum *= fade;
        [[unroll]] for (uint u = 0; u < PER_LANE; u++) {
            score[u] = exp(score[u] - largest);
            sum += score[u];
        }
        hand_round(score, key, lane);
        [[unroll]] for (uint p = 0; p < PASSES; p++) {
            o_lo[p] *= fade;
            o_hi[p] *= fade;
        }
        [[unroll]] for (uint u = 0; u < PER_LANE; u++)
            [[unroll]] for (uint j = 0; j < LOCAL; j += N_GROUPS) {
                uint from = min(j + group, LOCAL - 1);
                float weight = score_of(score[u], u, from);
                uint value = key_of(key[u], u, from) + args.n_ctx * OCTETS;
                if (LOCAL % N_GROUPS != 0 && j + group >= LOCAL)
                    weight = 0.0;
                [[unroll]] for (uint p = 0; p < PASSES; p++) {
                    vec4 lo, hi;
                    load_octet(value + min(p * WIDTH + octet, OCTETS - 1), lo, hi);
                    o_lo[p] = fma(vec4(weight), lo, o_lo[p]);
                    o_hi[p] = fma(vec4(weight), hi, o_hi[p]);
                }
            }
    }

    const float total = sum_of_lanes(sum, lane);
    const uint out_row = (row_index * args.n_splits + split) * args.n_heads + head;
    [[unroll]] for (uint p = 0; p < PASSES; p++) {
        vec4 lo = o_lo[p], hi = o_hi[p];
        add_groups(lo, hi, lane, octet);
        if (WHOLE != 0) {
            lo *= 1.0 / total;
            hi *= 1.0 / total;
        }
        if (group == 0 && p * WIDTH + octet < OCTETS) {
            uint at = (out_row * OCTETS + p * WIDTH + octet) * 2;
            store4(partial_output, at, floatBitsToUint(lo));
            store4(partial_output, at + 1, floatBitsToUint(hi));
        }
    }
    if (WHOLE == 0 && lane == 0)
        partial_sums.ml[out_row] = vec2(largest, total);
}
