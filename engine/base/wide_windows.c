#include "engine/base/wide_windows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

wchar_t *wide_of(const char *text)
{
    const int n = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, NULL, 0);
    wchar_t *wide = n > 0 ? malloc((size_t)n * sizeof *wide) : NULL;
    errno = n > 0 ? ENOMEM : EILSEQ;
    if (wide)
        MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, wide, n);
    return wide;
}

/* The prefix takes absolute paths alone, with nothing in them that has to be worked out. */
static wchar_t *with_prefix(wchar_t *wide)
{
    static const wchar_t prefix[] = L"\\\\?\\";
    if (!wide || !wcsncmp(wide, L"\\\\", 2) || !wcsncmp(wide, L"//", 2))
        return wide;
    const DWORD n = GetFullPathNameW(wide, 0, NULL, NULL);
    wchar_t *full = n ? malloc((n + sizeof prefix / sizeof *prefix) * sizeof *full) : NULL;
    if (full) {
        wcscpy(full, prefix);
        GetFullPathNameW(wide, n, full + wcslen(prefix), NULL);
    }
    free(wide);
    if (!full)
        errno = ENOMEM;
    return full;
}

const wchar_t *wide_path(struct wide_path *wide, const char *path)
{
    wide->longer = NULL;
    if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide->here, WIDE_PATH_PLAIN + 1))
        return wide->here;
    wide->longer = with_prefix(wide_of(path));
    return wide->longer;
}

void wide_path_end(struct wide_path *wide)
{
    const int reason = errno;
    free(wide->longer);
    errno = reason;
}

char *text_of_wide(const wchar_t *wide)
{
    const int n = WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, wide, -1, NULL, 0, NULL, NULL);
    char *text = n > 0 ? malloc((size_t)n) : NULL;
    errno = n > 0 ? ENOMEM : EILSEQ;
    if (text)
        WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, wide, -1, text, n, NULL, NULL);
    return text;
}

char *path_of_wide(const wchar_t *wide)
{
    char *path = text_of_wide(wcsncmp(wide, L"\\\\?\\", 4) ? wide : wide + 4);
    for (char *c = path; c && *c; c++)
        *c = *c == '\\' ? '/' : *c;
    if (path && !wcsncmp(wide, L"\\\\?\\UNC\\", 8)) { /* "UNC/server" is "//server" */
        path[1] = '/';
        memmove(path, path + 2, strlen(path + 2) + 1);
        path[0] = '/';
    }
    return path;
}

void wide_set_errno(void)
{
    static const struct {
        DWORD from;
        int to;
    } known[] = {{ERROR_FILE_NOT_FOUND, ENOENT},
                 {ERROR_PATH_NOT_FOUND, ENOENT},
                 {ERROR_BAD_NETPATH, ENOENT},
                 {ERROR_INVALID_NAME, ENOENT},
                 {ERROR_BAD_PATHNAME, ENOENT},
                 {ERROR_INVALID_DRIVE, ENOENT},
                 {ERROR_NOT_READY, ENOENT},
                 {ERROR_DIRECTORY, ENOTDIR},
                 {ERROR_ACCESS_DENIED, EACCES},
                 {ERROR_SHARING_VIOLATION, EBUSY},
                 {ERROR_LOCK_VIOLATION, EBUSY},
                 {ERROR_WRITE_PROTECT, EROFS},
                 {ERROR_FILE_EXISTS, EEXIST},
                 {ERROR_ALREADY_EXISTS, EEXIST},
                 {ERROR_DIR_NOT_EMPTY, ENOTEMPTY},
                 {ERROR_DISK_FULL, ENOSPC},
                 {ERROR_HANDLE_DISK_FULL, ENOSPC},
                 {ERROR_BROKEN_PIPE, EPIPE},
                 {ERROR_NO_DATA, EPIPE},
                 {ERROR_PIPE_NOT_CONNECTED, EPIPE},
                 {ERROR_PIPE_BUSY, ENXIO},
                 {ERROR_NOT_ENOUGH_MEMORY, ENOMEM},
                 {ERROR_OUTOFMEMORY, ENOMEM},
                 {ERROR_COMMITMENT_LIMIT, ENOMEM},
                 {ERROR_FILENAME_EXCED_RANGE, ENAMETOOLONG},
                 {ERROR_TOO_MANY_OPEN_FILES, EMFILE},
                 {ERROR_INVALID_HANDLE, EBADF},
                 {ERROR_NOT_SUPPORTED, ENOTSUP},
                 {ERROR_INVALID_FUNCTION, EINVAL},
                 {ERROR_INVALID_PARAMETER, EINVAL},
                 {ERROR_CANT_RESOLVE_FILENAME, ELOOP}};
    const DWORD error = GetLastError();
    errno = EIO;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].from == error)
            errno = known[i].to;
}
