// The same as gpu/query.glsl where lanes are those of a vector: each loads a part, once, and hands it to the others.
#extension GL_KHR_shader_subgroup_shuffle : require
struct Query { vec4 words[QUERY_WORDS]; };
void load_query(uint base, uint lane, out Query q)
{
    [[unroll]] for (uint i0 = 0; i0 < QUERY_WORDS; i0 += LOCAL) {
        vec4 mine = uintBitsToFloat(load4(query, base + min(i0 + lane, QUERY_WORDS - 1)));
        [[unroll]] for (uint i = i0; i < min(i0 + LOCAL, QUERY_WORDS); i++)
            q.words[i] = subgroupShuffle(mine, i - i0);
    }
}
vec4 query_word(Query q, uint i) { return q.words[i]; }
