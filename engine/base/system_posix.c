/* engine/base/system.h where there is POSIX. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "engine/base/system.h"

/* ---- libraries ---- */

const char *const system_vulkan_names[] = {"libvulkan.so.1", "libvulkan.so", "libvulkan.dylib", "libMoltenVK.dylib",
                                           NULL};
const char *const system_nvml_names[] = {"libnvidia-ml.so.1", NULL};
const char system_vulkan_advice[] = "libvulkan.so.1 not found; install the package libvulkan1 and a driver "
                                    "(mesa-vulkan-drivers has one for every CPU)";

void *library_open(const char *const *names)
{
    void *library = NULL;
    for (; *names && !library; names++)
        library = dlopen(*names, RTLD_NOW | RTLD_LOCAL);
    return library;
}

/* POSIX promises that dlsym's object pointer converts to a function pointer; ISO C does not, hence the copy. */
bool library_find(void *library, const char *name, void *function)
{
    void *const symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

void library_close(void *library)
{
    dlclose(library);
}

/* ---- the machine ---- */

uint64_t system_available_bytes(void)
{
    char line[128];
    unsigned long long kib = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file))
        found = sscanf(line, "MemAvailable: %llu kB", &kib) == 1;
    if (file)
        fclose(file);
    return found ? (uint64_t)kib * 1024 : UINT64_MAX;
}

uint64_t system_peak_bytes(void)
{
    struct rusage usage;
#ifdef __APPLE__
    const uint64_t unit = 1;
#else
    const uint64_t unit = 1024;
#endif
    return getrusage(RUSAGE_SELF, &usage) == 0 && usage.ru_maxrss > 0 ? (uint64_t)usage.ru_maxrss * unit : 0;
}

/* The text behind "NAME<blanks>: " in the first such line of a file of /proc. False: there is none. */
static bool find_line(const char *path, const char *name, char *text, size_t text_bytes)
{
    char line[512];
    FILE *file = fopen(path, "re");
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file)) {
        const size_t n = strlen(name);
        const char *colon = strchr(line, ':');
        if (!colon || strncmp(line, name, n) != 0 || (size_t)(colon - line) != n + strspn(line + n, " \t"))
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(text, text_bytes, "%.*s", (int)strcspn(colon, "\n"), colon);
        found = true;
    }
    if (file)
        fclose(file);
    return found;
}

long system_processors(void)
{
    return sysconf(_SC_NPROCESSORS_ONLN);
}

long system_processors_usable(void)
{
    char mask[512];
    const long online = system_processors();
    long allowed = 0;
    if (!find_line("/proc/self/status", "Cpus_allowed", mask, sizeof mask))
        return online;
    for (const char *digit = mask; *digit; digit++) {
        const char text[] = {*digit, '\0'};
        for (unsigned long bits = strtoul(text, NULL, 16); bits; bits &= bits - 1)
            allowed++;
    }
    return allowed && allowed < online ? allowed : online;
}

bool system_processor_name(char *text, size_t text_bytes)
{
    return find_line("/proc/cpuinfo", "model name", text, text_bytes);
}

void system_heap_joins_pieces(void)
{
#ifdef M_MXFAST
    mallopt(M_MXFAST, 0);
#endif
}

/* ---- the process ---- */

const char *system_variable(const char *name)
{
    return getenv(name);
}

void system_set_variable(const char *name, const char *value)
{
    if (value)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

bool stream_is_terminal(FILE *stream)
{
    const int error = errno; /* which the answer "no" sets */
    const bool terminal = isatty(fileno(stream)) == 1;
    errno = error;
    return terminal;
}

struct number_locale number_locale_begin(void)
{
    /* The C locale is there from the start: nothing is allocated, nothing fails. */
    const locale_t own = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    return (struct number_locale){.own = own, .before = own ? uselocale(own) : NULL};
}

void number_locale_end(const struct number_locale *scope)
{
    if (!scope->own)
        return;
    uselocale(scope->before);
    freelocale(scope->own);
}

/* ---- time ---- */

double system_monotonic_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

struct tm system_utc(time_t when)
{
    struct tm utc = {0};
    gmtime_r(&when, &utc);
    return utc;
}

bool system_sleep_ms(unsigned ms)
{
    const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    return nanosleep(&pause, NULL) == 0;
}

bool system_random(void *bytes, size_t n_bytes)
{
    const int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC | O_NOCTTY);
    const bool drawn = fd >= 0 && read(fd, bytes, n_bytes) == (ssize_t)n_bytes;
    if (fd >= 0)
        close(fd);
    return drawn;
}

uint64_t system_process_id(void)
{
    return (uint64_t)getpid();
}

/* ---- text in memory ---- */

FILE *memory_open(char **text, size_t *n_bytes)
{
    return open_memstream(text, n_bytes);
}

bool memory_close(FILE *stream, char **text, size_t *n_bytes)
{
    (void)text;
    (void)n_bytes;
    const bool good = !ferror(stream);
    return fclose(stream) == 0 && good;
}
