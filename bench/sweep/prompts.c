/* Prompts to measure with: a fixed small set, or a file. */
#include "bench/sweep/prompts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/base/system.h"
#include "engine/files/disk.h"
#include "engine/files/json.h"
#include "engine/files/lines.h"

/* The fixed set: a question, a sort, a chain of assignments, a sum. */
static const char *const texts[] = {"Kai has 53 keys and Max has 52 keys. How many keys do they have together?",
                                    "sort 2 8 0 1 9 4 :", "mod 10 let g = 2 , a = k + 3 , k = g + 1 ;", "282 + 216 ="};
enum { N_TEXTS = sizeof texts / sizeof *texts, NAME_BYTES = 320, ID_BYTES_MAX = 256 };

void prompts_free(struct prompt_set *set)
{
    for (uint32_t i = 0; i < set->n; i++) {
        for (uint32_t t = 0; t < set->items[i].n_turns; t++)
            free(set->items[i].turns[t]);
        free(set->items[i].turns);
        free(set->items[i].ids);
        free(set->items[i].question_id);
        free(set->items[i].category);
    }
    free(set->items);
    free(set->name);
    *set = (struct prompt_set){0};
}

static enum mn_status no_memory(const struct mn_log *log)
{
    return log_fail(log, MN_ERR_MEMORY, "out of host memory for prompts");
}

static enum mn_status add_turn(struct prompt *p, const char *text, const struct mn_log *log)
{
    if (!p->turns && !(p->turns = calloc(TURNS_MAX, sizeof *p->turns)))
        return no_memory(log);
    if (!(p->turns[p->n_turns] = strdup(text)))
        return no_memory(log);
    p->n_turns++;
    return MN_OK;
}

static enum mn_status take_ids(struct prompt *p, const struct json_doc *doc)
{
    const cJSON *array, *item;
    enum mn_status status = json_get_array(doc, doc->root, "ids", &array);
    const int n = status ? 0 : cJSON_GetArraySize(array);
    if (!status && (n < 1 || n > IDS_MAX))
        return json_refuse(doc, MN_ERR_FORMAT, "ids", array, "must hold at least one token id");
    if (!status && !(p->ids = malloc((size_t)n * sizeof *p->ids)))
        return no_memory(doc->log);
    if (!status)
        cJSON_ArrayForEach (item, array)
            if (!status)
                status = json_as_u32(doc, "ids", item, 0, UINT32_MAX - 1, &p->ids[p->n_ids++]);
    return status;
}

static enum mn_status take_question_id(struct prompt *p, const struct json_doc *doc)
{
    const cJSON *id = json_find(doc->root, "question_id");
    const char *text;
    uint64_t number;
    size_t n_bytes;
    enum mn_status status = cJSON_IsString(id) ? json_as_string(doc, "question_id", id, ID_BYTES_MAX, &text)
                                               : json_as_u64(doc, "question_id", id, 0, JSON_INTEGER_MAX, &number);
    if (status)
        return status;
    FILE *out = memory_open(&p->question_id, &n_bytes);
    if (!out)
        return no_memory(doc->log);
    if (cJSON_IsString(id))
        json_write_string(out, text, strlen(text));
    else
        fprintf(out, "%" PRIu64, number);
    return memory_close(out, &p->question_id, &n_bytes) ? MN_OK : no_memory(doc->log);
}

/* Spec-Bench's form. Files of others may say more; what is not needed is not looked at. */
static enum mn_status take_question(struct prompt *p, const struct json_doc *doc)
{
    const cJSON *turns, *item;
    const char *category, *text;
    enum mn_status status = take_question_id(p, doc);
    if (!status)
        status = json_get_string_or(doc, doc->root, "category", ID_BYTES_MAX, "", &category);
    if (!status && !(p->category = strdup(category)))
        return no_memory(doc->log);
    if (!status)
        status = json_get_array(doc, doc->root, "turns", &turns);
    const int n = status ? 0 : cJSON_GetArraySize(turns);
    if (!status && (n < 1 || n > TURNS_MAX))
        return json_refuse(doc, MN_ERR_FORMAT, "turns", turns, "must hold 1 to 16 texts");
    if (!status)
        cJSON_ArrayForEach (item, turns) {
            if (!status)
                status = json_as_string(doc, "turns", item, TEXT_FILE_BYTES_MAX, &text);
            if (!status)
                status = add_turn(p, text, doc->log);
        }
    return status;
}

static enum mn_status take_plain(struct prompt *p, const struct json_doc *doc)
{
    const cJSON *item;
    const char *text;
    cJSON_ArrayForEach (item, doc->root)
        if (strcmp(item->string, "prompt") != 0 && strcmp(item->string, "ids") != 0)
            return log_fail(doc->log, MN_ERR_FORMAT,
                            "unknown key '%.60s'; a line has \"prompt\" or \"ids\", or \"question_id\" and \"turns\"",
                            item->string);
    const bool ids = json_find(doc->root, "ids") != NULL;
    if (ids && json_find(doc->root, "prompt"))
        return log_fail(doc->log, MN_ERR_FORMAT, "needs either \"prompt\" or \"ids\", not both");
    if (ids)
        return take_ids(p, doc);
    enum mn_status status = json_get_string(doc, doc->root, "prompt", TEXT_FILE_BYTES_MAX, &text);
    return status ? status : add_turn(p, text, doc->log);
}

static enum mn_status take_line(void *user, size_t number, const char *line, size_t n_bytes, const struct mn_log *log)
{
    struct prompt_set *set = user;
    struct json_doc doc = {0};
    (void)number;
    enum mn_status status = json_parse(&doc, "JSON", line, n_bytes, TEXT_FILE_BYTES_MAX, log);
    if (!status && !cJSON_IsObject(doc.root))
        status = log_fail(log, MN_ERR_FORMAT, "must be an object");
    const bool question = !status && json_find(doc.root, "question_id");
    if (!status && set->n > 0 && question != set->questions)
        status = log_fail(log, MN_ERR_FORMAT, "questions and plain prompts in one file");
    if (!status) {
        struct prompt *p = &set->items[set->n++];
        set->questions = question;
        status = question ? take_question(p, &doc) : take_plain(p, &doc);
    }
    json_destroy(&doc);
    return status;
}

static enum mn_status read_lines(struct prompt_set *set, const char *path, const char *text, size_t n_bytes,
                                 const struct mn_log *log)
{
    size_t most = 1;
    for (size_t i = 0; i < n_bytes; i++)
        most += text[i] == '\n';
    if (most > PROMPTS_MAX)
        return log_fail(log, MN_ERR_FORMAT, "%s: %zu lines; at most %d", path, most, PROMPTS_MAX);
    if (!(set->items = calloc(most, sizeof *set->items)))
        return no_memory(log);
    enum mn_status status = lines_each(path, text, n_bytes, take_line, set, log);
    if (!status && set->n == 0)
        status = log_fail(log, MN_ERR_FORMAT, "%s: no line with a prompt", path);
    return status;
}

static enum mn_status built_in(struct prompt_set *set, const struct mn_log *log)
{
    enum mn_status status = MN_OK;
    if (!(set->items = calloc(N_TEXTS, sizeof *set->items)) || !(set->name = strdup("built-in")))
        return no_memory(log);
    for (uint32_t i = 0; i < N_TEXTS && !status; i++)
        status = add_turn(&set->items[set->n++], texts[i], log);
    return status;
}

enum mn_status prompts_read(struct prompt_set *set, const char *path, const struct mn_log *log)
{
    char *text = NULL;
    size_t n_bytes = 0;
    *set = (struct prompt_set){0};
    enum mn_status status = path ? text_file_read(path, &text, &n_bytes, log) : built_in(set, log);
    if (path && !status)
        status = read_lines(set, path, text, n_bytes, log);
    if (path && !status) {
        const uint64_t hash = hash_bytes(HASH_START, text, n_bytes);
        if ((set->name = malloc(NAME_BYTES)))
            snprintf(set->name, NAME_BYTES, "%.255s#%016" PRIx64, path + path_folder_bytes(path), hash);
        else
            status = no_memory(log);
    }
    free(text);
    if (status)
        prompts_free(set);
    return status;
}
