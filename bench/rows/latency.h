/* When tokens were delivered: the time to the first one, and the times between them.
 *
 * A token is delivered when it is handed to the caller (on_token). The time to the first token is counted from where
 * its sequence was handed over. The inter-token time of every further one is counted from the one before it in its
 * sequence: tokens that a round commits together come together, so all but the first of them take next to nothing, and
 * the first one takes the whole round. Percentiles are nearest-rank. Thread-safety: none. */
#ifndef MUNINN_BENCH_ROWS_LATENCY_H
#define MUNINN_BENCH_ROWS_LATENCY_H

#include <stdbool.h>
#include <stdint.h>

/* Of so many sequences' first tokens and further ones as there is memory for, up to a million. Zeroed is empty. */
struct latency {
    double *firsts_s, *gaps_s; /* [n_firsts], [n_gaps], owned */
    uint32_t n_firsts, n_gaps, firsts_room, gaps_room;
};

/* One sequence on its way; its figures go into a pool, which several may share. */
struct delivery {
    double last_s; /* of the token before, or where the sequence was handed over */
    uint32_t n;
};

void latency_free(struct latency *latency);
void latency_clear(struct latency *latency);
void delivery_begin(struct delivery *delivery, double now_s);
void delivery_token(struct delivery *delivery, struct latency *latency, double now_s);
void latency_add(struct latency *to, const struct latency *from);

struct latency_summary {
    bool has_first, has_gaps;
    double first_s;             /* median over sequences */
    double p50_s, p95_s, p99_s; /* of the inter-token times of all sequences */
};
/* Sorts what there is. */
struct latency_summary latency_summarise(struct latency *latency);

#endif
