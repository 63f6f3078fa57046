#version 460
// Split-KV attention of one (head, split, row): partial o = sum_j e^(s_j - m) v_j, and (m, sum_j e^(s_j - m)).
//
//   q [rows, heads, head_pad], scaled        cache [sequence, depth slot, heads, key or value, position, head_pad]
//   o [rows, splits, heads, head_pad]        ml [rows, splits, heads] of (maximum, sum)
//
// A row at step t reads of position j the depth slot min(t, depths_j - 1) mod n_slots: its own step where position j got that
// far, else the deepest that position j has (drafts, early exits). The splits of a row follow from its position alone.
//
// One workgroup walks its positions in blocks of PER_LANE x LOCAL, keeping a running maximum: a lane scores PER_LANE positions of
// the block; then lanes turn into (position group, eight dimensions) to add up the values. With subgroups (LOCAL = subgroup size)
// lanes hand scores round in registers, without a barrier; the twin without (NO_SUBGROUP) goes through shared memory in the same order.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#ifndef NO_SUBGROUP
#extension GL_KHR_shader_subgroup_ballot : require
#extension GL_KHR_shader_subgroup_shuffle : require
#endif

layout(constant_id = 1) const uint SPLIT = 128; // positions per workgroup
layout(constant_id = 2) const uint KV_F16 = 1;
layout(constant_id = 3) const uint CORE = 0;
layout(constant_id = 4) const uint OCTETS = 4; // head_pad / 8
layout(constant_id = 5) const uint PER_LANE = 1; // positions a lane scores per block
layout(constant_id = 6) const uint SHARED_SLOTS = 0; // 0: every depth has a slot of its own
layout(constant_id = 7) const uint WHOLE = 0; // 1: no row ever has a second split; o is divided by the sum, and ml not written

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

#ifdef NO_SUBGROUP
shared vec4 group_lo[LOCAL], group_hi[LOCAL];
shared float lane_float[PER_LANE * LOCAL];
shared uint lane_uint[PER_LANE * LOCAL];
#endif

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
#ifdef NO_SUBGROUP
    const uint lane = gl_LocalInvocationIndex;
#else
    const uint lane = gl_SubgroupInvocationID; // the workgroup is one subgroup, but in which order Vulkan does not say
#endif
    const uint head = gl_WorkGroupID.x, split = gl_WorkGroupID.y;
    if (gl_WorkGroupID.z >= table_count(args.table))
        return;
    const uint row_index = table_first(args.table) + gl_WorkGroupID.z;
    const uvec4 row = state_row(row_index);
    const uint start = split * SPLIT;
    if (start > row.y)
        return;
    const uint end = min(start + SPLIT, row.y + 1);
    const uint q_base = (row_index * args.n_heads + head) * (2 * OCTETS);
    vec4 q[2 * OCTETS];
#ifdef NO_SUBGROUP
    [[unroll]] for (uint i = 0; i < 2 * OCTETS; i++)
        q[i] = uintBitsToFloat(load4(query, q_base + i));
#else
    [[unroll]] for (uint i0 = 0; i0 < 2 * OCTETS; i0 += LOCAL) {
        vec4 mine = uintBitsToFloat(load4(query, q_base + min(i0 + lane, 2 * OCTETS - 1)));
        [[unroll]] for (uint i = i0; i < min(i0 + LOCAL, 2 * OCTETS); i++)
            q[i] = subgroupShuffle(mine, i - i0);
    }
#endif

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
            key[u] = ((slot * args.n_heads + head) * 2 * args.n_ctx + position) * OCTETS;
            float s_lo = 0.0, s_hi = 0.0;
            [[unroll]] for (uint c = 0; c < OCTETS; c++) {
                vec4 lo, hi;
                load_octet(key[u] + c, lo, hi);
                s_lo = dot4(q[2 * c], lo, s_lo);
                s_hi = dot4(q[2 * c + 1], hi, s_hi);
            }
            score[u] = block + u * LOCAL + lane < end ? s_lo + s_hi : least;
        }

#ifdef NO_SUBGROUP
        barrier();
        [[unroll]] for (uint u = 0; u < PER_LANE; u++) {
            lane_float[u * LOCAL + lane] = score[u];
            lane_uint[u * LOCAL + lane] = key[u];
        }
        barrier();
        for (uint i = 0; i < PER_LANE * LOCAL; i++)
            largest = max(largest, lane_float[i]);
        barrier();
#else
        float top = score[0];
        [[unroll]] for (uint u = 1; u < PER_LANE; u++)
            top = max(top, score[u]);
        [[unroll]] for (uint step = LOCAL / 2; step > 0; step /= 2)
            top = max(top, subgroupShuffleXor(top, step));
        largest = max(largest, top);
#endif
        float fade = exp(before - largest);
        sum *= fade;
        [[unroll]] for (uint u = 0; u < PER_LANE; u++) {
            score[u] = exp(score[u] - largest);
            sum += score[u];
#ifdef NO_SUBGROUP
            lane_float[u * LOCAL + lane] = score[u];
#endif
        }
#ifdef NO_SUBGROUP
        barrier();
#endif
        [[unroll]] for (uint p = 0; p < PASSES; p++) {
            o_lo[p] *= fade;
            o_hi[p] *= fade;
        }
        [[unroll]] for (uint u = 0; u < PER_LANE; u++)
            [[unroll]] for (uint j = 0; j < LOCAL; j += N_GROUPS) {
                uint from = min(j + group, LOCAL - 1);
#ifdef NO_SUBGROUP
                float weight = lane_float[u * LOCAL + from];
                uint value = lane_uint[u * LOCAL + from] + args.n_ctx * OCTETS;
#else
                float weight = subgroupShuffle(score[u], from);
                uint value = subgroupShuffle(key[u], from) + args.n_ctx * OCTETS;
#endif
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

    float total = 0.0;
#ifdef NO_SUBGROUP
    barrier();
    lane_float[lane] = sum;
    barrier();
    for (uint i = 0; i < LOCAL; i++)
        total += lane_float[i];
#else
    [[unroll]] for (uint i = 0; i < LOCAL; i++)
        total += subgroupShuffle(sum, i);
#endif
    const uint out_row = (row_index * args.n_splits + split) * args.n_heads + head;
    [[unroll]] for (uint p = 0; p < PASSES; p++) {
        vec4 lo = o_lo[p], hi = o_hi[p];
#ifdef NO_SUBGROUP
        barrier();
        group_lo[lane] = lo;
        group_hi[lane] = hi;
        barrier();
#endif
        [[unroll]] for (uint g = 1; g < N_GROUPS; g++) {
#ifdef NO_SUBGROUP
            lo += group_lo[g * WIDTH + octet];
            hi += group_hi[g * WIDTH + octet];
#else
            lo += subgroupShuffle(o_lo[p], g * WIDTH + octet);
            hi += subgroupShuffle(o_hi[p], g * WIDTH + octet);
#endif
        }
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
