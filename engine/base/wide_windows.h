/* Windows alone: texts between UTF-8, as everybody here has them, and UTF-16, as the system takes them; its error codes
 * as errno. Only X_windows.c files include it. Thread-safety: stateless. */
#ifndef MUNINN_ENGINE_BASE_WIDE_WINDOWS_H
#define MUNINN_ENGINE_BASE_WIDE_WINDOWS_H

#include <stddef.h>
#include <wchar.h>

/* A path as the system takes it: one of a usual length takes no memory, so that looking at a file cannot run out of it.
 * wide_path: NULL with errno, as below; a path of a plain kind that is too long for the system's usual calls gets the
 * prefix that lifts the limit. wide_path_end keeps errno. */
enum { WIDE_PATH_PLAIN = 240 /* folders have less room than MAX_PATH */ };
struct wide_path {
    wchar_t here[WIDE_PATH_PLAIN + 1];
    wchar_t *longer; /* malloc'ed, or NULL */
};
const wchar_t *wide_path(struct wide_path *wide, const char *path);
void wide_path_end(struct wide_path *wide);

/* malloc'ed. NULL with errno: ENOMEM, or EILSEQ for what is no UTF-8 or UTF-16. */
wchar_t *wide_of(const char *text);
char *text_of_wide(const wchar_t *wide);
/* The same with '/' in place of '\', and without a prefix that lifts limits. */
char *path_of_wide(const wchar_t *wide);

/* Sets errno to what GetLastError says. */
void wide_set_errno(void);

#endif
