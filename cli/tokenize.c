/* muninn tokenize: JSON lines of text to JSON lines of ids. Needs tokenizer.json only, no device. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/common/output.h"
#include "cli/common/paths.h"
#include "engine/files/json.h"
#include "engine/files/lines.h"

struct tokenize_options {
    const char *model;
};

static enum mn_status encode_line(struct mn_engine *engine, const char *line, size_t n_bytes, const struct mn_log *log)
{
    struct json_doc doc = {0};
    uint32_t *ids = NULL;
    size_t n_ids = 0, n_decoded = 0;
    char *decoded = NULL;
    const char *text;
    enum mn_status status = json_parse(&doc, "JSON", line, n_bytes, TEXT_FILE_BYTES_MAX, log);
    if (!status)
        status = json_get_string(&doc, doc.root, "text", TEXT_FILE_BYTES_MAX, &text);
    if (!status)
        status = mn_tokenize(engine, text, strlen(text), true, &ids, &n_ids);
    if (!status)
        status = mn_detokenize(engine, ids, n_ids, false, &decoded, &n_decoded);
    if (!status) {
        putchar('{');
        cli_json_ids("ids", ids, n_ids, true);
        cli_json_key("decoded", false);
        json_write_string(stdout, decoded, n_decoded);
        puts("}");
    }
    free(decoded);
    free(ids);
    json_destroy(&doc);
    /* Text that the tokenizer refuses is a bad input line, like a line that is not JSON. */
    return status == MN_ERR_USAGE ? MN_ERR_FORMAT : status;
}

/* Messages of the tokenizer: with the line, once there is one. */
static void write_log(void *user, enum mn_log_level level, const char *text)
{
    const struct line_log *at = user;
    if (at->line)
        line_log_write(user, level, text);
    else
        log_note(at->next, level, "%s", text);
}

/* `log` writes to `at`, whose line is the one being read. */
static enum mn_status encode_lines(struct mn_engine *engine, struct line_log *at, const struct mn_log *log)
{
    enum mn_status status = MN_OK;
    char *line = NULL;
    size_t capacity = 0, n = 0;
    while (!status && line_read(stdin, &line, &capacity, &n)) {
        at->line++;
        const size_t mark = at->line == 1 ? json_byte_order_mark(line, n) : 0;
        if (line_is_blank(line + mark, n - mark))
            continue;
        status = encode_line(engine, line + mark, n - mark, log);
        /* Per line, so that a program at the other end of two pipes gets its answer. */
        if (!status)
            status = cli_flush(at->next);
    }
    if (!status && !feof(stdin))
        status = log_fail(at->next, errno == ENOMEM ? MN_ERR_MEMORY : MN_ERR_FILE,
                          "standard input: line %zu: cannot be read: %s", at->line + 1, strerror(errno));
    free(line);
    return status;
}

static enum mn_status run(const void *values, const struct mn_log *log)
{
    const struct tokenize_options *options = values;
    char dir[CLI_PATH_BYTES];
    struct line_log at = {.next = log, .source = "standard input"};
    const struct mn_log with_line = {.write = write_log, .user = &at};
    struct mn_engine *engine = NULL;
    enum mn_status status = cli_model_dir(options->model, dir, log);
    if (!status)
        status = mn_engine_create(
            &engine, &(struct mn_engine_params){.model_dir = dir, .tokenizer_only = true, .log = &with_line});
    if (!status)
        status = encode_lines(engine, &at, &with_line);
    mn_engine_destroy(engine);
    return status;
}

static const struct command_option table[] = {
    {.name = "model",
     .letter = 'm',
     .kind = OPTION_TEXT,
     .offset = offsetof(struct tokenize_options, model),
     .argument = "DIR",
     .shown = "$MUNINN_MODEL, else raven-deep",
     .help = "folder with tokenizer.json"},
};

const struct command command_tokenize = {
    .name = "tokenize",
    .summary = "Turns JSON lines {\"text\":...} on stdin into {\"ids\":[...],\"decoded\":\"...\"}.",
    .synopsis = "[-m DIR] < lines.jsonl",
    .example = "echo '{\"text\":\"sort 2 8 0 1 :\"}' | muninn tokenize",
    .notes =
        "Special tokens in the text are recognised; no begin token is added. Needs no device. Blank lines are skipped.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .values_bytes = sizeof(struct tokenize_options),
    .run = run};
