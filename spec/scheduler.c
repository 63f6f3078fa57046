/* Whose turn it is: a queue in front of the places of the session's cache, prompts in pieces, and ticks (schedule.c)
 * that all decoding sequences share. */
#include "spec/scheduler.h"

#include <stdlib.h>

#include "engine/base/numbers.h"
#include "spec/cost.h"
#include "spec/prefix.h"
#include "spec/sequence.h"

enum { USUAL_PROMPT_ROWS = 64 };

struct scheduler {
    struct session *session;
    struct mn_cost_table *costs;
    struct mn_scheduler_params params;
    struct sequence *waiting, **waiting_end; /* in order of arrival */
    struct sequence **active;                /* [n_active] in the order in which they were let in */
    struct generation **ticking;             /* [n_sequences], for a tick */
    struct prefix_store *prefixes;           /* what the cache's places hold */
    uint32_t n_waiting, n_active, n_rows;    /* n_rows: most in a pass of the active ones */
    uint64_t next_id;
    bool busy; /* callbacks are being called */
    struct mn_scheduler_stats stats;
};

/* ---- life ---- */

enum mn_status scheduler_create(struct scheduler **out, struct session *session, struct mn_cost_table *costs,
                                const struct mn_scheduler_params *params)
{
    const struct session_info *info = session_info(session);
    struct scheduler *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return log_fail(info->log, MN_ERR_MEMORY, "out of host memory for a scheduler");
    s->session = session;
    s->costs = costs;
    s->params = *params;
    s->params.prompt_rows = params->prompt_rows ? params->prompt_rows : USUAL_PROMPT_ROWS;
    s->waiting_end = &s->waiting;
    s->next_id = 1;
    s->active = calloc(info->n_sequences, sizeof(struct sequence *));
    s->ticking = calloc(info->n_sequences, sizeof(struct generation *));
    enum mn_status status = s->active && s->ticking
                                ? prefix_store_create(&s->prefixes, info, !params->no_reuse)
                                : log_fail(info->log, MN_ERR_MEMORY, "out of host memory for a scheduler");
    if (status) {
        scheduler_destroy(s);
        return status;
    }
    *out = s;
    return MN_OK;
}

static void note_time(struct generation *g)
{
    if (g->read)
        g->stats->decode_ns = clock_ns() - g->start_ns;
}

void scheduler_destroy(struct scheduler *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->n_active; i++) {
        note_time(&s->active[i]->generation);
        generation_end(&s->active[i]->generation, MN_OK);
        sequence_destroy(s->active[i]);
    }
    while (s->waiting) {
        struct sequence *q = s->waiting;
        s->waiting = q->next;
        sequence_destroy(q);
    }
    prefix_store_destroy(s->prefixes);
    free(s->active);
    free(s->ticking);
    free(s);
}

void scheduler_stats(const struct scheduler *s, struct mn_scheduler_stats *out)
{
    *out = s->stats;
    out->n_waiting = s->n_waiting;
    for (uint32_t i = 0; i < s->n_active; i++)
        *(s->active[i]->generation.read ? &out->n_decoding : &out->n_reading) += 1;
    out->n_kept = prefix_store_kept(s->prefixes);
}

/* ---- coming and going ---- */

static enum mn_status refuse_busy(const struct scheduler *s)
{
    return s->busy ? log_fail(session_info(s->session)->log, MN_ERR_USAGE,
                              "the scheduler was called from one of its callbacks: only between its steps")
                   : MN_OK;
}

enum mn_status scheduler_add(struct scheduler *s, const struct sequence_params *params, uint64_t *id)
{
    struct sequence *q;
    enum mn_status status = refuse_busy(s);
    if (!status)
        status = sequence_create(&q, s->session, s->costs, params);
    if (status)
        return status;
    q->id = s->next_id++;
    *s->waiting_end = q;
    s->waiting_end = &q->next;
    s->n_waiting++;
    s->stats.n_added++;
    if (id)
        *id = q->id;
    return MN_OK;
}

/* The last that is heard of a sequence which is in no list any more. */
static void say_end(struct scheduler *s, struct sequence *q)
{
    const bool was_busy = s->busy;
    note_time(&q->generation);
    s->busy = true;
    s->stats.n_ended++;
    s->stats.total.n_sequences += q->generation.stats->n_new > 0;
    stats_add_sequence(&s->stats.total, q->generation.stats);
    if (q->on_end)
        q->on_end(q->user, q->id, q->generation.stats);
    s->busy = was_busy;
    sequence_destroy(q);
}

static struct sequence *take_waiting(struct scheduler *s, struct sequence **at)
{
    struct sequence *q = *at;
    *at = q->next;
    if (s->waiting_end == &q->next)
        s->waiting_end = at;
    s->n_waiting--;
    return q;
}

/* Ends one that is active; those behind it move up. `keep`: what it has read is in the cache. */
static void retire(struct scheduler *s, uint32_t i, bool keep)
{
    struct sequence *q = s->active[i];
    s->n_active--;
    for (; i < s->n_active; i++)
        s->active[i] = s->active[i + 1];
    s->n_rows -= q->rows;
    prefix_leave(s->prefixes, &q->generation, keep);
    say_end(s, q);
}

enum mn_status scheduler_cancel(struct scheduler *s, uint64_t id)
{
    enum mn_status status = refuse_busy(s);
    if (status)
        return status;
    if (id == 0 || id >= s->next_id)
        return log_fail(session_info(s->session)->log, MN_ERR_USAGE, "sequence %llu: was never added",
                        (unsigned long long)id);
    for (uint32_t i = 0; i < s->n_active; i++)
        if (s->active[i]->id == id) {
            generation_end(&s->active[i]->generation, MN_OK);
            retire(s, i, true);
            return MN_OK;
        }
    for (struct sequence **at = &s->waiting; *at; at = &(*at)->next)
        if ((*at)->id == id) {
            generation_end(&(*at)->generation, MN_OK);
            say_end(s, take_waiting(s, at));
            return MN_OK;
        }
    return MN_OK; /* it ended by itself */
}

/* ---- a step ---- */

/* Lets waiting sequences in while there is room for the first one. */
static enum mn_status admit(struct scheduler *s)
{
    const struct session_info *info = session_info(s->session);
    enum mn_status status = MN_OK;
    while (!status && s->waiting && s->n_active < info->n_sequences && s->n_rows + s->waiting->rows <= info->max_rows) {
        struct sequence *q = take_waiting(s, &s->waiting);
        struct generation *g = &q->generation;
        uint32_t place, skip;
        s->active[s->n_active++] = q;
        s->n_rows += q->rows;
        prefix_enter(s->prefixes, g, &place, &skip);
        s->stats.reused_rows += skip;
        status = generation_begin(g, place, skip);
    }
    return status;
}

static bool any_decodes(const struct scheduler *s)
{
    for (uint32_t i = 0; i < s->n_active; i++)
        if (s->active[i]->generation.read && !s->active[i]->generation.done)
            return true;
    return false;
}

/* Before its first piece, when the prompts before it have been read: what one of them, or an older one, has in common
 * with this one is copied. */
static enum mn_status copy_prefix(struct scheduler *s, struct generation *g)
{
    const uint32_t had = g->prompt.at;
    uint32_t from, n;
    if (g->prompt.begun || !prefix_find(s->prefixes, g, &from, &n))
        return MN_OK;
    enum mn_status status = session_copy_positions(s->session, from, g->sequence, had, n - had, g->num_steps);
    if (status)
        return status;
    generation_skip(g, n);
    s->stats.reused_rows += n - had;
    return MN_OK;
}

/* A piece of a prompt, as a phase of its own for whoever waits. */
static enum mn_status read_piece(struct scheduler *s, struct generation *g, uint32_t *rows)
{
    struct progress *progress = session_progress(s->session);
    const uint32_t left = g->params->n_prompt - g->prompt.at;
    const double before = g->stats->prefill_ns;
    enum mn_status status = progress_begin(progress, "reading the prompt",
                                           (uint64_t)min_u32(*rows, left) * g->num_steps);
    if (!status)
        status = generation_read(g, rows);
    if (!status)
        prefix_read(s->prefixes, g);
    status = progress_end(progress, status);
    s->stats.total.prefill_ns += g->stats->prefill_ns - before;
    s->stats.prompt_rows += status ? 0 : *rows;
    return status;
}

static enum mn_status read_prompts(struct scheduler *s)
{
    enum mn_status status = MN_OK;
    uint32_t left = any_decodes(s) ? s->params.prompt_rows : max_u32(s->params.prompt_rows, SESSION_MAX_ROWS);
    for (uint32_t i = 0; i < s->n_active && left > 0 && !status; i++) {
        struct generation *g = &s->active[i]->generation;
        uint32_t rows = left;
        if (g->read)
            continue;
        status = copy_prefix(s, g);
        if (!status)
            status = read_piece(s, g, &rows);
        left -= rows;
    }
    return status;
}

static enum mn_status tick(struct scheduler *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_active; i++)
        if (s->active[i]->generation.read && !s->active[i]->generation.done)
            s->ticking[n++] = &s->active[i]->generation;
    if (n == 0)
        return MN_OK;
    const double start = clock_ns();
    enum mn_status status = schedule_tick(s->session, s->ticking, n, &s->stats.total);
    s->stats.total.decode_ns += clock_ns() - start;
    return status;
}

/* A pass has failed: nobody knows what the cache holds, and those who have something there cannot go on. A device that
 * is lost is lost for those that wait, too. */
static void fail_all(struct scheduler *s, enum mn_status status)
{
    prefix_forget(s->prefixes);
    while (s->n_active) {
        generation_end(&s->active[0]->generation, status);
        retire(s, 0, false);
    }
    while (status == MN_ERR_DEVICE_LOST && s->waiting) {
        generation_end(&s->waiting->generation, status);
        say_end(s, take_waiting(s, &s->waiting));
    }
}

enum mn_status scheduler_step(struct scheduler *s, uint32_t *n_alive)
{
    enum mn_status status = refuse_busy(s);
    if (status)
        return status;
    s->busy = true;
    s->stats.n_steps++;
    status = admit(s);
    if (!status)
        status = read_prompts(s);
    if (!status)
        status = tick(s);
    for (uint32_t i = 0; i < s->n_active;)
        if (s->active[i]->generation.done)
            retire(s, i, !status);
        else
            i++;
    if (status)
        fail_all(s, status);
    s->busy = false;
    if (n_alive)
        *n_alive = s->n_active + s->n_waiting;
    return status;
}
