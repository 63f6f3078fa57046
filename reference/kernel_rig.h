/* The rig that kernel cases run on: guarded buffers with their initial and expected content, one dispatch, the
 * comparison.
 *
 * A case plans its buffers (`rig_buffer`: what goes in, what must come out), commits, dispatches and ends. Around every
 * buffer lie guard words, and output buffers start as guard words too: whatever a kernel must not write has to keep
 * them. As floats, guard words are NaN, so a kernel that reads where it must not poisons its own result.
 *
 * Owns: one arena per case, one block of host memory for the values of a case. Never: knows what a kernel computes.
 * Errors of the device stick in `status`; later calls then do nothing.
 * Thread-safety: none.
 */
#ifndef MUNINN_REFERENCE_KERNEL_RIG_H
#define MUNINN_REFERENCE_KERNEL_RIG_H

#include <math.h>

#include "engine/model/model.h"
#include "engine/model/session.h"
#include "reference/kernel_cases.h"
#include "shaders/args.h"

/* NaN as f32; both halves are NaN as f16 and as bf16. */
#define RIG_GUARD 0xffc0ffeeu
/* Expected values with a meaning of their own. */
#define UNTOUCHED ((double)NAN)     /* the guard must still be there */
#define ANYTHING ((double)INFINITY) /* not compared */

/* Largest NMSE of each operation against double arithmetic. Single precision leaves about 1e-14 per rounding; the
 * bounds give a device the freedom that Vulkan grants it (exp, division and square root to a few ULP), and no more. */
#define LIMIT_EXACT 0.0   /* tokens, depths, row tables */
#define LIMIT_EMBED 1e-13 /* one product */
#define LIMIT_NOISE 1e-10 /* the initial state: logarithm and a polynomial */
#define LIMIT_NORM 1e-12
#define LIMIT_MATMUL 1e-11 /* queries, projections, logits */
#define LIMIT_STATISTICS 1e-11
#define LIMIT_GATE 1e-11
#define LIMIT_CACHE_F32 1e-11
#define LIMIT_CACHE_F16 1e-6 /* rounding to 11 bits, in any direction */
#define LIMIT_CACHE_Q8 1e-6  /* against values rounded in double: some few go the other way */
#define LIMIT_ATTENTION 1e-11

/* Inputs of a chunk: vectors are padded to whole ones. */
enum { CHUNK = 8 };
uint32_t rig_padded(uint32_t n);

enum { RIG_MAX_BUFFERS = 16, RIG_GUARD_BYTES = 256, RIG_POOL_VALUES = 6 << 20, RIG_NAME_BYTES = 96 };

enum element {
    ELEMENT_F32 = WEIGHT_F32,
    ELEMENT_F16 = WEIGHT_F16,
    ELEMENT_BF16 = WEIGHT_BF16,
    ELEMENT_U32 = WEIGHT_TYPES
};

struct guarded {
    const char *name;
    enum element element;
    uint32_t n;              /* elements */
    const double *initial;   /* [n]; NULL: guard words */
    const double *expected;  /* [n]; NULL: not compared */
    double limit;            /* largest NMSE */
    struct span whole, data; /* with and without the guards */
};

struct rig {
    const struct kernel_cases_params *params;
    struct tuning tuning;
    struct arena arena;
    struct guarded buffers[RIG_MAX_BUFFERS];
    uint32_t n_buffers;
    double *pool; /* [RIG_POOL_VALUES] */
    size_t n_pool;
    uint64_t random;
    enum mn_status status;
    const char *kernel;
    char name[RIG_NAME_BYTES];
    struct kernel_case_result result;
    char detail[160];
    uint32_t n_cases, n_failed;
    bool counts; /* cases are counted, not run */
};

enum mn_status rig_init(struct rig *rig, const struct kernel_cases_params *params);
void rig_finish(struct rig *rig);

/* One case: begin, plan buffers, commit, dispatch, end. False: it is only counted. */
bool rig_begin(struct rig *rig, const char *kernel, const char *name, uint64_t seed);
struct guarded *rig_buffer(struct rig *rig, const char *name, enum element element, uint32_t n, const double *initial,
                           const double *expected, double limit);
/* A matrix of weights [n_rows, inner], which rig_weights made, as the loader lays it out. */
struct guarded *rig_matrix(struct rig *rig, const char *name, enum weight_type type, uint32_t n_rows, uint32_t inner,
                           const double *values);
void rig_commit(struct rig *rig);
/* `constants`: the kernel's struct of them (shaders/args.h), with KERNEL_CONSTANTS. */
void rig_dispatch(struct rig *rig, enum kernel_id id, const void *constants, uint32_t n_constants,
                  struct guarded *const *bindings, const void *push, uint32_t groups_x, uint32_t groups_y);
/* Compares all buffers that have expected values, checks every guard and reports. */
void rig_end(struct rig *rig);
/* Marks the case as failed, with the reason. */
void rig_fault(struct rig *rig, double nmse, double limit, const char *detail, const char *buffer);

/* The same dispatch with one buffer bound to a part of itself, or with group counts that the device reads. */
struct rig_dispatch_params {
    enum kernel_id id;
    const void *constants;
    uint32_t n_constants;
    struct guarded *const *bindings;
    const void *push;
    uint32_t part_of; /* binding that spans part_bytes from part_offset on; 0: none (binding 0 is the state) */
    uint64_t part_offset, part_bytes;
    uint32_t groups_x, groups_y;
    const struct guarded *groups; /* not NULL: the counts are read at word groups_word */
    uint32_t groups_word;
};
void rig_dispatch_with(struct rig *rig, const struct rig_dispatch_params *params);

/* Writes words [first, first + n) of a buffer; reads all of it with its guards (in front RIG_GUARD_BYTES, behind the
 * rest). */
void rig_write(struct rig *rig, const struct guarded *buffer, uint32_t first, const uint32_t *words, uint32_t n);
void rig_read(struct rig *rig, const struct guarded *buffer, uint32_t *words);
uint32_t rig_words(const struct guarded *buffer); /* of `rig_read` */
void rig_refill(struct rig *rig, const struct guarded *buffer);

/* Host memory until the end of the case: zeros, copies of one value, or noise in [-scale, scale) that `element` can
 * hold. */
double *rig_zeros(struct rig *rig, size_t n);
double *rig_filled(struct rig *rig, size_t n, double value);
double *rig_noise(struct rig *rig, size_t n, double scale, enum element element);
/* Noise that a matrix of this type can hold, rows of n_in. */
double *rig_weights(struct rig *rig, enum weight_type type, uint32_t n_rows, uint32_t n_in, double scale);
uint64_t rig_row_bytes(enum weight_type type, uint32_t inner);
uint32_t rig_random(struct rig *rig); /* 32 random bits */
double rig_round(double x, enum element element);
uint32_t rig_float_bits(float x);

/* Rows of the state buffer for a dispatch over rows first .. first+n-1: distinct (sequence, cell), random depths
 * below `n_depths`. Rows outside the table are valid, but point to a slot of their own. */
struct rig_rows {
    struct row row[STATE_MAX_ROWS];
    uint32_t table, first, n;
    uint32_t n_ctx, n_sequences, n_depths, n_vocab;
    uint32_t n_branch; /* so many of a sequence's n_ctx cells are a branch's: rows there are at lower positions */
};
void rig_rows(struct rig *rig, struct rig_rows *rows);
double *rig_state(struct rig *rig, const struct rig_rows *rows); /* [STATE_WORDS] */
uint32_t rig_slot(const struct rig_rows *rows, uint32_t index);
/* The state buffer with equal initial and expected words; the caller changes what the kernel should change. */
struct guarded *rig_plan_state(struct rig *rig, const struct rig_rows *rows, double **initial, double **expected);
void rig_set_state(double *initial, double *expected, uint32_t word, uint32_t value);

/* kernel_norm_cases.c */
void norm_cases_run(struct rig *rig);

/* kernel_attention_cases.c */
void attention_cases_run(struct rig *rig);

/* kernel_matmul_cases.c */
void matmul_cases_run(struct rig *rig);
void matmul_row_independence(struct rig *rig);
void attention_row_independence(struct rig *rig);

#endif
