/* A folder that is only ever there complete: written beside its place under a name of its own (PATH.partial-..),
 * renamed at the end. Its place must be free, or an empty folder.
 *
 * Owns: the folder beside and all in it, until it has its name. Never: replaces anything; follows a link at its place.
 * Thread-safety: one thread per object. */
#ifndef MUNINN_ENGINE_FILES_OUTPUT_FOLDER_H
#define MUNINN_ENGINE_FILES_OUTPUT_FOLDER_H

#include "engine/files/output_file.h"

/* Zeroed is closed. */
struct output_folder {
    char target[OUTPUT_PATH_BYTES], beside[OUTPUT_PATH_BYTES]; /* beside is "" until it is made */
};

/* Makes the folder beside `path`. `input`: a folder that the run reads; a path that is that one, or inside it, is
 * refused. MN_ERR_USAGE: the same, something is there, an empty path. MN_ERR_FILE: it cannot be made. On failure
 * `out` is closed. */
enum mn_status output_folder_open(struct output_folder *out, const char *path, const char *input,
                                  const struct mn_log *log);
/* Path of a file in the folder beside, in `path` [OUTPUT_PATH_BYTES]. MN_ERR_FILE: too long. */
enum mn_status output_folder_path(const struct output_folder *out, const char *name, char *path,
                                  const struct mn_log *log);
/* On the disk, under its own name. Closes it; when that fails there is nothing. MN_ERR_RUN. */
enum mn_status output_folder_commit(struct output_folder *out, const struct mn_log *log);
/* Removes the folder beside with all in it. Closed already: does nothing. */
void output_folder_discard(struct output_folder *out);

#endif
