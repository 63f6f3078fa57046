#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/compare.h"
#include "analysis/depth_trace.h"
#include "api/handles.h"
#include "engine/base/numbers.h"
#include "engine/files/file_hash.h"
#include "engine/files/input.h"
#include "engine/model/family.h"
#include "engine/model/matrix_choice.h"
#include "engine/model/synthetic.h"
#include "engine/text/end_token.h"
#include "engine/vulkan/bandwidth.h"
#include "spec/exit.h"
#include "spec/generate.h"

enum { PATH_BYTES = 4096 };

enum mn_status api_missing(const struct mn_log *log, const char *function, const char *argument)
{
    return log_fail(log, MN_ERR_USAGE, "%s: %s is NULL", function, argument);
}

enum mn_status api_check_room(const struct mn_log *log, const char *what, const uint64_t *reserved, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (reserved[i])
            return log_fail(
                log, MN_ERR_USAGE,
                "%s.reserved is not zero: the struct was not zeroed, or the program wants a newer library than %s",
                what, MN_VERSION);
    return MN_OK;
}
const char *mn_version(void)
{
    return MN_VERSION;
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
                                  .matrix_cores = caps->matrix_cores,
                                  .id = caps->id,
                                  .driver_version = caps->driver_version};
    visitor->visit(visitor->user, &info);
}

enum mn_status mn_devices(void (*visit)(void *user, const struct mn_device_info *info), void *user,
                          const struct mn_log *log)
{
    if (!visit)
        return api_missing(log, "mn_devices", "visit");
    struct visitor visitor = {visit, user};
    return device_list(visit_device, &visitor, log);
}

/* The token in front of a prompt: what generation_config.json names, else what the tokenizer's template says, which may
 * be none, else what config.json names. */
static void settle_begin_token(struct mn_engine *engine)
{
    bool is_said = false;
    uint32_t id = UINT32_MAX;
    const bool has_token = engine->tokenizer && tokenizer_begin_token(engine->tokenizer, &is_said, &id);
    engine->bos_token_id = engine->model->config.bos_token_id;
    if (is_said && !engine->model->config.bos_from_generation)
        engine->bos_token_id = has_token ? id : UINT32_MAX;
}

/* The token that ends a text, where neither config.json nor generation_config.json names one: the tokenizer's. */
static enum mn_status settle_end_token(struct mn_engine *engine, const char *dir)
{
    struct model_config *config = &engine->model->config;
    bool found;
    if (config->n_eos > 0)
        return MN_OK;
    enum mn_status status = end_token_read(&found, &config->eos_token_ids[0], dir, engine->tokenizer, engine->log);
    config->n_eos = !status && found;
    return status;
}

/* Which ids a text or a conversation becomes. */
static enum mn_status hash_text_files(struct mn_engine *engine, const char *dir)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"};
    enum mn_status status = MN_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && !status; i++)
        status = file_hash(&engine->hash, dir, names[i], engine->log);
    return status;
}

/* A model without tokenizer.json still runs on ids. */
static enum mn_status load_tokenizer(struct mn_engine *engine, const char *dir)
{
    char path[PATH_BYTES];
    if (snprintf(path, sizeof path, "%s/tokenizer.json", dir) >= PATH_BYTES)
        return log_fail(engine->log, MN_ERR_FILE, "model path of more than %d bytes", PATH_BYTES);
    if (engine->model && !input_exists(path))
        return MN_OK;
    enum mn_status status = tokenizer_create(&engine->tokenizer, path, engine->log);
    if (!status)
        status = hash_text_files(engine, dir);
    if (!status && engine->model && tokenizer_vocab_size(engine->tokenizer) > engine->model->config.vocab_size)
        return log_fail(engine->log, MN_ERR_FORMAT, "%s: token id %u is not below vocab_size %u of config.json", path,
                        tokenizer_vocab_size(engine->tokenizer) - 1, engine->model->config.vocab_size);
    if (!status && engine->model)
        status = settle_end_token(engine, dir);
    return status ? status : chat_template_read(&engine->chat, dir, engine->log);
}

static enum mn_status load_model(struct mn_engine *engine, const struct mn_engine_params *params)
{
    struct model_params model = {
        .dir = params->model_dir,
        .synthetic = params->synthetic,
        .synthetic_seed = params->synthetic_seed,
        .device = {.select = params->device, .validate = params->validate, .progress = params->progress},
        .plan_only = params->plan_only};
    enum mn_status status = weight_scheme_parse(params->weight_type, &model.weight_scheme, params->log);
    if (!status)
        status = matrix_wish_parse(params->matrix_units, &model.matrix_units, params->log);
    if (!status)
        status = model_load(&engine->model, &model, params->log);
    if (!status)
        device_banner(&engine->model->device->caps, engine->banner, sizeof engine->banner);
    if (!status)
        engine->hash = engine->model->hash;
    return status;
}

enum mn_status mn_engine_create(struct mn_engine **out, const struct mn_engine_params *params)
{
    const struct mn_log *log = params ? params->log : NULL;
    if (!out)
        return api_missing(log, "mn_engine_create", "out");
    *out = NULL;
    if (!params || (!params->model_dir && (!params->synthetic || params->tokenizer_only)))
        return api_missing(log, "mn_engine_create", params ? "params.model_dir" : "params");
    enum mn_status status = CHECK_ROOM(log, "mn_engine_params", params);
    if (status)
        return status;
    struct mn_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for an engine");
    engine->log = log;
    if (!params->tokenizer_only)
        status = load_model(engine, params);
    if (!status && (params->tokenizer_only || !params->synthetic))
        status = load_tokenizer(engine, params->model_dir);
    if (!status && engine->model)
        settle_begin_token(engine);
    if (status) {
        mn_engine_destroy(engine);
        return status;
    }
    *out = engine;
    return MN_OK;
}

void mn_engine_destroy(struct mn_engine *engine)
{
    if (!engine)
        return;
    tokenizer_destroy(engine->tokenizer);
    chat_template_finish(&engine->chat);
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

static struct mn_model_shape shape_of(const struct model_config *c)
{
    return (struct mn_model_shape){.n_embd = c->n_embd,
                                   .n_heads = c->n_heads,
                                   .head_dim = c->head_dim,
                                   .intermediate_size = c->intermediate_size,
                                   .vocab_size = c->vocab_size,
                                   .n_prelude = c->n_prelude,
                                   .n_core = c->n_core,
                                   .n_coda = c->n_coda,
                                   .fixed_depth = c->family->fixed_depth,
                                   .has_exit_gate = c->family->has_exit_gate,
                                   .n_kv_heads = c->n_kv_heads,
                                   .family = c->family->name,
                                   .max_recurrence = c->max_recurrence,
                                   .mean_recurrence = c->mean_recurrence,
                                   .block_size = c->block_size,
                                   .tied = c->tie_embeddings,
                                   .qk_bias = c->qk_bias};
}

enum mn_status mn_model_shape(struct mn_model_shape *shape, const struct mn_engine_params *params)
{
    const struct mn_log *log = params ? params->log : NULL;
    struct model_config config;
    if (!shape)
        return api_missing(log, "mn_model_shape", "shape");
    *shape = (struct mn_model_shape){0};
    if (!params || (!params->model_dir && !params->synthetic))
        return api_missing(log, "mn_model_shape", params ? "params.model_dir" : "params");
    enum mn_status status = CHECK_ROOM(log, "mn_engine_params", params);
    if (!status)
        status = params->synthetic ? synthetic_config(&config, params->synthetic, log)
                                   : config_load(&config, params->model_dir, log);
    if (!status)
        *shape = shape_of(&config);
    return status;
}

void mn_engine_info(const struct mn_engine *engine, struct mn_model_info *info)
{
    if (!info)
        return;
    *info = (struct mn_model_info){.bos_token_id = UINT32_MAX};
    if (!engine)
        return;
    info->has_tokenizer = engine->tokenizer != NULL;
    if (!engine->model)
        return;
    const struct model *model = engine->model;
    const struct model_config *c = &model->config;
    *info = (struct mn_model_info){
        .device_banner = engine->banner,
        .device_name = model->device->caps.name,
        .driver = model->device->caps.driver,
        .shape = shape_of(c),
        .bos_token_id = engine->bos_token_id,
        .n_eos = c->n_eos,
        .eos_token_ids = c->eos_token_ids,
        .has_tokenizer = engine->tokenizer != NULL,
        .weight_type = weights_type_name(&model->weights, c, &model->weight_scheme),
        .n_parameters = count_parameters(model),
        .weight_bytes = model->weights.arena.bytes,
        .prelude_bytes = model->weights.prelude_bytes,
        .core_bytes = model->weights.core_bytes,
        .coda_bytes = model->weights.coda_bytes,
        .validation_messages = model->device->n_messages,
        .model_hash = engine->hash,
        .device_id = model->device->caps.id,
        .device_type = type_name(model->device->caps.type),
        .driver_version = model->device->caps.driver_version,
        .device_bytes = model->device->reserved_bytes,
        .device_peak_bytes = model->device->peak_bytes,
        .device_pci = model->device->caps.pci,
        .matrix_units = (model->tuning.decode.path == PATH_MATRIX ? MN_MATRIX_FEW : 0u) |
                        (model->tuning.prefill.path == PATH_MATRIX ? MN_MATRIX_PROMPTS : 0u)};
}

enum mn_status mn_weight_type_check(const char *text, const struct mn_log *log)
{
    struct weight_scheme scheme;
    return text ? weight_scheme_parse(text, &scheme, log) : api_missing(log, "mn_weight_type_check", "text");
}

enum mn_status mn_matrix_units_check(const char *text, const struct mn_log *log)
{
    enum matrix_wish wish;
    return matrix_wish_parse(text, &wish, log);
}

void mn_engine_weight_count(const struct mn_engine *engine, uint32_t type, struct mn_weight_count *count)
{
    if (!count)
        return;
    *count = (struct mn_weight_count){0};
    if (!engine || !engine->model || type >= WEIGHT_TYPES)
        return;
    const struct weight_count counted = weights_count(&engine->model->weights, (enum weight_type)type);
    *count = (struct mn_weight_count){counted.n, counted.n_kept, counted.bytes};
}

enum mn_status api_need_model(const struct mn_engine *engine, const char *function)
{
    if (!engine)
        return api_missing(NULL, function, "engine");
    const char *made = !engine->model ? "tokenizer_only" : engine->model->plan_only ? "plan_only" : NULL;
    return made ? log_fail(engine->log, MN_ERR_USAGE, "%s: the engine was made with %s", function, made) : MN_OK;
}

enum mn_status mn_read_bandwidth(struct mn_engine *engine, double *gb_s)
{
    enum { BYTES = 256 << 20 };
    const bool has_device = engine && engine->model; /* weights are not needed */
    enum mn_status status = has_device ? MN_OK : api_need_model(engine, "mn_read_bandwidth");
    if (!status && !gb_s)
        status = api_missing(engine->log, "mn_read_bandwidth", "gb_s");
    return status ? status : bandwidth_measure(&engine->model->kernels, BYTES, gb_s);
}

enum mn_status api_session_params(struct session_params *out, const struct mn_engine *engine,
                                  const struct mn_session_params *params)
{
    enum mn_status status = CHECK_ROOM(engine->log, "mn_session_params", params);
    if (status)
        return status;
    *out = (struct session_params){.n_ctx = params->n_ctx,
                                   .n_sequences = params->n_sequences,
                                   .num_steps = depth_or(params->num_steps, engine->model->config.mean_recurrence),
                                   .max_rows = params->max_rows,
                                   .n_branch = params->branch_positions,
                                   .kv_type = KV_F16,
                                   .sampler = {.top_p = 1.0f},
                                   .beyond_trained_depth = params->beyond_trained_depth};
    if (params->kv_policy)
        status = kv_policy_parse(params->kv_policy, &out->policy, engine->log);
    if (!status && params->kv_type)
        status = kv_type_parse(params->kv_type, &out->kv_type, engine->log);
    return status;
}

enum mn_status mn_session_create(struct mn_session **out, struct mn_engine *engine,
                                 const struct mn_session_params *params)
{
    const struct mn_log *log = engine ? engine->log : NULL;
    if (!out)
        return api_missing(log, "mn_session_create", "out");
    *out = NULL;
    enum mn_status status = api_need_model(engine, "mn_session_create");
    if (!status && !params)
        status = api_missing(log, "mn_session_create", "params");
    if (status)
        return status;
    struct session_params session;
    status = api_session_params(&session, engine, params);
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

enum mn_status mn_kv_policy_check(const char *policy, const struct mn_log *log)
{
    struct kv_policy parsed;
    return policy ? kv_policy_parse(policy, &parsed, log) : api_missing(log, "mn_kv_policy_check", "policy");
}

enum mn_status mn_sampler_check(const struct mn_sampler_params *p, const struct mn_log *log)
{
    if (!p)
        return api_missing(log, "mn_sampler_check", "params");
    enum mn_status status = CHECK_ROOM(log, "mn_sampler_params", p);
    const struct sampler_params sampler = {p->temperature, p->top_k, p->top_p == 0.0f ? 1.0f : p->top_p, p->min_p,
                                           p->seed};
    return status ? status : sampler_check(&sampler, log);
}

/* ---- generation ---- */

enum mn_status api_need_unscheduled(const struct mn_session *session, const char *function)
{
    return session->scheduled ? log_fail(session->engine->log, MN_ERR_USAGE,
                                         "%s: the session has a scheduler, whose the cache is", function)
                              : MN_OK;
}

enum mn_status api_check_generate_room(const struct mn_log *log, const struct mn_generate_params *p)
{
    enum mn_status status = CHECK_ROOM(log, "mn_generate_params", p);
    if (!status)
        status = CHECK_ROOM(log, "mn_sampler_params", &p->sampler);
    if (!status)
        status = CHECK_ROOM(log, "mn_speculation_params", &p->speculation);
    if (!status)
        status = CHECK_ROOM(log, "mn_exit_params", &p->exit);
    if (!status)
        status = CHECK_ROOM(log, "mn_diffusion_params", &p->diffusion);
    return status ? status : CHECK_ROOM(log, "mn_measuring_params", &p->measuring);
}

enum mn_status mn_generate(struct mn_session *session, const struct mn_generate_params *params, struct mn_stats *stats)
{
    if (!session || !params || !stats)
        return api_missing(session ? session->engine->log : NULL, "mn_generate",
                           !session  ? "session"
                           : !params ? "params"
                                     : "stats");
    enum mn_status status = api_check_generate_room(session->engine->log, params);
    if (!status)
        status = api_need_unscheduled(session, "mn_generate");
    return status ? status : generate_with_costs(session->session, &session->costs, params, stats);
}

enum mn_status mn_generate_batch(struct mn_session *session, const struct mn_generate_params *params, uint32_t n,
                                 struct mn_stats *stats, struct mn_stats *total, int (*on_end)(void *user, uint32_t i),
                                 void *user)
{
    if (!session || !params || !stats || !total)
        return api_missing(session ? session->engine->log : NULL, "mn_generate_batch",
                           !session  ? "session"
                           : !params ? "params"
                           : stats   ? "total"
                                     : "stats");
    enum mn_status status = api_need_unscheduled(session, "mn_generate_batch");
    for (uint32_t i = 0; i < n && !status; i++)
        status = api_check_generate_room(session->engine->log, &params[i]);
    return status ? status
                  : generate_batch_with_costs(session->session, &session->costs, params, n, stats, total, on_end, user);
}

enum mn_status mn_compare_ar(struct mn_session *full, const struct mn_generate_params *params, const uint32_t *tokens,
                             uint32_t n_tokens, struct mn_agreement *agreement)
{
    if (!full || !params || !tokens || !agreement)
        return api_missing(full ? full->engine->log : NULL, "mn_compare_ar",
                           !full     ? "session"
                           : !params ? "params"
                           : tokens  ? "agreement"
                                     : "tokens");
    enum mn_status status = api_check_generate_room(full->engine->log, params);
    if (!status)
        status = api_need_unscheduled(full, "mn_compare_ar");
    return status ? status : compare_ar(full->session, params, tokens, n_tokens, agreement);
}

enum mn_status mn_logits(struct mn_session *session, const uint32_t *ids, uint32_t n_ids, uint32_t num_steps,
                         const float *state0,
                         enum mn_status (*each)(void *user, uint32_t position, const float *logits, uint32_t n_vocab),
                         void *user)
{
    if (!session || !ids || !each)
        return api_missing(session ? session->engine->log : NULL, "mn_logits",
                           !session ? "session"
                           : ids    ? "each"
                                    : "ids");
    struct session *s = session->session;
    enum mn_status status = api_need_unscheduled(session, "mn_logits");
    if (status)
        return status;
    if (num_steps > session_info(s)->num_steps)
        return log_fail(session->engine->log, MN_ERR_USAGE, "num_steps %u: the session has at most %u", num_steps,
                        session_info(s)->num_steps);
    /* Logits start from zero states or the given ones, whatever was generated before. */
    session_set_sampler(s, &(struct sampler_params){.top_p = 1.0f}, 0.0f);
    struct session_prefill_params prefill = {.ids = ids,
                                             .n = n_ids,
                                             .num_steps = depth_or(num_steps, session_info(s)->num_steps),
                                             .state0 = state0,
                                             .each_logits = each,
                                             .user = user};
    return session_prefill(s, &prefill, NULL);
}

enum mn_status mn_score(struct mn_session *session, const struct mn_score_params *params)
{
    if (!session || !params)
        return api_missing(session ? session->engine->log : NULL, "mn_score", session ? "params" : "session");
    enum mn_status status = CHECK_ROOM(session->engine->log, "mn_score_params", params);
    if (!status)
        status = api_need_unscheduled(session, "mn_score");
    return status ? status : score(session->session, params);
}

/* ---- inside the recurrence ---- */

const char *mn_exit_name(enum mn_exit_criterion criterion)
{
    return criterion > MN_EXIT_NONE && criterion < MN_EXIT_COUNT ? exit_name((enum exit_criterion)criterion) : NULL;
}

double mn_exit_threshold(enum mn_exit_criterion criterion)
{
    struct exit_rule rule = {0};
    if (mn_exit_name(criterion))
        (void)exit_parse(mn_exit_name(criterion), &rule, NULL); /* its own names */
    return rule.threshold;
}

/* `out`: is there a place for the result? */
static enum mn_status check_trace(const char *function, bool out, const struct mn_session *session,
                                  const struct mn_depth_trace_params *params)
{
    const bool no_prompt = params && !params->prompt && params->n_prompt,
               no_steps = params && !params->readout_steps && params->n_readouts;
    if (!session || !params || !out || no_prompt || no_steps)
        return api_missing(session ? session->engine->log : NULL, function,
                           !out        ? "trace"
                           : !session  ? "session"
                           : no_prompt ? "params.prompt"
                           : no_steps  ? "params.readout_steps"
                                       : "params");
    const struct mn_log *log = session->engine->log;
    enum mn_status status = CHECK_ROOM(log, "mn_depth_trace_params", params);
    return status ? status : CHECK_ROOM(log, "mn_terminal_rule", &params->terminal);
}

enum mn_status mn_depth_trace_check(struct mn_session *session, const struct mn_depth_trace_params *params)
{
    enum mn_status status = check_trace("mn_depth_trace_check", true, session, params);
    return status ? status : depth_trace_check(session->session, params);
}

enum mn_status mn_depth_trace_run(struct mn_depth_trace *trace, struct mn_session *session,
                                  const struct mn_depth_trace_params *params)
{
    if (trace)
        *trace = (struct mn_depth_trace){0};
    enum mn_status status = check_trace("mn_depth_trace_run", trace != NULL, session, params);
    if (!status)
        status = api_need_unscheduled(session, "mn_depth_trace_run");
    return status ? status : depth_trace_run(trace, session->session, params);
}
