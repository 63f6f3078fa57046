/* Huginn: a sandwich block whose norms sit on the residual sums, an adapter that injects the embedding into every step
 * (arXiv 2502.05171). */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/model/blocks.h"
#include "engine/model/config_raven.h"
#include "engine/model/family.h"
#include "engine/model/operations.h"

/* ---- config.json ---- */

static enum mn_status parse_shape(struct model_config *c, const struct json_doc *doc)
{
    enum mn_status status = raven_read_counts(c, doc);
    if (status)
        return status;
    if (c->n_embd % c->n_heads != 0)
        return json_refuse(doc, MN_ERR_FORMAT, "n_embd", json_find(doc->root, "n_embd"),
                           "must be a multiple of n_heads");
    c->n_kv_heads = c->n_heads;
    c->head_dim = c->n_embd / c->n_heads;
    return config_check_head_dim(doc, "n_heads", c->n_heads, c->head_dim);
}

static enum mn_status check_repeated(const struct model_config *c, const struct json_doc *doc)
{
    const struct config_repeat repeats[] = {
        {"num_attention_heads", c->n_heads, MN_ERR_FORMAT, "must equal n_heads"},
        {"num_key_value_heads", c->n_heads, MN_ERR_UNSUPPORTED, "grouped key/value heads are not supported"},
        {"head_dim", c->head_dim, MN_ERR_FORMAT, "must equal n_embd / n_heads"},
        {"hidden_size", c->n_embd, MN_ERR_FORMAT, "must equal n_embd"},
    };
    return config_check_repeats(doc, repeats, sizeof repeats / sizeof *repeats);
}

/* Settings of the published code that change what inference computes, where this engine has one fixed behaviour. */
static enum mn_status check_fixed_behaviour(struct model_config *c, const struct json_doc *doc)
{
    double scale, expected = sqrt((double)c->n_embd);
    enum mn_status status = raven_check_noise(doc);
    if (status)
        return status;
    const struct cJSON *init = json_find(doc->root, "init_values");
    status = json_get_double_or(doc, init, "embed_scale", -DBL_MAX, DBL_MAX, expected, &scale);
    if (!status && fabs(scale - expected) > 1e-3 * expected)
        status = json_refuse(doc, MN_ERR_UNSUPPORTED, "embed_scale", json_find(init, "embed_scale"),
                             "only sqrt(n_embd) is supported");
    c->embed_scale = sqrtf((float)c->n_embd);
    return status ? status : raven_read_state_std(c, doc, expected);
}

/* Keys of other families' rotary embeddings, which this one's code does not read: they may only say the same. */
static enum mn_status check_rotary(const struct model_config *c, const struct json_doc *doc)
{
    const struct cJSON *scaling = json_find(doc->root, "rope_scaling");
    double theta;
    enum mn_status status = json_get_double_or(doc, doc->root, "rope_theta", 1, 1e12, (double)c->rope_base, &theta);
    if (!status && (float)theta != c->rope_base)
        status = json_refuse(doc, MN_ERR_FORMAT, "rope_theta", json_find(doc->root, "rope_theta"),
                             "rope_base says otherwise");
    if (!status && scaling && !cJSON_IsNull(scaling))
        status = json_refuse(doc, MN_ERR_UNSUPPORTED, "rope_scaling", scaling, "Huginn's rotary embedding has none");
    return status;
}

static enum mn_status parse_constants(struct model_config *c, const struct json_doc *doc)
{
    const struct cJSON *root = doc->root;
    double base;
    enum mn_status status = config_read_eps(c, doc, "norm_eps", 1e-6);
    if (!status)
        status = json_get_double_or(doc, root, "rope_base", 1, 1e12, 50000, &base);
    if (!status)
        status = json_get_bool_or(doc, root, "qk_bias", true, &c->qk_bias);
    if (!status)
        status = raven_read_tied(c, doc, true);
    if (status)
        return status;
    c->rope_base = (float)base;
    return check_rotary(c, doc);
}

static enum mn_status read_config(struct model_config *c, const struct json_doc *doc)
{
    enum mn_status status = raven_check_building_blocks(doc);
    if (!status)
        status = parse_shape(c, doc);
    if (!status)
        status = check_repeated(c, doc);
    if (!status)
        status = check_fixed_behaviour(c, doc);
    return status ? status : parse_constants(c, doc);
}

/* ---- tensors ---- */

/* `before` is the block whose last norm its output is owed, NULL at the start of a section. */
static void plan_block(struct weight_plan *plan, struct block_weights *w, const char *prefix, const char *before)
{
    const struct model_config *c = plan->config;
    const uint32_t d = c->n_embd;
    char a[PLAN_NAME_BYTES], b[PLAN_NAME_BYTES];
    plan_raven_matrices(plan, w, prefix);
    plan_norm(plan, &w->attention_in, plan_name(a, prefix, "norm_1.weight"),
              before ? plan_name(b, before, "norm_4.weight") : NULL, d);
    plan_norm(plan, &w->attention_out, plan_name(a, prefix, "norm_2.weight"), NULL, d);
    plan_norm(plan, &w->mlp_in, plan_name(a, prefix, "norm_2.weight"), plan_name(b, prefix, "norm_3.weight"), d);
    plan_norm(plan, &w->mlp_out, plan_name(a, prefix, "norm_4.weight"), NULL, d);
    plan_bias(plan, &w->bias, c->qk_bias ? plan_name(a, prefix, "attn.qk_bias") : NULL, 2 * d);
}

static void plan_weights(struct weight_plan *plan, struct weights *w)
{
    static const char *const sections[] = {"prelude", "core_block", "coda"};
    static const char ln_f[] = "transformer.ln_f.weight";
    const struct model_config *c = plan->config;
    const uint32_t d = c->n_embd, counts[] = {c->n_prelude, c->n_core, c->n_coda};
    struct block_weights *block = w->blocks;
    char last[PLAN_NAME_BYTES], name[PLAN_NAME_BYTES];
    plan_vocabulary(plan, w, "transformer.wte.weight", "lm_head.weight");
    plan_raven_adapter(plan, w);
    for (int section = 0; section < 3; section++)
        for (uint32_t i = 0; i < counts[section]; i++) {
            char prefix[64], before[64];
            snprintf(prefix, sizeof prefix, "transformer.%s.%u", sections[section], i);
            snprintf(before, sizeof before, "transformer.%s.%u", sections[section], i - 1);
            plan_block(plan, block++, prefix, i > 0 ? before : NULL);
            plan_name(last, prefix, "norm_4.weight");
            if (section == 1 && i + 1 == c->n_core)
                plan_host_norm(plan, &w->state_norm, plan_name(name, prefix, "norm_4.weight"), d);
        }
    plan_norm(plan, &w->coda_norm, ln_f, NULL, d);
    plan_norm(plan, &w->head_norm, ln_f, c->n_coda ? last : NULL, d);
}

/* ---- the function ---- */

/* x = norm_2(x + attn(norm_1 x)); x = norm_4(x + mlp(norm_3 x)): `out` is owed norm_4. */
static void sandwich(struct recorder *r, const struct block *b, const struct activation *x, struct activation *out,
                     bool ends_step)
{
    struct activation y = owing(sum_vectors(r), &b->w->attention_out), hidden = hidden_vectors(r);
    qkv(r, b, x, &b->w->attention_in);
    const struct activation heads = attention(r, b);
    PROJECT(r, .what = "projection", .matrix = &b->w->proj, .in = &heads, .add = x, .out = &y);
    gate(r, b, &y, &b->w->mlp_in, &hidden);
    PROJECT(r, .what = "down", .matrix = &b->w->down, .in = &hidden, .add = &y, .out = out, .ends_step = ends_step);
}

/* Blocks first .. first + n - 1, in place. */
static void sandwiches(struct recorder *r, uint32_t first, uint32_t n, struct activation *x)
{
    for (uint32_t i = first; i < first + n; i++) {
        const struct block b = block_at(r, i);
        struct activation out = owing(row_vectors(r), &b.w->mlp_out);
        sandwich(r, &b, x, &out, false);
        *x = out;
    }
}

/* e = prelude(wte[token] * sqrt(d)); what the adapter makes of e is the same in every step. */
static void prelude(struct recorder *r)
{
    struct activation x = row_vectors(r), injected = injected_vectors(r);
    embed(r, &x);
    sandwiches(r, 0, r->model->config.n_prelude, &x);
    PROJECT(r, .what = "adapter", .matrix = &r->model->weights.adapter_embed, .in = &x, .out = &injected);
}

/* s = core(adapter [s; e]) */
static void step(struct recorder *r)
{
    const struct model_config *c = &r->model->config;
    const struct block last = block_at(r, c->n_prelude + c->n_core - 1);
    struct activation state = owing(state_vectors(r), &last.w->mlp_out), x = row_vectors(r);
    const struct activation injected = injected_vectors(r);
    PROJECT(r, .what = "adapter", .matrix = &r->model->weights.adapter_state, .in = &state, .add = &injected,
            .out = &x);
    sandwiches(r, c->n_prelude, c->n_core - 1, &x);
    sandwich(r, &last, &x, &state, true);
}

/* y = coda(ln_f(s)) */
static void coda(struct recorder *r)
{
    const struct model_config *c = &r->model->config;
    const struct block last = block_at(r, c->n_prelude + c->n_core - 1);
    const struct activation state = owing(state_vectors(r), &last.w->mlp_out);
    struct activation x = row_vectors(r);
    norm_vectors(r, &state, &r->model->weights.coda_norm, &x);
    sandwiches(r, c->n_prelude + c->n_core, c->n_coda, &x);
}

/* logits = lm_head(ln_f(y)) */
static void head(struct recorder *r, bool sampled)
{
    const struct model_config *c = &r->model->config;
    struct activation x = row_vectors(r);
    if (c->n_coda) {
        const struct block last = block_at(r, c->n_prelude + c->n_core + c->n_coda - 1);
        x = owing(x, &last.w->mlp_out);
    } else {
        x.n_parts = 1; /* what norm_vectors left */
    }
    logits(r, &x, &r->model->weights.head_norm);
    pick(r, sampled);
}

const struct family family_huginn_raven = {.name = "huginn",
                                           .model_type = "huginn_raven",
                                           .read_config = read_config,
                                           .plan_weights = plan_weights,
                                           .prelude = prelude,
                                           .step = step,
                                           .coda = coda,
                                           .head = head,
                                           .injects = true};
