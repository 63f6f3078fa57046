/* Before a device is opened, in case it is a CPU: worker threads, and a heap that suits the driver. Changes the
 * process's environment: for programs only, never for the library. */
#ifndef MUNINN_BENCH_SWEEP_CPU_DEVICE_H
#define MUNINN_BENCH_SWEEP_CPU_DEVICE_H

/* `option` NULL: worker threads by the size of the model in `dir`, or of the synthetic `shape`, unless LP_NUM_THREADS
 * is set. */
void cpu_device_prepare(const char *option, const char *dir);
void cpu_device_prepare_synthetic(const char *option, const char *shape);
/* The worker threads that a CPU device is given from here on; "": as many as its driver likes. */
const char *cpu_device_threads(void);

#endif
