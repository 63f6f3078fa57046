/* The main thread's work: jobs into the scheduler, tokens into text, texts into answers. Between two steps it looks
 * after clients that are gone, time that is over and the signal to end. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common/interrupt.h"
#include "cli/serve/serve.h"
#include "engine/base/clock.h"

/* IDLE_S: a signal is noticed after so long. LINGER_S: how long answers may take to be sent at the end. */
static const double IDLE_S = 0.2, LINGER_S = 5.0;

/* ---- ends of jobs ---- */

static void fail_job(struct job *job, int http, const char *code, const char *message)
{
    if (job->error.http)
        return;
    job->error = (struct api_error){
        .http = http, .type = http >= 500 ? "server_error" : "invalid_request_error", .code = code};
    snprintf(job->error.message, sizeof job->error.message, "%s", message);
}

/* Reasons of the library may name files: they are logged, not sent. Refusals of parameters are sent. */
static void fail_with(struct job *job, enum mn_status status)
{
    if (status == MN_ERR_USAGE && *job->caught.text)
        fail_job(job, 400, "invalid_value", job->caught.text);
    else if (status == MN_ERR_DEVICE_LOST)
        fail_job(job, 503, "device_lost", "the device was lost");
    else if (status == MN_ERR_MEMORY)
        fail_job(job, 500, "out_of_memory", "out of memory");
    else
        fail_job(job, 500, "internal_error", "the computation failed");
}

static void cancel_rest(struct job *job)
{
    for (uint32_t i = 0; i < job->n_choices; i++)
        if (job->choices[i].begun && !job->choices[i].ended)
            mn_scheduler_cancel(job->server->scheduler, job->choices[i].id);
}

/* ---- callbacks of the scheduler ---- */

static enum mn_status keep_token(struct choice *choice, uint32_t token)
{
    if (choice->n_tokens == choice->capacity) {
        const uint32_t capacity = 2 * choice->capacity + 64;
        uint32_t *tokens = realloc(choice->tokens, capacity * sizeof *tokens);
        if (!tokens)
            return MN_ERR_MEMORY;
        choice->tokens = tokens;
        choice->capacity = capacity;
    }
    choice->tokens[choice->n_tokens++] = token;
    return MN_OK;
}

static int on_token(void *user, uint32_t token)
{
    struct choice *choice = user;
    struct job *job = choice->job;
    const char *text;
    size_t n_bytes;
    choice->status = keep_token(choice, token);
    if (job->first == 0.0)
        job->first = clock_s();
    if (!choice->status && choice->decoder && !mn_stream_decoder_push(choice->decoder, token, &text, &n_bytes))
        choice->status = text_out_push(&choice->text, text, n_bytes, &job->log);
    return choice->status || choice->text.stopped;
}

static void count_choice(struct server *server, const struct choice *choice)
{
    const struct mn_stats *s = &choice->stats;
    struct metrics *m = &server->metrics;
    const bool is_auto = mn_strategy_find(choice->job->params.strategy)->uses & MN_USES_COSTS;
    const uint32_t depth = is_auto || s->draft_steps > DEPTHS_MAX ? 0 : s->draft_steps;
    mtx_lock(&server->lock);
    m->new_tokens += choice->n_tokens;
    m->prompt_tokens += s->n_prompt;
    m->drafted[depth] += s->drafted;
    m->accepted[depth] += s->accepted;
    m->rounds += s->rounds;
    m->committed += s->committed;
    m->looked_up += s->looked_up;
    for (int i = 0; i < MN_PROPOSALS; i++)
        m->proposed_by[i] += s->proposed_by[i];
    for (int i = 0; i < MN_AGREEMENT_DEPTHS; i++) {
        m->predicted_at[i] += s->predicted_at[i];
        m->agreed_at[i] += s->agreed_at[i];
    }
    if (choice->n_tokens > 1 && s->decode_ns > 0.0)
        histogram_add(&m->token_s, s->decode_ns / 1e9 / (choice->n_tokens - 1));
    mtx_unlock(&server->lock);
}

static void on_end(void *user, uint64_t id, const struct mn_stats *stats)
{
    struct choice *choice = user;
    const char *text;
    size_t n_bytes;
    (void)id;
    choice->stats = *stats;
    choice->status = choice->status ? choice->status : stats->status;
    if (!choice->status && choice->decoder && !mn_stream_decoder_finish(choice->decoder, &text, &n_bytes))
        choice->status = text_out_push(&choice->text, text, n_bytes, &choice->job->log);
    text_out_finish(&choice->text);
    choice->ended = true;
    choice->job->n_ended++;
    count_choice(choice->job->server, choice);
}

/* ---- jobs begin ---- */

static enum mn_status begin_choice(struct choice *choice)
{
    struct job *job = choice->job;
    struct server *server = job->server;
    struct mn_generate_params params = job->params;
    if (job->max_tokens == 0) {
        choice->ended = true;
        job->n_ended++;
        return MN_OK;
    }
    params.prompt = job->prompts[choice->prompt].ids;
    params.n_prompt = job->prompts[choice->prompt].n;
    params.n_new = job->max_tokens;
    params.sampler.seed = choice->seed;
    params.on_token = on_token;
    params.user = choice;
    params.log = &job->log;
    enum mn_status status = server->words ? mn_stream_decoder_create(&choice->decoder, server->words, true) : MN_OK;
    if (!status)
        status = mn_scheduler_add(server->scheduler, &params, on_end, choice, &choice->id);
    choice->begun = !status;
    return status;
}

/* Behind the others: what is scored one by one is in order of arrival. */
static void keep_job(struct job *job)
{
    struct job **at = &job->server->jobs;
    while (*at)
        at = &(*at)->next;
    job->next = NULL;
    *at = job;
}

static void begin_job(struct job *job)
{
    struct server *server = job->server;
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < job->n_prompts && job->echo && !status; i++) {
        struct prompt *p = &job->prompts[i];
        p->echo = decode_ids(server->words, p->ids + p->begun, p->n - p->begun, false, &p->n_echo);
        status = p->echo ? MN_OK : MN_ERR_MEMORY;
    }
    for (uint32_t i = 0; i < job->n_choices && !status; i++)
        status = begin_choice(&job->choices[i]);
    if (status)
        fail_with(job, status);
    keep_job(job);
}

/* ---- answers ---- */

/* Begins the answer's stream once there is something of it, marks its end, and wakes the connection. */
static void tell(struct job *job, bool done)
{
    mtx_lock(&job->server->lock);
    job->streaming |= job->stream && !job->error.http && job->n_out > 0;
    job->done |= done;
    mtx_unlock(&job->server->lock);
    http_wake(job);
}

/* Lets `write` write the next part of the answer. False: out of memory. */
static bool put_answer(struct job *job, void (*write)(FILE *out, struct job *job))
{
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    if (!out)
        return false;
    write(out, job);
    const bool good = fclose(out) == 0 && (n_bytes == 0 || job_put(job, text, n_bytes));
    free(text);
    return good;
}

static void write_whole(FILE *out, struct job *job)
{
    answer_whole(out, job);
}

static void write_error(FILE *out, struct job *job)
{
    if (job->streaming)
        fputs("data: ", out);
    answer_error(out, &job->error);
    if (job->streaming)
        fputs("\n\n", out);
}

/* What is new of all texts. */
static void write_pieces(FILE *out, struct job *job)
{
    bool all_told = true;
    for (uint32_t i = 0; i < job->n_choices; i++) {
        struct choice *choice = &job->choices[i];
        const struct prompt *prompt = &job->prompts[choice->prompt];
        const bool first = !choice->opened;
        const size_t n = choice->text.n_final - choice->n_sent;
        const bool last = choice->ended && (!job->wants_logprobs || choice->scored);
        all_told &= last;
        if (choice->told || (!first && !last && n == 0))
            continue; /* nothing new */
        if (first && prompt->echo)
            answer_piece(out, choice, prompt->echo, prompt->n_echo, true, false);
        if (n || last || (first && job->chat))
            answer_piece(out, choice, n ? choice->text.text + choice->n_sent : "", n, first && !prompt->echo, last);
        choice->opened |= n || last || job->chat || prompt->echo;
        choice->n_sent += n;
        choice->told = last;
    }
    if (all_told && job->include_usage)
        answer_usage(out, job);
    if (all_told)
        fputs("data: [DONE]\n\n", out);
}

static void log_job(const struct job *job)
{
    uint64_t n_prompt = 0, n_new = 0;
    for (uint32_t i = 0; i < job->n_prompts; i++)
        n_prompt += job->prompts[i].n;
    for (uint32_t i = 0; i < job->n_choices; i++)
        n_new += job->choices[i].n_tokens;
    log_note(job->server->log, MN_LOG_INFO,
             "%s %" PRIu64 ": %" PRIu64 " tokens of prompts, %" PRIu64 " new in %" PRIu32 " texts, %.3f s%s%s",
             job->chat ? "chat" : "completion", job->number, n_prompt, n_new, job->n_choices, clock_s() - job->arrived,
             job->error.http ? ": " : "", job->error.http ? job->error.code : "");
}

/* The job's last word; it leaves the list. */
static void end_job(struct job **at, bool broken)
{
    struct job *job = *at;
    struct server *server = job->server;
    const double now = clock_s();
    cancel_rest(job);
    if (job->error.http && !broken)
        broken = !put_answer(job, write_error);
    log_job(job);
    mtx_lock(&server->lock);
    job->broken |= broken;
    server->n_sequences -= job->n_choices;
    server->metrics.timed_out += job->error.http == 504;
    if (!job->error.http && !broken)
        histogram_add(&server->metrics.request_s, now - job->arrived);
    if (job->first > 0.0)
        histogram_add(&server->metrics.first_s, job->first - job->arrived);
    mtx_unlock(&server->lock);
    server->n_answered++;
    *at = job->next;
    tell(job, true);
    job_release(job);
}

/* ---- between steps ---- */

static void set_failed(struct server *server, enum mn_status status)
{
    mtx_lock(&server->lock);
    server->failed = status;
    mtx_unlock(&server->lock);
}

static enum mn_status first_failure(const struct job *job)
{
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < job->n_choices && !status; i++)
        status = job->choices[i].status;
    return status;
}

static void check_job(struct job *job, double now)
{
    struct server *server = job->server;
    const uint32_t timeout = server->options->timeout_s;
    const enum mn_status status = first_failure(job);
    if (status)
        fail_with(job, status);
    else if (server->failed)
        fail_with(job, server->failed);
    else if (timeout && now - job->arrived > timeout)
        fail_job(job, 504, "timeout", "the request took longer than this server allows");
    else if (server->hurry)
        fail_job(job, 503, "unavailable", "this server is ending");
}

static bool is_scored(const struct job *job)
{
    for (uint32_t i = 0; i < job->n_choices && job->wants_logprobs; i++)
        if (!job->choices[i].scored)
            return false;
    return true;
}

static bool is_gone(struct job *job)
{
    mtx_lock(&job->server->lock);
    const bool gone = job->gone;
    mtx_unlock(&job->server->lock);
    return gone;
}

static void count_cancelled(struct server *server, bool gone)
{
    mtx_lock(&server->lock);
    server->metrics.cancelled += gone;
    mtx_unlock(&server->lock);
}

/* Whatever there is to do for a job. Returns false when it has left the list. */
static bool tend(struct job **at, double now)
{
    struct job *job = *at;
    const bool gone = is_gone(job);
    if (!gone)
        check_job(job, now);
    if (job == job->server->scored)
        return true; /* serve_others says how it stands */
    if (gone || job->error.http) {
        count_cancelled(job->server, gone);
        end_job(at, gone);
        return false;
    }
    const bool ended = job->n_ended == job->n_choices && is_scored(job);
    bool good = true;
    if (job->stream)
        good = put_answer(job, write_pieces);
    else if (ended)
        good = put_answer(job, write_whole);
    if (ended || !good) {
        end_job(at, !good);
        return false;
    }
    if (job->stream)
        tell(job, false);
    return true;
}

static void tend_all(struct server *server)
{
    const double now = clock_s();
    for (struct job **at = &server->jobs; *at;)
        if (tend(at, now))
            at = &(*at)->next;
}

static void publish(struct server *server)
{
    struct mn_scheduler_stats stats;
    mn_scheduler_stats(server->scheduler, &stats);
    mtx_lock(&server->lock);
    server->metrics.scheduler = stats;
    mtx_unlock(&server->lock);
}

static void take_jobs(struct server *server, double seconds)
{
    for (struct job *job = jobs_take(server, seconds), *next; job; job = next) {
        next = job->next;
        if (server->failed || server->hurry)
            keep_job(job); /* check_job says so */
        else
            begin_job(job);
    }
}

/* ---- the end ---- */

static void begin_drain(struct server *server)
{
    server->until = clock_s() + server->options->drain_s;
    mtx_lock(&server->lock);
    server->draining = true;
    mtx_unlock(&server->lock);
    http_close_door(server->http);
    log_note(server->log, MN_LOG_INFO, "ending: what runs has %" PRIu32 " s", server->options->drain_s);
}

/* Until all answers are sent, or their readers had time enough. */
static void linger(struct server *server)
{
    const double until = clock_s() + LINGER_S;
    uint32_t left = 1;
    server->hurry = true;
    while (left && clock_s() < until) {
        take_jobs(server, 0.02);
        tend_all(server);
        http_watch(server->http);
        mtx_lock(&server->lock);
        left = server->n_exchanges;
        mtx_unlock(&server->lock);
    }
    take_jobs(server, 0.0);
    tend_all(server);
}

/* ---- rounds ---- */

/* What has come, a step of the scheduler, and what became of everybody. Waits up to `seconds` where nothing has. */
static void go_round(struct server *server, double seconds)
{
    if (cli_interrupted() && !server->draining)
        begin_drain(server);
    server->hurry = server->draining && clock_s() > server->until;
    take_jobs(server, seconds);
    http_watch(server->http);
    const enum mn_status status = mn_scheduler_step(server->scheduler, NULL);
    if (status == MN_ERR_DEVICE_LOST)
        set_failed(server, status);
    tend_all(server);
    publish(server);
}

bool serve_others(struct server *server)
{
    mtx_lock(&server->lock);
    server->metrics.score_passes++;
    mtx_unlock(&server->lock);
    go_round(server, 0.0);
    return !server->failed && !server->scored->error.http && !is_gone(server->scored);
}

/* The first text that has ended and waits for its log-probabilities, a pass at a time. Not while the list of jobs is
 * being walked: others leave it meanwhile. */
static void score_next(struct server *server)
{
    struct job *job = server->jobs;
    uint32_t i = 0;
    while (job && (job->n_ended < job->n_choices || job->error.http || is_scored(job)))
        job = job->next;
    if (!job)
        return;
    while (job->choices[i].scored)
        i++;
    server->scored = job;
    const enum mn_status status = score_choice(server, &job->choices[i]);
    server->scored = NULL;
    if (status && status != MN_ERR_INTERRUPTED) /* by serve_others, who knows why */
        fail_with(job, status);
    if (status == MN_ERR_DEVICE_LOST)
        set_failed(server, status);
}

enum mn_status work(struct server *server)
{
    bool busy = false;
    server->serving = true;
    while (!server->failed) {
        go_round(server, busy ? 0.0 : server->draining ? 0.01 : IDLE_S);
        score_next(server);
        mtx_lock(&server->lock);
        busy = server->jobs || server->queue;
        mtx_unlock(&server->lock);
        if (server->draining && !busy)
            break;
    }
    if (!server->draining)
        begin_drain(server);
    linger(server);
    return server->failed;
}
