// How weights are stored: the one place that knows the types. Chunks of 8 inputs are what everybody else deals in.
//
// A row of a matrix is a run of 16-byte words: its values, group by group, and behind them, for a type whose groups have scales,
// the scales, padded to whole words. So a row lies in one piece, in whatever window of the matrix and dispatch it falls.
//
//   f32        groups of  8 values in 2 words, no scales
//   f16, bf16  groups of  8 values in 1 word, no scales
//
// Who includes this declares WEIGHT_TYPE and, to read, defines weight_word(at), the 16-byte word number `at` of the matrix.
// docs/shaders.md says what a new type needs.

const uint GROUP_CHUNKS = 1; // chunks of 8 that are stored together
const uint GROUP_WORDS = WEIGHT_TYPE == WEIGHT_F32 ? 2 : 1; // for a group's values
const uint GROUP_SCALE_BYTES = 0;

// Words of a row, and so where row r begins: r * row_words(n_chunks). Its scales begin n_chunks / GROUP_CHUNKS * GROUP_WORDS
// words later.
uint row_words(uint n_chunks)
{
    const uint n_groups = n_chunks / GROUP_CHUNKS;
    return n_groups * GROUP_WORDS + (n_groups * GROUP_SCALE_BYTES + 15) / 16;
}

#ifdef weight_word
// The eight weights of a chunk, of the row of n_chunks that begins at word row_at.
void load_group(uint row_at, uint n_chunks, uint chunk, out vec4 lo, out vec4 hi)
{
    const uint at = row_at + chunk / GROUP_CHUNKS * GROUP_WORDS;
    const uvec4 v = weight_word(at);
    if (WEIGHT_TYPE == WEIGHT_F32) {
        lo = uintBitsToFloat(v);
        hi = uintBitsToFloat(weight_word(at + 1));
    } else if (WEIGHT_TYPE == WEIGHT_F16) {
        lo = vec4(unpackHalf2x16(v.x), unpackHalf2x16(v.y));
        hi = vec4(unpackHalf2x16(v.z), unpackHalf2x16(v.w));
    } else {
        lo = uintBitsToFloat(uvec4(v.x << 16, v.x & 0xffff0000u, v.y << 16, v.y & 0xffff0000u));
        hi = uintBitsToFloat(uvec4(v.z << 16, v.z & 0xffff0000u, v.w << 16, v.w & 0xffff0000u));
    }
}
#endif

uint half_of(float x)
{
    return WEIGHT_TYPE == WEIGHT_BF16 ? floatBitsToUint(x) >> 16 : packHalf2x16(vec2(x, 0.0)) & 0xffffu;
}

// The words of a group, for values that the type holds exactly: nothing is rounded here.
void encode_group(float x[8 * GROUP_CHUNKS], out uvec4 words[GROUP_WORDS])
{
    [[unroll]] for (uint w = 0; w < GROUP_WORDS; w++)
        [[unroll]] for (uint j = 0; j < 4; j++)
            words[w][j] = WEIGHT_TYPE == WEIGHT_F32 ? floatBitsToUint(x[4 * w + j]) : half_of(x[2 * j]) | half_of(x[2 * j + 1]) << 16;
}
