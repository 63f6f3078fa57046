/* What a session consists of: for the files that make and run one, and for tests.
 *
 * Thread-safety: none.
 */
#ifndef MUNINN_ENGINE_MODEL_SESSION_INTERNAL_H
#define MUNINN_ENGINE_MODEL_SESSION_INTERNAL_H

#include <assert.h>

#include "engine/model/kv_cache.h"
#include "engine/model/model.h"
#include "engine/model/session.h"
#include "shaders/args.h"

enum { SESSION_N_STAMPS = 14 };
static_assert((int)SESSION_MAX_ROWS == STATE_MAX_ROWS, "the state buffer holds the rows of a run");

/* A part of a recorded pass, short enough for a submit of its own; see pace.h. */
struct piece {
    struct recording recording;
    double weights;       /* matrix elements that it reads */
    uint32_t n_attention; /* attention dispatches */
};
struct pass_recording {
    uint32_t first, n; /* session.pieces */
};

struct pipeline_uses;

struct session {
    struct session_info info;
    struct model *model;
    struct stream stream;
    struct kv_cache cache;
    struct arena scratch, shared;
    struct sampler_params samplers[SESSION_MAX_ROWS]; /* by sequence */
    float init_scales[SESSION_MAX_ROWS];
    struct span state;                 /* the state buffer, host-visible */
    struct span x, y;                  /* [rows, d] a block's input, and the sum after its attention */
    struct span query;                 /* [rows, heads, head_pad] */
    struct span hidden;                /* [rows, F] */
    struct span heads;                 /* [rows, (H + 2 G) h]; empty where q and k are not normed */
    struct span partial_o, partial_ml; /* [rows, splits, heads(, head_pad)] */
    struct span states;                /* [slots, d] latent states, owed the last norm */
    struct span injected; /* [slots, d] the adapter's embedding half: constant over a row's steps; empty without */
    struct span x_parts, y_parts, state_parts; /* norm statistics, [rows or slots, parts] */
    struct span logits, best;                  /* [prefill_rows, V], [rows, groups] */
    struct span rotary;                        /* [n_ctx, head_dim / 2] (cos, sin) */
    float *host_logits;                        /* [V] of one row, for session_prefill's each_logits */
    uint32_t parts_stride, n_splits;
    struct piece *pieces; /* [n_pieces] */
    uint32_t n_pieces;
    struct pass_recording recordings[PASS_COUNT][SESSION_N_STAMPS];
    uint32_t n_dispatches[PASS_COUNT]; /* per pass at one row */
    struct session_counts counts;
    double submit_ns; /* longest time that one submit should take; pace.h */
    double piece_work;
    double ns_per_work[SESSION_N_STAMPS];
    bool measured[SESSION_N_STAMPS];
    struct pipeline_uses *uses; /* not NULL: pipelines are built and listed there, nothing is recorded (pipelines.h) */
    double (*now_ns)(void);     /* the clock behind ns_per_work; tests have their own */
};

/* Of a sequence: one for each position, and behind them those of its branch. */
static inline uint32_t session_cells(const struct session *session)
{
    return session->info.n_ctx + session->info.n_branch;
}

/* Index of the smallest recorded stamp that holds n decode rows; the last index is the prefill stamp. */
uint32_t session_stamp(uint32_t n_rows, bool prefill);
uint32_t session_stamp_rows(uint32_t stamp);
/* Matmul tile of a stamp. */
const struct tile *session_tile(const struct session *session, uint32_t stamp);

/* Puts a run's rows, row tables and sampler into the state buffer. */
void session_write_state(struct session *session, const struct session_run_params *params);

#endif
