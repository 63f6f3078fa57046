/* Files that others made and a folder's names lead to: opened so that no name can make us wait, read at a place, and
 * told apart from what people have in their stead.
 *
 * Owns: what may be opened (a plain file, through links), what counts as absent (a name that is not there; a link that
 *       leads nowhere is damage), the reasons when it cannot be.
 * Never: follows a name into a pipe, a device or a folder; keeps anything.
 * Thread-safety: stateless.
 */
#ifndef MUNINN_ENGINE_FILES_INPUT_H
#define MUNINN_ENGINE_FILES_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

enum { INPUT_HEAD_BYTES = 64 }; /* enough for input_instead */

/* False only when there is no such name. Whatever else stands in the way, opening the file says it. */
bool input_exists(const char *path);

/* Opens a plain file for reading; the caller closes *fd with input_close. MN_ERR_FILE: no such file, a link that leads
 * nowhere or in circles, no permission, or something that is no plain file; MN_ERR_MEMORY;
 * *fd is -1 then. */
enum mn_status input_open(int *fd, uint64_t *n_bytes, const char *path, const struct mn_log *log);
void input_close(int *fd); /* -1 is fine, and what it is then */

/* Reads bytes [offset, offset + n_bytes). MN_ERR_FILE: an I/O error, or the file has become shorter. */
enum mn_status input_read(int fd, const char *path, uint64_t offset, uint64_t n_bytes, void *out,
                          const struct mn_log *log);

/* Reads a plain file of at most cap_bytes to *bytes (malloc'ed, zero-terminated behind n_bytes). Errors of both, and
 * MN_ERR_FORMAT: larger; MN_ERR_MEMORY. */
enum mn_status input_read_all(char **bytes, size_t *n_bytes, const char *path, size_t cap_bytes,
                              const struct mn_log *log);

/* What a file is, by its first bytes, that is neither JSON nor tensors but lies where those should: a Git LFS pointer,
 * a web page, nothing at all. NULL: none of these. A text for a message: "FILE: TEXT". */
const char *input_instead(const void *bytes, size_t n_bytes);

#endif
