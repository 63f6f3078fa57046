/* Files and folders as the operating system has them: disk_posix.c and disk_windows.c each have all of it.
 *
 * Owns: how something is opened, what stands at a path, which names are folders' and which are files'. Paths are UTF-8
 * on every system, without a limit of their own. What fails leaves its reason in errno, for strerror. Descriptors are
 * not handed down to child processes. Interrupted calls are repeated.
 * Never: says anything; decides what may be read or written (input.h and output_file.h do).
 * Thread-safety: stateless; one thread per folder. */
#ifndef MUNINN_ENGINE_FILES_DISK_H
#define MUNINN_ENGINE_FILES_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- what stands there ---- */

enum disk_kind { DISK_PLAIN, DISK_FOLDER, DISK_LINK, DISK_PIPE, DISK_SOCKET, DISK_BLOCKS, DISK_DEVICE };
struct disk_info {
    enum disk_kind kind;
    bool own;                      /* this user's */
    uint32_t rights, owner, group; /* 0 where files have none of these */
    uint64_t device, number;       /* the same pair is the same file; 0 and 0: the system does not say */
    uint64_t n_bytes;
    int64_t changed_ns; /* since 1970 */
};
/* Behind all links; disk_look_here: of a link itself. */
bool disk_look(struct disk_info *info, const char *path);
bool disk_look_here(struct disk_info *info, const char *path);
bool disk_look_open(struct disk_info *info, int fd);
bool disk_is_same(const struct disk_info *a, const struct disk_info *b);
/* What a link leads to, zero-terminated and cut at n_bytes; the length, or -1. */
int64_t disk_read_link(const char *path, char *target, size_t n_bytes);
/* Can something new be made in this folder? Can this file be written? */
bool disk_may_make(const char *folder);
bool disk_may_write(const char *path);

/* ---- paths ---- */

/* Bytes of the folder's part, with what separates it from the name; 0 for a bare name. */
size_t path_folder_bytes(const char *path);
/* Bytes without the separators at its end; those of the root stay. */
size_t path_bytes(const char *path);
bool path_is_absolute(const char *path);
/* The path of what this leads to, without links, '/' between its names; malloc'ed, or NULL. */
char *path_real(const char *path);

/* ---- opening; -1: errno ---- */

int disk_open_read(const char *path);                 /* waits for nobody, whatever it is */
int disk_open_write(const char *path, bool at_end);   /* what is there: a terminal, a device */
int disk_open_pipe(const char *path);                 /* ENXIO: nobody reads it */
int disk_open_grow(const char *path, bool make);      /* no link; reads, and writes at the end */
int disk_open_new(const char *path, uint32_t rights); /* there is nothing of that name yet: EEXIST */
int disk_duplicate(int fd);
bool disk_close(int fd);
/* fopen. */
FILE *disk_stream(const char *path, const char *mode);
/* A stream to which everything can be written and nothing is kept. */
FILE *disk_nowhere(void);

/* ---- reading, writing ---- */

/* Bytes read, fewer at the end of the file; -1. Does not move a place in the file that others share. */
int64_t disk_read_at(int fd, void *bytes, size_t n_bytes, uint64_t offset);
bool disk_write(int fd, const void *bytes, size_t n_bytes); /* all of them */
bool disk_cut(int fd, uint64_t n_bytes);
/* Until it is on the disk. True, too, for what cannot be waited for. */
bool disk_sync(int fd);
/* Against every other process that asks in the same way; false: another one has it. File systems without locks: true.
 * Ends when the file is closed. */
bool disk_lock(int fd);
/* The owner and rights of an old file for a new one, as far as this process may give them. */
bool disk_take_rights(int fd, const struct disk_info *old);

/* ---- names ---- */

/* Over a file that is there; a folder over an empty one. */
bool disk_rename(const char *from, const char *to);
bool disk_remove(const char *path);
bool disk_touch(const char *path); /* changed now */
bool folder_make(const char *path, uint32_t rights);
bool folder_remove(const char *path);
bool folder_sync(const char *path);

/* ---- what is in a folder ---- */

struct folder;
struct folder *folder_open(const char *path);
/* The next name but "." and "..", valid until the next call; NULL: there is none. */
const char *folder_next(struct folder *folder);
void folder_close(struct folder *folder); /* NULL is fine */
/* Of the folder that was opened, whatever its path leads to by now. No links. */
bool folder_look_here(struct disk_info *info, struct folder *folder, const char *name);
int folder_open_read(struct folder *folder, const char *name);
bool folder_remove_file(struct folder *folder, const char *name);

#endif
