/* cli/common/process.h where there is POSIX. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/common/process.h"

static const int caught[] = {SIGINT, SIGTERM, SIGHUP};
enum { N_CAUGHT = sizeof caught / sizeof *caught };

_Static_assert(SIGINT == (int)REASON_INTERRUPT && SIGTERM == (int)REASON_TERMINATE && SIGHUP == (int)REASON_HANGUP &&
                   SIGPIPE == (int)REASON_PIPE,
               "exit codes are those of a shell");

/* A closed standard stream would be given to the next file or device opened, which would then receive our output. */
char **process_begin(int argc, char **argv)
{
    (void)argc;
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF && open("/dev/null", fd == 2 ? O_WRONLY : O_RDONLY) == -1)
            _exit(1);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    return argv;
}

void process_catch(void (*handler)(int reason))
{
    /* SA_RESTART: a write that waits for a slow reader is finished, not lost. */
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART}, before;
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < N_CAUGHT; i++)
        sigaddset(&action.sa_mask, caught[i]);
    for (int i = 0; i < N_CAUGHT; i++)
        if (sigaction(caught[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(caught[i], &action, NULL);
}

/* It is pending until the handler returns. */
void process_end_at_once(int reason)
{
    signal(reason, SIG_DFL);
    raise(reason);
}

bool process_input_waits(int milliseconds)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&input, 1, milliseconds) > 0 && input.revents != 0;
}

long process_input_read(char *bytes, size_t n_bytes)
{
    return (long)read(STDIN_FILENO, bytes, n_bytes);
}

bool process_reader_is_gone(void)
{
    struct pollfd output = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return poll(&output, 1, 0) == 1 && output.revents & POLLERR;
}

size_t process_terminal_columns(void)
{
    struct winsize size = {0};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

bool process_terminal_redraws(void)
{
    const char *terminal = getenv("TERM");
    return !(terminal && !strcmp(terminal, "dumb"));
}

bool process_executable(char *path, size_t path_bytes)
{
    const ssize_t n = readlink("/proc/self/exe", path, path_bytes - 1);
    path[n > 0 ? n : 0] = '\0';
    return n > 0;
}

bool process_cache_home(char *path, size_t path_bytes)
{
    const char *home = getenv("HOME");
    return home && *home == '/' && (size_t)snprintf(path, path_bytes, "%s/.cache", home) < path_bytes;
}
