/* Ouro: the whole stack looped, a norm behind every loop that is fed on and read out, norms on both sides of the
 * branches, and a gate that says after each loop whether another one is needed (arXiv 2510.25741). */
#include <stdio.h>
#include <string.h>

#include "engine/model/blocks.h"
#include "engine/model/config_read.h"
#include "engine/model/family.h"

/* ---- config.json: nothing has a default, since a missing key means that the file is of something else ---- */

static enum mn_status read_shape(struct model_config *c, const struct json_doc *doc)
{
    const struct config_count counts[] = {
        {"hidden_size", 1, CONFIG_EMBD_MAX, &c->n_embd},
        {"num_attention_heads", 1, CONFIG_HEADS_MAX, &c->n_heads},
        {"num_key_value_heads", 1, CONFIG_HEADS_MAX, &c->n_kv_heads},
        {"head_dim", 1, CONFIG_EMBD_MAX, &c->head_dim},
        {"intermediate_size", 1, CONFIG_INTERMEDIATE_MAX, &c->intermediate_size},
        {"vocab_size", 1, CONFIG_VOCAB_MAX, &c->vocab_size},
        {"num_hidden_layers", 1, CONFIG_LAYERS_MAX, &c->n_core},
        {"total_ut_steps", 1, CONFIG_RECURRENCE_MAX, &c->mean_recurrence},
        {"max_position_embeddings", 1, CONFIG_BLOCK_MAX, &c->block_size},
    };
    enum mn_status status = config_read_counts(doc, counts, sizeof counts / sizeof *counts);
    c->padded_vocab_size = c->vocab_size;
    c->max_recurrence = c->mean_recurrence;
    return status ? status : config_check_heads(c, doc, "num_key_value_heads");
}

static enum mn_status check_layer_types(const struct json_doc *doc)
{
    const cJSON *types, *type;
    if (!json_is_given(doc->root, "layer_types"))
        return MN_OK;
    enum mn_status status = json_get_array(doc, doc->root, "layer_types", &types);
    if (status)
        return status;
    cJSON_ArrayForEach (type, types)
        if (!cJSON_IsString(type) || strcmp(type->valuestring, "full_attention") != 0)
            return json_refuse(doc, MN_ERR_UNSUPPORTED, "layer_types", type, "only full_attention is supported");
    return MN_OK;
}

static enum mn_status read_config(struct model_config *c, const struct json_doc *doc)
{
    static const struct config_choice choices[] = {{"hidden_act", {"silu"}}};
    const char *act;
    static const struct config_flag flags[] = {
        {"attention_bias", "projections with a bias are not supported"},
        {"mlp_bias", "linear layers with a bias are not supported"},
        {"use_sliding_window", "sliding windows are not supported"},
    };
    enum mn_status status = json_get_string(doc, doc->root, "hidden_act", PLAN_NAME_BYTES, &act);
    if (!status)
        status = config_check_choices(doc, choices, sizeof choices / sizeof *choices);
    if (!status)
        status = config_check_flags(doc, flags, sizeof flags / sizeof *flags);
    if (!status)
        status = check_layer_types(doc);
    if (!status)
        status = read_shape(c, doc);
    if (!status)
        status = config_read_eps(c, doc, "rms_norm_eps", 0.0);
    if (!status)
        status = config_read_rope(c, doc);
    if (!status)
        status = json_get_bool(doc, doc->root, "tie_word_embeddings", &c->tie_embeddings);
    c->rotary_halves = true;
    c->embed_scale = 1.0f;
    return status;
}

/* Published files name 0 (end of text) alone; in a conversation a turn ends with 2. */
static void add_stops(struct model_config *c)
{
    if (c->n_eos == 1 && c->eos_token_ids[0] == 0 && c->vocab_size > 2)
        c->eos_token_ids[c->n_eos++] = 2;
}

/* ---- tensors ---- */

static void plan_weights(struct weight_plan *plan, struct weights *w)
{
    static const char *const norms[4] = {"input_layernorm.weight", "input_layernorm_2.weight",
                                         "post_attention_layernorm.weight", "post_attention_layernorm_2.weight"};
    static const char norm[] = "model.norm.weight";
    const uint32_t d = plan->config->n_embd;
    plan_llama_stack(plan, w, norms);
    plan_norm(plan, &w->head_norm, norm, NULL, d);
    plan_host_norm(plan, &w->state_norm, norm, d);
    plan_host_gate(plan, &w->exit_gate, "model.early_exit_gate.weight", "model.early_exit_gate.bias", d);
}

/* ---- the function ---- */

/* What the last sum of a step left: owed the norm behind every loop, one part of statistics. */
static struct activation looped_state(const struct recorder *r)
{
    struct activation state = owing(state_vectors(r), &r->model->weights.head_norm);
    state.n_parts = 1;
    return state;
}

static void prelude(struct recorder *r)
{
    struct activation x = row_vectors(r);
    embed(r, &x);
}

/* s = norm(all blocks of s), which begins as the embedding */
static void step(struct recorder *r)
{
    struct activation state = looped_state(r), x = row_vectors(r);
    norm_vectors(r, &state, NULL, &x);
    block_row(r, ouro_block, 0, r->model->config.n_core, x, &state, true);
}

static void coda(struct recorder *r)
{
    (void)r; /* the head reads the state */
}

/* logits = lm_head(s): the norm that the state is owed is the head's own here */
static void head(struct recorder *r, bool sampled)
{
    const struct activation state = owing(looped_state(r), NULL);
    logits(r, &state, &r->model->weights.head_norm);
    pick(r, sampled);
}

const struct family family_ouro = {.name = "ouro",
                                   .model_type = "ouro",
                                   .read_config = read_config,
                                   .plan_weights = plan_weights,
                                   .prelude = prelude,
                                   .step = step,
                                   .coda = coda,
                                   .head = head,
                                   .add_stops = add_stops,
                                   .has_exit_gate = true};
