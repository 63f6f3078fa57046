/* What a generation may be asked for. Everything a user can get wrong is refused here and in the checks of the
 * strategies, before anything runs. */
#include <stdio.h>

#include "engine/model/family.h"
#include "spec/generation.h"

static enum mn_status check_lengths(const struct session *s, const struct mn_generate_params *p,
                                    const struct mn_log *log)
{
    if (!p->prompt || p->n_prompt < 1)
        return log_fail(log, MN_ERR_USAGE, "the prompt is empty: at least one token is needed");
    if (p->n_new < 1)
        return log_fail(log, MN_ERR_USAGE, "n_new %u: at least one new token", p->n_new);
    if (p->n_prompt > session_info(s)->n_ctx)
        return log_fail(log, MN_ERR_USAGE, "a prompt of %u tokens does not fit into the context of %u (n_ctx)",
                        p->n_prompt, session_info(s)->n_ctx);
    if ((uint64_t)p->n_prompt + p->n_new - 1 > session_info(s)->n_ctx)
        return log_fail(
            log, MN_ERR_USAGE,
            "a prompt of %u tokens and %u new ones do not fit into the context of %u (n_ctx); n_new %u would fit",
            p->n_prompt, p->n_new, session_info(s)->n_ctx, session_info(s)->n_ctx + 1 - p->n_prompt);
    if (p->n_stop_ids && !p->stop_ids)
        return log_fail(log, MN_ERR_USAGE, "stop_ids: %u ids, but none are given", p->n_stop_ids);
    enum mn_status status = session_check_ids(s, p->stop_ids, p->n_stop_ids, log);
    return status ? status : session_check_ids(s, p->prompt, p->n_prompt, log);
}

bool is_share(float x)
{
    return x >= 0.0f && x <= 1.0f;
}

/* What would change a run's meaning must not be ignored in silence where the strategy knows nothing of it. */
static enum mn_status check_used(const struct generation *g)
{
    const struct mn_generate_params *p = g->params;
    const struct {
        uint32_t use;
        bool given;
        const char *name, *value, *what;
    } settings[] = {{MN_USES_EXIT, p->exit.rule != NULL, "exit.rule ", p->exit.rule, "early exit"},
                    {MN_USES_CONTINUOUS, p->continuous, "continuous", "", "warm start"},
                    {MN_USES_VERIFICATION_THRESHOLD, p->speculation.verification_threshold != 0.0f,
                     "verification_threshold", "", "threshold acceptance"},
                    {MN_USES_LOOKUP, p->speculation.lookup != 0, "lookup", "", "tokens to look up"},
                    {MN_USES_BRANCHES, p->speculation.branches > 1, "branches", "", "branches to keep"},
                    {MN_USES_FORCED_ACCEPTANCE, accept_is_forced(&p->measuring),
                     p->measuring.n_forced_at ? "forced_at" : "forced_acceptance", "", "drafts to accept"}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (settings[i].given && !(g->strategy->about.uses & settings[i].use))
            return log_fail(g->log, MN_ERR_USAGE, "%s%s: strategy %s has no %s", settings[i].name, settings[i].value,
                            g->strategy->about.name, settings[i].what);
    return MN_OK;
}

/* What needs several depths, of a model that has one. */
static enum mn_status check_depths(const struct generation *g)
{
    const struct mn_generate_params *p = g->params;
    const struct family *family = session_info(g->session)->config->family;
    const bool drafts = g->strategy->about.uses & (MN_USES_DRAFT_STEPS | MN_USES_COSTS);
    if (!family->fixed_depth || (!drafts && !p->exit.rule))
        return MN_OK;
    return log_fail(g->log, MN_ERR_USAGE, "%s%s: %s models have one depth, %s", drafts ? "strategy " : "exit.rule ",
                    drafts ? g->strategy->about.name : p->exit.rule, family->name,
                    drafts ? "there is nothing to draft with" : "there is nothing to leave out");
}

/* Where the embedding does not enter every step, the state that a row begins with is its token: no other will do.
 * `needs` is what asks for one, or NULL. */
static enum mn_status check_family(const struct generation *g, const char *needs)
{
    const struct family *family = session_info(g->session)->config->family;
    if (!needs || family->injects)
        return MN_OK;
    return log_fail(g->log, MN_ERR_USAGE, "%s: %s models take their initial state from the token", needs, family->name);
}

/* Ascending depths, at each the places from 0 on. */
static enum mn_status check_order(const struct mn_measuring_params *p, uint32_t num_steps, const struct mn_log *log)
{
    for (uint32_t i = 0; i < p->n_forced_at; i++) {
        const struct mn_acceptance_at *at = &p->forced_at[i], *before = i ? at - 1 : NULL;
        const bool same = before && at->depth == before->depth;
        if (!is_share(at->share))
            return log_fail(log, MN_ERR_USAGE, "forced_at %u: a share of %g: must be from 0 to 1", at->depth,
                            (double)at->share);
        if (at->depth < 1 || at->depth > num_steps)
            return log_fail(log, MN_ERR_USAGE, "forced_at %u: depths must be from 1 to num_steps %u", at->depth,
                            num_steps);
        if (at->depth == num_steps && at->share < 1.0f)
            return log_fail(log, MN_ERR_USAGE, "forced_at %u: a share of %g: at num_steps it is 1", at->depth,
                            (double)at->share);
        if (before && at->depth < before->depth)
            return log_fail(log, MN_ERR_USAGE, "forced_at %u: stands behind depth %u", at->depth, before->depth);
        if (at->place != (same ? before->place + 1 : 0) || at->place >= MN_MAX_LOOKAHEAD)
            return log_fail(log, MN_ERR_USAGE, "forced_at %u: place %u: must be the next one, from 0 to %d", at->depth,
                            at->place, MN_MAX_LOOKAHEAD - 1);
    }
    return MN_OK;
}

/* What was right stays right: a deeper prediction is right at least as often. `at` is in order. */
static enum mn_status check_rise(const struct mn_measuring_params *p, uint32_t num_steps, const struct mn_log *log)
{
    uint32_t n_places = 1;
    for (uint32_t i = 0; i < p->n_forced_at; i++)
        n_places = p->forced_at[i].place + 1 > n_places ? p->forced_at[i].place + 1 : n_places;
    for (uint32_t place = 0; place < n_places; place++)
        for (uint32_t i = 1; i < p->n_forced_at; i++) {
            const uint32_t lesser = p->forced_at[i - 1].depth, depth = p->forced_at[i].depth;
            const double before = accept_share(p, num_steps, 0, place, lesser),
                         share = accept_share(p, num_steps, 0, place, depth);
            if (share < before)
                return log_fail(
                    log, MN_ERR_USAGE,
                    "forced_at %u: a share of %g in place %u, below the %g of depth %u: shares must not fall", depth,
                    share, place, before, lesser);
        }
    return MN_OK;
}

enum mn_status check_forced(const struct generation *g)
{
    const struct mn_measuring_params *p = &g->params->measuring;
    if (p->n_forced_acceptance && !p->forced_acceptance)
        return log_fail(g->log, MN_ERR_USAGE, "forced_acceptance: %u probabilities, but none are given",
                        p->n_forced_acceptance);
    if (p->n_forced_at && !p->forced_at)
        return log_fail(g->log, MN_ERR_USAGE, "forced_at: %u shares, but none are given", p->n_forced_at);
    if (p->n_forced_at && p->n_forced_acceptance)
        return log_fail(g->log, MN_ERR_USAGE, "forced_at: not with forced_acceptance");
    for (uint32_t i = 0; i < p->n_forced_acceptance; i++)
        if (!is_share(p->forced_acceptance[i]))
            return log_fail(g->log, MN_ERR_USAGE, "forced_acceptance of %g: must be from 0 to 1",
                            (double)p->forced_acceptance[i]);
    enum mn_status status = check_order(p, g->num_steps, g->log);
    return status ? status : check_rise(p, g->num_steps, g->log);
}

enum mn_status check_drafts(const struct generation *g)
{
    if (g->num_steps < 2)
        return log_fail(g->log, MN_ERR_USAGE, "num_steps %u: %s needs at least 2, to draft with fewer", g->num_steps,
                        g->strategy->about.name);
    if (g->draft_steps < 1 || g->draft_steps >= g->num_steps)
        return log_fail(g->log, MN_ERR_USAGE, "draft_steps %u: must be from 1 to %u, below num_steps %u",
                        g->draft_steps, g->num_steps - 1, g->num_steps);
    return check_forced(g);
}

enum mn_status check_max_inflight(const struct generation *g)
{
    return g->max_inflight <= session_info(g->session)->max_rows
               ? MN_OK
               : log_fail(g->log, MN_ERR_USAGE, "max_inflight %u: the session has at most %u rows per pass",
                          g->max_inflight, session_info(g->session)->max_rows);
}

enum mn_status check_lookup(const struct generation *g)
{
    const struct mn_generate_params *p = g->params;
    if (p->speculation.lookup > MN_MAX_LOOKUP)
        return log_fail(g->log, MN_ERR_USAGE, "lookup %u: must be from 0 to %d", p->speculation.lookup, MN_MAX_LOOKUP);
    if (p->speculation.lookup && accept_is_forced(&p->measuring))
        return log_fail(g->log, MN_ERR_USAGE, "lookup: not with %s, whose tokens mean nothing",
                        p->measuring.n_forced_at ? "forced_at" : "forced_acceptance");
    if (p->speculation.lookup && p->exit.rule)
        return log_fail(g->log, MN_ERR_USAGE, "lookup: not with exit.rule %s, under which drafts enter one by one",
                        p->exit.rule);
    return MN_OK;
}

enum mn_status check_branches(const struct generation *g)
{
    const struct mn_generate_params *p = g->params;
    if (p->speculation.branches > MN_MAX_BRANCHES)
        return log_fail(g->log, MN_ERR_USAGE, "branches %u: must be from 0 to %d", p->speculation.branches,
                        MN_MAX_BRANCHES);
    if (p->speculation.branches < 2)
        return MN_OK;
    if (session_info(g->session)->n_branch == 0)
        return log_fail(g->log, MN_ERR_USAGE, "branches %u: the session has no branch_positions",
                        p->speculation.branches);
    if (p->speculation.lookup)
        return log_fail(g->log, MN_ERR_USAGE, "branches %u: not with lookup", p->speculation.branches);
    if (accept_is_forced(&p->measuring))
        return log_fail(g->log, MN_ERR_USAGE, "branches %u: not with %s, whose tokens mean nothing",
                        p->speculation.branches, p->measuring.n_forced_at ? "forced_at" : "forced_acceptance");
    return MN_OK;
}

static enum mn_status refuse_strategy(const struct generation *g)
{
    char names[256] = "";
    size_t n = 0;
    for (uint32_t i = 0; mn_strategy_at(i) && n < sizeof names; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", mn_strategy_at(i)->name);
    return log_fail(g->log, MN_ERR_USAGE, "strategy %s: must be one of %s", g->params->strategy, names);
}

enum mn_status generation_check_settings(const struct generation *g)
{
    const struct mn_generate_params *p = g->params;
    if (!g->strategy)
        return refuse_strategy(g);
    if (!(p->init_scale >= 0.0f && p->init_scale <= 1000.0f))
        return log_fail(g->log, MN_ERR_USAGE, "init_scale %g: must be from 0 to 1000", (double)p->init_scale);
    struct sampler_params sampler = {p->sampler.temperature, p->sampler.top_k,
                                     p->sampler.top_p == 0.0f ? 1.0f : p->sampler.top_p, p->sampler.min_p,
                                     p->sampler.seed};
    enum mn_status status = sampler_check(&sampler, g->log);
    if (!status)
        status = check_used(g);
    if (!status)
        status = check_depths(g);
    return status ? status
                  : check_family(g, g->strategy->injection  ? g->strategy->about.name
                                    : p->continuous         ? "continuous"
                                    : p->init_scale != 0.0f ? "init_scale"
                                                            : NULL);
}

enum mn_status generation_check(const struct generation *g)
{
    enum mn_status status = generation_check_settings(g);
    if (!status)
        status = check_lengths(g->session, g->params, g->log);
    if (status)
        return status;
    if (g->num_steps > session_info(g->session)->num_steps)
        return log_fail(g->log, MN_ERR_USAGE, "num_steps %u: the session has at most %u", g->num_steps,
                        session_info(g->session)->num_steps);
    status = check_family(g, g->params->state0 ? "state0" : NULL);
    return status || !g->strategy->check ? status : g->strategy->check(g);
}
