/* Result rows as one page for the browser, which needs no network. What it shows is in page.html and the scripts beside
 * it, which the build puts into report_page.h; here the numbers are put in.
 *
 * The rows go in as JSON inside a script element that no browser runs. Every `<` of theirs is written as \u003c, which
 * is the same to a JSON parser and cannot end the element or begin a comment: no name in a row can become markup. */
#include "bench/page/page.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/rows/rows.h"
#include "commit.h"
#include "engine/files/json.h"
#include "report_page.h"

enum { PAGE_ROWS_MAX = 200000, PATH_BYTES = 4096 };

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

static enum mn_status write_json(FILE *out, const cJSON *value, const struct mn_log *log)
{
    char *text = value ? cJSON_PrintUnformatted(value) : NULL;
    if (!text)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for the page");
    write_safe(out, text);
    cJSON_free(text);
    return MN_OK;
}

/* Nothing here changes from run to run: the same rows give the same page. */
static enum mn_status write_about(FILE *out, const struct page_params *params, const size_t *n_rows, size_t n_older,
                                  const struct mn_log *log)
{
    fputs("{\"version\":\"" MN_VERSION "\",\"commit\":\"" MUNINN_COMMIT "\",\"title\":", out);
    char *text = NULL;
    size_t n;
    FILE *json = open_memstream(&text, &n);
    if (!json)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for the page");
    json_write_string(json, params->title, strlen(params->title));
    fprintf(json, ",\"older_rows\":%zu,\"files\":[", n_older);
    for (uint32_t i = 0; i < params->n_files; i++) {
        const char *name = strcmp(params->files[i], "-") ? path_name(params->files[i]) : "standard input";
        fputs(i ? ",{\"name\":" : "{\"name\":", json);
        json_write_string(json, name, strlen(name));
        fprintf(json, ",\"rows\":%zu}", n_rows[i]);
    }
    fputs("]}", json);
    const bool good = fclose(json) == 0;
    if (good)
        write_safe(out, text);
    free(text);
    return good ? MN_OK : log_fail(log, MN_ERR_MEMORY, "out of host memory for the page");
}

static enum mn_status write_page(FILE *out, const struct page_params *params, const struct rows *rows,
                                 const size_t *n_rows, size_t n_older, const struct mn_log *log)
{
    fwrite(page_before_about, 1, sizeof page_before_about, out);
    enum mn_status status = write_about(out, params, n_rows, n_older, log);
    fwrite(page_before_rows, 1, sizeof page_before_rows, out);
    fputc('[', out);
    for (size_t i = 0; i < rows->n && !status; i++) {
        fputs(i ? ",\n" : "", out);
        status = write_json(out, rows->items[i], log);
    }
    fputc(']', out);
    fwrite(page_behind_rows, 1, sizeof page_behind_rows, out);
    return status;
}

/* ---- where it goes ---- */

static enum mn_status check_output(const struct page_params *params, const struct mn_log *log)
{
    struct stat out, in;
    if (lstat(params->output, &out) != 0) /* a link is refused: the file it names would stay as it is */
        return errno == ENOENT
                   ? MN_OK
                   : log_fail(log, MN_ERR_FILE, "%s: cannot be written: %s", params->output, strerror(errno));
    if (!S_ISREG(out.st_mode))
        return log_fail(log, MN_ERR_USAGE, "--output %s: is there and is not a file", params->output);
    for (uint32_t i = 0; i < params->n_files; i++)
        if (stat(params->files[i], &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
            return log_fail(log, MN_ERR_USAGE, "--output %s: is the input %s", params->output, params->files[i]);
    return MN_OK;
}

/* Under another name first: whoever opens the page sees the whole one or the one before. */
static enum mn_status write_file(const struct page_params *params, const struct rows *rows, const size_t *n_rows,
                                 size_t n_older, const struct mn_log *log)
{
    const char *path = params->output;
    char temporary[PATH_BYTES + 16];
    int fd = -1;
    errno = ENAMETOOLONG;
    if (snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) < (int)sizeof temporary)
        fd = mkstemp(temporary);
    FILE *out = fd >= 0 ? fdopen(fd, "w") : NULL;
    enum mn_status status = out ? write_page(out, params, rows, n_rows, n_older, log)
                                : log_fail(log, MN_ERR_FILE, "%s: cannot be written: %s", path, strerror(errno));
    if (out) {
        const mode_t mask = umask(0); /* mkstemp's files are their owner's alone */
        umask(mask);
        errno = 0;
        bool good = !status && fchmod(fd, 0666 & ~mask) == 0 && fflush(out) == 0 && fsync(fd) == 0 && !ferror(out);
        good = fclose(out) == 0 && good;
        good = good && rename(temporary, path) == 0;
        if (!good && !status)
            status = log_fail(log, MN_ERR_RUN, "%s: writing failed: %s", path, strerror(errno));
    } else if (fd >= 0) {
        close(fd);
    }
    if (status && fd >= 0)
        unlink(temporary);
    return status;
}

/* ---- all of it ---- */

enum mn_status page_write(const struct page_params *params, const struct mn_log *log)
{
    const bool to_file = strcmp(params->output, "-") != 0;
    struct rows rows = {0};
    uint64_t n_good;
    size_t *n_rows = calloc(params->n_files, sizeof *n_rows), n_older = 0;
    enum mn_status status = n_rows ? to_file ? check_output(params, log) : MN_OK
                                   : log_fail(log, MN_ERR_MEMORY, "out of host memory for a list of files");
    for (uint32_t i = 0; i < params->n_files && !status; i++) {
        const size_t before = rows.n;
        status = rows_read(&rows, params->files[i], false, &n_good, log);
        n_rows[i] = rows.n - before;
        if (!status && rows.n > PAGE_ROWS_MAX)
            status = log_fail(log, MN_ERR_FORMAT, "%s: more than %d rows in all, which no browser would show",
                              params->files[i], PAGE_ROWS_MAX);
    }
    if (!status)
        status = rows_keep_newest(&rows, &n_older, log);
    if (!status)
        status = to_file ? write_file(params, &rows, n_rows, n_older, log)
                         : write_page(params->out, params, &rows, n_rows, n_older, log);
    if (!status && to_file)
        log_note(log, MN_LOG_INFO, "%s: %zu rows", params->output, rows.n);
    rows_free(&rows);
    free(n_rows);
    return status;
}
