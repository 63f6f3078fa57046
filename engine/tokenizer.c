#include "tokenizer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "bpe.h"
#include "json.h"
#include "pretokenizer.h"

enum {
    ADDED_MAX = 65536,
    ADDED_BYTES_MAX = 512, /* bounds the search for added tokens per byte of text */
    NORMALIZERS_MAX = 8,
    MARKS_MAX = 1024, /* combining marks in a row: NFC sorts them by insertion, in quadratic time */
};

static_assert((int)MN_TOKENIZER_TOKEN_BYTES_MAX == (int)BPE_TOKEN_BYTES_MAX, "one limit on tokens");

struct added_token {
    const char *content; /* into mn_tokenizer.text, or own when normalization changed it */
    char *normalized;    /* owned, or NULL */
    uint32_t n_bytes;
    uint32_t id;
    bool special, single_word, lstrip, rstrip;
};

/* Added tokens sorted by content. */
struct added_list {
    struct added_token *tokens;
    uint32_t n;
};

struct token {
    const char *content; /* NULL: a hole */
    const char *bytes;   /* [n_bytes] what it decodes to */
    uint32_t n_bytes;
    bool special, plain_added; /* plain_added: an added token without strip or word flags */
};

struct mn_tokenizer {
    struct bpe bpe;
    struct pretokenizer pretokenizer;
    struct token *tokens; /* [n_tokens] by id */
    uint32_t n_tokens;
    char *text;           /* contents of added tokens and all decoded bytes */
    bool nfc;
    /* Looked for in the text as given, then, in what remains and is normalized, the second. */
    struct added_list verbatim, normalized;
};

/* --- UTF-8 ------------------------------------------------------------------------------------------------------ */

/* Length of the sequence that `lead` starts, 0 when none does. */
static unsigned utf8_length(unsigned char lead)
{
    return lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
}

/* May `byte` come at place `n` (1 to 3) of the sequence that `lead` starts? */
static bool utf8_continues(unsigned char lead, unsigned n, unsigned char byte)
{
    if (n == 1 && lead == 0xe0)
        return byte >= 0xa0 && byte <= 0xbf;
    if (n == 1 && lead == 0xed)
        return byte >= 0x80 && byte <= 0x9f;
    if (n == 1 && lead == 0xf0)
        return byte >= 0x90 && byte <= 0xbf;
    if (n == 1 && lead == 0xf4)
        return byte >= 0x80 && byte <= 0x8f;
    return byte >= 0x80 && byte <= 0xbf;
}

/* Offset of the first byte that is not part of valid UTF-8, or n_bytes. */
static size_t utf8_check(const char *text, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes;) {
        unsigned char lead = (unsigned char)text[i];
        unsigned length = utf8_length(lead);
        if (!length || length > n_bytes - i)
            return i;
        for (unsigned k = 1; k < length; k++)
            if (!utf8_continues(lead, k, (unsigned char)text[i + k]))
                return i;
        i += length;
    }
    return n_bytes;
}

static size_t replacement_write(char *out)
{
    memcpy(out, "\xef\xbf\xbd", 3);
    return 3;
}

/* Appends bytes to a sequence that may be incomplete (`pending`), writing complete characters to `out` and one U+FFFD
 * per maximal malformed sequence. Returns how much was written, at most 3 * (n_bytes + 1) bytes. */
static size_t utf8_feed(char *pending, uint8_t *n_pending, const char *bytes, size_t n_bytes, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < n_bytes;) {
        unsigned char byte = (unsigned char)bytes[i], lead = *n_pending ? (unsigned char)pending[0] : byte;
        if (*n_pending && !utf8_continues(lead, *n_pending, byte)) {
            *n_pending = 0; /* the byte starts afresh */
            n += replacement_write(out + n);
            continue;
        }
        i++;
        if (!utf8_length(lead)) {
            n += replacement_write(out + n);
            continue;
        }
        pending[(*n_pending)++] = (char)byte;
        if (*n_pending == utf8_length(lead)) {
            memcpy(out + n, pending, *n_pending);
            n += *n_pending;
            *n_pending = 0;
        }
    }
    return n;
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

static enum mn_status normalizer_read(struct mn_tokenizer *t, const struct json_doc *doc, const struct cJSON *node,
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
    cJSON_ArrayForEach(member, members)
    {
        if (++n > NORMALIZERS_MAX)
            return json_refuse(doc, MN_ERR_UNSUPPORTED, "normalizer", NULL, "too many normalizers");
        if ((status = normalizer_read(t, doc, member, true)) != MN_OK)
            return status;
    }
    return MN_OK;
}

/* To a new string. Text is valid UTF-8. */
static enum mn_status text_normalize(const char *text, size_t n_bytes, char **out, size_t *n_out,
                                     const struct mn_log *log)
{
    utf8proc_uint8_t *normalized = NULL;
    size_t n_marks = 0;

    for (size_t i = 0; i < n_bytes;) {
        utf8proc_int32_t c;
        i += (size_t)utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(n_bytes - i), &c);
        n_marks = utf8proc_get_property(c)->combining_class ? n_marks + 1 : 0;
        if (n_marks > MARKS_MAX)
            return log_fail(log, MN_ERR_USAGE, "tokenizer: more than %d combining marks in a row before byte %zu",
                            MARKS_MAX, i);
    }
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)n_bytes, &normalized,
                                      UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0)
        return log_fail(log, MN_ERR_MEMORY, "tokenizer: NFC of %zu bytes: %s", n_bytes, utf8proc_errmsg(n));
    *out = (char *)normalized;
    *n_out = (size_t)n;
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
static enum mn_status added_measure(struct mn_tokenizer *t, const struct json_doc *doc, const struct cJSON *added,
                                    size_t *n_bytes)
{
    enum mn_status status;
    const struct cJSON *node;
    uint32_t n = 0, id;
    const char *content;

    cJSON_ArrayForEach(node, added)
    {
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
static enum mn_status added_read(struct mn_tokenizer *t, const struct json_doc *doc, const struct cJSON *node,
                                 char *text, const struct mn_log *log)
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
static enum mn_status tokens_read(struct mn_tokenizer *t, const struct json_doc *doc, const struct mn_log *log)
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
    cJSON_ArrayForEach(node, added)
    {
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
static enum mn_status tokenizer_read(struct mn_tokenizer **out, struct json_doc *doc, const struct mn_log *log)
{
    enum mn_status status;
    const struct cJSON *model;
    struct mn_tokenizer *t = calloc(1, sizeof *t);

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
    mn_tokenizer_destroy(t);
    json_destroy(doc);
    return status;
}

enum mn_status mn_tokenizer_create(struct mn_tokenizer **out, const char *path, const struct mn_log *log)
{
    struct json_doc doc;
    *out = NULL;
    enum mn_status status = json_read_file(&doc, path, MN_TOKENIZER_FILE_BYTES_MAX, log);
    return status == MN_OK ? tokenizer_read(out, &doc, log) : status;
}

enum mn_status mn_tokenizer_create_from_memory(struct mn_tokenizer **out, const char *name, const void *json,
                                               size_t n_bytes, const struct mn_log *log)
{
    struct json_doc doc;
    *out = NULL;
    enum mn_status status = json_parse(&doc, name, json, n_bytes, MN_TOKENIZER_FILE_BYTES_MAX, log);
    return status == MN_OK ? tokenizer_read(out, &doc, log) : status;
}

static void added_finish(struct added_list *list)
{
    for (uint32_t i = 0; i < list->n; i++)
        free(list->tokens[i].normalized);
    free(list->tokens);
}

void mn_tokenizer_destroy(struct mn_tokenizer *tokenizer)
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

/* --- encoding --------------------------------------------------------------------------------------------------- */

struct encode_run {
    const struct mn_tokenizer *tokenizer;
    enum mn_encode_mode mode;
    const struct mn_log *log;
    struct id_list ids;
    struct bpe_scratch scratch;
    struct pretokenizer_run split;
};

static enum mn_status encode_piece(void *user, const char *piece, size_t n_bytes)
{
    struct encode_run *run = user;
    return bpe_encode(&run->tokenizer->bpe, &run->scratch, piece, n_bytes, &run->ids, run->log);
}

/* The longest added token that the text starts with: the sorted list is narrowed byte by byte. */
static const struct added_token *added_match(const struct added_list *list, const char *text, size_t n_bytes)
{
    const struct added_token *found = NULL;
    uint32_t low = 0, high = list->n; /* tokens that agree in the first `n` bytes */
    for (size_t n = 0; n < n_bytes && low < high; n++) {
        unsigned char byte = (unsigned char)text[n];
        if (!byte) /* contents have no zero byte; a terminator is none */
            break;
        uint32_t end = high;
        for (uint32_t l = low; l < end;) { /* first token whose byte is not less */
            uint32_t middle = l + (end - l) / 2;
            if ((unsigned char)list->tokens[middle].content[n] < byte)
                low = l = middle + 1;
            else
                end = middle;
        }
        for (uint32_t l = low; l < high;) { /* first token whose byte is greater */
            uint32_t middle = l + (high - l) / 2;
            if ((unsigned char)list->tokens[middle].content[n] <= byte)
                l = middle + 1;
            else
                high = middle;
        }
        if (low < high && list->tokens[low].n_bytes == n + 1)
            found = &list->tokens[low];
    }
    return found;
}

/* Rust's White_Space and \w, which the strip and word flags are defined by. */
static bool is_space(utf8proc_int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);
    return (c >= 9 && c <= 13) || c == 0x85 || category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
           category == UTF8PROC_CATEGORY_ZP;
}

static bool is_word(utf8proc_int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_ND) ||
           category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_PC || c == 0x200c || c == 0x200d ||
           (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
           (c >= 0x1f170 && c <= 0x1f189); /* the symbols that are Alphabetic */
}

static utf8proc_int32_t character_at(const char *text, size_t n_bytes, size_t at)
{
    utf8proc_int32_t c;
    utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(n_bytes - at), &c);
    return c;
}

static size_t character_before(const char *text, size_t at)
{
    do
        at--;
    while (((unsigned char)text[at] & 0xc0) == 0x80);
    return at;
}

static bool is_single_word(const char *text, size_t n_bytes, size_t start, size_t end)
{
    return (start == 0 || !is_word(character_at(text, n_bytes, character_before(text, start)))) &&
           (end == n_bytes || !is_word(character_at(text, n_bytes, end)));
}

/* Finds the next added token at or after *from. Returns NULL at the end of the text; otherwise the token and the span
 * it takes, strip flags applied; `done` is where the previous span ended. */
static const struct added_token *added_next(const struct encode_run *run, const struct added_list *list,
                                            const char *text, size_t n_bytes, size_t done, size_t from, size_t *start,
                                            size_t *end, size_t *resume)
{
    for (size_t at = from; list->n && at < n_bytes;) {
        const struct added_token *token = added_match(list, text + at, n_bytes - at);
        if (!token) {
            at++;
            continue;
        }
        *start = at;
        *end = *resume = at = at + token->n_bytes;
        if (token->special && run->mode == MN_ENCODE_PLAIN)
            continue;
        if (token->single_word && !is_single_word(text, n_bytes, *start, *end))
            continue;
        while (token->lstrip && *start > done && is_space(character_at(text, n_bytes, character_before(text, *start))))
            *start = character_before(text, *start);
        while (token->rstrip && *end < n_bytes && is_space(character_at(text, n_bytes, *end)))
            *end += utf8_length((unsigned char)text[*end]);
        return token;
    }
    return NULL;
}

/* Cuts the text at the added tokens of one list; what lies between goes through the second list, normalized, and then
 * to the pre-tokenizer. */
static enum mn_status encode_spans(struct encode_run *run, bool is_normalized, const char *text, size_t n_bytes);

static enum mn_status encode_gap(struct encode_run *run, bool is_normalized, const char *text, size_t n_bytes)
{
    if (!n_bytes)
        return MN_OK;
    if (is_normalized)
        return pretokenizer_split(&run->split, text, n_bytes, encode_piece, run, run->log);
    if (!run->tokenizer->nfc)
        return encode_spans(run, true, text, n_bytes);

    char *normalized;
    size_t n_normalized;
    enum mn_status status = text_normalize(text, n_bytes, &normalized, &n_normalized, run->log);
    if (status != MN_OK)
        return status;
    status = encode_spans(run, true, normalized, n_normalized);
    free(normalized);
    return status;
}

static enum mn_status encode_spans(struct encode_run *run, bool is_normalized, const char *text, size_t n_bytes)
{
    const struct added_list *list = is_normalized ? &run->tokenizer->normalized : &run->tokenizer->verbatim;
    const struct added_token *token;
    enum mn_status status;
    size_t done = 0, from = 0, start, end;

    while ((token = added_next(run, list, text, n_bytes, done, from, &start, &end, &from)) != NULL) {
        /* Not so when the previous token stripped spaces that this one begins with. */
        if (start > done && (status = encode_gap(run, is_normalized, text + done, start - done)) != MN_OK)
            return status;
        if (!id_list_append(&run->ids, token->id))
            return log_fail(run->log, MN_ERR_MEMORY, "tokenizer: out of memory after %zu tokens", run->ids.n);
        done = end;
    }
    return done < n_bytes ? encode_gap(run, is_normalized, text + done, n_bytes - done) : MN_OK;
}

static enum mn_status encode_init(struct encode_run *run, const struct mn_tokenizer *tokenizer, size_t n_bytes,
                                  enum mn_encode_mode mode, const struct mn_log *log)
{
    *run = (struct encode_run){.tokenizer = tokenizer, .mode = mode, .log = log};
    return pretokenizer_run_init(&run->split, &tokenizer->pretokenizer, n_bytes, log);
}

static enum mn_status encode_text(struct encode_run *run, const char *text, size_t n_bytes)
{
    if (n_bytes > MN_TOKENIZER_TEXT_BYTES_MAX)
        return log_fail(run->log, MN_ERR_USAGE, "tokenizer: a text of %zu bytes, limit %d", n_bytes,
                        MN_TOKENIZER_TEXT_BYTES_MAX);
    size_t valid = utf8_check(text, n_bytes), first = run->ids.n;
    if (valid < n_bytes)
        return log_fail(run->log, MN_ERR_USAGE, "tokenizer: the text is not UTF-8: byte 0x%02x at offset %zu",
                        (unsigned)(unsigned char)text[valid], valid);
    enum mn_status status = encode_spans(run, false, text, n_bytes);
    if (status != MN_OK || run->mode != MN_ENCODE_PLAIN)
        return status;
    /* Merges and ignore_merges can spell a special token, too: the promise is kept by looking at the result. */
    for (size_t i = first; i < run->ids.n; i++)
        if (mn_tokenizer_is_special(run->tokenizer, run->ids.ids[i]))
            return log_fail(run->log, MN_ERR_UNSUPPORTED, "tokenizer: plain text gives the special token %u",
                            run->ids.ids[i]);
    return MN_OK;
}

/* Hands over the ids, or frees them after a failure. */
static enum mn_status encode_finish(struct encode_run *run, enum mn_status status, uint32_t **ids, size_t *n_ids)
{
    bpe_scratch_destroy(&run->scratch);
    pretokenizer_run_finish(&run->split);
    if (status == MN_OK) {
        *ids = run->ids.ids;
        *n_ids = run->ids.n;
    } else {
        free(run->ids.ids);
    }
    return status;
}

enum mn_status mn_tokenizer_encode(const struct mn_tokenizer *tokenizer, const char *text, size_t n_bytes,
                                   enum mn_encode_mode mode, uint32_t **ids, size_t *n_ids, const struct mn_log *log)
{
    struct encode_run run;
    *ids = NULL;
    *n_ids = 0;
    enum mn_status status = encode_init(&run, tokenizer, n_bytes, mode, log);
    if (status == MN_OK)
        status = encode_text(&run, text, n_bytes);
    return encode_finish(&run, status, ids, n_ids);
}

/* --- decoding --------------------------------------------------------------------------------------------------- */

static const struct token *token_find(const struct mn_tokenizer *tokenizer, uint32_t id)
{
    return id < tokenizer->n_tokens && tokenizer->tokens[id].content ? &tokenizer->tokens[id] : NULL;
}

static enum mn_status id_refuse(const struct mn_tokenizer *tokenizer, uint32_t id, const struct mn_log *log)
{
    return log_fail(log, MN_ERR_USAGE, "tokenizer: id %u has no token (%u ids)", id, tokenizer->n_tokens);
}

enum mn_status mn_tokenizer_decode(const struct mn_tokenizer *tokenizer, const uint32_t *ids, size_t n_ids,
                                   bool skip_special, char **text, size_t *n_bytes, const struct mn_log *log)
{
    size_t capacity = 4, n = 0;
    char pending[4];
    uint8_t n_pending = 0;

    *text = NULL;
    *n_bytes = 0;
    for (size_t i = 0; i < n_ids; i++) {
        const struct token *token = token_find(tokenizer, ids[i]);
        if (!token)
            return id_refuse(tokenizer, ids[i], log);
        size_t need = 3 * ((size_t)token->n_bytes + 1);
        if (need > SIZE_MAX / 2 - capacity)
            return log_fail(log, MN_ERR_MEMORY, "tokenizer: the text of %zu ids is too long", n_ids);
        capacity += need;
    }
    char *out = malloc(capacity);
    if (!out)
        return log_fail(log, MN_ERR_MEMORY, "tokenizer: out of memory for the text of %zu ids", n_ids);
    for (size_t i = 0; i < n_ids; i++) {
        const struct token *token = &tokenizer->tokens[ids[i]];
        if (!(skip_special && token->special))
            n += utf8_feed(pending, &n_pending, token->bytes, token->n_bytes, out + n);
    }
    if (n_pending)
        n += replacement_write(out + n);
    out[n] = 0;
    *text = out;
    *n_bytes = n;
    return MN_OK;
}

uint32_t mn_tokenizer_vocab_size(const struct mn_tokenizer *tokenizer)
{
    return tokenizer->n_tokens;
}

bool mn_tokenizer_token_to_id(const struct mn_tokenizer *tokenizer, const char *content, uint32_t *id)
{
    uint32_t found = bpe_find(&tokenizer->bpe, content, strlen(content));
    /* Added tokens outside of the vocabulary are few; their contents may differ from what the lists search for. */
    for (uint32_t i = 0; found == BPE_NO_ID && i < tokenizer->n_tokens; i++)
        if ((i >= tokenizer->bpe.n_ids || !bpe_spelling(&tokenizer->bpe, i)) && tokenizer->tokens[i].content &&
            !strcmp(tokenizer->tokens[i].content, content))
            found = i;
    if (found != BPE_NO_ID)
        *id = found;
    return found != BPE_NO_ID;
}

bool mn_tokenizer_is_special(const struct mn_tokenizer *tokenizer, uint32_t id)
{
    const struct token *token = token_find(tokenizer, id);
    return token && token->special;
}

void mn_stream_decoder_init(struct mn_stream_decoder *decoder, const struct mn_tokenizer *tokenizer,
                            bool skip_special)
{
    decoder->tokenizer = tokenizer;
    decoder->skip_special = skip_special;
    decoder->n_pending = 0;
}

enum mn_status mn_stream_decoder_push(struct mn_stream_decoder *decoder, uint32_t id, const char **text,
                                      size_t *n_bytes, const struct mn_log *log)
{
    const struct token *token = token_find(decoder->tokenizer, id);
    *text = decoder->text;
    *n_bytes = 0;
    if (!token)
        return id_refuse(decoder->tokenizer, id, log);
    if (!(decoder->skip_special && token->special))
        *n_bytes = utf8_feed(decoder->pending, &decoder->n_pending, token->bytes, token->n_bytes, decoder->text);
    return MN_OK;
}

void mn_stream_decoder_finish(struct mn_stream_decoder *decoder, const char **text, size_t *n_bytes)
{
    *text = decoder->text;
    *n_bytes = decoder->n_pending ? replacement_write(decoder->text) : 0;
    decoder->n_pending = 0;
}

/* --- chat ------------------------------------------------------------------------------------------------------- */

enum { CHAT_BEGIN_TEXT, CHAT_BEGIN_HEADER, CHAT_END_HEADER, CHAT_END_TURN, N_CHAT_TOKENS };

static const char *const chat_tokens[N_CHAT_TOKENS] = {"<|begin_text|>", "<|begin_header|>", "<|end_header|>",
                                                       "<|end_turn|>"};
static const char chat_reply_role[] = "Huginn";

/* What one message consists of. The blank line belongs to the same stretch of text as the content, because the
 * pre-tokenizer may join line breaks with what follows. */
static enum mn_status chat_append(struct encode_run *run, const uint32_t special[N_CHAT_TOKENS], const char *role,
                                  const char *content, size_t n_bytes, bool is_reply)
{
    enum mn_status status;
    char *text = NULL;

    if (n_bytes > MN_TOKENIZER_TEXT_BYTES_MAX - 2)
        return log_fail(run->log, MN_ERR_USAGE, "chat: a message of %zu bytes, limit %d", n_bytes,
                        MN_TOKENIZER_TEXT_BYTES_MAX - 2);
    text = malloc(n_bytes + 2);
    if (!text)
        goto memory;
    memcpy(text, "\n\n", 2);
    if (n_bytes)
        memcpy(text + 2, content, n_bytes);
    if (!id_list_append(&run->ids, special[CHAT_BEGIN_HEADER]))
        goto memory;
    if ((status = encode_text(run, role, strlen(role))) != MN_OK)
        goto fail;
    if (!id_list_append(&run->ids, special[CHAT_END_HEADER]))
        goto memory;
    if ((status = encode_text(run, text, n_bytes + 2)) != MN_OK)
        goto fail;
    if (is_reply || id_list_append(&run->ids, special[CHAT_END_TURN]))
        goto fail;
memory:
    status = log_fail(run->log, MN_ERR_MEMORY, "chat: out of memory for a message of %zu bytes", n_bytes);
fail:
    free(text);
    return status;
}

enum mn_status mn_chat_encode(const struct mn_tokenizer *tokenizer, const struct mn_chat_message *messages,
                              size_t n_messages, uint32_t **ids, size_t *n_ids, const struct mn_log *log)
{
    struct encode_run run;
    uint32_t special[N_CHAT_TOKENS];
    size_t n_bytes = 0;
    enum mn_status status;

    *ids = NULL;
    *n_ids = 0;
    for (int i = 0; i < N_CHAT_TOKENS; i++)
        if (!mn_tokenizer_token_to_id(tokenizer, chat_tokens[i], &special[i]) ||
            !tokenizer->tokens[special[i]].special || !tokenizer->tokens[special[i]].plain_added)
            return log_fail(log, MN_ERR_UNSUPPORTED, "chat: the tokenizer has no plain special token '%s'",
                            chat_tokens[i]);
    for (size_t i = 0; i < n_messages; i++) {
        if (messages[i].n_bytes > MN_TOKENIZER_TEXT_BYTES_MAX - n_bytes)
            return log_fail(log, MN_ERR_USAGE, "chat: the messages are over %d bytes", MN_TOKENIZER_TEXT_BYTES_MAX);
        n_bytes += messages[i].n_bytes;
    }
    status = encode_init(&run, tokenizer, n_bytes, MN_ENCODE_PLAIN, log);
    if (status == MN_OK && !id_list_append(&run.ids, special[CHAT_BEGIN_TEXT]))
        status = log_fail(log, MN_ERR_MEMORY, "chat: out of memory");
    for (size_t i = 0; status == MN_OK && i < n_messages; i++)
        status = chat_append(&run, special, messages[i].role, messages[i].content, messages[i].n_bytes, false);
    if (status == MN_OK)
        status = chat_append(&run, special, chat_reply_role, "", 0, true);
    return encode_finish(&run, status, ids, n_ids);
}

static char *text_append(char *end, const char *text, size_t n_bytes)
{
    if (n_bytes)
        memcpy(end, text, n_bytes);
    return end + n_bytes;
}

enum mn_status mn_chat_format(const struct mn_chat_message *messages, size_t n_messages, char **text, size_t *n_bytes,
                              const struct mn_log *log)
{
    size_t capacity = 256; /* structure of one message, with room to spare */
    *text = NULL;
    *n_bytes = 0;
    for (size_t i = 0; i < n_messages; i++) {
        size_t role_bytes = strlen(messages[i].role);
        if (messages[i].n_bytes > MN_TOKENIZER_TEXT_BYTES_MAX || role_bytes > MN_TOKENIZER_TEXT_BYTES_MAX ||
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
        end = text_append(end, messages[i].content, messages[i].n_bytes);
        end = text_append(end, chat_tokens[CHAT_END_TURN], strlen(chat_tokens[CHAT_END_TURN]));
    }
    *end = 0;
    *text = out;
    *n_bytes = (size_t)(end - out);
    return MN_OK;
}
