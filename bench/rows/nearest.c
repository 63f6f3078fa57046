#include "bench/rows/nearest.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment, by rows: row[j] is the distance of the first i bytes of a and j of b. */
size_t word_distance(const char *a, size_t n_a, const char *b, size_t n_b)
{
    size_t rows[3][NEAREST_WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= n_b; j++)
        row[j] = j;
    for (size_t i = 1; i <= n_a; i++) {
        size_t *const oldest = before;
        before = last;
        last = row;
        row = oldest;
        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            row[j] = least(least(last[j], row[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
    }
    return row[n_b];
}

void nearest_offer(struct nearest *nearest, const char *known, size_t n_known)
{
    const size_t n = strlen(nearest->word);
    if (n == 0 || n > NEAREST_WORD_MAX || n_known > NEAREST_WORD_MAX)
        return;
    const bool begins = n >= 3 && n < n_known && !memcmp(nearest->word, known, n);
    const size_t distance = begins ? 1 : word_distance(nearest->word, n, known, n_known);
    const size_t limit = n / 3 > 1 ? n / 3 : 1;
    /* Between words as short as the distance nothing is alike. */
    if (distance > limit || distance >= n || distance >= n_known)
        return;
    if (!nearest->found || distance < nearest->distance) {
        nearest->found = known;
        nearest->n_found = n_known;
        nearest->distance = distance;
    }
}

void nearest_offer_choices(struct nearest *nearest, const char *choices)
{
    for (const char *at = choices;; at++) {
        const size_t n = strcspn(at, "|");
        nearest_offer(nearest, at, n);
        at += n;
        if (*at == '\0')
            return;
    }
}

const char *nearest_hint(const struct nearest *nearest, const char *prefix, char *hint)
{
    *hint = '\0';
    if (nearest->found)
        snprintf(hint, NEAREST_HINT_BYTES, " (did you mean %s%.*s?)", prefix, (int)nearest->n_found, nearest->found);
    return hint;
}
