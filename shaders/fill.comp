#version 460
// Makes a weight matrix from a seed: value (row, k) = (2 b - 255) * scale, b one byte of Philox noise. Nine significant bits at most and a
// scale that is a power of two: f32, f16 and bf16 hold the same value exactly, so a synthetic model is one function in every weight type.
// Shapes: out [n_rows, n_chunks] chunks of 8 inputs in the storage type. A workgroup writes `group_chunks` chunks in a row; padding is zero.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "random.glsl"

layout(constant_id = 1) const uint WEIGHT = WEIGHT_BF16;

layout(std430, binding = 1) writeonly buffer Out { uvec4 c[]; } weights;
layout(push_constant) uniform Args { fill_args args; };

uint half_of(float x)
{
    return WEIGHT == WEIGHT_BF16 ? floatBitsToUint(x) >> 16 : packHalf2x16(vec2(x, 0.0)) & 0xffffu;
}

void main()
{
    uint end = min(args.n_rows * args.n_chunks, (gl_WorkGroupID.x + 1) * args.group_chunks);
    for (uint i = gl_WorkGroupID.x * args.group_chunks + gl_LocalInvocationID.x; i < end; i += LOCAL) {
        uint row = i / args.n_chunks, chunk = i % args.n_chunks;
        uvec4 bits = philox(uvec4(chunk, args.row0 + row, args.matrix, NOISE_WEIGHT), uvec2(args.seed_lo, args.seed_hi));
        float x[8];
        [[unroll]] for (uint j = 0; j < 8; j++) {
            uint b = bits[j / 4] >> 8 * (j % 4) & 255u;
            x[j] = (8 * chunk + j) % args.period < args.n_valid ? float(2 * int(b) - 255) * args.scale : 0.0;
        }
        if (WEIGHT == WEIGHT_F32) {
            weights.c[2 * i] = floatBitsToUint(vec4(x[0], x[1], x[2], x[3]));
            weights.c[2 * i + 1] = floatBitsToUint(vec4(x[4], x[5], x[6], x[7]));
        } else {
            [[unroll]] for (uint j = 0; j < 4; j++)
                bits[j] = half_of(x[2 * j]) | half_of(x[2 * j + 1]) << 16;
            weights.c[i] = bits;
        }
    }
}
