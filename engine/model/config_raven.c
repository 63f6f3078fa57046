#include "engine/model/config_raven.h"

#include <float.h>
#include <math.h>

enum mn_status raven_check_building_blocks(const struct json_doc *doc)
{
    static const struct config_choice choices[] = {
        {"architecture_class_name", {"RecurrentGPT"}},
        {"block_class_name", {"SandwichBlock"}},
        {"mlp_class_name", {"GatedMLP"}},
        {"nonlin_name", {"SiLU"}},
        {"norm_class_name", {"RMSNorm_llama", "RMSNorm"}}, /* two names of one function in the published code */
        {"injection_type", {"linear"}},
        {"state_init", {"like-init", "zero"}},
        {"initial_state_mode", {"random", "zero"}}, /* what a run begins with is its own choice: init_scale */
    };
    static const struct config_flag flags[] = {{"bias", "linear layers with a bias are not supported"}};
    enum mn_status status = config_check_choices(doc, choices, sizeof choices / sizeof *choices);
    return status ? status : config_check_flags(doc, flags, sizeof flags / sizeof *flags);
}

enum mn_status raven_read_counts(struct model_config *c, const struct json_doc *doc)
{
    const struct config_count counts[] = {
        {"n_embd", 1, CONFIG_EMBD_MAX, &c->n_embd},
        {"n_heads", 1, CONFIG_HEADS_MAX, &c->n_heads},
        {"intermediate_size", 1, CONFIG_INTERMEDIATE_MAX, &c->intermediate_size},
        {"vocab_size", 1, CONFIG_VOCAB_MAX, &c->vocab_size},
        {"n_layers_in_prelude", 0, CONFIG_LAYERS_MAX, &c->n_prelude},
        {"n_layers_in_recurrent_block", 1, CONFIG_LAYERS_MAX, &c->n_core},
        {"n_layers_in_coda", 0, CONFIG_LAYERS_MAX, &c->n_coda},
        {"mean_recurrence", 1, CONFIG_RECURRENCE_MAX, &c->mean_recurrence},
        {"block_size", 1, CONFIG_BLOCK_MAX, &c->block_size},
    };
    enum mn_status status = config_read_counts(doc, counts, sizeof counts / sizeof *counts);
    return status ? status : config_read_padded_vocabulary(c, doc);
}

enum mn_status raven_check_noise(const struct json_doc *doc)
{
    double noise;
    enum mn_status status = json_get_double_or(doc, doc->root, "test_time_noise", -DBL_MAX, DBL_MAX, 0, &noise);
    if (!status && noise > 0)
        status = json_refuse(doc, MN_ERR_UNSUPPORTED, "test_time_noise", json_find(doc->root, "test_time_noise"),
                             "noise between recurrence steps is not supported");
    return status;
}

enum mn_status raven_read_tied(struct model_config *c, const struct json_doc *doc, bool fallback)
{
    bool tie_word, word = false;
    enum mn_status status = json_get_bool_or(doc, doc->root, "tie_word_embeddings", fallback, &tie_word);
    if (!status)
        status = json_get_bool_or(doc, doc->root, "tie_embeddings", tie_word, &c->tie_embeddings);
    if (!status)
        status = json_get_bool_or(doc, doc->root, "tie_word_embeddings", c->tie_embeddings, &word);
    if (!status && word != c->tie_embeddings)
        status = json_refuse(doc, MN_ERR_FORMAT, "tie_word_embeddings", json_find(doc->root, "tie_word_embeddings"),
                             "tie_embeddings says the opposite");
    return status;
}

enum mn_status raven_read_state_std(struct model_config *c, const struct json_doc *doc, double scale)
{
    double std;
    enum mn_status status = json_get_double_or(doc, json_find(doc->root, "init_values"), "std", 0.0, 1e3,
                                               sqrt(2.0 / (5.0 * c->n_embd)), &std);
    if (!status)
        c->state_std = std * scale;
    return status;
}
