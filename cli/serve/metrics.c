/* Figures of a server in the text format of Prometheus. */
#include <inttypes.h>
#include <math.h>

#include "cli/serve/serve.h"

static const int codes[CODES] = {200, 400, 401, 403, 404, 405, 413, 415, 429, 500, 503, 504, 0}; /* 0: others */
static const double bounds[BUCKETS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30, 120};

void metrics_count(struct server *server, size_t path, int http)
{
    size_t code = 0;
    while (code + 1 < CODES && codes[code] != http)
        code++;
    mtx_lock(&server->lock);
    server->metrics.answers[path < PATHS ? path : PATHS - 1][code]++;
    mtx_unlock(&server->lock);
}

void histogram_add(struct histogram *histogram, double seconds)
{
    size_t at = 0;
    while (at < BUCKETS && seconds > bounds[at])
        at++;
    histogram->counts[at]++;
    histogram->sum += seconds;
}

static void head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP muninn_%s %s\n# TYPE muninn_%s %s\n", name, help, name, type);
}

static void write_one(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
    head(out, name, type, help);
    fprintf(out, "muninn_%s %" PRIu64 "\n", name, value);
}

static void write_histogram(FILE *out, const char *name, const char *help, const struct histogram *h)
{
    uint64_t n = 0;
    head(out, name, "histogram", help);
    for (size_t i = 0; i < BUCKETS; i++) {
        n += h->counts[i];
        fprintf(out, "muninn_%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, bounds[i], n);
    }
    n += h->counts[BUCKETS];
    fprintf(out, "muninn_%s_bucket{le=\"+Inf\"} %" PRIu64 "\nmuninn_%s_sum %.9g\nmuninn_%s_count %" PRIu64 "\n", name,
            n, name, h->sum, name, n);
}

static void write_answers(FILE *out, const struct metrics *m)
{
    head(out, "requests_total", "counter", "Answers by path and HTTP status.");
    for (size_t path = 0; path < PATHS; path++) {
        const struct route *route = route_at(path);
        for (size_t code = 0; code < CODES; code++)
            if (m->answers[path][code])
                fprintf(out, "muninn_requests_total{path=\"%s\",code=\"%d\"} %" PRIu64 "\n",
                        route ? route->path : "other", codes[code], m->answers[path][code]);
        if (!route)
            break;
    }
}

static void write_depths(FILE *out, const char *name, const char *help, const uint64_t *counts, const uint64_t *drafted)
{
    head(out, name, "counter", help);
    for (uint32_t depth = 0; depth <= DEPTHS_MAX; depth++)
        if (drafted[depth] && depth)
            fprintf(out, "muninn_%s{draft_steps=\"%" PRIu32 "\"} %" PRIu64 "\n", name, depth, counts[depth]);
        else if (drafted[depth])
            fprintf(out, "muninn_%s{draft_steps=\"auto\"} %" PRIu64 "\n", name, counts[depth]);
}

static void write_proposals(FILE *out, const struct metrics *m)
{
    head(out, "proposed_tokens_total", "counter", "Tokens that those brought, by what had proposed them.");
    for (int i = 0; i < MN_PROPOSALS; i++)
        fprintf(out, "muninn_proposed_tokens_total{by=\"%s\"} %" PRIu64 "\n", mn_proposal_name((enum mn_proposal)i),
                m->proposed_by[i]);
    write_one(out, "looked_up_tokens_total", "counter", "Tokens that lookup proposed, right or wrong.", m->looked_up);
}

static void write_agreement(FILE *out, const char *name, const char *help, const struct metrics *m,
                            const uint64_t *counts)
{
    head(out, name, "counter", help);
    for (uint32_t i = 0; i < MN_AGREEMENT_DEPTHS; i++)
        if (m->predicted_at[i])
            fprintf(out, "muninn_%s{depth=\"%" PRIu32 "\"} %" PRIu64 "\n", name, i + 1, counts[i]);
}

static void write_scheduler(FILE *out, const struct server *server)
{
    const struct mn_scheduler_stats *s = &server->metrics.scheduler;
    write_one(out, "sequences_open", "gauge", "Texts asked for that are not done.", server->n_sequences);
    write_one(out, "sequences_waiting", "gauge", "Texts that wait for a place.", s->n_waiting);
    write_one(out, "sequences_reading", "gauge", "Texts whose prompt is being read.", s->n_reading);
    write_one(out, "sequences_decoding", "gauge", "Texts being written.", s->n_decoding);
    write_one(out, "scheduler_steps_total", "counter", "Rounds of the scheduler.", s->n_steps);
    write_one(out, "prompt_rows_total", "counter", "Positions of prompts that were computed.", s->prompt_rows);
    write_one(out, "reused_rows_total", "counter", "Positions of prompts that were in the cache.", s->reused_rows);
    write_one(out, "core_passes_total", "counter", "Passes of the core while decoding.", s->total.core_passes);
    write_one(out, "core_rows_total", "counter", "Rows in them: rows over passes is how full they are.",
              s->total.core_rows);
    write_one(out, "rows_in_flight_most", "gauge", "Most rows of a text that decoded at once.", s->total.most_inflight);
}

void metrics_write(FILE *out, struct server *server)
{
    mtx_lock(&server->lock);
    const struct metrics *m = &server->metrics;
    write_answers(out, m);
    write_one(out, "cancelled_total", "counter", "Requests whose client went away.", m->cancelled);
    write_one(out, "timed_out_total", "counter", "Requests that took longer than --timeout.", m->timed_out);
    write_one(out, "prompt_tokens_total", "counter", "Tokens of prompts of completed texts.", m->prompt_tokens);
    write_one(out, "generated_tokens_total", "counter", "Tokens that were generated.", m->new_tokens);
    write_one(out, "scored_tokens_total", "counter", "Tokens whose log-probability was asked for.", m->scored_tokens);
    write_one(out, "score_passes_total", "counter", "Passes of scores; behind each the others make a step.",
              m->score_passes);
    write_one(out, "rounds_total", "counter", "Rounds or ticks of speculation.", m->rounds);
    write_one(out, "committed_tokens_total", "counter", "Tokens that those brought.", m->committed);
    write_depths(out, "drafted_tokens_total", "Drafts by their depth.", m->drafted, m->drafted);
    write_depths(out, "accepted_tokens_total", "Drafts that were accepted, by their depth.", m->accepted, m->drafted);
    write_proposals(out, m);
    write_agreement(out, "predictions_total", "Predictions of drafts and rows on their way, by their depth.", m,
                    m->predicted_at);
    write_agreement(out, "agreed_predictions_total", "Predictions that were the token of full depth, by their depth.",
                    m, m->agreed_at);
    write_scheduler(out, server);
    write_histogram(out, "first_token_seconds", "From a request's arrival to its first token.", &m->first_s);
    write_histogram(out, "token_seconds", "A text's decoding time per token after its first.", &m->token_s);
    write_histogram(out, "request_seconds", "From a request's arrival to the end of its last text.", &m->request_s);
    mtx_unlock(&server->lock);
}
