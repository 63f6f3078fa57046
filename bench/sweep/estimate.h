/* How long a sweep will take: known after a first pass, so that nobody waits for what will not end. Thread-safety:
 * none.
 */
#ifndef MUNINN_BENCH_SWEEP_ESTIMATE_H
#define MUNINN_BENCH_SWEEP_ESTIMATE_H

#include "bench/sweep/measure.h"

/* Seconds of one token of `ar` at so many steps behind a short prompt, from a few tokens. */
enum mn_status bench_time_token(struct bench_model *model, uint32_t num_steps, const struct bench_common *common,
                                double *seconds);

/* Seconds of all settings [n], as if each were as fast as ar, whose token takes `token_s` at `num_steps`: within a
 * factor of two or so. n_prompts: of the prompt set. */
double sweep_estimate(const struct bench_setting *settings, size_t n, double token_s, uint32_t num_steps,
                      uint32_t n_prompts, const struct sampling *sampling);
/* "40 s", "16 min", "3 h". */
enum { TIME_TEXT_BYTES = 32 };
void write_time(char text[TIME_TEXT_BYTES], double seconds);
/* What is worth saying before so long a sweep, as one line without a newline in `text`; false: nothing. `n_models` is
 * how many models like this one are to come, this one among them. */
enum { ESTIMATE_BYTES = 320 };
bool sweep_estimate_words(char text[ESTIMATE_BYTES], const char *model, double token_s, double seconds,
                          size_t n_settings, size_t n_models);

#endif
