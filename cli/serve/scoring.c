/* Log-probabilities of texts that have ended, one text at a time on a session of its own: whatever strategy found the
 * tokens, these are the numbers of `muninn score` for them. Between two of its passes the other session makes a step,
 * so that a long text holds nobody up for longer than a pass. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/serve/serve.h"

char *decode_ids(struct mn_engine *engine, const uint32_t *ids, size_t n_ids, bool skip_specials, size_t *n_text)
{
    struct mn_stream_decoder *decoder = NULL;
    struct text_list none = {.n = 0};
    struct text_out text = {.stops = &none};
    const char *bytes;
    size_t n_bytes;
    *n_text = 0;
    enum mn_status status = engine ? mn_stream_decoder_create(&decoder, engine, skip_specials) : MN_OK;
    for (size_t i = 0; i < n_ids && !status && engine; i++)
        if (!mn_stream_decoder_push(decoder, ids[i], &bytes, &n_bytes))
            status = text_out_push(&text, bytes, n_bytes, NULL);
    if (!status && engine && !mn_stream_decoder_finish(decoder, &bytes, &n_bytes))
        status = text_out_push(&text, bytes, n_bytes, NULL);
    mn_stream_decoder_destroy(decoder);
    if (!status)
        status = text_out_push(&text, "", 1, NULL); /* a zero byte */
    if (status) {
        text_out_free(&text);
        return NULL;
    }
    free(text.matched);
    *n_text = text.n - 1;
    return text.text;
}

struct scoring {
    struct choice *choice;
    const uint32_t *ids;
};

/* As mn_score does it: log softmax in double. */
static double log_sum(const float *logits, uint32_t n, double *largest)
{
    double sum = 0.0;
    *largest = -INFINITY;
    for (uint32_t i = 0; i < n; i++)
        *largest = fmax(*largest, (double)logits[i]);
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - *largest);
    return log(sum);
}

/* The n best, best first; of equal ones the lowest id. */
static void pick_best(struct alternative *top, uint32_t n, const float *logits, uint32_t n_vocab)
{
    uint32_t n_top = 0;
    for (uint32_t id = 0; id < n_vocab && n; id++) {
        uint32_t at = n_top;
        if (n_top == n && !((double)logits[id] > top[n - 1].logprob))
            continue;
        at = n_top < n ? n_top++ : n - 1;
        for (; at > 0 && (double)logits[id] > top[at - 1].logprob; at--)
            top[at] = top[at - 1];
        top[at] = (struct alternative){id, (double)logits[id]};
    }
}

static enum mn_status take_logits(void *user, uint32_t item, uint32_t place, uint32_t depth, const float *logits,
                                  uint32_t n_vocab)
{
    struct scoring *s = user;
    struct choice *choice = s->choice;
    const uint32_t n_top = choice->job->n_top;
    struct alternative *top = choice->alternatives + (size_t)place * n_top;
    double largest;
    (void)item, (void)depth;
    const double sum = log_sum(logits, n_vocab, &largest);
    choice->logprobs[place] = (double)logits[s->ids[place]] - largest - sum;
    pick_best(top, n_top, logits, n_vocab);
    for (uint32_t i = 0; i < n_top; i++)
        top[i].logprob = top[i].logprob - largest - sum;
    return MN_OK;
}

static enum mn_status take_sum(void *user, uint32_t item, const struct mn_likelihood *likelihoods)
{
    (void)user, (void)item, (void)likelihoods;
    return MN_OK;
}

static int between_passes(void *user, uint64_t done, uint64_t total)
{
    const struct scoring *s = user;
    (void)done, (void)total;
    return !serve_others(s->choice->job->server);
}

enum mn_status score_choice(struct server *server, struct choice *choice)
{
    struct job *job = choice->job;
    const struct prompt *prompt = &job->prompts[choice->prompt];
    const uint32_t n = prompt->n + choice->n_tokens, n_context = job->echo ? 1 : prompt->n;
    uint32_t *ids = malloc(n * sizeof *ids);
    choice->logprobs = malloc(n * sizeof *choice->logprobs);
    choice->alternatives = calloc((size_t)n * job->n_top + 1, sizeof *choice->alternatives);
    if (!ids || !choice->logprobs || !choice->alternatives) {
        free(ids);
        return MN_ERR_MEMORY;
    }
    memcpy(ids, prompt->ids, prompt->n * sizeof *ids);
    if (choice->n_tokens)
        memcpy(ids + prompt->n, choice->tokens, choice->n_tokens * sizeof *ids);
    for (uint32_t i = 0; i < n; i++)
        choice->logprobs[i] = NAN;
    const struct mn_score_item item = {ids, n, n_context};
    struct scoring scoring = {choice, ids};
    enum mn_status status = n_context < n ? mn_score(server->scoring,
                                                     &(struct mn_score_params){.items = &item,
                                                                               .n_items = 1,
                                                                               .num_steps = &job->params.num_steps,
                                                                               .n_num_steps = 1,
                                                                               .each = take_sum,
                                                                               .progress = between_passes,
                                                                               .logits = take_logits,
                                                                               .user = &scoring})
                                          : MN_OK;
    choice->scored = true;
    free(ids);
    if (!status) {
        mtx_lock(&server->lock);
        server->metrics.scored_tokens += n - n_context;
        mtx_unlock(&server->lock);
    }
    return status;
}
