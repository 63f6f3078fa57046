/* cli/chat/edit.h with libedit. */
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "cli/chat/edit.h"
#include "cli/common/interrupt.h"
#include "cli/common/process.h"
#include "engine/base/text.h"

enum { HISTORY_LINES = 1000, WAIT_MS = 200, CHARACTER_BYTES = 4 };

struct editor {
    EditLine *line;
    History *history;
    const char *prompt;
};

static char *say_prompt(EditLine *line)
{
    void *editor = NULL;
    el_get(line, EL_CLIENTDATA, &editor);
    return (char *)(uintptr_t)((struct editor *)editor)->prompt; /* libedit does not write to it */
}

/* A byte, or -1: the end, or a signal, for which libedit's own way to read would go on waiting. */
static int next_byte(void)
{
    char byte;
    while (!cli_interrupted())
        if (process_input_waits(WAIT_MS))
            return process_input_read(&byte, 1) == 1 ? (unsigned char)byte : -1;
    return -1;
}

/* Characters are put together here: libedit would do it as the locale has it. What is none becomes U+FFFD. */
static int next_character(EditLine *line, wchar_t *out)
{
    unsigned char bytes[CHARACTER_BYTES];
    size_t n = 0, bad_bytes = 0;
    (void)line;
    do {
        const int byte = next_byte();
        if (byte < 0)
            return -1;
        bytes[n++] = (unsigned char)byte;
    } while (utf8_step(bytes, n, &bad_bytes) == 0 && bad_bytes == n && bytes[0] >= 0xc2 && bytes[0] <= 0xf4 &&
             n < CHARACTER_BYTES);
    const size_t step = utf8_step(bytes, n, &bad_bytes);
    uint32_t code = step == 0 ? 0xfffd : step == 1 ? bytes[0] : bytes[0] & (0x7fu >> step);
    for (size_t i = 1; i < step; i++)
        code = code << 6 | (bytes[i] & 0x3fu);
    *out = (wchar_t)code;
    return 1;
}

/* What is typed and drawn is UTF-8, whatever the environment says. Numbers keep their point: only characters change. */
static void use_utf8(void)
{
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        setlocale(LC_CTYPE, "C.UTF-8");
}

enum mn_status editor_open(struct editor **out, FILE *screen, const struct mn_log *log)
{
    HistEvent event;
    struct editor *editor = calloc(1, sizeof *editor);
    *out = editor;
    if (!editor)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a line editor");
    use_utf8();
    editor->prompt = "";
    editor->line = el_init("muninn", stdin, screen, stderr);
    editor->history = history_init();
    if (!editor->line || !editor->history) {
        editor_close(editor);
        *out = NULL;
        return log_fail(log, MN_ERR_RUN, "the terminal cannot be used for editing lines");
    }
    history(editor->history, &event, H_SETSIZE, HISTORY_LINES);
    history(editor->history, &event, H_SETUNIQUE, 1);
    el_set(editor->line, EL_CLIENTDATA, editor);
    el_set(editor->line, EL_PROMPT, say_prompt);
    el_set(editor->line, EL_EDITOR, "emacs");
    el_set(editor->line, EL_HIST, history, editor->history);
    el_set(editor->line, EL_GETCFN, next_character);
    el_set(editor->line, EL_BIND, "^R", "em-inc-search-prev", NULL);
    return MN_OK;
}

bool editor_read(struct editor *editor, const char *prompt, const char **line, size_t *n_bytes)
{
    int n = 0;
    editor->prompt = prompt;
    el_set(editor->line, EL_PREP_TERM, 1); /* before the prompt: what is typed at its sight is for the editor */
    *line = el_gets(editor->line, &n);
    if (!*line || n <= 0 || cli_interrupted())
        return false;
    *n_bytes = (size_t)n - ((*line)[n - 1] == '\n');
    return true;
}

void editor_remember(struct editor *editor, const char *line)
{
    HistEvent event;
    history(editor->history, &event, H_ENTER, line);
}

void editor_close(struct editor *editor)
{
    if (!editor)
        return;
    if (editor->line)
        el_end(editor->line);
    if (editor->history)
        history_end(editor->history);
    free(editor);
}
