/* Retrofits: layers of a Llama or an OLMo-2 as prelude, core and coda, with Huginn's adapter in front of each step
 * (arXiv 2511.07384). The file has Huginn's model_type and names; what tells them apart are the tensors. */
#include <float.h>
#include <stdio.h>

#include "engine/files/safetensors.h"
#include "engine/model/blocks.h"
#include "engine/model/config_raven.h"
#include "engine/model/family.h"

/* ---- which one it is ---- */

static bool has(const struct safetensors *file, const char *name)
{
    char path[PLAN_NAME_BYTES];
    return file && safetensors_find(file, plan_name(path, "transformer.core_block.0", name));
}

static bool is_olmo(const struct json_doc *doc, const struct safetensors *file)
{
    return json_find(doc->root, "rope_theta") && has(file, "attn.q_norm.weight");
}

static bool is_llama(const struct json_doc *doc, const struct safetensors *file)
{
    return json_find(doc->root, "rope_theta") && !has(file, "norm_3.weight");
}

/* ---- config.json ---- */

static enum mn_status read_shape(struct model_config *c, const struct json_doc *doc)
{
    const struct config_count counts[] = {{"num_key_value_heads", 1, CONFIG_HEADS_MAX, &c->n_kv_heads},
                                          {"head_dim", 1, CONFIG_EMBD_MAX, &c->head_dim}};
    enum mn_status status = raven_read_counts(c, doc);
    if (!status)
        status = config_read_counts(doc, counts, sizeof counts / sizeof *counts);
    return status ? status : config_check_heads(c, doc, "num_key_value_heads");
}

static enum mn_status read_constants(struct model_config *c, const struct json_doc *doc)
{
    static const struct config_flag flags[] = {{"qk_bias", "a bias of queries and keys is not supported"}};
    double scale;
    enum mn_status status = config_check_flags(doc, flags, sizeof flags / sizeof *flags);
    if (!status)
        status = config_read_eps(c, doc, "norm_eps", 0.0);
    if (!status)
        status = config_read_rope(c, doc);
    if (!status)
        status = json_get_double(doc, json_find(doc->root, "init_values"), "embed_scale", 1e-6, FLT_MAX, &scale);
    if (!status)
        status = raven_read_tied(c, doc, false);
    c->rotary_halves = true;
    if (status)
        return status;
    c->embed_scale = (float)scale;
    return raven_read_state_std(c, doc, scale);
}

static enum mn_status read_config(struct model_config *c, const struct json_doc *doc)
{
    enum mn_status status = raven_check_building_blocks(doc);
    if (!status)
        status = read_shape(c, doc);
    if (!status)
        status = raven_check_noise(doc);
    return status ? status : read_constants(c, doc);
}

static enum mn_status read_olmo_config(struct model_config *c, const struct json_doc *doc)
{
    c->heads_normed = true;
    return read_config(c, doc);
}

/* ---- tensors ---- */

static void plan_block(struct weight_plan *plan, struct block_weights *w, const char *prefix)
{
    static const char *const llama_norms[4] = {"norm_1.weight", NULL, "norm_2.weight", NULL}, *const olmo_norms[4] = {
                                                                                                  NULL, "norm_1.weight",
                                                                                                  NULL,
                                                                                                  "norm_2.weight"};
    const struct model_config *c = plan->config;
    char q[PLAN_NAME_BYTES], k[PLAN_NAME_BYTES];
    plan_raven_matrices(plan, w, prefix);
    plan_block_norms(plan, w, prefix, c->heads_normed ? olmo_norms : llama_norms);
    if (c->heads_normed)
        plan_heads_norm(plan, &w->heads_norm, plan_name(q, prefix, "attn.q_norm.weight"),
                        plan_name(k, prefix, "attn.k_norm.weight"));
    else
        plan_bias(plan, &w->bias, NULL, (c->n_heads + c->n_kv_heads) * c->head_dim);
}

static void plan_weights(struct weight_plan *plan, struct weights *w)
{
    static const char *const sections[] = {"prelude", "core_block", "coda"};
    const struct model_config *c = plan->config;
    const uint32_t counts[] = {c->n_prelude, c->n_core, c->n_coda};
    struct block_weights *block = w->blocks;
    plan_vocabulary(plan, w, "transformer.wte.weight", "lm_head.weight");
    plan_raven_adapter(plan, w);
    for (int section = 0; section < 3; section++)
        for (uint32_t i = 0; i < counts[section]; i++) {
            char prefix[64];
            snprintf(prefix, sizeof prefix, "transformer.%s.%u", sections[section], i);
            plan_block(plan, block++, prefix);
        }
    plan_norm(plan, &w->head_norm, "transformer.ln_f.weight", NULL, c->n_embd);
}

/* ---- the function ---- */

static block_function *block_of(const struct recorder *r)
{
    return r->model->config.heads_normed ? olmo_block : llama_block;
}

/* e = prelude(wte[token] * embed_scale); what the adapter makes of e is the same in every step. */
static void prelude(struct recorder *r)
{
    struct activation x = row_vectors(r), injected = injected_vectors(r);
    embed(r, &x);
    block_row(r, block_of(r), 0, r->model->config.n_prelude, x, &x, false);
    PROJECT(r, .what = "adapter", .matrix = &r->model->weights.adapter_embed, .in = &x, .out = &injected);
}

/* s = core(adapter [s; e]) */
static void step(struct recorder *r)
{
    const struct model_config *c = &r->model->config;
    struct activation state = state_vectors(r), x = row_vectors(r);
    const struct activation injected = injected_vectors(r);
    PROJECT(r, .what = "adapter", .matrix = &r->model->weights.adapter_state, .in = &state, .add = &injected,
            .out = &x);
    block_row(r, block_of(r), c->n_prelude, c->n_core, x, &state, true);
}

/* The last sum of a pass: OLMo's is a dispatch of its own and leaves one part of statistics. */
static struct activation summed(const struct recorder *r, struct activation value)
{
    if (r->model->config.heads_normed)
        value.n_parts = 1;
    return value;
}

/* y = coda(s) */
static void coda(struct recorder *r)
{
    const struct model_config *c = &r->model->config;
    struct activation y = row_vectors(r);
    block_row(r, block_of(r), c->n_prelude + c->n_core, c->n_coda, summed(r, state_vectors(r)), &y, false);
}

/* logits = lm_head(ln_f(y)) */
static void head(struct recorder *r, bool sampled)
{
    const struct activation y = summed(r, r->model->config.n_coda ? row_vectors(r) : state_vectors(r));
    logits(r, &y, &r->model->weights.head_norm);
    pick(r, sampled);
}

const struct family family_retrofit_llama = {.name = "retrofit-llama",
                                             .model_type = "huginn_raven",
                                             .is = is_llama,
                                             .read_config = read_config,
                                             .plan_weights = plan_weights,
                                             .prelude = prelude,
                                             .step = step,
                                             .coda = coda,
                                             .head = head,
                                             .injects = true};

const struct family family_retrofit_olmo = {.name = "retrofit-olmo",
                                            .model_type = "huginn_raven",
                                            .is = is_olmo,
                                            .read_config = read_olmo_config,
                                            .plan_weights = plan_weights,
                                            .prelude = prelude,
                                            .step = step,
                                            .coda = coda,
                                            .head = head,
                                            .injects = true};
