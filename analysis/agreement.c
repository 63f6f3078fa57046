/* How far a lossy run strays from `ar`: a free-running comparison, and a teacher-forced one over the run's own
 * tokens. */
#include <stdlib.h>

#include "analysis/compare.h"
#include "engine/base/numbers.h"
#include "spec/generation.h"

struct collected {
    uint32_t *ids, n;
};

static int collect(void *user, uint32_t token)
{
    struct collected *c = user;
    c->ids[c->n++] = token;
    return 0;
}

struct forced {
    const uint32_t *tokens;
    uint32_t n_tokens, n_prompt, n_right;
    struct mn_agreement *agreement;
};

static float top2_margin(const float *logits, uint32_t n, uint32_t best)
{
    uint32_t second = best ? 0 : 1;
    for (uint32_t i = 0; i < n; i++)
        if (i != best && logits[i] > logits[second])
            second = i;
    return logits[best] - logits[second];
}

/* The logits at `position` decide the token behind it. */
static enum mn_status look(void *user, uint32_t position, const float *logits, uint32_t n_vocab)
{
    struct forced *f = user;
    if (position + 1 < f->n_prompt || position + 1 - f->n_prompt >= f->n_tokens)
        return MN_OK;
    const uint32_t place = position + 1 - f->n_prompt, best = sampler_argmax(logits, n_vocab);
    f->n_right += best == f->tokens[place];
    if (f->agreement->diverged && place == f->agreement->first_divergence)
        f->agreement->margin = top2_margin(logits, n_vocab, best);
    return MN_OK;
}

static enum mn_status force(struct session *s, const struct mn_generate_params *p, struct forced *f)
{
    struct session_prefill_params prompt = {.ids = p->prompt,
                                            .n = p->n_prompt,
                                            .num_steps = depth_or(p->num_steps, session_info(s)->num_steps),
                                            .state0 = p->state0,
                                            .each_logits = look,
                                            .user = f};
    enum mn_status status = session_prefill(s, &prompt, NULL);
    struct session_prefill_params rest = prompt;
    rest.ids = f->tokens;
    rest.n = f->n_tokens - 1; /* what stands behind the last one is not asked */
    rest.first = p->n_prompt;
    rest.state0 = NULL;
    return status || rest.n == 0 ? status : session_prefill(s, &rest, NULL);
}

static void compare(const struct collected *ar, const uint32_t *tokens, uint32_t n, struct mn_agreement *a)
{
    a->n_compared = ar->n < n ? ar->n : n;
    for (uint32_t i = 0; i < a->n_compared; i++)
        a->n_equal += ar->ids[i] == tokens[i];
    uint32_t i = 0;
    while (i < a->n_compared && ar->ids[i] == tokens[i])
        i++;
    a->diverged = i < n || i < ar->n;
    a->first_divergence = i;
    a->token = i < n ? tokens[i] : UINT32_MAX;
    a->ar_token = i < ar->n ? ar->ids[i] : UINT32_MAX;
}

enum mn_status compare_ar(struct session *full, const struct mn_generate_params *params, const uint32_t *tokens,
                          uint32_t n_tokens, struct mn_agreement *agreement)
{
    const struct mn_log *log = session_info(full)->log;
    *agreement = (struct mn_agreement){.forced_agreement = -1.0};
    if (!kv_policy_lossless(session_info(full)->kv_policy))
        return log_fail(log, MN_ERR_USAGE, "comparison with ar: needs a session with policy full");
    if (n_tokens < 1 || n_tokens > params->n_new)
        return log_fail(log, MN_ERR_USAGE, "comparison with ar: %u tokens of a run that may have %u", n_tokens,
                        params->n_new);
    struct mn_generate_params p = *params;
    struct collected ar = {.ids = malloc(params->n_new * sizeof *ar.ids)};
    if (!ar.ids)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for %u tokens", params->n_new);
    p.strategy = "ar";
    p.exit.rule = NULL;
    p.continuous = p.speculation.require_lossless = false;
    p.speculation.verification_threshold = 0.0f;
    p.speculation.lookup = p.speculation.branches = 0;
    p.measuring = (struct mn_measuring_params){0};
    p.steps = NULL;
    p.on_trace = NULL;
    p.on_token = collect;
    p.user = &ar;
    struct mn_stats stats;
    enum mn_status status = generate(full, &p, &stats);
    if (!status) {
        compare(&ar, tokens, n_tokens, agreement);
        struct forced f = {tokens, n_tokens, p.n_prompt, 0, agreement};
        status = force(full, &p, &f);
        if (!status && p.sampler.temperature == 0.0f)
            agreement->forced_agreement = (double)f.n_right / n_tokens;
    }
    free(ar.ids);
    return status;
}
