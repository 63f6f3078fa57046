/* Ctrl-C. Thread-safety: the flag may be read from anywhere. */
#ifndef MUNINN_CLI_COMMON_INTERRUPT_H
#define MUNINN_CLI_COMMON_INTERRUPT_H

#include <stdbool.h>

/* From this call on, SIGINT sets a flag instead of ending the process; a second one ends it. */
void cli_catch_interrupt(void);
bool cli_interrupted(void);

#endif
