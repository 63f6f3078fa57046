/* The fields of requests: which there are, what each may be, and a refusal by name for everything else. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/serve/serve.h"
#include "engine/base/text.h"
#include "engine/files/lines.h"

enum field_kind {
    FIELD_U32,
    FIELD_NUMBER,
    FIELD_BOOL,
    FIELD_NODE,    /* looked at later */
    FIELD_ZERO,    /* what nothing but 0 is supported of */
    FIELD_EMPTY,   /* the same with false, and empty texts, lists and objects */
    FIELD_IGNORED, /* says nothing about the answer */
    FIELD_OTHER,   /* has a function */
};

struct field {
    const char *name;
    unsigned kinds; /* of requests */
    enum field_kind kind;
    size_t offset;
    double min, max;
    enum mn_status (*take)(struct reading *r, const char *name, const cJSON *node);
};

/* ---- refusals ---- */

static void set_param(struct api_error *error, const char *param)
{
    size_t n = param ? strlen(param) : 0;
    if (n >= sizeof error->param)
        n = utf8_whole(param, sizeof error->param - 1);
    if (n)
        memcpy(error->param, param, n);
    error->param[n] = '\0';
}

enum mn_status fields_refuse(struct reading *r, const char *param, const char *code, const char *fmt, ...)
{
    va_list args;
    *r->error = (struct api_error){.http = 400, .type = "invalid_request_error", .code = code};
    set_param(r->error, param);
    va_start(args, fmt);
    vsnprintf(r->error->message, sizeof r->error->message, fmt, args);
    va_end(args);
    return MN_ERR_USAGE;
}

enum mn_status fields_out_of_memory(struct reading *r)
{
    *r->error = (struct api_error){
        .http = 500, .type = "server_error", .code = "out_of_memory", .message = "out of memory"};
    return MN_ERR_MEMORY;
}

/* What the JSON reader said. */
static enum mn_status refuse_as_said(struct reading *r, enum mn_status status, const char *param)
{
    return status == MN_ERR_MEMORY
               ? fields_out_of_memory(r)
               : fields_refuse(r, param, param ? "invalid_value" : "invalid_json", "%s", r->caught.text);
}

/* ---- fields with a rule of their own ---- */

static enum mn_status take_model(struct reading *r, const char *name, const cJSON *node)
{
    if (!cJSON_IsString(node))
        return fields_refuse(r, name, "invalid_value", "model: must be a text");
    if (!strcmp(node->valuestring, r->server->name))
        return MN_OK;
    fields_refuse(r, name, "model_not_found", "model: this server has \"%s\"", r->server->name);
    r->error->http = 404;
    return MN_ERR_USAGE;
}

static enum mn_status take_strategy(struct reading *r, const char *name, const cJSON *node)
{
    const struct mn_strategy *strategy = cJSON_IsString(node) ? mn_strategy_find(node->valuestring) : NULL;
    if (!strategy || !strategy->batches)
        return fields_refuse(r, name, "invalid_value",
                             "strategy: must be a strategy that runs many texts at once: ar, "
                             "draft-verify, wavefront or auto");
    r->want.strategy = strategy->name;
    return MN_OK;
}

static enum mn_status take_seed(struct reading *r, const char *name, const cJSON *node)
{
    (void)node;
    r->want.has_seed = true;
    enum mn_status status = json_get_u64(&r->doc, r->doc.root, name, 0, JSON_INTEGER_MAX, &r->want.seed);
    return status ? refuse_as_said(r, status, name) : MN_OK;
}

static enum mn_status take_exit(struct reading *r, const char *name, const cJSON *node)
{
    (void)node;
    enum mn_status status = json_get_string(&r->doc, r->doc.root, name, NAME_BYTES - 1, &r->want.exit);
    return status ? refuse_as_said(r, status, name) : MN_OK;
}

static enum mn_status take_stream_options(struct reading *r, const char *name, const cJSON *node)
{
    const cJSON *member;
    if (!cJSON_IsObject(node))
        return fields_refuse(r, name, "invalid_value", "stream_options: must be an object");
    cJSON_ArrayForEach (member, node) {
        if (strcmp(member->string, "include_usage") != 0)
            return fields_refuse(r, name, "unsupported_parameter", "stream_options: has include_usage alone");
        if (!cJSON_IsBool(member))
            return fields_refuse(r, name, "invalid_value", "stream_options: include_usage: must be true or false");
        r->want.include_usage = cJSON_IsTrue(member);
    }
    return MN_OK;
}

static enum mn_status take_response_format(struct reading *r, const char *name, const cJSON *node)
{
    const cJSON *type = json_find(node, "type");
    if (cJSON_IsString(type) && !strcmp(type->valuestring, "text") && !type->next && !type->prev->prev)
        return MN_OK;
    return fields_refuse(r, name, "unsupported_parameter", "response_format: only {\"type\":\"text\"} is supported");
}

/* ---- the table ---- */

#define TEXTS (FOR_COMPLETIONS | FOR_CHAT)
#define AT(field) offsetof(struct settings, field)
#define NUMBER(name_, kinds_, field_, min_, max_) \
    { \
        .name = name_, .kinds = kinds_, .kind = FIELD_NUMBER, .offset = AT(field_), .min = min_, .max = max_ \
    }
#define WHOLE(name_, kinds_, field_, min_, max_) \
    { \
        .name = name_, .kinds = kinds_, .kind = FIELD_U32, .offset = AT(field_), .min = min_, .max = max_ \
    }
#define PLAIN(name_, kinds_, kind_, field_) \
    { \
        .name = name_, .kinds = kinds_, .kind = kind_, .offset = AT(field_) \
    }
#define OTHER(name_, kinds_, take_) \
    { \
        .name = name_, .kinds = kinds_, .kind = FIELD_OTHER, .take = take_ \
    }
#define WITHOUT(name_, kinds_, kind_) \
    { \
        .name = name_, .kinds = kinds_, .kind = kind_ \
    }

static const struct field fields[] = {
    OTHER("model", TEXTS | FOR_TOKENIZE | FOR_DETOKENIZE, take_model),
    PLAIN("prompt", FOR_COMPLETIONS | FOR_TOKENIZE, FIELD_NODE, prompt),
    PLAIN("messages", FOR_CHAT | FOR_TOKENIZE, FIELD_NODE, messages),
    PLAIN("tokens", FOR_DETOKENIZE, FIELD_NODE, tokens),
    PLAIN("add_special_tokens", FOR_TOKENIZE, FIELD_BOOL, add_special),
    WHOLE("max_tokens", TEXTS, max_tokens, 0, IDS_MAX),
    WHOLE("max_completion_tokens", FOR_CHAT, max_completion_tokens, 0, IDS_MAX),
    WHOLE("n", TEXTS, n, 1, SERVE_CHOICES_MAX),
    WHOLE("best_of", FOR_COMPLETIONS, best_of, 1, SERVE_CHOICES_MAX),
    NUMBER("temperature", TEXTS, temperature, 0, 100),
    NUMBER("top_p", TEXTS, top_p, 0, 1),
    NUMBER("min_p", TEXTS, min_p, 0, 1),
    WHOLE("top_k", TEXTS, top_k, 0, UINT32_MAX - 1.0),
    OTHER("seed", TEXTS, take_seed),
    PLAIN("stop", TEXTS, FIELD_NODE, stop),
    PLAIN("stream", TEXTS, FIELD_BOOL, stream),
    OTHER("stream_options", TEXTS, take_stream_options),
    WHOLE("logprobs", FOR_COMPLETIONS, logprobs, 0, SERVE_TOP_MAX),
    PLAIN("logprobs", FOR_CHAT, FIELD_BOOL, chat_logprobs),
    WHOLE("top_logprobs", FOR_CHAT, top_logprobs, 0, SERVE_TOP_MAX),
    PLAIN("echo", FOR_COMPLETIONS, FIELD_BOOL, echo),
    WHOLE("num_steps", TEXTS, num_steps, 1, DEPTHS_MAX),
    OTHER("strategy", TEXTS, take_strategy),
    WHOLE("draft_steps", TEXTS, draft_steps, 1, DEPTHS_MAX),
    WHOLE("lookahead", TEXTS, lookahead, 1, MN_MAX_LOOKAHEAD),
    WHOLE("lookup", TEXTS, lookup, 0, MN_MAX_LOOKUP),
    WHOLE("max_inflight", TEXTS, max_inflight, 1, MN_MAX_LOOKAHEAD + 1),
    OTHER("exit", TEXTS, take_exit),
    PLAIN("ignore_eos", TEXTS, FIELD_BOOL, ignore_eos),
    PLAIN("return_token_ids", TEXTS, FIELD_BOOL, token_ids),
    OTHER("response_format", FOR_CHAT, take_response_format),
    WITHOUT("frequency_penalty", TEXTS, FIELD_ZERO),
    WITHOUT("presence_penalty", TEXTS, FIELD_ZERO),
    WITHOUT("logit_bias", TEXTS, FIELD_EMPTY),
    WITHOUT("suffix", FOR_COMPLETIONS, FIELD_EMPTY),
    WITHOUT("tools", FOR_CHAT, FIELD_EMPTY),
    WITHOUT("functions", FOR_CHAT, FIELD_EMPTY),
    WITHOUT("store", FOR_CHAT, FIELD_EMPTY),
    WITHOUT("user", TEXTS, FIELD_IGNORED),
};

static const struct field *find_field(const char *name, unsigned kind)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if ((fields[i].kinds & kind) && !strcmp(fields[i].name, name))
            return &fields[i];
    return NULL;
}

static bool is_empty(const cJSON *node)
{
    return cJSON_IsFalse(node) || (cJSON_IsString(node) && !*node->valuestring) ||
           ((cJSON_IsArray(node) || cJSON_IsObject(node)) && !node->child);
}

static enum mn_status take(struct reading *r, const struct field *field, const cJSON *node)
{
    void *at = (char *)&r->want + field->offset;
    enum mn_status status = MN_OK;
    switch (field->kind) {
    case FIELD_U32:
        status = json_get_u32(&r->doc, r->doc.root, field->name, (uint32_t)field->min, (uint32_t)field->max, at);
        break;
    case FIELD_NUMBER: status = json_get_double(&r->doc, r->doc.root, field->name, field->min, field->max, at); break;
    case FIELD_BOOL: status = json_get_bool(&r->doc, r->doc.root, field->name, at); break;
    case FIELD_NODE: *(const cJSON **)at = node; break;
    case FIELD_ZERO:
        if (!cJSON_IsNumber(node) || node->valuedouble != 0.0)
            return fields_refuse(r, field->name, "unsupported_parameter", "%s: not supported", field->name);
        break;
    case FIELD_EMPTY:
        if (!is_empty(node))
            return fields_refuse(r, field->name, "unsupported_parameter", "%s: not supported", field->name);
        break;
    case FIELD_IGNORED: break;
    case FIELD_OTHER: return field->take(r, field->name, node);
    }
    return status ? refuse_as_said(r, status, field->name) : MN_OK;
}

enum mn_status fields_read(struct reading *r, unsigned kind, const char *body, size_t n_bytes)
{
    const cJSON *member;
    r->log = (struct mn_log){catch_line, &r->caught};
    r->want = (struct settings){.n = 1,
                                .best_of = UINT32_MAX,
                                .max_tokens = UINT32_MAX,
                                .max_completion_tokens = UINT32_MAX,
                                .logprobs = UINT32_MAX,
                                .top_logprobs = UINT32_MAX,
                                .num_steps = UINT32_MAX,
                                .draft_steps = UINT32_MAX,
                                .lookahead = UINT32_MAX,
                                .max_inflight = UINT32_MAX,
                                .lookup = UINT32_MAX,
                                .top_p = 1.0,
                                .add_special = true};
    enum mn_status status = json_parse(&r->doc, "request", body, n_bytes, n_bytes, &r->log);
    if (status)
        return refuse_as_said(r, status, NULL);
    if (!cJSON_IsObject(r->doc.root))
        return fields_refuse(r, NULL, "invalid_json", "request: must be an object");
    cJSON_ArrayForEach (member, r->doc.root) {
        const struct field *field = find_field(member->string, kind);
        if (!field)
            return fields_refuse(r, member->string, "unsupported_parameter", "a field that is not supported here");
        if (!cJSON_IsNull(member))
            status = take(r, field, member);
        if (status)
            return status;
    }
    return MN_OK;
}
