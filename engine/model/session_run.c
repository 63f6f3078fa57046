/* One run: its rows into the state buffer, its passes in order, what they read counted. */
#include <math.h>
#include <string.h>

#include "engine/base/numbers.h"
#include "engine/model/pace.h"
#include "engine/model/session_internal.h"

static void write_table(struct session *s, uint32_t *head, uint32_t table, const struct session_run_params *p,
                        uint32_t first, uint32_t count)
{
    const struct tuning *tuning = &s->model->tuning;
    const uint32_t shared_rows = p->prefill ? tuning->attention_tile_rows : 0;
    uint32_t last = 0;
    for (uint32_t i = first; i < first + count; i++)
        last = max_u32(last, p->rows[i].position);
    head[2 * table] = first;
    head[2 * table + 1] = count;
    if (table == TABLE_HEAD)
        return;
    head[STATE_GROUPS + 3 * table] = s->model->config.n_heads;
    head[STATE_GROUPS + 3 * table + 1] = shared_rows ? 1 : last / tuning->attention_split + 1;
    head[STATE_GROUPS + 3 * table + 2] = shared_rows ? (count + shared_rows - 1) / shared_rows : count;
}

static void write_settings(const struct session *s, uint32_t *words, const struct session_run_params *p, uint32_t i)
{
    const uint32_t sequence = p->rows[i].sequence, first_new = p->n_rows - p->n_new;
    const struct sampler_params *sampler = &s->samplers[sequence];
    const float init_scale = s->init_scales[sequence];
    const bool given = i >= first_new && i < first_new + p->n_given;
    words[SETTING_SEED_LO] = (uint32_t)sampler->seed;
    words[SETTING_SEED_HI] = (uint32_t)(sampler->seed >> 32);
    words[SETTING_TEMPERATURE] = bits_of(sampler->temperature);
    words[SETTING_TOP_K] = sampler->top_k;
    words[SETTING_TOP_P] = bits_of(sampler->top_p);
    words[SETTING_MIN_P] = bits_of(sampler->min_p);
    words[SETTING_INIT_MODE] = given ? INIT_GIVEN : init_scale != 0.0f ? INIT_NORMAL : INIT_ZERO;
    words[SETTING_INIT_STD] = bits_of((float)s->model->config.state_std * init_scale);
}

void session_write_state(struct session *s, const struct session_run_params *p)
{
    uint32_t *head = span_host(s->state);
    write_table(s, head, TABLE_PRELUDE, p, p->n_rows - p->n_new, p->n_new);
    write_table(s, head, TABLE_CORE, p, 0, p->n_rows);
    write_table(s, head, TABLE_CODA, p, 0, p->n_rows);
    write_table(s, head, TABLE_HEAD, p, p->n_rows - p->n_head, p->n_head);
    for (uint32_t i = 0; i < p->n_rows; i++) {
        const struct row *row = &p->rows[i];
        const uint32_t words[] = {row->token, row->position, row->sequence | row->shift << ROW_SEQUENCE_BITS,
                                  row->depth};
        memcpy(head + STATE_HEAD_WORDS + 4 * i, words, sizeof words);
        write_settings(s, head + STATE_SETTINGS + SETTING_WORDS * i, p, i);
    }
}

enum mn_status session_check_ids(const struct session *s, const uint32_t *ids, uint32_t n, const struct mn_log *log)
{
    for (uint32_t i = 0; i < n; i++)
        if (ids[i] >= s->model->config.vocab_size)
            return log_fail(log, MN_ERR_USAGE, "token id %u: the vocabulary has %u", ids[i],
                            s->model->config.vocab_size);
    return MN_OK;
}

/* A row on a branch: inside the branch's cells, there is one branch of a sequence, and what stands in front of it is as
 * deep. */
static enum mn_status check_branch(const struct session *s, const struct session_run_params *p, const struct row *row)
{
    const struct mn_log *log = s->model->device->log;
    const uint32_t first = s->info.n_ctx - row->shift;
    if (row->shift > s->info.n_ctx || row->position < first || row->position - first >= s->info.n_branch)
        return log_fail(log, MN_ERR_USAGE, "position %u on a branch with shift %u: branches have room for %u positions",
                        row->position, row->shift, s->info.n_branch);
    for (uint32_t i = 0; i < p->n_rows; i++) {
        const struct row *other = &p->rows[i];
        if (other->sequence == row->sequence && other->shift != 0 && other->shift != row->shift)
            return log_fail(log, MN_ERR_USAGE, "branches of sequence %u at positions %u and %u: one at a time",
                            row->sequence, first, s->info.n_ctx - other->shift);
        if (other->sequence == row->sequence && !other->shift && other->position < first && other->depth < row->depth)
            return log_fail(log, MN_ERR_USAGE,
                            "row at position %u, depth %u on the branch behind one at position %u, depth %u: depths "
                            "must not ascend",
                            row->position, row->depth, other->position, other->depth);
    }
    return MN_OK;
}

/* Two rows at one place would race, and a row above one less deep would read entries that are not final. */
static enum mn_status check_order(const struct session *s, const struct session_run_params *p)
{
    const struct row *last[2][SESSION_MAX_ROWS] = {{NULL}}; /* on the branch or not, by sequence */
    for (uint32_t i = 0; i < p->n_rows; i++) {
        const struct row *row = &p->rows[i], *before = last[row->shift > 0][row->sequence];
        if (before && (row->position <= before->position || row->depth > before->depth))
            return log_fail(s->model->device->log, MN_ERR_USAGE,
                            "row at position %u, depth %u behind one at position %u, depth %u of the same sequence: "
                            "positions must ascend, depths must not",
                            row->position, row->depth, before->position, before->depth);
        if (i >= p->n_rows - p->n_new && row->depth != 0)
            return log_fail(s->model->device->log, MN_ERR_USAGE, "row at position %u enters at depth %u: must be 0",
                            row->position, row->depth);
        last[row->shift > 0][row->sequence] = row;
    }
    for (uint32_t i = 0; i < p->n_rows; i++) {
        enum mn_status status = p->rows[i].shift ? check_branch(s, p, &p->rows[i]) : MN_OK;
        if (status)
            return status;
    }
    return MN_OK;
}

/* The device trusts what it is given: every index a kernel will use is checked here. */
static enum mn_status check_run(struct session *s, const struct session_run_params *p)
{
    const struct mn_log *log = s->model->device->log;
    const uint32_t most = p->prefill ? s->info.prefill_rows : s->info.max_rows;
    if (p->n_rows < 1 || p->n_rows > most || p->n_new > p->n_rows || p->n_given > p->n_new || p->n_head > p->n_rows ||
        (p->n_head && !p->coda))
        return log_fail(log, MN_ERR_USAGE, "run of %u rows (%u new, %u with logits) is not possible", p->n_rows,
                        p->n_new, p->n_head);
    for (uint32_t i = 0; i < p->n_rows; i++) {
        const struct row *row = &p->rows[i];
        enum mn_status status = session_check_ids(s, &row->token, 1, log);
        if (status)
            return status;
        if (row->position >= s->info.n_ctx)
            return log_fail(log, MN_ERR_USAGE, "position %u: the context has %u (n_ctx)", row->position, s->info.n_ctx);
        if (row->sequence >= s->info.n_sequences || row->depth > s->info.num_steps ||
            p->n_core > s->info.num_steps - row->depth)
            return log_fail(log, MN_ERR_USAGE,
                            "row of sequence %u at depth %u + %u steps: the session has %u sequences and %u steps",
                            row->sequence, row->depth, p->n_core, s->info.n_sequences, s->info.num_steps);
    }
    return check_order(s, p);
}

static void count_pass(struct session *s, enum pass pass, uint32_t stamp, uint32_t n_rows, uint64_t bytes)
{
    uint32_t n_max = session_tile(s, stamp)->n_max;
    s->counts.passes[pass]++;
    s->counts.rows[pass] += n_rows;
    s->counts.weight_bytes += bytes * ((n_rows + n_max - 1) / n_max);
}

/* Positions that attention weighs; and those whose keys and values are loaded: rows of a tile share them, which are as
 * a rule of one sequence and one depth. */
struct positions {
    uint64_t weighed, loaded;
};

static struct positions count_positions(const struct session *s, const struct session_run_params *p, uint32_t first)
{
    const uint32_t shared_rows = p->prefill ? max_u32(1, s->model->tuning.attention_tile_rows) : 1;
    struct positions n = {0};
    for (uint32_t i = first; i < p->n_rows; i++) {
        n.weighed += p->rows[i].position + 1;
        if ((i - first + 1) % shared_rows == 0 || i + 1 == p->n_rows)
            n.loaded += p->rows[i].position + 1;
    }
    return n;
}

static void count_attention(struct session *s, const struct session_run_params *p, double *all, double *of_new)
{
    const struct model_config *config = &s->model->config;
    const struct positions n = count_positions(s, p, 0), new = count_positions(s, p, p->n_rows - p->n_new);
    const uint64_t entry = 2 * kv_entry_bytes(&s->cache.shape);
    *all = (double)n.weighed;
    *of_new = (double)new.weighed;
    s->counts.kv_bytes += entry * (n.loaded * ((uint64_t)config->n_core * p->n_core + (p->coda ? config->n_coda : 0)) +
                                   new.loaded * config->n_prelude);
}

struct progress *session_progress(struct session *s)
{
    return &s->model->device->progress;
}

/* Does a head row's token come from a sampler? Greedy rows beside it take the argmax in the same kernel. */
static bool any_sampled(const struct session *s, const struct session_run_params *p)
{
    bool any = false;
    for (uint32_t i = p->n_rows - p->n_head; i < p->n_rows; i++)
        any |= s->samplers[p->rows[i].sequence].temperature > 0.0f;
    return any;
}

enum mn_status session_run(struct session *s, const struct session_run_params *p, uint32_t *tokens)
{
    enum mn_status status = check_run(s, p);
    if (status)
        return status;
    const struct weights *w = &s->model->weights;
    const enum pass head = any_sampled(s, p) ? PASS_HEAD_SAMPLED : PASS_HEAD_GREEDY;
    const uint32_t stamp = session_stamp(p->n_rows, p->prefill), stamp_new = session_stamp(p->n_new, p->prefill),
                   stamp_head = session_stamp(p->n_head, p->prefill);
    struct pace pace = {.session = s, .teaches = true};
    double positions, new_positions;
    session_write_state(s, p);
    count_attention(s, p, &positions, &new_positions);
    if (p->n_new) {
        pace_pass(&pace, PASS_PRELUDE, stamp_new, p->n_new, new_positions);
        count_pass(s, PASS_PRELUDE, stamp_new, p->n_new, w->prelude_bytes);
    }
    for (uint32_t i = 0; i < p->n_core && !pace.status; i++) {
        pace_pass(&pace, PASS_CORE, stamp, p->n_rows, positions);
        if (!pace.status)
            pace.status = progress_add(session_progress(s), p->n_rows);
        count_pass(s, PASS_CORE, stamp, p->n_rows, w->core_bytes);
    }
    if (p->coda) {
        pace_pass(&pace, PASS_CODA, stamp, p->n_rows, positions);
        count_pass(s, PASS_CODA, stamp, p->n_rows, w->coda_bytes - matrix_bytes(&w->head));
    }
    if (p->n_head) {
        pace_pass(&pace, head, stamp_head, p->n_head, 0.0);
        count_pass(s, head, stamp_head, p->n_head, matrix_bytes(&w->head));
    }
    status = pace_end(&pace);
    if (status)
        return status;
    const uint32_t *picked = (const uint32_t *)span_host(s->state) + STATE_TOKENS + (p->n_rows - p->n_head);
    for (uint32_t i = 0; tokens && i < p->n_head; i++)
        tokens[i] = picked[i];
    return MN_OK;
}
