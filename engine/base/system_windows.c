/* engine/base/system.h where there is Windows. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <io.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/system.h"
/* needs what windows.h has */
#include <windows.h>
/* */
#include <bcrypt.h>
#include <psapi.h>

#include "engine/base/wide_windows.h"

/* ---- libraries ---- */

const char *const system_vulkan_names[] = {"vulkan-1.dll", NULL};
const char *const system_nvml_names[] = {"nvml.dll", NULL};
const char system_vulkan_advice[] = "vulkan-1.dll not found; install the driver of the graphics card's maker, which "
                                    "brings it";

/* A name alone is looked for beside the program and in the system's folders. */
void *library_open(const char *const *names)
{
    void *library = NULL;
    for (; *names && !library; names++) {
        wchar_t *name = wide_of(*names);
        const bool bare = !strpbrk(*names, "/\\:");
        if (name)
            library = (void *)LoadLibraryExW(name, NULL, bare ? LOAD_LIBRARY_SEARCH_DEFAULT_DIRS : 0);
        free(name);
    }
    return library;
}

bool library_find(void *library, const char *name, void *function)
{
    const FARPROC found = GetProcAddress((HMODULE)library, name);
    memcpy(function, &found, sizeof found);
    return found != NULL;
}

void library_close(void *library)
{
    FreeLibrary((HMODULE)library);
}

/* ---- the machine ---- */

uint64_t system_available_bytes(void)
{
    MEMORYSTATUSEX memory = {.dwLength = sizeof memory};
    return GlobalMemoryStatusEx(&memory) ? memory.ullAvailPhys : UINT64_MAX;
}

uint64_t system_peak_bytes(void)
{
    PROCESS_MEMORY_COUNTERS counters = {.cb = sizeof counters};
    return GetProcessMemoryInfo(GetCurrentProcess(), &counters, sizeof counters) ? counters.PeakWorkingSetSize : 0;
}

long system_processors(void)
{
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return (long)info.dwNumberOfProcessors;
}

long system_processors_usable(void)
{
    DWORD_PTR own, all;
    long n = 0;
    if (!GetProcessAffinityMask(GetCurrentProcess(), &own, &all))
        return system_processors();
    for (; own; own &= own - 1)
        n++;
    return n ? n : system_processors(); /* 0: in several groups */
}

bool system_processor_name(char *text, size_t text_bytes)
{
    wchar_t wide[128];
    DWORD n = sizeof wide;
    if (RegGetValueW(HKEY_LOCAL_MACHINE, L"HARDWARE\\DESCRIPTION\\System\\CentralProcessor\\0", L"ProcessorNameString",
                     RRF_RT_REG_SZ, NULL, wide, &n) != ERROR_SUCCESS)
        return false;
    char *name = text_of_wide(wide);
    if (name)
        snprintf(text, text_bytes, "%.*s", (int)text_bytes - 1, name + strspn(name, " "));
    free(name);
    return name != NULL;
}

void system_heap_joins_pieces(void)
{
}

/* ---- the process ---- */

enum { VARIABLES_MAX = 16 }; /* different ones that are asked for */

const char *system_variable(const char *name)
{
    static struct {
        const char *name;
        char *value;
    } known[VARIABLES_MAX];
    int i = 0;
    while (i < VARIABLES_MAX - 1 && known[i].name && strcmp(known[i].name, name) != 0)
        i++;
    wchar_t *wide = wide_of(name);
    const wchar_t *value = wide ? _wgetenv(wide) : NULL;
    free(known[i].value);
    known[i].name = name;
    known[i].value = value ? text_of_wide(value) : NULL;
    free(wide);
    return known[i].value;
}

/* An empty value is none. For this C library and, through it, for the system, from which those of other libraries take
 * it. */
void system_set_variable(const char *name, const char *value)
{
    wchar_t *wide_name = wide_of(name), *wide_value = wide_of(value ? value : "");
    if (wide_name && wide_value)
        _wputenv_s(wide_name, wide_value);
    free(wide_name);
    free(wide_value);
}

/* isatty would take any device, NUL too. */
bool stream_is_terminal(FILE *stream)
{
    DWORD mode;
    const int error = errno, fd = _fileno(stream);
    const bool terminal = fd >= 0 && GetConsoleMode((HANDLE)_get_osfhandle(fd), &mode);
    errno = error;
    return terminal;
}

struct number_locale number_locale_begin(void)
{
    struct number_locale scope = {.own = NULL};
    if (!strcmp(localeconv()->decimal_point, "."))
        return scope;
    scope.was = _configthreadlocale(_ENABLE_PER_THREAD_LOCALE);
    const char *before = setlocale(LC_NUMERIC, NULL);
    if (!before || strlen(before) >= sizeof scope.name)
        return scope;
    strcpy(scope.name, before);
    setlocale(LC_NUMERIC, "C");
    return scope;
}

void number_locale_end(const struct number_locale *scope)
{
    if (scope->name[0])
        setlocale(LC_NUMERIC, scope->name);
    if (scope->was && scope->was != _ENABLE_PER_THREAD_LOCALE)
        _configthreadlocale(scope->was);
}

/* ---- time ---- */

double system_monotonic_ns(void)
{
    LARGE_INTEGER now, per_second;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&per_second);
    const LONGLONG seconds = now.QuadPart / per_second.QuadPart, rest = now.QuadPart % per_second.QuadPart;
    return (double)seconds * 1e9 + (double)rest * 1e9 / (double)per_second.QuadPart;
}

struct tm system_utc(time_t when)
{
    struct tm utc = {0};
    gmtime_s(&utc, &when);
    return utc;
}

bool system_sleep_ms(unsigned ms)
{
    Sleep(ms);
    return true;
}

bool system_random(void *bytes, size_t n_bytes)
{
    return BCryptGenRandom(NULL, bytes, (ULONG)n_bytes, BCRYPT_USE_SYSTEM_PREFERRED_RNG) == 0;
}

uint64_t system_process_id(void)
{
    return GetCurrentProcessId();
}

/* ---- text in memory ---- */

/* There are no streams into memory: a file that the system keeps there as long as it can, with a name nobody has, and
 * that is gone when it is closed. To make one takes longer than most texts: the last that was not needed any more is
 * kept for the next text. */
static void *volatile spare; /* FILE, empty */

static HANDLE open_temporary(void)
{
    wchar_t folder[MAX_PATH + 1], path[MAX_PATH + 64];
    uint64_t number = 0;
    const DWORD n = GetTempPathW(MAX_PATH + 1, folder);
    if (n == 0 || n > MAX_PATH || !system_random(&number, sizeof number))
        return INVALID_HANDLE_VALUE;
    swprintf(path, sizeof path / sizeof *path, L"%ls.muninn-%016" PRIx64 ".text", folder, number);
    return CreateFileW(path, GENERIC_READ | GENERIC_WRITE | DELETE, 0, NULL, CREATE_NEW,
                       FILE_ATTRIBUTE_TEMPORARY | FILE_FLAG_DELETE_ON_CLOSE, NULL);
}

FILE *memory_open(char **text, size_t *n_bytes)
{
    *text = NULL;
    *n_bytes = 0;
    FILE *kept = InterlockedExchangePointer(&spare, NULL);
    const HANDLE handle = kept ? INVALID_HANDLE_VALUE : open_temporary();
    if (kept)
        return kept;
    if (handle == INVALID_HANDLE_VALUE) {
        wide_set_errno();
        return NULL;
    }
    const int fd = _open_osfhandle((intptr_t)handle, _O_BINARY | _O_RDWR | _O_NOINHERIT);
    FILE *stream = fd >= 0 ? _fdopen(fd, "w+b") : NULL;
    if (!stream && fd >= 0)
        _close(fd);
    else if (!stream)
        CloseHandle(handle);
    return stream;
}

bool memory_close(FILE *stream, char **text, size_t *n_bytes)
{
    bool good = !ferror(stream) && fflush(stream) == 0 && fseek(stream, 0, SEEK_END) == 0;
    const __int64 n = good ? _ftelli64(stream) : -1;
    char *bytes = n >= 0 ? malloc((size_t)n + 1) : NULL;
    good = bytes && fseek(stream, 0, SEEK_SET) == 0 && fread(bytes, 1, (size_t)n, stream) == (size_t)n;
    rewind(stream);
    if (!good || _chsize_s(_fileno(stream), 0) != 0 || (stream = InterlockedExchangePointer(&spare, stream)) != NULL)
        fclose(stream);
    if (good) {
        bytes[n] = '\0';
        *text = bytes;
        *n_bytes = (size_t)n;
        return true;
    }
    free(bytes);
    return false;
}
