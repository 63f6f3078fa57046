#include "engine/text/bpe.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"

struct bpe_symbol {
    uint32_t id;        /* BPE_NO_ID once merged into its left neighbour */
    int32_t prev, next; /* -1 at the ends */
};

struct bpe_candidate {
    uint32_t rank, position, id;
};

bool id_vector_append(struct id_vector *list, uint32_t id)
{
    if (list->n == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 64;
        uint32_t *ids = realloc(list->ids, capacity * sizeof *ids);
        if (!ids)
            return false;
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->n++] = id;
    return true;
}

/* --- tables ---------------------------------------------------------------------------------------------------- */

static uint64_t hash_mix(uint64_t h)
{
    h ^= h >> 33;
    h *= UINT64_C(0xff51afd7ed558ccd);
    h ^= h >> 33;
    h *= UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ h >> 33;
}

static uint64_t spelling_hash(const char *spelling, size_t n_bytes)
{
    return hash_mix(hash_bytes(HASH_START, spelling, n_bytes));
}

/* Slots for n entries at a load of at most one half, minus one: linear probing stays short. */
static uint32_t table_mask(uint32_t n)
{
    uint32_t size = 16;
    while (size < 2 * n)
        size *= 2;
    return size - 1;
}

uint32_t bpe_find(const struct bpe *bpe, const char *spelling, size_t n_bytes)
{
    if (n_bytes > BPE_TOKEN_BYTES_MAX)
        return BPE_NO_ID;
    for (uint64_t slot = spelling_hash(spelling, n_bytes);; slot++) {
        uint32_t id = bpe->slots[slot & bpe->slot_mask];
        if (id == BPE_NO_ID)
            return BPE_NO_ID;
        const char *other = bpe->spellings + bpe->offsets[id];
        if (strlen(other) == n_bytes && !memcmp(other, spelling, n_bytes))
            return id;
    }
}

const char *bpe_spelling(const struct bpe *bpe, uint32_t id)
{
    assert(id < bpe->n_ids);
    return bpe->offsets[id] == BPE_NO_ID ? NULL : bpe->spellings + bpe->offsets[id];
}

static bool slot_insert(struct bpe *bpe, uint32_t id, const char *spelling, size_t n_bytes)
{
    uint64_t slot = spelling_hash(spelling, n_bytes);
    for (unsigned probes = 0; probes < BPE_PROBES_MAX; probes++, slot++) {
        if (bpe->slots[slot & bpe->slot_mask] == BPE_NO_ID) {
            bpe->slots[slot & bpe->slot_mask] = id;
            return true;
        }
    }
    return false;
}

static const struct bpe_merge *merge_find(const struct bpe *bpe, uint32_t left, uint32_t right, uint64_t *n_operations)
{
    for (uint64_t slot = hash_mix((uint64_t)left << 32 | right);; slot++) {
        const struct bpe_merge *merge = &bpe->merges[slot & bpe->merge_mask];
        ++*n_operations;
        if (merge->left == BPE_NO_ID)
            return NULL;
        if (merge->left == left && merge->right == right)
            return merge;
    }
}

/* A pair listed twice keeps its last rank, as in the HF library. */
static bool merge_insert(struct bpe *bpe, struct bpe_merge new_merge)
{
    uint64_t slot = hash_mix((uint64_t)new_merge.left << 32 | new_merge.right);
    for (unsigned probes = 0; probes < BPE_PROBES_MAX; probes++, slot++) {
        struct bpe_merge *merge = &bpe->merges[slot & bpe->merge_mask];
        if (merge->left == BPE_NO_ID || (merge->left == new_merge.left && merge->right == new_merge.right)) {
            *merge = new_merge;
            return true;
        }
    }
    return false;
}

/* --- the byte alphabet ----------------------------------------------------------------------------------------- */

/* GPT-2's table: bytes that are printable Latin-1 characters stand for themselves, the others, in order, for U+0100
 * upwards. So a space is spelled U+0120. */
static void alphabet_init(struct bpe *bpe)
{
    uint16_t next = 0x100;
    for (unsigned c = 0; c < BPE_ALPHABET_END; c++)
        bpe->char_bytes[c] = -1;
    for (unsigned b = 0; b < 256; b++) {
        bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        bpe->byte_chars[b] = printable ? (uint16_t)b : next++;
        bpe->char_bytes[bpe->byte_chars[b]] = (int16_t)b;
    }
}

static size_t byte_spell(const struct bpe *bpe, unsigned char byte, char *out)
{
    unsigned c = bpe->byte_chars[byte];
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = (char)(0xc0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3f));
    return 2;
}

size_t bpe_spelling_to_bytes(const struct bpe *bpe, const char *spelling, size_t n_bytes, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < n_bytes; n++) {
        unsigned char lead = (unsigned char)spelling[i];
        unsigned c = lead;
        size_t length = 1;
        if (lead >= 0xc0 && i + 1 < n_bytes) {
            /* Longer sequences start at 0xe0 and decode to something past the alphabet here. */
            c = (lead & 0x3fu) << 6 | ((unsigned char)spelling[i + 1] & 0x3fu);
            length = 2;
        }
        if (c >= BPE_ALPHABET_END || bpe->char_bytes[c] < 0) {
            memcpy(out, spelling, n_bytes);
            return n_bytes;
        }
        out[n] = (char)bpe->char_bytes[c];
        i += length;
    }
    return n;
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

/* Checks ids and spellings; how many there are, and the bytes of all spellings. */
static enum mn_status vocab_measure(uint32_t *n_tokens, size_t *n_bytes, struct bpe *bpe, const struct json_doc *doc,
                                    const struct cJSON *vocab)
{
    const struct cJSON *node;
    *n_tokens = 0;
    *n_bytes = 0;
    cJSON_ArrayForEach (node, vocab) {
        uint32_t id;
        enum mn_status status = json_as_u32(doc, "model.vocab", node, 0, BPE_IDS_MAX - 1, &id);
        if (status)
            return status;
        size_t length = strlen(node->string);
        if (length > BPE_TOKEN_BYTES_MAX)
            return log_fail(doc->log, MN_ERR_FORMAT,
                            "%s: key 'model.vocab': id %u has a spelling of %zu bytes, limit %d", doc->file, id, length,
                            BPE_TOKEN_BYTES_MAX);
        *n_bytes += length + 1;
        ++*n_tokens;
        if (id >= bpe->n_ids)
            bpe->n_ids = id + 1;
    }
    if (!*n_tokens)
        return json_refuse(doc, MN_ERR_FORMAT, "model.vocab", NULL, "the vocabulary is empty");
    if (*n_bytes >= BPE_NO_ID)
        return json_refuse(doc, MN_ERR_FORMAT, "model.vocab", NULL, "the spellings are too long in all");
    return MN_OK;
}

static enum mn_status vocab_reserve(struct bpe *bpe, const struct json_doc *doc, uint32_t n_tokens, size_t n_bytes)
{
    bpe->slot_mask = table_mask(n_tokens);
    bpe->spellings = malloc(n_bytes);
    bpe->offsets = malloc(bpe->n_ids * sizeof *bpe->offsets);
    bpe->slots = malloc(((size_t)bpe->slot_mask + 1) * sizeof *bpe->slots);
    if (!bpe->spellings || !bpe->offsets || !bpe->slots)
        return log_fail(doc->log, MN_ERR_MEMORY, "%s: out of memory for a vocabulary of %u tokens", doc->file,
                        n_tokens);
    memset(bpe->offsets, 0xff, bpe->n_ids * sizeof *bpe->offsets);
    memset(bpe->slots, 0xff, ((size_t)bpe->slot_mask + 1) * sizeof *bpe->slots);
    return MN_OK;
}

static enum mn_status vocab_fill(struct bpe *bpe, const struct json_doc *doc, const struct cJSON *vocab)
{
    const struct cJSON *node;
    uint32_t offset = 0;
    cJSON_ArrayForEach (node, vocab) {
        uint32_t id = (uint32_t)node->valuedouble; /* checked by vocab_measure */
        size_t length = strlen(node->string);
        if (bpe->offsets[id] != BPE_NO_ID)
            return json_refuse(doc, MN_ERR_FORMAT, "model.vocab", node, "an id is used twice");
        if (!slot_insert(bpe, id, node->string, length))
            return json_refuse(doc, MN_ERR_FORMAT, "model.vocab", node, "spellings collide by construction");
        memcpy(bpe->spellings + offset, node->string, length + 1);
        bpe->offsets[id] = offset;
        offset += (uint32_t)length + 1;
    }
    return MN_OK;
}

static void byte_ids_init(struct bpe *bpe)
{
    for (unsigned b = 0; b < 256; b++) {
        char spelling[2];
        size_t length = byte_spell(bpe, (unsigned char)b, spelling);
        bpe->byte_ids[b] = bpe_find(bpe, spelling, length);
    }
}

static enum mn_status vocab_read(struct bpe *bpe, const struct json_doc *doc, const struct cJSON *vocab)
{
    uint32_t n_tokens;
    size_t n_bytes;
    enum mn_status status = vocab_measure(&n_tokens, &n_bytes, bpe, doc, vocab);
    if (!status)
        status = vocab_reserve(bpe, doc, n_tokens, n_bytes);
    if (!status)
        status = vocab_fill(bpe, doc, vocab);
    if (!status)
        byte_ids_init(bpe);
    return status;
}

/* The two parts of a merge, "a b" or ["a", "b"]. Returns NULL, or what is wrong with it. */
static const char *merge_parts(const struct cJSON *node, const char *parts[2], size_t lengths[2])
{
    if (cJSON_IsString(node)) {
        const char *space = strchr(node->valuestring, ' ');
        if (!space || strchr(space + 1, ' '))
            return "a merge spelled as a string has exactly one space";
        parts[0] = node->valuestring;
        lengths[0] = (size_t)(space - node->valuestring);
        parts[1] = space + 1;
        lengths[1] = strlen(space + 1);
        return NULL;
    }
    if (!cJSON_IsArray(node) || cJSON_GetArraySize(node) != 2)
        return "a merge is a string or a pair of strings";
    for (int i = 0; i < 2; i++) {
        const struct cJSON *part = cJSON_GetArrayItem(node, i);
        if (!cJSON_IsString(part))
            return "a merge is a string or a pair of strings";
        parts[i] = part->valuestring;
        lengths[i] = strlen(part->valuestring);
    }
    return NULL;
}

static enum mn_status merge_read(struct bpe *bpe, const struct json_doc *doc, const struct cJSON *node,
                                 const struct mn_log *log)
{
    const char *parts[2];
    size_t lengths[2];
    const char *why = merge_parts(node, parts, lengths);
    if (why)
        return log_fail(log, MN_ERR_FORMAT, "%s: key 'model.merges': entry %u: %s", doc->file, bpe->n_merges, why);

    struct bpe_merge merge = {.rank = bpe->n_merges, .id = BPE_NO_ID};
    merge.left = bpe_find(bpe, parts[0], lengths[0]);
    merge.right = bpe_find(bpe, parts[1], lengths[1]);
    if (merge.left != BPE_NO_ID && merge.right != BPE_NO_ID) {
        char joined[2 * BPE_TOKEN_BYTES_MAX];
        memcpy(joined, parts[0], lengths[0]);
        memcpy(joined + lengths[0], parts[1], lengths[1]);
        merge.id = bpe_find(bpe, joined, lengths[0] + lengths[1]);
    }
    if (merge.id == BPE_NO_ID)
        return log_fail(log, MN_ERR_FORMAT,
                        "%s: key 'model.merges': entry %u: '%.40s' + '%.40s' or its result is not in the vocabulary",
                        doc->file, bpe->n_merges, parts[0], parts[1]);
    if (!merge_insert(bpe, merge))
        return log_fail(log, MN_ERR_FORMAT, "%s: key 'model.merges': entry %u: pairs collide by construction",
                        doc->file, bpe->n_merges);
    bpe->n_merges++;
    return MN_OK;
}

static enum mn_status merges_read(struct bpe *bpe, const struct json_doc *doc, const struct cJSON *merges,
                                  const struct mn_log *log)
{
    uint32_t n = 0;
    const struct cJSON *node;
    cJSON_ArrayForEach (node, merges) {
        if (++n > BPE_MERGES_MAX)
            return json_refuse(doc, MN_ERR_FORMAT, "model.merges", NULL, "more merges than the limit of 2097152");
    }
    bpe->merge_mask = table_mask(n);
    bpe->merges = malloc(((size_t)bpe->merge_mask + 1) * sizeof *bpe->merges);
    if (!bpe->merges)
        return log_fail(log, MN_ERR_MEMORY, "%s: out of memory for %u merges", doc->file, n);
    memset(bpe->merges, 0xff, ((size_t)bpe->merge_mask + 1) * sizeof *bpe->merges);

    cJSON_ArrayForEach (node, merges) {
        /* Files converted from a merges.txt may carry its first line; the HF library skips it too. */
        if (cJSON_IsString(node) && !strncmp(node->valuestring, "#version", 8))
            continue;
        enum mn_status status = merge_read(bpe, doc, node, log);
        if (status)
            return status;
    }
    /* Without merges every text falls apart into bytes: it still runs and still prints, only wrongly. */
    if (!bpe->n_merges)
        return json_refuse(doc, MN_ERR_FORMAT, "model.merges", NULL, "a BPE model without a single merge");
    return MN_OK;
}

static enum mn_status affixes_check(const struct json_doc *doc, const struct cJSON *model)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (int i = 0; i < 2; i++) {
        const char *text;
        enum mn_status status = json_get_string_or(doc, model, affixes[i], BPE_TOKEN_BYTES_MAX, "", &text);
        if (status)
            return status;
        if (*text)
            return json_refuse(doc, MN_ERR_UNSUPPORTED, affixes[i], json_find(model, affixes[i]),
                               "byte-level BPE with affixes is not supported");
    }
    return MN_OK;
}

static enum mn_status options_read(struct bpe *bpe, const struct json_doc *doc, const struct cJSON *model)
{
    double dropout = 0;
    bool byte_fallback = false;
    enum mn_status status = affixes_check(doc, model);
    if (!status)
        status = json_get_double_or(doc, model, "dropout", 0, 1, 0, &dropout);
    if (!status && dropout > 0)
        status = json_refuse(doc, MN_ERR_UNSUPPORTED, "dropout", json_find(model, "dropout"),
                             "random merges are not supported");
    if (!status)
        status = json_get_bool_or(doc, model, "byte_fallback", false, &byte_fallback);
    if (!status && byte_fallback)
        status = json_refuse(doc, MN_ERR_UNSUPPORTED, "byte_fallback", json_find(model, "byte_fallback"),
                             "byte fallback belongs to character-level BPE; only byte-level BPE is supported");
    if (!status)
        status = json_get_bool_or(doc, model, "fuse_unk", false, &bpe->fuse_unk);
    if (!status)
        status = json_get_bool_or(doc, model, "ignore_merges", false, &bpe->ignore_merges);
    return status;
}

/* Files older than the `type` key exist and are BPE when they have merges. */
static enum mn_status type_check(const struct json_doc *doc, const struct cJSON *model)
{
    const char *type;
    enum mn_status status = json_get_string_or(doc, model, "type", 64, "BPE", &type);
    if (!status && strcmp(type, "BPE"))
        status = json_refuse(doc, MN_ERR_UNSUPPORTED, "model.type", json_find(model, "type"), "only BPE is supported");
    return status;
}

static enum mn_status unk_read(struct bpe *bpe, const struct json_doc *doc, const struct cJSON *model)
{
    const char *unk;
    enum mn_status status = json_get_string_or(doc, model, "unk_token", BPE_TOKEN_BYTES_MAX, NULL, &unk);
    if (status || !unk)
        return status;
    bpe->unk_id = bpe_find(bpe, unk, strlen(unk));
    if (bpe->unk_id == BPE_NO_ID)
        return json_refuse(doc, MN_ERR_FORMAT, "model.unk_token", json_find(model, "unk_token"),
                           "the unknown token is not in the vocabulary");
    return MN_OK;
}

enum mn_status bpe_read(struct bpe *bpe, const struct json_doc *doc, const struct cJSON *model,
                        const struct mn_log *log)
{
    const struct cJSON *vocab, *merges;
    *bpe = (struct bpe){.unk_id = BPE_NO_ID};
    alphabet_init(bpe);
    enum mn_status status = type_check(doc, model);
    if (!status)
        status = options_read(bpe, doc, model);
    if (!status)
        status = json_get_object(doc, model, "vocab", &vocab);
    if (!status)
        status = json_get_array(doc, model, "merges", &merges);
    if (!status)
        status = vocab_read(bpe, doc, vocab);
    if (!status)
        status = merges_read(bpe, doc, merges, log);
    if (!status)
        status = unk_read(bpe, doc, model);
    if (status)
        bpe_destroy(bpe);
    return status;
}

void bpe_destroy(struct bpe *bpe)
{
    if (!bpe)
        return;
    free(bpe->spellings);
    free(bpe->offsets);
    free(bpe->slots);
    free(bpe->merges);
    *bpe = (struct bpe){0};
}

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
    const struct bpe_merge *merge = merge_find(bpe, left->id, s->symbols[left->next].id, &s->n_operations);
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
        const struct bpe_merge *merge = merge_find(bpe, left->id, right->id, &s->n_operations);
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

static enum mn_status scratch_reserve(struct bpe_scratch *s, size_t n, const struct mn_log *log)
{
    if (n <= s->capacity)
        return MN_OK;
    size_t capacity = s->capacity ? s->capacity : 64;
    while (capacity < n)
        capacity *= 2;
    free(s->symbols);
    free(s->heap);
    s->capacity = 0;
    s->symbols = malloc(capacity * sizeof *s->symbols);
    /* n - 1 candidates to start with, and each of at most n - 1 merges removes one and adds at most two. */
    s->heap = malloc(2 * capacity * sizeof *s->heap);
    if (!s->symbols || !s->heap)
        return log_fail(log, MN_ERR_MEMORY, "tokenizer: out of memory for a pre-token of %zu bytes", n);
    s->capacity = capacity;
    return MN_OK;
}

/* The symbols before any merge, one per byte; fewer when unknown bytes are fused. */
static enum mn_status symbols_init(const struct bpe *bpe, struct bpe_scratch *s, const char *piece, size_t n_bytes,
                                   size_t *n_symbols, const struct mn_log *log)
{
    size_t n = 0;
    bool was_unknown = false;
    for (size_t i = 0; i < n_bytes; i++) {
        uint32_t id = bpe->byte_ids[(unsigned char)piece[i]];
        bool unknown = id == BPE_NO_ID;
        if (unknown && bpe->unk_id == BPE_NO_ID)
            return log_fail(log, MN_ERR_UNSUPPORTED,
                            "tokenizer: the vocabulary has no token for byte 0x%02x and no unknown token",
                            (unsigned)(unsigned char)piece[i]);
        if (!(unknown && was_unknown && bpe->fuse_unk)) {
            s->symbols[n] = (struct bpe_symbol){unknown ? bpe->unk_id : id, (int32_t)n - 1, (int32_t)n + 1};
            n++;
        }
        was_unknown = unknown;
    }
    s->symbols[n - 1].next = -1;
    *n_symbols = n;
    return MN_OK;
}

static uint32_t piece_find(const struct bpe *bpe, const char *piece, size_t n_bytes)
{
    char spelling[BPE_TOKEN_BYTES_MAX + 2];
    size_t length = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        if (length >= BPE_TOKEN_BYTES_MAX)
            return BPE_NO_ID;
        length += byte_spell(bpe, (unsigned char)piece[i], spelling + length);
    }
    return bpe_find(bpe, spelling, length);
}

static enum mn_status token_append(struct id_vector *out, uint32_t id, const struct mn_log *log)
{
    if (!id_vector_append(out, id))
        return log_fail(log, MN_ERR_MEMORY, "tokenizer: out of memory after %zu tokens", out->n);
    return MN_OK;
}

enum mn_status bpe_encode(const struct bpe *bpe, struct bpe_scratch *scratch, const char *piece, size_t n_bytes,
                          struct id_vector *out, const struct mn_log *log)
{
    size_t n_symbols = 0;
    if (!n_bytes)
        return MN_OK;
    if (n_bytes > BPE_PIECE_BYTES_MAX)
        return log_fail(log, MN_ERR_MEMORY, "tokenizer: a pre-token of %zu bytes, limit %d", n_bytes,
                        BPE_PIECE_BYTES_MAX);
    const uint32_t whole = bpe->ignore_merges ? piece_find(bpe, piece, n_bytes) : BPE_NO_ID;
    if (whole != BPE_NO_ID)
        return token_append(out, whole, log);
    enum mn_status status = scratch_reserve(scratch, n_bytes, log);
    if (!status)
        status = symbols_init(bpe, scratch, piece, n_bytes, &n_symbols, log);
    if (status)
        return status;
    scratch->n_heap = 0;
    for (size_t i = 0; i < n_symbols; i++)
        pair_push(bpe, scratch, (int32_t)i);
    symbols_merge(bpe, scratch);
    for (int32_t i = 0; i >= 0 && !status; i = scratch->symbols[i].next)
        status = token_append(out, scratch->symbols[i].id, log);
    return status;
}

void bpe_scratch_destroy(struct bpe_scratch *scratch)
{
    if (!scratch)
        return;
    free(scratch->symbols);
    free(scratch->heap);
    *scratch = (struct bpe_scratch){0};
}
