/* Files that people keep, written so that a plain file is only ever replaced by a complete one. What stands at the path
 * decides:
 *   a plain file, or nothing   written beside it under a name nobody can guess, renamed over it at the end; the rights
 *                              are those of the file it replaces, or of a new file
 *   a symbolic link            followed: the file that it leads to is replaced and the link stays; a link that leads
 *                              nowhere is refused
 *   a pipe, a character device written through as it comes; so is /dev/stdout or /dev/fd/N, whatever stands behind it
 *   a folder, a socket, a disk refused
 * Files that grow (output_append) keep to the same rule, but that a plain file gets what is new at its end: a piece
 * that did not fit is cut off again.
 *
 * Owns: the descriptor, and the file beside until it has its name. Never: empties a file; leaves a part of one; follows
 * a link that it has not looked at; buffers more than one piece. Thread-safety: one thread per object. */
#ifndef MUNINN_ENGINE_FILES_OUTPUT_FILE_H
#define MUNINN_ENGINE_FILES_OUTPUT_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/base/status.h"
#include "engine/files/disk.h"

enum { OUTPUT_PATH_BYTES = 4096 };

/* Zeroed is closed. Stays where it is while it is open. */
struct output_file {
    FILE *text;       /* the piece that is being written; output_flush hands it on and makes a new one */
    uint64_t n_bytes; /* handed to the system so far */
    /* the module's own */
    const char *path; /* borrowed, for messages */
    char *pieces[2];  /* of `text` and of the one to come */
    size_t n_piece[2];
    int now; /* which is `text`'s */
    int fd;  /* -1: the file beside is made when there is something to put into it */
    enum { OUTPUT_CLOSED, OUTPUT_REPLACES, OUTPUT_APPENDS, OUTPUT_THROUGH } kind;
    bool is_old;          /* OUTPUT_REPLACES: there is a file, which `old` describes */
    bool failed;          /* a failure was reported: nothing more is written */
    struct disk_info old; /* of what stands there */
    uint64_t end;         /* OUTPUT_APPENDS: bytes up to the last whole piece */
    char target[OUTPUT_PATH_BYTES], beside[OUTPUT_PATH_BYTES]; /* behind all links; beside is "" until it is made */
};

/* Finds out what stands at `path` (borrowed) and whether it can be written; a plain file stays as it is until
 * output_commit. A pipe waits here for its reader, but not for long. MN_ERR_FILE, MN_ERR_USAGE for what cannot be an
 * output, MN_ERR_INTERRUPTED when a signal ended the wait. On failure `out` is closed. */
enum mn_status output_open(struct output_file *out, const char *path, const struct mn_log *log);
/* The same for a file that grows; a plain file is made when it is not there. */
enum mn_status output_append(struct output_file *out, const char *path, const struct mn_log *log);

/* Hands what is in `text` to the system, whole: where it does not fit, a file that grows is cut off behind the piece
 * before. MN_ERR_RUN with the cause, which is reported once. */
enum mn_status output_flush(struct output_file *out, const struct mn_log *log);
/* The same, then `data` [n_bytes], which need not be copied. */
enum mn_status output_write(struct output_file *out, const void *data, size_t n_bytes, const struct mn_log *log);
/* A file that grows: cuts it off behind its first n_bytes. */
enum mn_status output_cut(struct output_file *out, uint64_t n_bytes, const struct mn_log *log);
/* Waits until what was handed on is on the disk. */
enum mn_status output_sync(struct output_file *out, const struct mn_log *log);

/* The last piece, on the disk, under its own name. Closes it, also when it fails: then an old file is still there. */
enum mn_status output_commit(struct output_file *out, const struct mn_log *log);
/* Forgets what was to replace the old file; what was appended or written through stays. Closed already: does
 * nothing. */
void output_discard(struct output_file *out);

/* A number for a name beside another one. Nobody gains by a guess, where no name is taken that is there: what it has to
 * be is free. */
uint64_t output_draw_name(void);

/* ---- output_check.c ---- */

/* A file that a run reads or writes. */
struct output_use {
    const char *name; /* of the option, for messages */
    const char *path; /* NULL: none. "-": standard input, if it is read. A folder: the model files in it */
    bool written;
};

/* Refuses an output that is an input or another output, whatever the spelling: the same file of the same device, or the
 * same name in the same folder where there is none yet. MN_ERR_USAGE names both. Called before anything runs. */
enum mn_status output_check(const struct output_use *uses, size_t n, const struct mn_log *log);

#endif
