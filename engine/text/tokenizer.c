#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "engine/base/text.h"
#include "engine/text/tokenizer_internal.h"

/* Offset of the first byte that is not part of valid UTF-8, or n_bytes. */
static size_t utf8_check(const char *text, size_t n_bytes)
{
    size_t bad_bytes;
    for (size_t i = 0, length; i < n_bytes; i += length) {
        length = (unsigned char)text[i] < 0x80 ? 1
                                               : utf8_step((const unsigned char *)text + i, n_bytes - i, &bad_bytes);
        if (!length)
            return i;
    }
    return n_bytes;
}

enum { ADDED_BYTE_STEPS = 8 }; /* what a byte of an added token takes, in steps of the regular expressions */

/* --- encoding --------------------------------------------------------------------------------------------------- */

static enum mn_status encode_piece(void *user, const char *piece, size_t n_bytes)
{
    struct encode_run *run = user;
    return bpe_encode(&run->tokenizer->bpe, &run->scratch, piece, n_bytes, &run->ids, run->log);
}

/* The longest added token that the text starts with: the sorted list is narrowed byte by byte. Bytes behind the first
 * are charged: tokens of 512 bytes that all but occur would be looked at that far at every place. */
static const struct added_token *added_match(const struct added_list *list, const char *text, size_t n_bytes,
                                             uint64_t *n_steps)
{
    const struct added_token *found = NULL;
    uint32_t low = 0, high = list->n; /* tokens that agree in the first `n` bytes */
    for (size_t n = 0; n < n_bytes && low < high; n++) {
        *n_steps += n ? ADDED_BYTE_STEPS : 0;
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
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_ND) || category == UTF8PROC_CATEGORY_NL ||
           category == UTF8PROC_CATEGORY_PC || c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9) ||
           (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
           (c >= 0x1f170 && c <= 0x1f189); /* the symbols that are Alphabetic */
}

/* Of the character at `at`, in valid UTF-8. */
static size_t character_length(const char *text, size_t at)
{
    unsigned char lead = (unsigned char)text[at];
    return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
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

/* Where a search for added tokens stands. */
struct added_search {
    const struct added_list *list;
    const char *text;
    size_t n_bytes;
    size_t done;               /* where the span of the token before ended */
    size_t from;               /* where to look on */
    size_t start, end;         /* the span of the token that was found, strip flags applied */
    size_t spaces, spaces_end; /* the last row of spaces that a token stripped */
};

/* Tokens inside of a row of spaces all strip it to its end: it is walked once. */
static void strip_right(struct added_search *s, uint64_t *n_steps)
{
    if (s->end < s->spaces || s->end >= s->spaces_end) {
        s->spaces = s->end;
        for (s->spaces_end = s->end; s->spaces_end < s->n_bytes;) {
            if (!is_space(character_at(s->text, s->n_bytes, s->spaces_end)))
                break;
            s->spaces_end += character_length(s->text, s->spaces_end);
            ++*n_steps;
        }
    }
    s->end = s->spaces_end;
}

static void strip_left(struct added_search *s, uint64_t *n_steps)
{
    while (s->start > s->done) {
        const size_t before = character_before(s->text, s->start);
        if (!is_space(character_at(s->text, s->n_bytes, before)))
            break;
        s->start = before;
        ++*n_steps;
    }
}

/* Finds the next added token; *found is NULL at the end of the text. */
static enum mn_status added_next(struct encode_run *run, struct added_search *s, const struct added_token **found)
{
    struct regex_run *budget = &run->split.matcher.regex;
    *found = NULL;
    while (s->list->n && s->from < s->n_bytes) {
        const size_t at = s->from;
        const struct added_token *token = added_match(s->list, s->text + at, s->n_bytes - at, &budget->n_steps);
        if (budget->n_steps > budget->max_steps)
            return log_fail(run->log, MN_ERR_UNSUPPORTED,
                            "tokenizer: added_tokens of tokenizer.json reached the limit of %" PRIu64
                            " steps for this text, at byte %zu of %zu",
                            budget->max_steps, at, s->n_bytes);
        if (!token) {
            s->from++;
            continue;
        }
        s->start = at;
        s->end = s->from = at + token->n_bytes;
        if (token->special && run->mode == ENCODE_PLAIN)
            continue;
        if (token->single_word && !is_single_word(s->text, s->n_bytes, s->start, s->end))
            continue;
        if (token->lstrip)
            strip_left(s, &budget->n_steps);
        if (token->rstrip)
            strip_right(s, &budget->n_steps);
        *found = token;
        break;
    }
    return MN_OK;
}

/* Cuts the text at the added tokens of one list; what lies between goes through the second list, normalized, and then
 * to the pre-tokenizer. */
static enum mn_status encode_spans(struct encode_run *run, bool is_normalized, bool at_start, const char *text,
                                   size_t n_bytes);

/* `at_start`: the gap begins the whole text. */
static enum mn_status encode_gap(struct encode_run *run, bool is_normalized, bool at_start, const char *text,
                                 size_t n_bytes)
{
    if (!n_bytes)
        return MN_OK;
    if (is_normalized) {
        run->split.at_start = at_start;
        return pretokenizer_split(&run->split, text, n_bytes, encode_piece, run, run->log);
    }
    if (!run->tokenizer->normalizer.n_steps)
        return encode_spans(run, true, at_start, text, n_bytes);

    char *normalized;
    size_t n_normalized;
    enum mn_status status = normalizer_apply(&run->tokenizer->normalizer, &run->split.matcher, text, n_bytes,
                                             &normalized, &n_normalized, run->log);
    if (status)
        return status;
    status = encode_spans(run, true, at_start, normalized, n_normalized);
    free(normalized);
    return status;
}

static enum mn_status encode_spans(struct encode_run *run, bool is_normalized, bool at_start, const char *text,
                                   size_t n_bytes)
{
    struct added_search s = {.list = is_normalized ? &run->tokenizer->normalized : &run->tokenizer->verbatim,
                             .text = text,
                             .n_bytes = n_bytes};
    const struct added_token *token;
    enum mn_status status = added_next(run, &s, &token);
    while (!status && token) {
        /* Not so when the previous token stripped spaces that this one begins with. */
        if (s.start > s.done)
            status = encode_gap(run, is_normalized, at_start && !s.done, text + s.done, s.start - s.done);
        if (status)
            return status;
        if (!id_vector_append(&run->ids, token->id))
            return log_fail(run->log, MN_ERR_MEMORY, "tokenizer: out of memory after %zu tokens", run->ids.n);
        s.done = s.end;
        status = added_next(run, &s, &token);
    }
    if (!status && s.done < n_bytes)
        status = encode_gap(run, is_normalized, at_start && !s.done, text + s.done, n_bytes - s.done);
    return status;
}

void encode_init(struct encode_run *run, const struct tokenizer *tokenizer, size_t n_bytes, enum encode_mode mode,
                 const struct mn_log *log)
{
    *run = (struct encode_run){.tokenizer = tokenizer, .mode = mode, .log = log};
    pretokenizer_run_init(&run->split, &tokenizer->pretokenizer, n_bytes);
}

enum mn_status encode_text(struct encode_run *run, const char *text, size_t n_bytes)
{
    if (n_bytes > TOKENIZER_TEXT_BYTES_MAX)
        return log_fail(run->log, MN_ERR_USAGE, "tokenizer: a text of %zu bytes, limit %d", n_bytes,
                        TOKENIZER_TEXT_BYTES_MAX);
    size_t valid = utf8_check(text, n_bytes), first = run->ids.n;
    if (valid < n_bytes)
        return log_fail(run->log, MN_ERR_USAGE, "tokenizer: the text is not UTF-8: byte 0x%02x at offset %zu",
                        (unsigned)(unsigned char)text[valid], valid);
    enum mn_status status = encode_spans(run, false, !first, text, n_bytes);
    if (status || run->mode != ENCODE_PLAIN)
        return status;
    /* Merges and ignore_merges can spell a special token, too: the promise is kept by looking at the result. */
    for (size_t i = first; i < run->ids.n; i++)
        if (tokenizer_is_special(run->tokenizer, run->ids.ids[i]))
            return log_fail(run->log, MN_ERR_UNSUPPORTED, "tokenizer: plain text gives the special token %u",
                            run->ids.ids[i]);
    return MN_OK;
}

enum mn_status encode_finish(struct encode_run *run, enum mn_status status, uint32_t **ids, size_t *n_ids)
{
    bpe_scratch_destroy(&run->scratch);
    pretokenizer_run_finish(&run->split);
    if (status) {
        free(run->ids.ids);
        return status;
    }
    *ids = run->ids.ids;
    *n_ids = run->ids.n;
    return MN_OK;
}

enum mn_status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t n_bytes,
                                enum encode_mode mode, uint32_t **ids, size_t *n_ids, const struct mn_log *log)
{
    struct encode_run run;
    *ids = NULL;
    *n_ids = 0;
    encode_init(&run, tokenizer, n_bytes, mode, log);
    return encode_finish(&run, encode_text(&run, text, n_bytes), ids, n_ids);
}

/* --- decoding --------------------------------------------------------------------------------------------------- */

static const struct token *token_find(const struct tokenizer *tokenizer, uint32_t id)
{
    return id < tokenizer->n_tokens && tokenizer->tokens[id].content ? &tokenizer->tokens[id] : NULL;
}

static enum mn_status id_refuse(const struct tokenizer *tokenizer, uint32_t id, const struct mn_log *log)
{
    return log_fail(log, MN_ERR_USAGE, "tokenizer: id %u has no token (%u ids)", id, tokenizer->n_tokens);
}

static const struct spelling *spelling_find(const struct tokenizer *tokenizer, const struct token *token,
                                            const struct decode_state *state)
{
    size_t id = (size_t)(token - tokenizer->tokens);
    return tokenizer->first_spellings && !state->has_tokens ? &tokenizer->first_spellings[id]
                                                            : &tokenizer->spellings[id];
}

enum mn_status tokenizer_decode(const struct tokenizer *tokenizer, const uint32_t *ids, size_t n_ids, bool skip_special,
                                char **text, size_t *n_bytes, const struct mn_log *log)
{
    size_t capacity = 4, n = 0;
    struct decode_state state;

    *text = NULL;
    *n_bytes = 0;
    for (size_t i = 0; i < n_ids; i++) {
        if (!token_find(tokenizer, ids[i]))
            return id_refuse(tokenizer, ids[i], log);
        /* Bytes may become U+FFFD, of three; those that fell back are spelled with six. */
        size_t longest = tokenizer->spellings[ids[i]].n_bytes;
        if (tokenizer->first_spellings && tokenizer->first_spellings[ids[i]].n_bytes > longest)
            longest = tokenizer->first_spellings[ids[i]].n_bytes;
        size_t need = 3 * (longest + 1);
        if (need > SIZE_MAX / 2 - capacity)
            return log_fail(log, MN_ERR_MEMORY, "tokenizer: the text of %zu ids is too long", n_ids);
        capacity += need;
    }
    char *out = malloc(capacity);
    if (!out)
        return log_fail(log, MN_ERR_MEMORY, "tokenizer: out of memory for the text of %zu ids", n_ids);
    decode_start(&state, &tokenizer->decoder);
    for (size_t i = 0; i < n_ids; i++) {
        const struct token *token = &tokenizer->tokens[ids[i]];
        if (!(skip_special && token->special))
            n += decode_push(&state, &tokenizer->decoder, spelling_find(tokenizer, token, &state), out + n);
    }
    n += decode_finish(&state, &tokenizer->decoder, out + n);
    out[n] = 0;
    *text = out;
    *n_bytes = n;
    return MN_OK;
}

uint32_t tokenizer_vocab_size(const struct tokenizer *tokenizer)
{
    return tokenizer->n_tokens;
}

bool tokenizer_begin_token(const struct tokenizer *tokenizer, bool *is_said, uint32_t *id)
{
    *is_said = tokenizer->begin.is_said;
    *id = tokenizer->begin.id;
    return tokenizer->begin.has_token;
}

bool tokenizer_token_to_id(const struct tokenizer *tokenizer, const char *content, uint32_t *id)
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

bool tokenizer_is_special(const struct tokenizer *tokenizer, uint32_t id)
{
    const struct token *token = token_find(tokenizer, id);
    return token && token->special;
}

void stream_decoder_init(struct stream_decoder *decoder, const struct tokenizer *tokenizer, bool skip_special)
{
    decoder->tokenizer = tokenizer;
    decoder->skip_special = skip_special;
    decode_start(&decoder->state, &tokenizer->decoder);
}

enum mn_status stream_decoder_push(struct stream_decoder *decoder, uint32_t id, const char **text, size_t *n_bytes,
                                   const struct mn_log *log)
{
    const struct token *token = token_find(decoder->tokenizer, id);
    *text = decoder->text;
    *n_bytes = 0;
    if (!token)
        return id_refuse(decoder->tokenizer, id, log);
    if (!(decoder->skip_special && token->special))
        *n_bytes = decode_push(&decoder->state, &decoder->tokenizer->decoder,
                               spelling_find(decoder->tokenizer, token, &decoder->state), decoder->text);
    return MN_OK;
}

void stream_decoder_finish(struct stream_decoder *decoder, const char **text, size_t *n_bytes)
{
    *text = decoder->text;
    *n_bytes = decode_finish(&decoder->state, &decoder->tokenizer->decoder, decoder->text);
}
