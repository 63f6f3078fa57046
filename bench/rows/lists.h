/* Lists and ranges of option values: what `muninn bench` runs over. */
#ifndef MUNINN_BENCH_ROWS_LISTS_H
#define MUNINN_BENCH_ROWS_LISTS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/status.h"

enum { LIST_VALUES_MAX = 128, LIST_TEXT_BYTES = 1024, CHOICES_BYTES = 256 };

struct number_list {
    uint32_t values[LIST_VALUES_MAX], n;
};

struct word_list {
    char text[LIST_TEXT_BYTES]; /* what the words point into */
    const char *words[LIST_VALUES_MAX];
    uint32_t n;
};

/* `1,2,4`, `1-8`, `1-15+2`, `1-64*2`, or such pieces with commas between them; values from min to max, each once, in
 * the order given. MN_ERR_USAGE names the option and the piece. */
enum mn_status parse_numbers(const char *option, const char *text, uint32_t min, uint32_t max, struct number_list *out,
                             const struct mn_log *log);
/* The strategies' names; NULL behind the last. */
const char *strategy_name_at(uint32_t index);
/* A table's names as "a|b" in `text`: at(0), at(1), .. up to NULL. */
void join_choices(const char *(*at)(uint32_t index), char *text, size_t text_bytes);
/* Is the word one of "a|b"? */
bool is_choice(const char *choices, const char *word);
/* MN_ERR_USAGE with the option, the word, the choices and the one that was meant. */
enum mn_status refuse_choice(const char *option, const char *word, const char *choices, const struct mn_log *log);
/* Words with commas between them, each once. `choices` ("a|b") or NULL when anything goes. */
enum mn_status parse_words(const char *option, const char *text, const char *choices, struct word_list *out,
                           const struct mn_log *log);

#endif
