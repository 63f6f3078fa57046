/* When a draft is right: by comparison, or, where the share of right ones is given, by a model of agreement.
 *
 * The model (docs/contract.md, 4): what is given are shares a(d), how often the prediction at depth d is the one at
 * depth R. One number u per (seed, prompt, position) stands for how hard the token there is: its prediction is right at
 * the depths with a(d) > u. Since a(d) never falls, that is from some depth D on. A wrong prediction stays the same
 * wrong one up to D, which is simpler than text. */
#include <math.h>

#include "engine/base/hash.h"
#include "spec/strategy.h"

/* ---- what is given ---- */

struct anchor {
    uint32_t depth;
    double share;
};

static double between(struct anchor a, struct anchor b, uint32_t depth)
{
    return depth >= b.depth ? b.share : a.share + (b.share - a.share) * (depth - a.depth) / (b.depth - a.depth);
}

/* The last place of a depth stands for those behind it. *i goes to the next depth. */
static struct anchor anchor_at(const struct mn_measuring_params *p, uint32_t place, uint32_t *i)
{
    struct anchor anchor = {p->forced_at[*i].depth, 0.0};
    for (; *i < p->n_forced_at && p->forced_at[*i].depth == anchor.depth; (*i)++)
        if (p->forced_at[*i].place <= place)
            anchor.share = (double)p->forced_at[*i].share;
    return anchor;
}

static double share_by_depth(const struct mn_measuring_params *p, uint32_t num_steps, uint32_t place, uint32_t depth)
{
    struct anchor below = {0, 0.0};
    for (uint32_t i = 0; i < p->n_forced_at;) {
        const struct anchor at = anchor_at(p, place, &i);
        if (at.depth >= depth)
            return between(below, at, depth);
        below = at;
    }
    return between(below, (struct anchor){num_steps, 1.0}, depth);
}

double accept_share(const struct mn_measuring_params *p, uint32_t num_steps, uint32_t draft_steps, uint32_t place,
                    uint32_t depth)
{
    if (depth >= num_steps)
        return 1.0;
    if (p->n_forced_at)
        return share_by_depth(p, num_steps, place, depth);
    /* Drafts of fewer steps (early exits, a tick cut short by its oldest row) are as good as those of draft_steps. */
    const uint32_t last = p->n_forced_acceptance - 1;
    const struct anchor at = {draft_steps, (double)p->forced_acceptance[place < last ? place : last]};
    return at.depth >= depth ? at.share : between(at, (struct anchor){num_steps, 1.0}, depth);
}

bool accept_is_forced(const struct mn_measuring_params *p)
{
    return p->n_forced_acceptance > 0 || p->n_forced_at > 0;
}

/* ---- what comes of it ---- */

/* How hard the token at `position` is: above 0, below 1. Prompts differ, so that those of a batch do not fail
 * together. */
static double hardness(const struct generation *g, uint32_t position)
{
    const uint64_t seed = g->params->sampler.seed, prompt = g->prompt_hash;
    const uint32_t counter[4] = {position, (uint32_t)prompt, (uint32_t)(prompt >> 32), NOISE_ACCEPT},
                   key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t bits[4];
    philox(counter, key, bits);
    return (double)unit_from_bits(bits[0]);
}

static bool is_right(const struct generation *g, uint32_t i, uint32_t place, uint32_t depth)
{
    return hardness(g, g->rows[i].position + 1) <
           accept_share(&g->params->measuring, g->num_steps, g->draft_steps, place, depth);
}

bool generation_agrees(const struct generation *g, uint32_t i, uint32_t place, uint32_t entered)
{
    if (!accept_is_forced(&g->params->measuring))
        return g->predicted[i] == g->rows[i + 1].token;
    return is_right(g, i, place, entered) == is_right(g, i, place, g->rows[i].depth);
}

uint32_t generation_says(const struct generation *g, uint32_t i, uint32_t place)
{
    return accept_is_forced(&g->params->measuring) ? is_right(g, i, place, g->rows[i].depth) : g->predicted[i];
}

uint64_t accept_prompt_hash(const struct mn_generate_params *p)
{
    return hash_bytes(HASH_START, p->prompt, (size_t)p->n_prompt * sizeof *p->prompt);
}

bool accept_threshold(const float *logits, uint32_t n, uint32_t draft, float threshold)
{
    /* p(draft) / max p is the exponential of the difference of the logits: no softmax needed. */
    return exp((double)logits[draft] - (double)logits[sampler_argmax(logits, n)]) >= (double)threshold;
}
