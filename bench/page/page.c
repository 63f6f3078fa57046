/* Result rows as one page for the browser, which needs no network. What it shows is in page.html and the scripts beside
 * it, which the build puts into report_page.h; here the numbers are put in.
 *
 * The rows go in as JSON inside a script element that no browser runs. Every `<` of theirs is written as \u003c, which
 * is the same to a JSON parser and cannot end the element or begin a comment: no name in a row can become markup. */
#include "bench/page/page.h"

#include <stdlib.h>
#include <string.h>

#include "bench/page/read.h"
#include "bench/rows/best.h"
#include "bench/rows/compare.h"
#include "commit.h"
#include "engine/base/system.h"
#include "engine/files/json.h"
#include "engine/files/output_file.h"
#include "report_page.h"

enum { PAGE_ROWS_MAX = 200000 };

/* ---- the page ---- */

static void write_safe(FILE *out, const char *json)
{
    for (const char *c = json; *c;) {
        const size_t n = strcspn(c, "<");
        fwrite(c, 1, n, out);
        c += n;
        if (*c) {
            fputs("\\u003c", out);
            c++;
        }
    }
}

/* A browser's numbers are doubles: integers that none holds go to it as texts. Nesting ends at JSON_DEPTH_MAX. */
static void keep_integers(cJSON *node)
{
    if (cJSON_IsNumber(node) && !json_number_is_exact(node) && !strpbrk(node->valuestring, ".eE"))
        node->type = cJSON_String; /* its own text is in valuestring already */
    for (cJSON *child = node->child; child; child = child->next)
        keep_integers(child);
}

static enum mn_status write_json(FILE *out, cJSON *value, const struct mn_log *log)
{
    keep_integers(value);
    char *text = json_print(value);
    if (!text)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for the page");
    write_safe(out, text);
    free(text);
    return MN_OK;
}

/* What `muninn bench` ends with, the page begins with. */
static enum mn_status write_answers(FILE *json, const struct rows *rows, const struct mn_log *log)
{
    struct best_list list;
    enum mn_status status = best_find(&list, rows, log);
    for (size_t i = 0; i < list.n && !status; i++) {
        char *text = best_sentence(&list.items[i]);
        fprintf(json, "%s{\"class\":\"%s\",\"text\":", i ? "," : "", row_class_name(list.items[i].class_));
        if (text)
            json_write_name(json, text);
        else
            status = log_fail(log, MN_ERR_MEMORY, "out of host memory for the page");
        fputc('}', json);
        free(text);
    }
    best_free(&list);
    return status;
}

struct content {
    struct rows rows;
    size_t *n_rows, n_older; /* of each file; rows left out for newer ones */
    const char *comparison;  /* JSON; NULL: the rows stand for themselves */
};

/* Nothing here changes from run to run: the same rows give the same page. */
static enum mn_status write_about(FILE *out, const struct page_params *params, const struct content *content,
                                  const struct mn_log *log)
{
    fputs("{\"version\":\"" MN_VERSION "\",\"commit\":\"" MUNINN_COMMIT "\",\"title\":", out);
    char *text = NULL;
    size_t n;
    FILE *json = memory_open(&text, &n);
    if (!json)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for the page");
    json_write_name(json, params->title ? params->title : "");
    fprintf(json, ",\"older_rows\":%zu,\"comparison\":%s,\"files\":[", content->n_older,
            content->comparison ? content->comparison : "null");
    for (uint32_t i = 0; i < params->n_files; i++) {
        const char *name = strcmp(params->files[i], "-") ? path_name(params->files[i]) : "standard input";
        fputs(i ? ",{\"name\":" : "{\"name\":", json);
        json_write_name(json, name);
        fprintf(json, ",\"rows\":%zu}", content->n_rows[i]);
    }
    fputs("],\"answers\":[", json);
    const enum mn_status status = content->comparison ? MN_OK : write_answers(json, &content->rows, log);
    fputs("]}", json);
    const bool good = memory_close(json, &text, &n);
    if (good)
        write_safe(out, text);
    free(text);
    return status || good ? status : log_fail(log, MN_ERR_MEMORY, "out of host memory for the page");
}

/* To `file`, or to the stream that the parameters name. */
static enum mn_status write_page(const struct page_params *params, struct output_file *file,
                                 const struct content *content, const struct mn_log *log)
{
    FILE *out = file ? file->text : params->out;
    const struct rows *rows = &content->rows;
    fwrite(page_before_about, 1, sizeof page_before_about, out);
    enum mn_status status = write_about(out, params, content, log);
    fwrite(page_before_rows, 1, sizeof page_before_rows, out);
    fputc('[', out);
    for (size_t i = 0; i < rows->n && !status; i++) {
        fputs(i ? ",\n" : "", out);
        status = write_json(out, rows->items[i], log);
        if (!status && file) {
            status = output_flush(file, log);
            out = file->text;
        }
    }
    fputc(']', out);
    fwrite(page_behind_rows, 1, sizeof page_behind_rows, out);
    return status;
}

/* An input is refused before any is read: they may be large. */
static enum mn_status open_output(struct output_file *out, const struct page_params *params, const struct mn_log *log)
{
    struct output_use *uses = calloc(params->n_files + 1, sizeof *uses);
    if (!uses)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a list of files");
    uses[0] = (struct output_use){"--output", params->output, true};
    for (uint32_t i = 0; i < params->n_files; i++)
        uses[i + 1] = (struct output_use){"FILE", params->files[i], false};
    enum mn_status status = output_check(uses, params->n_files + 1, log);
    free(uses);
    return status ? status : output_open(out, params->output, log);
}

/* ---- all of it ---- */

/* Whoever asked for an end before the page has its name gets it. */
static enum mn_status put_page(const struct page_params *params, struct output_file *file,
                               const struct content *content, const struct mn_log *log)
{
    enum mn_status status = params->stop && params->stop() ? MN_ERR_INTERRUPTED : MN_OK;
    if (!status)
        status = write_page(params, file, content, log);
    if (!status && params->stop && params->stop())
        status = MN_ERR_INTERRUPTED;
    if (!status && file)
        status = output_commit(file, log);
    if (!status && file)
        log_note(log, MN_LOG_INFO, "%s: %zu rows", params->output, content->rows.n);
    return status;
}

static enum mn_status read_content(struct content *content, const struct page_params *params, const struct mn_log *log)
{
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < params->n_files && !status; i++) {
        const size_t before = content->rows.n;
        status = page_read(&content->rows, params->files[i], log);
        content->n_rows[i] = content->rows.n - before;
        if (!status && content->rows.n > PAGE_ROWS_MAX)
            status = log_fail(log, MN_ERR_FORMAT, "%s: more than %d rows in all, which no browser would show",
                              params->files[i], PAGE_ROWS_MAX);
    }
    return status ? status : rows_keep_newest(&content->rows, &content->n_older, log);
}

enum mn_status page_write(const struct page_params *params, const struct mn_log *log)
{
    const bool to_file = strcmp(params->output, "-") != 0;
    struct output_file out = {0};
    struct content content = {.n_rows = calloc(params->n_files, sizeof *content.n_rows)};
    enum mn_status status = content.n_rows ? MN_OK
                                           : log_fail(log, MN_ERR_MEMORY, "out of host memory for a list of files");
    if (!status && to_file)
        status = open_output(&out, params, log);
    if (!status)
        status = read_content(&content, params, log);
    if (!status)
        status = put_page(params, to_file ? &out : NULL, &content, log);
    output_discard(&out);
    rows_free(&content.rows);
    free(content.n_rows);
    return status;
}

enum mn_status page_write_comparison(const struct page_params *params, const struct compared *compared,
                                     const struct mn_log *log)
{
    struct output_file out = {0};
    size_t n_rows[2] = {compared->n_rows / 2, compared->n_rows / 2};
    const struct content content = {
        .rows = {.items = compared->rows, .n = compared->n_rows}, .n_rows = n_rows, .comparison = compared->json};
    enum mn_status status = open_output(&out, params, log);
    if (!status)
        status = put_page(params, &out, &content, log);
    output_discard(&out);
    return status;
}
