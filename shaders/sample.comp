#version 460
// tokens[row] = the sampler chain on one row of logits: temperature, top-k, top-p, min-p, then argmax of z + Gumbel noise.
// Each row has settings of its own; at temperature 0 it is the argmax of the logits, the token that argmax.comp picks.
// The noise is keyed by (seed, position of the new token, id): drafts and verification of a position see the same noise.
// Thresholds instead of sorting: each filter keeps all ids whose z has an order-preserving key >= T, and T is found bit by
// bit; equal logits are kept or dropped together. Shapes: logits [rows, stride]. One workgroup per row; lanes stride over ids.
#extension GL_GOOGLE_include_directive : require
#include "state.glsl"
#include "random.glsl"

layout(std430, binding = 1) readonly buffer Logits { float l[]; } logits;
layout(push_constant) uniform Args { sample_args args; };

shared float lane_value[LOCAL];
shared uint lane_id[LOCAL];

const uint NO_ID = 0xffffffffu;

uint base;
float inverse_temperature;

float z(uint id)
{
    float l = logits.l[base + id];
    return isnan(l) ? uintBitsToFloat(0xff800000u) : l * inverse_temperature;
}

// Maps floats to unsigned integers in the same order.
uint key_of(float x)
{
    uint bits = floatBitsToUint(x);
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

float sum_lanes(float mine)
{
    barrier();
    lane_value[gl_LocalInvocationIndex] = mine;
    barrier();
    float sum = 0.0;
    for (uint i = 0; i < LOCAL; i++)
        sum += lane_value[i];
    return sum;
}

// Largest T such that the ids with key >= max(T, floor_key) weigh at least `wanted`; weight 1 each, or e^(z - largest).
uint threshold(float wanted, uint floor_key, bool by_mass, float largest)
{
    uint t = 0;
    for (uint bit = 0x80000000u; bit != 0; bit >>= 1) {
        uint candidate = t | bit;
        float mine = 0.0;
        for (uint id = gl_LocalInvocationIndex; id < args.n_vocab; id += LOCAL) {
            float x = z(id);
            if (key_of(x) >= max(candidate, floor_key))
                mine += by_mass ? exp(x - largest) : 1.0;
        }
        if (sum_lanes(mine) >= wanted)
            t = candidate;
    }
    return max(t, floor_key);
}

// The best candidate of all lanes becomes the row's token: of equal ones the lowest id, and a number beats NaN.
void pick(uint row_index, float top, uint top_id)
{
    barrier();
    lane_value[gl_LocalInvocationIndex] = top;
    lane_id[gl_LocalInvocationIndex] = top_id;
    barrier();
    if (gl_LocalInvocationIndex != 0)
        return;
    for (uint i = 1; i < LOCAL; i++) {
        const float value = lane_value[i];
        const bool same = value == top || (isnan(value) && isnan(top));
        if (lane_id[i] != NO_ID &&
            (top_id == NO_ID || value > top || (isnan(top) && !isnan(value)) || (same && lane_id[i] < top_id))) {
            top = value;
            top_id = lane_id[i];
        }
    }
    state.tokens[row_index] = min(top_id, args.n_vocab - 1);
}

void pick_greedy(uint row_index)
{
    float top = 0.0;
    uint top_id = NO_ID;
    for (uint id = gl_LocalInvocationIndex; id < args.n_vocab; id += LOCAL) {
        const float l = logits.l[base + id];
        if (top_id == NO_ID || l > top || (isnan(top) && !isnan(l))) {
            top = l;
            top_id = id;
        }
    }
    pick(row_index, top, top_id);
}

void pick_sampled(uint row_index)
{
    const uint lane = gl_LocalInvocationIndex;
    inverse_temperature = 1.0 / uintBitsToFloat(setting(row_index, SETTING_TEMPERATURE));
    uint top_k = setting(row_index, SETTING_TOP_K);
    float top_p = uintBitsToFloat(setting(row_index, SETTING_TOP_P));
    float min_p = uintBitsToFloat(setting(row_index, SETTING_MIN_P));

    float largest = uintBitsToFloat(0xff800000u);
    for (uint id = lane; id < args.n_vocab; id += LOCAL)
        largest = max(largest, z(id));
    lane_value[lane] = largest;
    barrier();
    for (uint i = 0; i < LOCAL; i++)
        largest = max(largest, lane_value[i]);

    uint keep = 0;
    if (top_k > 0 && top_k < args.n_vocab)
        keep = threshold(float(top_k), 0, false, largest);
    if (top_p < 1.0) {
        float mine = 0.0;
        for (uint id = lane; id < args.n_vocab; id += LOCAL)
            if (key_of(z(id)) >= keep)
                mine += exp(z(id) - largest);
        keep = threshold(top_p * sum_lanes(mine), keep, true, largest);
    }
    if (min_p > 0.0)
        keep = max(keep, key_of(largest + log(min_p)));
    keep = min(keep, key_of(largest)); // the best id always stays, whatever the rounding

    uvec2 seed = uvec2(setting(row_index, SETTING_SEED_LO), setting(row_index, SETTING_SEED_HI));
    float top = uintBitsToFloat(0xff800000u);
    uint top_id = NO_ID;
    for (uint id = lane; id < args.n_vocab; id += LOCAL) {
        float x = z(id);
        if (key_of(x) < keep)
            continue;
        uvec4 bits = philox(uvec4(id / 4, state.rows[row_index].y + 1, 0, NOISE_GUMBEL), seed);
        float value = x - log(minus_log_unit(bits[id % 4]));
        if (value > top || top_id == NO_ID) {
            top = value;
            top_id = id;
        }
    }
    pick(row_index, top, top_id);
}

void main()
{
    if (gl_WorkGroupID.x >= table_count(args.table))
        return;
    const uint row_index = table_first(args.table) + gl_WorkGroupID.x;
    base = row_index * args.stride;
    if (uintBitsToFloat(setting(row_index, SETTING_TEMPERATURE)) > 0.0)
        pick_sampled(row_index);
    else
        pick_greedy(row_index);
}
