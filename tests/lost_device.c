/* The command line on a device that is lost when the process gets SIGUSR1: linked with tests/odd_device.c to the
 * objects of the program itself, which know nothing of it. */
#include <signal.h>

#include "tests/odd_device.h"

static void lose(int number)
{
    (void)number;
    odd_device_lose();
}

__attribute__((constructor)) static void begin(void)
{
    static const struct odd_device as_it_is;
    odd_device_set(&as_it_is);
    signal(SIGUSR1, lose);
}
