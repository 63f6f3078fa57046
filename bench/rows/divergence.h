/* How far a model's predictions lie from those of a reference behind the same tokens: Kullback-Leibler divergence,
 * agreement of the best token, error of the logits; and what is known of them from so many texts.
 *
 * Owns: the sums, in double, and the intervals. Never: runs a model. Thread-safety: stateless. */
#ifndef MUNINN_BENCH_ROWS_DIVERGENCE_H
#define MUNINN_BENCH_ROWS_DIVERGENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/status.h"

/* One position. */
struct divergence_point {
    double kl; /* nats: sum over ids of p (log p - log q), p the reference's and q the candidate's distribution;
                  below 0 by rounding is 0 */
    double logit_error;        /* largest |candidate - reference| of a logit */
    double reference_nll, nll; /* - log p and - log q of the text's own next token, nats */
    bool agrees;               /* both have the same best token, the lowest of equals */
};

/* Of logits [n_vocab] each; `id` is the text's next token. *finite: nothing of it is infinite or no number. */
struct divergence_point divergence_at(const float *reference, const float *candidate, uint32_t n_vocab, uint32_t id,
                                      bool *finite);

/* A mean over all positions, with its 95 % interval where there are at least two texts. */
struct divergence_mean {
    double value, low, high;
    bool bounded;
};

struct divergence {
    uint32_t n_texts, n_positions;
    /* kl: the interval takes texts as drawn independently, and positions of one text as not: the variance is that of a
     * ratio estimate, n / (n - 1) sum (K_i - mean N_i)^2 / N^2 over n texts with K_i nats on N_i positions.
     * agreement: Wilson's interval of a share, for N positions divided by how much larger that variance is than the one
     * of N independent positions, where it is larger. */
    struct divergence_mean kl, agreement;
    double kl_p99; /* the smallest value that at least 99 % of the positions do not exceed */
    double kl_max, logit_error_max, reference_nll, nll; /* the last two are means */
};

/* points [n_positions], text by text: those of text i end before ends[i]. n_texts and n_positions at least 1.
 * MN_ERR_MEMORY. */
enum mn_status divergence_sum(struct divergence *out, const struct divergence_point *points, const uint32_t *ends,
                              uint32_t n_texts, const struct mn_log *log);

#endif
