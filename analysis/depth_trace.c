#include "analysis/depth_trace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/pca.h"
#include "analysis/readout.h"
#include "analysis/terminal.h"
#include "engine/base/numbers.h"
#include "engine/model/family.h"
#include "spec/exit.h"

_Static_assert((int)MN_EXIT_COUNT == (int)EXIT_COUNT && (int)EXIT_COUNT <= (int)MN_MAX_EXIT_CRITERIA,
               "the criteria of muninn.h are those of spec/exit.h");

/* What one trace needs besides its result. */
struct tracer {
    struct mn_depth_trace *trace;
    struct session *session;
    const struct mn_depth_trace_params *params;
    const struct mn_log *log;
    uint32_t n_vocab;
    struct exit_rule rules[EXIT_COUNT];
    struct exit_memory memory; /* of one check; see asks_exit */
    struct kept *kept;         /* [room] */
    float *final;              /* [n_prompt, V] logits of the last step */
    float *before;             /* [n_prompt, V] logits of the step before */
    float *own;                /* [num_steps, V] of a generated token */
    float *logits;             /* [V] */
    float *states;             /* [SESSION_MAX_ROWS, d] one step of a chunk */
    uint32_t next;             /* the token behind the newest one */
};

/* What argmax-stability and the gate remember of a token. */
struct kept {
    uint32_t n_checks, previous_best, n_stable;
    double survival;
};

static struct mn_depth_step *step_of(const struct mn_depth_trace *t, uint32_t token, uint32_t step)
{
    return &t->steps[(size_t)token * t->n_steps + step - 1];
}

static float *state_of(const struct mn_depth_trace *t, uint32_t token, uint32_t step)
{
    return t->states + ((size_t)token * (t->n_steps + 1) + step) * t->n_embd;
}

/* ---- figures of one step ---- */

static double log_sum_exp(const float *logits, uint32_t n)
{
    double largest = -INFINITY, sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        largest = fmax(largest, (double)logits[i]);
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - largest);
    return largest + log(sum);
}

static void measure_logits(struct mn_depth_step *out, const float *logits, const float *final, uint32_t n)
{
    const double norm = log_sum_exp(logits, n), norm_final = log_sum_exp(final, n);
    double kl = 0.0, entropy = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        const double log_p = (double)logits[i] - norm, log_final = (double) final[i] - norm_final;
        entropy -= exp(log_p) * log_p;
        kl += exp(log_final) * (log_final - log_p);
    }
    out->kl = fmax(kl, 0.0); /* below only by rounding */
    out->entropy = fmax(entropy, 0.0);
    out->top1 = sampler_argmax(logits, n);
    out->top1_p = exp((double)logits[out->top1] - norm);
}

/* Does the criterion ask for the exit? Criteria that compare with the distribution of the step before see that step's
 * logits again first, which is cheaper than to keep two distributions for every token and criterion. */
static bool asks_exit(struct tracer *w, uint32_t token, uint32_t step, enum exit_criterion criterion,
                      const float *before, const float *logits)
{
    const struct exit_rule *rule = &w->rules[criterion];
    struct mn_depth_trace *t = w->trace;
    struct kept *kept = &w->kept[token];
    if (criterion == EXIT_GATE) {
        w->memory.survival = step == 1 ? 1.0 : kept->survival;
        const bool leave = exit_gate(rule, &w->memory, session_info(w->session)->exit_gate, state_of(t, token, step),
                                     t->n_embd);
        kept->survival = w->memory.survival;
        return leave;
    }
    if (exit_is_latent(criterion))
        return exit_latent(
            rule, exit_latent_value(criterion, state_of(t, token, step), state_of(t, token, step - 1), t->n_embd));
    exit_begin(&w->memory);
    if (criterion == EXIT_ARGMAX_STABILITY) {
        w->memory.n_checks = kept->n_checks;
        w->memory.previous_best = kept->previous_best;
        w->memory.n_stable = kept->n_stable;
        const bool leave = exit_logits(rule, &w->memory, logits);
        kept->n_checks = w->memory.n_checks;
        kept->previous_best = w->memory.previous_best;
        kept->n_stable = w->memory.n_stable;
        return leave;
    }
    if (before)
        exit_logits(rule, &w->memory, before);
    return exit_logits(rule, &w->memory, logits);
}

/* The state of the step, and of the one before, are in place. `before`: NULL at step 1. */
static enum mn_status absorb(struct tracer *w, uint32_t token, uint32_t step, const float *before, const float *logits,
                             const float *final)
{
    struct mn_depth_trace *t = w->trace;
    struct mn_depth_step *out = step_of(t, token, step);
    double sum = 0.0;
    for (uint32_t i = 0; i < w->n_vocab; i++)
        if (!isfinite(logits[i]))
            return log_fail(w->log, MN_ERR_RUN, "position %u, step %u: the logit of token %u is not a finite number",
                            token, step, i);
    for (uint32_t k = 0; k < t->n_embd; k++)
        sum += (double)state_of(t, token, step)[k] * (double)state_of(t, token, step)[k];
    out->norm = sqrt(sum);
    out->change = exit_latent_value(EXIT_LATENT_DIFF, state_of(t, token, step), state_of(t, token, step - 1),
                                    t->n_embd);
    measure_logits(out, logits, final, w->n_vocab);
    for (int c = EXIT_LATENT_DIFF; c < t->exits_end; c++)
        if (!t->tokens[token].exits[c] && asks_exit(w, token, step, (enum exit_criterion)c, before, logits))
            t->tokens[token].exits[c] = step;
    return MN_OK;
}

static enum mn_status check_stop(const struct tracer *w)
{
    return w->params->stop && w->params->stop(w->params->user) ? MN_ERR_INTERRUPTED : MN_OK;
}

/* ---- the prompt ---- */

static enum mn_status keep_final(void *user, uint32_t position, const float *logits, uint32_t n_vocab)
{
    struct tracer *w = user;
    memcpy(w->final + (size_t)position * n_vocab, logits, n_vocab * sizeof *logits);
    return check_stop(w);
}

/* Rows [at, at + n) enter, or take their `step`-th step and predict. */
static enum mn_status run_chunk(struct tracer *w, uint32_t at, uint32_t n, uint32_t step)
{
    struct row rows[SESSION_MAX_ROWS];
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (struct row){.token = w->params->prompt[at + i], .position = at + i, .depth = step ? step - 1 : 0};
    const struct session_run_params run = {.rows = rows,
                                           .n_rows = n,
                                           .n_new = step ? 0 : n,
                                           .n_core = step ? 1 : 0,
                                           .coda = step > 0,
                                           .n_head = step ? n : 0,
                                           .prefill = true};
    enum mn_status status = check_stop(w);
    if (!status)
        status = session_run(w->session, &run, NULL);
    if (!status)
        status = session_read_states(w->session, 0, at, n, step, w->states);
    for (uint32_t i = 0; i < n && !status; i++)
        memcpy(state_of(w->trace, at + i, step), w->states + (size_t)i * w->trace->n_embd,
               w->trace->n_embd * sizeof *w->states);
    for (uint32_t i = 0; i < n && step && !status; i++) {
        float *before = w->before + (size_t)(at + i) * w->n_vocab;
        status = session_read_logits(w->session, i, w->logits);
        if (!status)
            status = absorb(w, at + i, step, step > 1 ? before : NULL, w->logits,
                            w->final + (size_t)(at + i) * w->n_vocab);
        memcpy(before, w->logits, w->n_vocab * sizeof *before);
    }
    return status;
}

/* The last step's distributions come first, from a prefill of their own: keeping all steps' logits would take num_steps
 * times as much. */
static enum mn_status trace_prompt(struct tracer *w)
{
    struct mn_depth_trace *t = w->trace;
    const struct session_prefill_params prefill = {
        .ids = w->params->prompt, .n = t->n_prompt, .num_steps = t->n_steps, .each_logits = keep_final, .user = w};
    enum mn_status status = session_prefill(w->session, &prefill, &w->next);
    for (uint32_t step = 0; step <= t->n_steps && !status; step++)
        for (uint32_t at = 0, most = session_info(w->session)->prefill_rows; at < t->n_prompt && !status; at += most)
            status = run_chunk(w, at, t->n_prompt - at < most ? t->n_prompt - at : most, step);
    for (uint32_t i = 0; i < t->n_prompt; i++)
        t->tokens[i].id = w->params->prompt[i];
    if (!status)
        t->n_tokens = t->n_prompt;
    return status;
}

/* ---- generated tokens ---- */

static bool is_end(const struct tracer *w, uint32_t token)
{
    const struct model_config *config = session_info(w->session)->config;
    for (uint32_t i = 0; !w->params->ignore_eos && i < config->n_eos; i++)
        if (config->eos_token_ids[i] == token)
            return true;
    return false;
}

static enum mn_status trace_next(struct tracer *w)
{
    struct mn_depth_trace *t = w->trace;
    struct row row = {.token = w->next, .position = t->n_tokens};
    struct session_run_params run = {.rows = &row, .n_rows = 1, .n_new = 1};
    enum mn_status status = session_run(w->session, &run, NULL);
    t->tokens[row.position] = (struct mn_depth_token){.id = row.token, .generated = true};
    if (!status)
        status = session_read_state(w->session, 0, row.position, 0, state_of(t, row.position, 0));
    run = (struct session_run_params){.rows = &row, .n_rows = 1, .n_core = 1, .coda = true, .n_head = 1};
    for (uint32_t step = 1; step <= t->n_steps && !status; step++) {
        status = check_stop(w);
        if (!status)
            status = session_run(w->session, &run, &w->next);
        row.depth = step;
        if (!status)
            status = session_read_state(w->session, 0, row.position, step, state_of(t, row.position, step));
        if (!status)
            status = session_read_logits(w->session, 0, w->own + (size_t)(step - 1) * w->n_vocab);
    }
    for (uint32_t step = 1; step <= t->n_steps && !status; step++) {
        const float *logits = w->own + (size_t)(step - 1) * w->n_vocab;
        status = absorb(w, row.position, step, step > 1 ? logits - w->n_vocab : NULL, logits,
                        w->own + (size_t)(t->n_steps - 1) * w->n_vocab);
    }
    if (!status)
        t->n_tokens++;
    return status;
}

static enum mn_status trace_generated(struct tracer *w)
{
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < w->params->n_new && !w->trace->ended_by_eos && !status; i++) {
        w->trace->ended_by_eos = is_end(w, w->next);
        status = trace_next(w);
    }
    return status;
}

/* ---- path independence ---- */

struct init_run {
    struct tracer *tracer;
    uint32_t which;
};

static enum mn_status keep_init(void *user, uint32_t position, const float *logits, uint32_t n_vocab)
{
    const struct init_run *run = user;
    const struct mn_depth_trace *t = run->tracer->trace;
    t->init_top1[(size_t)position * t->init_stride + run->which] = sampler_argmax(logits, n_vocab);
    return check_stop(run->tracer);
}

static enum mn_status compare_final(struct tracer *w, uint32_t token, uint32_t which)
{
    const struct mn_depth_trace *t = w->trace;
    const float *zero = state_of(t, token, t->n_steps);
    double difference = 0.0, norm = 0.0;
    enum mn_status status = session_read_state(w->session, 0, token, t->n_steps, w->states);
    for (uint32_t k = 0; k < t->n_embd; k++) {
        difference += ((double)w->states[k] - (double)zero[k]) * ((double)w->states[k] - (double)zero[k]);
        norm += (double)zero[k] * (double)zero[k];
    }
    t->distance[(size_t)token * t->init_stride + which] = sqrt(difference) / sqrt(norm);
    return status;
}

/* The traced tokens again, from random initial states. */
static enum mn_status run_init(struct tracer *w, uint32_t which)
{
    const struct mn_depth_trace *t = w->trace;
    struct init_run user = {w, which};
    session_set_sampler(w->session, &(struct sampler_params){.top_p = 1.0f, .seed = w->params->seed + which},
                        w->params->init_scale);
    const struct session_prefill_params prefill = {
        .ids = w->params->prompt, .n = t->n_prompt, .num_steps = t->n_steps, .each_logits = keep_init, .user = &user};
    enum mn_status status = session_prefill(w->session, &prefill, NULL);
    for (uint32_t i = t->n_prompt; i < t->n_tokens && !status; i++) {
        const struct row row = {.token = t->tokens[i].id, .position = i};
        const struct session_run_params run = {
            .rows = &row, .n_rows = 1, .n_new = 1, .n_core = t->n_steps, .coda = true, .n_head = 1};
        status = check_stop(w);
        if (!status)
            status = session_run(w->session, &run, &t->init_top1[(size_t)i * t->init_stride + which]);
    }
    for (uint32_t i = 0; i < t->n_tokens && !status; i++)
        status = compare_final(w, i, which);
    return status;
}

static enum mn_status trace_inits(struct tracer *w)
{
    enum mn_status status = MN_OK;
    for (uint32_t m = 0; m < w->params->n_inits && !status; m++) {
        status = run_init(w, m);
        if (!status)
            w->trace->n_inits++;
    }
    return status;
}

/* ---- all of it ---- */

enum mn_status depth_trace_check(const struct session *s, const struct mn_depth_trace_params *p)
{
    const struct mn_log *log = session_info(s)->log;
    if (p->n_prompt < 1)
        return log_fail(log, MN_ERR_USAGE, "the prompt is empty: at least one token is needed");
    if (p->n_prompt > session_info(s)->n_ctx || p->n_new > session_info(s)->n_ctx - p->n_prompt)
        return log_fail(log, MN_ERR_USAGE,
                        "a prompt of %u tokens and %u new ones do not fit into the context of %u (n_ctx)", p->n_prompt,
                        p->n_new, session_info(s)->n_ctx);
    if (p->num_steps > session_info(s)->num_steps)
        return log_fail(log, MN_ERR_USAGE, "num_steps %u: the session has at most %u", p->num_steps,
                        session_info(s)->num_steps);
    if (p->n_components > MN_MAX_COMPONENTS)
        return log_fail(log, MN_ERR_USAGE, "n_components %u: at most %d", p->n_components, MN_MAX_COMPONENTS);
    if (!(p->init_scale >= 0.0f && isfinite(p->init_scale)))
        return log_fail(log, MN_ERR_USAGE, "init_scale %g: must be 0 or more", (double)p->init_scale);
    if (p->n_inits && !session_info(s)->config->family->injects)
        return log_fail(log, MN_ERR_USAGE, "n_inits %u: %s models take their initial state from the token", p->n_inits,
                        session_info(s)->config->family->name);
    for (uint32_t i = 0, r = depth_or(p->num_steps, session_info(s)->num_steps); i < p->n_readouts; i++)
        if (p->readout_steps[i] < 1 || p->readout_steps[i] > r)
            return log_fail(log, MN_ERR_USAGE, "readout_steps[%u] %u: must be from 1 to num_steps, %u", i,
                            p->readout_steps[i], r);
    if (!kv_policy_lossless(session_info(s)->kv_policy))
        return log_fail(log, MN_ERR_USAGE, "kv_policy share:k: a trace needs every step in the cache");
    return MN_OK;
}

static void *table(size_t n, size_t m, size_t bytes)
{
    return n && m ? calloc(n * m, bytes) : calloc(1, bytes); /* NULL means out of memory alone */
}

static enum mn_status reserve(struct tracer *w)
{
    struct mn_depth_trace *t = w->trace;
    const struct mn_depth_trace_params *p = w->params;
    const size_t room = (size_t)p->n_prompt + p->n_new, v = w->n_vocab, d = t->n_embd, r = t->n_steps, n = t->n_prompt;
    t->tokens = table(room, 1, sizeof *t->tokens);
    t->steps = table(room, r, sizeof *t->steps);
    t->states = table(room * (r + 1), d, sizeof *t->states);
    t->distance = table(room, p->n_inits, sizeof *t->distance);
    t->init_top1 = table(room, p->n_inits, sizeof *t->init_top1);
    w->kept = table(room, 1, sizeof *w->kept);
    w->final = table(n, v, sizeof *w->final);
    w->before = table(n, v, sizeof *w->before);
    w->own = table(p->n_new ? r : 0, v, sizeof *w->own);
    w->logits = table(v, 1, sizeof *w->logits);
    w->states = table(SESSION_MAX_ROWS, d, sizeof *w->states);
    if (!t->tokens || !t->steps || !t->states || !t->distance || !t->init_top1 || !w->kept || !w->final || !w->before ||
        !w->own || !w->logits || !w->states)
        return log_fail(w->log, MN_ERR_MEMORY, "out of host memory for a trace of %zu tokens of %zu steps", room, r);
    return exit_memory_init(&w->memory, w->n_vocab, w->log);
}

static void release(struct tracer *w)
{
    exit_memory_finish(&w->memory);
    free(w->kept);
    free(w->final);
    free(w->before);
    free(w->own);
    free(w->logits);
    free(w->states);
}

/* Who asked to stop does not wait for them, but gets what a moment brings. */
static uint32_t most_iterations(const struct tracer *w, bool interrupted)
{
    static const double MOMENT = 1e8; /* values that are multiplied with the axes */
    const double n = (double)w->trace->n_tokens * w->trace->n_steps * w->trace->n_embd;
    return !interrupted                      ? PCA_ITERATIONS_MAX
           : MOMENT / n < PCA_ITERATIONS_MAX ? (uint32_t)(MOMENT / n)
                                             : PCA_ITERATIONS_MAX;
}

static enum mn_status find_components(struct tracer *w, bool interrupted)
{
    struct mn_depth_trace *t = w->trace;
    const size_t n_states = (size_t)t->n_tokens * (t->n_steps + 1);
    const struct pca_vectors vectors = {.values = state_of(t, 0, 1),
                                        .n_groups = t->n_tokens,
                                        .per_group = t->n_steps,
                                        .stride = (size_t)(t->n_steps + 1) * t->n_embd,
                                        .d = t->n_embd,
                                        .most_iterations = most_iterations(w, interrupted),
                                        .progress = interrupted ? NULL : session_progress(w->session)};
    struct pca pca = {0};
    if (vectors.most_iterations == 0)
        return MN_OK;
    enum mn_status status = pca_fit(&pca, &vectors, w->params->n_components, w->log);
    if (!status && !(t->paths = table(n_states, pca.n, sizeof *t->paths)))
        status = log_fail(w->log, MN_ERR_MEMORY, "out of host memory for a trace of %u tokens", t->n_tokens);
    for (size_t i = 0; i < n_states && !status; i++)
        pca_project(&pca, t->states + i * t->n_embd, t->paths + i * pca.n);
    if (!status) {
        t->n_components = pca.n;
        memcpy(t->variance, pca.variance, sizeof t->variance);
        t->total_variance = pca.total;
        t->residual = pca.residual;
        t->n_iterations = pca.n_iterations;
    }
    pca_finish(&pca);
    return status;
}

/* The prompt goes through all steps twice. */
static enum mn_status trace_tokens(struct tracer *w)
{
    const uint64_t n_prompt = w->trace->n_prompt, n_tokens = n_prompt + w->params->n_new;
    enum mn_status status = progress_begin(session_progress(w->session), "tracing",
                                           (n_prompt + n_tokens * (1 + w->params->n_inits)) * w->trace->n_steps);
    if (!status)
        status = trace_prompt(w);
    if (!status)
        status = trace_generated(w);
    if (!status)
        status = trace_inits(w);
    return progress_end(session_progress(w->session), status);
}

/* What is said about whole trajectories: of all tokens that were completed. */
static enum mn_status look_back(struct tracer *w, bool interrupted)
{
    struct mn_depth_trace *t = w->trace;
    if (t->n_tokens == 0)
        return MN_OK;
    for (uint32_t i = 0; i < t->n_tokens; i++)
        t->tokens[i].terminal = terminal_classify(&w->params->terminal, state_of(t, i, 0), t->n_steps, t->n_embd);
    return find_components(w, interrupted);
}

/* The parameters with what their zeros stand for. */
static struct mn_depth_trace_params settled(const struct session *s, const struct mn_depth_trace_params *given)
{
    struct mn_depth_trace_params p = *given;
    p.num_steps = depth_or(p.num_steps, session_info(s)->num_steps);
    p.n_components = p.n_components ? p.n_components : 2;
    p.init_scale = p.init_scale != 0.0f ? p.init_scale : 1.0f;
    return p;
}

enum mn_status depth_trace_run(struct mn_depth_trace *t, struct session *session,
                               const struct mn_depth_trace_params *given)
{
    const struct mn_depth_trace_params with_defaults = settled(session, given), *params = &with_defaults;
    struct tracer w = {.trace = t,
                       .session = session,
                       .params = params,
                       .log = session_info(session)->log,
                       .n_vocab = session_info(session)->config->vocab_size};
    *t = (struct mn_depth_trace){.n_prompt = params->n_prompt,
                                 .n_steps = params->num_steps,
                                 .n_embd = session_info(session)->config->n_embd,
                                 .init_stride = params->n_inits,
                                 .exits_end = session_info(session)->exit_gate ? EXIT_COUNT : EXIT_GATE};
    enum mn_status status = depth_trace_check(session, params);
    if (status)
        return status;
    for (int c = EXIT_LATENT_DIFF; c < EXIT_COUNT && !status; c++)
        status = exit_parse(exit_name((enum exit_criterion)c), &w.rules[c], w.log);
    if (!status)
        status = reserve(&w);
    session_set_sampler(session, &(struct sampler_params){.top_p = 1.0f}, 0.0f);
    if (!status)
        status = trace_tokens(&w);
    if (!status)
        status = readout_measure(t, session, params);
    const bool interrupted = status == MN_ERR_INTERRUPTED;
    const enum mn_status after = !status || interrupted ? look_back(&w, interrupted) : MN_OK;
    release(&w);
    return status ? status : after;
}

void mn_depth_trace_finish(struct mn_depth_trace *t)
{
    if (!t)
        return;
    free(t->paths);
    free(t->tokens);
    free(t->steps);
    free(t->states);
    free(t->distance);
    free(t->init_top1);
    free(t->readouts);
    *t = (struct mn_depth_trace){0};
}
