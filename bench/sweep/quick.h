/* muninn bench --quick: in two minutes at most, what a device gives (quick_plan.h keeps the time). A line per model on
 * params->err as they come; on params->out a block to paste with all of them, or the rows in a format for programs.
 * Thread-safety: none. */
#ifndef MUNINN_BENCH_SWEEP_QUICK_H
#define MUNINN_BENCH_SWEEP_QUICK_H

#include "bench/sweep/sweep.h"

/* Of the parameters: models, shapes behind them from the smallest to the largest, devices (one), results, output,
 * cpu_threads, seed, cost_dir and what surrounds them. Shapes are measured with forced acceptance. What cannot run
 * costs its line; MN_ERR_USAGE when nothing could. MN_ERR_CHECK as for sweep_run. */
enum mn_status quick_run(const struct sweep_params *params, const struct mn_log *log);

#endif
