/* Windows alone: texts between UTF-8, as everybody here has them, and UTF-16, as the system takes them; its error codes
 * as errno. Only X_windows.c files include it. Thread-safety: stateless. */
#ifndef MUNINN_ENGINE_BASE_WIDE_WINDOWS_H
#define MUNINN_ENGINE_BASE_WIDE_WINDOWS_H

#include <stddef.h>
#include <wchar.h>

/* malloc'ed. NULL with errno: ENOMEM, or EILSEQ for what is no UTF-8 or UTF-16. A path of a plain kind that is too long
 * for the system's usual calls gets the prefix that lifts the limit. */
wchar_t *wide_of(const char *text);
wchar_t *wide_path(const char *path);
char *text_of_wide(const wchar_t *wide);
/* The same with '/' in place of '\', and without a prefix that lifts limits. */
char *path_of_wide(const wchar_t *wide);

/* Sets errno to what GetLastError says. */
void wide_set_errno(void);

#endif
