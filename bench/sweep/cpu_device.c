/* Before a device is opened, in case it is a CPU: worker threads, and a heap that suits the driver.
 *
 * Mesa's lavapipe forks and joins its workers at every dispatch. For a model whose dispatches take less than that
 * costs, one thread is faster than two (docs/speed-log.md). The driver reads the number from the environment when a
 * device is opened, so this is set up here, before, and only by programs: the library touches no environment. GPUs do
 * not look at it.
 *
 * lavapipe also takes aligned memory from the heap for every workgroup and gives it back. glibc keeps what is left over
 * of such a piece in its "fast bins" and empties them all at nearly every free: without fast bins that work is gone.
 * What else a program of this kind allocates is too little to miss them, so a GPU is not asked for first. */
#include "bench/sweep/cpu_device.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/muninn.h"
#include "engine/base/system.h"

/* Matrix values of one core pass from which the workers pay: measured break-even lies between raven-tiny's 0.4 million
 * and 4 million. */
enum { SMALL_CORE = 2000000 };

static bool is_small(const char *dir, const char *synthetic)
{
    struct mn_model_shape c;
    if (mn_model_shape(&c, &(struct mn_engine_params){.model_dir = dir, .synthetic = synthetic}))
        return false; /* what is wrong with it, the engine will say */
    const uint64_t d = c.n_embd, block = 4 * d * d + 3 * d * c.intermediate_size;
    return d * d + c.n_core * block < SMALL_CORE;
}

static void prepare(const char *option, const char *dir, const char *synthetic)
{
    system_heap_joins_pieces();
    if (option)
        system_set_variable("LP_NUM_THREADS", option);
    else if (!system_variable("LP_NUM_THREADS") && is_small(dir, synthetic))
        system_set_variable("LP_NUM_THREADS", "0"); /* 0: no workers, the queue's own thread computes */
}

void cpu_device_prepare(const char *option, const char *dir)
{
    prepare(option, dir, NULL);
}

void cpu_device_prepare_synthetic(const char *option, const char *shape)
{
    prepare(option, NULL, shape);
}

const char *cpu_device_threads(void)
{
    const char *threads = system_variable("LP_NUM_THREADS");
    return threads ? threads : "";
}
