#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/bpe_internal.h"

/* --- vocabulary ------------------------------------------------------------------------------------------------ */

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
    bpe->slot_mask = bpe_table_mask(n_tokens);
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
        if (!bpe_slot_insert(bpe, id, node->string, length))
            return json_refuse(doc, MN_ERR_FORMAT, "model.vocab", node, "spellings collide by construction");
        memcpy(bpe->spellings + offset, node->string, length + 1);
        bpe->offsets[id] = offset;
        offset += (uint32_t)length + 1;
    }
    return MN_OK;
}

/* The tokens that texts fall apart into: of bytes, spelled in either way, and of ASCII. */
static void byte_ids_init(struct bpe *bpe)
{
    for (unsigned b = 0; b < 256; b++) {
        char spelling[8];
        size_t length = bpe_byte_spell(bpe, (unsigned char)b, spelling);
        bpe->byte_ids[b] = bpe_find(bpe, spelling, length);
        length = (size_t)snprintf(spelling, sizeof spelling, "<0x%02X>", b);
        bpe->fallback_ids[b] = bpe->byte_fallback ? bpe_find(bpe, spelling, length) : BPE_NO_ID;
    }
    for (unsigned c = 0; c < 128; c++) {
        char spelling = (char)c;
        bpe->ascii_ids[c] = c ? bpe_find(bpe, &spelling, 1) : BPE_NO_ID; /* no spelling has a zero byte */
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

/* --- merges ---------------------------------------------------------------------------------------------------- */

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
    if (!bpe_merge_insert(bpe, merge))
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
    bpe->merge_mask = bpe_table_mask(n);
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

/* --- the model ------------------------------------------------------------------------------------------------- */

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
                               "BPE with affixes is not supported");
    }
    return MN_OK;
}

static enum mn_status options_read(struct bpe *bpe, const struct json_doc *doc, const struct cJSON *model)
{
    double dropout = 0;
    enum mn_status status = affixes_check(doc, model);
    if (!status)
        status = json_get_double_or(doc, model, "dropout", 0, 1, 0, &dropout);
    if (!status && dropout > 0)
        status = json_refuse(doc, MN_ERR_UNSUPPORTED, "dropout", json_find(model, "dropout"),
                             "random merges are not supported");
    if (!status)
        status = json_get_bool_or(doc, model, "byte_fallback", false, &bpe->byte_fallback);
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
    bpe_alphabet_init(bpe);
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
    free(bpe->crossings);
    *bpe = (struct bpe){0};
}
