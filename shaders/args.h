/* What C and GLSL must agree on: the state buffer's layout, numbers with names, push-constant structs.
 * Included by both; every member is one 32-bit word, so std430 and C lay the structs out alike. */
#ifndef MUNINN_ARGS_H
#define MUNINN_ARGS_H

#ifdef VULKAN
#define U32 uint
#define F32 float
#else
#include <stdint.h>
#define U32 uint32_t
#define F32 float
#endif

/* The state buffer: STATE_HEAD_WORDS words, then rows (uvec4 token, position, sequence, depth), then one output token a
 * row, then SETTING_WORDS words a row: its sequence's sampler and how it begins. */
#define STATE_MAX_ROWS 128
#define STATE_HEAD_WORDS 20
/* A row's third word: its sequence, and above it how far beyond its position its entries lie: 0, or on a branch what
 * leads from the branch's first position to the cell behind the sequence's last position. A sequence has n_cells cells:
 * those of its positions, then those of its branch. */
#define ROW_SEQUENCE_BITS 8
#define ROW_SEQUENCE_MASK 0xff
/* Four row tables (prelude, core, coda, head), each a range of the rows: words (first, count). */
#define TABLE_PRELUDE 0
#define TABLE_CORE 1
#define TABLE_CODA 2
#define TABLE_HEAD 3
/* Attention's group counts (heads, splits, rows) per table, read by indirect dispatches. */
#define STATE_GROUPS 8
/* Where the rows end and the tokens begin, where the settings begin; all of it. */
#define STATE_TOKENS (STATE_HEAD_WORDS + 4 * STATE_MAX_ROWS)
#define STATE_SETTINGS (STATE_TOKENS + STATE_MAX_ROWS)
#define STATE_WORDS (STATE_SETTINGS + SETTING_WORDS * STATE_MAX_ROWS)

/* The settings of a row. Temperature 0: greedy. */
#define SETTING_SEED_LO 0
#define SETTING_SEED_HI 1
#define SETTING_TEMPERATURE 2
#define SETTING_TOP_K 3
#define SETTING_TOP_P 4
#define SETTING_MIN_P 5
#define SETTING_INIT_MODE 6
#define SETTING_INIT_STD 7
#define SETTING_WORDS 8

/* What noise is for: the last word of Philox's counter. */
#define NOISE_GUMBEL 0
#define NOISE_STATE 1
#define NOISE_ACCEPT 2
#define NOISE_DIFFUSION 3
#define NOISE_WEIGHT 4

#define INIT_ZERO 0
#define INIT_NORMAL 1
#define INIT_GIVEN 2

/* Weight storage: weights.glsl, and the table in engine/model/weight_type.c. */
#define WEIGHT_F32 0
#define WEIGHT_F16 1
#define WEIGHT_BF16 2
#define WEIGHT_Q8_0 3
#define WEIGHT_Q4_1 4
#ifndef VULKAN
enum weight_type {
    WEIGHT_TYPE_F32 = WEIGHT_F32,
    WEIGHT_TYPE_F16 = WEIGHT_F16,
    WEIGHT_TYPE_BF16 = WEIGHT_BF16,
    WEIGHT_TYPE_Q8_0 = WEIGHT_Q8_0,
    WEIGHT_TYPE_Q4_1 = WEIGHT_Q4_1,
    WEIGHT_TYPES,
    WEIGHT_TYPE_AS_STORED
};
#endif

/* Cache storage: enum kv_type of cache/cache.h. */
#define CACHE_F32 0
#define CACHE_F16 1
#define CACHE_Q8 2

/* Where a matmul's activations come from. */
#define INPUT_PLAIN 0 /* x */
#define INPUT_NORM 1  /* x * norm weights; the scale multiplies the finished sum */
#define INPUT_STATE 2 /* the same for latent states, which are raw at depth 0 */
#define INPUT_MERGE 3 /* attention partials of all splits, merged */

/* How the lanes of a matmul divide the work: shaders/skeleton.glsl. */
#define PATH_APART 0
#define PATH_SHARING 1 /* CPU devices */
#define PATH_TILED 2   /* many rows, on GPUs */
#define PATH_MATRIX 3  /* matrix units: shaders/matrix */

/* How a row's scale follows from its statistics (sum x^2, sum (x w)^2). */
#define SCALE_NONE 0
#define SCALE_ONE 1 /* one pending RMSNorm */
#define SCALE_TWO 2 /* RMSNorm of an RMSNorm */

/* What PROJ adds to its product. */
#define RESIDUAL_NONE 0
#define RESIDUAL_PLAIN 1
#define RESIDUAL_NORM 2 /* the residual is owed a norm */

struct matmul_args {
    U32 table;
    U32 n_chunks;   /* input length / 8 (padded with zeros) */
    U32 n_out;      /* output rows in this window of the matrix */
    U32 row0;       /* first output row of the window */
    U32 in_stride;  /* floats from one activation row to the next */
    U32 in_by_slot; /* 1: activation rows are indexed by slot (sequence, position), not by row */
    U32 n_parts_in, parts_in_stride;
    U32 out_stride, out_by_slot;
    U32 residual_stride, residual_by_slot;
    U32 n_parts_residual, parts_residual_stride;
    U32 parts_out_stride, parts_out0;
    U32 n_norm; /* length of the normalised vector (unpadded) */
    F32 eps;
    U32 n_cells;
    U32 n_heads, n_kv_heads, head_dim,
        head_pad;        /* head i of the queries has key and value head i / (n_heads / n_kv_heads) */
    U32 n_slots;         /* depth slots per position in this block's cache */
    U32 split, n_splits; /* positions per attention split; most splits a row can have */
    F32 query_scale;     /* 1/sqrt(head_dim) */
};

struct attention_args {
    U32 table;
    U32 n_heads, head_pad, n_slots, n_cells, n_splits;
    U32 n_positions; /* cells that a branch does not use */
};

struct embed_args {
    U32 table;
    U32 n_embd, stride, n_cells, parts_stride, n_chunks;
    U32 row0, n_rows; /* the window of the embedding: tokens row0 .. row0 + n_rows - 1 */
    F32 scale;        /* sqrt(n_embd) */
};

struct norm_args {
    U32 table;
    U32 n_embd, in_stride, add_stride, out_stride, n_cells, n_parts_in, parts_in_stride, parts_out_stride;
    F32 eps;
};

struct heads_args {
    U32 table;
    U32 in_stride, n_heads, n_kv_heads, head_dim, head_pad, n_slots, n_cells;
    F32 eps, query_scale;
};

struct argmax_args {
    U32 table;
    U32 n_groups;
};

struct sample_args {
    U32 table;
    U32 n_vocab, stride;
};

struct fill_args {
    U32 n_rows, n_chunks; /* of the window */
    U32 row0;             /* first row of the window in the matrix */
    U32 group_chunks;     /* groups of weights (weights.glsl) per workgroup */
    U32 period, n_valid;  /* of `period` inputs the first n_valid are weights, the others padding */
    U32 matrix;           /* number of the matrix in its model */
    U32 seed_lo, seed_hi;
    F32 scale;
};

struct read_args {
    U32 n_chunks, n_threads;
    U32 group_chunks; /* 0: threads take turns over the whole buffer; else each group reads so many in a row */
};

/* constant_id of what is the device's and no pipeline's: shaders/halves.glsl. */
#define CONSTANT_OWN_HALVES 31

#ifndef VULKAN
/* The constants a pipeline is built with: member i is the shader's constant_id i, and all are words. */
struct row_constants { /* argmax, sample, read: nothing but the workgroup's size */
    U32 threads;
};

struct embed_constants {
    U32 threads, weight_type;
    U32 state_is_x; /* 1: the initial state is the embedding */
};

struct norm_constants {
    U32 threads;
    U32 in_by_slot, raw_at_depth_0, owed; /* how the input lies, and what it is owed */
    U32 norm;                             /* 1: a norm of the reader's own */
    U32 add, add_by_slot, out_by_slot;
    U32 advance; /* 1: the rows' depths go up by one */
};

struct heads_constants {
    U32 threads;
    U32 kv_type;            /* CACHE_.. */
    U32 core, shared_slots; /* as in qkv_constants */
    U32 normed;             /* 1: queries and keys are normed over all heads; 0: they have a bias */
};

struct fill_constants {
    U32 threads, weight_type;
};

/* The part that all matmuls share. */
struct matmul_constants {
    U32 threads;
    U32 k_lanes;        /* lanes that share output rows */
    U32 rows_per_lane;  /* output rows, a multiple of four */
    U32 n_rows;         /* activation rows that share one read of the weights */
    U32 weight_type;    /* WEIGHT_.. */
    U32 input;          /* INPUT_.. */
    U32 scale;          /* SCALE_.. */
    U32 path;           /* PATH_.. */
    U32 side, subgroup; /* PATH_MATRIX: the side of the squares that the units multiply, lanes of a subgroup; else 0 */
};

struct qkv_constants {
    struct matmul_constants matmul;
    U32 kv_type;      /* CACHE_F32 or CACHE_F16: a q8 cache is written by heads */
    U32 core;         /* 1: the block has a depth axis */
    U32 shared_slots; /* 1: there are fewer depth slots than steps */
    U32 head_dim;
};

struct proj_constants {
    struct matmul_constants matmul;
    U32 residual; /* RESIDUAL_.. */
    U32 advance;  /* 1: the rows' depths go up by one */
    U32 stats;    /* 1: writes the statistics of what it computes */
};

struct gate_constants {
    struct matmul_constants matmul;
};

struct head_constants {
    struct matmul_constants matmul;
    U32 whole_quads; /* 1: the vocabulary is a multiple of four */
};

/* For code that handles all matmuls alike. */
union any_matmul_constants {
    struct matmul_constants matmul; /* every one begins with it */
    struct qkv_constants qkv;
    struct proj_constants proj;
    struct gate_constants gate;
    struct head_constants head;
};

struct attention_constants {
    U32 threads;
    U32 split; /* positions per workgroup */
    U32 kv_type, core;
    U32 octets;   /* head_pad / 8 */
    U32 per_lane; /* positions a lane scores per block */
    U32 shared_slots;
    U32 whole;        /* 1: no row ever has a second split */
    U32 heads_per_kv; /* query heads that share a key and value head */
    U32 tile_rows;    /* attention_tile: rows of a workgroup; on a CPU device a multiple of its threads */
    U32 branches;     /* 0: no row is on a branch */
};
#endif

#endif
