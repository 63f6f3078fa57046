// The state buffer (binding 0) for kernels with one workgroup per row: words, then rows (token, position, sequence,
// depth), then output tokens, then settings. The matmuls and attention read rows and row tables alone: rows.glsl.
#include "common.glsl"

layout(std430, binding = 0) buffer State {
    uint head[STATE_HEAD_WORDS];
    uvec4 rows[STATE_MAX_ROWS];
    uint tokens[STATE_MAX_ROWS];
    uint settings[SETTING_WORDS * STATE_MAX_ROWS];
} state;

uint table_first(uint table) { return state.head[2 * table]; }
uint table_count(uint table) { return state.head[2 * table + 1]; }
uint setting(uint row_index, uint word) { return state.settings[SETTING_WORDS * row_index + word]; }
