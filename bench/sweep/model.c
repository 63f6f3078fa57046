/* muninn bench: one model on one device, its prompts, and what ar says behind them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench/sweep/measure.h"
#include "engine/base/philox.h"

enum { RANDOM_PROMPT = 24 };

/* ---- its life ---- */

enum mn_status bench_model_open(struct bench_model *m, const char *dir, const char *synthetic,
                                const struct bench_setting *setting, const struct bench_common *common)
{
    const struct ceiling_params in_rest = {setting->device, common->cpu_threads, common->cost_dir, common->progress,
                                           common->log};
    struct mn_model_shape shape;
    *m = (struct bench_model){.sensor_root = common->sensor_root};
    /* What cannot be a model is refused before the device is touched; its ceiling is measured before the model is. */
    enum mn_status status = mn_model_shape(
        &shape, &(struct mn_engine_params){.model_dir = dir, .synthetic = synthetic, .log = common->log});
    if (!status)
        status = ceiling_at_rest(&m->ceiling, common->ceilings, &in_rest);
    if (!status)
        status = mn_engine_create(&m->engine, &(struct mn_engine_params){.model_dir = dir,
                                                                         .synthetic = synthetic,
                                                                         .synthetic_seed = common->seed,
                                                                         .device = setting->device,
                                                                         .weight_type = setting->weight_type,
                                                                         .matrix_units = setting->matrix_units,
                                                                         .progress = common->progress,
                                                                         .log = common->log});
    if (status)
        return status;
    mn_engine_info(m->engine, &m->info);
    status = identity_init(&m->identity, &m->info, dir, synthetic, common->cpu_threads, common->log);
    m->prompt_set = !m->info.has_tokenizer && !strcmp(common->prompts->name, "built-in") ? "random"
                                                                                         : common->prompts->name;
    m->sensors = sensors_open(&(struct sensors_params){
        .root = common->sensor_root, .pci = m->info.device_pci, .is_cpu = !strcmp(m->info.device_type, "cpu")});
    if (status)
        bench_model_close(m);
    return status;
}

static void free_expected(struct bench_model *m)
{
    for (uint32_t i = 0; i < m->n_expected; i++) {
        free(m->expected[i].ids);
        free(m->expected[i].tokens);
    }
    free(m->expected);
    m->expected = NULL;
    m->n_expected = m->longest = m->n_new = 0;
}

void bench_model_close(struct bench_model *m)
{
    free_expected(m);
    sensors_close(m->sensors);
    mn_engine_destroy(m->engine);
    *m = (struct bench_model){0};
}

enum mn_status bench_model_end(struct ceiling *end, const struct bench_model *m, struct rows *rows, size_t first,
                               const struct mn_log *log)
{
    enum mn_status status = ceiling_at_end(end, &m->ceiling, m->engine, log);
    for (size_t i = first; i < rows->n && !status; i++)
        if (!cJSON_AddNumberToObject(rows->items[i], "ceiling_end_gb_s", end->gb_s))
            status = log_fail(log, MN_ERR_MEMORY, "out of host memory for a row");
    return status;
}

/* ---- prompts ---- */

static enum mn_status no_memory(const struct mn_log *log)
{
    return log_fail(log, MN_ERR_MEMORY, "out of host memory for prompts");
}

static enum mn_status random_ids(const struct bench_model *m, uint32_t which, uint32_t **ids, size_t *n,
                                 const struct mn_log *log)
{
    *n = RANDOM_PROMPT;
    if (!(*ids = malloc(*n * sizeof **ids)))
        return no_memory(log);
    for (uint32_t i = 0; i < *n; i++) {
        const uint32_t counter[4] = {i, which, 0, 0}, key[2] = {0, 0};
        uint32_t bits[4];
        philox(counter, key, bits);
        (*ids)[i] = bits[0] % m->info.shape.vocab_size;
    }
    return MN_OK;
}

/* The conversation up to this turn, with ar's answers in it: every setting gets the same prompt. */
static enum mn_status conversation(struct bench_model *m, const struct expected *e, uint32_t **ids, size_t *n,
                                   const struct mn_log *log)
{
    struct mn_chat_message messages[2 * TURNS_MAX];
    char *answers[TURNS_MAX] = {NULL};
    size_t n_messages = 0;
    enum mn_status status = m->info.has_tokenizer
                                ? MN_OK
                                : log_fail(log, MN_ERR_FILE,
                                           "--prompts: the model has no tokenizer.json, questions need one");
    for (uint32_t t = 0; t <= e->turn && !status; t++) {
        const char *text = e->prompt->turns[t];
        messages[n_messages++] = (struct mn_chat_message){"user", text, strlen(text)};
        if (t == e->turn)
            break;
        const struct expected *before = e - (e->turn - t);
        size_t n_bytes;
        status = mn_detokenize(m->engine, before->tokens, before->n_tokens, true, &answers[t], &n_bytes);
        if (!status)
            messages[n_messages++] = (struct mn_chat_message){"assistant", answers[t], n_bytes};
    }
    if (!status)
        status = mn_chat(m->engine, messages, n_messages, ids, n);
    for (uint32_t t = 0; t < TURNS_MAX; t++)
        free(answers[t]);
    return status;
}

/* The begin token and the text, or ids; repeated or cut to `length` ids, 0: as long as they are. */
static enum mn_status plain(struct bench_model *m, const struct expected *e, uint32_t which, uint32_t length,
                            bool random, struct expected *out, const struct mn_log *log)
{
    uint32_t *base = NULL;
    size_t n = e->prompt->n_ids;
    enum mn_status status = MN_OK;
    if (random)
        status = random_ids(m, which, &base, &n, log);
    else if (e->prompt->n_turns)
        status = mn_tokenize(m->engine, e->prompt->turns[0], strlen(e->prompt->turns[0]), false, &base, &n);
    if (status)
        return status;
    const uint32_t *from = base ? base : e->prompt->ids;
    const uint32_t bos = e->prompt->n_turns && m->info.bos_token_id != UINT32_MAX,
                   total = length ? length : (uint32_t)n + bos;
    if (n == 0 && total > bos)
        status = log_fail(log, MN_ERR_FORMAT, "--prompts: an empty prompt cannot be brought to %" PRIu32 " tokens",
                          length);
    else if (total == 0)
        status = log_fail(log, MN_ERR_FORMAT, "--prompts: an empty prompt, and the model has no begin token");
    for (size_t i = 0; i < n && !status; i++)
        if (from[i] >= m->info.shape.vocab_size)
            status = log_fail(log, MN_ERR_FORMAT,
                              "--prompts: token id %" PRIu32 ": the vocabulary has ids 0 to %" PRIu32, from[i],
                              m->info.shape.vocab_size - 1);
    if (!status && !(out->ids = malloc(total * sizeof *out->ids)))
        status = no_memory(log);
    for (uint32_t i = 0; i < total && !status; i++)
        out->ids[i] = i < bos ? m->info.bos_token_id : from[(i - bos) % n];
    out->n_ids = status ? 0 : total;
    free(base);
    return status;
}

static enum mn_status make_ids(struct bench_model *m, uint32_t i, uint32_t length, const struct bench_common *common)
{
    struct expected *e = &m->expected[i];
    const bool random = !strcmp(m->prompt_set, "random");
    if (!common->prompts->questions)
        return plain(m, e, i, length, random, e, common->log);
    size_t n;
    enum mn_status status = conversation(m, e, &e->ids, &n, common->log);
    e->n_ids = status ? 0 : (uint32_t)n;
    return status;
}

/* ---- what ar says ---- */

static int keep(void *user, uint32_t token)
{
    struct expected *e = user;
    e->tokens[e->n_tokens++] = token;
    return 0;
}

void bench_params(struct mn_generate_params *p, const struct expected *e, const struct bench_setting *s,
                  const struct bench_common *common)
{
    *p = (struct mn_generate_params){.prompt = e->ids,
                                     .n_prompt = e->n_ids,
                                     .n_new = s->n_new,
                                     .num_steps = s->num_steps,
                                     .strategy = s->strategy,
                                     .speculation = {.draft_steps = s->draft_steps,
                                                     .lookahead = s->lookahead,
                                                     .max_inflight = s->max_inflight,
                                                     .lookup = s->lookup,
                                                     .branches = s->branches},
                                     .diffusion = {.embed_average = 0.1f},
                                     .sampler = {.temperature = common->temperature, .seed = common->seed},
                                     .ignore_eos = !common->stop_at_eos};
    acceptance_set(common->acceptance, s->strategy, &p->measuring);
}

static enum mn_status ask_ar(struct bench_model *m, uint32_t turn, uint32_t longest,
                             const struct bench_setting *setting, const struct bench_common *common)
{
    const struct bench_setting ar = {.strategy = "ar", .num_steps = setting->num_steps, .n_new = setting->n_new};
    struct mn_session *session;
    struct mn_stats stats;
    enum mn_status status = mn_session_create(&session, m->engine,
                                              &(struct mn_session_params){.n_ctx = longest + setting->n_new,
                                                                          .num_steps = setting->num_steps,
                                                                          .max_rows = 1,
                                                                          .kv_type = setting->kv_type,
                                                                          .beyond_trained_depth = common->beyond});
    if (status)
        return status;
    for (uint32_t i = 0; i < m->n_expected && !status; i++) {
        struct mn_generate_params params;
        if (m->expected[i].turn != turn)
            continue;
        bench_params(&params, &m->expected[i], &ar, common);
        params.on_token = keep;
        params.user = &m->expected[i];
        status = common->stop && common->stop() ? MN_ERR_INTERRUPTED : mn_generate(session, &params, &stats);
    }
    mn_session_destroy(session);
    return status;
}

static enum mn_status list_turns(struct bench_model *m, const struct bench_setting *s,
                                 const struct bench_common *common, uint32_t *most_turns)
{
    const struct prompt_set *set = common->prompts;
    size_t n = 0;
    *most_turns = 1;
    for (uint32_t i = 0; i < set->n; i++) {
        const uint32_t turns = set->items[i].n_turns > 1 ? set->items[i].n_turns : 1;
        n += turns;
        *most_turns = turns > *most_turns ? turns : *most_turns;
    }
    if (!(m->expected = calloc(n, sizeof *m->expected)))
        return no_memory(common->log);
    for (uint32_t i = 0; i < set->n; i++)
        for (uint32_t t = 0; t == 0 || t < set->items[i].n_turns; t++) {
            struct expected *e = &m->expected[m->n_expected++];
            *e = (struct expected){.prompt = &set->items[i], .turn = t, .tokens = malloc(s->n_new * sizeof *e->tokens)};
            if (!e->tokens)
                return no_memory(common->log);
        }
    return MN_OK;
}

enum mn_status bench_model_expect(struct bench_model *m, const struct bench_setting *s,
                                  const struct bench_common *common)
{
    uint32_t most_turns;
    if (m->n_new == s->n_new && m->num_steps == s->num_steps && m->prompt_tokens == s->prompt_tokens &&
        !strcmp(m->kv_type, s->kv_type))
        return MN_OK;
    free_expected(m);
    enum mn_status status = list_turns(m, s, common, &most_turns);
    /* Turn by turn: a second turn's prompt has the first one's answer in it. */
    for (uint32_t t = 0; t < most_turns && !status; t++) {
        uint32_t longest = 0;
        for (uint32_t i = 0; i < m->n_expected && !status; i++)
            if (m->expected[i].turn == t) {
                status = make_ids(m, i, s->prompt_tokens, common);
                longest = m->expected[i].n_ids > longest ? m->expected[i].n_ids : longest;
            }
        if (!status)
            status = ask_ar(m, t, longest, s, common);
        m->longest = longest > m->longest ? longest : m->longest;
    }
    if (status) {
        free_expected(m);
        return status;
    }
    m->n_new = s->n_new;
    m->num_steps = s->num_steps;
    m->prompt_tokens = s->prompt_tokens;
    m->kv_type = s->kv_type;
    return MN_OK;
}
