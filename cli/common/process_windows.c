/* cli/common/process.h where there is Windows. */
#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#include "cli/common/process.h"
/* needs what windows.h has */
#include <shellapi.h>

#include "engine/base/system.h"
#include "engine/base/wide_windows.h"

enum { CLOSING_MS = 10000 /* the system gives less */ };

/* A process has one console. */
static struct {
    UINT input_page, output_page; /* 0: as it was */
    bool redraws;                 /* standard error understands escape sequences */
    void (*handler)(int reason);
} process;

/* ---- the beginning ---- */

static void put_pages_back(void)
{
    if (process.input_page)
        SetConsoleCP(process.input_page);
    if (process.output_page)
        SetConsoleOutputCP(process.output_page);
}

/* Pages of characters belong to the console, which others have after us. */
static void open_console(void)
{
    DWORD mode;
    process.input_page = GetConsoleCP();
    process.output_page = GetConsoleOutputCP();
    if (process.input_page || process.output_page) {
        SetConsoleCP(CP_UTF8);
        SetConsoleOutputCP(CP_UTF8);
        atexit(put_pages_back);
    }
    const HANDLE errors = GetStdHandle(STD_ERROR_HANDLE);
    process.redraws = GetConsoleMode(errors, &mode) &&
                      SetConsoleMode(errors, mode | ENABLE_PROCESSED_OUTPUT | ENABLE_VIRTUAL_TERMINAL_PROCESSING);
}

/* Without a standard stream its number would be given to the next file opened, which would then receive our output. */
static void open_standard_streams(void)
{
    for (int fd = 0; fd < 3; fd++) {
        if (_get_osfhandle(fd) < 0 && _wopen(L"NUL", fd ? _O_WRONLY : _O_RDONLY) < 0)
            _exit(1);
        _setmode(fd, _O_BINARY);
    }
    setvbuf(stderr, NULL, _IONBF, 0);
}

char **process_begin(int argc, char **argv)
{
    int n = 0;
    (void)argv;
    open_standard_streams();
    open_console();
    wchar_t **wide = CommandLineToArgvW(GetCommandLineW(), &n);
    char **texts = wide && n >= argc ? calloc((size_t)n + 1, sizeof *texts) : NULL;
    for (int i = 0; texts && i < n; i++)
        if (!(texts[i] = text_of_wide(wide[i])))
            return NULL; /* the process ends */
    LocalFree((HLOCAL)wide);
    return texts;
}

/* ---- ends ---- */

static BOOL WINAPI on_event(DWORD event)
{
    const bool by_keyboard = event == CTRL_C_EVENT || event == CTRL_BREAK_EVENT;
    process.handler(by_keyboard ? REASON_INTERRUPT : REASON_TERMINATE);
    if (!by_keyboard) /* when this returns, the process is ended */
        Sleep(CLOSING_MS);
    return TRUE;
}

void process_catch(void (*handler)(int reason))
{
    process.handler = handler;
    SetConsoleCtrlHandler(on_event, TRUE);
}

void process_end_at_once(int reason)
{
    TerminateProcess(GetCurrentProcess(), 128 + (UINT)reason);
}

bool process_reader_is_gone(void)
{
    DWORD written;
    const HANDLE output = GetStdHandle(STD_OUTPUT_HANDLE);
    return GetFileType(output) == FILE_TYPE_PIPE && !WriteFile(output, "", 0, &written, NULL) &&
           (GetLastError() == ERROR_NO_DATA || GetLastError() == ERROR_BROKEN_PIPE);
}

/* Of a pipe the system says how much there is, but lets nobody wait for it; the others can be waited for. */
bool process_input_waits(int milliseconds)
{
    const HANDLE input = GetStdHandle(STD_INPUT_HANDLE);
    if (GetFileType(input) != FILE_TYPE_PIPE)
        return WaitForSingleObject(input, (DWORD)milliseconds) == WAIT_OBJECT_0;
    for (int waited = 0;; waited += 10) {
        DWORD n = 0;
        if (!PeekNamedPipe(input, NULL, 0, NULL, &n, NULL) || n > 0) /* a closed pipe is at its end */
            return true;
        if (waited >= milliseconds)
            return false;
        Sleep(10);
    }
}

long process_input_read(char *bytes, size_t n_bytes)
{
    return _read(0, bytes, (unsigned)n_bytes);
}

/* ---- the terminal ---- */

size_t process_terminal_columns(void)
{
    CONSOLE_SCREEN_BUFFER_INFO info;
    return GetConsoleScreenBufferInfo(GetStdHandle(STD_ERROR_HANDLE), &info)
               ? (size_t)(info.srWindow.Right - info.srWindow.Left + 1)
               : 0;
}

bool process_terminal_redraws(void)
{
    return process.redraws;
}

/* ---- places ---- */

bool process_executable(char *path, size_t path_bytes)
{
    enum { WIDE_MAX = 32768 };
    wchar_t *wide = malloc(WIDE_MAX * sizeof *wide);
    const DWORD n = wide ? GetModuleFileNameW(NULL, wide, WIDE_MAX) : 0;
    char *text = n > 0 && n < WIDE_MAX ? path_of_wide(wide) : NULL;
    const bool good = text && strlen(text) < path_bytes;
    if (good)
        strcpy(path, text);
    free(text);
    free(wide);
    return good;
}

bool process_cache_home(char *path, size_t path_bytes)
{
    const char *home = system_variable("LOCALAPPDATA");
    return home && *home && (size_t)snprintf(path, path_bytes, "%s", home) < path_bytes;
}
