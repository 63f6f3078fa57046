#include "engine/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/decimal.h"
#include "engine/base/system.h"
#include "engine/base/text.h"

enum { LOG_LINE_BYTES = 1024 };

const char *mn_status_name(enum mn_status status)
{
    switch (status) {
    case MN_OK: return "ok";
    case MN_ERR_RUN: return "run error";
    case MN_ERR_USAGE: return "usage error";
    case MN_ERR_NO_DEVICE: return "no usable device";
    case MN_ERR_FILE: return "file error";
    case MN_ERR_FORMAT: return "bad file format";
    case MN_ERR_UNSUPPORTED: return "unsupported";
    case MN_ERR_DEVICE_LOST: return "device lost";
    case MN_ERR_MEMORY: return "out of memory";
    case MN_ERR_CHECK: return "check failed";
    case MN_ERR_INTERRUPTED: return "interrupted";
    }
    return "unknown status";
}

int mn_status_exit_code(enum mn_status status)
{
    switch (status) {
    case MN_OK: return 0;
    case MN_ERR_RUN: return 1;
    case MN_ERR_USAGE: return 2;
    case MN_ERR_NO_DEVICE: return 3;
    case MN_ERR_FILE:
    case MN_ERR_FORMAT:
    case MN_ERR_UNSUPPORTED: return 4;
    case MN_ERR_DEVICE_LOST: return 5;
    case MN_ERR_MEMORY: return 6;
    case MN_ERR_CHECK: return 7;
    case MN_ERR_INTERRUPTED: return 130;
    }
    return 1;
}

static void log_write(const struct mn_log *log, enum mn_log_level level, const char *fmt, va_list args)
{
    if (!log || !log->write)
        return;
    static const char more[] = "...";
    char line[LOG_LINE_BYTES], shown[LOG_LINE_BYTES];
    const struct number_locale scope = number_locale_begin();
    const int n_wanted = vsnprintf(line, sizeof line, fmt, args);
    number_locale_end(&scope);
    size_t n = strlen(line), at = 0, n_shown = 0;
    bool cut = n_wanted >= (int)sizeof line;
    if (cut)
        n = utf8_whole(line, n);
    /* Names and values in messages come from hostile files: one line, and nothing that drives a terminal. */
    while (at < n) {
        char unit[TEXT_SHOWN_BYTES];
        const size_t step = text_show(unit, line + at, n - at, true);
        cut = cut || n_shown + strlen(unit) + sizeof more > sizeof shown;
        if (n_shown + strlen(unit) + sizeof more > sizeof shown)
            break;
        memcpy(shown + n_shown, unit, strlen(unit));
        n_shown += strlen(unit);
        at += step;
    }
    strcpy(shown + n_shown, cut ? more : "");
    log->write(log->user, level, shown);
}

enum mn_status log_fail(const struct mn_log *log, enum mn_status status, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    log_write(log, MN_LOG_ERROR, fmt, args);
    va_end(args);
    return status;
}

void log_note(const struct mn_log *log, enum mn_log_level level, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    log_write(log, level, fmt, args);
    va_end(args);
}
