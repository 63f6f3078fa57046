/* A checkpoint in double, and a forward pass over it: one function for every family, by the table of forms. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/safetensors.h"
#include "engine/model/family.h"
#include "reference/ref.h"

/* ---- a checkpoint's weights ---- */

/* What tells families apart: how a file names things, and where the norms sit. */
struct form {
    const char *family;
    bool llama_names;
    const char *norms[4]; /* before and behind attention, before and behind the MLP; NULL: none */
    bool norm_of_sum;     /* the norms behind are of the sum with the residual, not of the branch */
    bool norm_of_state;   /* ln_f before the coda, or behind every loop where the state is read out */
    bool injects;         /* each step begins with adapter [s; e]; else the state is the residual, at first the token */
};

static const struct form forms[] = {
    {"huginn", false, {"norm_1", "norm_2", "norm_3", "norm_4"}, true, true, true},
    {"retrofit-llama", false, {"norm_1", NULL, "norm_2", NULL}, false, false, true},
    {"retrofit-olmo", false, {NULL, "norm_1", NULL, "norm_2"}, false, false, true},
    {"ouro",
     true,
     {"input_layernorm", "input_layernorm_2", "post_attention_layernorm", "post_attention_layernorm_2"},
     false,
     true,
     false},
    {"llama", true, {"input_layernorm", NULL, "post_attention_layernorm", NULL}, false, false, false},
};

struct ref_block {
    double *qkv, *bias, *q_norm, *k_norm, *proj, *fc, *down; /* bias, norms of heads: NULL where there are none */
    double *norm[4];
};

struct ref_model {
    struct model_config config;
    const struct form *form;
    double *wte, *head, *adapter, *norm_f; /* head, adapter: NULL where there is none */
    struct ref_block *blocks;              /* prelude, core, coda in order */
    uint32_t n_blocks;
};

/* Reading tensors: the first failure sticks. */
struct reader {
    struct safetensors *file;
    const struct mn_log *log;
    const struct weight_scheme *scheme;
    enum mn_status status;
};

/* Vectors have no group: they are f32 in every scheme. */
enum { NO_GROUP = WEIGHT_GROUPS };

/* Rounds values, rows of n_columns, to those that the scheme's type of their group holds. */
static void round_weights(const struct reader *r, int group, size_t n_columns, float *values, size_t n)
{
    enum weight_type type = group == NO_GROUP ? WEIGHT_TYPE_F32 : r->scheme->types[group];
    if (type >= WEIGHT_TYPES || (weight_type_quantised(type) && n_columns % weight_format(type)->group != 0))
        return;
    const struct weight_format *format = weight_format(type);
    for (size_t i = 0; i < n; i += format->group) {
        float values_of_group[WEIGHT_GROUP_MAX] = {0};
        uint8_t packed[WEIGHT_GROUP_MAX * sizeof(float)], scale[4];
        const size_t n_left = n - i < format->group ? n - i : format->group;
        memcpy(values_of_group, values + i, n_left * sizeof *values);
        format->encode(values_of_group, packed, scale);
        format->decode(packed, scale, values_of_group);
        memcpy(values + i, values_of_group, n_left * sizeof *values);
    }
}

/* The first n values of a tensor, which must have at least that many (a padded vocabulary has more). */
static void read_values(struct reader *r, int group, size_t n_columns, size_t n, const char *prefix, const char *name,
                        double *values)
{
    char full[128];
    snprintf(full, sizeof full, "%s%s%s", prefix, name, strstr(name, "bias") ? "" : ".weight");
    const struct tensor_view *tensor = safetensors_find(r->file, full);
    const size_t step = tensor ? tensor_dtype_bytes(tensor->dtype) : 0;
    if (!tensor || (tensor->dtype != TENSOR_F32 && tensor->dtype != TENSOR_F16 && tensor->dtype != TENSOR_BF16) ||
        tensor->bytes < n * step) {
        r->status = log_fail(r->log, MN_ERR_FORMAT, "reference: tensor '%s' is missing or has another shape", full);
        return;
    }
    unsigned char *bytes = malloc(n * step);
    float *floats = malloc(n * sizeof *floats);
    r->status = bytes && floats
                    ? safetensors_read(r->file, tensor, 0, n * step, bytes, r->log)
                    : log_fail(r->log, MN_ERR_MEMORY, "reference: out of host memory for tensor '%s'", full);
    for (size_t i = 0; i < n && !r->status; i++) {
        float x;
        uint16_t half;
        if (tensor->dtype == TENSOR_F32) {
            memcpy(&x, bytes + 4 * i, 4);
        } else {
            memcpy(&half, bytes + 2 * i, 2);
            x = tensor->dtype == TENSOR_F16 ? f16_to_f32(half) : bf16_to_f32(half);
        }
        floats[i] = x;
    }
    if (!r->status)
        round_weights(r, group, n_columns, floats, n);
    for (size_t i = 0; i < n && !r->status; i++)
        values[i] = (double)floats[i];
    free(floats);
    free(bytes);
}

/* Tensors one behind the other; a part without a name ends the list. */
struct part {
    const char *name;
    size_t n;
};
enum { PARTS_MAX = 3 };

static double *read_parts(struct reader *r, int group, size_t n_columns, const char *prefix,
                          const struct part parts[PARTS_MAX])
{
    size_t n = 0, at = 0;
    for (int i = 0; i < PARTS_MAX && parts[i].name; i++)
        n += parts[i].n;
    double *values = r->status ? NULL : calloc(n, sizeof *values);
    if (!r->status && !values)
        r->status = log_fail(r->log, MN_ERR_MEMORY, "reference: out of host memory for '%s%s'", prefix, parts->name);
    for (int i = 0; i < PARTS_MAX && parts[i].name && !r->status; at += parts[i++].n)
        read_values(r, group, n_columns, parts[i].n, prefix, parts[i].name, values + at);
    return values;
}

static double *read_tensor(struct reader *r, int group, size_t n_columns, size_t n, const char *prefix,
                           const char *name)
{
    return read_parts(r, group, n_columns, prefix, (const struct part[PARTS_MAX]){{name, n}});
}

static void read_block(struct reader *r, const struct ref_model *model, const char *section, int group, uint32_t index,
                       struct ref_block *block)
{
    const struct model_config *config = &model->config;
    const size_t d = config->n_embd, f = config->intermediate_size, q = (size_t)config->n_heads * config->head_dim,
                 k = (size_t)config->n_kv_heads * config->head_dim;
    const bool llama = model->form->llama_names;
    const struct part qkv[] = {{"self_attn.q_proj", q * d}, {"self_attn.k_proj", k * d}, {"self_attn.v_proj", k * d}},
                      wqkv[PARTS_MAX] = {{"attn.Wqkv", (q + 2 * k) * d}},
                      gate[PARTS_MAX] = {{"mlp.gate_proj", f * d}, {"mlp.up_proj", f * d}},
                      fc[PARTS_MAX] = {{"mlp.fc", 2 * f * d}};
    char prefix[64];
    snprintf(prefix, sizeof prefix, "%s.%u.", section, index);
    block->qkv = read_parts(r, group + WEIGHT_QKV, d, prefix, llama ? qkv : wqkv);
    block->proj = read_tensor(r, group + WEIGHT_ATTENTION_PROJ, q, d * q, prefix,
                              llama ? "self_attn.o_proj" : "attn.proj");
    block->fc = read_parts(r, group + WEIGHT_MLP_FC, d, prefix, llama ? gate : fc);
    block->down = read_tensor(r, group + WEIGHT_MLP_PROJ, f, d * f, prefix, llama ? "mlp.down_proj" : "mlp.proj");
    if (config->qk_bias)
        block->bias = read_tensor(r, NO_GROUP, 1, q + k, prefix, "attn.qk_bias");
    if (config->heads_normed) {
        block->q_norm = read_tensor(r, NO_GROUP, 1, q, prefix, "attn.q_norm");
        block->k_norm = read_tensor(r, NO_GROUP, 1, k, prefix, "attn.k_norm");
    }
    for (int i = 0; i < 4; i++)
        if (model->form->norms[i])
            block->norm[i] = read_tensor(r, NO_GROUP, 1, d, prefix, model->form->norms[i]);
}

static void read_model(struct reader *r, struct ref_model *model)
{
    static const char *const sections[] = {"transformer.prelude", "transformer.core_block", "transformer.coda"};
    const struct model_config *config = &model->config;
    const uint32_t counts[] = {config->n_prelude, config->n_core, config->n_coda};
    const size_t d = config->n_embd, v = config->vocab_size;
    const bool llama = model->form->llama_names;
    struct ref_block *block = model->blocks;
    model->wte = read_tensor(r, WEIGHT_GROUP_EMBEDDING, d, v * d, "", llama ? "model.embed_tokens" : "transformer.wte");
    if (!config->tie_embeddings)
        model->head = read_tensor(r, WEIGHT_GROUP_HEAD, d, v * d, "", "lm_head");
    if (model->form->injects)
        model->adapter = read_tensor(r, WEIGHT_GROUP_ADAPTER, 2 * d, 2 * d * d, "", "transformer.adapter");
    model->norm_f = read_tensor(r, NO_GROUP, 1, d, "", llama ? "model.norm" : "transformer.ln_f");
    for (int section = 0; section < 3; section++)
        for (uint32_t i = 0; i < counts[section] && !r->status; i++)
            read_block(r, model, llama ? "model.layers" : sections[section],
                       WEIGHT_GROUP_BLOCKS + WEIGHT_PARTS * section, i, block++);
}

enum mn_status ref_model_load(struct ref_model **out, const char *dir, const char *weight_type,
                              const struct mn_log *log)
{
    *out = NULL;
    struct weight_scheme scheme;
    struct reader r = {.log = log, .scheme = &scheme};
    struct ref_model *model = calloc(1, sizeof *model);
    if (!model)
        return log_fail(log, MN_ERR_MEMORY, "reference: out of host memory");
    struct model_config *config = &model->config;
    r.status = weight_scheme_parse(weight_type, &scheme, log);
    if (!r.status)
        r.status = config_load(config, dir, log);
    for (size_t i = 0; i < sizeof forms / sizeof *forms && !r.status; i++)
        if (!strcmp(forms[i].family, config->family->name))
            model->form = &forms[i];
    if (!r.status && !model->form)
        r.status = log_fail(log, MN_ERR_UNSUPPORTED, "reference: no family '%s'", config->family->name);
    if (!r.status && *config->stored.name)
        r.status = log_fail(log, MN_ERR_UNSUPPORTED, "reference: %s is quantised: give the original and a weight type",
                            dir);
    if (!r.status)
        r.status = safetensors_open(&r.file, dir, NULL, log);
    if (!r.status) {
        model->n_blocks = config->n_prelude + config->n_core + config->n_coda;
        model->blocks = calloc(model->n_blocks + 1, sizeof *model->blocks);
        if (!model->blocks)
            r.status = log_fail(log, MN_ERR_MEMORY, "reference: out of host memory");
        read_model(&r, model);
    }
    safetensors_close(r.file);
    if (r.status) {
        ref_model_free(model);
        return r.status;
    }
    *out = model;
    return MN_OK;
}

void ref_model_free(struct ref_model *model)
{
    if (!model)
        return;
    for (uint32_t i = 0; i < model->n_blocks && model->blocks; i++) {
        struct ref_block *b = &model->blocks[i];
        double *const all[] = {b->qkv,  b->bias,    b->q_norm,  b->k_norm,  b->proj,   b->fc,
                               b->down, b->norm[0], b->norm[1], b->norm[2], b->norm[3]};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++)
            free(all[k]);
    }
    free(model->blocks);
    free(model->wte);
    free(model->head);
    free(model->adapter);
    free(model->norm_f);
    free(model);
}

const struct model_config *ref_model_config(const struct ref_model *model)
{
    return &model->config;
}

/* ---- a sequence ---- */

struct ref_session {
    const struct ref_model *model;
    struct ref_kv *kv; /* one per block */
    uint32_t *depths;  /* [n_ctx] */
    uint32_t n_ctx, num_steps;
    enum kv_type kv_type;
};

enum mn_status ref_session_create(struct ref_session **out, const struct ref_model *model,
                                  const struct ref_session_params *params, const struct mn_log *log)
{
    const struct model_config *config = &model->config;
    *out = NULL;
    struct ref_session *s = calloc(1, sizeof *s);
    if (!s)
        return log_fail(log, MN_ERR_MEMORY, "reference: out of host memory for a session");
    *s = (struct ref_session){
        .model = model, .n_ctx = params->n_ctx, .num_steps = params->num_steps, .kv_type = params->kv_type};
    s->depths = calloc(params->n_ctx, sizeof *s->depths);
    s->kv = calloc(model->n_blocks + 1, sizeof *s->kv);
    bool complete = s->depths && s->kv;
    for (uint32_t i = 0; i < model->n_blocks && complete; i++) {
        bool core = i >= config->n_prelude && i < config->n_prelude + config->n_core;
        s->kv[i] = (struct ref_kv){.depths = s->depths,
                                   .n_ctx = params->n_ctx,
                                   .n_slots = core ? kv_policy_slots(params->policy, params->num_steps) : 1,
                                   .n_heads = config->n_kv_heads,
                                   .head_pad = config->head_dim,
                                   .core = core};
        s->kv[i].values = calloc((size_t)params->n_ctx * s->kv[i].n_slots * 2 * config->n_kv_heads * config->head_dim,
                                 sizeof(double));
        complete = s->kv[i].values != NULL;
    }
    if (!complete) {
        ref_session_destroy(s);
        return log_fail(log, MN_ERR_MEMORY, "reference: out of host memory for a session");
    }
    *out = s;
    return MN_OK;
}

void ref_session_destroy(struct ref_session *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->model->n_blocks && s->kv; i++)
        free(s->kv[i].values);
    free(s->kv);
    free(s->depths);
    free(s);
}

/* ---- the forward pass ---- */

/* The rows of one call. */
struct batch {
    uint32_t n, first;
    uint32_t step;     /* core step being taken; 0 in prelude and coda */
    double *x, *e, *s; /* [n, d] each: a block's input and output, embeddings after the prelude, latent states */
    double *q;         /* [n, heads, head_dim] */
    double *a, *b, *c; /* scratch for any vector, [2 d + 2 F + heads head_dim] each */
};

/* y = norm x; without weights y = x. */
static void norm_if(const struct ref_session *s, const double *w, const double *x, double *y)
{
    const struct model_config *config = &s->model->config;
    if (w)
        ref_norm(x, w, config->n_embd, (double)config->norm_eps, y);
    else if (x != y)
        memcpy(y, x, config->n_embd * sizeof *y);
}

static void round_entry(enum kv_type type, double *values, uint32_t n)
{
    if (type == KV_Q8)
        ref_q8_round(values, n);
    for (uint32_t i = 0; i < n && type == KV_F16; i++)
        values[i] = (double)f16_to_f32(f32_to_f16((float)values[i]));
}

/* Keys and values of all rows enter the cache before any row attends: rows of one call see each other. */
static void write_cache(struct ref_session *s, uint32_t index, const struct batch *batch)
{
    const struct model_config *config = &s->model->config;
    const struct ref_block *w = &s->model->blocks[index];
    const struct ref_kv *kv = &s->kv[index];
    const uint32_t h = config->head_dim;
    const struct ref_heads heads = {.n = config->n_heads,
                                    .n_kv = kv->n_heads,
                                    .dim = h,
                                    .q_norm = w->q_norm,
                                    .k_norm = w->k_norm,
                                    .eps = (double)config->norm_eps,
                                    .rope = {config->rope_base, config->rotary_halves, config->rope_scaling}};
    const size_t d = config->n_embd, n_q = (size_t)config->n_heads * h;
    const uint32_t slot = kv->core ? batch->step % kv->n_slots : 0;
    for (uint32_t i = 0; i < batch->n; i++) {
        double *k = batch->b, *v = batch->c;
        norm_if(s, w->norm[0], batch->x + i * d, batch->a);
        ref_qkv(w->qkv, w->bias, batch->a, config->n_embd, &heads, batch->first + i, batch->q + i * n_q, k, v);
        for (uint32_t head = 0; head < kv->n_heads; head++) {
            round_entry(s->kv_type, k + (size_t)head * h, h);
            round_entry(s->kv_type, v + (size_t)head * h, h);
            memcpy(ref_kv_entry(kv, 0, batch->first + i, slot, 0, head), k + (size_t)head * h, h * sizeof *k);
            memcpy(ref_kv_entry(kv, 0, batch->first + i, slot, 1, head), v + (size_t)head * h, h * sizeof *v);
        }
        if (kv->core)
            s->depths[batch->first + i] = batch->step + 1;
    }
}

/* x = x + norm(branch), or norm(x + branch). */
static void add_branch(const struct ref_session *s, const double *norm, double *branch, double *x)
{
    const bool of_sum = s->model->form->norm_of_sum;
    norm_if(s, of_sum ? NULL : norm, branch, branch);
    for (uint32_t k = 0; k < s->model->config.n_embd; k++)
        x[k] += branch[k];
    norm_if(s, of_sum ? norm : NULL, x, x);
}

static void block_forward(struct ref_session *s, uint32_t index, const struct batch *batch)
{
    const struct model_config *config = &s->model->config;
    const struct ref_block *w = &s->model->blocks[index];
    const uint32_t d = config->n_embd, f = config->intermediate_size, h = config->head_dim, n_q = config->n_heads * h;
    const uint32_t per_kv = config->n_heads / s->kv[index].n_heads;
    write_cache(s, index, batch);
    for (uint32_t i = 0; i < batch->n; i++) {
        const struct row row = {.position = batch->first + i, .depth = batch->step};
        double *x = batch->x + (size_t)i * d, *a = batch->a, *b = batch->b, *c = batch->c;
        for (uint32_t head = 0; head < config->n_heads; head++) {
            double max, sum;
            ref_attention(&s->kv[index], &row, head / per_kv, batch->q + (size_t)i * n_q + head * h, 0,
                          row.position + 1, b, &max, &sum);
            ref_merge(b, 0, &max, &sum, 0, 1, h, a + head * h);
        }
        ref_matmul(w->proj, d, n_q, a, b);
        add_branch(s, w->norm[1], b, x);
        norm_if(s, w->norm[2], x, a);
        ref_gate(w->fc, f, d, a, b, c);
        ref_matmul(w->down, d, f, c, b);
        add_branch(s, w->norm[3], b, x);
    }
}

/* One step of all rows: the core's input from states and embeddings, the core, the states. */
static void step_forward(struct ref_session *s, struct batch *batch)
{
    const struct ref_model *model = s->model;
    const struct model_config *config = &model->config;
    const uint32_t d = config->n_embd;
    const size_t all = (size_t)batch->n * d;
    for (uint32_t i = 0; i < batch->n && model->adapter; i++) {
        memcpy(batch->a, batch->s + (size_t)i * d, d * sizeof *batch->a);
        memcpy(batch->a + d, batch->e + (size_t)i * d, d * sizeof *batch->a);
        ref_matmul(model->adapter, d, 2 * d, batch->a, batch->x + (size_t)i * d);
    }
    for (uint32_t i = 0; i < config->n_core; i++)
        block_forward(s, config->n_prelude + i, batch);
    for (uint32_t i = 0; i < batch->n && model->form->norm_of_state && !model->adapter; i++)
        norm_if(s, model->norm_f, batch->x + (size_t)i * d, batch->x + (size_t)i * d);
    memcpy(batch->s, batch->x, all * sizeof *batch->s);
}

static void forward(struct ref_session *s, struct batch *batch, const uint32_t *ids, uint32_t num_steps,
                    const double *state0, double *logits)
{
    const struct ref_model *model = s->model;
    const struct model_config *config = &model->config;
    const uint32_t d = config->n_embd, v = config->vocab_size;
    const size_t all = (size_t)batch->n * d;
    const bool looped = !model->adapter; /* then the state is what goes through the blocks, and is read out as it is */

    for (uint32_t i = 0; i < batch->n; i++)
        ref_embed(model->wte + (size_t)ids[i] * d, (double)config->embed_scale, d, batch->x + (size_t)i * d);
    for (uint32_t i = 0; i < config->n_prelude; i++)
        block_forward(s, i, batch);
    memcpy(batch->e, batch->x, all * sizeof *batch->e);
    for (size_t i = 0; i < all; i++)
        batch->s[i] = state0 ? state0[i] : 0.0;
    for (batch->step = 0; batch->step < num_steps; batch->step++)
        step_forward(s, batch);

    batch->step = 0;
    for (uint32_t i = 0; i < batch->n; i++)
        norm_if(s, model->form->norm_of_state && !looped ? model->norm_f : NULL, batch->s + (size_t)i * d,
                batch->x + (size_t)i * d);
    for (uint32_t i = config->n_prelude + config->n_core; i < model->n_blocks; i++)
        block_forward(s, i, batch);
    for (uint32_t i = 0; i < batch->n; i++) {
        norm_if(s, model->form->norm_of_state && looped ? NULL : model->norm_f, batch->x + (size_t)i * d, batch->a);
        ref_matmul(model->head ? model->head : model->wte, v, d, batch->a, logits + (size_t)i * v);
    }
}

enum mn_status ref_forward(struct ref_session *s, const uint32_t *ids, uint32_t n, uint32_t first, uint32_t num_steps,
                           const double *state0, double *logits, const struct mn_log *log)
{
    const struct model_config *config = &s->model->config;
    if (n < 1 || n > s->n_ctx || first > s->n_ctx - n || num_steps < 1 || num_steps > s->num_steps)
        return log_fail(log, MN_ERR_USAGE, "reference: %u tokens at position %u for %u steps do not fit", n, first,
                        num_steps);
    for (uint32_t i = 0; i < n; i++)
        if (ids[i] >= config->vocab_size)
            return log_fail(log, MN_ERR_USAGE, "reference: token %u is outside the vocabulary of %u", ids[i],
                            config->vocab_size);
    const size_t all = (size_t)n * config->n_embd, n_q = (size_t)config->n_heads * config->head_dim,
                 scratch = 2 * (size_t)config->n_embd + 2 * (size_t)config->intermediate_size + n_q;
    double *memory = malloc((3 * all + n * n_q + 3 * scratch) * sizeof *memory);
    if (!memory)
        return log_fail(log, MN_ERR_MEMORY, "reference: out of host memory for %u rows", n);
    struct batch batch = {
        .n = n, .first = first, .x = memory, .e = memory + all, .s = memory + 2 * all, .q = memory + 3 * all};
    batch.a = batch.q + n * n_q;
    batch.b = batch.a + scratch;
    batch.c = batch.b + scratch;
    forward(s, &batch, ids, num_steps, state0, logits);
    free(memory);
    return MN_OK;
}
