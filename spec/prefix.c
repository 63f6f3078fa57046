#include "spec/prefix.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST_COPIED = 16 }; /* positions: fewer are read as fast */

struct place {
    bool taken;
    uint32_t *ids; /* [n] positions that are there, owned, room for n_ctx; NULL where nothing is kept */
    uint32_t n, num_steps;
    float init_scale;
    uint64_t seed; /* of the initial states; 0 where they are zero */
    uint64_t used; /* when it was left */
};

struct prefix_store {
    const struct session_info *info;
    bool keeps;
    uint64_t now;
    uint32_t n_places;
    struct place places[];
};

enum mn_status prefix_store_create(struct prefix_store **out, const struct session_info *info, bool keeps)
{
    struct prefix_store *store = calloc(1, sizeof *store + info->n_sequences * sizeof store->places[0]);
    *out = store;
    if (!store)
        return log_fail(info->log, MN_ERR_MEMORY, "out of host memory for a scheduler");
    store->info = info;
    store->keeps = keeps && info->kv_policy.share == 0;
    store->n_places = info->n_sequences;
    for (uint32_t i = 0; store->keeps && i < store->n_places; i++) {
        store->places[i].ids = malloc(info->n_ctx * sizeof *store->places[i].ids);
        if (!store->places[i].ids)
            return log_fail(info->log, MN_ERR_MEMORY, "out of host memory for the prompts of %u sequences",
                            store->n_places);
    }
    return MN_OK;
}

void prefix_store_destroy(struct prefix_store *store)
{
    for (uint32_t i = 0; store && i < store->n_places; i++)
        free(store->places[i].ids);
    free(store);
}

/* Whose prompt does not run as prompts do cannot go on from one, nor leave one behind. */
static bool is_usual(const struct prefix_store *store, const struct generation *g)
{
    return store->keeps && !g->params->state0 && !(g->strategy->prompt && g->params->exit.rule);
}

static uint64_t seed_of(const struct generation *g)
{
    return g->params->init_scale != 0.0f ? g->params->sampler.seed : 0;
}

/* Positions of the prompt that are in a place. The last one always runs: its logits are the first token's. */
static uint32_t common(const struct prefix_store *store, const struct place *place, const struct generation *g)
{
    const bool deep_enough = place->num_steps == g->num_steps ||
                             (place->num_steps > g->num_steps && store->info->config->n_coda == 0);
    const uint32_t *prompt = g->params->prompt, most = g->params->n_prompt - 1;
    uint32_t n = 0;
    if (!is_usual(store, g) || !deep_enough || place->init_scale != g->params->init_scale || place->seed != seed_of(g))
        return 0;
    while (n < most && n < place->n && place->ids[n] == prompt[n])
        n++;
    return n;
}

/* One that the prompt goes on from without a loss; else an empty one; else the one that was left first. */
static uint32_t choose(const struct prefix_store *store, const struct generation *g)
{
    uint32_t oldest = UINT32_MAX, whole = UINT32_MAX, whole_n = 0;
    for (uint32_t i = 0; i < store->n_places; i++) {
        const struct place *place = &store->places[i];
        if (place->taken)
            continue;
        const uint32_t n = common(store, place, g);
        if (n + 1 >= place->n && n > whole_n) { /* the same prompt again computes its last position again */
            whole = i;
            whole_n = n;
        }
        const struct place *other = oldest == UINT32_MAX ? NULL : &store->places[oldest];
        if (!other || (place->n == 0 && other->n > 0) ||
            ((place->n == 0) == (other->n == 0) && place->used < other->used))
            oldest = i;
    }
    return whole_n ? whole : oldest;
}

void prefix_enter(struct prefix_store *store, const struct generation *g, uint32_t *place, uint32_t *skip)
{
    *place = choose(store, g);
    struct place *p = &store->places[*place];
    const bool measures = g->strategy->about.uses & MN_USES_COSTS && g->costs->n == 0; /* that writes there */
    *skip = measures ? 0 : common(store, p, g);
    p->taken = true;
    p->n = *skip;
    p->num_steps = g->num_steps;
    p->init_scale = g->params->init_scale;
    p->seed = seed_of(g);
}

bool prefix_find(const struct prefix_store *store, const struct generation *g, uint32_t *from, uint32_t *n)
{
    bool found = false;
    *n = g->prompt.at;
    for (uint32_t i = 0; i < store->n_places; i++) {
        const uint32_t here = i == g->sequence ? 0 : common(store, &store->places[i], g);
        if (here >= *n + (found ? 1 : LEAST_COPIED)) {
            found = true;
            *from = i;
            *n = here;
        }
    }
    return found;
}

void prefix_read(struct prefix_store *store, const struct generation *g)
{
    struct place *p = &store->places[g->sequence];
    if (!is_usual(store, g))
        return;
    if (g->prompt.at > p->n)
        memcpy(p->ids + p->n, g->params->prompt + p->n, (g->prompt.at - p->n) * sizeof *p->ids);
    p->n = g->prompt.at;
}

void prefix_leave(struct prefix_store *store, const struct generation *g, bool keep)
{
    struct place *p = &store->places[g->sequence];
    p->taken = false;
    p->used = ++store->now;
    p->n = keep ? p->n : 0;
}

void prefix_forget(struct prefix_store *store)
{
    for (uint32_t i = 0; i < store->n_places; i++)
        store->places[i].n = 0;
}

uint32_t prefix_store_kept(const struct prefix_store *store)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < store->n_places; i++)
        n += !store->places[i].taken && store->places[i].n > 0;
    return n;
}
