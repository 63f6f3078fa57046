#include "engine/base/clock.h"

#include "engine/base/system.h"

double clock_ns(void)
{
    return system_monotonic_ns();
}

double clock_s(void)
{
    return system_monotonic_ns() * 1e-9;
}
