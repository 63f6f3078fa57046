#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/json.h"
#include "engine/text/tokenizer_internal.h"

enum {
    ADDED_MAX = 65536,
    ADDED_BYTES_MAX = 512, /* bounds the search for added tokens per byte of text */
};

static_assert((int)TOKENIZER_TOKEN_BYTES_MAX == (int)BPE_TOKEN_BYTES_MAX, "one limit on tokens");

static int added_compare(const void *a, const void *b)
{
    return strcmp(((const struct added_token *)a)->content, ((const struct added_token *)b)->content);
}

/* First pass over added_tokens: sizes. */
static enum mn_status added_measure(struct tokenizer *t, const struct json_doc *doc, const struct cJSON *added,
                                    size_t *n_bytes)
{
    const struct cJSON *node;
    uint32_t n = 0, id;
    const char *content;
    cJSON_ArrayForEach (node, added) {
        if (++n > ADDED_MAX)
            return json_refuse(doc, MN_ERR_FORMAT, "added_tokens", NULL, "more added tokens than the limit of 65536");
        enum mn_status status = json_get_u32(doc, node, "id", 0, BPE_IDS_MAX - 1, &id);
        if (!status)
            status = json_get_string(doc, node, "content", ADDED_BYTES_MAX, &content);
        if (status)
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

static enum mn_status added_parse(struct added_token *added, bool *normalized, const struct json_doc *doc,
                                  const struct cJSON *node, char *text)
{
    const char *content;
    *added = (struct added_token){.content = text};
    enum mn_status status = json_get_u32(doc, node, "id", 0, BPE_IDS_MAX - 1, &added->id);
    if (!status)
        status = json_get_string(doc, node, "content", ADDED_BYTES_MAX, &content);
    if (!status)
        status = json_get_bool_or(doc, node, "special", false, &added->special);
    if (!status)
        status = json_get_bool_or(doc, node, "single_word", false, &added->single_word);
    if (!status)
        status = json_get_bool_or(doc, node, "lstrip", false, &added->lstrip);
    if (!status)
        status = json_get_bool_or(doc, node, "rstrip", false, &added->rstrip);
    if (!status)
        status = json_get_bool_or(doc, node, "normalized", !added->special, normalized);
    if (status)
        return status;
    added->n_bytes = (uint32_t)strlen(content);
    memcpy(text, content, (size_t)added->n_bytes + 1);
    return MN_OK;
}

/* An added token is either a token of the vocabulary, by the same id, or has an id of its own. */
static enum mn_status added_enter(struct tokenizer *t, const struct json_doc *doc, const struct cJSON *node,
                                  const struct added_token *added)
{
    uint32_t vocab_id = bpe_find(&t->bpe, added->content, added->n_bytes);
    struct token *token = &t->tokens[added->id];
    if ((vocab_id != BPE_NO_ID && vocab_id != added->id) ||
        (vocab_id == BPE_NO_ID && added->id < t->bpe.n_ids && bpe_spelling(&t->bpe, added->id)))
        return json_refuse(doc, MN_ERR_FORMAT, "added_tokens.content", json_find(node, "content"),
                           "its id differs from the vocabulary's, or belongs to another token");
    if (token->content)
        return json_refuse(doc, MN_ERR_FORMAT, "added_tokens.id", json_find(node, "id"), "an id is used twice");
    token->content = added->content;
    token->special = added->special;
    token->plain_added = !added->single_word && !added->lstrip && !added->rstrip;
    return MN_OK;
}

static enum mn_status added_normalize(struct added_token *added, const struct tokenizer *t, struct matcher_run *run,
                                      const struct json_doc *doc, const struct cJSON *node, const struct mn_log *log)
{
    size_t n_bytes;
    char *normalized;
    enum mn_status status = normalizer_apply(&t->normalizer, run, added->content, added->n_bytes, &normalized, &n_bytes,
                                             log);
    if (status)
        return status;
    added->normalized = realloc(normalized, n_bytes + 1); /* contents end with a zero byte */
    if (!added->normalized) {
        free(normalized);
        return log_fail(log, MN_ERR_MEMORY, "%s: out of memory for an added token", doc->file);
    }
    added->normalized[n_bytes] = 0;
    added->content = added->normalized;
    added->n_bytes = (uint32_t)n_bytes;
    if (n_bytes && n_bytes <= ADDED_BYTES_MAX)
        return MN_OK;
    free(added->normalized);
    return json_refuse(doc, MN_ERR_FORMAT, "added_tokens.content", json_find(node, "content"),
                       "the normalizer makes it empty or longer than 512 bytes");
}

/* One element of added_tokens; `text` is where its content goes. */
static enum mn_status added_read(struct tokenizer *t, struct matcher_run *run, const struct json_doc *doc,
                                 const struct cJSON *node, char *text, const struct mn_log *log)
{
    struct added_token added;
    bool normalized = false;
    enum mn_status status = added_parse(&added, &normalized, doc, node, text);
    if (!status)
        status = added_enter(t, doc, node, &added);
    if (!status && normalized && t->normalizer.n_steps)
        status = added_normalize(&added, t, run, doc, node, log);
    if (status)
        return status;
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

static enum mn_status tokens_reserve(struct tokenizer *t, const struct json_doc *doc, size_t n_added,
                                     size_t n_added_bytes)
{
    t->text = malloc(n_added_bytes + 1);
    t->tokens = calloc(t->n_tokens, sizeof *t->tokens);
    t->spellings = calloc(t->n_tokens, sizeof *t->spellings);
    if (decoder_minds_first(&t->decoder))
        t->first_spellings = calloc(t->n_tokens, sizeof *t->spellings);
    t->verbatim.tokens = calloc(n_added + 1, sizeof *t->verbatim.tokens);
    t->normalized.tokens = calloc(n_added + 1, sizeof *t->normalized.tokens);
    if (!t->text || !t->tokens || !t->spellings || !t->verbatim.tokens || !t->normalized.tokens ||
        (decoder_minds_first(&t->decoder) && !t->first_spellings))
        return log_fail(doc->log, MN_ERR_MEMORY, "%s: out of memory for %u tokens", doc->file, t->n_tokens);
    return MN_OK;
}

/* Their contents go to t->text. */
static enum mn_status added_read_all(struct tokenizer *t, struct matcher_run *run, const struct json_doc *doc,
                                     const struct cJSON *added, const struct mn_log *log)
{
    const struct cJSON *node;
    char *end = t->text;
    cJSON_ArrayForEach (node, added) {
        enum mn_status status = added_read(t, run, doc, node, end, log);
        if (status)
            return status;
        end += strlen(end) + 1;
    }
    return MN_OK;
}

static enum mn_status token_spell(struct tokenizer *t, uint32_t id, bool is_first, struct matcher_run *run,
                                  const struct json_doc *doc, const struct mn_log *log)
{
    struct spelling *spelling = is_first ? &t->first_spellings[id] : &t->spellings[id];
    size_t start = t->spelled.n;
    enum mn_status status = decoder_spell(&t->decoder, &t->bpe, run, t->tokens[id].content, is_first, &t->spelled,
                                          &spelling->byte, log);
    if (!status && t->spelled.n - start > TOKENIZER_TOKEN_BYTES_MAX)
        status = log_fail(log, MN_ERR_FORMAT, "%s: key 'decoder': id %u decodes to %zu bytes, limit %d", doc->file, id,
                          t->spelled.n - start, TOKENIZER_TOKEN_BYTES_MAX);
    spelling->n_bytes = status ? 0 : (uint32_t)(t->spelled.n - start);
    return status;
}

/* What every id decodes to. The buffer grows meanwhile: where it lies is known at the end. */
static enum mn_status tokens_spell(struct tokenizer *t, struct matcher_run *run, const struct json_doc *doc,
                                   const struct mn_log *log)
{
    enum mn_status status = MN_OK;
    for (uint32_t id = 0; id < t->n_tokens && !status; id++) {
        struct token *token = &t->tokens[id];
        if (!token->content && id < t->bpe.n_ids)
            token->content = bpe_spelling(&t->bpe, id);
        if (token->content)
            status = token_spell(t, id, false, run, doc, log);
        if (!status && token->content && t->first_spellings)
            status = token_spell(t, id, true, run, doc, log);
    }
    const char *bytes = t->spelled.bytes;
    for (uint32_t id = 0; id < t->n_tokens && !status; id++) {
        t->spellings[id].bytes = bytes;
        bytes += t->spellings[id].n_bytes;
        if (t->first_spellings) {
            t->first_spellings[id].bytes = bytes;
            bytes += t->first_spellings[id].n_bytes;
        }
    }
    return status;
}

/* Added tokens, then what every id decodes to. */
static enum mn_status tokens_read(struct tokenizer *t, struct matcher_run *run, const struct json_doc *doc,
                                  const struct mn_log *log)
{
    const struct cJSON *added = json_find(doc->root, "added_tokens");
    size_t n_added_bytes = 0;
    enum mn_status status = MN_OK;
    if (json_is_given(doc->root, "added_tokens"))
        status = json_get_array(doc, doc->root, "added_tokens", &added);
    t->n_tokens = t->bpe.n_ids;
    if (!status)
        status = added_measure(t, doc, added, &n_added_bytes);
    if (!status)
        status = tokens_reserve(t, doc, added ? (size_t)cJSON_GetArraySize(added) : 0, n_added_bytes);
    if (!status)
        status = added_read_all(t, run, doc, added, log);
    if (!status)
        status = added_sort(&t->verbatim, doc);
    if (!status)
        status = added_sort(&t->normalized, doc);
    return status ? status : tokens_spell(t, run, doc, log);
}

/* Patterns are looked for while the file is read, too: in added tokens and in what tokens say. */
static enum mn_status tokens_read_with_patterns(struct tokenizer *t, const struct json_doc *doc,
                                                const struct mn_log *log)
{
    struct matcher_run run;
    size_t n_bytes = 0;
    for (uint32_t id = 0; id < t->bpe.n_ids; id++)
        n_bytes += bpe_spelling(&t->bpe, id) ? strlen(bpe_spelling(&t->bpe, id)) : 0;
    matcher_run_init(&run, n_bytes);
    enum mn_status status = tokens_read(t, &run, doc, log);
    matcher_run_finish(&run);
    return status;
}

/* What only some kinds go together with. */
static enum mn_status kinds_check(struct tokenizer *t, const struct json_doc *doc, const struct mn_log *log)
{
    const struct pretokenizer_step *first = &t->pretokenizer.steps[0];
    if (t->normalizer.n_steps && t->pretokenizer.n_steps && first->kind == STEP_METASPACE &&
        first->metaspace.scheme == PREPEND_FIRST)
        return log_fail(log, MN_ERR_UNSUPPORTED,
                        "%s: key 'pre_tokenizer.prepend_scheme': 'first' is understood only without a normalizer",
                        doc->file);
    if (t->pretokenizer.is_byte_level && t->bpe.byte_fallback)
        return log_fail(log, MN_ERR_UNSUPPORTED,
                        "%s: key 'model.byte_fallback': not understood together with a ByteLevel pre-tokenizer",
                        doc->file);
    return t->pretokenizer.is_byte_level ? MN_OK : bpe_use_characters(&t->bpe, doc->file, log);
}

/* Whatever the result, tokenizer_destroy frees what has been made. */
static enum mn_status parts_read(struct tokenizer *t, const struct json_doc *doc, const struct mn_log *log)
{
    const struct cJSON *model;
    enum mn_status status = json_get_object(doc, doc->root, "model", &model);
    if (!status)
        status = bpe_read(&t->bpe, doc, model, log);
    if (!status)
        status = pretokenizer_read(&t->pretokenizer, doc, log);
    if (!status)
        status = normalizer_read(&t->normalizer, doc, log);
    if (!status)
        status = kinds_check(t, doc, log);
    if (!status)
        status = decoder_read(&t->decoder, doc, log);
    if (!status)
        status = tokens_read_with_patterns(t, doc, log);
    if (!status)
        status = post_processor_read(&t->begin, doc, t->n_tokens);
    return status;
}

/* Takes over the document. */
static enum mn_status tokenizer_read(struct tokenizer **out, struct json_doc *doc, const struct mn_log *log)
{
    struct tokenizer *t = calloc(1, sizeof *t);
    enum mn_status status = t ? parts_read(t, doc, log) : log_fail(log, MN_ERR_MEMORY, "%s: out of memory", doc->file);
    if (status)
        tokenizer_destroy(t);
    else
        *out = t;
    json_destroy(doc);
    return status;
}

enum mn_status tokenizer_create(struct tokenizer **out, const char *path, const struct mn_log *log)
{
    struct json_doc doc;
    *out = NULL;
    enum mn_status status = json_read_file(&doc, path, TOKENIZER_FILE_BYTES_MAX, log);
    return status ? status : tokenizer_read(out, &doc, log);
}

enum mn_status tokenizer_create_from_memory(struct tokenizer **out, const char *name, const void *json, size_t n_bytes,
                                            const struct mn_log *log)
{
    struct json_doc doc;
    *out = NULL;
    enum mn_status status = json_parse_foreign(&doc, name, json, n_bytes, TOKENIZER_FILE_BYTES_MAX, log);
    return status ? status : tokenizer_read(out, &doc, log);
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
    free(tokenizer->spellings);
    free(tokenizer->first_spellings);
    free(tokenizer->spelled.bytes);
    free(tokenizer->text);
    normalizer_destroy(&tokenizer->normalizer);
    decoder_destroy(&tokenizer->decoder);
    pretokenizer_destroy(&tokenizer->pretokenizer);
    bpe_destroy(&tokenizer->bpe);
    free(tokenizer);
}
