/* Chat: conversations as ids, in the templates that are built in.
 *
 * Owns: Huginn's template, ChatML and Llama-3's headers: their special tokens, the text between them, and the name that
 *       each has for the model.
 * Never: runs a template of a folder (they are programs; chat_template.h looks at their text), lets a message write
 *       structure: roles and texts are encoded with ENCODE_PLAIN.
 * Thread-safety: stateless. */
#ifndef MUNINN_ENGINE_TEXT_CHAT_H
#define MUNINN_ENGINE_TEXT_CHAT_H

#include "engine/text/tokenizer.h"

enum chat_kind {
    CHAT_HUGINN, /* <|begin_text|>, then <|begin_header|>role<|end_header|>\n\ntext<|end_turn|> */
    CHAT_CHATML, /* <|im_start|>role\ntext<|im_end|>\n */
    CHAT_LLAMA3, /* <|begin_of_text|>, then <|start_header_id|>role<|end_header_id|>\n\ntext<|eot_id|> */
    CHAT_N_KINDS
};

struct chat_style {
    enum chat_kind kind;
    bool opens_thought; /* the reply begins with <think> and a line break, which are part of the prompt */
};

/* "Huginn's", "ChatML", "Llama-3's": for messages. */
const char *chat_name(enum chat_kind kind);

/* What every text of the template has, NULL behind the last: its special tokens and its name for the model. */
enum { CHAT_MARKS_MAX = 6 };
void chat_marks(enum chat_kind kind, const char *marks[CHAT_MARKS_MAX]);

/* Does the tokenizer have the template's tokens, as special tokens without strip or word flags? */
bool chat_has_tokens(const struct tokenizer *tokenizer, enum chat_kind kind);

/* The ids of a conversation, up to where the model's reply begins: each message, then the header of a reply. The role
 * "assistant" stands for the template's own name for the model.
 * MN_ERR_UNSUPPORTED: the tokenizer lacks the tokens. Else as tokenizer_encode. */
enum mn_status chat_encode(const struct tokenizer *tokenizer, const struct chat_style *style,
                           const struct mn_chat_message *messages, size_t n_messages, uint32_t **ids, size_t *n_ids,
                           const struct mn_log *log);

/* The same as text, for people to read; *text is zero-terminated and freed by the caller. Encoding this text with
 * ENCODE_SPECIAL would let contents inject structure: use chat_encode. */
enum mn_status chat_format(const struct chat_style *style, const struct mn_chat_message *messages, size_t n_messages,
                           char **text, size_t *n_bytes, const struct mn_log *log);

#endif
