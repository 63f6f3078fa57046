/* The depth that nobody asked for. Thread-safety: stateless. */
#ifndef MUNINN_BENCH_ROWS_DEFAULT_DEPTH_H
#define MUNINN_BENCH_ROWS_DEFAULT_DEPTH_H

#include <stdio.h>

#include "api/muninn.h"

/* For a run at the model's own depth: one line that says which, and where it came from, where the number in config.json
 * need not be the one that the model was trained at. Of other families nothing. */
void default_depth_note(FILE *stream, const struct mn_model_info *info);

#endif
