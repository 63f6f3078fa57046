/* What goes to the device as it is, or stands for a number there, and is declared apart from shaders/args.h. */
#include <stddef.h>

#include "cache/cache.h"
#include "engine/model/session.h"
#include "shaders/args.h"

/* A row's sequence and how far beyond its position it writes share a word. */
_Static_assert(SESSION_MAX_ROWS <= ROW_SEQUENCE_MASK + 1 && ROW_SEQUENCE_MASK + 1 == 1 << ROW_SEQUENCE_BITS,
               "every sequence has a number");
_Static_assert(CONFIG_BLOCK_MAX >> (32 - ROW_SEQUENCE_BITS) == 0, "the first cell of a branch can be told");
_Static_assert((int)SESSION_MAX_ROWS == STATE_MAX_ROWS, "a session's rows fit into the state buffer");
_Static_assert(STATE_HEAD_WORDS % 4 == 0 && STATE_TOKENS % 4 == 0, "rows begin and end at 16 bytes");

/* The words in front of the rows: four tables of two words, four group counts of three. */
_Static_assert(2 * TABLE_HEAD + 2 <= STATE_GROUPS, "row tables end where group counts begin");
_Static_assert(STATE_GROUPS + 3 * (TABLE_HEAD + 1) <= STATE_HEAD_WORDS, "group counts end where rows begin");
_Static_assert(SETTING_SEED_LO < SETTING_SEED_HI && SETTING_SEED_HI < SETTING_TEMPERATURE &&
                   SETTING_TEMPERATURE < SETTING_TOP_K && SETTING_TOP_K < SETTING_TOP_P &&
                   SETTING_TOP_P < SETTING_MIN_P && SETTING_MIN_P < SETTING_INIT_MODE &&
                   SETTING_INIT_MODE < SETTING_INIT_STD && SETTING_INIT_STD < SETTING_WORDS,
               "each word has a place of its own");

_Static_assert((int)KV_F32 == CACHE_F32 && (int)KV_F16 == CACHE_F16 && (int)KV_Q8 == CACHE_Q8 && (int)KV_TYPES == 3,
               "a cache's type is its number in shaders");

_Static_assert(offsetof(union any_matmul_constants, matmul) == 0 && offsetof(struct qkv_constants, matmul) == 0 &&
                   offsetof(struct proj_constants, matmul) == 0 && offsetof(struct gate_constants, matmul) == 0 &&
                   offsetof(struct head_constants, matmul) == 0,
               "the constants of all matmuls begin alike");
