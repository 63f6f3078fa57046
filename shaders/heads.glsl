// What becomes of queries and keys in front of attention: qkv.comp and heads.comp.

// Two f16, rounded to nearest even. packHalf2x16 may round either way, and takes a CPU device longer.
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

vec2 turn(vec2 y, vec2 bias_pair, vec2 cs)
{
    precise vec2 b = y + bias_pair;
    precise vec2 turned = vec2(fma(-b.y, cs.y, b.x * cs.x), fma(b.y, cs.x, b.x * cs.y));
    return turned;
}
