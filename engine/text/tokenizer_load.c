#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/json.h"
#include "engine/text/tokenizer_internal.h"

enum {
    ADDED_MAX = 65536,
    ADDED_BYTES_MAX = 512, /* bounds the search for added tokens per byte of text */
    NORMALIZERS_MAX = 8,
};

static_assert((int)TOKENIZER_TOKEN_BYTES_MAX == (int)BPE_TOKEN_BYTES_MAX, "one limit on tokens");

static enum mn_status normalizer_read(struct tokenizer *t, const struct json_doc *doc, const struct cJSON *node,
                                      bool is_member)
{
    enum mn_status status;
    const struct cJSON *members, *member;
    const char *type;
    int n = 0;

    if (!node || cJSON_IsNull(node))
        return MN_OK;
    if ((status = json_get_string(doc, node, "type", 64, &type)) != MN_OK)
        return status;
    if (!strcmp(type, "NFC")) {
        t->nfc = true;
        return MN_OK;
    }
    if (strcmp(type, "Sequence") || is_member)
        return json_refuse(doc, MN_ERR_UNSUPPORTED, "normalizer.type", json_find(node, "type"),
                           "only NFC, or a sequence of it, is supported");
    if ((status = json_get_array(doc, node, "normalizers", &members)) != MN_OK)
        return status;
    cJSON_ArrayForEach (member, members) {
        if (++n > NORMALIZERS_MAX)
            return json_refuse(doc, MN_ERR_UNSUPPORTED, "normalizer", NULL, "too many normalizers");
        if ((status = normalizer_read(t, doc, member, true)) != MN_OK)
            return status;
    }
    return MN_OK;
}

static enum mn_status decoder_check(const struct json_doc *doc)
{
    const struct cJSON *decoder = json_find(doc->root, "decoder");
    const struct cJSON *type = json_find(decoder, "type");
    if (!cJSON_IsString(type) || strcmp(type->valuestring, "ByteLevel"))
        return json_refuse(doc, MN_ERR_UNSUPPORTED, "decoder.type", type, "only ByteLevel is supported");
    return MN_OK;
}

static int added_compare(const void *a, const void *b)
{
    return strcmp(((const struct added_token *)a)->content, ((const struct added_token *)b)->content);
}

/* First pass over added_tokens: sizes. */
static enum mn_status added_measure(struct tokenizer *t, const struct json_doc *doc, const struct cJSON *added,
                                    size_t *n_bytes)
{
    enum mn_status status;
    const struct cJSON *node;
    uint32_t n = 0, id;
    const char *content;

    cJSON_ArrayForEach (node, added) {
        if (++n > ADDED_MAX)
            return json_refuse(doc, MN_ERR_FORMAT, "added_tokens", NULL, "more added tokens than the limit of 65536");
        if ((status = json_get_u32(doc, node, "id", 0, BPE_IDS_MAX - 1, &id)) != MN_OK ||
            (status = json_get_string(doc, node, "content", ADDED_BYTES_MAX, &content)) != MN_OK)
            return status;
        if (!*content)
            return json_refuse(doc, MN_ERR_FORMAT, "added_tokens.content", json_find(node, "content"),
                               "an added token without content");
        *n_bytes += strlen(content) + 1;
        if (id >= t->n_tokens)
            t->n_tokens = id + 1;
    }
    return MN_OK;
}

/* One element of added_tokens; `text` is where its content goes. */
static enum mn_status added_read(struct tokenizer *t, const struct json_doc *doc, const struct cJSON *node, char *text,
                                 const struct mn_log *log)
{
    enum mn_status status;
    struct added_token added = {.content = text};
    const char *content;
    bool normalized;

    if ((status = json_get_u32(doc, node, "id", 0, BPE_IDS_MAX - 1, &added.id)) != MN_OK ||
        (status = json_get_string(doc, node, "content", ADDED_BYTES_MAX, &content)) != MN_OK ||
        (status = json_get_bool_or(doc, node, "special", false, &added.special)) != MN_OK ||
        (status = json_get_bool_or(doc, node, "single_word", false, &added.single_word)) != MN_OK ||
        (status = json_get_bool_or(doc, node, "lstrip", false, &added.lstrip)) != MN_OK ||
        (status = json_get_bool_or(doc, node, "rstrip", false, &added.rstrip)) != MN_OK ||
        (status = json_get_bool_or(doc, node, "normalized", !added.special, &normalized)) != MN_OK)
        return status;
    added.n_bytes = (uint32_t)strlen(content);
    memcpy(text, content, (size_t)added.n_bytes + 1);

    /* An added token is either a token of the vocabulary, by the same id, or has an id of its own. */
    uint32_t vocab_id = bpe_find(&t->bpe, content, added.n_bytes);
    struct token *token = &t->tokens[added.id];
    if ((vocab_id != BPE_NO_ID && vocab_id != added.id) ||
        (vocab_id == BPE_NO_ID && added.id < t->bpe.n_ids && bpe_spelling(&t->bpe, added.id)))
        return json_refuse(doc, MN_ERR_FORMAT, "added_tokens.content", json_find(node, "content"),
                           "its id differs from the vocabulary's, or belongs to another token");
    if (token->content)
        return json_refuse(doc, MN_ERR_FORMAT, "added_tokens.id", json_find(node, "id"), "an id is used twice");
    token->content = text;
    token->special = added.special;
    token->plain_added = !added.single_word && !added.lstrip && !added.rstrip;

    if (normalized && t->nfc) {
        size_t n_normalized;
        if ((status = text_normalize(content, added.n_bytes, &added.normalized, &n_normalized, log)) != MN_OK)
            return status;
        added.content = added.normalized;
        added.n_bytes = (uint32_t)n_normalized;
    }
    struct added_list *list = normalized ? &t->normalized : &t->verbatim;
    list->tokens[list->n++] = added;
    return MN_OK;
}

static enum mn_status added_sort(struct added_list *list, const struct json_doc *doc)
{
    qsort(list->tokens, list->n, sizeof *list->tokens, added_compare);
    for (uint32_t i = 1; i < list->n; i++)
        if (!added_compare(&list->tokens[i - 1], &list->tokens[i]))
            return json_refuse(doc, MN_ERR_FORMAT, "added_tokens", NULL, "two added tokens have the same content");
    return MN_OK;
}

/* Added tokens, then what every id decodes to. */
static enum mn_status tokens_read(struct tokenizer *t, const struct json_doc *doc, const struct mn_log *log)
{
    enum mn_status status;
    const struct cJSON *added = json_find(doc->root, "added_tokens"), *node;
    size_t n_bytes = 0, n_added_bytes = 0;

    if (added && !cJSON_IsNull(added) && (status = json_get_array(doc, doc->root, "added_tokens", &added)) != MN_OK)
        return status;
    t->n_tokens = t->bpe.n_ids;
    if ((status = added_measure(t, doc, added, &n_added_bytes)) != MN_OK)
        return status;
    for (uint32_t id = 0; id < t->bpe.n_ids; id++)
        if (bpe_spelling(&t->bpe, id))
            n_bytes += strlen(bpe_spelling(&t->bpe, id));

    /* Decoded bytes are at most as many as those of the spelling; added tokens need room for both. */
    size_t n_added = added ? (size_t)cJSON_GetArraySize(added) : 0;
    t->text = malloc(n_bytes + 2 * n_added_bytes + 1);
    t->tokens = calloc(t->n_tokens, sizeof *t->tokens);
    t->verbatim.tokens = calloc(n_added + 1, sizeof *t->verbatim.tokens);
    t->normalized.tokens = calloc(n_added + 1, sizeof *t->normalized.tokens);
    if (!t->text || !t->tokens || !t->verbatim.tokens || !t->normalized.tokens)
        return log_fail(log, MN_ERR_MEMORY, "%s: out of memory for %u tokens", doc->file, t->n_tokens);

    char *end = t->text;
    cJSON_ArrayForEach (node, added) {
        if ((status = added_read(t, doc, node, end, log)) != MN_OK)
            return status;
        end += strlen(end) + 1;
    }
    if ((status = added_sort(&t->verbatim, doc)) != MN_OK || (status = added_sort(&t->normalized, doc)) != MN_OK)
        return status;
    for (uint32_t id = 0; id < t->n_tokens; id++) {
        struct token *token = &t->tokens[id];
        if (!token->content && id < t->bpe.n_ids)
            token->content = bpe_spelling(&t->bpe, id);
        if (!token->content)
            continue;
        token->bytes = end;
        token->n_bytes = (uint32_t)bpe_spelling_to_bytes(&t->bpe, token->content, strlen(token->content), end);
        end += token->n_bytes;
    }
    return MN_OK;
}

/* Takes over the document. */
static enum mn_status tokenizer_read(struct tokenizer **out, struct json_doc *doc, const struct mn_log *log)
{
    enum mn_status status;
    const struct cJSON *model;
    struct tokenizer *t = calloc(1, sizeof *t);

    *out = NULL;
    if (!t) {
        status = log_fail(log, MN_ERR_MEMORY, "%s: out of memory", doc->file);
        goto fail;
    }
    if ((status = json_get_object(doc, doc->root, "model", &model)) != MN_OK ||
        (status = bpe_read(&t->bpe, doc, model, log)) != MN_OK ||
        (status = pretokenizer_read(&t->pretokenizer, doc, json_find(doc->root, "pre_tokenizer"), log)) != MN_OK ||
        (status = normalizer_read(t, doc, json_find(doc->root, "normalizer"), false)) != MN_OK ||
        (status = decoder_check(doc)) != MN_OK || (status = tokens_read(t, doc, log)) != MN_OK)
        goto fail;
    *out = t;
    t = NULL;
fail:
    tokenizer_destroy(t);
    json_destroy(doc);
    return status;
}

enum mn_status tokenizer_create(struct tokenizer **out, const char *path, const struct mn_log *log)
{
    struct json_doc doc;
    *out = NULL;
    enum mn_status status = json_read_file(&doc, path, TOKENIZER_FILE_BYTES_MAX, log);
    return status == MN_OK ? tokenizer_read(out, &doc, log) : status;
}

enum mn_status tokenizer_create_from_memory(struct tokenizer **out, const char *name, const void *json, size_t n_bytes,
                                            const struct mn_log *log)
{
    struct json_doc doc;
    *out = NULL;
    enum mn_status status = json_parse(&doc, name, json, n_bytes, TOKENIZER_FILE_BYTES_MAX, log);
    return status == MN_OK ? tokenizer_read(out, &doc, log) : status;
}

static void added_finish(struct added_list *list)
{
    for (uint32_t i = 0; i < list->n; i++)
        free(list->tokens[i].normalized);
    free(list->tokens);
}

void tokenizer_destroy(struct tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    added_finish(&tokenizer->verbatim);
    added_finish(&tokenizer->normalized);
    free(tokenizer->tokens);
    free(tokenizer->text);
    pretokenizer_destroy(&tokenizer->pretokenizer);
    bpe_destroy(&tokenizer->bpe);
    free(tokenizer);
}
