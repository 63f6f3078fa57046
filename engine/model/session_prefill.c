/* Prompts: in chunks, each through all steps, or all chunks step by step where slots are shared. */
#include "engine/model/pace.h"
#include "engine/model/session_internal.h"

/* One chunk of the prompt, `n_core` steps from `depth`. */
static enum mn_status prefill_chunk(struct session *s, const struct session_prefill_params *p, uint32_t begin,
                                    uint32_t n, uint32_t depth, uint32_t n_core, bool coda, uint32_t *token)
{
    struct row rows[SESSION_MAX_ROWS];
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (struct row){p->ids[begin + i], p->first + begin + i, p->sequence, depth};
    bool last = begin + n == p->n;
    uint32_t picked[SESSION_MAX_ROWS];
    struct session_run_params run = {.rows = rows,
                                     .n_rows = n,
                                     .n_new = depth == 0 ? n : 0,
                                     .n_core = n_core,
                                     .coda = coda,
                                     .n_head = !coda            ? 0
                                               : p->each_logits ? n
                                               : last && token  ? 1
                                                                : 0,
                                     .prefill = true,
                                     .given_states = p->state0 != NULL};
    enum mn_status status = session_run(s, &run, picked);
    if (!status && coda && last && token)
        *token = picked[run.n_head - 1];
    if (!status && coda && p->each_logits) {
        for (uint32_t i = 0; i < n && !status; i++) {
            status = session_read_logits(s, i, s->host_logits);
            if (!status)
                status = p->each_logits(p->user, p->first + begin + i, s->host_logits, s->model->config.vocab_size);
        }
    }
    return status;
}

/* Rows of the chunk that begins at `at`. Their number is free to change: no bit depends on how a prompt is cut. */
static uint32_t chunk_at(const struct session *s, const struct session_prefill_params *p, uint32_t at)
{
    const uint32_t left = p->n - at, end = left < SESSION_MAX_ROWS ? p->n : at + SESSION_MAX_ROWS,
                   most = pace_chunk_rows(s, p->first + end - 1);
    return left < most ? left : most;
}

static enum mn_status run_chunks(struct session *s, const struct session_prefill_params *p, uint32_t *token)
{
    enum mn_status status = MN_OK;
    uint32_t n; /* of a chunk */
    if (s->info.kv_policy.share == 0 || p->n <= pace_chunk_rows(s, p->first + p->n - 1)) {
        for (uint32_t at = 0; at < p->n && !status; at += n) {
            n = chunk_at(s, p, at);
            status = prefill_chunk(s, p, at, n, 0, p->num_steps, true, token);
        }
        return status;
    }
    /* Under sharing, the positions of a prompt read each other at the SAME step: all chunks take a step before any
     * takes the next. With `full` slots both orders give the same bits, and the loop above needs fewer submits. */
    for (uint32_t t = 0; t < p->num_steps && !status; t++)
        for (uint32_t at = 0; at < p->n && !status; at += n) {
            n = chunk_at(s, p, at);
            status = prefill_chunk(s, p, at, n, t, 1, false, NULL);
        }
    for (uint32_t at = 0; at < p->n && !status; at += n) {
        n = chunk_at(s, p, at);
        status = prefill_chunk(s, p, at, n, p->num_steps, 0, true, token);
    }
    return status;
}

enum mn_status session_prefill(struct session *s, const struct session_prefill_params *p, uint32_t *token)
{
    if (p->n < 1 || p->n > s->info.n_ctx || p->first > s->info.n_ctx - p->n)
        return log_fail(s->model->device->log, MN_ERR_USAGE,
                        "a prompt of %u tokens at position %u does not fit into the context of %u (n_ctx)", p->n,
                        p->first, s->info.n_ctx);
    enum mn_status status = session_check_ids(s, p->ids, p->n, s->model->device->log);
    if (!status && p->state0)
        status = session_write_states(s, p->sequence, p->first, p->state0, p->n);
    if (status)
        return status;
    struct progress *progress = session_progress(s);
    status = progress_begin(progress, "reading the prompt", (uint64_t)p->n * p->num_steps);
    if (!status)
        status = run_chunks(s, p, token);
    return progress_end(progress, status);
}
