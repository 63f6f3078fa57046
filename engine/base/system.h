/* What the operating system is asked about the machine and the process: memory, processors, libraries, the environment,
 * terminals, the time of day. Files and folders are engine/files/disk.h's, signals and arguments
 * cli/common/process.h's; the clock is clock.h's. system_posix.c and system_windows.c each have all of it: nothing else
 * in the engine and the programs includes a header of one system (tests/test_layers.py).
 *
 * Texts are UTF-8 on every system. What fails without a status leaves its reason in errno, for strerror.
 * Never: changes anything of the process by itself. Thread-safety: stateless, but for the environment, which is the
 * process's. */
#ifndef MUNINN_ENGINE_BASE_SYSTEM_H
#define MUNINN_ENGINE_BASE_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

/* ---- libraries opened at run time ---- */

/* The names of the Vulkan loader and of NVIDIA's management library here, best first, behind them NULL; and what to
 * install where there is no loader, with the name that was looked for. */
extern const char *const system_vulkan_names[], *const system_nvml_names[];
extern const char system_vulkan_advice[];

/* The first of `names` that there is; NULL: none. Never a file of the working directory. */
void *library_open(const char *const *names);
/* A function of it goes to *function, a pointer to it; false: it has none of that name. */
bool library_find(void *library, const char *name, void *function);
void library_close(void *library);

/* ---- the machine ---- */

/* What the system can give without swapping; UINT64_MAX: it does not say. */
uint64_t system_available_bytes(void);
/* The most memory that this process has had at once; 0: the system does not say. */
uint64_t system_peak_bytes(void);
/* Processors of the machine that are in use, and those of them that this process may use. */
long system_processors(void);
long system_processors_usable(void);
/* The processor's name as its maker has it; false, and `text` as it was: unknown. */
bool system_processor_name(char *text, size_t text_bytes);
/* For programs that compute on Mesa's CPU device (bench/sweep/cpu_device.c): the heap no longer keeps small freed
 * pieces apart, where it is one that does. */
void system_heap_joins_pieces(void);

/* ---- the process ---- */

/* NULL: it is not set. On Windows valid until the same variable is asked for again. */
const char *system_variable(const char *name);
void system_set_variable(const char *name, const char *value); /* NULL: not set any more */
/* Leaves errno alone. */
bool stream_is_terminal(FILE *stream);

/* The calling thread's printf and strtod, and what stands on them, know the point alone until they are put back.
 * Without memory nothing changes. */
struct number_locale {
    void *own, *before;
    char name[128];
    int was;
};
struct number_locale number_locale_begin(void);
void number_locale_end(const struct number_locale *scope);

/* ---- time of day, waiting ---- */

/* For clock.h. */
double system_monotonic_ns(void);
struct tm system_utc(time_t when);
/* False: a signal came. */
bool system_sleep_ms(unsigned ms);
/* False: the system has no random bytes to give. */
bool system_random(void *bytes, size_t n_bytes);
uint64_t system_process_id(void);

/* ---- text that grows in memory, as a stream ---- */

/* NULL: no memory. */
FILE *memory_open(char **text, size_t *n_bytes);
/* Closes it; *text [*n_bytes, and a zero behind] is the caller's to free, also when it failed (false: the stream had an
 * error, or there is no memory). The pointers are those of memory_open. */
bool memory_close(FILE *stream, char **text, size_t *n_bytes);

#endif
