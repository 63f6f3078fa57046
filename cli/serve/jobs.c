/* Jobs on their way from HTTP's thread to the main thread and back. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/serve/serve.h"
#include "engine/base/clock.h"

void catch_line(void *user, enum mn_log_level level, const char *line)
{
    struct caught *caught = user;
    if (level == MN_LOG_ERROR)
        snprintf(caught->text, sizeof caught->text, "%s", line);
}

struct job *job_create(struct server *server)
{
    struct job *job = calloc(1, sizeof *job);
    if (job) {
        job->server = server;
        job->n_owners = 1;
        job->fd = -1;
        job->log = (struct mn_log){catch_line, &job->caught};
        job->arrived = clock_s();
        job->created = (int64_t)time(NULL);
    }
    return job;
}

enum mn_status job_make_choices(struct job *job)
{
    job->n_choices = job->n_prompts * job->n_per_prompt;
    job->choices = calloc(job->n_choices, sizeof *job->choices);
    if (!job->choices)
        return MN_ERR_MEMORY;
    for (uint32_t i = 0; i < job->n_choices; i++) {
        job->choices[i].job = job;
        job->choices[i].prompt = i / job->n_per_prompt;
        job->choices[i].text.stops = &job->stops;
    }
    return MN_OK;
}

static void job_free(struct job *job)
{
    for (uint32_t i = 0; job->choices && i < job->n_choices; i++) {
        mn_stream_decoder_destroy(job->choices[i].decoder);
        text_out_free(&job->choices[i].text);
        free(job->choices[i].tokens);
        free(job->choices[i].logprobs);
        free(job->choices[i].alternatives);
    }
    for (uint32_t i = 0; job->prompts && i < job->n_prompts; i++) {
        free(job->prompts[i].ids);
        free(job->prompts[i].echo);
    }
    free(job->choices);
    free(job->prompts);
    free(job->stop_texts);
    free(job->out);
    free(job);
}

void job_release(struct job *job)
{
    if (!job)
        return;
    struct server *server = job->server;
    mtx_lock(&server->lock);
    const bool last = --job->n_owners == 0;
    mtx_unlock(&server->lock);
    if (last)
        job_free(job);
}

static bool make_room(struct job *job, size_t n_bytes)
{
    if (job->n_taken && job->n_taken == job->n_out)
        job->n_taken = job->n_out = 0;
    if (n_bytes <= job->out_capacity - job->n_out)
        return true;
    const size_t capacity = 2 * (job->n_out + n_bytes) + 256;
    char *out = realloc(job->out, capacity);
    if (!out)
        return false;
    job->out = out;
    job->out_capacity = capacity;
    return true;
}

bool job_put(struct job *job, const char *bytes, size_t n_bytes)
{
    mtx_lock(&job->server->lock);
    const bool good = make_room(job, n_bytes);
    if (good) {
        memcpy(job->out + job->n_out, bytes, n_bytes);
        job->n_out += n_bytes;
    }
    mtx_unlock(&job->server->lock);
    return good;
}

void jobs_add(struct server *server, struct job *job)
{
    job->n_owners++;
    job->number = ++server->n_jobs;
    job->next = NULL;
    *server->queue_end = job;
    server->queue_end = &job->next;
    server->n_sequences += job->n_choices;
    cnd_signal(&server->wake);
}

struct job *jobs_take(struct server *server, double seconds)
{
    struct timespec until;
    mtx_lock(&server->lock);
    if (!server->queue && seconds > 0.0 && timespec_get(&until, TIME_UTC)) {
        until.tv_nsec += (long)(1e9 * fmod(seconds, 1.0));
        until.tv_sec += (time_t)seconds + until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        cnd_timedwait(&server->wake, &server->lock, &until);
    }
    struct job *jobs = server->queue;
    server->queue = NULL;
    server->queue_end = &server->queue;
    mtx_unlock(&server->lock);
    return jobs;
}
