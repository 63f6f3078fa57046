/* How long a sweep will take, from a few tokens. */
#include "bench/sweep/estimate.h"

#include <string.h>

enum { TIMED_FEW = 3, TIMED_MANY = 17, TIMED_PROMPT = 4 };

/* Above the first nobody waits without knowing; above the second, for one setting, nobody waits at all. */
static const double WORTH_SAYING_S = 60.0, HOPELESS_S = 600.0;

static enum mn_status time_tokens(struct mn_session *session, uint32_t num_steps, uint32_t n_new, double *seconds)
{
    static const uint32_t ids[TIMED_PROMPT] = {0};
    struct mn_stats stats;
    enum mn_status status = mn_generate(session,
                                        &(struct mn_generate_params){.prompt = ids,
                                                                     .n_prompt = TIMED_PROMPT,
                                                                     .n_new = n_new,
                                                                     .num_steps = num_steps,
                                                                     .strategy = "ar",
                                                                     .ignore_eos = true},
                                        &stats);
    const double tok_s = status ? 0.0 : mn_stats_decode_tok_s(&stats);
    *seconds = tok_s > 0.0 ? 1.0 / tok_s : 0.0;
    return status;
}

/* The first token comes with the prompt and does not count. More of them where that is soon done: the first ones of a
 * process are slow. */
enum mn_status bench_time_token(struct bench_model *model, uint32_t num_steps, const struct bench_common *common,
                                double *seconds)
{
    static const double soon = 0.25;
    struct mn_session *session;
    *seconds = 0.0;
    enum mn_status status = mn_session_create(&session, model->engine,
                                              &(struct mn_session_params){.n_ctx = TIMED_PROMPT + TIMED_MANY,
                                                                          .num_steps = num_steps,
                                                                          .max_rows = 1,
                                                                          .beyond_trained_depth = common->beyond});
    if (status)
        return status;
    status = time_tokens(session, num_steps, TIMED_FEW, seconds);
    if (!status && *seconds < soon)
        status = time_tokens(session, num_steps, TIMED_MANY, seconds);
    mn_session_destroy(session);
    return status;
}

/* Do two settings share the tokens of ar that they are compared with? They stand together. */
static bool shares_expected(const struct bench_setting *a, const struct bench_setting *b)
{
    return a->num_steps == b->num_steps && a->n_new == b->n_new && a->prompt_tokens == b->prompt_tokens &&
           !strcmp(a->kv_type, b->kv_type);
}

double sweep_estimate(const struct bench_setting *settings, size_t n, double token_s, uint32_t num_steps,
                      uint32_t n_prompts, const struct sampling *sampling)
{
    double seconds = 0.0;
    for (size_t i = 0; i < n; i++) {
        const struct bench_setting *s = &settings[i];
        const double token = token_s * s->num_steps / num_steps,
                     rounds = (double)((n_prompts + s->batch - 1) / s->batch), once = rounds * s->n_new * token,
                     samples = once * sampling->min_repetitions;
        seconds += once + (samples > sampling->min_seconds ? samples : sampling->min_seconds);
        if (i == 0 || !shares_expected(&settings[i - 1], s))
            seconds += (double)n_prompts * s->n_new * token;
    }
    return seconds;
}

void write_time(char text[TIME_TEXT_BYTES], double s)
{
    snprintf(text, TIME_TEXT_BYTES,
             s < 100.0    ? "%.2g s"
             : s < 6000.0 ? "%.0f min"
                          : "%.0f h",
             s < 100.0    ? s
             : s < 6000.0 ? s / 60.0
                          : s / 3600.0);
}

bool sweep_estimate_words(char text[ESTIMATE_BYTES], const char *model, double token_s, double seconds,
                          size_t n_settings, size_t n_models)
{
    char token[TIME_TEXT_BYTES], one[TIME_TEXT_BYTES], all[TIME_TEXT_BYTES];
    const double per_setting = n_settings ? seconds / (double)n_settings : 0.0;
    if (seconds * (double)n_models < WORTH_SAYING_S)
        return false;
    write_time(token, token_s);
    write_time(one, per_setting);
    write_time(all, seconds * (double)n_models);
    snprintf(text, ESTIMATE_BYTES, "%.80s: a token of ar takes %s here; %zu setting%s%s: about %s%s", model, token,
             n_settings, n_settings == 1 ? "" : "s", n_models > 1 ? " of each model" : "", all,
             per_setting > HOPELESS_S
                 ? ". Hopeless on this device: a smaller shape, -n 8 -r 1, or `muninn bench --quick`"
                 : "");
    return true;
}
