#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "engine/text/decoder.h"

/* Which stage the steps so far have reached. */
enum stage { STAGE_TOKENS, STAGE_BYTES, STAGE_TEXT };

static enum mn_status strip_read(struct strip *strip, const struct json_doc *doc, const struct cJSON *node)
{
    const char *content;
    uint32_t stop = 0;
    utf8proc_int32_t c;
    enum mn_status status = json_get_string(doc, node, "content", 4, &content);
    if (!status)
        status = json_get_u32(doc, node, "start", 0, DECODER_STRIP_MAX, &strip->n);
    if (!status)
        status = json_get_u32(doc, node, "stop", 0, DECODER_STRIP_MAX, &stop);
    if (status)
        return status;
    size_t n = strlen(content);
    if (!n || (size_t)utf8proc_iterate((const utf8proc_uint8_t *)content, (utf8proc_ssize_t)n, &c) != n)
        return json_refuse(doc, MN_ERR_FORMAT, "decoder.content", json_find(node, "content"), "not one character");
    if (stop)
        return json_refuse(doc, MN_ERR_UNSUPPORTED, "decoder.stop", json_find(node, "stop"),
                           "Strip is understood at the beginning only");
    memcpy(strip->character, content, n + 1);
    return MN_OK;
}

static enum mn_status replace_read(struct decoder_step *step, const struct json_doc *doc, const struct cJSON *node,
                                   const struct mn_log *log)
{
    const char *content;
    step->kind = DECODER_REPLACE;
    enum mn_status status = json_get_string(doc, node, "content", NORMALIZER_CONTENT_BYTES_MAX, &content);
    if (!status)
        status = matcher_read(&step->matcher, doc, "decoder", node, log);
    if (status)
        return status;
    size_t n = strlen(content) + 1;
    step->content = malloc(n);
    if (!step->content)
        return log_fail(log, MN_ERR_MEMORY, "%s: key 'decoder': out of memory", doc->file);
    memcpy(step->content, content, n);
    return MN_OK;
}

/* A step on each token. */
static enum mn_status token_step_read(struct decoder *d, const struct json_doc *doc, const struct cJSON *node,
                                      const char *type, const struct mn_log *log)
{
    if (d->n_steps == DECODER_STEPS_MAX)
        return log_fail(log, MN_ERR_UNSUPPORTED, "%s: key 'decoder': more than %d steps", doc->file, DECODER_STEPS_MAX);
    struct decoder_step *step = &d->steps[d->n_steps++];
    if (!strcmp(type, "Replace"))
        return replace_read(step, doc, node, log);
    step->kind = !strcmp(type, "Strip") ? DECODER_STRIP : DECODER_METASPACE;
    return step->kind == DECODER_STRIP ? strip_read(&step->strip, doc, node)
                                       : metaspace_read(&step->metaspace, doc, "decoder", node, log);
}

static enum mn_status step_read(struct decoder *d, const struct json_doc *doc, const struct cJSON *node,
                                const char *type, enum stage *stage, const struct mn_log *log)
{
    const bool is_strip = !strcmp(type, "Strip");
    if (!strcmp(type, "ByteLevel") || !strcmp(type, "ByteFallback")) {
        bool is_level = !strcmp(type, "ByteLevel");
        if (*stage > STAGE_TOKENS)
            return json_refuse(doc, MN_ERR_UNSUPPORTED, "decoder.type", json_find(node, "type"),
                               "it stands behind ByteFallback, Fuse or ByteLevel, where it is not understood");
        d->byte_level = is_level;
        d->byte_fallback = !is_level;
        *stage = is_level ? STAGE_TEXT : STAGE_BYTES;
        return MN_OK;
    }
    if (!strcmp(type, "Fuse")) {
        *stage = STAGE_TEXT;
        return MN_OK;
    }
    if (!is_strip && strcmp(type, "Replace") && strcmp(type, "Metaspace"))
        return json_refuse(doc, MN_ERR_UNSUPPORTED, "decoder.type", json_find(node, "type"),
                           "only ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace and Sequence are understood");
    if (*stage == STAGE_TOKENS)
        return token_step_read(d, doc, node, type, log);
    if (*stage == STAGE_TEXT && is_strip && !d->strip.n)
        return strip_read(&d->strip, doc, node);
    return json_refuse(doc, MN_ERR_UNSUPPORTED, "decoder.type", json_find(node, "type"),
                       "it stands behind ByteFallback, Fuse or ByteLevel, where it is not understood");
}

/* A step, or a sequence of steps. The recursion is as deep as the file is nested, which the JSON reader bounds. */
static enum mn_status steps_read(struct decoder *d, const struct json_doc *doc, const struct cJSON *node,
                                 enum stage *stage, const struct mn_log *log)
{
    const struct cJSON *steps, *step;
    const char *type;
    enum mn_status status = json_get_string(doc, node, "type", 64, &type);
    if (status)
        return status;
    if (strcmp(type, "Sequence"))
        return step_read(d, doc, node, type, stage, log);
    status = json_get_array(doc, node, "decoders", &steps);
    if (status)
        return status;
    cJSON_ArrayForEach (step, steps) {
        status = steps_read(d, doc, step, stage, log);
        if (status)
            return status;
    }
    return MN_OK;
}

enum mn_status decoder_read(struct decoder *decoder, const struct json_doc *doc, const struct mn_log *log)
{
    const struct cJSON *node = json_find(doc->root, "decoder");
    enum stage stage = STAGE_TOKENS;
    *decoder = (struct decoder){0};
    if (!json_is_given(doc->root, "decoder")) /* the HF library would put a space between any two tokens */
        return json_refuse(doc, MN_ERR_UNSUPPORTED, "decoder", node, "a file without a decoder is not understood");
    enum mn_status status = steps_read(decoder, doc, node, &stage, log);
    if (status)
        decoder_destroy(decoder);
    return status;
}

void decoder_destroy(struct decoder *decoder)
{
    if (!decoder)
        return;
    for (uint32_t i = 0; i < decoder->n_steps; i++) {
        matcher_destroy(&decoder->steps[i].matcher);
        free(decoder->steps[i].content);
    }
    *decoder = (struct decoder){0};
}

bool decoder_minds_first(const struct decoder *decoder)
{
    for (uint32_t i = 0; i < decoder->n_steps; i++)
        if (decoder->steps[i].kind == DECODER_METASPACE && decoder->steps[i].metaspace.scheme != PREPEND_NEVER)
            return true;
    return false;
}

/* --- one token -------------------------------------------------------------------------------------------------- */

/* How many bytes at the beginning are to go; *n_left counts down. */
static size_t strip_count(const struct strip *strip, const char *text, size_t n_bytes, uint32_t *n_left)
{
    size_t length = strlen(strip->character), n = 0;
    while (*n_left && n_bytes - n >= length && !memcmp(text + n, strip->character, length)) {
        n += length;
        --*n_left;
    }
    return n;
}

static enum mn_status step_apply(struct text_buffer *out, const struct decoder_step *step, struct matcher_run *run,
                                 const char *text, size_t n_bytes, bool is_first, const struct mn_log *log)
{
    const struct metaspace *m = &step->metaspace;
    uint32_t n_left = step->strip.n;
    size_t n = 0;
    switch (step->kind) {
    case DECODER_REPLACE:
        return text_replace(out, &step->matcher, run, step->content, strlen(step->content), text, n_bytes, log);
    case DECODER_STRIP: n = strip_count(&step->strip, text, n_bytes, &n_left); break;
    case DECODER_METASPACE: {
        const struct matcher character = {.literal = (char *)m->replacement, .n_literal = strlen(m->replacement)};
        return text_replace(out, &character, run, " ", is_first && m->scheme != PREPEND_NEVER ? 0 : 1, text, n_bytes,
                            log);
    }
    }
    return text_buffer_append(out, text + n, n_bytes - n, log);
}

/* <0x00> to <0xFF>, as the HF library reads them: Rust takes a plus sign for a number's. */
static int16_t byte_read(const char *token, size_t n_bytes)
{
    int value = 0;
    if (n_bytes != 6 || memcmp(token, "<0x", 3) || token[5] != '>')
        return -1;
    for (int i = 3; i < 5; i++) {
        char c = token[i], lower = (char)(c | 0x20);
        if (c >= '0' && c <= '9')
            value = value * 16 + c - '0';
        else if (lower >= 'a' && lower <= 'f')
            value = value * 16 + lower - 'a' + 10;
        else if (c != '+' || i == 4)
            return -1;
    }
    return (int16_t)value;
}

enum mn_status decoder_spell(const struct decoder *decoder, const struct bpe *bpe, struct matcher_run *run,
                             const char *token, bool is_first, struct text_buffer *out, int16_t *byte,
                             const struct mn_log *log)
{
    struct text_buffer from = {0};
    enum mn_status status = MN_OK;
    const char *text = token;
    size_t n_bytes = strlen(token);
    for (uint32_t i = 0; i < decoder->n_steps && !status; i++) {
        struct text_buffer to = {0};
        status = step_apply(&to, &decoder->steps[i], run, text, n_bytes, is_first, log);
        free(from.bytes);
        from = to;
        text = to.bytes;
        n_bytes = to.n;
    }
    *byte = !status && decoder->byte_fallback ? byte_read(text, n_bytes) : -1;
    size_t start = out->n;
    if (!status)
        status = text_buffer_append(out, text, n_bytes, log);
    if (!status && decoder->byte_level && n_bytes)
        out->n = start + bpe_spelling_to_bytes(bpe, text, n_bytes, out->bytes + start);
    free(from.bytes);
    return status;
}
