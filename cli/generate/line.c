/* A line of JSON as a sequence: its prompt, its length and depth, and, where lines have them, settings of its own. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/generate/generate.h"
#include "engine/base/system.h"
#include "engine/files/lines.h"

enum { ID_BYTES_MAX = 256, NAME_BYTES_MAX = 64, STOP_BYTES_MAX = 1 << 16 };

static bool is_one_of(const char *name, const char *const *names, size_t n)
{
    bool good = false;
    for (size_t i = 0; i < n; i++)
        good |= !strcmp(name, names[i]);
    return good;
}

/* `own`: lines have settings of their own. */
static enum mn_status check_keys(const struct json_doc *doc, bool own)
{
    static const char *const common[] = {"prompt", "ids", "n", "num_steps", "id"}, *const more[] = {
                                                                                       "strategy",  "draft_steps",
                                                                                       "lookahead", "max_inflight",
                                                                                       "lookup",    "temp",
                                                                                       "top_k",     "top_p",
                                                                                       "min_p",     "seed",
                                                                                       "stop",      "ignore_eos"};
    const cJSON *member;
    if (!cJSON_IsObject(doc->root))
        return log_fail(doc->log, MN_ERR_FORMAT, "%s: must be an object with a \"prompt\" or \"ids\"", doc->file);
    cJSON_ArrayForEach (member, doc->root) {
        if (is_one_of(member->string, common, sizeof common / sizeof *common) ||
            (own && is_one_of(member->string, more, sizeof more / sizeof *more)))
            continue;
        return json_refuse(doc, MN_ERR_FORMAT, member->string, member,
                           own ? "must be one of prompt, ids, n, num_steps, id, strategy, draft_steps, lookahead, "
                                 "max_inflight, lookup, temp, top_k, top_p, min_p, seed, stop and ignore_eos"
                               : "must be one of prompt, ids, n, num_steps and id");
    }
    const bool prompt = json_find(doc->root, "prompt") != NULL, ids = json_find(doc->root, "ids") != NULL;
    if (prompt == ids)
        return log_fail(doc->log, MN_ERR_FORMAT, "%s: needs either \"prompt\" or \"ids\"%s", doc->file,
                        prompt ? ", not both" : "");
    return MN_OK;
}

static enum mn_status take_id(struct generate_run *run, const struct json_doc *doc)
{
    const cJSON *id = json_find(doc->root, "id");
    const char *text;
    uint64_t number;
    if (!id)
        return MN_OK;
    enum mn_status status = cJSON_IsString(id) ? json_as_string(doc, "id", id, ID_BYTES_MAX, &text)
                                               : json_as_u64(doc, "id", id, 0, JSON_INTEGER_MAX, &number);
    if (status)
        return status;
    size_t n_bytes;
    FILE *out = memory_open(&run->id, &n_bytes);
    if (!out)
        return log_fail(run->log, MN_ERR_MEMORY, "out of host memory for an id");
    if (cJSON_IsString(id))
        json_write_string(out, text, strlen(text));
    else
        fprintf(out, "%" PRIu64, number);
    return memory_close(out, &run->id, &n_bytes) ? MN_OK
                                                 : log_fail(run->log, MN_ERR_MEMORY, "out of host memory for an id");
}

static enum mn_status take_ids(struct generate_run *run, const struct json_doc *doc)
{
    struct id_list list;
    enum mn_status status = lines_get_ids(doc, "ids", run->info.shape.vocab_size, &list.ids, &list.n);
    if (!status)
        status = run_take_ids(run, &list);
    free(list.ids);
    return status;
}

/* A prompt that cannot be turned into ids is not a malformed line: the others run. The tokenizer's messages go to the
 * engine's log. */
static enum mn_status take_text(struct generate_run *run, const struct json_doc *doc, const struct mn_log *line_log)
{
    const char *text;
    enum mn_status status = json_get_string(doc, doc->root, "prompt", TEXT_FILE_BYTES_MAX, &text);
    if (status)
        return status;
    run->log = *run->engine_log = line_log;
    run->status = run_take_text(run, text, strlen(text));
    run->n_prompt = run->status ? 0 : run->n_prompt;
    if (run->status == MN_ERR_USAGE)
        run->status = MN_ERR_FORMAT; /* a bad line in a file, whoever noticed */
    return MN_OK;
}

/* ---- settings of its own ---- */

static enum mn_status take_float(const struct json_doc *doc, const char *key, double max, float *out)
{
    double value;
    enum mn_status status = json_get_double_or(doc, doc->root, key, 0.0, max, (double)*out, &value);
    if (!status)
        *out = (float)value;
    return status;
}

static enum mn_status take_sampler(struct generate_options *own, const struct json_doc *doc)
{
    const cJSON *top_p = json_find(doc->root, "top_p");
    enum mn_status status = take_float(doc, "temp", 100.0, &own->temperature);
    if (!status)
        status = json_get_u32_or(doc, doc->root, "top_k", 0, UINT32_MAX, own->top_k, &own->top_k);
    if (!status)
        status = take_float(doc, "top_p", 1.0, &own->top_p);
    if (!status && top_p && own->top_p == 0.0f) /* which is off for the library */
        status = json_refuse(doc, MN_ERR_FORMAT, "top_p", top_p, "must be above 0 and at most 1");
    if (!status)
        status = take_float(doc, "min_p", 1.0, &own->min_p);
    if (!status && json_find(doc->root, "seed"))
        status = json_get_u64(doc, doc->root, "seed", 0, JSON_INTEGER_MAX, &own->seed);
    return status;
}

static enum mn_status take_strategy(struct generate_options *own, const struct json_doc *doc)
{
    const char *name;
    enum mn_status status = json_get_string_or(doc, doc->root, "strategy", NAME_BYTES_MAX, own->strategy, &name);
    const struct mn_strategy *strategy = status ? NULL : mn_strategy_find(name);
    if (!status && !strategy)
        status = json_refuse(doc, MN_ERR_FORMAT, "strategy", json_find(doc->root, "strategy"), "there is no such one");
    if (!status)
        own->strategy = strategy->name;
    if (!status)
        status = json_get_u32_or(doc, doc->root, "draft_steps", 1, 4095, own->draft_steps, &own->draft_steps);
    if (!status)
        status = json_get_u32_or(doc, doc->root, "lookahead", 1, MN_MAX_LOOKAHEAD, own->lookahead, &own->lookahead);
    if (!status)
        status = json_get_u32_or(doc, doc->root, "lookup", 0, MN_MAX_LOOKUP, own->lookup, &own->lookup);
    if (!status)
        status = json_get_u32_or(doc, doc->root, "max_inflight", 1, MN_MAX_LOOKAHEAD + 1, own->max_inflight,
                                 &own->max_inflight);
    return status;
}

/* The document's texts behind each other in one piece of memory, which the run owns. */
static enum mn_status take_stops(struct generate_run *run, struct generate_options *own, const struct json_doc *doc)
{
    const cJSON *stop = json_find(doc->root, "stop"), *item;
    const char *texts[CLI_LIST_MAX];
    size_t n_bytes = 0;
    uint32_t n = 0;
    enum mn_status status = MN_OK;
    if (!stop)
        return MN_OK;
    if (cJSON_IsArray(stop) && cJSON_GetArraySize(stop) > CLI_LIST_MAX)
        return json_refuse(doc, MN_ERR_FORMAT, "stop", stop, "has too many texts");
    for (item = cJSON_IsArray(stop) ? stop->child : stop; item && !status;
         item = cJSON_IsArray(stop) ? item->next : NULL) {
        status = json_as_string(doc, "stop", item, STOP_BYTES_MAX, &texts[n]);
        if (!status && !*texts[n])
            status = json_refuse(doc, MN_ERR_FORMAT, "stop", item, "must not be empty");
        n_bytes += status ? 0 : strlen(texts[n++]) + 1;
    }
    if (status)
        return status;
    if (!(run->stop_texts = malloc(n_bytes + 1)))
        return log_fail(run->log, MN_ERR_MEMORY, "out of host memory for stop texts");
    own->stops.n = n;
    for (uint32_t i = 0, at = 0; i < n; at += (uint32_t)strlen(texts[i++]) + 1)
        own->stops.items[i] = strcpy(run->stop_texts + at, texts[i]);
    return MN_OK;
}

static enum mn_status take_own(struct generate_run *run, struct generate_options *own, const struct json_doc *doc)
{
    enum mn_status status = take_strategy(own, doc);
    if (!status)
        status = take_sampler(own, doc);
    if (!status)
        status = json_get_bool_or(doc, doc->root, "ignore_eos", own->ignore_eos, &own->ignore_eos);
    return status ? status : take_stops(run, own, doc);
}

enum mn_status line_settings_read(struct generate_run *run, struct generate_options *own, const char *line,
                                  size_t n_bytes, const struct mn_log *log, const struct mn_log *line_log)
{
    struct json_doc doc = {0};
    enum mn_status status = json_parse(&doc, "JSON", line, n_bytes, TEXT_FILE_BYTES_MAX, log);
    if (!status)
        status = check_keys(&doc, own != NULL);
    if (!status)
        status = take_id(run, &doc);
    if (!status)
        status = json_get_u32_or(&doc, doc.root, "n", 1, IDS_MAX, run->options->n_new, &run->n_new);
    if (!status)
        status = json_get_u32_or(&doc, doc.root, "num_steps", 1, 4096, run->options->num_steps, &run->num_steps);
    if (!status && own)
        status = take_own(run, own, &doc);
    if (!status)
        status = json_find(doc.root, "ids") ? take_ids(run, &doc) : take_text(run, &doc, line_log);
    json_destroy(&doc);
    return status == MN_ERR_USAGE ? MN_ERR_FORMAT : status; /* a bad line in a file, whoever noticed */
}
