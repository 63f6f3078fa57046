/* Prompts: in chunks, each through all steps, or all chunks step by step where slots are shared. */
#include "engine/base/numbers.h"
#include "engine/model/pace.h"
#include "engine/model/session_internal.h"

/* One chunk of the prompt, `n_core` steps from `depth`. */
static enum mn_status prefill_chunk(struct session *s, const struct session_prefill_params *p, uint32_t begin,
                                    uint32_t n, uint32_t depth, uint32_t n_core, bool coda, uint32_t *token)
{
    struct row rows[SESSION_MAX_ROWS];
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (struct row){
            .token = p->ids[begin + i], .position = p->first + begin + i, .sequence = p->sequence, .depth = depth};
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
                                     .n_given = depth == 0 && p->state0 ? n : 0};
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

/* Rows of the chunk that begins at `at`, at most `most`. Their number is free to change: no bit depends on how a prompt
 * is cut. */
static uint32_t chunk_at(const struct session *s, const struct session_prompt *prompt, uint32_t most)
{
    const struct session_prefill_params *p = &prompt->params;
    const uint32_t left = p->n - prompt->at, end = left < SESSION_MAX_ROWS ? p->n : prompt->at + SESSION_MAX_ROWS;
    return min_u32(min_u32(left, most), pace_chunk_rows(s, p->first + end - 1));
}

enum mn_status session_prompt_begin(struct session *s, struct session_prompt *prompt,
                                    const struct session_prefill_params *p, uint32_t skip)
{
    *prompt = (struct session_prompt){.params = *p, .at = skip};
    if (p->n < 1 || p->n > s->info.n_ctx || p->first > s->info.n_ctx - p->n)
        return log_fail(s->model->device->log, MN_ERR_USAGE,
                        "a prompt of %u tokens at position %u does not fit into the context of %u (n_ctx)", p->n,
                        p->first, s->info.n_ctx);
    enum mn_status status = session_check_ids(s, p->ids, p->n, s->model->device->log);
    if (!status && p->state0)
        status = session_write_states(s, p->sequence, p->first, p->state0, p->n);
    return status;
}

/* Under sharing, the positions of a prompt read each other at the SAME step: all chunks take a step before any takes
 * the next, unless there is one chunk only. With `full` slots both orders give the same bits, and whole chunks need
 * fewer submits. */
static void choose_order(const struct session *s, struct session_prompt *prompt, uint32_t most)
{
    if (!prompt->begun)
        prompt->by_step = s->info.kv_policy.share > 0 && prompt->params.n > chunk_at(s, prompt, most);
    prompt->begun = true;
}

/* The next chunk, all its steps or one; *work: the core steps of rows that it took, at least one. */
static enum mn_status run_chunk(struct session *s, struct session_prompt *prompt, uint32_t most, uint32_t *token,
                                uint64_t *work)
{
    const struct session_prefill_params *p = &prompt->params;
    const uint32_t n = chunk_at(s, prompt, most);
    const bool ends = !prompt->by_step || prompt->depth == p->num_steps;
    const uint32_t steps = !prompt->by_step ? p->num_steps : ends ? 0 : 1;
    enum mn_status status = prefill_chunk(s, p, prompt->at, n, prompt->depth, steps, ends, ends ? token : NULL);
    *work = (uint64_t)n * max_u32(steps, 1);
    prompt->at += n;
    if (status || prompt->at < p->n)
        return status;
    prompt->done = ends;
    prompt->at = ends ? p->n : 0;
    prompt->depth += ends ? 0 : 1;
    return MN_OK;
}

enum mn_status session_prompt_run(struct session *s, struct session_prompt *prompt, uint32_t *rows, uint32_t *token)
{
    const uint64_t num_steps = prompt->params.num_steps, most = *rows * num_steps;
    uint64_t taken = 0, work;
    enum mn_status status = MN_OK;
    choose_order(s, prompt, *rows);
    while (!prompt->done && taken < most && !status) {
        const uint64_t left = prompt->by_step ? *rows : (most - taken) / num_steps;
        status = run_chunk(s, prompt, (uint32_t)left, token, &work);
        taken += work;
    }
    *rows = min_u32(*rows, (uint32_t)((taken + num_steps - 1) / num_steps));
    return status;
}

enum mn_status session_prefill(struct session *s, const struct session_prefill_params *p, uint32_t *token)
{
    struct session_prompt prompt;
    enum mn_status status = session_prompt_begin(s, &prompt, p, 0);
    if (status)
        return status;
    struct progress *progress = session_progress(s);
    status = progress_begin(progress, "reading the prompt", (uint64_t)p->n * p->num_steps);
    while (!status && !prompt.done) {
        uint32_t rows = SESSION_MAX_ROWS;
        status = session_prompt_run(s, &prompt, &rows, token);
    }
    return progress_end(progress, status);
}
