/* What each path answers. HTTP's thread. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/serve/serve.h"

/* ---- replies ---- */

static FILE *open_reply(struct reply *reply, int http)
{
    *reply = (struct reply){.http = http};
    return open_memstream(&reply->body, &reply->n_bytes);
}

/* Without memory there is an answer all the same. */
static void close_reply(struct reply *reply, FILE *out)
{
    if (out && fclose(out) == 0 && reply->body)
        return;
    free(reply->body);
    *reply = (struct reply){.http = 500};
}

void reply_error(struct reply *reply, const struct api_error *error)
{
    FILE *out = open_reply(reply, error->http);
    if (out)
        answer_error(out, error);
    close_reply(reply, out);
}

void reply_plain_error(struct reply *reply, int http, const char *code, const char *message)
{
    struct api_error error = {.http = http,
                              .type = http == 401   ? "authentication_error"
                                      : http == 403 ? "permission_error"
                                      : http == 429 ? "rate_limit_error"
                                      : http >= 500 ? "server_error"
                                                    : "invalid_request_error",
                              .code = code};
    snprintf(error.message, sizeof error.message, "%s", message);
    reply_error(reply, &error);
}

/* ---- paths ---- */

static void get_health(struct server *server, const char *body, size_t n_bytes, struct reply *reply, struct job **job)
{
    (void)body, (void)n_bytes, (void)job;
    mtx_lock(&server->lock);
    const enum mn_status failed = server->failed;
    const bool draining = server->draining;
    mtx_unlock(&server->lock);
    FILE *out = open_reply(reply, failed || draining ? 503 : 200);
    if (out)
        fprintf(out, "{\"status\":\"%s\"}", failed ? mn_status_name(failed) : draining ? "ending" : "ok");
    close_reply(reply, out);
}

static void get_models(struct server *server, const char *body, size_t n_bytes, struct reply *reply, struct job **job)
{
    (void)body, (void)n_bytes, (void)job;
    FILE *out = open_reply(reply, 200);
    if (out) {
        fputs("{\"object\":\"list\",\"data\":[{\"id\":", out);
        json_write_string(out, server->name, strlen(server->name));
        fprintf(out,
                ",\"object\":\"model\",\"created\":%" PRId64 ",\"owned_by\":\"muninn\",\"max_model_len\":%" PRIu32
                ",\"num_steps\":%" PRIu32 ",\"vocab_size\":%" PRIu32 ",\"has_chat_template\":%s}]}",
                server->created, server->n_ctx, server->num_steps, server->info.shape.vocab_size,
                server->chats ? "true" : "false");
    }
    close_reply(reply, out);
}

static void get_metrics(struct server *server, const char *body, size_t n_bytes, struct reply *reply, struct job **job)
{
    (void)body, (void)n_bytes, (void)job;
    FILE *out = open_reply(reply, 200);
    reply->type = "text/plain; version=0.0.4; charset=utf-8";
    if (out)
        metrics_write(out, server);
    close_reply(reply, out);
}

/* A special token as text, or null. */
static void put_special(FILE *out, struct server *server, const char *name, uint32_t id)
{
    size_t n_text = 0;
    char *text = id == UINT32_MAX ? NULL : decode_ids(server->tokenizer, &id, 1, false, &n_text);
    fprintf(out, "\"%s\":", name);
    if (text)
        json_write_string(out, text, n_text);
    else
        fputs("null", out);
    free(text);
}

/* As vLLM has it: what a client needs that asks this server for ids instead of having the tokenizer itself. */
static void get_tokenizer_info(struct server *server, const char *body, size_t n_bytes, struct reply *reply,
                               struct job **job)
{
    const struct mn_model_info *info = &server->info;
    (void)body, (void)n_bytes, (void)job;
    if (!server->tokenizer) {
        reply_plain_error(reply, 400, "no_tokenizer", "this model has no tokenizer");
        return;
    }
    FILE *out = open_reply(reply, 200);
    if (out) {
        fputc('{', out);
        put_special(out, server, "bos_token", info->bos_token_id);
        fputc(',', out);
        put_special(out, server, "eos_token", info->n_eos ? info->eos_token_ids[0] : UINT32_MAX);
        fputs(",\"pad_token\":null}", out);
    }
    close_reply(reply, out);
}

static enum mn_status tokenize_ids(struct reading *r, struct prompt *prompt)
{
    if (!r->want.prompt == !r->want.messages)
        return fields_refuse(r, "prompt", "invalid_value", "give either prompt or messages");
    if (r->want.messages)
        return request_chat_ids(r, prompt);
    if (!cJSON_IsString(r->want.prompt))
        return fields_refuse(r, "prompt", "invalid_value", "prompt: must be a text");
    return request_text_ids(r, r->want.prompt->valuestring, r->want.add_special, prompt);
}

static void post_tokenize(struct server *server, const char *body, size_t n_bytes, struct reply *reply,
                          struct job **job)
{
    struct api_error error = {0};
    struct reading r = {.server = server, .error = &error};
    struct prompt prompt = {0};
    (void)job;
    enum mn_status status = fields_read(&r, FOR_TOKENIZE, body, n_bytes);
    if (!status)
        status = tokenize_ids(&r, &prompt);
    if (status) {
        reply_error(reply, &error);
    } else {
        FILE *out = open_reply(reply, 200);
        if (out)
            fprintf(out, "{\"count\":%" PRIu32 ",\"max_model_len\":%" PRIu32 ",\"tokens\":[", prompt.n, server->n_ctx);
        for (uint32_t i = 0; i < prompt.n && out; i++)
            fprintf(out, "%s%" PRIu32, i ? "," : "", prompt.ids[i]);
        if (out)
            fputs("]}", out);
        close_reply(reply, out);
    }
    free(prompt.ids);
    json_destroy(&r.doc);
}

static enum mn_status detokenize_text(struct reading *r, struct prompt *prompt, char **text, size_t *n_text)
{
    if (!r->server->tokenizer)
        return fields_refuse(r, "tokens", "no_tokenizer", "this model has no tokenizer");
    if (!cJSON_IsArray(r->want.tokens))
        return fields_refuse(r, "tokens", "invalid_value", "tokens: must be a list of token ids");
    enum mn_status status = request_list_ids(r, "tokens", r->want.tokens, prompt);
    if (!status && !(*text = decode_ids(r->server->tokenizer, prompt->ids, prompt->n, false, n_text)))
        status = fields_out_of_memory(r);
    return status;
}

static void post_detokenize(struct server *server, const char *body, size_t n_bytes, struct reply *reply,
                            struct job **job)
{
    struct api_error error = {0};
    struct reading r = {.server = server, .error = &error};
    struct prompt prompt = {0};
    char *text = NULL;
    size_t n_text = 0;
    (void)job;
    enum mn_status status = fields_read(&r, FOR_DETOKENIZE, body, n_bytes);
    if (!status)
        status = detokenize_text(&r, &prompt, &text, &n_text);
    if (status) {
        reply_error(reply, &error);
    } else {
        FILE *out = open_reply(reply, 200);
        if (out) {
            fputs("{\"prompt\":", out);
            json_write_string(out, text, n_text);
            fputc('}', out);
        }
        close_reply(reply, out);
    }
    free(text);
    free(prompt.ids);
    json_destroy(&r.doc);
}

static void post_texts(struct server *server, bool chat, const char *body, size_t n_bytes, struct reply *reply,
                       struct job **job)
{
    struct api_error error = {0};
    const uint32_t room = server->options->parallel + server->options->queue;
    if (request_read(job, server, chat, body, n_bytes, &error)) {
        reply_error(reply, &error);
        return;
    }
    mtx_lock(&server->lock);
    const uint32_t open = server->n_sequences;
    const bool stops = server->failed || server->draining;
    mtx_unlock(&server->lock);
    const uint32_t n = (*job)->n_choices;
    if (!stops && n <= room && open + n <= room)
        return;
    job_release(*job);
    *job = NULL;
    if (stops)
        reply_plain_error(reply, 503, "unavailable", "this server is ending");
    else if (n > room)
        reply_plain_error(reply, 400, "invalid_value", "more texts in one request than this server holds at a time");
    else
        reply_plain_error(reply, 429, "queue_full", "too many requests are waiting: try again later");
}

static void post_completions(struct server *server, const char *body, size_t n_bytes, struct reply *reply,
                             struct job **job)
{
    post_texts(server, false, body, n_bytes, reply, job);
}

static void post_chat(struct server *server, const char *body, size_t n_bytes, struct reply *reply, struct job **job)
{
    post_texts(server, true, body, n_bytes, reply, job);
}

static const struct route routes[] = {
    {"/v1/completions", "POST", false, post_completions},
    {"/v1/chat/completions", "POST", false, post_chat},
    {"/v1/models", "GET", false, get_models},
    {"/tokenizer_info", "GET", false, get_tokenizer_info},
    {"/tokenize", "POST", false, post_tokenize},
    {"/detokenize", "POST", false, post_detokenize},
    {"/health", "GET", true, get_health},
    {"/metrics", "GET", false, get_metrics},
};

const struct route *route_at(size_t index)
{
    return index < sizeof routes / sizeof *routes ? &routes[index] : NULL;
}

size_t route_index(const struct route *route)
{
    return route ? (size_t)(route - routes) : sizeof routes / sizeof *routes;
}
