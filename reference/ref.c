#include "reference/ref.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/safetensors.h"

/* ---- the formulas ---- */

void ref_matmul(const double *w, uint32_t n_out, uint32_t n_in, const double *x, double *y)
{
    for (uint32_t o = 0; o < n_out; o++) {
        double sum = 0.0;
        for (uint32_t i = 0; i < n_in; i++)
            sum += w[(size_t)o * n_in + i] * x[i];
        y[o] = sum;
    }
}

void ref_norm(const double *x, const double *w, uint32_t n, double eps, double *y)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    double scale = 1.0 / sqrt(sum / n + eps);
    for (uint32_t i = 0; i < n; i++)
        y[i] = x[i] * scale * w[i];
}

void ref_embed(const double *wte_row, uint32_t n, double *x)
{
    for (uint32_t i = 0; i < n; i++)
        x[i] = wte_row[i] * sqrt((double)n);
}

void ref_initial_state(uint64_t seed, uint32_t position, double std, uint32_t n, double *s)
{
    for (uint32_t i = 0; i < n; i++)
        s[i] = std * (double)sampler_state_noise(seed, position, i);
}

void ref_rotary(double *v, uint32_t n_heads, uint32_t head_dim, uint32_t position, float rope_base)
{
    for (uint32_t head = 0; head < n_heads; head++)
        for (uint32_t i = 0; i < head_dim; i += 2) {
            /* The published code computes frequency and angle in float32: those roundings belong to the model. */
            float frequency = 1.0f / powf(rope_base, (float)i / (float)head_dim);
            float angle = (float)position * frequency;
            double c = cos((double)angle), s = sin((double)angle);
            double *pair = v + head * head_dim + i, a = pair[0], b = pair[1];
            pair[0] = a * c - b * s;
            pair[1] = a * s + b * c;
        }
}

void ref_qkv(const double *w, const double *bias, const double *x, uint32_t n_in, const struct ref_heads *heads,
             uint32_t position, float rope_base, double *q, double *k, double *v)
{
    const uint32_t n_q = heads->n * heads->dim, n_k = heads->n_kv * heads->dim;
    ref_matmul(w, n_q, n_in, x, q);
    ref_matmul(w + (size_t)n_q * n_in, n_k, n_in, x, k);
    ref_matmul(w + (size_t)(n_q + n_k) * n_in, n_k, n_in, x, v);
    for (uint32_t i = 0; i < n_q && bias; i++)
        q[i] += bias[i];
    for (uint32_t i = 0; i < n_k && bias; i++)
        k[i] += bias[n_q + i];
    ref_rotary(q, heads->n, heads->dim, position, rope_base);
    ref_rotary(k, heads->n_kv, heads->dim, position, rope_base);
    for (uint32_t i = 0; i < n_q; i++)
        q[i] /= sqrt((double)heads->dim);
}

void ref_gate(const double *w, uint32_t n_ff, uint32_t n_in, const double *x, double *scratch, double *h)
{
    ref_matmul(w, 2 * n_ff, n_in, x, scratch);
    for (uint32_t i = 0; i < n_ff; i++) {
        double g = scratch[i], u = scratch[n_ff + i];
        h[i] = g / (1.0 + exp(-g)) * u;
    }
}

double *ref_kv_entry(const struct ref_kv *kv, uint32_t sequence, uint32_t position, uint32_t slot, uint32_t part,
                     uint32_t head)
{
    size_t at = ((size_t)sequence * kv->n_slots + slot) * kv->n_heads + head;
    return kv->values + ((at * 2 + part) * kv->n_ctx + position) * kv->head_pad;
}

static double score(const struct ref_kv *kv, const struct row *row, uint32_t head, const double *q, uint32_t position,
                    uint32_t *slot)
{
    *slot = kv->core ? kv_slot(kv->n_slots, row->depth, kv->depths[row->sequence * kv->n_ctx + position]) : 0;
    const double *key = ref_kv_entry(kv, row->sequence, position, *slot, 0, head);
    double s = 0.0;
    for (uint32_t i = 0; i < kv->head_pad; i++)
        s += q[i] * key[i];
    return s;
}

void ref_attention(const struct ref_kv *kv, const struct row *row, uint32_t head, const double *q, uint32_t begin,
                   uint32_t end, double *o, double *max, double *sum)
{
    uint32_t slot;
    *max = -INFINITY;
    for (uint32_t j = begin; j < end; j++)
        *max = fmax(*max, score(kv, row, head, q, j, &slot));
    *sum = 0.0;
    for (uint32_t i = 0; i < kv->head_pad; i++)
        o[i] = 0.0;
    for (uint32_t j = begin; j < end; j++) {
        double e = exp(score(kv, row, head, q, j, &slot) - *max);
        const double *value = ref_kv_entry(kv, row->sequence, j, slot, 1, head);
        *sum += e;
        for (uint32_t i = 0; i < kv->head_pad; i++)
            o[i] += e * value[i];
    }
}

void ref_merge(const double *o, uint32_t stride, const double *max, const double *sum, uint32_t stat_stride, uint32_t n,
               uint32_t n_values, double *y)
{
    double largest = -INFINITY, total = 0.0;
    for (uint32_t s = 0; s < n; s++)
        largest = fmax(largest, max[s * stat_stride]);
    for (uint32_t s = 0; s < n; s++)
        total += exp(max[s * stat_stride] - largest) * sum[s * stat_stride];
    for (uint32_t i = 0; i < n_values; i++) {
        y[i] = 0.0;
        for (uint32_t s = 0; s < n; s++)
            y[i] += exp(max[s * stat_stride] - largest) * o[(size_t)s * stride + i] / total;
    }
}

uint32_t ref_argmax(const float *values, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (isnan(values[best]) ? !isnan(values[i]) : values[i] > values[best])
            best = i;
    return best;
}

double ref_nmse(const float *x, const double *y, size_t n)
{
    double error = 0.0, power = 0.0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i]))
            return INFINITY;
        error += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
        power += y[i] * y[i];
    }
    return power > 0.0 ? error / power : error;
}

/* ---- a checkpoint's weights ---- */

struct ref_block {
    double *qkv, *bias, *proj, *fc, *down; /* bias: NULL without qk_bias */
    double *norm[4];
};

struct ref_model {
    struct model_config config;
    double *wte, *head, *adapter, *norm_f;
    struct ref_block *blocks; /* prelude, core, coda in order */
    uint32_t n_blocks;
};

/* Reading tensors: the first failure sticks. */
struct reader {
    struct safetensors *file;
    const struct mn_log *log;
    enum weight_type type;
    enum mn_status status;
};

/* The value that a weight has once it is stored as `type`. */
static double round_weight(float x, enum weight_type type)
{
    switch (type) {
    case WEIGHT_TYPE_F16: return (double)f16_to_f32(f32_to_f16(x));
    case WEIGHT_TYPE_BF16: return (double)bf16_to_f32(f32_to_bf16(x));
    case WEIGHT_TYPE_F32:
    case WEIGHT_TYPES:
    case WEIGHT_TYPE_AS_STORED: break;
    }
    return (double)x;
}

/* The first n values of a tensor, which must have at least that many (a padded vocabulary has more). */
static double *read_tensor(struct reader *r, enum weight_type type, size_t n, const char *prefix, const char *name)
{
    char full[128];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    const struct tensor_view *tensor = r->status ? NULL : safetensors_find(r->file, full);
    if (r->status)
        return NULL;
    const size_t step = tensor ? tensor_dtype_bytes(tensor->dtype) : 0;
    if (!tensor || (tensor->dtype != TENSOR_F32 && tensor->dtype != TENSOR_F16 && tensor->dtype != TENSOR_BF16) ||
        tensor->bytes < n * step) {
        r->status = log_fail(r->log, MN_ERR_FORMAT, "reference: tensor '%s' is missing or has another shape", full);
        return NULL;
    }
    double *values = malloc(n * sizeof *values);
    unsigned char *bytes = malloc(n * step);
    if (!values || !bytes)
        r->status = log_fail(r->log, MN_ERR_MEMORY, "reference: out of host memory for tensor '%s'", full);
    else
        r->status = safetensors_read(r->file, tensor, 0, n * step, bytes, r->log);
    for (size_t i = 0; i < n && !r->status; i++) {
        float x;
        uint16_t half;
        if (tensor->dtype == TENSOR_F32) {
            memcpy(&x, bytes + 4 * i, 4);
        } else {
            memcpy(&half, bytes + 2 * i, 2);
            x = tensor->dtype == TENSOR_F16 ? f16_to_f32(half) : bf16_to_f32(half);
        }
        values[i] = round_weight(x, type);
    }
    free(bytes);
    return values;
}

static void read_block(struct reader *r, const struct model_config *config, const char *section, uint32_t index,
                       struct ref_block *block)
{
    const size_t d = config->n_embd, f = config->intermediate_size;
    char prefix[64], name[32];
    snprintf(prefix, sizeof prefix, "transformer.%s.%u.", section, index);
    block->qkv = read_tensor(r, r->type, 3 * d * d, prefix, "attn.Wqkv.weight");
    block->proj = read_tensor(r, r->type, d * d, prefix, "attn.proj.weight");
    block->fc = read_tensor(r, r->type, 2 * f * d, prefix, "mlp.fc.weight");
    block->down = read_tensor(r, r->type, d * f, prefix, "mlp.proj.weight");
    if (config->qk_bias)
        block->bias = read_tensor(r, WEIGHT_TYPE_F32, 2 * d, prefix, "attn.qk_bias");
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "norm_%d.weight", i + 1);
        block->norm[i] = read_tensor(r, WEIGHT_TYPE_F32, d, prefix, name);
    }
}

enum mn_status ref_model_load(struct ref_model **out, const char *dir, enum weight_type type, const struct mn_log *log)
{
    *out = NULL;
    struct reader r = {.log = log, .type = type};
    struct ref_model *model = calloc(1, sizeof *model);
    if (!model)
        return log_fail(log, MN_ERR_MEMORY, "reference: out of host memory");
    struct model_config *config = &model->config;
    r.status = config_load(config, dir, log);
    if (!r.status)
        r.status = safetensors_open(&r.file, dir, NULL, log);
    if (!r.status) {
        const size_t d = config->n_embd, v = config->vocab_size;
        const char *const sections[] = {"prelude", "core_block", "coda"};
        const uint32_t counts[] = {config->n_prelude, config->n_core, config->n_coda};
        model->n_blocks = counts[0] + counts[1] + counts[2];
        model->blocks = calloc(model->n_blocks + 1, sizeof *model->blocks);
        if (!model->blocks)
            r.status = log_fail(log, MN_ERR_MEMORY, "reference: out of host memory");
        model->wte = read_tensor(&r, type, v * d, "", "transformer.wte.weight");
        model->head = config->tie_embeddings ? NULL : read_tensor(&r, type, v * d, "", "lm_head.weight");
        model->adapter = read_tensor(&r, type, 2 * d * d, "", "transformer.adapter.weight");
        model->norm_f = read_tensor(&r, WEIGHT_TYPE_F32, d, "", "transformer.ln_f.weight");
        struct ref_block *block = model->blocks;
        for (int section = 0; section < 3; section++)
            for (uint32_t i = 0; i < counts[section] && !r.status; i++)
                read_block(&r, config, sections[section], i, block++);
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
        double *const all[] = {b->qkv,     b->bias,    b->proj,    b->fc,     b->down,
                               b->norm[0], b->norm[1], b->norm[2], b->norm[3]};
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
        s->kv[i].values = calloc((size_t)params->n_ctx * s->kv[i].n_slots * 2 * config->n_embd, sizeof(double));
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
    double *q;         /* [n, d] */
    double *a, *b, *c; /* scratch, [2d + 2F] each */
};

/* Keys and values of all rows enter the cache before any row attends: rows of one call see each other. */
static void write_cache(struct ref_session *s, uint32_t index, const struct batch *batch)
{
    const struct model_config *config = &s->model->config;
    const struct ref_block *w = &s->model->blocks[index];
    const struct ref_kv *kv = &s->kv[index];
    const struct ref_heads heads = {.n = config->n_heads, .n_kv = kv->n_heads, .dim = config->head_dim};
    const size_t d = config->n_embd;
    const uint32_t slot = kv->core ? batch->step % kv->n_slots : 0;
    for (uint32_t i = 0; i < batch->n; i++) {
        double *k = batch->b, *v = batch->c;
        ref_norm(batch->x + i * d, w->norm[0], config->n_embd, (double)config->norm_eps, batch->a);
        ref_qkv(w->qkv, w->bias, batch->a, config->n_embd, &heads, batch->first + i, config->rope_base,
                batch->q + i * d, k, v);
        for (size_t j = 0; j < d && s->kv_type == KV_F16; j++) {
            k[j] = (double)f16_to_f32(f32_to_f16((float)k[j]));
            v[j] = (double)f16_to_f32(f32_to_f16((float)v[j]));
        }
        for (uint32_t head = 0; head < kv->n_heads; head++) {
            memcpy(ref_kv_entry(kv, 0, batch->first + i, slot, 0, head), k + (size_t)head * config->head_dim,
                   config->head_dim * sizeof *k);
            memcpy(ref_kv_entry(kv, 0, batch->first + i, slot, 1, head), v + (size_t)head * config->head_dim,
                   config->head_dim * sizeof *v);
        }
        if (kv->core)
            s->depths[batch->first + i] = batch->step + 1;
    }
}

/* x = norm_2(x + attn(norm_1 x)), x = norm_4(x + mlp(norm_3 x)). */
static void block_forward(struct ref_session *s, uint32_t index, const struct batch *batch)
{
    const struct model_config *config = &s->model->config;
    const struct ref_block *w = &s->model->blocks[index];
    const uint32_t d = config->n_embd, f = config->intermediate_size, h = config->head_dim;
    const uint32_t per_kv = config->n_heads / s->kv[index].n_heads;
    const double eps = (double)config->norm_eps;
    write_cache(s, index, batch);
    for (uint32_t i = 0; i < batch->n; i++) {
        const struct row row = {.position = batch->first + i, .depth = batch->step};
        double *x = batch->x + (size_t)i * d, *a = batch->a, *b = batch->b, *c = batch->c;
        for (uint32_t head = 0; head < config->n_heads; head++) {
            double max, sum;
            ref_attention(&s->kv[index], &row, head / per_kv, batch->q + (size_t)i * d + head * h, 0, row.position + 1,
                          b, &max, &sum);
            ref_merge(b, 0, &max, &sum, 0, 1, h, a + head * h);
        }
        ref_matmul(w->proj, d, d, a, b);
        for (uint32_t k = 0; k < d; k++)
            x[k] += b[k];
        ref_norm(x, w->norm[1], d, eps, x);
        ref_norm(x, w->norm[2], d, eps, a);
        ref_gate(w->fc, f, d, a, b, c);
        ref_matmul(w->down, d, f, c, b);
        for (uint32_t k = 0; k < d; k++)
            x[k] += b[k];
        ref_norm(x, w->norm[3], d, eps, x);
    }
}

static void forward(struct ref_session *s, struct batch *batch, const uint32_t *ids, uint32_t num_steps,
                    const double *state0, double *logits)
{
    const struct ref_model *model = s->model;
    const struct model_config *config = &model->config;
    const uint32_t d = config->n_embd, v = config->vocab_size, core0 = config->n_prelude,
                   coda0 = core0 + config->n_core;
    const double eps = (double)config->norm_eps;
    const size_t all = (size_t)batch->n * d;

    for (uint32_t i = 0; i < batch->n; i++)
        ref_embed(model->wte + (size_t)ids[i] * d, d, batch->x + (size_t)i * d);
    for (uint32_t i = 0; i < core0; i++)
        block_forward(s, i, batch);
    memcpy(batch->e, batch->x, all * sizeof *batch->e);
    for (size_t i = 0; i < all; i++)
        batch->s[i] = state0 ? state0[i] : 0.0;

    for (batch->step = 0; batch->step < num_steps; batch->step++) {
        for (uint32_t i = 0; i < batch->n; i++) {
            memcpy(batch->a, batch->s + (size_t)i * d, d * sizeof *batch->a);
            memcpy(batch->a + d, batch->e + (size_t)i * d, d * sizeof *batch->a);
            ref_matmul(model->adapter, d, 2 * d, batch->a, batch->x + (size_t)i * d);
        }
        for (uint32_t i = core0; i < coda0; i++)
            block_forward(s, i, batch);
        memcpy(batch->s, batch->x, all * sizeof *batch->s);
    }

    batch->step = 0;
    for (uint32_t i = 0; i < batch->n; i++)
        ref_norm(batch->s + (size_t)i * d, model->norm_f, d, eps, batch->x + (size_t)i * d);
    for (uint32_t i = coda0; i < model->n_blocks; i++)
        block_forward(s, i, batch);
    for (uint32_t i = 0; i < batch->n; i++) {
        ref_norm(batch->x + (size_t)i * d, model->norm_f, d, eps, batch->a);
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
    const size_t all = (size_t)n * config->n_embd,
                 scratch = 2 * (size_t)config->n_embd + 2 * (size_t)config->intermediate_size;
    double *memory = malloc((4 * all + 3 * scratch) * sizeof *memory);
    if (!memory)
        return log_fail(log, MN_ERR_MEMORY, "reference: out of host memory for %u rows", n);
    struct batch batch = {
        .n = n, .first = first, .x = memory, .e = memory + all, .s = memory + 2 * all, .q = memory + 3 * all};
    batch.a = memory + 4 * all;
    batch.b = batch.a + scratch;
    batch.c = batch.b + scratch;
    forward(s, &batch, ids, num_steps, state0, logits);
    free(memory);
    return MN_OK;
}
