/* Answers as JSON. What is written of a job is written by the main thread. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/serve/serve.h"
#include "engine/files/json.h"

static void put_string(FILE *out, const char *text)
{
    json_write_string(out, text, strlen(text));
}

void answer_error(FILE *out, const struct api_error *error)
{
    fputs("{\"error\":{\"message\":", out);
    put_string(out, error->message);
    fprintf(out, ",\"type\":\"%s\",\"param\":", error->type);
    if (*error->param)
        put_string(out, error->param);
    else
        fputs("null", out);
    fprintf(out, ",\"code\":\"%s\"}}", error->code);
}

const char *finish_reason(const struct choice *choice)
{
    return choice->text.stopped || choice->stats.end == MN_END_TOKEN ? "stop" : "length";
}

/* ---- log-probabilities ---- */

static void put_number(FILE *out, double value)
{
    json_write_double(out, value); /* null where there is none */
}

static uint32_t code_points(const char *text, size_t n_bytes)
{
    uint32_t n = 0;
    for (size_t i = 0; i < n_bytes; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

static void put_token(FILE *out, struct mn_engine *engine, uint32_t id)
{
    size_t n_text;
    char *text = decode_ids(engine, &id, 1, false, &n_text);
    json_write_string(out, text ? text : "", n_text);
    free(text);
}

/* Of tokens with one text only the best is there: it is a key. */
static void put_alternatives(FILE *out, struct mn_engine *engine, const struct alternative *top, uint32_t n)
{
    char *texts[SERVE_TOP_MAX];
    size_t lengths[SERVE_TOP_MAX];
    bool first = true;
    fputc('{', out);
    for (uint32_t i = 0; i < n; i++) {
        bool again = false;
        texts[i] = decode_ids(engine, &top[i].id, 1, false, &lengths[i]);
        for (uint32_t k = 0; k < i && texts[i]; k++)
            again |= texts[k] && lengths[k] == lengths[i] && !memcmp(texts[k], texts[i], lengths[i]);
        if (again || !texts[i])
            continue;
        if (!first)
            fputc(',', out);
        first = false;
        json_write_string(out, texts[i], lengths[i]);
        fputc(':', out);
        put_number(out, top[i].logprob);
    }
    for (uint32_t i = 0; i < n; i++)
        free(texts[i]);
    fputc('}', out);
}

static uint32_t id_at(const struct choice *choice, uint32_t place)
{
    const struct prompt *prompt = &choice->job->prompts[choice->prompt];
    return place < prompt->n ? prompt->ids[place] : choice->tokens[place - prompt->n];
}

/* Where each token's text begins in the choice's text, in characters. */
static void put_offsets(FILE *out, const struct choice *choice, uint32_t from, uint32_t to)
{
    const struct job *job = choice->job;
    const struct prompt *prompt = &job->prompts[choice->prompt];
    struct mn_stream_decoder *decoder = NULL;
    uint32_t at = 0;
    const char *text;
    size_t n_bytes;
    for (uint32_t i = from; i < to; i++) {
        if (job->server->words && (i == from || i == prompt->n)) {
            if (decoder && !mn_stream_decoder_finish(decoder, &text, &n_bytes))
                at += code_points(text, n_bytes);
            mn_stream_decoder_destroy(decoder);
            if (mn_stream_decoder_create(&decoder, job->server->words, i >= prompt->n))
                decoder = NULL;
        }
        fprintf(out, "%s%" PRIu32, i > from ? "," : "", at);
        if (decoder && !(i == 0 && prompt->begun) &&
            !mn_stream_decoder_push(decoder, id_at(choice, i), &text, &n_bytes))
            at += code_points(text, n_bytes);
    }
    mn_stream_decoder_destroy(decoder);
}

static void put_completion_logprobs(FILE *out, const struct choice *choice)
{
    const struct job *job = choice->job;
    struct mn_engine *words = job->server->words;
    const uint32_t n_prompt = job->prompts[choice->prompt].n, from = job->echo ? 0 : n_prompt,
                   to = n_prompt + choice->n_tokens;
    fputs("{\"tokens\":[", out);
    for (uint32_t i = from; i < to; i++) {
        fputs(i > from ? "," : "", out);
        put_token(out, words, id_at(choice, i));
    }
    fputs("],\"token_logprobs\":[", out);
    for (uint32_t i = from; i < to; i++) {
        fputs(i > from ? "," : "", out);
        put_number(out, choice->logprobs[i]);
    }
    fputs("],\"top_logprobs\":", out);
    fputs(job->n_top ? "[" : "null", out);
    for (uint32_t i = from; i < to && job->n_top; i++) {
        fputs(i > from ? "," : "", out);
        if (isnan(choice->logprobs[i]))
            fputs("null", out);
        else
            put_alternatives(out, words, choice->alternatives + (size_t)i * job->n_top, job->n_top);
    }
    fputs(job->n_top ? "],\"text_offset\":[" : ",\"text_offset\":[", out);
    put_offsets(out, choice, from, to);
    fputs("]}", out);
}

static void put_chat_token(FILE *out, struct mn_engine *engine, uint32_t id, double logprob)
{
    size_t n_text;
    char *text = decode_ids(engine, &id, 1, false, &n_text);
    fputs("{\"token\":", out);
    json_write_string(out, text ? text : "", n_text);
    fputs(",\"logprob\":", out);
    put_number(out, logprob);
    fputs(",\"bytes\":[", out);
    for (size_t i = 0; i < n_text; i++)
        fprintf(out, "%s%u", i ? "," : "", (unsigned)(unsigned char)text[i]);
    fputc(']', out);
    free(text);
}

static void put_chat_logprobs(FILE *out, const struct choice *choice)
{
    const struct job *job = choice->job;
    struct mn_engine *words = job->server->words;
    const uint32_t n_prompt = job->prompts[choice->prompt].n;
    fputs("{\"content\":[", out);
    for (uint32_t i = n_prompt; i < n_prompt + choice->n_tokens; i++) {
        const struct alternative *top = choice->alternatives + (size_t)i * job->n_top;
        fputs(i > n_prompt ? "," : "", out);
        put_chat_token(out, words, id_at(choice, i), choice->logprobs[i]);
        fputs(",\"top_logprobs\":[", out);
        for (uint32_t k = 0; k < job->n_top; k++) {
            fputs(k ? "," : "", out);
            put_chat_token(out, words, top[k].id, top[k].logprob);
            fputc('}', out);
        }
        fputs("]}", out);
    }
    fputs("]}", out);
}

/* Of a choice that has ended. */
static void put_logprobs(FILE *out, const struct choice *choice)
{
    if (!choice->job->wants_logprobs)
        fputs("null", out);
    else if (choice->job->chat)
        put_chat_logprobs(out, choice);
    else
        put_completion_logprobs(out, choice);
}

/* ---- figures ---- */

static void put_usage(FILE *out, const struct job *job)
{
    uint64_t n_prompt = 0, n_new = 0, cached = 0;
    for (uint32_t i = 0; i < job->n_prompts; i++) {
        n_prompt += job->prompts[i].n;
        cached += job->choices[(size_t)i * job->n_per_prompt].stats.n_reused;
    }
    for (uint32_t i = 0; i < job->n_choices; i++)
        n_new += job->choices[i].n_tokens;
    fprintf(out,
            "{\"prompt_tokens\":%" PRIu64 ",\"completion_tokens\":%" PRIu64 ",\"total_tokens\":%" PRIu64
            ",\"prompt_tokens_details\":{\"cached_tokens\":%" PRIu64 "}}",
            n_prompt, n_new, n_prompt + n_new, cached);
}

/* How the text was found. */
static void put_figures(FILE *out, const struct choice *choice)
{
    const struct mn_stats *s = &choice->stats;
    const struct mn_generate_params *p = &choice->job->params;
    fprintf(out, "{\"strategy\":\"%s\",\"num_steps\":%" PRIu32 ",\"seed\":%" PRIu64, p->strategy, p->num_steps,
            choice->seed);
    if (choice->begun) {
        fprintf(out, ",\"drafted\":%" PRIu64 ",\"accepted\":%" PRIu64 ",\"acceptance_rate\":", s->drafted, s->accepted);
        put_number(out, mn_stats_acceptance_rate(s));
        fputs(",\"tokens_per_round\":", out);
        put_number(out, mn_stats_mean_acceptance_length(s));
        fprintf(out, ",\"rounds\":%" PRIu64 ",\"lossless\":%s,\"lossy_because\":", s->rounds,
                s->lossless ? "true" : "false");
        if (s->lossy_because)
            put_string(out, s->lossy_because);
        else
            fputs("null", out);
    }
    fputc('}', out);
}

static void put_ids(FILE *out, const uint32_t *ids, uint32_t n)
{
    fputs(",\"token_ids\":[", out);
    for (uint32_t i = 0; i < n; i++)
        fprintf(out, "%s%" PRIu32, i ? "," : "", ids[i]);
    fputc(']', out);
}

/* ---- whole answers ---- */

static void put_head(FILE *out, const struct job *job, const char *object)
{
    fprintf(out, "{\"id\":\"%s-%08" PRIx64 "-%" PRIu64 "\",\"object\":\"%s\",\"created\":%" PRId64 ",\"model\":",
            job->chat ? "chatcmpl" : "cmpl", job->server->start, job->number, object, job->created);
    put_string(out, job->server->name);
}

static void put_choice(FILE *out, const struct choice *choice)
{
    const struct job *job = choice->job;
    const char *echo = job->echo ? job->prompts[choice->prompt].echo : "";
    const size_t n_echo = job->echo ? job->prompts[choice->prompt].n_echo : 0, n_text = choice->text.n;
    fprintf(out, "{\"index\":%zu,\"%s", (size_t)(choice - job->choices),
            job->chat ? "message\":{\"role\":\"assistant\",\"content\":" : "text\":");
    char *text = malloc(n_echo + n_text + 1);
    if (text) {
        memcpy(text, echo, n_echo);
        if (n_text)
            memcpy(text + n_echo, choice->text.text, n_text);
        json_write_string(out, text, n_echo + n_text);
    }
    fprintf(out, "%s%s,\"logprobs\":", text ? "" : "null", job->chat ? "}" : "");
    free(text);
    put_logprobs(out, choice);
    fprintf(out, ",\"finish_reason\":\"%s\"", finish_reason(choice));
    if (job->token_ids)
        put_ids(out, choice->tokens, choice->n_tokens);
    fputs(",\"muninn\":", out);
    put_figures(out, choice);
    fputc('}', out);
}

void answer_whole(FILE *out, const struct job *job)
{
    put_head(out, job, job->chat ? "chat.completion" : "text_completion");
    fputs(",\"choices\":[", out);
    for (uint32_t i = 0; i < job->n_choices; i++) {
        fputs(i ? "," : "", out);
        put_choice(out, &job->choices[i]);
    }
    fputs("],\"usage\":", out);
    put_usage(out, job);
    fputc('}', out);
}

/* ---- events ---- */

void answer_piece(FILE *out, const struct choice *choice, const char *text, size_t n_bytes, bool first, bool last)
{
    const struct job *job = choice->job;
    fputs("data: ", out);
    put_head(out, job, job->chat ? "chat.completion.chunk" : "text_completion");
    fprintf(out, ",\"choices\":[{\"index\":%zu,", (size_t)(choice - job->choices));
    fputs(!job->chat ? "\"text\":"
          : first    ? "\"delta\":{\"role\":\"assistant\",\"content\":"
                     : "\"delta\":{\"content\":",
          out);
    json_write_string(out, text, n_bytes);
    fputs(job->chat ? "},\"logprobs\":" : ",\"logprobs\":", out);
    if (last)
        put_logprobs(out, choice); /* of all its tokens: they are known once the text is there */
    else
        fputs("null", out);
    fputs(",\"finish_reason\":", out);
    if (last)
        fprintf(out, "\"%s\"", finish_reason(choice));
    else
        fputs("null", out);
    if (last && job->token_ids)
        put_ids(out, choice->tokens, choice->n_tokens);
    if (last) {
        fputs(",\"muninn\":", out);
        put_figures(out, choice);
    }
    fputs("}]}\n\n", out);
}

void answer_usage(FILE *out, const struct job *job)
{
    fputs("data: ", out);
    put_head(out, job, job->chat ? "chat.completion.chunk" : "text_completion");
    fputs(",\"choices\":[],\"usage\":", out);
    put_usage(out, job);
    fputs("}\n\n", out);
}
