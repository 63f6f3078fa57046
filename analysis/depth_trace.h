/* What happens inside the recurrence: every token's state and prediction after every step.
 *
 * The prompt's positions take each step together through the prefill path, with coda and head behind it: step t of a
 * position has the bits of `muninn logits --num-steps t`, and the last step those from which generation goes on.
 * Generated tokens, greedy ones, follow one by one as `ar` decodes them: their step t is what a row says that leaves at
 * depth t while all before it stand at the last one.
 *
 * Owns: the figures of one trace, in host memory. Never: prints. Thread-safety: none.
 */
#ifndef MUNINN_ANALYSIS_DEPTH_TRACE_H
#define MUNINN_ANALYSIS_DEPTH_TRACE_H

#include "analysis/pca.h"
#include "analysis/terminal.h"
#include "engine/model/session.h"
#include "spec/exit.h"

struct depth_trace_params {
    const uint32_t *prompt; /* [n_prompt], at least 1 */
    uint32_t n_prompt;
    uint32_t n_new;        /* generated tokens to trace as well; the context must hold them all */
    uint32_t num_steps;    /* 1..session.num_steps */
    bool ignore_eos;       /* else the trace ends with the first end token */
    uint32_t n_inits;      /* further runs from random initial states, for path independence */
    float init_scale;      /* of these */
    uint64_t seed;         /* of the first; the next has seed + 1 */
    uint32_t n_components; /* of the PCA */
    struct terminal_rule terminal;
    bool (*stop)(void); /* NULL, or: asked between passes; true ends the trace with MN_ERR_INTERRUPTED */
};

/* Figures of one step of one token. The states are those before ln_f; step 1 is compared with the initial state. */
struct depth_step {
    double norm;    /* |s| */
    double change;  /* |s - s'| / |s|, s' one step earlier */
    double kl;      /* sum over ids of p_R (log p_R - log p): how far the distribution is from the last step's; nats */
    double entropy; /* of p, nats */
    double top1_p;  /* largest probability */
    uint32_t top1;  /* its id, the lowest of equals */
};

struct depth_token {
    uint32_t id;
    bool generated;
    uint32_t exits[EXIT_COUNT]; /* [criterion]: first step at which it asks for the exit at its default threshold; 0:
                                   never */
    struct terminal terminal;
};

/* Also of a trace that failed or was interrupted, the first n_tokens tokens are complete. */
struct depth_trace {
    uint32_t n_tokens, n_prompt, n_steps, n_embd, n_inits; /* n_inits: runs that were completed */
    uint32_t room;                                         /* tokens there is memory for */
    bool ended_by_eos;
    struct depth_token *tokens; /* [n_tokens] */
    struct depth_step *steps;   /* [n_tokens, n_steps] */
    float *states;              /* [n_tokens, n_steps + 1, n_embd], the initial state first */
    double *distance; /* [n_tokens, n_inits asked for]: |s - s0| / |s0| of the last states s from a random, s0 from the
                         zero start */
    uint32_t *init_top1;  /* the same shape: best id after the last step */
    uint32_t init_stride; /* n_inits asked for */
    struct pca pca;       /* of all states after steps 1..n_steps: the initial ones are not the model's */
};

/* Refuses what cannot be traced: MN_ERR_USAGE names option and value. */
enum mn_status depth_trace_check(const struct session *session, const struct depth_trace_params *params);

/* Runs all of it. The session must have policy `full`. Its sampler is set to greedy. Also after a failure,
 * depth_trace_finish is to be called. What depth_trace_check refuses, MN_ERR_RUN for logits that are not finite,
 * MN_ERR_INTERRUPTED. */
enum mn_status depth_trace_run(struct depth_trace *trace, struct session *session,
                               const struct depth_trace_params *params);
void depth_trace_finish(struct depth_trace *trace);

#endif
