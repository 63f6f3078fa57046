/* Texts to predict: lines of a file as ids, cut into pieces that fit into the context. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common/prompt.h"
#include "cli/divergence/divergence.h"
#include "engine/base/hash.h"
#include "engine/files/lines.h"

enum { TEXTS_MAX = 1 << 20, POSITIONS_MAX = 1 << 26 };

/* Takes a piece; `begin` stands in front of it, UINT32_MAX: nothing does. */
static enum mn_status add_item(struct divergence_run *run, uint32_t begin, const uint32_t *ids, uint32_t n,
                               const struct mn_log *log)
{
    const uint32_t front = begin != UINT32_MAX;
    if (run->n_items == run->items_max) {
        const size_t most = run->items_max ? 2 * run->items_max : 64;
        struct mn_score_item *items = realloc(run->items, most * sizeof *items);
        run->items = items ? items : run->items;
        uint32_t *ends = items ? realloc(run->ends, most * sizeof *ends) : NULL;
        run->ends = ends ? ends : run->ends;
        if (!ends)
            return log_fail(log, MN_ERR_MEMORY, "out of host memory for %zu texts", most);
        run->items_max = most;
    }
    uint32_t *copy = malloc((n + front) * sizeof *copy);
    if (!copy)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for %" PRIu32 " ids", n + front);
    copy[0] = begin;
    memcpy(copy + front, ids, n * sizeof *copy);
    run->items[run->n_items] = (struct mn_score_item){copy, n + front, 1};
    run->n_positions += n + front - 1;
    run->longest = n + front - 1 > run->longest ? n + front - 1 : run->longest;
    run->ends[run->n_items++] = run->n_positions;
    return run->n_items <= TEXTS_MAX && run->n_positions <= POSITIONS_MAX
               ? MN_OK
               : log_fail(log, MN_ERR_FORMAT, "more than %d texts or %d tokens in all", TEXTS_MAX, POSITIONS_MAX);
}

/* Pieces of as many positions as the context has; each begins anew, behind the begin token that the text has. A last
 * piece that would predict nothing is left out. */
static enum mn_status cut(struct divergence_run *run, const uint32_t *ids, uint32_t n, const struct mn_log *log)
{
    const bool bos = n && ids[0] == run->info.bos_token_id;
    const uint32_t begin = bos ? ids[0] : UINT32_MAX, longest = run->n_ctx + 1 - bos;
    enum mn_status status = MN_OK;
    if (n < 2)
        return log_fail(log, MN_ERR_FORMAT, "fewer than two tokens: there is nothing to predict");
    for (uint32_t at = bos; at < n && !status; at += longest) {
        const uint32_t piece = n - at < longest ? n - at : longest;
        if (bos || piece > 1)
            status = add_item(run, begin, ids + at, piece, log);
    }
    return status;
}

static enum mn_status take_line(void *user, size_t number, const char *line, size_t n_bytes, const struct mn_log *log)
{
    struct divergence_run *run = user;
    struct json_doc doc;
    uint32_t *ids = NULL, n = 0;
    size_t n_ids = 0;
    const char *text;
    (void)number;
    enum mn_status status = json_parse(&doc, "JSON", line, n_bytes, TEXT_FILE_BYTES_MAX, log);
    if (status)
        return status;
    if (json_is_given(doc.root, "ids")) {
        status = lines_get_ids(&doc, "ids", run->info.shape.vocab_size, &ids, &n);
    } else {
        status = json_get_string(&doc, doc.root, "text", TEXT_FILE_BYTES_MAX, &text);
        if (!status)
            status = cli_encode_prompt(run->engine, text, strlen(text), !run->options->no_bos, &ids, &n_ids, log);
        n = (uint32_t)n_ids;
    }
    if (!status)
        status = cut(run, ids, n, log);
    free(ids);
    json_destroy(&doc);
    return status == MN_ERR_USAGE ? MN_ERR_FORMAT : status; /* a bad line in a file, whoever noticed */
}

/* The name that rows give the texts: equal for equal ids. */
static void name_set(struct divergence_run *run)
{
    char hash_text[HASH_TEXT_BYTES];
    uint64_t hash = HASH_START;
    for (uint32_t i = 0; i < run->n_items; i++) {
        hash = hash_bytes(hash, &run->items[i].n_ids, sizeof run->items[i].n_ids);
        hash = hash_bytes(hash, run->items[i].ids, run->items[i].n_ids * sizeof *run->items[i].ids);
    }
    hash_write(hash, hash_text);
    snprintf(run->text_set, sizeof run->text_set, "%.512s %s", path_name(run->options->file), hash_text);
}

enum mn_status divergence_read(struct divergence_run *run, const char *text, size_t n_bytes)
{
    const char *source = strcmp(run->options->file, "-") ? run->options->file : "standard input";
    enum mn_status status = lines_each(source, text, n_bytes, take_line, run, run->log);
    if (!status && run->n_items == 0)
        status = log_fail(run->log, MN_ERR_FORMAT, "%s: no text", source);
    if (!status)
        name_set(run);
    return status;
}

void divergence_texts_free(struct divergence_run *run)
{
    for (uint32_t i = 0; i < run->n_items; i++)
        free((uint32_t *)run->items[i].ids);
    free(run->items);
    free(run->ends);
}
