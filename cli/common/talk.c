#include "cli/common/talk.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "cli/common/process.h"
#include "cli/common/progress.h"
#include "engine/base/system.h"
#include "engine/base/text.h"
#include "engine/files/disk.h"

/* How this process talks; --quiet and --verbose are said once. */
static struct {
    FILE *nowhere; /* NULL: not quiet */
    bool verbose;
} talk;

enum mn_status cli_talk(bool quiet, bool verbose, const struct mn_log *log)
{
    talk.verbose = verbose;
    if (quiet && !talk.nowhere) {
        talk.nowhere = disk_nowhere();
        if (!talk.nowhere)
            return log_fail(log, MN_ERR_RUN, "--quiet: no stream for what is not said: %s", strerror(errno));
    }
    return MN_OK;
}

bool cli_is_quiet(void)
{
    return talk.nowhere != NULL;
}

bool cli_is_verbose(void)
{
    return talk.verbose;
}

bool cli_is_watched(void)
{
    return !talk.nowhere && stream_is_terminal(stderr);
}

FILE *cli_notes(void)
{
    cli_progress_clear();
    return talk.nowhere ? talk.nowhere : stderr;
}

struct dim cli_dim(void)
{
    const char *plain = system_variable("NO_COLOR");
    return cli_is_watched() && process_terminal_redraws() && !(plain && *plain) ? (struct dim){"\033[2m", "\033[0m"}
                                                                                : (struct dim){"", ""};
}

void cli_detail(const char *fmt, ...)
{
    char line[1024];
    va_list args;
    if (!talk.verbose)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    cli_progress_clear();
    fputs("muninn: ", stderr);
    text_puts(stderr, line);
    fputc('\n', stderr);
}
