/* Llama: every block once, norms in front of the branches. One step is all there is: the baseline of fixed depth. */
#include <stdio.h>

#include "engine/model/blocks.h"
#include "engine/model/config_read.h"
#include "engine/model/family.h"

/* ---- config.json ---- */

static enum mn_status read_shape(struct model_config *c, const struct json_doc *doc)
{
    const struct config_count counts[] = {
        {"hidden_size", 1, CONFIG_EMBD_MAX, &c->n_embd},
        {"num_attention_heads", 1, CONFIG_HEADS_MAX, &c->n_heads},
        {"intermediate_size", 1, CONFIG_INTERMEDIATE_MAX, &c->intermediate_size},
        {"vocab_size", 1, CONFIG_VOCAB_MAX, &c->vocab_size},
        {"num_hidden_layers", 1, CONFIG_LAYERS_MAX, &c->n_core},
        {"max_position_embeddings", 1, CONFIG_BLOCK_MAX, &c->block_size},
    };
    enum mn_status status = config_read_counts(doc, counts, sizeof counts / sizeof *counts);
    if (!status)
        status = json_get_u32_or(doc, doc->root, "num_key_value_heads", 1, CONFIG_HEADS_MAX, c->n_heads,
                                 &c->n_kv_heads);
    if (status)
        return status;
    if (!json_is_given(doc->root, "head_dim") && c->n_embd % c->n_heads != 0)
        return json_refuse(doc, MN_ERR_FORMAT, "hidden_size", json_find(doc->root, "hidden_size"),
                           "must be a multiple of num_attention_heads where head_dim is not given");
    status = json_get_u32_or(doc, doc->root, "head_dim", 1, CONFIG_EMBD_MAX, c->n_embd / c->n_heads, &c->head_dim);
    if (!status)
        status = config_check_heads(c, doc, "num_key_value_heads");
    c->padded_vocab_size = c->vocab_size;
    c->mean_recurrence = c->max_recurrence = 1;
    return status;
}

static enum mn_status read_config(struct model_config *c, const struct json_doc *doc)
{
    static const struct config_choice choices[] = {{"hidden_act", {"silu"}}};
    static const struct config_flag flags[] = {
        {"attention_bias", "projections with a bias are not supported"},
        {"mlp_bias", "linear layers with a bias are not supported"},
        {"use_sliding_window", "sliding windows are not supported"},
    };
    enum mn_status status = config_check_choices(doc, choices, sizeof choices / sizeof *choices);
    if (!status)
        status = config_check_flags(doc, flags, sizeof flags / sizeof *flags);
    if (!status)
        status = read_shape(c, doc);
    if (!status)
        status = config_read_eps(c, doc, "rms_norm_eps", 1e-6);
    if (!status)
        status = config_read_rope(c, doc);
    if (!status)
        status = json_get_bool_or(doc, doc->root, "tie_word_embeddings", false, &c->tie_embeddings);
    c->rotary_halves = true;
    c->embed_scale = 1.0f;
    return status;
}

/* ---- tensors ---- */

static void plan_weights(struct weight_plan *plan, struct weights *w)
{
    static const char *const norms[4] = {"input_layernorm.weight", NULL, "post_attention_layernorm.weight", NULL};
    const uint32_t d = plan->config->n_embd;
    plan_llama_stack(plan, w, norms);
    plan_norm(plan, &w->head_norm, "model.norm.weight", NULL, d);
}

/* ---- the function ---- */

static void prelude(struct recorder *r)
{
    struct activation x = row_vectors(r);
    embed(r, &x);
}

/* s = all blocks of s, which begins as the embedding */
static void step(struct recorder *r)
{
    struct activation state = state_vectors(r), x = row_vectors(r);
    norm_vectors(r, &state, NULL, &x);
    block_row(r, llama_block, 0, r->model->config.n_core, x, &state, true);
}

static void coda(struct recorder *r)
{
    (void)r; /* the head reads the state */
}

/* logits = lm_head(norm s) */
static void head(struct recorder *r, bool sampled)
{
    const struct activation state = state_vectors(r);
    logits(r, &state, &r->model->weights.head_norm);
    pick(r, sampled);
}

const struct family family_llama = {.name = "llama",
                                    .model_type = "llama",
                                    .read_config = read_config,
                                    .plan_weights = plan_weights,
                                    .prelude = prelude,
                                    .step = step,
                                    .coda = coda,
                                    .head = head,
                                    .fixed_depth = true};
