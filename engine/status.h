/* Status codes and the log: the lowest layer, included by every other one.
 *
 * Owns: the list of reasons a call can fail for, their names, and the one way to report a failure.
 * Never: prints by itself when no log is given, keeps global state, terminates the process.
 * Thread-safety: stateless; a `struct mn_log` is as thread-safe as its `write` callback.
 */
#ifndef MUNINN_STATUS_H
#define MUNINN_STATUS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Everything fallible returns one of these. The reason is logged once, where it happens. */
enum mn_status {
    MN_OK = 0,
    MN_ERR_RUN,         /* anything without a better name: a failed write, an impossible state of the world */
    MN_ERR_USAGE,       /* the caller's mistake: a bad argument, K >= R, a prompt longer than the context */
    MN_ERR_NO_DEVICE,   /* no Vulkan loader, no driver, no device that meets the requirements */
    MN_ERR_FILE,        /* a file that is missing, unreadable or changes while it is read */
    MN_ERR_FORMAT,      /* a file whose content is malformed */
    MN_ERR_UNSUPPORTED, /* a well-formed file that asks for something this build cannot do */
    MN_ERR_DEVICE_LOST, /* the device was lost or did not answer in time; sticky */
    MN_ERR_MEMORY,      /* host or device memory ran out, or a limit was reached */
    MN_ERR_CHECK,       /* a self-test or an equality check failed */
    MN_ERR_INTERRUPTED, /* the caller's callback asked to stop */
};

enum mn_log_level { MN_LOG_INFO = 0, MN_LOG_WARN, MN_LOG_ERROR };

/* Where messages go. `write` gets one line without newline. A NULL log or NULL write drops messages. */
struct mn_log {
    void (*write)(void *user, enum mn_log_level level, const char *line);
    void *user;
};

/* Short stable name of a status ("out of memory"), never NULL. */
const char *mn_status_name(enum mn_status status);

/* The process exit code that belongs to a status: 0 ok, 1 run error, 2 usage, 3 no device,
 * 4 bad model or input file, 5 device lost or timeout, 6 out of memory, 7 check failed, 130 interrupted. */
int mn_status_exit_code(enum mn_status status);

#if defined(__GNUC__)
#define MN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define MN_PRINTF(fmt, args)
#endif

/* Internal: report a failure with its values and hand the status on: `return log_fail(log, MN_ERR_FILE, ...)`.
 * Bytes of hostile input inside the message (control characters, invalid UTF-8) are replaced by '?'. */
enum mn_status log_fail(const struct mn_log *log, enum mn_status status, const char *fmt, ...) MN_PRINTF(3, 4);
void log_note(const struct mn_log *log, enum mn_log_level level, const char *fmt, ...) MN_PRINTF(3, 4);

#ifdef __cplusplus
}
#endif

#endif
