/* The model as plain loops in double: what every kernel is compared with, and a whole forward pass on the host.
 *
 * Each function is one formula on one row of activations, without padding, owed norms, splits of a sum or any other
 * device trick, so that it can be read against the papers (arXiv 2502.05171, 2511.07384, 2510.25741) and cannot share a
 * mistake with a shader. ref_forward is made of the same functions and reproduces the golden logits of every family;
 * that is the evidence that they are right.
 *
 * Owns: a reference model's weights and a reference session's cache, on the heap. Never: touches the device; cares
 * about speed or memory (weights are doubles: small checkpoints only).
 * Thread-safety: a loaded ref_model is read-only; everything else belongs to one thread.
 */
#ifndef MUNINN_REFERENCE_REF_H
#define MUNINN_REFERENCE_REF_H

#include "cache/cache.h"
#include "engine/model/session.h"
#include "engine/model/weights.h"

/* ---- one row at a time; all vectors are doubles, `y` and `x` may be the same array where noted ---- */

/* y = W x. W [n_out, n_in] row-major. */
void ref_matmul(const double *w, uint32_t n_out, uint32_t n_in, const double *x, double *y);

/* RMSNorm: y = x / sqrt(mean x^2 + eps) * w. In place if y == x. */
void ref_norm(const double *x, const double *w, uint32_t n, double eps, double *y);

/* x = wte[token] * scale. wte_row [n]. */
void ref_embed(const double *wte_row, double scale, uint32_t n, double *x);

/* Initial latent state: std * (standard normal cut at 3), keyed by (seed, position). s [n]. */
void ref_initial_state(uint64_t seed, uint32_t position, double std, uint32_t n, double *s);

/* Which pairs turn how fast. */
struct ref_rope {
    float base;
    bool halves;                 /* pairs are (i, i + head_dim / 2), not (2i, 2i + 1) */
    struct rope_scaling scaling; /* Llama 3's; factor 0: none */
};

/* Turns pair i of each head by position * base^(-2i/head_dim), in place. v [n_heads, head_dim]. */
void ref_rotary(double *v, uint32_t n_heads, uint32_t head_dim, uint32_t position, const struct ref_rope *rope);

/* Head i of the queries has key and value head i / (n / n_kv). */
struct ref_heads {
    uint32_t n, n_kv, dim;
    const double *q_norm, *k_norm; /* over all heads together, [n dim] and [n_kv dim]; NULL: none */
    double eps;                    /* theirs */
    struct ref_rope rope;
};

/* What attention takes: the norms over all heads, rotary on q and k, q times 1/sqrt(dim), in place. */
void ref_query_key(const struct ref_heads *heads, uint32_t position, double *q, double *k);

/* [q; k; v] = W x, plus bias on q and k (NULL: none), and then ref_query_key.
 * w [(n + 2 n_kv) dim, n_in], bias [(n + n_kv) dim], x [n_in] normalised; q [n dim]; k, v [n_kv dim]. */
void ref_qkv(const double *w, const double *bias, const double *x, uint32_t n_in, const struct ref_heads *heads,
             uint32_t position, double *q, double *k, double *v);

/* h = silu(g) * u with [g; u] = W x. w [2F, d], gate rows first; h [F]; scratch [2F]. */
void ref_gate(const double *w, uint32_t n_ff, uint32_t n_in, const double *x, double *scratch, double *h);

/* A block's keys and values, [sequence, depth slot, head, key or value, position, head_pad]. */
struct ref_kv {
    double *values;
    const uint32_t *depths; /* [sequence, position]: steps each position has; read by core blocks only */
    uint32_t n_ctx, n_slots, n_heads, head_pad; /* heads of keys and values */
    bool core;
    uint32_t n_branch; /* of the n_ctx cells of a sequence */
};

/* One head's entry: head_pad values. `part` is 0 for the key, 1 for the value. */
double *ref_kv_entry(const struct ref_kv *kv, uint32_t sequence, uint32_t position, uint32_t slot, uint32_t part,
                     uint32_t head);

/* ---- a q8 cache (cache/cache.h) ---- */

/* One head's entry of n values: its words [kv_q8_pad(n) / 4], and its halves of the scales [kv_q8_groups(n)], which the
 * other part's entry shares. `part` is 0 for the key, 1 for the value. */
void ref_q8_write(const double *values, uint32_t n, uint32_t part, uint32_t *words, uint32_t *scales);
void ref_q8_read(const uint32_t *words, const uint32_t *scales, uint32_t part, uint32_t n, double *values);
/* Both in place: what a q8 cache makes of an entry. */
void ref_q8_round(double *values, uint32_t n);

/* Where the entry lies that ref_kv_entry gives: 32-bit words from the beginning of the cache. */
struct ref_q8_place {
    size_t words, scales;
};
struct ref_q8_place ref_q8_place(const struct ref_kv *kv, uint32_t sequence, uint32_t position, uint32_t slot,
                                 uint32_t part, uint32_t head);
size_t ref_q8_words(const struct ref_kv *kv, uint32_t n_sequences); /* of all of it */

/* Softmax attention of a row, with a key and value head, over positions begin .. end-1, not yet divided: o = sum_j
 * e^(s_j - max) v_j, sum = sum_j e^(s_j - max), s_j = q . k_j, where position j is read at the depth slot that the row
 * may see (kv_slot). q [head_pad] scaled, o [head_pad]. */
void ref_attention(const struct ref_kv *kv, const struct row *row, uint32_t head, const double *q, uint32_t begin,
                   uint32_t end, double *o, double *max, double *sum);

/* The partial results of n ranges of positions as one: y = sum_s e^(max_s - M) o_s / sum_s e^(max_s - M) sum_s.
 * o: range s at o + s * stride; max and sum likewise at s * stat_stride. y [n_values]. */
void ref_merge(const double *o, uint32_t stride, const double *max, const double *sum, uint32_t stat_stride, uint32_t n,
               uint32_t n_values, double *y);

/* Lowest id among the largest values; NaN loses against everything. */
uint32_t ref_argmax(const float *values, uint32_t n);

/* ---- a checkpoint ---- */

struct ref_model;

/* Reads a checkpoint folder. Matrices are rounded to the scheme `weight_type` (engine/model/weight_scheme.h; NULL: as
 * stored) as the loader does it; norms and biases stay as stored. */
enum mn_status ref_model_load(struct ref_model **out, const char *dir, const char *weight_type,
                              const struct mn_log *log);
void ref_model_free(struct ref_model *model);
const struct model_config *ref_model_config(const struct ref_model *model);

/* One sequence with its cache. */
struct ref_session;

struct ref_session_params {
    uint32_t n_ctx, num_steps; /* most positions and core steps */
    struct kv_policy policy;
    enum kv_type kv_type; /* what cache entries are rounded to */
};

enum mn_status ref_session_create(struct ref_session **out, const struct ref_model *model,
                                  const struct ref_session_params *params, const struct mn_log *log);
void ref_session_destroy(struct ref_session *session);

/* Takes n tokens at positions first .. first+n-1 through `num_steps` core steps, coda and head: n > 1 is a prefill, n =
 * 1 a decoding step. Rows of one call read each other's cache entries of the same step. state0 [n, d] or NULL for zero
 * (a family without an injection begins with the embedding); logits [n, V]. */
enum mn_status ref_forward(struct ref_session *session, const uint32_t *ids, uint32_t n, uint32_t first,
                           uint32_t num_steps, const double *state0, double *logits, const struct mn_log *log);

/* sum (x - y)^2 / sum y^2, y being the reference; infinite if x has a value that is not finite. */
double ref_nmse(const float *x, const double *y, size_t n);

#endif
