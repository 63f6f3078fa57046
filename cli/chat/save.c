/* The conversation as a file. */
#include <inttypes.h>
#include <string.h>

#include "bench/rows/identity.h"
#include "cli/chat/chat.h"
#include "cli/common/paths.h"
#include "engine/files/json.h"

static void put_text(FILE *out, const char *key, const char *text, size_t n)
{
    fprintf(out, "\"%s\":", key);
    json_write_string(out, text, n);
}

static void put_name(FILE *out, const char *key, const char *text)
{
    fprintf(out, ",\"%s\":", key);
    json_write_name(out, text);
}

static void put_number(FILE *out, const char *key, double value)
{
    fprintf(out, ",\"%s\":", key);
    json_write_double(out, value);
}

static void put_float(FILE *out, const char *key, float value)
{
    fprintf(out, ",\"%s\":", key);
    json_write_float(out, value);
}

static void put_ids(FILE *out, const char *key, const uint32_t *ids, size_t n)
{
    fprintf(out, ",\"%s\":[", key);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "%s%" PRIu32, i ? "," : "", ids[i]);
    fputc(']', out);
}

static void put_message(FILE *out, const char *role, const char *text, size_t n, bool first)
{
    fprintf(out, "%s\n{\"role\":\"%s\",", first ? "" : ",", role);
    put_text(out, "content", text, n);
    fputc('}', out);
}

/* As a client of `muninn serve` would send them. */
static void put_messages(FILE *out, const struct chat *chat)
{
    const char *system = chat->options->system;
    fputs(",\"messages\":[", out);
    if (system)
        put_message(out, "system", system, strlen(system), true);
    for (uint32_t i = 0; i < chat->n_turns; i++) {
        const struct turn *turn = &chat->turns[i];
        put_message(out, "user", turn->message, turn->n_message, i == 0 && !system);
        put_message(out, "assistant", turn->answer, turn->n_answer, false);
    }
    fputs("\n]", out);
}

static const char *finish_reason(const struct mn_stats *stats)
{
    return stats->end == MN_END_TOKEN ? "eos" : stats->end == MN_END_LENGTH ? "length" : "interrupted";
}

/* How an answer was found: what gives the same one again, and what it took. */
static void put_answer(FILE *out, const struct chat *chat, uint32_t i)
{
    const struct turn *turn = &chat->turns[i];
    const struct mn_stats *s = &turn->stats;
    const struct chat_options *o = chat->options;
    fprintf(out, "%s\n{\"message\":%" PRIu32 ",\"finish_reason\":\"%s\"", i ? "," : "", 2 * i + 1 + (o->system != NULL),
            finish_reason(s));
    put_name(out, "strategy", turn->strategy);
    fprintf(out, ",\"num_steps\":%" PRIu32 ",\"draft_steps\":%" PRIu32 ",\"lookahead\":%" PRIu32, s->num_steps,
            turn->draft_steps, o->lookahead);
    put_float(out, "temperature", turn->temperature);
    put_float(out, "top_p", o->top_p);
    put_float(out, "min_p", o->min_p);
    fprintf(out, ",\"top_k\":%" PRIu32 ",\"seed\":%" PRIu64 ",\"lossless\":%s", o->top_k, o->seed,
            s->lossless ? "true" : "false");
    if (s->lossy_because)
        put_name(out, "lossy_because", s->lossy_because);
    put_ids(out, "prompt_ids", turn->prompt, turn->n_prompt);
    put_ids(out, "tokens", turn->tokens, turn->n_tokens);
    fprintf(out, ",\"reused_tokens\":%" PRIu32 ",\"drafted\":%" PRIu64 ",\"accepted\":%" PRIu64, s->n_reused,
            s->drafted, s->accepted);
    put_number(out, "decode_tok_s", mn_stats_decode_tok_s(s));
    put_number(out, "prefill_ms", s->prefill_ns / 1e6);
    fputc('}', out);
}

static void put_head(FILE *out, const struct chat *chat, const char *model)
{
    fprintf(out, "{\"chat\":1,\"version\":\"%s\"", MN_VERSION);
    put_name(out, "model", model);
    fprintf(out, ",\"model_hash\":\"%016" PRIx64 "\"", chat->info.model_hash);
    put_name(out, "device", chat->info.device_name);
    put_name(out, "driver", chat->info.driver);
    put_name(out, "weight_type", chat->info.weight_type);
    put_name(out, "kv_policy", chat->options->kv_policy);
    put_name(out, "kv_type", chat->options->kv_type);
    fprintf(out, ",\"ctx\":%" PRIu32, chat->session_params.n_ctx);
}

enum mn_status chat_save(const struct chat *chat, const char *path)
{
    char model[IDENTITY_NAME_BYTES];
    struct output_file out = {0};
    const struct output_use use = {"/save", path, true};
    enum mn_status status = cli_check_outputs(chat->options->model, &use, 1, chat->log);
    if (!status)
        status = identity_model_name(model, chat->dir, chat->log);
    if (!status)
        status = output_open(&out, path, chat->log);
    if (status)
        return status;
    put_head(out.text, chat, model);
    put_messages(out.text, chat);
    fputs(",\"answers\":[", out.text);
    for (uint32_t i = 0; i < chat->n_turns; i++)
        put_answer(out.text, chat, i);
    fputs("\n]}\n", out.text);
    return output_commit(&out, chat->log);
}
