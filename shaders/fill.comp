#version 460
// Makes a weight matrix from a seed: value (row, k) = (2 b - 255) * scale, b one byte of Philox noise. Nine significant bits at most and a
// scale that is a power of two: f32, f16 and bf16 hold the same value exactly, so a synthetic model is one function in these types, and
// near it in the quantised ones.
// Shapes: out [n_rows, 8 * n_chunks] as weights.glsl stores it. A workgroup writes `group_chunks` groups of weights in a row; padding is zero.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "random.glsl"

layout(constant_id = 1) const uint WEIGHT_TYPE = WEIGHT_BF16;
#include "weights.glsl"

layout(std430, binding = 0) writeonly buffer Out { uvec4 w[]; } weights;
layout(push_constant) uniform Args { fill_args args; };

void main()
{
    const uint n_groups = args.n_chunks / GROUP_CHUNKS;
    uint end = min(args.n_rows * n_groups, (gl_WorkGroupID.x + 1) * args.group_chunks);
    for (uint i = gl_WorkGroupID.x * args.group_chunks + gl_LocalInvocationID.x; i < end; i += LOCAL) {
        uint row = i / n_groups, group = i % n_groups, at = row * row_words(args.n_chunks);
        uint b[32];
        bool live[32];
        [[unroll]] for (uint c = 0; c < GROUP_CHUNKS; c++) {
            uint chunk = group * GROUP_CHUNKS + c;
            uvec4 bits = philox(uvec4(chunk, args.row0 + row, args.matrix, NOISE_WEIGHT), uvec2(args.seed_lo, args.seed_hi));
            [[unroll]] for (uint j = 0; j < 8; j++) {
                b[8 * c + j] = bits[j / 4] >> 8 * (j % 4) & 255u;
                live[8 * c + j] = (8 * chunk + j) % args.period < args.n_valid;
            }
        }
        uvec4 words[2];
        encode_group(b, live, args.scale, words);
        [[unroll]] for (uint w = 0; w < GROUP_WORDS; w++)
            weights.w[at + group * GROUP_WORDS + w] = words[w];
        // Every group has the same scale: who writes the first group of a word of scales writes the word.
        if (QUANTISED && group * GROUP_SCALE_BYTES % 16 == 0)
            weights.w[at + n_groups * GROUP_WORDS + group * GROUP_SCALE_BYTES / 16] = uvec4(synthetic_scale(args.scale));
    }
}
