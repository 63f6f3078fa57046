#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/handles.h"
#include "engine/vulkan/bandwidth.h"

enum { PATH_BYTES = 4096 };

/* A missing argument is the caller's mistake like any other: refused, not followed. */
static enum mn_status missing(const struct mn_log *log, const char *function, const char *argument)
{
    return log_fail(log, MN_ERR_USAGE, "%s: %s is NULL", function, argument);
}

static const char *type_name(enum device_type type)
{
    switch (type) {
    case DEVICE_DISCRETE: return "discrete";
    case DEVICE_INTEGRATED: return "integrated";
    case DEVICE_VIRTUAL: return "virtual";
    case DEVICE_CPU: return "cpu";
    default: return "other";
    }
}

struct visitor {
    void (*visit)(void *user, const struct mn_device_info *info);
    void *user;
};

static void visit_device(void *user, uint32_t index, const struct caps *caps, const char *refusal)
{
    const struct visitor *visitor = user;
    char banner[sizeof((struct mn_engine *)0)->banner];
    device_banner(caps, banner, sizeof banner);
    struct mn_device_info info = {.index = index,
                                  .name = caps->name,
                                  .driver = caps->driver,
                                  .type = type_name(caps->type),
                                  .banner = banner,
                                  .refusal = refusal,
                                  .subgroup_size = caps->subgroup_size,
                                  .vendor_id = caps->vendor_id,
                                  .device_id = caps->device_id,
                                  .api_version = caps->api_version,
                                  .memory_bytes = caps->device_heap_bytes,
                                  .uma = caps->uma,
                                  .fp16 = caps->fp16,
                                  .int8_dot = caps->int8_dot,
                                  .matrix_cores = caps->matrix_cores};
    visitor->visit(visitor->user, &info);
}

enum mn_status mn_devices(void (*visit)(void *user, const struct mn_device_info *info), void *user,
                          const struct mn_log *log)
{
    if (!visit)
        return missing(log, "mn_devices", "visit");
    struct visitor visitor = {visit, user};
    return device_list(visit_device, &visitor, log);
}

/* A model without tokenizer.json still runs on ids. */
static enum mn_status load_tokenizer(struct mn_engine *engine, const char *dir)
{
    char path[PATH_BYTES];
    if (snprintf(path, sizeof path, "%s/tokenizer.json", dir) >= PATH_BYTES)
        return log_fail(engine->log, MN_ERR_FILE, "model path of more than %d bytes", PATH_BYTES);
    if (access(path, F_OK) != 0)
        return MN_OK;
    enum mn_status status = mn_tokenizer_create(&engine->tokenizer, path, engine->log);
    if (!status && mn_tokenizer_vocab_size(engine->tokenizer) > engine->model->config.vocab_size)
        return log_fail(engine->log, MN_ERR_FORMAT, "%s: token id %u is not below vocab_size %u of config.json", path,
                        mn_tokenizer_vocab_size(engine->tokenizer) - 1, engine->model->config.vocab_size);
    return status;
}

enum mn_status mn_engine_create(struct mn_engine **out, const struct mn_engine_params *params)
{
    const struct mn_log *log = params ? params->log : NULL;
    if (!out)
        return missing(log, "mn_engine_create", "out");
    *out = NULL;
    if (!params || (!params->model_dir && !params->synthetic))
        return missing(log, "mn_engine_create", params ? "params.model_dir" : "params");
    struct model_params model = {.dir = params->model_dir,
                                 .synthetic = params->synthetic,
                                 .synthetic_seed = params->synthetic_seed,
                                 .device = {.select = params->device, .validate = params->validate},
                                 .weight_type = WEIGHT_TYPE_AS_STORED};
    enum mn_status status = MN_OK;
    if (params->weight_type)
        status = weight_type_parse(params->weight_type, &model.weight_type, params->log);
    if (status)
        return status;
    struct mn_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return log_fail(params->log, MN_ERR_MEMORY, "out of host memory for an engine");
    engine->log = params->log;
    status = model_load(&engine->model, &model, params->log);
    if (!status && !params->synthetic)
        status = load_tokenizer(engine, params->model_dir);
    if (status) {
        mn_engine_destroy(engine);
        return status;
    }
    device_banner(&engine->model->device->caps, engine->banner, sizeof engine->banner);
    *out = engine;
    return MN_OK;
}

void mn_engine_destroy(struct mn_engine *engine)
{
    if (!engine)
        return;
    mn_tokenizer_destroy(engine->tokenizer);
    model_free(engine->model);
    free(engine);
}

static uint64_t matrix_parameters(const struct matrix *m, uint32_t n_in)
{
    return (uint64_t)m->n_out * n_in;
}

static uint64_t count_parameters(const struct model *model)
{
    const struct model_config *c = &model->config;
    const struct weights *w = &model->weights;
    const uint32_t d = c->n_embd, n_blocks = c->n_prelude + c->n_core + c->n_coda;
    uint64_t n = matrix_parameters(&w->embedding, d) + (c->tie_embeddings ? 0 : matrix_parameters(&w->head, d)) +
                 matrix_parameters(&w->adapter_state, d) + matrix_parameters(&w->adapter_embed, d) + d;
    for (uint32_t i = 0; i < n_blocks; i++)
        n += matrix_parameters(&w->blocks[i].qkv, d) + matrix_parameters(&w->blocks[i].proj, d) +
             matrix_parameters(&w->blocks[i].gate, d) + matrix_parameters(&w->blocks[i].down, c->intermediate_size) +
             4ull * d + (c->qk_bias ? 2ull * d : 0);
    return n;
}

void mn_engine_info(const struct mn_engine *engine, struct mn_model_info *info)
{
    if (!info)
        return;
    *info = (struct mn_model_info){0};
    if (!engine)
        return;
    const struct model *model = engine->model;
    const struct model_config *c = &model->config;
    *info = (struct mn_model_info){.device_banner = engine->banner,
                                   .device_name = model->device->caps.name,
                                   .driver = model->device->caps.driver,
                                   .n_embd = c->n_embd,
                                   .n_heads = c->n_heads,
                                   .head_dim = c->head_dim,
                                   .intermediate_size = c->intermediate_size,
                                   .vocab_size = c->vocab_size,
                                   .n_prelude = c->n_prelude,
                                   .n_core = c->n_core,
                                   .n_coda = c->n_coda,
                                   .mean_recurrence = c->mean_recurrence,
                                   .block_size = c->block_size,
                                   .bos_token_id = c->bos_token_id,
                                   .n_eos = c->n_eos,
                                   .eos_token_ids = c->eos_token_ids,
                                   .tied = c->tie_embeddings,
                                   .qk_bias = c->qk_bias,
                                   .has_tokenizer = engine->tokenizer != NULL,
                                   .weight_type = weight_type_name(model->weights.adapter_state.type),
                                   .n_parameters = count_parameters(model),
                                   .weight_bytes = model->weights.arena.bytes,
                                   .prelude_bytes = model->weights.prelude_bytes,
                                   .core_bytes = model->weights.core_bytes,
                                   .coda_bytes = model->weights.coda_bytes,
                                   .validation_messages = model->device->n_messages};
}

enum mn_status mn_read_bandwidth(struct mn_engine *engine, double *gb_s)
{
    enum { BYTES = 256 << 20 };
    if (!engine || !gb_s)
        return missing(engine ? engine->log : NULL, "mn_read_bandwidth", engine ? "gb_s" : "engine");
    return bandwidth_measure(&engine->model->kernels, BYTES, gb_s);
}

/* `given`: are the other arguments there? */
static enum mn_status need_tokenizer(const struct mn_engine *engine, const char *function, bool given)
{
    if (!engine || !given)
        return missing(engine ? engine->log : NULL, function, engine ? "an argument" : "engine");
    return engine->tokenizer
               ? MN_OK
               : log_fail(engine->log, MN_ERR_FILE, "the model has no tokenizer.json: give token ids instead of text");
}

enum mn_status mn_tokenize(struct mn_engine *engine, const char *text, size_t n_bytes, bool specials, uint32_t **ids,
                           size_t *n_ids)
{
    enum mn_status status = need_tokenizer(engine, "mn_tokenize", (text || n_bytes == 0) && ids && n_ids);
    if (status)
        return status;
    return mn_tokenizer_encode(engine->tokenizer, text ? text : "", n_bytes,
                               specials ? MN_ENCODE_SPECIAL : MN_ENCODE_PLAIN, ids, n_ids, engine->log);
}

enum mn_status mn_detokenize(struct mn_engine *engine, const uint32_t *ids, size_t n_ids, bool skip_specials,
                             char **text, size_t *n_bytes)
{
    enum mn_status status = need_tokenizer(engine, "mn_detokenize", (ids || n_ids == 0) && text && n_bytes);
    return status ? status
                  : mn_tokenizer_decode(engine->tokenizer, ids, n_ids, skip_specials, text, n_bytes, engine->log);
}

enum mn_status mn_chat(struct mn_engine *engine, const char *system, const char *message, uint32_t **ids, size_t *n_ids)
{
    enum mn_status status = need_tokenizer(engine, "mn_chat", message && ids && n_ids);
    if (status)
        return status;
    struct mn_chat_message messages[2];
    size_t n = 0;
    if (system)
        messages[n++] = (struct mn_chat_message){"system", system, strlen(system)};
    messages[n++] = (struct mn_chat_message){"user", message, strlen(message)};
    return mn_chat_encode(engine->tokenizer, messages, n, ids, n_ids, engine->log);
}

enum mn_status mn_session_create(struct mn_session **out, struct mn_engine *engine,
                                 const struct mn_session_params *params)
{
    const struct mn_log *log = engine ? engine->log : NULL;
    if (!out)
        return missing(log, "mn_session_create", "out");
    *out = NULL;
    if (!engine || !params)
        return missing(log, "mn_session_create", engine ? "params" : "engine");
    struct session_params session = {.n_ctx = params->n_ctx,
                                     .n_sequences = params->n_sequences,
                                     .num_steps = params->num_steps ? params->num_steps
                                                                    : engine->model->config.mean_recurrence,
                                     .max_rows = params->max_rows,
                                     .kv_type = KV_F16,
                                     .sampler = {.top_p = 1.0f}};
    enum mn_status status = MN_OK;
    if (params->kv_policy)
        status = kv_policy_parse(params->kv_policy, &session.policy, engine->log);
    if (!status && params->kv_type)
        status = kv_type_parse(params->kv_type, &session.kv_type, engine->log);
    if (status)
        return status;
    struct mn_session *s = calloc(1, sizeof *s);
    if (!s)
        return log_fail(engine->log, MN_ERR_MEMORY, "out of host memory for a session");
    s->engine = engine;
    status = session_create(&s->session, engine->model, &session);
    if (status) {
        free(s);
        return status;
    }
    *out = s;
    return MN_OK;
}

void mn_session_destroy(struct mn_session *session)
{
    if (!session)
        return;
    session_destroy(session->session);
    free(session);
}

enum mn_status mn_generate(struct mn_session *session, const struct mn_generate_params *params, struct mn_stats *stats)
{
    if (!session || !params || !stats)
        return missing(session ? session->engine->log : NULL, "mn_generate",
                       !session  ? "session"
                       : !params ? "params"
                                 : "stats");
    return generate(session->session, params, stats);
}

enum mn_status mn_generate_batch(struct mn_session *session, const struct mn_generate_params *params, uint32_t n,
                                 struct mn_stats *stats, struct mn_stats *total, int (*on_end)(void *user, uint32_t i),
                                 void *user)
{
    if (!session || !params || !stats || !total)
        return missing(session ? session->engine->log : NULL, "mn_generate_batch",
                       !session  ? "session"
                       : !params ? "params"
                       : stats   ? "total"
                                 : "stats");
    return generate_batch(session->session, params, n, stats, total, on_end, user);
}

enum mn_status mn_compare_ar(struct mn_session *full, const struct mn_generate_params *params, const uint32_t *tokens,
                             uint32_t n_tokens, struct mn_agreement *agreement)
{
    if (!full || !params || !tokens || !agreement)
        return missing(full ? full->engine->log : NULL, "mn_compare_ar",
                       !full     ? "session"
                       : !params ? "params"
                       : tokens  ? "agreement"
                                 : "tokens");
    return compare_ar(full->session, params, tokens, n_tokens, agreement);
}

enum mn_status mn_logits(struct mn_session *session, const uint32_t *ids, uint32_t n_ids, uint32_t num_steps,
                         const float *state0,
                         enum mn_status (*each)(void *user, uint32_t position, const float *logits, uint32_t n_vocab),
                         void *user)
{
    if (!session || !ids || !each)
        return missing(session ? session->engine->log : NULL, "mn_logits", !session ? "session" : ids ? "each" : "ids");
    struct session *s = session->session;
    if (num_steps > session_info(s)->num_steps)
        return log_fail(session->engine->log, MN_ERR_USAGE, "num_steps %u: the session has at most %u", num_steps,
                        session_info(s)->num_steps);
    /* Logits start from zero states or the given ones, whatever was generated before. */
    session_set_sampler(s, &(struct sampler_params){.top_p = 1.0f}, 0.0f);
    struct session_prefill_params prefill = {.ids = ids,
                                             .n = n_ids,
                                             .num_steps = num_steps ? num_steps : session_info(s)->num_steps,
                                             .state0 = state0,
                                             .each_logits = each,
                                             .user = user};
    return session_prefill(s, &prefill, NULL);
}

enum mn_status mn_score(struct mn_session *session, const struct mn_score_params *params)
{
    if (!session || !params)
        return missing(session ? session->engine->log : NULL, "mn_score", session ? "params" : "session");
    return score(session->session, params);
}
