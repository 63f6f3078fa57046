/* The one clock: monotonic, for durations. Never: the time of day. Thread-safety: stateless. */
#ifndef MUNINN_ENGINE_BASE_CLOCK_H
#define MUNINN_ENGINE_BASE_CLOCK_H

double clock_ns(void);
double clock_s(void);

#endif
