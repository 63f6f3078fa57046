#version 460
// x[n] = wte[token] * scale, its sum of squares, and the initial latent state of the row: zero, noise, or x itself.
// Shapes: wte [V, d] as weights.glsl stores it, x [rows, d], parts [rows, 1], states [slots, d].
// One workgroup per row of the table; lanes stride over chunks of 8. An embedding beyond the binding range comes in windows.
#extension GL_GOOGLE_include_directive : require
#include "state.glsl"
#include "random.glsl"

layout(constant_id = 1) const uint WEIGHT_TYPE = WEIGHT_BF16;
layout(constant_id = 2) const uint STATE_IS_X = 0; // a family without an injection begins with the token

layout(std430, binding = 1) readonly buffer Weights { uvec4 w[]; } weights;
#define weight_word(at) weights.w[at]
#include "weights.glsl"
layout(std430, binding = 2) writeonly buffer Output { vec4 x[]; } outputs;
layout(std430, binding = 3) writeonly buffer Parts { vec2 p[]; } parts;
layout(std430, binding = 4) buffer States { vec4 s[]; } states;

layout(push_constant) uniform Args { embed_args args; };

shared float lane_sum[LOCAL];

// Inverse of the error function, single precision (Giles 2010); |x| stays below erf(3/sqrt 2).
float inverse_erf(float x)
{
    float w = -log((1.0 - x) * (1.0 + x)), p;
    if (w < 5.0) {
        w -= 2.5;
        p = 2.81022636e-08;
        p = fma(p, w, 3.43273939e-07);
        p = fma(p, w, -3.5233877e-06);
        p = fma(p, w, -4.39150654e-06);
        p = fma(p, w, 0.00021858087);
        p = fma(p, w, -0.00125372503);
        p = fma(p, w, -0.00417768164);
        p = fma(p, w, 0.246640727);
        p = fma(p, w, 1.50140941);
    } else {
        w = sqrt(w) - 3.0;
        p = -0.000200214257;
        p = fma(p, w, 0.000100950558);
        p = fma(p, w, 0.00134934322);
        p = fma(p, w, -0.00367342844);
        p = fma(p, w, 0.00573950773);
        p = fma(p, w, -0.0076224613);
        p = fma(p, w, 0.00943887047);
        p = fma(p, w, 1.00167406);
        p = fma(p, w, 2.83297682);
    }
    return p * x;
}

// Standard normal cut at three standard deviations, by inversion.
vec4 truncated_normal(uvec4 bits)
{
    const float edge = 0.9973002039; // erf(3 / sqrt(2))
    vec4 x;
    for (int i = 0; i < 4; i++)
        x[i] = 1.41421356 * inverse_erf(edge * (2.0 * unit(bits[i]) - 1.0));
    return x;
}

void main()
{
    uint lane = gl_LocalInvocationIndex;
    if (gl_WorkGroupID.x >= table_count(args.table))
        return;
    uint row_index = table_first(args.table) + gl_WorkGroupID.x;
    uvec4 row = state.rows[row_index];
    if (row.x - args.row0 >= args.n_rows) // unsigned: below row0 wraps round
        return; // another window holds this token
    const uint weight_base = (row.x - args.row0) * row_words(args.n_chunks);
    uint state_base = slot_of(row, args.n_cells) * (args.stride / 4);
    uint init = setting(row_index, SETTING_INIT_MODE);
    float std = uintBitsToFloat(setting(row_index, SETTING_INIT_STD));
    uvec2 seed = uvec2(setting(row_index, SETTING_SEED_LO), setting(row_index, SETTING_SEED_HI));
    float sum = 0.0;
    for (uint c = lane; c < args.n_chunks; c += LOCAL) {
        vec4 lo, hi;
        load_group(weight_base, args.n_chunks, c, lo, hi);
        lo *= args.scale;
        hi *= args.scale;
        outputs.x[row_index * (args.stride / 4) + 2 * c] = lo;
        outputs.x[row_index * (args.stride / 4) + 2 * c + 1] = hi;
        for (int i = 0; i < 4; i++) {
            sum = fma(lo[i], lo[i], sum);
            sum = fma(hi[i], hi[i], sum);
        }
        if (STATE_IS_X != 0) {
            states.s[state_base + 2 * c] = lo;
            states.s[state_base + 2 * c + 1] = hi;
        } else if (init != INIT_GIVEN)
            for (uint half_chunk = 0; half_chunk < 2; half_chunk++) {
                vec4 s = vec4(0.0);
                uint k = 8 * c + 4 * half_chunk;
                if (init == INIT_NORMAL) {
                    s = std * truncated_normal(philox(uvec4(k / 4, row.y, 0, NOISE_STATE), seed));
                    s = mix(vec4(0.0), s, lessThan(uvec4(k, k + 1, k + 2, k + 3), uvec4(args.n_embd)));
                }
                states.s[state_base + 2 * c + half_chunk] = s;
            }
    }
    lane_sum[lane] = sum;
    barrier();
    if (lane == 0) {
        for (uint i = 1; i < LOCAL; i++)
            sum += lane_sum[i];
        parts.p[row_index * args.parts_stride] = vec2(sum, 0.0);
    }
}
