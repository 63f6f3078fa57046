#version 460
// Split-KV attention of one (head, split, row): partial o = sum_j e^(s_j - m) v_j, and (m, sum_j e^(s_j - m)). The splits
// of a row follow from its position alone.
//
// One workgroup walks its positions in blocks of PER_LANE x LOCAL, keeping a running maximum: a lane scores PER_LANE positions of
// the block; then lanes turn into (position group, the dimensions of one load) to add up the values. How lanes hand values round: exchange.glsl.
#extension GL_GOOGLE_include_directive : require
#include "attention.glsl"

layout(constant_id = 1) const uint SPLIT = 128; // positions per workgroup
layout(constant_id = 7) const uint WHOLE = 0; // 1: no row ever has a second split; o is divided by the sum, and ml not written

layout(std430, binding = 5) writeonly buffer PartialSums { vec2 ml[]; } partial_sums; // [rows, splits, heads] of (maximum, sum)

const uint WIDTH = UNITS < LOCAL ? UNITS : LOCAL;          // lanes that cover a head's dimensions
const uint N_GROUPS = LOCAL / WIDTH;           // positions handled at the same time by such lanes
const uint PASSES = (UNITS + WIDTH - 1) / WIDTH;

#include "exchange.glsl"
#include "query.glsl"

// q . k of a key in q8, which begins at word `key`; its scales, and the value's, at `scales`. `first` are the scales of
// the first group.
float score_q8(uint key, uint scales, Query q, out vec2 first)
{
    precise float score = 0.0;
    uvec4 loaded = uvec4(0);
    [[unroll]] for (uint g = 0; g < SCALES; g++) {
        float s_lo = 0.0, s_hi = 0.0;
        if (ODD_SCALES != 0 || g % 4 == 0)
            loaded = load4(cache, (scales + g) / 4);
        [[unroll]] for (uint w = 2 * g; w < min(2 * g + 2, UNITS); w++) {
            uvec4 word = load4(cache, key + w);
            [[unroll]] for (uint i = 0; i < 2; i++)
                if (2 * w + i < OCTETS) {
                    vec4 lo, hi;
                    q8_octet(word, i, lo, hi);
                    s_lo = dot4(query_word(q, 4 * w + 2 * i), lo, s_lo);
                    s_hi = dot4(query_word(q, 4 * w + 2 * i + 1), hi, s_hi);
                }
        }
        vec2 both = from_half2(loaded[(scales + g) % 4]);
        if (g == 0)
            first = both;
        score = fma(both.x, s_lo + s_hi, score);
    }
    return score;
}

void main()
{
    const uint lane = own_lane();
    const uint head = gl_WorkGroupID.x, kv_head = head / HEADS_PER_KV, n_kv_heads = args.n_heads / HEADS_PER_KV, split = gl_WorkGroupID.y;
    if (gl_WorkGroupID.z >= table_count(args.table))
        return;
    const uint row_index = table_first(args.table) + gl_WorkGroupID.z;
    const uvec4 row = state_row(row_index);
    // Where the row reads position p: at p, and from its branch's first position on at p + shift.
    const uint shift = BRANCHES != 0 ? row.z >> ROW_SEQUENCE_BITS : 0;
    const uvec2 place = BRANCHES != 0 ? uvec2(sequence_of(row), row.w) : row.zw;
    const uint start = split * SPLIT;
    if (start > row.y)
        return;
    const uint end = min(start + SPLIT, row.y + 1);
    const uint q_base = (row_index * args.n_heads + head) * (2 * OCTETS);
    Query q;
    load_query(q_base, lane, q);

    const uint unit = lane % WIDTH, group = lane / WIDTH;
    const float least = uintBitsToFloat(0xff800000u);
    float largest = least, sum = 0.0;
    vec4 o_lo[PASSES * UNIT], o_hi[PASSES * UNIT];
    [[unroll]] for (uint p = 0; p < PASSES * UNIT; p++)
        o_lo[p] = o_hi[p] = vec4(0.0);

    for (uint block = start; block < end; block += PER_LANE * LOCAL) {
        float score[PER_LANE], before = largest;
        uint key[PER_LANE]; // where a position's key begins, in units
        float value_scale[PER_LANE];
        [[unroll]] for (uint u = 0; u < PER_LANE; u++) {
            // A lane past the end scores the last position again and then counts for nothing.
            uint position = min(block + u * LOCAL + lane, end - 1);
            if (BRANCHES != 0 && position + shift >= args.n_positions)
                position += shift;
            uint slot = slot_read(place, position);
            float own;
            if (KV_TYPE == CACHE_Q8) {
                vec2 first;
                uint piece = (slot * n_kv_heads + kv_head) * q8_piece(OCTETS, args.n_cells);
                key[u] = piece + position * UNITS;
                own = score_q8(key[u], q8_scales(OCTETS, args.n_cells, piece, position), q, first);
                value_scale[u] = first.y;
            } else {
                key[u] = ((slot * n_kv_heads + kv_head) * 2 * args.n_cells + position) * OCTETS;
                float s_lo = 0.0, s_hi = 0.0;
                [[unroll]] for (uint c = 0; c < OCTETS; c++) {
                    vec4 lo, hi;
                    load_octet(key[u] + c, lo, hi);
                    s_lo = dot4(query_word(q, 2 * c), lo, s_lo);
                    s_hi = dot4(query_word(q, 2 * c + 1), hi, s_hi);
                }
                own = s_lo + s_hi;
            }
            score[u] = block + u * LOCAL + lane < end ? own : least;
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
            if (KV_TYPE == CACHE_Q8 && SCALES == 1)
                score[u] *= value_scale[u]; // once, and not for every dimension
        }
        hand_round(score, key, lane);
        [[unroll]] for (uint p = 0; p < PASSES * UNIT; p++) {
            o_lo[p] *= fade;
            o_hi[p] *= fade;
        }
        [[unroll]] for (uint u = 0; u < PER_LANE; u++)
            [[unroll]] for (uint j = 0; j < LOCAL; j += N_GROUPS) {
                uint from = min(j + group, LOCAL - 1);
                float weight = score_of(score[u], u, from);
                uint value = key_of(key[u], u, from) + args.n_cells * UNITS;
                uint position = min(block + u * LOCAL + from, end - 1); // of the key that was handed on
                if (BRANCHES != 0 && position + shift >= args.n_positions)
                    position += shift;
                uint piece = value - (args.n_cells + position) * UNITS;
                if (LOCAL % N_GROUPS != 0 && j + group >= LOCAL)
                    weight = 0.0;
                [[unroll]] for (uint p = 0; p < PASSES; p++) {
                    vec4 lo[UNIT], hi[UNIT];
                    uint own_unit = min(p * WIDTH + unit, UNITS - 1);
                    load_unit(value + own_unit, lo, hi);
                    precise float scaled = weight;
                    if (KV_TYPE == CACHE_Q8 && SCALES > 1) {
                        uint at = q8_scales(OCTETS, args.n_cells, piece, position) + own_unit / 2;
                        scaled *= from_half2(load4(cache, at / 4)[at % 4]).y;
                    }
                    [[unroll]] for (uint i = 0; i < UNIT; i++) {
                        o_lo[p * UNIT + i] = fma(vec4(scaled), lo[i], o_lo[p * UNIT + i]);
                        o_hi[p * UNIT + i] = fma(vec4(scaled), hi[i], o_hi[p * UNIT + i]);
                    }
                }
            }
    }

    const float total = sum_of_lanes(sum, lane);
    const uint out_row = (row_index * args.n_splits + split) * args.n_heads + head;
    [[unroll]] for (uint p = 0; p < PASSES * UNIT; p++) {
        vec4 lo = o_lo[p], hi = o_hi[p];
        add_groups(lo, hi, lane, unit);
        if (WHOLE != 0) {
            lo *= 1.0 / total;
            hi *= 1.0 / total;
        }
        const uint octet = (p / UNIT * WIDTH + unit) * UNIT + p % UNIT;
        if (group == 0 && octet < OCTETS) {
            uint at = (out_row * OCTETS + octet) * 2;
            store4(attended, at, floatBitsToUint(lo));
            store4(attended, at + 1, floatBitsToUint(hi));
        }
    }
    if (WHOLE == 0 && lane == 0)
        partial_sums.ml[out_row] = vec2(largest, total);
}
