#include "engine/text/chat.h"

#include <stdlib.h>
#include <string.h>

#include "engine/text/tokenizer_internal.h"

/* A conversation is: begin, then per message header, role, behind_role (a token or text), behind_header, the text,
 * end, behind_end; a reply stops before its text. */
struct template
{
    const char *name;
    const char *begin;       /* special token, or NULL */
    const char *header;      /* special token */
    const char *behind_role; /* special token, or NULL: what follows is text of one piece with the role */
    const char *behind_header;
    const char *end; /* special token */
    const char *behind_end;
    const char *reply_role;
};

static const struct template templates[CHAT_N_KINDS] = {
    [CHAT_HUGINN] = {"Huginn's", "<|begin_text|>", "<|begin_header|>", "<|end_header|>", "\n\n", "<|end_turn|>", "",
                     "Huginn"},
    [CHAT_CHATML] = {"ChatML", NULL, "<|im_start|>", NULL, "\n", "<|im_end|>", "\n", "assistant"},
    [CHAT_LLAMA3] = {"Llama-3's", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "\n\n", "<|eot_id|>",
                     "", "assistant"},
};

static const char any_reply_role[] = "assistant", thought[] = "<think>\n";

const char *chat_name(enum chat_kind kind)
{
    return templates[kind].name;
}

void chat_marks(enum chat_kind kind, const char *marks[CHAT_MARKS_MAX])
{
    const struct template *t = &templates[kind];
    size_t n = 0;
    /* Not the begin token: texts of a template may call it bos_token. */
    marks[n++] = t->header;
    if (t->behind_role)
        marks[n++] = t->behind_role;
    marks[n++] = t->end;
    marks[n++] = t->reply_role;
    marks[n] = NULL;
}

/* The special tokens of a template, in the order of their use. */
enum { BEGIN, HEADER, BEHIND_ROLE, END, N_TOKENS };

/* Their ids. Returns the first that the tokenizer lacks, or NULL. */
static const char *tokens_find(uint32_t ids[N_TOKENS], const struct tokenizer *tokenizer, enum chat_kind kind)
{
    const struct template *t = &templates[kind];
    const char *const contents[N_TOKENS] = {t->begin, t->header, t->behind_role, t->end};
    for (size_t i = 0; i < N_TOKENS; i++)
        if (contents[i] && (!tokenizer_token_to_id(tokenizer, contents[i], &ids[i]) ||
                            !tokenizer->tokens[ids[i]].special || !tokenizer->tokens[ids[i]].plain_added))
            return contents[i];
    return NULL;
}

bool chat_has_tokens(const struct tokenizer *tokenizer, enum chat_kind kind)
{
    uint32_t ids[N_TOKENS];
    return !tokens_find(ids, tokenizer, kind);
}

/* --- as ids ----------------------------------------------------------------------------------------------------- */

/* Text that waits for its end, or for a token: the pre-tokenizer may join its parts. */
struct chat_writer {
    struct encode_run run;
    struct text_buffer text;
    uint32_t tokens[N_TOKENS];
};

static enum mn_status write_text(struct chat_writer *w, const char *text, size_t n_bytes)
{
    if (n_bytes > TOKENIZER_TEXT_BYTES_MAX - w->text.n)
        return log_fail(w->run.log, MN_ERR_USAGE, "chat: a message of %zu bytes, limit %d", n_bytes,
                        TOKENIZER_TEXT_BYTES_MAX);
    return text_buffer_append(&w->text, text, n_bytes, w->run.log);
}

static enum mn_status write_waiting(struct chat_writer *w)
{
    enum mn_status status = w->text.n ? encode_text(&w->run, w->text.bytes, w->text.n) : MN_OK;
    w->text.n = 0;
    return status;
}

static enum mn_status write_token(struct chat_writer *w, int token)
{
    enum mn_status status = write_waiting(w);
    if (!status && !id_vector_append(&w->run.ids, w->tokens[token]))
        status = log_fail(w->run.log, MN_ERR_MEMORY, "chat: out of memory after %zu tokens", w->run.ids.n);
    return status;
}

static const char *role_name(const struct template *t, const char *role)
{
    return strcmp(role, any_reply_role) ? role : t->reply_role;
}

/* Up to where the text begins. */
static enum mn_status write_header(struct chat_writer *w, const struct template *t, const char *role)
{
    enum mn_status status = write_token(w, HEADER);
    if (!status)
        status = write_text(w, role, strlen(role));
    if (!status && t->behind_role)
        status = write_token(w, BEHIND_ROLE);
    return status ? status : write_text(w, t->behind_header, strlen(t->behind_header));
}

static enum mn_status write_message(struct chat_writer *w, const struct template *t, const struct mn_chat_message *m)
{
    enum mn_status status = write_header(w, t, role_name(t, m->role));
    if (!status)
        status = write_text(w, m->text, m->n_bytes);
    if (!status)
        status = write_token(w, END);
    return status ? status : write_text(w, t->behind_end, strlen(t->behind_end));
}

/* What messages cannot write is written here: <think> may be a special token. */
static enum mn_status write_reply(struct chat_writer *w, const struct template *t, bool opens_thought)
{
    enum mn_status status = write_header(w, t, t->reply_role);
    if (!status && opens_thought)
        status = write_text(w, thought, sizeof thought - 1);
    w->run.mode = ENCODE_SPECIAL;
    return status ? status : write_waiting(w);
}

static enum mn_status size_check(const struct mn_chat_message *messages, size_t n_messages, size_t *n_bytes,
                                 const struct mn_log *log)
{
    *n_bytes = 0;
    for (size_t i = 0; i < n_messages; i++) {
        if (messages[i].n_bytes > TOKENIZER_TEXT_BYTES_MAX - *n_bytes)
            return log_fail(log, MN_ERR_USAGE, "chat: the messages are over %d bytes", TOKENIZER_TEXT_BYTES_MAX);
        *n_bytes += messages[i].n_bytes;
    }
    return MN_OK;
}

enum mn_status chat_encode(const struct tokenizer *tokenizer, const struct chat_style *style,
                           const struct mn_chat_message *messages, size_t n_messages, uint32_t **ids, size_t *n_ids,
                           const struct mn_log *log)
{
    struct chat_writer writer = {0};
    const struct template *t = &templates[style->kind];
    const char *missed = tokens_find(writer.tokens, tokenizer, style->kind);
    size_t n_bytes;
    *ids = NULL;
    *n_ids = 0;
    if (missed)
        return log_fail(log, MN_ERR_UNSUPPORTED, "chat: the tokenizer has no plain special token '%s'", missed);
    enum mn_status status = size_check(messages, n_messages, &n_bytes, log);
    if (status)
        return status;
    encode_init(&writer.run, tokenizer, n_bytes, ENCODE_PLAIN, log);
    if (t->begin)
        status = write_token(&writer, BEGIN);
    for (size_t i = 0; i < n_messages && !status; i++)
        status = write_message(&writer, t, &messages[i]);
    if (!status)
        status = write_reply(&writer, t, style->opens_thought);
    free(writer.text.bytes);
    return encode_finish(&writer.run, status, ids, n_ids);
}

/* --- as text ---------------------------------------------------------------------------------------------------- */

static enum mn_status format_header(struct text_buffer *out, const struct template *t, const char *role,
                                    const struct mn_log *log)
{
    const char *const parts[] = {t->header, role, t->behind_role ? t->behind_role : "", t->behind_header};
    enum mn_status status = MN_OK;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && !status; i++)
        status = text_buffer_append(out, parts[i], strlen(parts[i]), log);
    return status;
}

static enum mn_status format_message(struct text_buffer *out, const struct template *t, const struct mn_chat_message *m,
                                     const struct mn_log *log)
{
    enum mn_status status = format_header(out, t, role_name(t, m->role), log);
    if (!status)
        status = text_buffer_append(out, m->text, m->n_bytes, log);
    if (!status)
        status = text_buffer_append(out, t->end, strlen(t->end), log);
    return status ? status : text_buffer_append(out, t->behind_end, strlen(t->behind_end), log);
}

enum mn_status chat_format(const struct chat_style *style, const struct mn_chat_message *messages, size_t n_messages,
                           char **text, size_t *n_bytes, const struct mn_log *log)
{
    const struct template *t = &templates[style->kind];
    struct text_buffer out = {0};
    size_t n_all;
    *text = NULL;
    *n_bytes = 0;
    enum mn_status status = size_check(messages, n_messages, &n_all, log);
    if (!status && t->begin)
        status = text_buffer_append(&out, t->begin, strlen(t->begin), log);
    for (size_t i = 0; i < n_messages && !status; i++)
        status = format_message(&out, t, &messages[i], log);
    if (!status)
        status = format_header(&out, t, t->reply_role, log);
    if (!status && style->opens_thought)
        status = text_buffer_append(&out, thought, sizeof thought - 1, log);
    if (!status)
        status = text_buffer_append(&out, "", 1, log);
    if (status) {
        free(out.bytes);
        return status;
    }
    *text = out.bytes;
    *n_bytes = out.n - 1;
    return MN_OK;
}
