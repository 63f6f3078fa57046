/* Costs of passes (mn_session_costs) kept in files between runs: one for each device, driver, model, cache and machine.
 *
 * Owns: the form of the files.
 * Never: decides where they lie; is part of the library.
 * Thread-safety: none. */
#ifndef MUNINN_BENCH_SWEEP_COST_FILE_H
#define MUNINN_BENCH_SWEEP_COST_FILE_H

#include "api/muninn.h"

/* Gives the session the table that is kept in `dir`, or measures one and keeps it there. A file that is damaged or of
 * something else is measured anew with a warning; so is one that cannot be written. The folder keeps to the bound of
 * cache_folder.h. dir NULL: measured, kept nowhere. */
enum mn_status cost_file_use(struct mn_session *session, const char *dir, const struct mn_log *log);

#endif
