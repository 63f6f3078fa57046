#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/bpe_internal.h"

struct bpe_symbol {
    uint32_t id;        /* BPE_NO_ID once merged into its left neighbour */
    int32_t prev, next; /* -1 at the ends */
};

struct bpe_candidate {
    uint32_t rank, position, id;
};

/* --- merging ---------------------------------------------------------------------------------------------------- */

static bool candidate_before(const struct bpe_candidate *a, const struct bpe_candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->position < b->position;
}

static void heap_push(struct bpe_scratch *s, struct bpe_candidate candidate)
{
    size_t i = s->n_heap++;
    assert(s->n_heap <= 2 * s->capacity);
    for (; i > 0 && candidate_before(&candidate, &s->heap[(i - 1) / 2]); i = (i - 1) / 2, s->n_operations++)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = candidate;
    s->n_operations++;
}

static struct bpe_candidate heap_pop(struct bpe_scratch *s)
{
    struct bpe_candidate top = s->heap[0], last = s->heap[--s->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < s->n_heap; i = child, s->n_operations++) {
        if (child + 1 < s->n_heap && candidate_before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!candidate_before(&s->heap[child], &last))
            break;
        s->heap[i] = s->heap[child];
    }
    s->heap[i] = last;
    s->n_operations++;
    return top;
}

static void pair_push(const struct bpe *bpe, struct bpe_scratch *s, int32_t position)
{
    if (position < 0 || s->symbols[position].next < 0)
        return;
    const struct bpe_symbol *left = &s->symbols[position];
    const struct bpe_merge *merge = bpe_merge_find(bpe, left->id, s->symbols[left->next].id, &s->n_operations);
    if (merge)
        heap_push(s, (struct bpe_candidate){.rank = merge->rank, .position = (uint32_t)position, .id = merge->id});
}

static void symbols_merge(const struct bpe *bpe, struct bpe_scratch *s)
{
    while (s->n_heap) {
        struct bpe_candidate top = heap_pop(s);
        struct bpe_symbol *left = &s->symbols[top.position];
        /* Stale candidates stay in the heap until they surface: their symbol is gone or forms another pair now. */
        if (left->id == BPE_NO_ID || left->next < 0)
            continue;
        struct bpe_symbol *right = &s->symbols[left->next];
        const struct bpe_merge *merge = bpe_merge_find(bpe, left->id, right->id, &s->n_operations);
        if (!merge || merge->id != top.id)
            continue;
        left->id = top.id;
        left->next = right->next;
        if (right->next >= 0)
            s->symbols[right->next].prev = (int32_t)top.position;
        right->id = BPE_NO_ID;
        pair_push(bpe, s, left->prev);
        pair_push(bpe, s, (int32_t)top.position);
    }
}

/* Room for n symbols; those that are there stay. */
static enum mn_status symbols_reserve(struct bpe_scratch *s, size_t n, const struct mn_log *log)
{
    if (n <= s->capacity)
        return MN_OK;
    if (n > BPE_PIECE_BYTES_MAX)
        return log_fail(log, MN_ERR_MEMORY, "tokenizer: a pre-token of more than %d symbols", BPE_PIECE_BYTES_MAX);
    size_t capacity = s->capacity ? s->capacity : 64;
    while (capacity < n)
        capacity *= 2;
    struct bpe_symbol *symbols = realloc(s->symbols, capacity * sizeof *symbols);
    if (symbols)
        s->symbols = symbols;
    /* n - 1 candidates to start with, and each of at most n - 1 merges removes one and adds at most two. */
    struct bpe_candidate *heap = symbols ? realloc(s->heap, 2 * capacity * sizeof *heap) : NULL;
    if (!heap)
        return log_fail(log, MN_ERR_MEMORY, "tokenizer: out of memory for a pre-token of %zu symbols", n);
    s->heap = heap;
    s->capacity = capacity;
    return MN_OK;
}

static enum mn_status symbol_add(struct bpe_scratch *s, uint32_t id, const struct mn_log *log)
{
    enum mn_status status = symbols_reserve(s, s->n_symbols + 1, log);
    if (status)
        return status;
    int32_t n = (int32_t)s->n_symbols++;
    s->symbols[n] = (struct bpe_symbol){id, n - 1, n + 1};
    return MN_OK;
}

static enum mn_status token_append(struct id_vector *out, uint32_t id, const struct mn_log *log)
{
    if (!id_vector_append(out, id))
        return log_fail(log, MN_ERR_MEMORY, "tokenizer: out of memory after %zu tokens", out->n);
    return MN_OK;
}

/* Merges the symbols, appends what they became, and starts afresh. */
static enum mn_status symbols_finish(const struct bpe *bpe, struct bpe_scratch *s, struct id_vector *out,
                                     const struct mn_log *log)
{
    enum mn_status status = MN_OK;
    if (!s->n_symbols)
        return MN_OK;
    s->symbols[s->n_symbols - 1].next = -1;
    s->n_heap = 0;
    for (size_t i = 0; i < s->n_symbols; i++)
        pair_push(bpe, s, (int32_t)i);
    symbols_merge(bpe, s);
    for (int32_t i = 0; i >= 0 && !status; i = s->symbols[i].next)
        status = token_append(out, s->symbols[i].id, log);
    s->n_symbols = 0;
    return status;
}

/* --- bytes ------------------------------------------------------------------------------------------------------ */

/* One symbol per byte; fewer when unknown bytes are fused. */
static enum mn_status encode_bytes(const struct bpe *bpe, struct bpe_scratch *s, const char *piece, size_t n_bytes,
                                   struct id_vector *out, const struct mn_log *log)
{
    bool was_unknown = false;
    enum mn_status status = symbols_reserve(s, n_bytes, log);
    for (size_t i = 0; i < n_bytes && !status; i++) {
        uint32_t id = bpe->byte_ids[(unsigned char)piece[i]];
        bool unknown = id == BPE_NO_ID;
        if (unknown && bpe->unk_id == BPE_NO_ID)
            return log_fail(log, MN_ERR_UNSUPPORTED,
                            "tokenizer: the vocabulary has no token for byte 0x%02x and no unknown token",
                            (unsigned)(unsigned char)piece[i]);
        if (!(unknown && was_unknown && bpe->fuse_unk))
            status = symbol_add(s, unknown ? bpe->unk_id : id, log);
        was_unknown = unknown;
    }
    return status ? status : symbols_finish(bpe, s, out, log);
}

/* The token of a whole piece, or BPE_NO_ID. */
static uint32_t piece_find(const struct bpe *bpe, const char *piece, size_t n_bytes)
{
    char spelling[BPE_TOKEN_BYTES_MAX + 2];
    size_t length = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        if (length >= BPE_TOKEN_BYTES_MAX)
            return BPE_NO_ID;
        length += bpe_byte_spell(bpe, (unsigned char)piece[i], spelling + length);
    }
    return bpe_find(bpe, spelling, length);
}

/* --- characters ------------------------------------------------------------------------------------------------- */

enum { CROSSING_BITS = 20 };

static bool crossing_test(const struct bpe *bpe, uint32_t left, uint32_t right)
{
    uint64_t bit = bpe_pair_hash(left, right) >> (64 - CROSSING_BITS);
    return bpe->crossings[bit / 64] >> bit % 64 & 1;
}

/* Code point of the character at text, which is valid UTF-8. */
static uint32_t character_read(const char *text, size_t *n_bytes)
{
    const unsigned char *p = (const unsigned char *)text;
    if (p[0] < 0x80)
        return *n_bytes = 1, p[0];
    if (p[0] < 0xe0)
        return *n_bytes = 2, (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
    if (p[0] < 0xf0)
        return *n_bytes = 3, (p[0] & 0xfu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    return *n_bytes = 4, (p[0] & 7u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
}

enum mn_status bpe_use_characters(struct bpe *bpe, const char *file, const struct mn_log *log)
{
    size_t n_bytes;
    bpe->crossings = calloc((size_t)1 << (CROSSING_BITS - 6), sizeof *bpe->crossings);
    if (!bpe->crossings)
        return log_fail(log, MN_ERR_MEMORY, "%s: out of memory for the merges", file);
    for (uint32_t i = 0; i <= bpe->merge_mask; i++) {
        if (bpe->merges[i].left == BPE_NO_ID)
            continue;
        const char *left = bpe_spelling(bpe, bpe->merges[i].left), *right = bpe_spelling(bpe, bpe->merges[i].right);
        const char *last = left + strlen(left);
        if (last == left || !*right) /* empty, and so no token of any text */
            continue;
        do
            last--;
        while (last > left && ((unsigned char)*last & 0xc0) == 0x80);
        uint64_t bit = bpe_pair_hash(character_read(last, &n_bytes), character_read(right, &n_bytes));
        bit >>= 64 - CROSSING_BITS;
        bpe->crossings[bit / 64] |= UINT64_C(1) << bit % 64;
    }
    return MN_OK;
}

/* The bytes of a character as tokens <0x00> to <0xFF>; *is_known: there is one for each of them. */
static enum mn_status fallback_add(const struct bpe *bpe, struct bpe_scratch *s, const char *text, size_t n_bytes,
                                   bool *is_known, const struct mn_log *log)
{
    enum mn_status status = MN_OK;
    *is_known = true;
    for (size_t i = 0; i < n_bytes; i++)
        *is_known = *is_known && bpe->fallback_ids[(unsigned char)text[i]] != BPE_NO_ID;
    for (size_t i = 0; i < n_bytes && *is_known && !status; i++)
        status = symbol_add(s, bpe->fallback_ids[(unsigned char)text[i]], log);
    return status;
}

static enum mn_status unknown_refuse(uint32_t c, const struct mn_log *log)
{
    return log_fail(log, MN_ERR_UNSUPPORTED, "tokenizer: the vocabulary has no token for U+%04X and no unknown token",
                    (unsigned)c);
}

/* Between two characters that no merge joins, the symbols so far are merged by themselves: what merges beside them
 * cannot matter, and a text without pre-tokens is not one word of a megabyte. An unknown token waits for the next known
 * character, so that it can be fused; as in the HF library, bytes that fall back meanwhile come before it. */
static enum mn_status encode_characters(const struct bpe *bpe, struct bpe_scratch *s, const char *piece, size_t n_bytes,
                                        struct id_vector *out, const struct mn_log *log)
{
    uint32_t last = 0; /* the character that the symbols so far end with */
    bool is_unknown = false;
    enum mn_status status = MN_OK;
    for (size_t i = 0, length; i < n_bytes && !status; i += length) {
        uint32_t c = character_read(piece + i, &length), first = c, end = c;
        uint32_t id = c < 128 ? bpe->ascii_ids[c] : bpe_find(bpe, piece + i, length);
        bool falls_back = false;
        if (id == BPE_NO_ID) {
            first = '<';
            end = '>';
        }
        if (s->n_symbols && !is_unknown && !crossing_test(bpe, last, first))
            status = symbols_finish(bpe, s, out, log);
        last = end;
        if (!status && id != BPE_NO_ID && is_unknown) {
            status = symbol_add(s, bpe->unk_id, log);
            is_unknown = false;
        }
        if (!status && id != BPE_NO_ID)
            status = symbol_add(s, id, log);
        else if (!status)
            status = fallback_add(bpe, s, piece + i, length, &falls_back, log);
        if (status || id != BPE_NO_ID || falls_back)
            continue;
        if (bpe->unk_id == BPE_NO_ID)
            return unknown_refuse(c, log);
        if (is_unknown && !bpe->fuse_unk)
            status = symbol_add(s, bpe->unk_id, log);
        is_unknown = true;
    }
    if (!status && is_unknown)
        status = symbol_add(s, bpe->unk_id, log);
    return status ? status : symbols_finish(bpe, s, out, log);
}

enum mn_status bpe_encode(const struct bpe *bpe, struct bpe_scratch *scratch, const char *piece, size_t n_bytes,
                          struct id_vector *out, const struct mn_log *log)
{
    if (!n_bytes)
        return MN_OK;
    if (!bpe->crossings && n_bytes > BPE_PIECE_BYTES_MAX)
        return log_fail(log, MN_ERR_MEMORY, "tokenizer: a pre-token of %zu bytes, limit %d", n_bytes,
                        BPE_PIECE_BYTES_MAX);
    uint32_t whole = BPE_NO_ID;
    if (bpe->ignore_merges)
        whole = bpe->crossings ? bpe_find(bpe, piece, n_bytes) : piece_find(bpe, piece, n_bytes);
    if (whole != BPE_NO_ID)
        return token_append(out, whole, log);
    scratch->n_symbols = 0;
    return bpe->crossings ? encode_characters(bpe, scratch, piece, n_bytes, out, log)
                          : encode_bytes(bpe, scratch, piece, n_bytes, out, log);
}

void bpe_scratch_destroy(struct bpe_scratch *scratch)
{
    if (!scratch)
        return;
    free(scratch->symbols);
    free(scratch->heap);
    *scratch = (struct bpe_scratch){0};
}
