// What the matmuls and attention read of the state buffer (binding 0): row tables, and rows (token, position, sequence,
// depth).
#include "common.glsl"
#include "buffers.glsl"

READ4(0, state);

uvec4 state_row(uint index) { return load4(state, STATE_HEAD_WORDS / 4 + index); }

uvec2 table_range(uint table)
{
    uvec4 two = load4(state, table / 2);
    return (table & 1) == 0 ? two.xy : two.zw;
}

uint table_first(uint table) { return table_range(table).x; }
uint table_count(uint table) { return table_range(table).y; }
