// What becomes of queries and keys in front of attention: qkv.comp and heads.comp.
#include "halves.glsl"

vec2 turn(vec2 y, vec2 bias_pair, vec2 cs)
{
    precise vec2 b = y + bias_pair;
    precise vec2 turned = vec2(fma(-b.y, cs.y, b.x * cs.x), fma(b.y, cs.x, b.x * cs.y));
    return turned;
}
