/* Lines to score: what kind each one is, and its ids. Tokenised as the lm-evaluation-harness does it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common/prompt.h"
#include "cli/score/score.h"
#include "engine/files/lines.h"

enum { LINES_MAX = 1 << 20, CHOICES_MAX = 1024, GROUP_BYTES_MAX = 256 };

/* ---- blanks ---- */

/* The white space of Python's str.rstrip beyond ASCII, which the harness uses. */
static const char *const wide_blanks[] = {
    "\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81", "\xe2\x80\x82", "\xe2\x80\x83",
    "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86", "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a",
    "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};

/* Bytes of the blank at one end of the text, 0: there is none. */
static size_t blank_bytes(const char *text, size_t n, bool at_end)
{
    const unsigned char byte = n == 0 ? 'x' : (unsigned char)(at_end ? text[n - 1] : *text);
    if (byte == ' ' || (byte >= '\t' && byte <= '\r') || (byte >= 0x1c && byte <= 0x1f))
        return 1;
    for (size_t i = 0; i < sizeof wide_blanks / sizeof *wide_blanks; i++) {
        const size_t k = strlen(wide_blanks[i]);
        if (n >= k && !memcmp(at_end ? text + n - k : text, wide_blanks[i], k))
            return k;
    }
    return 0;
}

static size_t length_without_blanks(const char *text, size_t n)
{
    size_t blank;
    while ((blank = blank_bytes(text, n, true)) > 0)
        n -= blank;
    return n;
}

size_t score_strip(const char **text, size_t n_bytes)
{
    size_t n = length_without_blanks(*text, n_bytes), blank;
    while ((blank = blank_bytes(*text, n, false)) > 0) {
        *text += blank;
        n -= blank;
    }
    return n;
}

/* ---- ids ---- */

struct reader {
    struct score_run *run;
    struct score_line *line;
    const struct json_doc *doc;
    const struct mn_log *log; /* names file and line */
};

/* Cuts ids from the left until all but the last one fit, or refuses. */
static enum mn_status fit(struct reader *r, struct mn_score_item *item, uint32_t n_positions, uint32_t n_needed)
{
    const uint32_t limit = r->run->n_ctx, cut = n_positions > limit ? n_positions - limit : 0;
    if (cut == 0)
        return MN_OK;
    if (!r->run->options->truncate)
        return log_fail(r->log, MN_ERR_FORMAT,
                        "'context' and what follows it need %" PRIu32 " positions, and there are %" PRIu32
                        " (--ctx); --truncate cuts the context from the left",
                        n_positions, limit);
    if (cut >= item->n_context)
        return log_fail(r->log, MN_ERR_FORMAT,
                        "%" PRIu32 " tokens behind 'context': they alone do not fit into the %" PRIu32
                        " positions (--ctx)",
                        n_needed, limit);
    uint32_t *ids = (uint32_t *)item->ids;
    memmove(ids, ids + cut, (item->n_ids - cut) * sizeof *ids);
    item->n_ids -= cut;
    item->n_context -= cut;
    r->line->n_truncated = cut > r->line->n_truncated ? cut : r->line->n_truncated;
    return MN_OK;
}

/* Context ids, then continuation ids. */
static enum mn_status join(struct reader *r, struct mn_score_item *item, const uint32_t *context, size_t n_context,
                           const uint32_t *more, size_t n_more)
{
    uint32_t *ids = malloc((n_context + n_more) * sizeof *ids);
    if (!ids)
        return log_fail(r->log, MN_ERR_MEMORY, "out of host memory for %zu ids", n_context + n_more);
    memcpy(ids, context, n_context * sizeof *ids);
    memcpy(ids + n_context, more, n_more * sizeof *ids);
    *item = (struct mn_score_item){ids, (uint32_t)(n_context + n_more), (uint32_t)n_context};
    return fit(r, item, item->n_ids - 1, (uint32_t)n_more);
}

static enum mn_status encode(struct reader *r, const char *text, size_t n_bytes, uint32_t **ids, size_t *n_ids)
{
    return cli_encode_prompt(r->run->engine, text, n_bytes, !r->run->options->no_bos, ids, n_ids, r->log);
}

/* The harness's way: blanks at the context's end belong to the continuation; the whole is encoded, and what lies behind
 * the number of tokens that the context has alone is scored. `key` names the continuation in messages. */
static enum mn_status take_pair(struct reader *r, struct mn_score_item *item, const char *context, const char *key,
                                const char *delimiter, const char *continuation)
{
    const size_t n_whole = strlen(context) + strlen(delimiter) + strlen(continuation);
    uint32_t *own = NULL, *all = NULL;
    size_t n_own = 0, n_all = 0;
    char *whole = malloc(n_whole + 1);
    if (!whole)
        return log_fail(r->log, MN_ERR_MEMORY, "out of host memory for %zu bytes of text", n_whole);
    snprintf(whole, n_whole + 1, "%s%s%s", context, delimiter, continuation);
    enum mn_status status = encode(r, context, length_without_blanks(context, strlen(context)), &own, &n_own);
    if (!status)
        status = encode(r, whole, n_whole, &all, &n_all);
    if (!status && n_own == 0)
        status = log_fail(r->log, MN_ERR_FORMAT, "the context is empty, and there is no begin token to take its place");
    else if (!status && n_all <= n_own)
        status = log_fail(r->log, MN_ERR_FORMAT, "key '%s': no token of its own behind the context", key);
    if (!status)
        status = join(r, item, own, n_own, all + n_own, n_all - n_own);
    free(own);
    free(all);
    free(whole);
    return status;
}

/* ---- the three kinds ---- */

static bool has(const struct reader *r, const char *key)
{
    return json_find(r->doc->root, key) != NULL;
}

static enum mn_status make_items(struct reader *r, uint32_t n)
{
    r->line->items = calloc(n, sizeof *r->line->items);
    if (!r->line->items)
        return log_fail(r->log, MN_ERR_MEMORY, "out of host memory for %" PRIu32 " choices", n);
    r->line->n_items = n;
    return MN_OK;
}

static enum mn_status get_text(struct reader *r, const char *key, const char **text)
{
    return json_get_string(r->doc, r->doc->root, key, TEXT_FILE_BYTES_MAX, text);
}

static enum mn_status take_likelihood_ids(struct reader *r)
{
    uint32_t *context = NULL, *continuation = NULL, n_context, n_continuation;
    enum mn_status status = lines_get_ids(r->doc, "context_ids", r->run->info.shape.vocab_size, &context, &n_context);
    if (!status)
        status = lines_get_ids(r->doc, "continuation_ids", r->run->info.shape.vocab_size, &continuation,
                               &n_continuation);
    if (!status)
        status = join(r, &r->line->items[0], context, n_context, continuation, n_continuation);
    free(context);
    free(continuation);
    return status;
}

static enum mn_status take_likelihood(struct reader *r)
{
    const char *context, *continuation;
    enum mn_status status = make_items(r, 1);
    if (status || has(r, "context_ids"))
        return status ? status : take_likelihood_ids(r);
    status = get_text(r, "context", &context);
    if (!status)
        status = get_text(r, "continuation", &continuation);
    if (!status && *continuation == '\0')
        return json_refuse(r->doc, MN_ERR_FORMAT, "continuation", json_find(r->doc->root, "continuation"),
                           "must not be empty");
    return status ? status : take_pair(r, &r->line->items[0], context, "continuation", "", continuation);
}

static enum mn_status take_choices(struct reader *r)
{
    const cJSON *array, *node;
    const char *query, *choice;
    enum mn_status status = get_text(r, has(r, "query") ? "query" : "context", &query);
    if (!status)
        status = json_get_array(r->doc, r->doc->root, "choices", &array);
    if (status)
        return status;
    const int n = cJSON_GetArraySize(array);
    if (n < 2 || n > CHOICES_MAX)
        return log_fail(r->log, MN_ERR_FORMAT, "key 'choices': %d of them: must be from 2 to %d", n, CHOICES_MAX);
    status = json_get_u32(r->doc, r->doc->root, "gold", 0, (uint32_t)n - 1, &r->line->gold);
    if (!status)
        status = make_items(r, (uint32_t)n);
    if (!status && !(r->line->choice_bytes = calloc((size_t)n, sizeof *r->line->choice_bytes)))
        status = log_fail(r->log, MN_ERR_MEMORY, "out of host memory for %d choices", n);
    uint32_t i = 0;
    cJSON_ArrayForEach (node, array) {
        if (!status)
            status = json_as_string(r->doc, "choices", node, TEXT_FILE_BYTES_MAX, &choice);
        if (!status && *choice == '\0')
            status = json_refuse(r->doc, MN_ERR_FORMAT, "choices", node, "must not be empty");
        if (status)
            return status;
        r->line->choice_bytes[i] = (uint32_t)strlen(choice);
        status = take_pair(r, &r->line->items[i++], query, "choices", r->run->options->delimiter, choice);
    }
    return status;
}

/* "stop": a string or several; those of the command line stand behind them. */
static enum mn_status take_stops(struct reader *r)
{
    struct score_line *line = r->line;
    const struct text_list *common = &r->run->options->stops;
    const cJSON *stop = json_find(r->doc->root, "stop"), *node = cJSON_IsArray(stop) ? stop->child : stop;
    enum mn_status status = MN_OK;
    for (; node && !status; node = cJSON_IsArray(stop) ? node->next : NULL) {
        const char *text;
        status = json_as_string(r->doc, "stop", node, TEXT_FILE_BYTES_MAX, &text);
        if (!status && *text == '\0')
            status = json_refuse(r->doc, MN_ERR_FORMAT, "stop", node, "must not be empty");
        if (!status && line->n_own_stops + common->n == CLI_LIST_MAX)
            status = log_fail(r->log, MN_ERR_FORMAT,
                              "key 'stop': more than %d stop strings, those of --stop among them", CLI_LIST_MAX);
        if (!status && !(line->stops.items[line->n_own_stops] = strdup(text)))
            status = log_fail(r->log, MN_ERR_MEMORY, "out of host memory for a stop string");
        line->n_own_stops += !status;
    }
    line->stops.n = line->n_own_stops;
    for (uint32_t i = 0; i < common->n && !status; i++)
        line->stops.items[line->stops.n++] = common->items[i];
    return status;
}

static enum mn_status take_match(struct reader *r)
{
    struct score_line *line = r->line;
    const char *answer, *context;
    uint32_t *ids = NULL, n = 0;
    size_t n_ids = 0;
    enum mn_status status = get_text(r, has(r, "answer") ? "answer" : "target", &answer);
    if (!status && !(line->answer = strdup(answer)))
        status = log_fail(r->log, MN_ERR_MEMORY, "out of host memory for an answer");
    if (!status)
        status = take_stops(r);
    if (!status)
        status = make_items(r, 1);
    if (!status && has(r, "context_ids")) {
        status = lines_get_ids(r->doc, "context_ids", r->run->info.shape.vocab_size, &ids, &n);
        n_ids = n;
    } else if (!status) {
        status = get_text(r, has(r, "query") ? "query" : "context", &context);
        if (!status)
            status = encode(r, context, strlen(context), &ids, &n_ids);
    }
    if (status)
        return status;
    line->items[0] = (struct mn_score_item){ids, (uint32_t)n_ids, (uint32_t)n_ids};
    if (n_ids == 0)
        return log_fail(r->log, MN_ERR_FORMAT, "the context is empty, and there is no begin token to take its place");
    return fit(r, &line->items[0], (uint32_t)n_ids + r->run->options->n_new - 1, r->run->options->n_new);
}

/* ---- lines ---- */

/* Which members make a line of each kind: of `any` one must be there, of each pair in `one_of` exactly one; the others
 * may. */
static const struct kind {
    enum score_kind kind;
    const char *name, *mark[2], *context[3], *others[2];
} kinds[] = {{SCORE_CHOICE, "multiple choice", {"choices", NULL}, {"query", "context", NULL}, {"gold", NULL}},
             {SCORE_MATCH, "exact match", {"answer", "target"}, {"context", "context_ids", "query"}, {"stop", NULL}},
             {SCORE_LIKELIHOOD,
              "likelihood",
              {"continuation", "continuation_ids"},
              {"context", "context_ids", NULL},
              {NULL, NULL}}};
/* The output's own. */
static const char *const reserved[] = {"key",           "line",     "num_steps",   "logprob",   "is_greedy",
                                       "tokens",        "logprobs", "pred",        "pred_norm", "acc",
                                       "acc_norm",      "text",     "exact_match", "truncated", "finish_reason",
                                       "lossy_because", "summary",  "run"};

static bool is_one_of(const char *name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (names[i] && !strcmp(name, names[i]))
            return true;
    return false;
}

static uint32_t count(const struct reader *r, const char *const *names, size_t n)
{
    uint32_t found = 0;
    for (size_t i = 0; i < n; i++)
        found += names[i] && has(r, names[i]);
    return found;
}

static enum mn_status find_kind(const struct reader *r, const struct kind **out)
{
    if (!cJSON_IsObject(r->doc->root))
        return log_fail(r->log, MN_ERR_FORMAT, "must be an object");
    *out = NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const uint32_t n = count(r, kinds[i].mark, 2);
        if (n > 1)
            return log_fail(r->log, MN_ERR_FORMAT, "both '%s' and '%s'", kinds[i].mark[0], kinds[i].mark[1]);
        if (n && *out)
            return log_fail(r->log, MN_ERR_FORMAT, "is both a %s line ('%s') and a %s line", (*out)->name,
                            (*out)->mark[has(r, (*out)->mark[0]) ? 0 : 1], kinds[i].name);
        if (n)
            *out = &kinds[i];
    }
    if (!*out)
        return log_fail(r->log, MN_ERR_FORMAT,
                        "needs one of 'continuation', 'continuation_ids', 'choices', 'answer' and 'target'");
    if (count(r, (*out)->context, 3) != 1)
        return log_fail(r->log, MN_ERR_FORMAT, "a %s line: needs exactly one of '%s', '%s'%s%s%s", (*out)->name,
                        (*out)->context[0], (*out)->context[1], (*out)->context[2] ? ", '" : "",
                        (*out)->context[2] ? (*out)->context[2] : "", (*out)->context[2] ? "'" : "");
    if ((*out)->kind == SCORE_LIKELIHOOD && has(r, "context_ids") != has(r, "continuation_ids"))
        return log_fail(r->log, MN_ERR_FORMAT, "context and continuation must both be text or both be ids");
    return MN_OK;
}

/* What is left of the document goes to the output. */
static enum mn_status keep_others(struct reader *r, struct json_doc *doc, const struct kind *kind)
{
    const char *group_by = r->run->options->group_by;
    for (cJSON *member = doc->root->child, *next; member; member = next) {
        next = member->next;
        if (is_one_of(member->string, reserved, sizeof reserved / sizeof *reserved))
            return json_refuse(doc, MN_ERR_FORMAT, member->string, member, "this key is one of the output's own");
        if (is_one_of(member->string, kind->mark, 2) || is_one_of(member->string, kind->context, 3) ||
            is_one_of(member->string, kind->others, 2))
            cJSON_Delete(cJSON_DetachItemViaPointer(doc->root, member));
    }
    const cJSON *group = group_by ? json_find(doc->root, group_by) : NULL;
    if (group_by && !group)
        return log_fail(r->log, MN_ERR_FORMAT, "key '%s' of --group-by is missing", group_by);
    if (group) {
        char *text = cJSON_IsString(group)                          ? strdup(group->valuestring)
                     : cJSON_IsNumber(group) || cJSON_IsBool(group) ? json_print_name(group)
                                                                    : NULL;
        if (!text && (cJSON_IsArray(group) || cJSON_IsObject(group) || cJSON_IsNull(group)))
            return json_refuse(doc, MN_ERR_FORMAT, group_by, group,
                               "must be a string, a number, true or false to group by");
        if (!text)
            return log_fail(r->log, MN_ERR_MEMORY, "out of host memory for a group");
        r->line->group = text;
        if (strlen(text) > GROUP_BYTES_MAX)
            return log_fail(r->log, MN_ERR_FORMAT, "key '%s': more than %d bytes to group by", group_by,
                            GROUP_BYTES_MAX);
    }
    r->line->kept = doc->root;
    doc->root = NULL;
    return MN_OK;
}

static enum mn_status take_line(void *user, size_t number, const char *text, size_t n_bytes, const struct mn_log *log)
{
    struct score_run *run = user;
    struct score_line *line = &run->lines[run->n_lines++];
    struct json_doc doc = {0};
    struct reader r = {run, line, &doc, log};
    const struct kind *kind = NULL;
    line->number = number;
    line->hash = hash_bytes(HASH_START, text, n_bytes);
    line->outcomes = calloc(run->num_steps.n, sizeof *line->outcomes);
    if (!line->outcomes)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for %" PRIu32 " depths", run->num_steps.n);
    enum mn_status status = json_parse(&doc, "JSON", text, n_bytes, TEXT_FILE_BYTES_MAX, log);
    if (!status)
        status = find_kind(&r, &kind);
    if (!status) {
        line->kind = kind->kind;
        status = kind->kind == SCORE_CHOICE  ? take_choices(&r)
                 : kind->kind == SCORE_MATCH ? take_match(&r)
                                             : take_likelihood(&r);
    }
    if (!status)
        status = keep_others(&r, &doc, kind);
    json_destroy(&doc);
    return status == MN_ERR_USAGE ? MN_ERR_FORMAT : status; /* a bad line in a file, whoever noticed */
}

enum mn_status score_read(struct score_run *run, const char *text, size_t n_bytes)
{
    const char *source = strcmp(run->options->file, "-") ? run->options->file : "standard input";
    size_t most = 1;
    for (size_t i = 0; i < n_bytes; i++)
        most += text[i] == '\n';
    if (most > LINES_MAX)
        return log_fail(run->log, MN_ERR_FILE, "%s: %zu lines; at most %d", source, most, LINES_MAX);
    run->lines = calloc(most, sizeof *run->lines);
    if (!run->lines)
        return log_fail(run->log, MN_ERR_MEMORY, "out of host memory for %zu lines", most);
    enum mn_status status = lines_each(source, text, n_bytes, take_line, run, run->log);
    if (!status && run->n_lines == 0)
        status = log_fail(run->log, MN_ERR_FORMAT, "%s: no line to score", source);
    return status;
}

void score_lines_free(struct score_run *run)
{
    for (size_t i = 0; i < run->n_lines; i++) {
        struct score_line *line = &run->lines[i];
        for (uint32_t k = 0; k < line->n_items; k++)
            free((uint32_t *)line->items[k].ids);
        for (uint32_t k = 0; k < line->n_own_stops; k++)
            free((char *)line->stops.items[k]);
        cJSON_Delete(line->kept);
        free((char *)line->group);
        free(line->items);
        free(line->choice_bytes);
        free(line->answer);
        free(line->outcomes);
    }
    free(run->lines);
    run->lines = NULL;
    run->n_lines = 0;
}
