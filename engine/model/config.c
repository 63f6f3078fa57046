#include "engine/model/config.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/input.h"
#include "engine/files/safetensors.h"
#include "engine/model/config_read.h"
#include "engine/model/family.h"

enum { NAME_BYTES_MAX = 64, MODEL_TYPES_BYTES = 256 };

/* ---- what families' readers share ---- */

static bool is_one_of(const char *name, const char *const names[CONFIG_CHOICES_MAX])
{
    for (int i = 0; i < CONFIG_CHOICES_MAX && names[i]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

enum mn_status config_check_choices(const struct json_doc *doc, const struct config_choice *choices, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct config_choice *c = &choices[i];
        const char *name;
        enum mn_status status = json_get_string_or(doc, doc->root, c->key, NAME_BYTES_MAX, c->names[0], &name);
        if (status)
            return status;
        if (!is_one_of(name, c->names)) {
            char why[NAME_BYTES_MAX];
            snprintf(why, sizeof why, "only %s is supported", c->names[0]);
            return json_refuse(doc, MN_ERR_UNSUPPORTED, c->key, json_find(doc->root, c->key), why);
        }
    }
    return MN_OK;
}

enum mn_status config_read_counts(const struct json_doc *doc, const struct config_count *counts, size_t n)
{
    enum mn_status status = MN_OK;
    for (size_t i = 0; i < n && !status; i++)
        status = json_get_u32(doc, doc->root, counts[i].key, counts[i].min, counts[i].max, counts[i].out);
    return status;
}

enum mn_status config_check_repeats(const struct json_doc *doc, const struct config_repeat *repeats, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct config_repeat *r = &repeats[i];
        uint32_t value;
        enum mn_status status = json_get_u32_or(doc, doc->root, r->key, 1, CONFIG_EMBD_MAX, r->expected, &value);
        if (status)
            return status;
        if (value != r->expected)
            return json_refuse(doc, r->status, r->key, json_find(doc->root, r->key), r->why);
    }
    return MN_OK;
}

enum mn_status config_check_head_dim(const struct json_doc *doc, const char *key, uint32_t value, uint32_t head_dim)
{
    if (head_dim % 2 != 0)
        return log_fail(doc->log, MN_ERR_FORMAT,
                        "%s: key '%s': value %u: gives heads of %u, must be even: the rotary embedding turns pairs",
                        doc->file, key, (unsigned)value, (unsigned)head_dim);
    if (head_dim > CONFIG_HEAD_DIM_MAX)
        return log_fail(doc->log, MN_ERR_UNSUPPORTED,
                        "%s: key '%s': value %u: gives heads of %u, at most %d can be run", doc->file, key,
                        (unsigned)value, (unsigned)head_dim, CONFIG_HEAD_DIM_MAX);
    return MN_OK;
}

enum mn_status config_read_padded_vocabulary(struct model_config *c, const struct json_doc *doc)
{
    return json_get_u32_or(doc, doc->root, "padded_vocab_size", c->vocab_size, CONFIG_VOCAB_MAX, c->vocab_size,
                           &c->padded_vocab_size);
}

enum mn_status config_read_eps(struct model_config *c, const struct json_doc *doc, const char *key, double fallback)
{
    double eps;
    enum mn_status status = fallback > 0.0
                                ? json_get_double_or(doc, doc->root, key, (double)FLT_MIN, 0.1, fallback, &eps)
                                : json_get_double(doc, doc->root, key, (double)FLT_MIN, 0.1, &eps);
    if (!status)
        c->norm_eps = (float)eps;
    return status;
}

enum mn_status config_read_rope(struct model_config *c, const struct json_doc *doc)
{
    static const char key[] = "rope_scaling", part_key[] = "partial_rotary_factor";
    const struct cJSON *scaling = NULL;
    double base, part, factor, low, high;
    const char *type;
    enum mn_status status = json_get_double(doc, doc->root, "rope_theta", 1, 1e12, &base);
    if (!status)
        status = json_get_double_or(doc, doc->root, part_key, 0, 1, 1, &part);
    if (!status && part < 1.0)
        status = json_refuse(doc, MN_ERR_UNSUPPORTED, part_key, json_find(doc->root, part_key),
                             "only whole heads that turn are supported");
    if (status)
        return status;
    c->rope_base = (float)base;
    if (!json_is_given(doc->root, key))
        return MN_OK;
    status = json_get_object(doc, doc->root, key, &scaling);
    const char *type_key = json_find(scaling, "rope_type") ? "rope_type" : "type"; /* the older writers' name */
    if (!status)
        status = json_get_string(doc, scaling, type_key, NAME_BYTES_MAX, &type);
    if (status || !strcmp(type, "default"))
        return status;
    if (strcmp(type, "llama3") != 0)
        return json_refuse(doc, MN_ERR_UNSUPPORTED, type_key, json_find(scaling, type_key), "only llama3 is supported");
    struct rope_scaling *out = &c->rope_scaling;
    status = json_get_double(doc, scaling, "factor", 1, 1e6, &factor);
    if (!status)
        status = json_get_double(doc, scaling, "low_freq_factor", 1e-3, 1e6, &low);
    if (!status)
        status = json_get_double(doc, scaling, "high_freq_factor", 1e-3, 1e6, &high);
    if (!status)
        status = json_get_u32(doc, scaling, "original_max_position_embeddings", 1, CONFIG_BLOCK_MAX,
                              &out->original_positions);
    if (!status && (float)high <= (float)low)
        status = json_refuse(doc, MN_ERR_FORMAT, "high_freq_factor", json_find(scaling, "high_freq_factor"),
                             "must be above low_freq_factor");
    if (!status) {
        out->factor = (float)factor;
        out->low_factor = (float)low;
        out->high_factor = (float)high;
    }
    return status;
}

enum mn_status config_check_heads(const struct model_config *c, const struct json_doc *doc, const char *key)
{
    if (c->n_kv_heads > c->n_heads || c->n_heads % c->n_kv_heads != 0)
        return json_refuse(doc, MN_ERR_FORMAT, key, json_find(doc->root, key),
                           "must divide the number of attention heads");
    return config_check_head_dim(doc, json_find(doc->root, "head_dim") ? "head_dim" : key, c->head_dim, c->head_dim);
}

enum mn_status config_check_flags(const struct json_doc *doc, const struct config_flag *flags, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool value;
        enum mn_status status = json_get_bool_or(doc, doc->root, flags[i].key, false, &value);
        if (status)
            return status;
        if (value)
            return json_refuse(doc, MN_ERR_UNSUPPORTED, flags[i].key, json_find(doc->root, flags[i].key), flags[i].why);
    }
    return MN_OK;
}

/* ---- what all families have ---- */

static enum mn_status read_family(struct model_config *c, const struct json_doc *doc, const struct safetensors *file)
{
    const char *name;
    enum mn_status status = json_get_string(doc, doc->root, "model_type", NAME_BYTES_MAX, &name);
    if (status)
        return status;
    c->family = family_find(name, doc, file);
    if (c->family)
        return MN_OK;
    char why[MODEL_TYPES_BYTES];
    family_names(why, sizeof why);
    return json_refuse(doc, MN_ERR_UNSUPPORTED, "model_type", json_find(doc->root, "model_type"), why);
}

static enum mn_status parse_torch_dtype(struct model_config *c, const struct json_doc *doc)
{
    const char *key = json_find(doc->root, "torch_dtype") ? "torch_dtype" : "dtype"; /* the newer writers' name */
    const char *name;
    enum mn_status status = json_get_string_or(doc, doc->root, key, NAME_BYTES_MAX, "bfloat16", &name);
    if (!status)
        snprintf(c->torch_dtype, sizeof c->torch_dtype, "%.15s", name);
    return status;
}

/* What `muninn quantize` wrote; checkpoints of other programs are quantised in other ways. */
static enum mn_status read_quantization(struct model_config *c, const struct json_doc *doc)
{
    static const char foreign[] = "checkpoints quantised by other programs are not supported";
    static const struct mn_log silent = {0};
    const struct cJSON *what = json_find(doc->root, "quantization_config"), *method = json_find(what, "quant_method");
    const char *name;
    uint32_t format, group;
    if (!what || cJSON_IsNull(what))
        return MN_OK;
    if (!cJSON_IsString(method))
        return json_refuse(doc, MN_ERR_UNSUPPORTED, "quantization_config", what, foreign);
    if (strcmp(method->valuestring, CONFIG_QUANT_METHOD) != 0)
        return json_refuse(doc, MN_ERR_UNSUPPORTED, "quant_method", method, foreign);
    enum mn_status status = json_get_u32(doc, what, "format", 0, UINT32_MAX, &format);
    if (!status)
        status = json_get_u32(doc, what, "group_size", 0, UINT32_MAX, &group);
    if (!status)
        status = json_get_string(doc, what, "weight_type", WEIGHT_SCHEME_BYTES - 1, &name);
    if (!status && format != CONFIG_QUANT_FORMAT)
        status = json_refuse(doc, MN_ERR_UNSUPPORTED, "format", json_find(what, "format"), "format 1 can be read");
    if (!status && group != WEIGHT_GROUP_MAX)
        status = json_refuse(doc, MN_ERR_UNSUPPORTED, "group_size", json_find(what, "group_size"), "groups have 32");
    if (!status && weight_scheme_parse(name, &c->stored, &silent))
        status = json_refuse(doc, MN_ERR_FORMAT, "weight_type", json_find(what, "weight_type"), "is no weight type");
    if (!status && !weight_scheme_quantised(&c->stored))
        status = json_refuse(doc, MN_ERR_FORMAT, "weight_type", json_find(what, "weight_type"),
                             "has no quantised matrices");
    return status;
}

/* Settings that no family has, whoever wrote them. */
static enum mn_status check_foreign(const struct model_config *c, const struct json_doc *doc)
{
    const struct cJSON *rotary = json_find(doc->root, "rope_parameters"), *type = json_find(rotary, "rope_type");
    double part, theta;
    enum mn_status status = json_get_double_or(doc, doc->root, "partial_rotary_factor", 0, 1, 1, &part);
    if (!status && part < 1)
        status = json_refuse(doc, MN_ERR_UNSUPPORTED, "partial_rotary_factor",
                             json_find(doc->root, "partial_rotary_factor"), "only whole heads are turned");
    if (status || !rotary || cJSON_IsNull(rotary))
        return status;
    /* newer writers' form of rope_theta and rope_scaling */
    status = json_get_double_or(doc, rotary, "rope_theta", 1, 1e12, (double)c->rope_base, &theta);
    if (!status && (float)theta != c->rope_base)
        status = json_refuse(doc, MN_ERR_FORMAT, "rope_parameters", json_find(rotary, "rope_theta"),
                             "the rotary embedding's other keys say otherwise");
    if (!status && type && !cJSON_IsNull(type) &&
        (!cJSON_IsString(type) || strcmp(type->valuestring, c->rope_scaling.factor > 0 ? "llama3" : "default") != 0))
        status = json_refuse(doc, MN_ERR_FORMAT, "rope_parameters", type,
                             "the rotary embedding's other keys say otherwise");
    return status;
}

/* Token ids, from either file; absent or null keeps what c has. eos_token_id is one id or a list. */
static enum mn_status parse_token_ids(struct model_config *c, const struct json_doc *doc)
{
    const uint32_t max = c->vocab_size - 1;
    const struct cJSON *eos = json_find(doc->root, "eos_token_id"), *id;
    enum mn_status status = json_get_u32_or(doc, doc->root, "bos_token_id", 0, max, c->bos_token_id, &c->bos_token_id);
    if (status || !json_is_given(doc->root, "eos_token_id"))
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
        if (status)
            return status;
    }
    return MN_OK;
}

static enum mn_status check_object(const struct json_doc *doc)
{
    return cJSON_IsObject(doc->root) ? MN_OK
                                     : json_refuse(doc, MN_ERR_FORMAT, "", doc->root, "the file must be an object");
}

/* `family` NULL: what the document says. `generation` NULL: there is none; `file` NULL: no tensors are at hand. */
static enum mn_status config_from_docs(struct model_config *out, const struct family *family,
                                       const struct json_doc *doc, const struct json_doc *generation,
                                       const struct safetensors *file)
{
    struct model_config c = {.bos_token_id = UINT32_MAX, .family = family, .stored = weight_scheme_as_stored()};
    enum mn_status status = check_object(doc);
    if (!status && !family)
        status = read_family(&c, doc, file);
    if (!status)
        status = c.family->read_config(&c, doc);
    if (!status)
        status = read_quantization(&c, doc);
    if (!status)
        status = check_foreign(&c, doc);
    if (!status)
        status = parse_torch_dtype(&c, doc);
    if (!status)
        status = parse_token_ids(&c, doc);
    if (!status && generation)
        status = check_object(generation);
    if (!status && generation)
        status = parse_token_ids(&c, generation);
    if (!status && generation)
        c.bos_from_generation = json_is_given(generation->root, "bos_token_id");
    if (!status && c.family->add_stops)
        c.family->add_stops(&c);
    if (!status)
        *out = c;
    return status;
}

enum mn_status config_parse(struct model_config *out, const char *file, const void *bytes, size_t n_bytes,
                            const char *generation_file, const void *generation, size_t n_generation_bytes,
                            const struct mn_log *log)
{
    struct json_doc doc = {0}, generation_doc = {0};
    *out = (struct model_config){0};
    enum mn_status status = json_parse_foreign(&doc, file, bytes, n_bytes, CONFIG_FILE_BYTES_MAX, log);
    if (!status && generation)
        status = json_parse_foreign(&generation_doc, generation_file, generation, n_generation_bytes,
                                    CONFIG_FILE_BYTES_MAX, log);
    if (!status)
        status = config_from_docs(out, NULL, &doc, generation ? &generation_doc : NULL, NULL);
    json_destroy(&generation_doc);
    json_destroy(&doc);
    return status;
}

enum mn_status config_parse_family(struct model_config *out, const char *family, const char *file, const void *bytes,
                                   size_t n_bytes, const struct mn_log *log)
{
    const struct family *named = family_named(family);
    struct json_doc doc;
    *out = (struct model_config){0};
    if (!named)
        return log_fail(log, MN_ERR_UNSUPPORTED, "%s: there is no family '%s'", file, family);
    enum mn_status status = json_parse(&doc, file, bytes, n_bytes, CONFIG_FILE_BYTES_MAX, log);
    if (!status)
        status = config_from_docs(out, named, &doc, NULL, NULL);
    json_destroy(&doc);
    return status;
}

/* The tensors, where they tell families apart. *out is NULL when there are none: a damaged checkpoint is the loader's
 * to report. */
static enum mn_status open_tensors(struct safetensors **out, const struct json_doc *doc, const char *dir,
                                   const struct mn_log *log)
{
    const struct mn_log silent = {0};
    const cJSON *name = json_find(doc->root, "model_type");
    *out = NULL;
    if (!cJSON_IsString(name) || !family_is_ambiguous(name->valuestring))
        return MN_OK;
    return safetensors_open(out, dir, NULL, &silent) == MN_ERR_MEMORY
               ? log_fail(log, MN_ERR_MEMORY, "%s: out of memory for the list of tensors", dir)
               : MN_OK;
}

enum mn_status config_load(struct model_config *out, const char *dir, const struct mn_log *log)
{
    static const char name[] = "config.json", generation_name[] = "generation_config.json";
    struct json_doc doc = {0}, generation_doc = {0};
    bool has_generation = false;
    *out = (struct model_config){0};
    size_t n = strlen(dir) + sizeof generation_name + 1;
    char *path = malloc(n);
    if (!path)
        return log_fail(log, MN_ERR_MEMORY, "%s: no memory for file names", dir);
    snprintf(path, n, "%s/%s", dir, name);
    enum mn_status status = json_read_file(&doc, path, CONFIG_FILE_BYTES_MAX, log);
    if (!status) {
        snprintf(path, n, "%s/%s", dir, generation_name);
        has_generation = input_exists(path);
    }
    if (has_generation)
        status = json_read_file(&generation_doc, path, CONFIG_FILE_BYTES_MAX, log);
    struct safetensors *file = NULL;
    if (!status)
        status = open_tensors(&file, &doc, dir, log);
    if (!status)
        status = config_from_docs(out, NULL, &doc, has_generation ? &generation_doc : NULL, file);
    safetensors_close(file);
    free(path);
    json_destroy(&generation_doc);
    json_destroy(&doc);
    return status;
}
