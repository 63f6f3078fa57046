#include "cli/common/interrupt.h"

#include <signal.h>

#include "cli/common/process.h"

/* The first reason that came; 0: none. A signal handler can reach nothing but a global. */
static volatile sig_atomic_t interrupted;

/* The second one, for a process that does not come to its next token. */
static void on_interrupt(int reason)
{
    if (interrupted)
        process_end_at_once(reason);
    else
        interrupted = reason;
}

void cli_catch_interrupt(void)
{
    process_catch(on_interrupt);
}

bool cli_interrupted(void)
{
    return interrupted != 0;
}

bool cli_interrupt_is_typed(void)
{
    return interrupted == REASON_INTERRUPT;
}

bool cli_interrupt_forget(void)
{
    const bool typed = cli_interrupt_is_typed();
    if (typed)
        interrupted = 0;
    return typed;
}

void cli_interrupt_closed_pipe(void)
{
    if (!interrupted)
        interrupted = REASON_PIPE;
}

bool cli_pipe_is_closed(void)
{
    return interrupted == REASON_PIPE;
}

int cli_interrupt_exit_code(void)
{
    return 128 + (interrupted ? interrupted : REASON_INTERRUPT);
}
