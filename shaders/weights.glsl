// How weights are stored: the one place that knows the types. Chunks of 8 inputs are what everybody else deals in.
//
// A row of a matrix is a run of 16-byte words: its values, group by group, and behind them, for a type whose groups have scales,
// the scales, padded to whole words. So a row lies in one piece, in whatever window of the matrix and dispatch it falls.
//
//   f32        groups of  8 values in 2 words, no scales
//   f16, bf16  groups of  8 values in 1 word, no scales
//   q8_0       groups of 32 values in 2 words, a scale s of f16: s (u - 128)
//   q4_1       groups of 32 values in 1 word, a scale s and a minimum m of f16: s u + m
//
// Of the quantised types each component of a word holds WORD_CHUNKS chunks side by side, of each chunk the values c and 4 + c:
// a shift and a mask unpack four values at once.
//
// Who includes this declares WEIGHT_TYPE and, to read, defines weight_word(at), the 16-byte word number `at` of the matrix.
// docs/shaders.md says what a new type needs.

#include "halves.glsl"

const bool QUANTISED = WEIGHT_TYPE == WEIGHT_Q8_0 || WEIGHT_TYPE == WEIGHT_Q4_1;
const uint GROUP_CHUNKS = QUANTISED ? 4 : 1; // chunks of 8 that are stored together
const uint GROUP_WORDS = WEIGHT_TYPE == WEIGHT_F32 || WEIGHT_TYPE == WEIGHT_Q8_0 ? 2 : 1; // for a group's values
const uint GROUP_SCALE_BYTES = WEIGHT_TYPE == WEIGHT_Q8_0 ? 2 : WEIGHT_TYPE == WEIGHT_Q4_1 ? 4 : 0;
const uint WORD_CHUNKS = WEIGHT_TYPE == WEIGHT_Q8_0 ? 2 : WEIGHT_TYPE == WEIGHT_Q4_1 ? 4 : 1; // f32: with the next word

// Words of a row, and so where row r begins: r * row_words(n_chunks). Its scales begin n_chunks / GROUP_CHUNKS * GROUP_WORDS
// words later.
uint row_words(uint n_chunks)
{
    const uint n_groups = n_chunks / GROUP_CHUNKS;
    return n_groups * GROUP_WORDS + (n_groups * GROUP_SCALE_BYTES + 15) / 16;
}

#ifdef weight_word
// The word that holds a chunk, of the row of n_chunks that begins at word row_at.
uvec4 load_word(uint row_at, uint chunk)
{
    return weight_word(row_at + (WEIGHT_TYPE == WEIGHT_F32 ? 2 * chunk : chunk / WORD_CHUNKS));
}

// Scale and minimum of a chunk's group: its values are x * u + y, in which only the last addition of q4_1 rounds.
vec2 load_scale(uint row_at, uint n_chunks, uint chunk)
{
    if (!QUANTISED)
        return vec2(0.0);
    const uint group = chunk / GROUP_CHUNKS, at = row_at + n_chunks / GROUP_CHUNKS * GROUP_WORDS;
    const uvec4 word = weight_word(at + group * GROUP_SCALE_BYTES / 16);
    const uint in_word = group * GROUP_SCALE_BYTES / 4 % 4;
    const uint two = in_word < 2 ? (in_word == 0 ? word.x : word.y) : (in_word == 2 ? word.z : word.w);
    if (WEIGHT_TYPE == WEIGHT_Q4_1)
        return from_half2(two);
    const float scale = from_half2(group % 2 == 0 ? two : two >> 16).x;
    return vec2(scale, -128.0 * scale);
}

// The eight weights of chunk `chunk` out of its word.
void unpack_chunk(uvec4 v, uint row_at, vec2 scale, uint chunk, out vec4 lo, out vec4 hi)
{
    if (WEIGHT_TYPE == WEIGHT_F32) {
        lo = uintBitsToFloat(v);
        hi = uintBitsToFloat(weight_word(row_at + 2 * chunk + 1));
    } else if (WEIGHT_TYPE == WEIGHT_F16) {
        lo = vec4(from_half2(v.x), from_half2(v.y));
        hi = vec4(from_half2(v.z), from_half2(v.w));
    } else if (WEIGHT_TYPE == WEIGHT_BF16) {
        lo = uintBitsToFloat(uvec4(v.x << 16, v.x & 0xffff0000u, v.y << 16, v.y & 0xffff0000u));
        hi = uintBitsToFloat(uvec4(v.z << 16, v.z & 0xffff0000u, v.w << 16, v.w & 0xffff0000u));
    } else {
        const uint bits = 16 / WORD_CHUNKS, mask = (1u << bits) - 1;
        const uvec4 u = v >> 2 * bits * (chunk % WORD_CHUNKS);
        precise vec4 a = fma(vec4(u & mask), vec4(scale.x), vec4(scale.y)), b = fma(vec4(u >> bits & mask), vec4(scale.x), vec4(scale.y));
        lo = a;
        hi = b;
    }
}

void load_group(uint row_at, uint n_chunks, uint chunk, out vec4 lo, out vec4 hi)
{
    unpack_chunk(load_word(row_at, chunk), row_at, load_scale(row_at, n_chunks, chunk), chunk, lo, hi);
}
#endif

uint half_of(float x)
{
    return WEIGHT_TYPE == WEIGHT_BF16 ? floatBitsToUint(x) >> 16 : to_half2(vec2(x, 0.0)) & 0xffffu;
}

// Synthetic weights: the words of a group from a byte b for each value, which stands for (2 b - 255) * step, a power of two; where
// `live` is false it is zero. f32, f16 and bf16 hold that exactly, q8_0 and q4_1 the nearest of the values that they have with
// synthetic_scale. A group of these has no padding.
void encode_group(uint b[32], bool live[32], float step, out uvec4 words[2])
{
    [[unroll]] for (uint w = 0; w < 2; w++)
        [[unroll]] for (uint j = 0; j < 4; j++) {
            words[w][j] = 0;
            if (w >= GROUP_WORDS)
                continue;
            if (QUANTISED) {
                const uint bits = 16 / WORD_CHUNKS;
                [[unroll]] for (uint c = 0; c < WORD_CHUNKS; c++)
                    [[unroll]] for (uint h = 0; h < 2; h++)
                        words[w][j] |= b[8 * (WORD_CHUNKS * w + c) + 4 * h + j] >> 8 - bits << bits * (2 * c + h);
            } else if (WEIGHT_TYPE == WEIGHT_F32) {
                words[w][j] = live[4 * w + j] ? floatBitsToUint(float(2 * int(b[4 * w + j]) - 255) * step) : 0;
            } else {
                const float lo = live[2 * j] ? float(2 * int(b[2 * j]) - 255) * step : 0.0;
                const float hi = live[2 * j + 1] ? float(2 * int(b[2 * j + 1]) - 255) * step : 0.0;
                words[w][j] = half_of(lo) | half_of(hi) << 16;
            }
        }
}

// What a synthetic group's scale (and minimum) is, as two f16: q8_0 has 2 step (b - 128), q4_1 32 step (b / 16) - 240 step.
uint synthetic_scale(float step)
{
    return WEIGHT_TYPE == WEIGHT_Q4_1 ? to_half2(vec2(32.0 * step, -240.0 * step)) : to_half2(vec2(2.0 * step));
}
