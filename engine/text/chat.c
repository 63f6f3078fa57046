#include <stdlib.h>
#include <string.h>

#include "engine/text/tokenizer_internal.h"

enum { CHAT_BEGIN_TEXT, CHAT_BEGIN_HEADER, CHAT_END_HEADER, CHAT_END_TURN, N_CHAT_TOKENS };

static const char *const chat_tokens[N_CHAT_TOKENS] = {"<|begin_text|>", "<|begin_header|>", "<|end_header|>",
                                                       "<|end_turn|>"};
static const char chat_reply_role[] = "Huginn";

static enum mn_status memory_refuse(const struct encode_run *run, size_t n_bytes)
{
    return log_fail(run->log, MN_ERR_MEMORY, "chat: out of memory for a message of %zu bytes", n_bytes);
}

/* n_bytes: of the message, for the reason. */
static enum mn_status token_append(struct encode_run *run, uint32_t id, size_t n_bytes)
{
    return id_vector_append(&run->ids, id) ? MN_OK : memory_refuse(run, n_bytes);
}

/* What one message consists of. The blank line belongs to the same stretch of text as the content, because the
 * pre-tokenizer may join line breaks with what follows. */
static enum mn_status chat_append(struct encode_run *run, const uint32_t special[N_CHAT_TOKENS], const char *role,
                                  const char *content, size_t n_bytes, bool is_reply)
{
    if (n_bytes > TOKENIZER_TEXT_BYTES_MAX - 2)
        return log_fail(run->log, MN_ERR_USAGE, "chat: a message of %zu bytes, limit %d", n_bytes,
                        TOKENIZER_TEXT_BYTES_MAX - 2);
    char *text = malloc(n_bytes + 2);
    if (!text)
        return memory_refuse(run, n_bytes);
    memcpy(text, "\n\n", 2);
    if (n_bytes)
        memcpy(text + 2, content, n_bytes);
    enum mn_status status = token_append(run, special[CHAT_BEGIN_HEADER], n_bytes);
    if (!status)
        status = encode_text(run, role, strlen(role));
    if (!status)
        status = token_append(run, special[CHAT_END_HEADER], n_bytes);
    if (!status)
        status = encode_text(run, text, n_bytes + 2);
    if (!status && !is_reply)
        status = token_append(run, special[CHAT_END_TURN], n_bytes);
    free(text);
    return status;
}

enum mn_status chat_encode(const struct tokenizer *tokenizer, const struct mn_chat_message *messages, size_t n_messages,
                           uint32_t **ids, size_t *n_ids, const struct mn_log *log)
{
    struct encode_run run;
    uint32_t special[N_CHAT_TOKENS];
    size_t n_bytes = 0;
    enum mn_status status = MN_OK;

    *ids = NULL;
    *n_ids = 0;
    for (int i = 0; i < N_CHAT_TOKENS; i++)
        if (!tokenizer_token_to_id(tokenizer, chat_tokens[i], &special[i]) || !tokenizer->tokens[special[i]].special ||
            !tokenizer->tokens[special[i]].plain_added)
            return log_fail(log, MN_ERR_UNSUPPORTED, "chat: the tokenizer has no plain special token '%s'",
                            chat_tokens[i]);
    for (size_t i = 0; i < n_messages; i++) {
        if (messages[i].n_bytes > TOKENIZER_TEXT_BYTES_MAX - n_bytes)
            return log_fail(log, MN_ERR_USAGE, "chat: the messages are over %d bytes", TOKENIZER_TEXT_BYTES_MAX);
        n_bytes += messages[i].n_bytes;
    }
    encode_init(&run, tokenizer, n_bytes, ENCODE_PLAIN, log);
    if (!id_vector_append(&run.ids, special[CHAT_BEGIN_TEXT]))
        status = log_fail(log, MN_ERR_MEMORY, "chat: out of memory");
    for (size_t i = 0; !status && i < n_messages; i++)
        status = chat_append(&run, special, messages[i].role, messages[i].text, messages[i].n_bytes, false);
    if (!status)
        status = chat_append(&run, special, chat_reply_role, "", 0, true);
    return encode_finish(&run, status, ids, n_ids);
}

static char *text_append(char *end, const char *text, size_t n_bytes)
{
    if (n_bytes)
        memcpy(end, text, n_bytes);
    return end + n_bytes;
}

enum mn_status chat_format(const struct mn_chat_message *messages, size_t n_messages, char **text, size_t *n_bytes,
                           const struct mn_log *log)
{
    size_t capacity = 256; /* structure of one message, with room to spare */
    *text = NULL;
    *n_bytes = 0;
    for (size_t i = 0; i < n_messages; i++) {
        size_t role_bytes = strlen(messages[i].role);
        if (messages[i].n_bytes > TOKENIZER_TEXT_BYTES_MAX || role_bytes > TOKENIZER_TEXT_BYTES_MAX ||
            capacity > SIZE_MAX / 2)
            return log_fail(log, MN_ERR_USAGE, "chat: message %zu is too long", i);
        capacity += messages[i].n_bytes + role_bytes + 64;
    }
    char *out = malloc(capacity), *end = out;
    if (!out)
        return log_fail(log, MN_ERR_MEMORY, "chat: out of memory for %zu messages", n_messages);
    end = text_append(end, chat_tokens[CHAT_BEGIN_TEXT], strlen(chat_tokens[CHAT_BEGIN_TEXT]));
    for (size_t i = 0; i <= n_messages; i++) {
        const char *role = i < n_messages ? messages[i].role : chat_reply_role;
        end = text_append(end, chat_tokens[CHAT_BEGIN_HEADER], strlen(chat_tokens[CHAT_BEGIN_HEADER]));
        end = text_append(end, role, strlen(role));
        end = text_append(end, chat_tokens[CHAT_END_HEADER], strlen(chat_tokens[CHAT_END_HEADER]));
        end = text_append(end, "\n\n", 2);
        if (i == n_messages)
            break;
        end = text_append(end, messages[i].text, messages[i].n_bytes);
        end = text_append(end, chat_tokens[CHAT_END_TURN], strlen(chat_tokens[CHAT_END_TURN]));
    }
    *end = 0;
    *text = out;
    *n_bytes = (size_t)(end - out);
    return MN_OK;
}
