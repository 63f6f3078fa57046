/* Text of the public header: ids and back, whole and in pieces, and conversations. */
#include <stdlib.h>

#include "api/handles.h"

struct mn_stream_decoder {
    struct stream_decoder decoder;
    const struct mn_log *log;
};

/* `given`: are the other arguments there? */
static enum mn_status need_tokenizer(const struct mn_engine *engine, const char *function, bool given)
{
    if (!engine || !given)
        return api_missing(engine ? engine->log : NULL, function, engine ? "an argument" : "engine");
    return engine->tokenizer
               ? MN_OK
               : log_fail(engine->log, MN_ERR_FILE, "the model has no tokenizer.json: give token ids instead of text");
}

enum mn_status mn_tokenize(struct mn_engine *engine, const char *text, size_t n_bytes, bool specials, uint32_t **ids,
                           size_t *n_ids)
{
    enum mn_status status = need_tokenizer(engine, "mn_tokenize", (text || n_bytes == 0) && ids && n_ids);
    if (status)
        return status;
    return tokenizer_encode(engine->tokenizer, text ? text : "", n_bytes, specials ? ENCODE_SPECIAL : ENCODE_PLAIN, ids,
                            n_ids, engine->log);
}

enum mn_status mn_detokenize(struct mn_engine *engine, const uint32_t *ids, size_t n_ids, bool skip_specials,
                             char **text, size_t *n_bytes)
{
    enum mn_status status = need_tokenizer(engine, "mn_detokenize", (ids || n_ids == 0) && text && n_bytes);
    return status ? status : tokenizer_decode(engine->tokenizer, ids, n_ids, skip_specials, text, n_bytes, engine->log);
}

enum mn_status mn_chat(struct mn_engine *engine, const struct mn_chat_message *messages, size_t n_messages,
                       uint32_t **ids, size_t *n_ids)
{
    enum mn_status status = need_tokenizer(engine, "mn_chat", (messages || n_messages == 0) && ids && n_ids);
    for (size_t i = 0; i < n_messages && !status; i++)
        if (!messages[i].role || (!messages[i].text && messages[i].n_bytes))
            status = log_fail(engine->log, MN_ERR_USAGE, "mn_chat: message %zu: %s is NULL", i,
                              messages[i].role ? "text" : "role");
    struct chat_style style;
    if (!status)
        status = chat_template_choose(&style, &engine->chat, engine->tokenizer, !engine->chat_checked, engine->log);
    if (status)
        return status;
    engine->chat_checked = true;
    return chat_encode(engine->tokenizer, &style, messages, n_messages, ids, n_ids, engine->log);
}

enum mn_status mn_stream_decoder_create(struct mn_stream_decoder **out, struct mn_engine *engine, bool skip_specials)
{
    if (out)
        *out = NULL;
    enum mn_status status = need_tokenizer(engine, "mn_stream_decoder_create", out != NULL);
    if (status)
        return status;
    if (!(*out = malloc(sizeof **out)))
        return log_fail(engine->log, MN_ERR_MEMORY, "out of host memory for a stream decoder");
    (*out)->log = engine->log;
    stream_decoder_init(&(*out)->decoder, engine->tokenizer, skip_specials);
    return MN_OK;
}

void mn_stream_decoder_destroy(struct mn_stream_decoder *decoder)
{
    free(decoder);
}

enum mn_status mn_stream_decoder_push(struct mn_stream_decoder *decoder, uint32_t id, const char **text,
                                      size_t *n_bytes)
{
    if (!decoder || !text || !n_bytes)
        return api_missing(decoder ? decoder->log : NULL, "mn_stream_decoder_push",
                           decoder ? "an argument" : "decoder");
    return stream_decoder_push(&decoder->decoder, id, text, n_bytes, NULL);
}

enum mn_status mn_stream_decoder_finish(struct mn_stream_decoder *decoder, const char **text, size_t *n_bytes)
{
    if (!decoder || !text || !n_bytes)
        return api_missing(decoder ? decoder->log : NULL, "mn_stream_decoder_finish",
                           decoder ? "an argument" : "decoder");
    stream_decoder_finish(&decoder->decoder, text, n_bytes);
    return MN_OK;
}
