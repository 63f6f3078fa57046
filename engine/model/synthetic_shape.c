/* Shapes of synthetic models: by name, as a list of figures, or from a config.json. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/disk.h"
#include "engine/model/synthetic.h"

enum { TEXT_BYTES = 1024, NAME_BYTES = 32 };

static const struct {
    const char *name, *figures;
} shapes[] = {
    {"huginn-3.5b", "d=5280,heads=55,ff=17920,vocab=65536,layers=2-4-2,steps=32,ctx=4096"},
    {"raven-1b", "d=3072,heads=32,ff=8192,vocab=65536,layers=2-4-2,steps=32,ctx=4096"},
    {"raven-100m", "d=768,heads=8,ff=2560,vocab=32768,layers=2-4-2,steps=32,ctx=4096"},
    {"raven-tiny", "d=128,heads=4,ff=352,vocab=512,layers=1-2-1,steps=32,ctx=512"},
    {"raven-llama-1b", "family=retrofit-llama,d=2048,heads=32,kv=8,head=64,ff=8192,vocab=128256,layers=4-6-4"},
    {"raven-tinyllama", "family=retrofit-llama,d=2048,heads=32,kv=4,head=64,ff=5632,vocab=32000,layers=4-8-4"},
    {"raven-olmo-1b", "family=retrofit-olmo,d=2048,heads=16,kv=16,head=128,ff=8192,vocab=100352,layers=4-6-4"},
    {"ouro-1.4b", "family=ouro,d=2048,heads=16,kv=16,head=128,ff=5632,vocab=49152,layers=24,steps=4"},
    {"ouro-2.6b", "family=ouro,d=2048,heads=16,kv=16,head=128,ff=5632,vocab=49152,layers=48,steps=4"},
    {"llama-1b", "family=llama,d=2048,heads=32,kv=8,head=64,ff=8192,vocab=128256,layers=16,tied=1"},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

struct figures {
    char family[NAME_BYTES];
    uint32_t d, heads, kv, head, ff, vocab, prelude, core, coda, steps, ctx, tied; /* kv, head, steps: 0 is the usual */
    bool sections;                                                                 /* layers=P-C-K; else one number */
};

/* ---- reading ---- */

static enum mn_status refuse(const char *shape, const char *piece, const struct mn_log *log)
{
    char names[256] = "";
    for (size_t i = 0, n = 0; i < N_SHAPES && n < sizeof names; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s, ", shapes[i].name);
    return log_fail(log, MN_ERR_USAGE,
                    "synthetic model '%.200s': '%s' is not understood; a shape is %sthe path of a config.json, or "
                    "d=..,heads=..,ff=..,vocab=..,layers=P-C-K with steps=.., ctx=.., kv=.., head=.., tied=0|1 and "
                    "family=huginn|retrofit-llama|retrofit-olmo|ouro|llama (layers=N for the last two) if wanted",
                    shape, piece, names);
}

/* Digits alone, at most seven of them. */
static bool read_number(const char *text, uint32_t *out)
{
    char end;
    return strspn(text, "0123456789") == strlen(text) && sscanf(text, "%7" SCNu32 "%c", out, &end) == 1;
}

static bool read_layers(struct figures *f, const char *text)
{
    char end;
    f->sections = strchr(text, '-') != NULL;
    if (!f->sections)
        return read_number(text, &f->core);
    return strspn(text, "0123456789-") == strlen(text) &&
           sscanf(text, "%4" SCNu32 "-%4" SCNu32 "-%4" SCNu32 "%c", &f->prelude, &f->core, &f->coda, &end) == 3;
}

/* "key=value" */
static bool read_piece(struct figures *f, const char *piece)
{
    const struct {
        const char *key;
        uint32_t *out;
    } keys[] = {{"d", &f->d},         {"heads", &f->heads}, {"kv", &f->kv},   {"head", &f->head}, {"ff", &f->ff},
                {"vocab", &f->vocab}, {"steps", &f->steps}, {"ctx", &f->ctx}, {"tied", &f->tied}};
    const char *equals = strchr(piece, '=');
    if (!equals)
        return false;
    const size_t n = (size_t)(equals - piece);
    if (n == 6 && !memcmp(piece, "family", n))
        return snprintf(f->family, sizeof f->family, "%s", equals + 1) < (int)sizeof f->family;
    if (n == 6 && !memcmp(piece, "layers", n))
        return read_layers(f, equals + 1);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strlen(keys[i].key) == n && !memcmp(piece, keys[i].key, n))
            return read_number(equals + 1, keys[i].out);
    return false;
}

static enum mn_status parse_figures(struct figures *f, const char *text, const char *shape, const struct mn_log *log)
{
    for (const char *at = text; *at;) {
        const size_t n = strcspn(at, ",");
        char piece[64];
        snprintf(piece, sizeof piece, "%.*s", (int)(n < sizeof piece ? n : sizeof piece - 1), at);
        if (!read_piece(f, piece))
            return refuse(shape, piece, log);
        at += n + (at[n] == ',');
    }
    return MN_OK;
}

/* ---- as a configuration: it goes the way that files go, so that one place knows the limits ---- */

static int write_raven(const struct figures *f, bool retrofit, char *json)
{
    char more[256] = "";
    if (retrofit)
        snprintf(more, sizeof more,
                 ",\"num_key_value_heads\":%u,\"head_dim\":%u,\"qk_bias\":false,\"norm_eps\":1e-5,"
                 "\"rope_theta\":500000,\"init_values\":{\"embed_scale\":1},\"tie_embeddings\":%s",
                 f->kv, f->head, f->tied ? "true" : "false");
    return snprintf(json, TEXT_BYTES,
                    "{\"model_type\":\"huginn_raven\",\"n_embd\":%u,\"n_heads\":%u,\"intermediate_size\":%u,"
                    "\"vocab_size\":%u,\"n_layers_in_prelude\":%u,\"n_layers_in_recurrent_block\":%u,"
                    "\"n_layers_in_coda\":%u,\"mean_recurrence\":%u,\"block_size\":%u%s}",
                    f->d, f->heads, f->ff, f->vocab, f->prelude, f->core, f->coda, f->steps ? f->steps : 32, f->ctx,
                    more);
}

static int write_stack(const struct figures *f, const char *model_type, char *json)
{
    return snprintf(json, TEXT_BYTES,
                    "{\"model_type\":\"%s\",\"hidden_size\":%u,\"num_attention_heads\":%u,"
                    "\"num_key_value_heads\":%u,\"head_dim\":%u,\"intermediate_size\":%u,\"vocab_size\":%u,"
                    "\"num_hidden_layers\":%u,\"total_ut_steps\":%u,\"max_position_embeddings\":%u,"
                    "\"hidden_act\":\"silu\",\"rms_norm_eps\":1e-6,\"rope_theta\":1000000,\"tie_word_embeddings\":%s}",
                    model_type, f->d, f->heads, f->kv, f->head, f->ff, f->vocab, f->core, f->steps ? f->steps : 4,
                    f->ctx, f->tied ? "true" : "false");
}

static enum mn_status parse_shape(struct model_config *out, const char *text, const char *shape,
                                  const struct mn_log *log)
{
    struct figures f = {.family = "huginn", .ctx = 4096};
    char json[TEXT_BYTES], name[TEXT_BYTES];
    enum mn_status status = parse_figures(&f, text, shape, log);
    if (status)
        return status;
    const bool huginn = !strcmp(f.family, "huginn"), retrofit = !strncmp(f.family, "retrofit-", 9),
               stack = !strcmp(f.family, "ouro") || !strcmp(f.family, "llama");
    if ((huginn && (f.kv || f.head || f.tied)) || (stack == f.sections) || (stack && f.prelude + f.coda > 0))
        return log_fail(log, MN_ERR_USAGE, "synthetic model '%.200s': %s", shape,
                        huginn && !stack && f.sections ? "huginn has no kv=, head= or tied="
                        : stack                        ? "ouro and llama have layers=N"
                                                       : "layers=P-C-K are needed");
    if (!strcmp(f.family, "llama") && f.steps > 1)
        return log_fail(log, MN_ERR_USAGE, "synthetic model '%.200s': llama has one step", shape);
    f.kv = f.kv ? f.kv : f.heads;
    f.head = f.head || f.heads == 0 ? f.head : f.d / f.heads;
    snprintf(name, sizeof name, "synthetic model '%.200s'", shape);
    const int n = stack ? write_stack(&f, f.family, json) : write_raven(&f, retrofit, json);
    status = config_parse_family(out, f.family, name, json, (size_t)n, log);
    return status == MN_ERR_FORMAT || status == MN_ERR_UNSUPPORTED ? MN_ERR_USAGE
                                                                   : status; /* the caller's words, not a file */
}

enum mn_status synthetic_config(struct model_config *out, const char *shape, const struct mn_log *log)
{
    static const char file[] = "config.json";
    const size_t n = strlen(shape), file_bytes = sizeof file - 1;
    *out = (struct model_config){0};
    for (size_t i = 0; i < N_SHAPES; i++)
        if (!strcmp(shape, shapes[i].name))
            return parse_shape(out, shapes[i].figures, shape, log);
    if (n < file_bytes || strcmp(shape + n - file_bytes, file) != 0 || path_folder_bytes(shape) != n - file_bytes)
        return parse_shape(out, shape, shape, log);
    char *dir = malloc(n + 2);
    if (!dir)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a path");
    snprintf(dir, n + 2, "%.*s.", (int)(n - file_bytes), shape);
    enum mn_status status = config_load(out, dir, log);
    free(dir);
    if (!status && *out->stored.name)
        status = log_fail(log, MN_ERR_UNSUPPORTED,
                          "%s: key 'quantization_config': a synthetic model's weights are of the weight_type that is "
                          "asked for: take the config.json of the original",
                          shape);
    return status;
}
