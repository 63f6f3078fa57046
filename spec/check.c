/* What a generation may be asked for. Everything a user can get wrong is refused here, before anything runs. */
#include "spec/generation.h"

static enum mn_status check_lengths(const struct session *s, const struct mn_generate_params *p,
                                    const struct mn_log *log)
{
    if (!p->prompt || p->n_prompt < 1)
        return log_fail(log, MN_ERR_USAGE, "the prompt is empty: at least one token is needed");
    if (p->n_new < 1)
        return log_fail(log, MN_ERR_USAGE, "-n %u: at least one new token", p->n_new);
    if (p->n_prompt > session_info(s)->n_ctx)
        return log_fail(log, MN_ERR_USAGE, "a prompt of %u tokens does not fit into the context of %u (--ctx)",
                        p->n_prompt, session_info(s)->n_ctx);
    if ((uint64_t)p->n_prompt + p->n_new - 1 > session_info(s)->n_ctx)
        return log_fail(
            log, MN_ERR_USAGE,
            "a prompt of %u tokens and %u new ones do not fit into the context of %u (--ctx); -n %u would fit",
            p->n_prompt, p->n_new, session_info(s)->n_ctx, session_info(s)->n_ctx + 1 - p->n_prompt);
    return session_check_ids(s, p->prompt, p->n_prompt);
}

static bool is_share(float x)
{
    return x >= 0.0f && x <= 1.0f;
}

static enum mn_status check_lossy(const struct generation *g)
{
    const struct mn_generate_params *p = g->params;
    const struct strategy *strategy = g->strategy;
    if (p->exit.rule && !strategy->exits)
        return log_fail(g->log, MN_ERR_USAGE, "--exit %s: strategy %s has no early exit", p->exit.rule, strategy->name);
    if (p->continuous && strategy != &strategy_ar)
        return log_fail(g->log, MN_ERR_USAGE, "--continuous: only with --strategy ar, not %s", strategy->name);
    if (!is_share(p->speculation.verification_threshold))
        return log_fail(g->log, MN_ERR_USAGE, "--verification-threshold %g: must be above 0 and at most 1",
                        (double)p->speculation.verification_threshold);
    if (p->speculation.verification_threshold > 0.0f && strategy != &strategy_draft_verify)
        return log_fail(g->log, MN_ERR_USAGE, "--verification-threshold: only with --strategy draft-verify, not %s",
                        strategy->name);
    if (p->measuring.n_forced_acceptance && (!p->measuring.forced_acceptance || (!strategy->drafts && !strategy->wave)))
        return log_fail(g->log, MN_ERR_USAGE, "forced acceptance: only with draft-verify and wavefront, not %s",
                        strategy->name);
    for (uint32_t i = 0; i < p->measuring.n_forced_acceptance; i++)
        if (!is_share(p->measuring.forced_acceptance[i]))
            return log_fail(g->log, MN_ERR_USAGE, "forced acceptance of %g: must be from 0 to 1",
                            (double)p->measuring.forced_acceptance[i]);
    return MN_OK;
}

static enum mn_status check_diffusion(const struct generation *g)
{
    const struct session *s = g->session;
    const struct mn_generate_params *p = g->params;
    if (session_info(s)->kv_policy.share != 1)
        return log_fail(g->log, MN_ERR_USAGE, "--strategy diffusion: needs --kv-policy share:1");
    if (p->speculation.draft_steps < 1 || p->speculation.draft_steps > g->num_steps)
        return log_fail(g->log, MN_ERR_USAGE, "--draft-steps %u: must be from 1 to %u with diffusion",
                        p->speculation.draft_steps, g->num_steps);
    if (p->diffusion.headway > session_info(s)->max_rows)
        return log_fail(g->log, MN_ERR_USAGE, "--headway %u: the session has at most %u rows per pass",
                        p->diffusion.headway, session_info(s)->max_rows);
    if (!(p->diffusion.freeze_threshold >= 0.0f && p->diffusion.freeze_threshold <= 1e6f))
        return log_fail(g->log, MN_ERR_USAGE, "--freeze-threshold %g: must be a number above 0",
                        (double)p->diffusion.freeze_threshold);
    if (!is_share(p->diffusion.state_noise))
        return log_fail(g->log, MN_ERR_USAGE, "--state-noise %g: must be from 0 to 1",
                        (double)p->diffusion.state_noise);
    if (!(p->diffusion.embed_average >= 0.0f && p->diffusion.embed_average < 1.0f))
        return log_fail(g->log, MN_ERR_USAGE, "--embed-average %g: must be from 0 to below 1",
                        (double)p->diffusion.embed_average);
    return MN_OK;
}

static enum mn_status check_depths(const struct generation *g)
{
    const struct session *s = g->session;
    const struct mn_generate_params *p = g->params;
    const struct strategy *strategy = g->strategy;
    if ((strategy->wave || strategy == &strategy_diffusion) && p->speculation.max_inflight > session_info(s)->max_rows)
        return log_fail(g->log, MN_ERR_USAGE, "--max-inflight %u: the session has at most %u rows per pass",
                        p->speculation.max_inflight, session_info(s)->max_rows);
    if (strategy == &strategy_diffusion)
        return check_diffusion(g);
    if (!strategy->drafts && !strategy->wave)
        return MN_OK;
    if (g->num_steps < 2)
        return log_fail(g->log, MN_ERR_USAGE, "--num-steps %u: %s needs at least 2, to draft with fewer", g->num_steps,
                        strategy->name);
    if (p->speculation.draft_steps < 1 || p->speculation.draft_steps >= g->num_steps)
        return log_fail(g->log, MN_ERR_USAGE, "--draft-steps %u: must be from 1 to %u, below --num-steps %u",
                        p->speculation.draft_steps, g->num_steps - 1, g->num_steps);
    if (strategy->wave)
        return MN_OK;
    if (session_info(s)->max_rows < 2)
        return log_fail(g->log, MN_ERR_USAGE, "%s needs a session with at least 2 rows per pass", strategy->name);
    if (p->speculation.lookahead < 1 || p->speculation.lookahead > MN_MAX_LOOKAHEAD ||
        p->speculation.lookahead + 1 > session_info(s)->max_rows)
        return log_fail(g->log, MN_ERR_USAGE, "--lookahead %u: must be from 1 to %u", p->speculation.lookahead,
                        session_info(s)->max_rows - 1 < MN_MAX_LOOKAHEAD ? session_info(s)->max_rows - 1
                                                                         : MN_MAX_LOOKAHEAD);
    return MN_OK;
}

enum mn_status generation_check(const struct generation *g)
{
    const struct mn_generate_params *p = g->params;
    if (!g->strategy)
        return log_fail(g->log, MN_ERR_USAGE, "--strategy %s: must be ar, draft-verify, wavefront, auto or diffusion",
                        p->strategy);
    enum mn_status status = check_lengths(g->session, p, g->log);
    if (status)
        return status;
    if (g->num_steps > session_info(g->session)->num_steps)
        return log_fail(g->log, MN_ERR_USAGE, "--num-steps %u: the session has at most %u", g->num_steps,
                        session_info(g->session)->num_steps);
    if (!(p->init_scale >= 0.0f && p->init_scale <= 1000.0f))
        return log_fail(g->log, MN_ERR_USAGE, "--init-scale %g: must be from 0 to 1000", (double)p->init_scale);
    struct sampler_params sampler = {p->sampler.temperature, p->sampler.top_k,
                                     p->sampler.top_p == 0.0f ? 1.0f : p->sampler.top_p, p->sampler.min_p,
                                     p->sampler.seed};
    status = sampler_check(&sampler, g->log);
    if (!status)
        status = check_lossy(g);
    return status ? status : check_depths(g);
}
