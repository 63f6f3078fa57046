/* A request as a job: its prompts as ids, its settings checked together. HTTP's thread. */
#include <stdlib.h>
#include <string.h>

#include "cli/serve/serve.h"
#include "engine/base/numbers.h"
#include "engine/files/lines.h"

enum { STOP_BYTES_MAX = 1 << 16, DEFAULT_DRAFT_STEPS = 4, MESSAGES_MAX = 4096 };

static uint32_t given_or(uint32_t value, uint32_t other)
{
    return value == UINT32_MAX ? other : value;
}

/* ---- ids ---- */

static enum mn_status put_begin(struct reading *r, struct prompt *prompt)
{
    const uint32_t id = r->server->info.bos_token_id;
    if (id == UINT32_MAX || (prompt->n && prompt->ids[0] == id))
        return MN_OK;
    uint32_t *longer = malloc((prompt->n + (size_t)1) * sizeof *longer);
    if (!longer)
        return fields_out_of_memory(r);
    longer[0] = id;
    if (prompt->n)
        memcpy(longer + 1, prompt->ids, prompt->n * sizeof *longer);
    free(prompt->ids);
    prompt->ids = longer;
    prompt->n++;
    prompt->begun = true;
    return MN_OK;
}

static enum mn_status need_tokenizer(struct reading *r, const char *param)
{
    return r->server->tokenizer
               ? MN_OK
               : fields_refuse(r, param, "no_tokenizer", "this model has no tokenizer: give token ids instead of text");
}

enum mn_status request_text_ids(struct reading *r, const char *text, bool begin, struct prompt *prompt)
{
    size_t n = 0;
    enum mn_status status = need_tokenizer(r, "prompt");
    if (status)
        return status;
    status = mn_tokenize(r->server->tokenizer, text, strlen(text), true, &prompt->ids, &n);
    if (status == MN_ERR_MEMORY)
        return fields_out_of_memory(r);
    if (status || n > IDS_MAX)
        return fields_refuse(r, "prompt", "invalid_value", "prompt: cannot be turned into tokens");
    prompt->n = (uint32_t)n;
    return begin ? put_begin(r, prompt) : MN_OK;
}

enum mn_status request_list_ids(struct reading *r, const char *param, const cJSON *list, struct prompt *prompt)
{
    const cJSON *item;
    const uint32_t vocab_size = r->server->info.shape.vocab_size;
    size_t n = 0;
    cJSON_ArrayForEach (item, list)
        n++;
    prompt->ids = malloc((n + 1) * sizeof *prompt->ids);
    if (!prompt->ids)
        return fields_out_of_memory(r);
    cJSON_ArrayForEach (item, list) {
        if (json_as_u32(&r->doc, param, item, 0, vocab_size - 1, &prompt->ids[prompt->n]))
            return fields_refuse(r, param, "invalid_value", "%s: place %u: must be a token id from 0 to %u", param,
                                 prompt->n + 1, vocab_size - 1);
        prompt->n++;
    }
    return MN_OK;
}

/* The text of a message: a string, or a list of parts that are texts. *owned is what to free. */
static enum mn_status message_text(struct reading *r, const cJSON *content, struct mn_chat_message *out, char **owned)
{
    const cJSON *part;
    size_t n = 0;
    if (cJSON_IsString(content)) {
        out->text = content->valuestring;
        out->n_bytes = strlen(out->text);
        return MN_OK;
    }
    if (!cJSON_IsArray(content))
        return fields_refuse(r, "messages", "invalid_value", "messages: content: must be a text or a list of parts");
    cJSON_ArrayForEach (part, content) {
        const cJSON *type = json_find(part, "type"), *text = json_find(part, "text");
        if (!cJSON_IsString(type) || strcmp(type->valuestring, "text") != 0 || !cJSON_IsString(text))
            return fields_refuse(
                r, "messages", "unsupported_parameter",
                "messages: content: parts other than {\"type\":\"text\",\"text\":..} are not supported");
        n += strlen(text->valuestring);
    }
    if (!(*owned = malloc(n + 1)))
        return fields_out_of_memory(r);
    char *at = *owned;
    cJSON_ArrayForEach (part, content)
        at = strcpy(at, json_find(part, "text")->valuestring) + strlen(json_find(part, "text")->valuestring);
    *at = '\0';
    out->text = *owned;
    out->n_bytes = n;
    return MN_OK;
}

static enum mn_status read_message(struct reading *r, const cJSON *node, struct mn_chat_message *out, char **owned)
{
    static const char *const roles[] = {"system", "user", "assistant"};
    const cJSON *role = json_find(node, "role"), *member;
    if (!cJSON_IsObject(node) || !cJSON_IsString(role))
        return fields_refuse(r, "messages", "invalid_value", "messages: each must be an object with role and content");
    cJSON_ArrayForEach (member, node)
        if (strcmp(member->string, "role") != 0 && strcmp(member->string, "content") != 0 && !cJSON_IsNull(member))
            return fields_refuse(r, "messages", "unsupported_parameter",
                                 "messages: fields other than role and content are not supported");
    for (size_t i = 0; i < sizeof roles / sizeof *roles && !out->role; i++)
        if (!strcmp(roles[i], role->valuestring))
            out->role = roles[i];
    if (!out->role)
        return fields_refuse(r, "messages", "unsupported_parameter",
                             "messages: role: must be system, user or assistant");
    return message_text(r, json_find(node, "content"), out, owned);
}

static enum mn_status encode_chat(struct reading *r, const struct mn_chat_message *messages, size_t n_messages,
                                  struct prompt *prompt)
{
    size_t n = 0;
    r->server->tokenizer_said.text[0] = '\0';
    enum mn_status status = mn_chat(r->server->tokenizer, messages, n_messages, &prompt->ids, &n);
    if (status == MN_ERR_MEMORY)
        return fields_out_of_memory(r);
    if (status || n > IDS_MAX)
        return fields_refuse(r, "messages", "invalid_value", "messages: cannot be turned into tokens");
    prompt->n = (uint32_t)n;
    return MN_OK;
}

enum mn_status request_chat_ids(struct reading *r, struct prompt *prompt)
{
    const cJSON *list = r->want.messages, *node;
    size_t n = 0, at = 0;
    enum mn_status status = need_tokenizer(r, "messages");
    if (!status && !r->server->chats)
        status = fields_refuse(r, "messages", "no_chat_template", "this model has no chat template that is built in");
    if (!status && (!cJSON_IsArray(list) || !list->child))
        status = fields_refuse(r, "messages", "invalid_value", "messages: must be a list with at least one message");
    if (status)
        return status;
    cJSON_ArrayForEach (node, list)
        n++;
    if (n > MESSAGES_MAX)
        return fields_refuse(r, "messages", "invalid_value", "messages: at most %d", MESSAGES_MAX);
    struct mn_chat_message *messages = calloc(n, sizeof *messages);
    char **owned = calloc(n, sizeof(char *));
    if (!messages || !owned)
        status = fields_out_of_memory(r);
    for (node = list->child; node && !status; node = node->next, at++)
        status = read_message(r, node, &messages[at], &owned[at]);
    if (!status)
        status = encode_chat(r, messages, n, prompt);
    for (size_t i = 0; owned && i < n; i++)
        free(owned[i]);
    free(owned);
    free(messages);
    return status;
}

/* ---- prompts ---- */

static enum mn_status take_prompt(struct reading *r, const cJSON *node, struct prompt *prompt)
{
    if (cJSON_IsString(node))
        return request_text_ids(r, node->valuestring, true, prompt);
    if (cJSON_IsArray(node))
        return request_list_ids(r, "prompt", node, prompt);
    return fields_refuse(r, "prompt", "invalid_value", "prompt: must be a text, token ids, or a list of these");
}

static enum mn_status take_prompts(struct reading *r, struct job *job)
{
    const cJSON *prompt = r->want.prompt, *node;
    const bool list = cJSON_IsArray(prompt) && (cJSON_IsString(prompt->child) || cJSON_IsArray(prompt->child));
    size_t n = 0;
    if (!job->chat && !prompt)
        return fields_refuse(r, "prompt", "invalid_value", "prompt: is missing");
    for (node = list ? prompt->child : prompt; node; node = list ? node->next : NULL)
        n++;
    n = job->chat ? 1 : n;
    if (n > SERVE_CHOICES_MAX)
        return fields_refuse(r, "prompt", "invalid_value", "prompt: at most %d in one request", SERVE_CHOICES_MAX);
    job->prompts = calloc(n, sizeof *job->prompts);
    if (!job->prompts)
        return fields_out_of_memory(r);
    job->n_prompts = (uint32_t)n;
    if (job->chat)
        return request_chat_ids(r, job->prompts);
    enum mn_status status = MN_OK;
    node = list ? prompt->child : prompt;
    for (uint32_t i = 0; i < n && !status; i++, node = list ? node->next : NULL)
        status = take_prompt(r, node, &job->prompts[i]);
    return status;
}

/* Does each fit into the context with what is to come? */
static enum mn_status check_lengths(struct reading *r, struct job *job)
{
    const uint32_t n_ctx = r->server->n_ctx;
    const char *param = job->chat ? "messages" : "prompt";
    uint32_t longest = 0, room;
    for (uint32_t i = 0; i < job->n_prompts; i++) {
        if (job->prompts[i].n == 0)
            return fields_refuse(r, param, "invalid_value", "%s: has no tokens", param);
        longest = max_u32(longest, job->prompts[i].n);
    }
    room = longest <= n_ctx ? n_ctx + 1 - longest : 0;
    job->max_tokens = given_or(r->want.max_tokens, r->want.max_completion_tokens);
    if (job->max_tokens == UINT32_MAX)
        job->max_tokens = max_u32(1, job->chat ? room : min_u32(SERVE_DEFAULT_NEW, room));
    if (job->max_tokens > room || longest > n_ctx + 1)
        return fields_refuse(r, param, "context_length_exceeded",
                             "%s: %u tokens and max_tokens %u do not fit into the context of %u tokens", param, longest,
                             job->max_tokens, n_ctx);
    return MN_OK;
}

/* ---- settings ---- */

static enum mn_status take_stops(struct reading *r, struct job *job)
{
    const cJSON *stop = r->want.stop, *item;
    const bool list = cJSON_IsArray(stop);
    const char *texts[CLI_LIST_MAX];
    size_t n_bytes = 0;
    uint32_t n = 0;
    for (item = list ? stop->child : stop; item; item = list ? item->next : NULL) {
        if (!cJSON_IsString(item) || !*item->valuestring || n == CLI_LIST_MAX)
            return fields_refuse(r, "stop", "invalid_value", "stop: must be a text that is not empty, or up to %d",
                                 CLI_LIST_MAX);
        texts[n] = item->valuestring;
        n_bytes += strlen(texts[n++]) + 1;
    }
    if (n_bytes > STOP_BYTES_MAX)
        return fields_refuse(r, "stop", "invalid_value", "stop: more than %d bytes", STOP_BYTES_MAX);
    if (n && !r->server->tokenizer)
        return need_tokenizer(r, "stop");
    if (n && !(job->stop_texts = malloc(n_bytes)))
        return fields_out_of_memory(r);
    for (size_t at = 0; job->stops.n < n; at += strlen(texts[job->stops.n++]) + 1)
        job->stops.items[job->stops.n] = strcpy(job->stop_texts + at, texts[job->stops.n]);
    return MN_OK;
}

/* A setting that changes nothing is refused: who gives it expects something of it. */
static enum mn_status check_strategy(struct reading *r, const char *name)
{
    const struct mn_strategy *strategy = mn_strategy_find(name);
    const struct settings *w = &r->want;
    const char *idle = w->draft_steps != UINT32_MAX && !(strategy->uses & MN_USES_DRAFT_STEPS) ? "draft_steps"
                       : w->lookahead != UINT32_MAX && !(strategy->uses & MN_USES_LOOKAHEAD)   ? "lookahead"
                       : w->lookup != UINT32_MAX && !(strategy->uses & MN_USES_LOOKUP)         ? "lookup"
                       : w->max_inflight != UINT32_MAX && !strategy->usual_inflight            ? "max_inflight"
                       : w->exit && !(strategy->uses & MN_USES_EXIT)                           ? "exit"
                                                                                               : NULL;
    return idle ? fields_refuse(r, idle, "invalid_value", "%s: has no effect with strategy %s", idle, name) : MN_OK;
}

static enum mn_status take_params(struct reading *r, struct job *job)
{
    const struct serve_options *options = r->server->options;
    const struct settings *w = &r->want;
    struct mn_generate_params *p = &job->params;
    p->strategy = w->strategy ? w->strategy : options->strategy;
    p->num_steps = given_or(w->num_steps, r->server->num_steps);
    if (p->num_steps > r->server->num_steps)
        return fields_refuse(r, "num_steps", "invalid_value", "num_steps: must be from 1 to %u", r->server->num_steps);
    if ((float)w->top_p == 0.0f)
        return fields_refuse(r, "top_p", "invalid_value", "top_p: must be above 0 and at most 1");
    const uint32_t usual = options->draft_steps ? options->draft_steps : DEFAULT_DRAFT_STEPS;
    p->sampler = (struct mn_sampler_params){
        .temperature = (float)w->temperature, .top_p = (float)w->top_p, .min_p = (float)w->min_p, .top_k = w->top_k};
    p->speculation.draft_steps = given_or(w->draft_steps, usual < p->num_steps ? usual : max_u32(1, p->num_steps - 1));
    p->speculation.lookahead = given_or(w->lookahead, options->lookahead);
    /* The server's where the strategy has it: a request may have another one than the server's. */
    p->speculation.lookup = given_or(
        w->lookup, mn_strategy_find(p->strategy)->uses & MN_USES_LOOKUP && !w->exit ? options->lookup : 0);
    p->speculation.max_inflight = given_or(w->max_inflight, options->max_inflight);
    p->speculation.max_inflight = mn_strategy_rows(p);
    p->ignore_eos = w->ignore_eos;
    if (w->exit) {
        snprintf(job->exit_rule, sizeof job->exit_rule, "%s", w->exit);
        p->exit.rule = job->exit_rule;
    }
    return check_strategy(r, p->strategy);
}

static enum mn_status take_settings(struct reading *r, struct job *job)
{
    const struct settings *w = &r->want;
    job->n_per_prompt = w->n;
    job->stream = w->stream;
    job->echo = w->echo;
    job->include_usage = w->include_usage;
    job->token_ids = w->token_ids;
    job->wants_logprobs = job->chat ? w->chat_logprobs : w->logprobs != UINT32_MAX;
    job->n_top = job->chat ? given_or(w->top_logprobs, 0) : given_or(w->logprobs, 0);
    if (w->best_of != UINT32_MAX && w->best_of != w->n)
        return fields_refuse(r, "best_of", "unsupported_parameter", "best_of: not supported, but for the value of n");
    if (w->include_usage && !w->stream)
        return fields_refuse(r, "stream_options", "invalid_value", "stream_options: only with stream");
    if (job->chat && w->top_logprobs != UINT32_MAX && !w->chat_logprobs)
        return fields_refuse(r, "top_logprobs", "invalid_value", "top_logprobs: only with logprobs");
    if (job->wants_logprobs && r->server->options->no_logprobs)
        return fields_refuse(r, "logprobs", "unsupported_parameter", "logprobs: this server was started without them");
    if (w->max_tokens != UINT32_MAX && w->max_completion_tokens != UINT32_MAX)
        return fields_refuse(r, "max_tokens", "invalid_value", "max_tokens: not beside max_completion_tokens");
    if ((uint64_t)w->n * job->n_prompts > SERVE_CHOICES_MAX)
        return fields_refuse(r, "n", "invalid_value", "n: more than %d texts in one request", SERVE_CHOICES_MAX);
    enum mn_status status = take_params(r, job);
    if (!status)
        status = take_stops(r, job);
    return status ? status : check_lengths(r, job);
}

static enum mn_status settle_choices(struct reading *r, struct job *job)
{
    if (job_make_choices(job))
        return fields_out_of_memory(r);
    /* Without a seed no two requests draw the same; the answer says what would. */
    const uint64_t seed = r->want.has_seed                         ? r->want.seed
                          : job->params.sampler.temperature > 0.0f ? r->server->next_seed
                                                                   : 0;
    for (uint32_t i = 0; i < job->n_choices; i++)
        job->choices[i].seed = seed + i % job->n_per_prompt;
    if (!r->want.has_seed)
        r->server->next_seed = (r->server->next_seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407)) &
                               JSON_INTEGER_MAX;
    return MN_OK;
}

enum mn_status request_read(struct job **job, struct server *server, bool chat, const char *body, size_t n_bytes,
                            struct api_error *error)
{
    struct reading r = {.server = server, .error = error};
    *job = job_create(server);
    if (!*job)
        return fields_out_of_memory(&r);
    (*job)->chat = chat;
    enum mn_status status = fields_read(&r, chat ? FOR_CHAT : FOR_COMPLETIONS, body, n_bytes);
    if (!status)
        status = take_prompts(&r, *job);
    if (!status)
        status = take_settings(&r, *job);
    if (!status)
        status = settle_choices(&r, *job);
    json_destroy(&r.doc);
    if (status) {
        job_release(*job);
        *job = NULL;
    }
    return status;
}
