/* Costs of passes (mn_session_costs) kept in files between runs: one for each device, driver, model, cache and machine.
 *
 * Owns: the form of the files, and what one run of a program has measured.
 * Never: decides where they lie; is part of the library.
 * Thread-safety: none. */
#ifndef MUNINN_BENCH_SWEEP_COST_FILE_H
#define MUNINN_BENCH_SWEEP_COST_FILE_H

#include "api/muninn.h"

/* Tables measured or read so far, for later sessions of the same kind: without a folder, a sweep would measure for each
 * of its settings. Zeroed is empty. */
struct cost_memory {
    struct cost_kept *kept;
    uint32_t n;
};
void cost_memory_free(struct cost_memory *memory);

/* Gives the session the table that is kept in `dir`, or measures one and keeps it there. A file that is damaged or of
 * something else is measured anew with a warning; so is one that cannot be written. The folder keeps to the bound of
 * cache_folder.h. dir NULL: measured, kept nowhere. memory (may be NULL) is looked at first, and gets it. */
enum mn_status cost_file_use(struct mn_session *session, const char *dir, struct cost_memory *memory,
                             const struct mn_log *log);

#endif
