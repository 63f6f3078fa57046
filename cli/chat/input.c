/* Messages and commands as they are typed, or as a pipe brings them. */
#include <stdlib.h>
#include <string.h>

#include "cli/chat/chat.h"
#include "cli/common/interrupt.h"
#include "cli/common/process.h"
#include "cli/common/progress.h"
#include "engine/base/system.h"
#include "engine/files/lines.h"

enum { IDLE_MS = 200, FENCE_BYTES = 3 };

static const char fence[] = "\"\"\"", prompt[] = "> ", prompt_within[] = ". ";

enum mn_status chat_input_open(struct chat_input *in, const struct mn_log *log)
{
    *in = (struct chat_input){0};
    if (stream_is_terminal(stdin))
        in->prompts = stream_is_terminal(stdout) ? stdout : stream_is_terminal(stderr) ? stderr : NULL;
#ifdef MUNINN_EDIT
    if (in->prompts && process_terminal_redraws())
        return editor_open(&in->editor, in->prompts, log);
#else
    if (in->prompts)
        log_note(log, MN_LOG_INFO, "lines are taken as they are typed: this program was built without libedit");
#endif
    return input_lines_open(&in->lines, log);
}

void chat_input_close(struct chat_input *in)
{
#ifdef MUNINN_EDIT
    editor_close(in->editor);
#endif
    input_lines_close(&in->lines);
}

static enum mn_status plain_line(struct chat_input *in, const char *before, const char **line, size_t *n,
                                 const struct mn_log *log)
{
    enum mn_status status = MN_OK;
    if (in->prompts) {
        fputs(before, in->prompts);
        fflush(in->prompts);
    }
    *line = NULL;
    while (!status && !cli_interrupted()) {
        if (input_lines_next(&in->lines, line, n))
            return MN_OK;
        *line = NULL;
        if (in->lines.ended)
            return MN_OK;
        if (process_input_waits(IDLE_MS))
            status = input_lines_more(&in->lines, log);
    }
    return status;
}

/* *line is NULL at the end, and when a signal came. */
static enum mn_status next_line(struct chat_input *in, bool within, const char **line, size_t *n,
                                const struct mn_log *log)
{
    const char *before = within ? prompt_within : prompt;
    enum mn_status status = MN_OK;
    cli_progress_clear();
#ifdef MUNINN_EDIT
    if (in->editor) {
        if (!editor_read(in->editor, before, line, n))
            *line = NULL;
        else if (!line_is_blank(*line, *n))
            editor_remember(in->editor, *line);
    } else
#endif
        status = plain_line(in, before, line, n, log);
    if (!status && *line && *n && (*line)[*n - 1] == '\r')
        --*n;
    if (!status && !*line && in->prompts) { /* what comes next begins its own line */
        fputc('\n', in->prompts);
        fflush(in->prompts);
    }
    return status;
}

/* `text` [*n_text] grows by a line. */
static enum mn_status add_line(char **text, size_t *n_text, const char *line, size_t n, bool first,
                               const struct mn_log *log)
{
    if (n > TEXT_FILE_BYTES_MAX || *n_text > TEXT_FILE_BYTES_MAX - n)
        return log_fail(log, MN_ERR_FILE, "a message of more than %d bytes", TEXT_FILE_BYTES_MAX);
    char *longer = realloc(*text, *n_text + n + 2);
    if (!longer)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a message of %zu bytes", *n_text + n);
    *text = longer;
    if (!first)
        longer[(*n_text)++] = '\n';
    memcpy(longer + *n_text, line, n);
    *n_text += n;
    longer[*n_text] = '\0';
    return MN_OK;
}

static bool begins(const char *line, size_t n)
{
    return n >= FENCE_BYTES && !memcmp(line, fence, FENCE_BYTES);
}

static bool ends(const char *line, size_t n)
{
    return n >= FENCE_BYTES && !memcmp(line + n - FENCE_BYTES, fence, FENCE_BYTES);
}

/* Behind its first line, which has begun it. */
static enum mn_status read_block(struct chat_input *in, char **text, size_t *n_text, const struct mn_log *log)
{
    const char *line;
    size_t n = 0;
    bool first = true, closed = false;
    enum mn_status status = MN_OK;
    while (!status && !closed) {
        status = next_line(in, true, &line, &n, log);
        if (status || !line)
            break;
        closed = ends(line, n);
        n -= closed ? FENCE_BYTES : 0;
        if (!closed || n > 0) /* the end may have a line of its own */
            status = add_line(text, n_text, line, n, first && *n_text == 0, log);
        first = false;
    }
    if (!status && !closed && !cli_interrupted())
        status = log_fail(log, MN_ERR_USAGE, "a message that began with %s has no end", fence);
    if (!status && !closed) {
        free(*text);
        *text = NULL;
    }
    return status;
}

enum mn_status chat_input_read(struct chat_input *in, char **text, size_t *n_text, const struct mn_log *log)
{
    const char *line = NULL;
    size_t n = 0;
    *text = NULL;
    *n_text = 0;
    enum mn_status status = next_line(in, false, &line, &n, log);
    if (status || !line)
        return status;
    const bool block = in->block = begins(line, n);
    const size_t skip = block ? FENCE_BYTES : 0;
    const bool closed = block && n >= 2 * FENCE_BYTES && ends(line, n);
    if (!block || n > skip)
        status = add_line(text, n_text, line + skip, n - skip - (closed ? FENCE_BYTES : 0), true, log);
    if (!status && block && !closed)
        status = read_block(in, text, n_text, log);
    if (!status && block && !*text && !cli_interrupted()) /* nothing between the two */
        status = add_line(text, n_text, "", 0, true, log);
    if (status) {
        free(*text);
        *text = NULL;
    }
    return status;
}
