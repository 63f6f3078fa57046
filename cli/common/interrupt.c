#include "cli/common/interrupt.h"

#include <signal.h>
#include <stddef.h>

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
enum { N_SIGNALS = sizeof signals / sizeof *signals };

/* The number of the first that came; 0: none. A signal handler can reach nothing but a global. */
static volatile sig_atomic_t interrupted;

/* The second one, for a process that does not come to its next token: it is pending until this one returns. */
static void on_interrupt(int number)
{
    if (interrupted) {
        signal(number, SIG_DFL);
        raise(number);
    } else {
        interrupted = number;
    }
}

void cli_ignore_write_signals(void)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

void cli_catch_interrupt(void)
{
    /* SA_RESTART: a write that waits for a slow reader is finished, not lost. */
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART}, before;
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < N_SIGNALS; i++)
        sigaddset(&action.sa_mask, signals[i]);
    for (int i = 0; i < N_SIGNALS; i++)
        if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
}

bool cli_interrupted(void)
{
    return interrupted != 0;
}

void cli_interrupt_closed_pipe(void)
{
    if (!interrupted)
        interrupted = SIGPIPE;
}

bool cli_pipe_is_closed(void)
{
    return interrupted == SIGPIPE;
}

int cli_interrupt_exit_code(void)
{
    return 128 + (interrupted ? interrupted : SIGINT);
}
