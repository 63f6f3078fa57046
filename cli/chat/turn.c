/* A turn: the conversation as ids, the answer as it comes, and how it went. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/chat/chat.h"
#include "cli/common/decoding_options.h"
#include "cli/common/interrupt.h"
#include "cli/common/output.h"
#include "cli/common/progress.h"
#include "cli/common/talk.h"
#include "cli/generate/text.h"

/* What is needed while an answer comes. */
struct answering {
    struct chat *chat;
    struct turn *turn;
    struct mn_stream_decoder *decoder;
    struct text_out text;
    enum mn_status status; /* of a token's way to the terminal */
    bool over;
};

/* ---- the conversation as ids ---- */

static enum mn_status encode(const struct chat *chat, struct turn *turn)
{
    const char *system = chat->options->system;
    const size_t most = 2 * (size_t)chat->n_turns + 2;
    struct mn_chat_message *messages = calloc(most, sizeof *messages);
    size_t n = 0;
    if (!messages)
        return log_fail(chat->log, MN_ERR_MEMORY, "out of host memory for %zu messages", most);
    if (system)
        messages[n++] = (struct mn_chat_message){"system", system, strlen(system)};
    for (uint32_t i = 0; i < chat->n_turns; i++) {
        const struct turn *old = &chat->turns[i];
        messages[n++] = (struct mn_chat_message){"user", old->message, old->n_message};
        messages[n++] = (struct mn_chat_message){"assistant", old->answer, old->n_answer};
    }
    messages[n++] = (struct mn_chat_message){"user", turn->message, turn->n_message};
    enum mn_status status = mn_chat(chat->engine, messages, n, &turn->prompt, &turn->n_prompt);
    free(messages);
    return status;
}

/* The last position of the context need not be there for the last token: nothing is computed behind it. */
static enum mn_status make_room(const struct chat *chat, struct turn *turn, uint32_t *n_new)
{
    const uint32_t n_ctx = chat->session_params.n_ctx, asked = chat->options->n_new;
    if (turn->n_prompt > n_ctx)
        return log_fail(chat->log, MN_ERR_USAGE,
                        "the context is full: with this message the conversation has %zu tokens, and there are %" PRIu32
                        " positions; nothing is lost: /save FILE, /reset, or a larger --ctx next time",
                        turn->n_prompt, n_ctx);
    const uint32_t left = n_ctx + 1 - (uint32_t)turn->n_prompt;
    *n_new = asked && asked < left ? asked : left;
    turn->tokens = malloc(*n_new * sizeof *turn->tokens);
    return turn->tokens ? MN_OK
                        : log_fail(chat->log, MN_ERR_MEMORY, "out of host memory for %" PRIu32 " tokens", *n_new);
}

/* ---- the answer as it comes ---- */

static enum mn_status show(struct answering *a, const char *text, size_t n_bytes)
{
    enum mn_status status = text_out_push(&a->text, text, n_bytes, a->chat->log);
    return status ? status : cli_flush(a->chat->log);
}

static int on_token(void *user, uint32_t token)
{
    struct answering *a = user;
    const char *text;
    size_t n_bytes;
    a->turn->tokens[a->turn->n_tokens++] = token;
    cli_progress_clear(); /* it may be the same terminal */
    if (!a->status && !mn_stream_decoder_push(a->decoder, token, &text, &n_bytes))
        a->status = show(a, text, n_bytes);
    return a->status || cli_interrupted();
}

static void on_end(void *user, uint64_t id, const struct mn_stats *stats)
{
    struct answering *a = user;
    (void)id;
    a->turn->stats = *stats;
    a->over = true;
}

static struct mn_generate_params params_of(struct answering *a, uint32_t n_new)
{
    const struct chat *chat = a->chat;
    const struct chat_options *o = chat->options;
    struct mn_speculation_params speculation = chat_speculation(o, chat->strategy);
    speculation.draft_steps = a->turn->draft_steps;
    return (struct mn_generate_params){.prompt = a->turn->prompt,
                                       .n_prompt = (uint32_t)a->turn->n_prompt,
                                       .n_new = n_new,
                                       .num_steps = chat->num_steps,
                                       .strategy = chat->strategy,
                                       .sampler = {.temperature = chat->temperature,
                                                   .top_k = o->top_k,
                                                   .top_p = o->top_p,
                                                   .min_p = o->min_p,
                                                   .seed = o->seed},
                                       .speculation = speculation,
                                       .on_token = on_token,
                                       .user = a};
}

static enum mn_status run(struct answering *a, uint32_t n_new)
{
    struct chat *chat = a->chat;
    const struct mn_generate_params params = params_of(a, n_new);
    uint64_t id;
    enum mn_status status = mn_scheduler_add(chat->scheduler, &params, on_end, a, &id);
    if (status)
        return status;
    chat->answering = true;
    chat->stop_seen = 0.0;
    while (!status && !a->over && !cli_interrupted())
        status = mn_scheduler_step(chat->scheduler, NULL);
    if (!a->over) /* what it has read of the prompt stays in the cache */
        mn_scheduler_cancel(chat->scheduler, id);
    chat->answering = false;
    status = status ? status : a->status;
    return status == MN_ERR_INTERRUPTED && cli_interrupt_is_typed() ? MN_OK : status; /* see report() of chat.c */
}

/* The end of the text, and a newline: what comes next is another one's. */
static enum mn_status finish_text(struct answering *a)
{
    const char *text;
    size_t n_bytes;
    if (a->status) /* nobody reads */
        return MN_OK;
    enum mn_status status = mn_stream_decoder_finish(a->decoder, &text, &n_bytes);
    if (!status)
        status = show(a, text, n_bytes);
    text_out_finish(&a->text);
    cli_progress_clear();
    if (a->turn->n_tokens && (a->text.n == 0 || a->text.text[a->text.n - 1] != '\n'))
        putchar('\n');
    return status ? status : cli_flush(a->chat->log);
}

/* ---- how it went ---- */

static void say_figures(const struct turn *turn, bool stopped)
{
    const struct mn_stats *s = &turn->stats;
    const struct dim dim = cli_dim();
    FILE *notes = cli_notes();
    fprintf(notes, "%smuninn: %s, %" PRIu32 " steps: %" PRIu32 " tokens, %.1f tok/s", dim.begin, s->strategy,
            s->num_steps, turn->n_tokens, mn_stats_decode_tok_s(s));
    if (s->drafted)
        fprintf(notes, ", acceptance %.3f", mn_stats_acceptance_rate(s));
    if (s->chosen_strategy)
        fprintf(notes, ", last choice %s K %" PRIu32 " L %" PRIu32, s->chosen_strategy, s->chosen_draft_steps,
                s->chosen_lookahead);
    fprintf(notes, ", %" PRIu32 " of %zu prompt tokens were in the cache", s->n_reused, turn->n_prompt);
    if (!s->lossless)
        fprintf(notes, ", LOSSY (%s)", s->lossy_because ? s->lossy_because : "unknown");
    fprintf(notes, "%s%s\n", stopped ? ", stopped" : "", dim.end);
}

static void say_end(const struct chat *chat, const struct turn *turn, bool stopped)
{
    say_figures(turn, stopped);
    if (turn->stats.end == MN_END_LENGTH && turn->n_prompt + turn->n_tokens > chat->session_params.n_ctx)
        log_note(chat->log, MN_LOG_WARN,
                 "the context of %" PRIu32
                 " positions is full, which ended the answer: /save FILE, /reset, or a larger "
                 "--ctx next time",
                 chat->session_params.n_ctx);
}

/* ---- all of it ---- */

static enum mn_status begin(struct answering *a, const char *message, size_t n_bytes, uint32_t *n_new)
{
    static const struct text_list no_stops;
    struct chat *chat = a->chat;
    struct turn *turn = a->turn;
    a->text = (struct text_out){.stops = &no_stops, .stream = stdout};
    turn->strategy = chat->strategy;
    turn->temperature = chat->temperature;
    turn->draft_steps = draft_steps_or_usual(chat->options->draft_steps, chat->num_steps);
    turn->n_message = n_bytes;
    turn->message = malloc(n_bytes + 1);
    if (!turn->message)
        return log_fail(chat->log, MN_ERR_MEMORY, "out of host memory for a message of %zu bytes", n_bytes);
    memcpy(turn->message, message, n_bytes);
    turn->message[n_bytes] = '\0';
    enum mn_status status = encode(chat, turn);
    if (!status)
        status = make_room(chat, turn, n_new);
    return status ? status : mn_stream_decoder_create(&a->decoder, chat->engine, true);
}

static enum mn_status grow(struct chat *chat)
{
    const uint32_t capacity = 2 * chat->capacity + 8;
    if (chat->n_turns < chat->capacity)
        return MN_OK;
    struct turn *turns = realloc(chat->turns, capacity * sizeof *turns);
    if (!turns)
        return log_fail(chat->log, MN_ERR_MEMORY, "out of host memory for %" PRIu32 " turns", capacity);
    chat->turns = turns;
    chat->capacity = capacity;
    return MN_OK;
}

/* Its text is the turn's from now on. */
static enum mn_status keep_answer(struct answering *a)
{
    struct turn *turn = a->turn;
    turn->answer = malloc(a->text.n + 1);
    if (!turn->answer)
        return log_fail(a->chat->log, MN_ERR_MEMORY, "out of host memory for an answer of %zu bytes", a->text.n);
    if (a->text.n)
        memcpy(turn->answer, a->text.text, a->text.n);
    turn->answer[a->text.n] = '\0';
    turn->n_answer = a->text.n;
    return MN_OK;
}

enum mn_status chat_turn(struct chat *chat, const char *message, size_t n_bytes)
{
    uint32_t n_new = 0;
    enum mn_status status = grow(chat);
    if (status)
        return status;
    struct answering a = {.chat = chat, .turn = &chat->turns[chat->n_turns]};
    *a.turn = (struct turn){0};
    status = begin(&a, message, n_bytes, &n_new);
    if (!status) {
        status = run(&a, n_new);
        const enum mn_status written = finish_text(&a);
        status = status ? status : written;
    }
    const bool stopped = cli_interrupted() && a.turn->stats.end != MN_END_TOKEN && a.turn->n_tokens < n_new;
    if (!status && a.turn->n_tokens)
        status = keep_answer(&a);
    if (!status && a.turn->n_tokens) {
        chat->n_turns++;
        say_end(chat, a.turn, stopped);
    } else {
        if (!status && stopped)
            log_note(chat->log, MN_LOG_WARN, "stopped before there was an answer: the message is not kept");
        turn_free(a.turn);
    }
    mn_stream_decoder_destroy(a.decoder);
    text_out_free(&a.text);
    if (!status && cli_interrupted() && !cli_interrupt_forget())
        status = MN_ERR_INTERRUPTED;
    return status;
}
