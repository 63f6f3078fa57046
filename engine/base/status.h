/* Status codes and the log: the lowest layer, included by every other one.
 *
 * Owns: the one way to report a failure. The codes themselves are public: muninn.h.
 * Never: prints by itself when no log is given, keeps global state, terminates the process.
 * Thread-safety: stateless; a `struct mn_log` is as thread-safe as its `write` callback.
 */
#ifndef MUNINN_ENGINE_BASE_STATUS_H
#define MUNINN_ENGINE_BASE_STATUS_H

#include <stddef.h>

#include "api/muninn.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__MINGW32__) /* "printf" is Microsoft's there */
#define MN_PRINTF(fmt, args) __attribute__((format(gnu_printf, fmt, args)))
#elif defined(__GNUC__)
#define MN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define MN_PRINTF(fmt, args)
#endif

/* Internal: report a failure with its values and hand the status on: `return log_fail(log, MN_ERR_FILE, ...)`.
 * What a message holds of hostile input is shown as text.h says, newlines and tabs as well: one line of well-formed
 * UTF-8, cut at 1023 bytes, between characters. */
enum mn_status log_fail(const struct mn_log *log, enum mn_status status, const char *fmt, ...) MN_PRINTF(3, 4);
void log_note(const struct mn_log *log, enum mn_log_level level, const char *fmt, ...) MN_PRINTF(3, 4);

#ifdef __cplusplus
}
#endif

#endif
