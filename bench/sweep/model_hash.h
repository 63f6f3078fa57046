/* A short name for the content of a model folder, for results that are compared later. */
#ifndef MUNINN_BENCH_SWEEP_MODEL_HASH_H
#define MUNINN_BENCH_SWEEP_MODEL_HASH_H

#include "engine/base/hash.h"
#include "engine/base/status.h"

/* FNV-1a of config.json and of the tensor files' names, sizes, beginnings and ends, as hexadecimal digits: `text`
 * [HASH_TEXT_BYTES]. MN_ERR_FILE. */
enum mn_status model_hash(const char *dir, char *text, const struct mn_log *log);

#endif
