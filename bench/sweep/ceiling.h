/* The ceiling of a device: what it can read, in rest. Measured with nothing loaded, before anything else runs on the
 * device, several times; kept per device, driver and machine (and worker threads of a CPU device) in files between
 * runs, so that a run can say that today's is out of line.
 *
 * Owns: the form of the files (ceiling-<16 hexadecimal digits>.json in the folder of cost_file.h, under its rules), and
 * what one run of a program has measured. Never: fails a run because of a file. Thread-safety: none. */
#ifndef MUNINN_BENCH_SWEEP_CEILING_H
#define MUNINN_BENCH_SWEEP_CEILING_H

#include <stdbool.h>
#include <stddef.h>

#include "api/muninn.h"

enum { CEILING_KEPT = 8, CEILING_TIME_BYTES = 32, CEILING_CAUSE_BYTES = 128 };

struct ceiling {
    double gb_s;                   /* median of the repeats, 10^9 bytes per second; 0: not measured */
    double spread;                 /* (largest - smallest) / median */
    double seconds;                /* that measuring took: about what it takes again */
    char time[CEILING_TIME_BYTES]; /* UTC, when it was measured */
};

/* What was measured so far, by device as asked for and its threads. Zeroed is empty. */
struct ceiling_memory {
    struct ceiling_known *known;
    uint32_t n;
};
void ceiling_memory_free(struct ceiling_memory *memory);

struct ceiling_params {
    const char *device, *cpu_threads;
    const char *dir; /* NULL: kept nowhere */
    struct mn_progress progress;
    const struct mn_log *log;
};
/* From memory, which gets it, or measured on a device on which nothing runs. What earlier runs had is read, and added
 * to; where it differs there is a warning. Fails as mn_engine_create and mn_read_bandwidth do. */
enum mn_status ceiling_at_rest(struct ceiling *ceiling, struct ceiling_memory *memory,
                               const struct ceiling_params *params);
/* The same on an engine that has worked; kept nowhere. Where it differs from `rest` there is a warning. */
enum mn_status ceiling_at_end(struct ceiling *end, const struct ceiling *rest, struct mn_engine *engine,
                              const struct mn_log *log);

/* Is one out of line with the other: by more than a tenth, and by more than either spread? */
bool ceiling_differs(double gb_s, double spread, double other_gb_s, double other_spread);

/* Why something read more than the ceiling allows: `what` ("a core step") reads `bytes` of weights again and again.
 * text [CEILING_CAUSE_BYTES]. root: of host_cache_find. */
void ceiling_cause(char *text, const struct ceiling *ceiling, double percent, const char *what, double bytes,
                   bool is_cpu, const char *root);

/* ---- ceiling_file.c ---- */

/* Medians at rest of earlier runs, the newest last. */
struct ceiling_history {
    uint32_t n;
    double gb_s[CEILING_KEPT], spread[CEILING_KEPT];
    double seconds[CEILING_KEPT]; /* since 1970 */
};
/* Reads what is kept under `key` in `dir`; nothing, or something else, is an empty history. */
void ceiling_file_read(struct ceiling_history *history, const char *dir, const char *key);
/* Adds one, the oldest goes. False: it could not be written. */
bool ceiling_file_add(struct ceiling_history *history, const char *dir, const char *key, const struct ceiling *now,
                      double seconds);

#endif
