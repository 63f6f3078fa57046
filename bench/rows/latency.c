#include "bench/rows/latency.h"

#include <math.h>
#include <stdlib.h>

#include "bench/rows/sampling.h"

enum { FIRST_ROOM = 256, ROOM_MAX = 1 << 20 };

void latency_free(struct latency *latency)
{
    free(latency->firsts_s);
    free(latency->gaps_s);
    *latency = (struct latency){0};
}

void latency_clear(struct latency *latency)
{
    latency->n_firsts = latency->n_gaps = 0;
}

/* What finds no room is not among the figures: nothing fails for it. */
static void push(double **values, uint32_t *n, uint32_t *room, double value)
{
    if (*n == *room) {
        const uint32_t wanted = *room ? 2 * *room : FIRST_ROOM;
        double *more = wanted <= ROOM_MAX ? realloc(*values, wanted * sizeof **values) : NULL;
        if (!more)
            return;
        *values = more;
        *room = wanted;
    }
    (*values)[(*n)++] = value;
}

void delivery_begin(struct delivery *delivery, double now_s)
{
    *delivery = (struct delivery){.last_s = now_s};
}

void delivery_token(struct delivery *delivery, struct latency *latency, double now_s)
{
    const double seconds = now_s - delivery->last_s;
    if (delivery->n++ == 0)
        push(&latency->firsts_s, &latency->n_firsts, &latency->firsts_room, seconds);
    else
        push(&latency->gaps_s, &latency->n_gaps, &latency->gaps_room, seconds);
    delivery->last_s = now_s;
}

void latency_add(struct latency *to, const struct latency *from)
{
    for (uint32_t i = 0; i < from->n_firsts; i++)
        push(&to->firsts_s, &to->n_firsts, &to->firsts_room, from->firsts_s[i]);
    for (uint32_t i = 0; i < from->n_gaps; i++)
        push(&to->gaps_s, &to->n_gaps, &to->gaps_room, from->gaps_s[i]);
}

/* The smallest value that so large a share does not exceed; sorted [n], n >= 1. */
static double nearest_rank(const double *sorted, uint32_t n, double share)
{
    const double rank = ceil(share * n - 1e-9);
    return sorted[rank > 1.0 ? (uint32_t)rank - 1 : 0];
}

struct latency_summary latency_summarise(struct latency *latency)
{
    struct latency_summary s = {.has_first = latency->n_firsts > 0, .has_gaps = latency->n_gaps > 0};
    if (s.has_first)
        s.first_s = samples_median(latency->firsts_s, latency->n_firsts);
    if (s.has_gaps) {
        samples_median(latency->gaps_s, latency->n_gaps); /* sorts */
        s.p50_s = nearest_rank(latency->gaps_s, latency->n_gaps, 0.50);
        s.p95_s = nearest_rank(latency->gaps_s, latency->n_gaps, 0.95);
        s.p99_s = nearest_rank(latency->gaps_s, latency->n_gaps, 0.99);
    }
    return s;
}
