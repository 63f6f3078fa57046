// Two f16 in a word.
#ifndef HALVES_GLSL
#define HALVES_GLSL

// 1: on CPU devices without f16 (caps.own_halves). Debian 12's lavapipe makes of unpackHalf2x16 there what its compiler
// ends the process at (docs/portability.md).
layout(constant_id = CONSTANT_OWN_HALVES) const uint OWN_HALVES = 0;

// Rounded to nearest even. packHalf2x16 may round either way, and takes a CPU device longer.
uint to_half2(vec2 y)
{
    uvec2 bits = floatBitsToUint(y), sign = bits & 0x80000000u, size = bits ^ sign;
    uvec2 normal = (size - 0x37fff001u + (size >> 13 & 1u)) >> 13;
    uvec2 tiny = floatBitsToUint(uintBitsToFloat(size) + 0.5) - 0x3f000000u;
    uvec2 huge = mix(uvec2(0x7c00u), uvec2(0x7e00u), greaterThan(size, uvec2(0x7f800000u)));
    uvec2 rounded = mix(normal, tiny, lessThan(size, uvec2(0x38800000u)));
    rounded = mix(rounded, huge, greaterThanEqual(size, uvec2(0x47800000u)));
    rounded |= sign >> 16;
    return rounded.x | rounded.y << 16;
}

// Exact. Numbers below 2^-14 are whole multiples of 2^-24.
vec2 from_half2(uint two)
{
    if (OWN_HALVES == 0)
        return unpackHalf2x16(two);
    const uvec2 bits = uvec2(two, two >> 16) & 0xffffu, size = bits & 0x7fffu;
    const uvec2 normal = (size << 13) + 0x38000000u, tiny = floatBitsToUint(vec2(size) * (1.0 / 16777216.0));
    uvec2 wide = mix(normal, tiny, lessThan(size, uvec2(0x400u)));
    wide = mix(wide, size << 13 | 0x7f800000u, greaterThanEqual(size, uvec2(0x7c00u)));
    return uintBitsToFloat(wide | (bits & 0x8000u) << 16);
}

#endif
