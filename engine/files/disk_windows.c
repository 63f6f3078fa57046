/* engine/files/disk.h where there is Windows. Descriptors are the C library's, of handles opened here; '/' and '\' both
 * separate names. */
#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#include "engine/base/wide_windows.h"
#include "engine/files/disk.h"

enum {
    PIECE_BYTES_MAX = 1 << 30,
    SHARED = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE /* as other systems have it */
};
/* Locks are binding here: a byte that no file has. */
static const DWORD lock_at_high = 0x40000000;
/* Times are counted in 100 ns from 1601 on. */
static const int64_t before_1970 = INT64_C(116444736000000000);

/* ---- what stands there ---- */

static bool is_pipe_name(const char *path)
{
    return strlen(path) > 9 && strchr("/\\", path[0]) && strchr("/\\", path[1]) && path[2] == '.' &&
           strchr("/\\", path[3]) && !_strnicmp(path + 4, "pipe", 4) && strchr("/\\", path[8]);
}

static bool is_link_tag(DWORD tag)
{
    return tag == IO_REPARSE_TAG_SYMLINK || tag == IO_REPARSE_TAG_MOUNT_POINT;
}

static bool describe(struct disk_info *info, HANDLE handle)
{
    BY_HANDLE_FILE_INFORMATION about;
    FILE_ATTRIBUTE_TAG_INFO tag = {0};
    const DWORD type = GetFileType(handle);
    *info = (struct disk_info){.kind = type == FILE_TYPE_PIPE ? DISK_PIPE : DISK_DEVICE, .own = true};
    if (type != FILE_TYPE_DISK)
        return type != FILE_TYPE_UNKNOWN;
    if (!GetFileInformationByHandle(handle, &about))
        return false;
    if (about.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT)
        GetFileInformationByHandleEx(handle, FileAttributeTagInfo, &tag, sizeof tag);
    info->kind = is_link_tag(tag.ReparseTag)                         ? DISK_LINK
                 : about.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY ? DISK_FOLDER
                                                                     : DISK_PLAIN;
    info->device = about.dwVolumeSerialNumber;
    info->number = (uint64_t)about.nFileIndexHigh << 32 | about.nFileIndexLow;
    info->n_bytes = (uint64_t)about.nFileSizeHigh << 32 | about.nFileSizeLow;
    const int64_t changed = (int64_t)((uint64_t)about.ftLastWriteTime.dwHighDateTime << 32 |
                                      about.ftLastWriteTime.dwLowDateTime);
    info->changed_ns = (changed - before_1970) * 100;
    return true;
}

static HANDLE open_handle(const char *path, DWORD access, DWORD share, DWORD how, DWORD flags)
{
    struct wide_path buffer;
    const wchar_t *wide = wide_path(&buffer, path);
    if (!wide)
        return INVALID_HANDLE_VALUE;
    const HANDLE handle = CreateFileW(wide, access, share, NULL, how, flags, NULL);
    if (handle == INVALID_HANDLE_VALUE)
        wide_set_errno();
    wide_path_end(&buffer);
    return handle;
}

static bool look(struct disk_info *info, const char *path, DWORD flags)
{
    if (is_pipe_name(path)) { /* to open one is to be served */
        *info = (struct disk_info){.kind = DISK_PIPE, .own = true};
        return true;
    }
    const HANDLE handle = open_handle(path, FILE_READ_ATTRIBUTES, SHARED, OPEN_EXISTING,
                                      FILE_FLAG_BACKUP_SEMANTICS | flags);
    if (handle == INVALID_HANDLE_VALUE)
        return false;
    const bool good = describe(info, handle);
    if (!good)
        wide_set_errno();
    CloseHandle(handle);
    return good;
}

bool disk_look(struct disk_info *info, const char *path)
{
    return look(info, path, 0);
}

bool disk_look_here(struct disk_info *info, const char *path)
{
    return look(info, path, FILE_FLAG_OPEN_REPARSE_POINT);
}

bool disk_look_open(struct disk_info *info, int fd)
{
    const HANDLE handle = (HANDLE)_get_osfhandle(fd);
    if (handle == INVALID_HANDLE_VALUE || !describe(info, handle)) {
        errno = EBADF;
        return false;
    }
    return true;
}

bool disk_is_same(const struct disk_info *a, const struct disk_info *b)
{
    return (a->device || a->number) && a->device == b->device && a->number == b->number;
}

/* The whole way, which may be more than one link. */
int64_t disk_read_link(const char *path, char *target, size_t n_bytes)
{
    char *real = path_real(path);
    const size_t n = real ? strlen(real) : 0;
    *target = '\0';
    if (real && n >= n_bytes)
        errno = ENAMETOOLONG;
    else if (real)
        memcpy(target, real, n + 1);
    const bool good = real && n < n_bytes;
    free(real);
    return good ? (int64_t)n : -1;
}

static DWORD attributes_of(const char *path)
{
    struct wide_path buffer;
    const wchar_t *wide = wide_path(&buffer, path);
    const DWORD attributes = wide ? GetFileAttributesW(wide) : INVALID_FILE_ATTRIBUTES;
    if (wide && attributes == INVALID_FILE_ATTRIBUTES)
        wide_set_errno();
    wide_path_end(&buffer);
    return attributes;
}

bool disk_may_make(const char *folder)
{
    const DWORD attributes = attributes_of(folder);
    if (attributes != INVALID_FILE_ATTRIBUTES && !(attributes & FILE_ATTRIBUTE_DIRECTORY))
        errno = ENOTDIR;
    return attributes != INVALID_FILE_ATTRIBUTES && attributes & FILE_ATTRIBUTE_DIRECTORY;
}

bool disk_may_write(const char *path)
{
    const DWORD attributes = attributes_of(path);
    if (attributes != INVALID_FILE_ATTRIBUTES && attributes & FILE_ATTRIBUTE_READONLY)
        errno = EACCES;
    return attributes != INVALID_FILE_ATTRIBUTES && !(attributes & FILE_ATTRIBUTE_READONLY);
}

/* ---- paths ---- */

static bool is_separator(char c)
{
    return c == '/' || c == '\\';
}

static size_t drive_bytes(const char *path)
{
    return ((*path >= 'A' && *path <= 'Z') || (*path >= 'a' && *path <= 'z')) && path[1] == ':' ? 2 : 0;
}

size_t path_folder_bytes(const char *path)
{
    size_t n = strlen(path);
    const size_t n_drive = drive_bytes(path);
    while (n > n_drive && !is_separator(path[n - 1]))
        n--;
    return n;
}

size_t path_bytes(const char *path)
{
    size_t n = strlen(path);
    const size_t n_root = drive_bytes(path) + 1;
    while (n > n_root && is_separator(path[n - 1]))
        n--;
    return n;
}

bool path_is_absolute(const char *path)
{
    return is_separator(*path) || (drive_bytes(path) && is_separator(path[2]));
}

char *path_real(const char *path)
{
    char *real = NULL;
    const HANDLE handle = open_handle(path, 0, SHARED, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS);
    if (handle == INVALID_HANDLE_VALUE)
        return NULL;
    const DWORD n = GetFinalPathNameByHandleW(handle, NULL, 0, FILE_NAME_NORMALIZED | VOLUME_NAME_DOS);
    wchar_t *wide = n ? malloc(((size_t)n + 1) * sizeof *wide) : NULL;
    errno = ENOMEM;
    if (wide && GetFinalPathNameByHandleW(handle, wide, n + 1, FILE_NAME_NORMALIZED | VOLUME_NAME_DOS))
        real = path_of_wide(wide);
    else if (wide || !n)
        wide_set_errno();
    free(wide);
    CloseHandle(handle);
    return real;
}

/* ---- opening ---- */

static int descriptor_of(HANDLE handle, int flags)
{
    if (handle == INVALID_HANDLE_VALUE)
        return -1;
    const int fd = _open_osfhandle((intptr_t)handle, flags | _O_BINARY | _O_NOINHERIT);
    if (fd < 0)
        CloseHandle(handle);
    return fd;
}

int disk_open_read(const char *path)
{
    return descriptor_of(open_handle(path, GENERIC_READ, SHARED, OPEN_EXISTING, 0), _O_RDONLY);
}

int disk_open_write(const char *path, bool at_end)
{
    return descriptor_of(open_handle(path, GENERIC_WRITE, SHARED, OPEN_EXISTING, 0),
                         _O_WRONLY | (at_end ? _O_APPEND : 0));
}

int disk_open_pipe(const char *path)
{
    return disk_open_write(path, false);
}

/* FILE_FLAG_OPEN_REPARSE_POINT on a link opens the link: what could be written there is looked at first. */
int disk_open_grow(const char *path, bool make)
{
    struct disk_info info;
    const int fd = descriptor_of(open_handle(path, GENERIC_READ | GENERIC_WRITE, SHARED,
                                             make ? OPEN_ALWAYS : OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT),
                                 _O_RDWR | _O_APPEND);
    if (fd < 0 || (disk_look_open(&info, fd) && info.kind == DISK_PLAIN))
        return fd;
    _close(fd);
    errno = ELOOP;
    return -1;
}

int disk_open_new(const char *path, uint32_t rights)
{
    (void)rights;
    return descriptor_of(open_handle(path, GENERIC_READ | GENERIC_WRITE, SHARED, CREATE_NEW, 0), _O_RDWR);
}

int disk_duplicate(int fd)
{
    HANDLE copy = INVALID_HANDLE_VALUE;
    const HANDLE handle = (HANDLE)_get_osfhandle(fd);
    if (!DuplicateHandle(GetCurrentProcess(), handle, GetCurrentProcess(), &copy, 0, FALSE, DUPLICATE_SAME_ACCESS)) {
        wide_set_errno();
        return -1;
    }
    return descriptor_of(copy, _O_WRONLY);
}

bool disk_close(int fd)
{
    return _close(fd) == 0;
}

FILE *disk_stream(const char *path, const char *mode)
{
    struct wide_path buffer;
    const wchar_t *wide = wide_path(&buffer, path);
    wchar_t *wide_mode = wide ? wide_of(mode) : NULL;
    FILE *stream = wide_mode ? _wfopen(wide, wide_mode) : NULL;
    free(wide_mode);
    wide_path_end(&buffer);
    return stream;
}

FILE *disk_nowhere(void)
{
    return fopen("NUL", "wb");
}

/* ---- reading, writing ---- */

static OVERLAPPED at_offset(uint64_t offset)
{
    return (OVERLAPPED){.Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32)};
}

int64_t disk_read_at(int fd, void *bytes, size_t n_bytes, uint64_t offset)
{
    const HANDLE handle = (HANDLE)_get_osfhandle(fd);
    char *to = bytes;
    size_t n = 0;
    while (n < n_bytes) {
        const size_t left = n_bytes - n;
        OVERLAPPED place = at_offset(offset + n);
        DWORD got = 0;
        if (!ReadFile(handle, to + n, left < PIECE_BYTES_MAX ? (DWORD)left : PIECE_BYTES_MAX, &got, &place)) {
            if (GetLastError() == ERROR_HANDLE_EOF)
                break;
            wide_set_errno();
            return -1;
        }
        if (got == 0)
            break;
        n += got;
    }
    return (int64_t)n;
}

/* Where the descriptor appends, at the end; elsewhere, where the writing before ended. */
bool disk_write(int fd, const void *bytes, size_t n_bytes)
{
    const char *from = bytes;
    while (n_bytes) {
        const int written = _write(fd, from, n_bytes < PIECE_BYTES_MAX ? (unsigned)n_bytes : PIECE_BYTES_MAX);
        if (written < 0)
            return false;
        from += written;
        n_bytes -= (size_t)written;
    }
    return true;
}

bool disk_cut(int fd, uint64_t n_bytes)
{
    errno = _chsize_s(fd, (__int64)n_bytes);
    return errno == 0;
}

/* Pipes and devices cannot. */
bool disk_sync(int fd)
{
    const HANDLE handle = (HANDLE)_get_osfhandle(fd);
    if (GetFileType(handle) != FILE_TYPE_DISK || FlushFileBuffers(handle))
        return true;
    wide_set_errno();
    return errno == EROFS || errno == ENOTSUP || errno == EINVAL;
}

bool disk_lock(int fd)
{
    OVERLAPPED place = {.OffsetHigh = lock_at_high};
    return LockFileEx((HANDLE)_get_osfhandle(fd), LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0,
                      &place) ||
           (GetLastError() != ERROR_LOCK_VIOLATION && GetLastError() != ERROR_IO_PENDING);
}

/* A new file has the rights of its folder. */
bool disk_take_rights(int fd, const struct disk_info *old)
{
    (void)fd;
    (void)old;
    return true;
}

/* ---- names ---- */

/* A call on a wide path; false: errno. */
static bool apply(BOOL (*call)(const wchar_t *path), const char *path)
{
    struct wide_path buffer;
    const wchar_t *wide = wide_path(&buffer, path);
    const bool good = wide && call(wide);
    if (wide && !good)
        wide_set_errno();
    wide_path_end(&buffer);
    return good;
}

static BOOL remove_file(const wchar_t *path)
{
    return DeleteFileW(path);
}

static BOOL remove_folder(const wchar_t *path)
{
    return RemoveDirectoryW(path);
}

static BOOL make_folder(const wchar_t *path)
{
    return CreateDirectoryW(path, NULL);
}

/* The system replaces files, not folders: an empty one gives way first. */
bool disk_rename(const char *from, const char *to)
{
    struct wide_path buffer, buffer_to;
    const wchar_t *wide_from = wide_path(&buffer, from), *wide_to = wide_path(&buffer_to, to);
    const DWORD there = wide_to ? GetFileAttributesW(wide_to) : INVALID_FILE_ATTRIBUTES;
    bool good = wide_from && wide_to;
    if (good && there != INVALID_FILE_ATTRIBUTES && there & FILE_ATTRIBUTE_DIRECTORY)
        good = RemoveDirectoryW(wide_to);
    good = good && MoveFileExW(wide_from, wide_to, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH);
    if (wide_from && wide_to && !good)
        wide_set_errno();
    wide_path_end(&buffer);
    wide_path_end(&buffer_to);
    return good;
}

bool disk_remove(const char *path)
{
    return apply(remove_file, path);
}

bool disk_touch(const char *path)
{
    FILETIME now;
    const HANDLE handle = open_handle(path, FILE_WRITE_ATTRIBUTES, SHARED, OPEN_EXISTING, 0);
    if (handle == INVALID_HANDLE_VALUE)
        return false;
    GetSystemTimeAsFileTime(&now);
    const bool good = SetFileTime(handle, NULL, NULL, &now);
    if (!good)
        wide_set_errno();
    CloseHandle(handle);
    return good;
}

bool folder_make(const char *path, uint32_t rights)
{
    (void)rights;
    return apply(make_folder, path);
}

bool folder_remove(const char *path)
{
    return apply(remove_folder, path);
}

/* Nothing to be waited for: names are written through. */
bool folder_sync(const char *path)
{
    (void)path;
    return true;
}

/* ---- what is in a folder ---- */

struct folder {
    HANDLE search;
    WIN32_FIND_DATAW found;
    bool fresh;      /* `found` was not handed out yet */
    char *name;      /* handed out last */
    size_t n_prefix; /* bytes of `path` */
    char path[];     /* with a separator behind it */
};

struct folder *folder_open(const char *path)
{
    const size_t n = strlen(path);
    struct folder *folder = calloc(1, sizeof *folder + n + 3);
    if (!folder)
        return NULL;
    memcpy(folder->path, path, n);
    strcpy(folder->path + n, "/*");
    folder->n_prefix = n + 1;
    struct wide_path buffer;
    const wchar_t *pattern = wide_path(&buffer, folder->path);
    folder->search = pattern ? FindFirstFileW(pattern, &folder->found) : INVALID_HANDLE_VALUE;
    if (pattern && folder->search == INVALID_HANDLE_VALUE)
        wide_set_errno();
    wide_path_end(&buffer);
    folder->path[folder->n_prefix] = '\0';
    folder->fresh = true;
    if (folder->search != INVALID_HANDLE_VALUE)
        return folder;
    free(folder);
    return NULL;
}

/* Names that are no UTF-16 have no path that could be told; they are left out. */
const char *folder_next(struct folder *folder)
{
    for (; folder->fresh || FindNextFileW(folder->search, &folder->found); free(folder->name), folder->name = NULL) {
        folder->fresh = false;
        free(folder->name);
        folder->name = text_of_wide(folder->found.cFileName);
        if (folder->name && strcmp(folder->name, ".") != 0 && strcmp(folder->name, "..") != 0)
            return folder->name;
    }
    return NULL;
}

void folder_close(struct folder *folder)
{
    if (!folder)
        return;
    FindClose(folder->search);
    free(folder->name);
    free(folder);
}

/* Its path leads to the same folder as long as the search is open: that keeps it from being renamed. */
static char *join(const struct folder *folder, const char *name)
{
    char *path = malloc(folder->n_prefix + strlen(name) + 1);
    if (path) {
        memcpy(path, folder->path, folder->n_prefix);
        strcpy(path + folder->n_prefix, name);
    }
    return path;
}

bool folder_look_here(struct disk_info *info, struct folder *folder, const char *name)
{
    char *path = join(folder, name);
    const bool good = path && disk_look_here(info, path);
    free(path);
    return good;
}

int folder_open_read(struct folder *folder, const char *name)
{
    char *path = join(folder, name);
    const int fd = path ? descriptor_of(
                              open_handle(path, GENERIC_READ, SHARED, OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT),
                              _O_RDONLY)
                        : -1;
    free(path);
    return fd;
}

bool folder_remove_file(struct folder *folder, const char *name)
{
    char *path = join(folder, name);
    const bool good = path && disk_remove(path);
    free(path);
    return good;
}
