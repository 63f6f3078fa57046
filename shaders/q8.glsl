// The q8 cache: where its parts lie, how its words are packed. heads.comp writes it, attention.comp reads it, and
// cache/cache.h says what it looks like. `at` and `words` count 16 bytes; a scale's place counts 32 bits.

uint q8_groups(uint octets) { return (octets + 3) / 4; }
uint q8_words(uint octets) { return (octets + 1) / 2; } // of the keys, or of the values, of one position

// A (sequence, slot, head): keys, values, scales.
uint q8_piece(uint octets, uint n_cells)
{
    return 2 * n_cells * q8_words(octets) + (n_cells * q8_groups(octets) + 3) / 4;
}

// The scales of a position in the piece that begins at word `piece`: f16 of the key's group, f16 of the value's group.
uint q8_scales(uint octets, uint n_cells, uint piece, uint cell)
{
    return 4 * (piece + 2 * n_cells * q8_words(octets)) + cell * q8_groups(octets);
}

// Octet `which` (0 or 1) of a word, not yet scaled.
void q8_octet(uvec4 word, uint which, out vec4 lo, out vec4 hi)
{
    lo = vec4(ivec4(word << (24 - 16 * which)) >> 24);
    hi = vec4(ivec4(word << (16 - 16 * which)) >> 24);
}

// ---- writing ----

// What a group can hold: infinities become the largest number there is, and what is no number becomes zero.
vec2 q8_finite(vec2 y)
{
    uvec2 bits = floatBitsToUint(y), sign = bits & 0x80000000u, size = bits ^ sign;
    uvec2 held = mix(min(size, uvec2(0x7f7fffffu)), uvec2(0u), greaterThan(size, uvec2(0x7f800000u)));
    return uintBitsToFloat(sign | held);
}

// The f16 not below largest / 127: rounded up, so that the largest value is not cut even where an f16 is subnormal. The
// largest f16 is the end: beyond it values saturate.
uint q8_scale(float largest)
{
    float s = largest * (1.0 / 127.0);
    uint bits = floatBitsToUint(s);
    uint rounded = bits < 0x38800000u ? uint(ceil(s * 16777216.0)) : (bits - 0x38000000u + 0x1fffu) >> 13;
    return min(rounded, 0x7bffu);
}

// Two neighbours as bytes, rounded to the nearest; `inverse` is 1 / scale, or 0.
uvec2 q8_bytes(vec2 y, float inverse)
{
    precise vec2 steps = floor(fma(y, vec2(inverse), vec2(0.5)));
    return uvec2(ivec2(clamp(steps, -127.0, 127.0))) & 255u;
}
