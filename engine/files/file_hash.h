/* The hash of a whole file's bytes. Never: waits for a pipe or a device: only plain files have a hash (input.h).
 * Thread-safety: stateless. */
#ifndef MUNINN_ENGINE_FILES_FILE_HASH_H
#define MUNINN_ENGINE_FILES_FILE_HASH_H

#include "engine/base/hash.h"
#include "engine/base/status.h"

/* Takes dir/name, its name and all its bytes, into *hash. A file that is not there leaves it as it is. MN_ERR_FILE: not
 * a plain file, or unreadable. MN_ERR_MEMORY. */
enum mn_status file_hash(uint64_t *hash, const char *dir, const char *name, const struct mn_log *log);

#endif
