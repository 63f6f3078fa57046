#include "spec/pricing.h"

#include "spec/lookup.h"

double price_share(const struct pricing *p, const double *ns, uint32_t rows)
{
    return cost_at(p->costs, ns, rows + p->others) * rows / (rows + p->others);
}

double price_core(const struct pricing *p, uint32_t rows)
{
    return price_share(p, p->costs->core_ns, rows);
}

double price_head(const struct pricing *p, uint32_t rows)
{
    return price_share(p, p->costs->head_ns, rows);
}

double price_enter(const struct pricing *p)
{
    return p->costs->submit_ns / (1 + p->others) + price_share(p, p->costs->prelude_ns, 1);
}

/* ---- what lookup is worth ---- */

/* What a committed token leaves of the counts before it. */
static const double fading = 0.98;

/* What is found stands until it is used up or wrong; only then is there a next question, as in a wave that goes on. */
static void add_token(struct lookup_record *r, uint32_t token)
{
    r->found *= fading;
    r->right *= fading;
    if (r->at == r->n)
        return;
    if (r->tokens[r->at] == token) {
        r->right += 1.0;
        r->at++;
        return;
    }
    r->n = r->at = 0;
}

void lookup_record_add(struct lookup_record *r, const struct generation *g, const uint32_t *tokens, uint32_t n)
{
    if (!g->lookup)
        return;
    for (uint32_t i = 0; i < n; i++)
        add_token(r, tokens[i]);
    if (r->at < r->n)
        return;
    r->n = lookup_find(g->lookup, NULL, 0, r->tokens, g->params->speculation.lookup);
    r->at = 0;
    r->found += r->n;
}

/* One trial that was right, and one that was not, before anything is known. */
static double right_share(const struct lookup_record *r)
{
    return (r->right + 1.0) / (r->found + 2.0);
}

/* What one more row adds to a pass of so many, over the next few. */
static double slope(const struct pricing *p, const double *ns, uint32_t rows)
{
    const uint32_t more = 4;
    return (price_share(p, ns, rows + more) - price_share(p, ns, rows)) / more;
}

bool lookup_pays_in_wave(const struct lookup_record *r, const struct pricing *p, uint32_t num_steps,
                         uint32_t draft_steps, uint32_t rows)
{
    const double right = right_share(r), core = slope(p, p->costs->core_ns, rows),
                 head = slope(p, p->costs->head_ns, rows), row = draft_steps * core + head,
                 tick = price_enter(p) + draft_steps * price_core(p, rows) + price_head(p, rows);
    return right * (tick - row * num_steps / draft_steps) > (1.0 - right) * row;
}

bool lookup_pays_in_round(const struct lookup_record *r, const struct pricing *p, uint32_t draft_steps)
{
    const double right = right_share(r),
                 row = draft_steps * slope(p, p->costs->core_ns, 1) + slope(p, p->costs->head_ns, 1),
                 draft = price_enter(p) + draft_steps * price_core(p, 1) + price_head(p, 1);
    return right * (draft - row) > (1.0 - right) * row;
}
