// A row's query for one head, the same for all lanes of a workgroup of attention.comp. Its words are loaded where they
// are needed: compilers keep such loads apart from the lanes' registers (scalar loads on AMD), where an array of them
// would be spilled.
struct Query { uint base; };
void load_query(uint base, uint lane, out Query q) { q.base = base; }
vec4 query_word(Query q, uint i) { return uintBitsToFloat(load4(query, q.base + i)); }
