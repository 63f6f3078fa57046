/* Generated text on its way out. Thread-safety: none. */
#ifndef MUNINN_CLI_GENERATE_TEXT_H
#define MUNINN_CLI_GENERATE_TEXT_H

#include "cli/common/options.h"

/* Generated text on its way out: printed as it comes, ended by stop strings. What may be the beginning of a stop string
 * is held back until the next text decides. Which stop string ends the text depends on the text alone, not on how it
 * was cut into tokens: the one that is complete first; of several complete at once, the longest. */
struct text_out {
    const struct text_list *stops;
    FILE *stream; /* NULL: the text is only collected */
    char *text;   /* [n], owned */
    size_t n, capacity, n_printed;
    size_t n_final; /* of the text, whole characters: no stop string can take them back */
    /* How far each stop string is matched behind the last byte, and tables to go on from there: a byte costs a constant
     * number of comparisons per stop string, however long those are. */
    uint32_t *matched; /* [stops->n], and the tables of all stop strings behind them; NULL before the first text */
    uint64_t n_steps;  /* comparisons so far; tests bound it */
    bool stopped;      /* a stop string was found; the text ends before it */
};

/* Appends. MN_ERR_MEMORY. Write errors stay on the stream: see cli_flush. */
enum mn_status text_out_push(struct text_out *out, const char *bytes, size_t n_bytes, const struct mn_log *log);
/* The end of the text: prints what was held back. */
void text_out_finish(struct text_out *out);
void text_out_free(struct text_out *out);

#endif
