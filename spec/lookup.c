#include "spec/lookup.h"

#include <stdbool.h>
#include <stdlib.h>

enum { LENGTHS = 2 };
static const uint32_t lengths[LENGTHS] = {LOOKUP_LONGEST, LOOKUP_SHORTEST};

struct lookup {
    uint32_t *ids; /* [n_max] */
    uint32_t n, n_max;
    uint32_t *follows[LENGTHS]; /* [mask + 1] by hash of a run: the place behind its latest end; 0: none */
    uint32_t mask;
};

/* The text as it would be with a tail and what was found for it. */
struct view {
    const struct lookup *lookup;
    const uint32_t *tail, *found;
    uint32_t n_tail;
};

static uint32_t token_at(const struct view *v, uint32_t i)
{
    const uint32_t n = v->lookup->n;
    return i < n ? v->lookup->ids[i] : i - n < v->n_tail ? v->tail[i - n] : v->found[i - n - v->n_tail];
}

/* Of the `length` tokens in front of `end`. */
static uint32_t slot_of(const struct view *v, uint32_t end, uint32_t length)
{
    uint64_t hash = length;
    for (uint32_t i = end - length; i < end; i++)
        hash = (hash ^ token_at(v, i)) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(hash >> 32) & v->lookup->mask;
}

enum mn_status lookup_create(struct lookup **out, uint32_t n_max, const struct mn_log *log)
{
    struct lookup *l = calloc(1, sizeof *l);
    *out = l;
    if (!l)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for lookup");
    l->n_max = n_max;
    l->mask = 63;
    while (l->mask / 2 < n_max && l->mask < UINT32_MAX / 2) /* at most half full */
        l->mask = 2 * l->mask + 1;
    bool good = (l->ids = malloc((size_t)n_max * sizeof *l->ids)) != NULL;
    for (uint32_t i = 0; i < LENGTHS; i++)
        good &= (l->follows[i] = calloc((size_t)l->mask + 1, sizeof *l->follows[i])) != NULL;
    if (good)
        return MN_OK;
    lookup_destroy(l);
    *out = NULL;
    return log_fail(log, MN_ERR_MEMORY, "out of host memory for lookup in a text of %u tokens", n_max);
}

void lookup_destroy(struct lookup *l)
{
    if (!l)
        return;
    for (uint32_t i = 0; i < LENGTHS; i++)
        free(l->follows[i]);
    free(l->ids);
    free(l);
}

/* A run is known once something follows it, so that the last tokens do not find themselves. */
void lookup_push(struct lookup *l, uint32_t token)
{
    const struct view v = {.lookup = l};
    if (l->n == l->n_max)
        return;
    for (uint32_t i = 0; i < LENGTHS; i++)
        if (l->n >= lengths[i])
            l->follows[i][slot_of(&v, l->n, lengths[i])] = l->n;
    l->ids[l->n++] = token;
}

/* Tokens in front of `at` that are those in front of n, up to LOOKUP_LONGEST. */
static uint32_t common(const struct view *v, uint32_t n, uint32_t at)
{
    uint32_t i = 0;
    while (i < LOOKUP_LONGEST && i < at && token_at(v, at - 1 - i) == token_at(v, n - 1 - i))
        i++;
    return i;
}

/* Where the longest run of the last tokens of n ended before, and how long it is; 0: nowhere. Runs with one hash are
 * told apart, the later one replaces the earlier. */
static uint32_t occurrence(const struct view *v, uint32_t n, uint32_t *length)
{
    for (uint32_t i = 0; i < LENGTHS; i++) {
        const uint32_t at = n < lengths[i] ? 0 : v->lookup->follows[i][slot_of(v, n, lengths[i])];
        *length = at ? common(v, n, at) : 0;
        if (*length >= lengths[i])
            return at;
    }
    return 0;
}

uint32_t lookup_find(const struct lookup *l, const uint32_t *tail, uint32_t n_tail, uint32_t *found, uint32_t most)
{
    const struct view v = {l, tail, found, n_tail};
    const uint32_t n = l->n + n_tail;
    uint32_t length, at = occurrence(&v, n, &length);
    if (!at)
        return 0;
    if (length < LOOKUP_LONGEST && length < most)
        most = length;
    for (uint32_t i = 0; i < most; i++)
        found[i] = token_at(&v, at + i);
    return most;
}
