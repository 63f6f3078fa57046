/* "Did you mean": the known word that a mistyped one is closest to. Thread-safety: stateless. */
#ifndef MUNINN_BENCH_ROWS_NEAREST_H
#define MUNINN_BENCH_ROWS_NEAREST_H

#include <stddef.h>

enum { NEAREST_WORD_MAX = 64, NEAREST_HINT_BYTES = NEAREST_WORD_MAX + 40 }; /* longer words are close to nothing */

/* Keeps the closest of the words it is shown; begins as {.word = what was typed}. */
struct nearest {
    const char *word;  /* borrowed */
    const char *found; /* [n_found], borrowed; NULL while nothing is close */
    size_t n_found, distance;
};

/* How many bytes to put in, leave out, change, or exchange with their neighbours, from a [n_a] to b [n_b]; no byte is
 * touched twice. Both of at most NEAREST_WORD_MAX bytes. */
size_t word_distance(const char *a, size_t n_a, const char *b, size_t n_b);
/* Close is: a third of the typed bytes are wrong at most, or one; of equally close words the first stays. A word that
 * begins with what was typed (three bytes or more) counts as one step away. */
void nearest_offer(struct nearest *nearest, const char *known, size_t n_known);
/* Offers each word of "a|b". */
void nearest_offer_choices(struct nearest *nearest, const char *choices);
/* `hint` [NEAREST_HINT_BYTES] becomes " (did you mean PREFIXword?)", or "" when nothing is close. `prefix` of at most 8
 * bytes. Returns it. */
const char *nearest_hint(const struct nearest *nearest, const char *prefix, char *hint);

#endif
