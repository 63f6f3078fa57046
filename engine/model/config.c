#include "engine/model/config.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/files/json.h"

enum { NAME_BYTES_MAX = 64 };

/* A setting that must be a name this engine implements. Absent means the reference's default, which is the first. */
struct choice {
    const char *key;
    const char *names[3];
};

static const struct choice choices[] = {
    {"architecture_class_name", {"RecurrentGPT"}},
    {"block_class_name", {"SandwichBlock"}},
    {"mlp_class_name", {"GatedMLP"}},
    {"nonlin_name", {"SiLU"}},
    {"norm_class_name", {"RMSNorm_llama", "RMSNorm"}}, /* two names of one function in the published code */
    {"injection_type", {"linear"}},
};

static bool is_one_of(const char *name, const char *const names[3])
{
    for (int i = 0; i < 3 && names[i]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static enum mn_status check_building_blocks(const struct json_doc *doc)
{
    const char *name;
    enum mn_status status = json_get_string(doc, doc->root, "model_type", NAME_BYTES_MAX, &name);
    if (status != MN_OK)
        return status;
    if (strcmp(name, "huginn_raven") != 0)
        return json_refuse(doc, MN_ERR_UNSUPPORTED, "model_type", json_find(doc->root, "model_type"),
                           "only huginn_raven is supported");
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        const struct choice *c = &choices[i];
        status = json_get_string_or(doc, doc->root, c->key, NAME_BYTES_MAX, c->names[0], &name);
        if (status != MN_OK)
            return status;
        if (!is_one_of(name, c->names)) {
            char why[NAME_BYTES_MAX];
            snprintf(why, sizeof why, "only %s is supported", c->names[0]);
            return json_refuse(doc, MN_ERR_UNSUPPORTED, c->key, json_find(doc->root, c->key), why);
        }
    }
    bool bias;
    status = json_get_bool_or(doc, doc->root, "bias", false, &bias);
    if (status == MN_OK && bias)
        status = json_refuse(doc, MN_ERR_UNSUPPORTED, "bias", json_find(doc->root, "bias"),
                             "linear layers with a bias are not supported");
    return status;
}

/* The counts that give the weights their shapes: all required; only prelude and coda may be empty. */
static enum mn_status parse_shape(struct model_config *c, const struct json_doc *doc)
{
    const struct {
        const char *key;
        uint32_t min, max;
        uint32_t *out;
    } counts[] = {
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
    const struct cJSON *root = doc->root;
    enum mn_status status;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if ((status = json_get_u32(doc, root, counts[i].key, counts[i].min, counts[i].max, counts[i].out)) != MN_OK)
            return status;
    if (c->n_embd % c->n_heads != 0)
        return json_refuse(doc, MN_ERR_FORMAT, "n_embd", json_find(root, "n_embd"), "must be a multiple of n_heads");
    c->head_dim = c->n_embd / c->n_heads;
    if (c->head_dim % 2 != 0)
        return log_fail(
            doc->log, MN_ERR_FORMAT,
            "%s: key 'n_heads': value %u: gives heads of %u, must be even: the rotary embedding turns pairs", doc->file,
            (unsigned)c->n_heads, (unsigned)c->head_dim);
    if (c->head_dim > CONFIG_HEAD_DIM_MAX)
        return log_fail(doc->log, MN_ERR_UNSUPPORTED,
                        "%s: key 'n_heads': value %u: gives heads of %u, at most %d can be run", doc->file,
                        (unsigned)c->n_heads, (unsigned)c->head_dim, CONFIG_HEAD_DIM_MAX);
    return json_get_u32_or(doc, root, "padded_vocab_size", c->vocab_size, CONFIG_VOCAB_MAX, c->vocab_size,
                           &c->padded_vocab_size);
}

/* Keys that say again what another key says: a contradiction means that one of the two readings is wrong. */
static enum mn_status check_repeated(const struct model_config *c, const struct json_doc *doc)
{
    const struct {
        const char *key;
        uint32_t expected;
        enum mn_status status;
        const char *why;
    } repeated[] = {
        {"num_attention_heads", c->n_heads, MN_ERR_FORMAT, "must equal n_heads"},
        {"num_key_value_heads", c->n_heads, MN_ERR_UNSUPPORTED, "grouped key/value heads are not supported"},
        {"head_dim", c->head_dim, MN_ERR_FORMAT, "must equal n_embd / n_heads"},
        {"hidden_size", c->n_embd, MN_ERR_FORMAT, "must equal n_embd"},
    };
    for (size_t i = 0; i < sizeof repeated / sizeof *repeated; i++) {
        uint32_t value;
        enum mn_status status = json_get_u32_or(doc, doc->root, repeated[i].key, 1, CONFIG_EMBD_MAX,
                                                repeated[i].expected, &value);
        if (status != MN_OK)
            return status;
        if (value != repeated[i].expected)
            return json_refuse(doc, repeated[i].status, repeated[i].key, json_find(doc->root, repeated[i].key),
                               repeated[i].why);
    }
    return MN_OK;
}

/* Settings of the published code that change what inference computes, where this engine has one fixed behaviour. */
static enum mn_status check_fixed_behaviour(const struct model_config *c, const struct json_doc *doc)
{
    double noise, scale, expected = sqrt((double)c->n_embd);
    enum mn_status status = json_get_double_or(doc, doc->root, "test_time_noise", -DBL_MAX, DBL_MAX, 0, &noise);
    if (status != MN_OK)
        return status;
    if (noise > 0)
        return json_refuse(doc, MN_ERR_UNSUPPORTED, "test_time_noise", json_find(doc->root, "test_time_noise"),
                           "noise between recurrence steps is not supported");
    const struct cJSON *init = json_find(doc->root, "init_values");
    status = json_get_double_or(doc, init, "embed_scale", -DBL_MAX, DBL_MAX, expected, &scale);
    if (status == MN_OK && fabs(scale - expected) > 1e-3 * expected)
        status = json_refuse(doc, MN_ERR_UNSUPPORTED, "embed_scale", json_find(init, "embed_scale"),
                             "only sqrt(n_embd) is supported");
    return status;
}

static enum mn_status parse_constants(struct model_config *c, const struct json_doc *doc)
{
    const struct cJSON *root = doc->root;
    double eps, base;
    bool tie_word;
    enum mn_status status;
    /* The lower limits keep the values normal numbers as float: an eps of 1e-50 would silently become 0. */
    if ((status = json_get_double_or(doc, root, "norm_eps", (double)FLT_MIN, 0.1, 1e-6, &eps)) != MN_OK ||
        (status = json_get_double_or(doc, root, "rope_base", 1, 1e12, 50000, &base)) != MN_OK ||
        (status = json_get_bool_or(doc, root, "qk_bias", true, &c->qk_bias)) != MN_OK ||
        (status = json_get_bool_or(doc, root, "tie_word_embeddings", true, &tie_word)) != MN_OK ||
        (status = json_get_bool_or(doc, root, "tie_embeddings", tie_word, &c->tie_embeddings)) != MN_OK)
        return status;
    c->norm_eps = (float)eps;
    c->rope_base = (float)base;
    return MN_OK;
}

static enum mn_status parse_torch_dtype(struct model_config *c, const struct json_doc *doc)
{
    static const char *const known[3] = {"bfloat16", "float32", "float16"};
    const char *key = json_find(doc->root, "torch_dtype") ? "torch_dtype" : "dtype"; /* the newer writers' name */
    const char *name;
    enum mn_status status = json_get_string_or(doc, doc->root, key, NAME_BYTES_MAX, known[0], &name);
    if (status != MN_OK)
        return status;
    if (!is_one_of(name, known))
        return json_refuse(doc, MN_ERR_UNSUPPORTED, key, json_find(doc->root, key),
                           "only float32, bfloat16 and float16 are supported");
    snprintf(c->torch_dtype, sizeof c->torch_dtype, "%s", name);
    return MN_OK;
}

/* Token ids, from either file; absent or null keeps what c has. eos_token_id is one id or a list. */
static enum mn_status parse_token_ids(struct model_config *c, const struct json_doc *doc)
{
    const uint32_t max = c->vocab_size - 1;
    const struct cJSON *eos = json_find(doc->root, "eos_token_id"), *id;
    enum mn_status status = json_get_u32_or(doc, doc->root, "bos_token_id", 0, max, c->bos_token_id, &c->bos_token_id);
    if (status != MN_OK || !eos || cJSON_IsNull(eos))
        return status;
    c->n_eos = 0;
    if (!cJSON_IsArray(eos)) {
        c->n_eos = 1;
        return json_as_u32(doc, "eos_token_id", eos, 0, max, &c->eos_token_ids[0]);
    }
    cJSON_ArrayForEach (id, eos) {
        if (c->n_eos == CONFIG_EOS_MAX)
            return json_refuse(doc, MN_ERR_UNSUPPORTED, "eos_token_id", eos, "more than 16 ids");
        status = json_as_u32(doc, "eos_token_id", id, 0, max, &c->eos_token_ids[c->n_eos++]);
        if (status != MN_OK)
            return status;
    }
    return MN_OK;
}

static enum mn_status check_object(const struct json_doc *doc)
{
    return cJSON_IsObject(doc->root) ? MN_OK
                                     : json_refuse(doc, MN_ERR_FORMAT, "", doc->root, "the file must be an object");
}

/* `generation` NULL: there is none. */
static enum mn_status config_from_docs(struct model_config *out, const struct json_doc *doc,
                                       const struct json_doc *generation)
{
    struct model_config c = {.bos_token_id = UINT32_MAX};
    enum mn_status status;
    if ((status = check_object(doc)) != MN_OK || (status = check_building_blocks(doc)) != MN_OK ||
        (status = parse_shape(&c, doc)) != MN_OK || (status = check_repeated(&c, doc)) != MN_OK ||
        (status = check_fixed_behaviour(&c, doc)) != MN_OK || (status = parse_constants(&c, doc)) != MN_OK ||
        (status = parse_torch_dtype(&c, doc)) != MN_OK || (status = parse_token_ids(&c, doc)) != MN_OK)
        return status;
    if (generation &&
        ((status = check_object(generation)) != MN_OK || (status = parse_token_ids(&c, generation)) != MN_OK))
        return status;
    *out = c;
    return MN_OK;
}

enum mn_status config_parse(struct model_config *out, const char *file, const void *bytes, size_t n_bytes,
                            const char *generation_file, const void *generation, size_t n_generation_bytes,
                            const struct mn_log *log)
{
    struct json_doc doc = {0}, generation_doc = {0};
    *out = (struct model_config){0};
    enum mn_status status = json_parse(&doc, file, bytes, n_bytes, CONFIG_FILE_BYTES_MAX, log);
    if (status == MN_OK && generation)
        status = json_parse(&generation_doc, generation_file, generation, n_generation_bytes, CONFIG_FILE_BYTES_MAX,
                            log);
    if (status == MN_OK)
        status = config_from_docs(out, &doc, generation ? &generation_doc : NULL);
    json_destroy(&generation_doc);
    json_destroy(&doc);
    return status;
}

enum mn_status config_load(struct model_config *out, const char *dir, const struct mn_log *log)
{
    static const char name[] = "config.json", generation_name[] = "generation_config.json";
    struct json_doc doc = {0}, generation_doc = {0};
    struct stat info;
    bool has_generation = false;
    enum mn_status status;
    *out = (struct model_config){0};
    size_t n = strlen(dir) + sizeof generation_name + 1;
    char *path = malloc(n);
    if (!path) {
        status = log_fail(log, MN_ERR_MEMORY, "%s: no memory for file names", dir);
        goto fail;
    }
    snprintf(path, n, "%s/%s", dir, name);
    status = json_read_file(&doc, path, CONFIG_FILE_BYTES_MAX, log);
    if (status != MN_OK)
        goto fail;
    snprintf(path, n, "%s/%s", dir, generation_name);
    has_generation = stat(path, &info) == 0 || errno != ENOENT; /* other errors: reading reports them */
    if (has_generation && (status = json_read_file(&generation_doc, path, CONFIG_FILE_BYTES_MAX, log)) != MN_OK)
        goto fail;
    status = config_from_docs(out, &doc, has_generation ? &generation_doc : NULL);

fail:
    free(path);
    json_destroy(&generation_doc);
    json_destroy(&doc);
    return status;
}
