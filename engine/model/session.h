/* A session: the cache, activations and recorded command buffers of one or more token sequences on a model.
 *
 * The unit of work is the ROW: (sequence, position, depth). Everything - prefill, plain decoding, drafts, verification,
 * rows at different depths - is a set of rows sent through passes: prelude, n core steps, coda, head. `session_run` is
 * the only way to compute. Rows of one sequence stand in a run by ascending position, and none is deeper than those
 * before it; those of its branch too, and none is deeper than the row in front of the branch.
 *
 * Owns: stream, cache, scratch and state buffers, recordings. All memory is reserved and all pipelines are built when
 * the session is created. Never: knows strategies, text or stop tokens. Thread-safety: none.
 */
#ifndef MUNINN_ENGINE_MODEL_SESSION_H
#define MUNINN_ENGINE_MODEL_SESSION_H

#include "cache/cache.h"
#include "engine/base/progress.h"
#include "engine/model/config.h"
#include "engine/model/sampler.h"

enum { SESSION_MAX_ROWS = 128 };

enum pass { PASS_PRELUDE, PASS_CORE, PASS_CODA, PASS_HEAD_GREEDY, PASS_HEAD_SAMPLED, PASS_COUNT };

/* A sequence may have a branch: rows of positions from the branch's first one on that stand behind other tokens than
 * the sequence's own rows there. They read the sequence's entries in front of it and the branch's own from there on,
 * and leave theirs where a session has room for n_branch positions. */
struct row {
    uint32_t token, position, sequence, depth;
    uint32_t shift; /* 0, or on the branch that begins at position p, n_ctx - p: so far beyond its position it writes */
};

struct session_params {
    uint32_t n_ctx;       /* positions per sequence; 0: config.block_size */
    uint32_t n_sequences; /* 0: 1 */
    uint32_t num_steps;   /* most core steps a row will ever take */
    uint32_t max_rows;    /* most rows per decode pass; 0: 16 */
    uint32_t n_branch;    /* most positions of a sequence's branch; 0: there are none */
    struct kv_policy policy;
    enum kv_type kv_type;
    struct sampler_params sampler;
    float init_scale;          /* 0: zero initial states */
    bool beyond_trained_depth; /* allows more steps than config.max_recurrence */
    double piece_work;         /* 0: what suits the device; pace.h */
};

/* What one run does. Rows go to depth `depth + n_core`. */
struct session_run_params {
    const struct row *rows; /* [n_rows], each sequence by position; for n_new > 0 the last n_new start at depth 0 */
    uint32_t n_rows;
    uint32_t n_new;  /* trailing rows that go through the prelude first */
    uint32_t n_core; /* core steps for all rows */
    bool coda;       /* all rows through the coda */
    uint32_t n_head; /* trailing rows that get logits and a token; needs coda */
    bool prefill;    /* the prefill matmul: another order of additions, the same for every chunk of a prompt */
    uint32_t
        n_given; /* so many of the new rows, the first of them, keep the states that session_write_states put there */
};

/* What was computed since the session began, counted on the host. */
struct session_counts {
    uint64_t passes[PASS_COUNT];
    uint64_t rows[PASS_COUNT];
    uint64_t weight_bytes; /* matrix bytes read: a pass reads its weights once per group of rows that share them */
    uint64_t kv_bytes;     /* cache bytes read by attention */
    uint64_t submits, dispatches;
};

/* What a session is, for everybody: sizes and what its model says. Filled when the session is created, then
 * constant. */
struct session_info {
    const struct model_config *config;
    const struct mn_log *log;
    const float *exit_gate; /* [n_embd + 1] weights and bias of the family's exit gate; NULL: it has none */
    uint32_t n_ctx, n_sequences;
    uint32_t n_branch;     /* positions that a sequence's branch can have */
    uint32_t num_steps;    /* most core steps of a row */
    uint32_t max_rows;     /* most rows of a decode pass */
    uint32_t prefill_rows; /* most rows of a prefill pass that all want logits */
    struct kv_policy kv_policy;
    enum kv_type kv_type;
    uint64_t kv_bytes_per_token;
    uint64_t prelude_bytes, core_bytes, coda_bytes; /* matrix bytes that a pass reads; coda includes the head */
};

struct model;
struct session; /* session_internal.h */

/* MN_ERR_USAGE for sizes out of range, MN_ERR_MEMORY when it does not fit. */
enum mn_status session_create(struct session **out, struct model *model, const struct session_params *params);
void session_destroy(struct session *session);

/* What a session would take, in bytes, beside the weights. */
struct session_bytes {
    uint64_t cache, scratch;
    uint64_t cache_per_token;
    uint64_t largest;          /* of what is bound at once: the cache of one block, a buffer of the scratch */
    uint64_t largest_possible; /* on the model's device; 0: not even one row's logits */
};
/* The same refusals as above, but for memory: nothing is allocated on the device. */
enum mn_status session_plan(struct session_bytes *out, struct model *model, const struct session_params *params);

const struct session_info *session_info(const struct session *session);
/* What was computed since the session began. */
struct session_counts session_counts(const struct session *session);
/* Names what a pass takes depends on: device, driver, the shaders in use, shapes, the cache. Returns the length as
 * snprintf does. */
size_t session_fingerprint(const struct session *session, char *text, size_t text_bytes);

/* Of what is done with the session's device. session_run adds the core steps of its rows to the phase under way. */
struct progress *session_progress(struct session *session);

/* Computes and waits. tokens[i] (may be NULL) receives the token of the i-th head row. */
enum mn_status session_run(struct session *session, const struct session_run_params *params, uint32_t *tokens);

/* Runs a prompt of n >= 1 tokens from position `first` to depth `num_steps` through the prefill path, whatever its
 * length; *token (may be NULL) receives the token after it. `each_logits` (may be NULL) gets the logits of every
 * position in order. `state0` (may be NULL): [n, d] initial states. */
struct session_prefill_params {
    const uint32_t *ids;
    uint32_t n, first, sequence, num_steps;
    const float *state0;
    enum mn_status (*each_logits)(void *user, uint32_t position, const float *logits, uint32_t n_vocab);
    void *user;
};
enum mn_status session_prefill(struct session *session, const struct session_prefill_params *params, uint32_t *token);

/* The same in pieces, between which other sequences may run: no bit depends on how a prompt is cut. */
struct session_prompt {
    struct session_prefill_params params;
    uint32_t at, depth; /* where the next chunk begins, and the steps it has taken */
    bool begun, done;
    bool by_step; /* all chunks take a step before any takes the next */
};
/* Checks. The ids and states of `params` are read until it is done. The first `skip` < n positions are in the cache
 * already, all their steps taken. */
enum mn_status session_prompt_begin(struct session *session, struct session_prompt *prompt,
                                    const struct session_prefill_params *params, uint32_t skip);
/* Runs up to *rows rows through all steps, or what takes as many core steps; *rows becomes how many they were. *token
 * (may be NULL) is set when the prompt is done. */
enum mn_status session_prompt_run(struct session *session, struct session_prompt *prompt, uint32_t *rows,
                                  uint32_t *token);

/* MN_ERR_USAGE, with a message in `log`, when an id is beyond the vocabulary. */
enum mn_status session_check_ids(const struct session *session, const uint32_t *ids, uint32_t n,
                                 const struct mn_log *log);

/* Logits of the i-th head row of the last run, [vocab_size]. */
enum mn_status session_read_logits(struct session *session, uint32_t row, float *logits);
/* The same of n head rows from the `row`-th, in one transfer: [n, vocab_size]. */
enum mn_status session_read_logits_rows(struct session *session, uint32_t row, uint32_t n, float *logits);
/* The latent state of a position after `depth` steps, its current depth: what ln_f is applied to. state [n_embd]. */
enum mn_status session_read_state(struct session *session, uint32_t sequence, uint32_t position, uint32_t depth,
                                  float *state);
/* The same of n positions from `first`, all after `depth` steps: states [n, n_embd]. */
enum mn_status session_read_states(struct session *session, uint32_t sequence, uint32_t first, uint32_t n,
                                   uint32_t depth, float *states);
/* The adapter's embedding half of n positions, which the prelude wrote: [n, n_embd]. */
enum mn_status session_read_injected(struct session *session, uint32_t sequence, uint32_t first, uint32_t n,
                                     float *injected);
enum mn_status session_write_injected(struct session *session, uint32_t sequence, uint32_t first, const float *injected,
                                      uint32_t n);
/* Sets the initial states of n positions: states [n, n_embd]. Rows that enter as given ones start from them. */
enum mn_status session_write_states(struct session *session, uint32_t sequence, uint32_t first, const float *states,
                                    uint32_t n);
/* Sets the states of n positions that have taken steps: what session_read_states gave at a depth above 0, or an
 * estimate of such. Coda and head read them like a step's own but for rounding; the norm of states that are owed one
 * takes an estimate's length away. Position by position: for measurements. MN_ERR_MEMORY. */
enum mn_status session_replace_states(struct session *session, uint32_t sequence, uint32_t first, uint32_t n,
                                      const float *states);
/* Copies what the cache holds of n positions from `first`, all of them after num_steps steps, to another sequence. They
 * can be read there, not resumed: latent states stay where they are. */
enum mn_status session_copy_positions(struct session *session, uint32_t from, uint32_t to, uint32_t first, uint32_t n,
                                      uint32_t num_steps);
/* The branch becomes the sequence's own: what the cache holds of its n positions from `first`, where it begins, none of
 * them deeper than num_steps, replaces what is there. They can be resumed. */
enum mn_status session_take_branch(struct session *session, uint32_t sequence, uint32_t first, uint32_t n,
                                   uint32_t num_steps);
/* Replaces the sampler (and the seed) of all sequences, or of one. */
void session_set_sampler(struct session *session, const struct sampler_params *sampler, float init_scale);
void session_set_sequence_sampler(struct session *session, uint32_t sequence, const struct sampler_params *sampler,
                                  float init_scale);

#endif
