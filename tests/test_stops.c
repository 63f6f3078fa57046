/* Goal: stop strings end a text where the first of them is complete, however the text is cut into tokens, print nothing
 * of what may become one, and cost a bounded number of comparisons per byte, whatever they are.
 *
 * Method: texts and stop strings over two letters, drawn, against a plain search; each text is pushed whole and in
 * pieces; a long stop string that almost matches everywhere, with the comparisons counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cli/generate/text.h"

enum { N_TEXTS = 3000, TEXT_MAX = 60, STOP_MAX = 8, N_STOPS = 3 };

static uint32_t draw(uint64_t *state, uint32_t n)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33) % n;
}

static void draw_text(uint64_t *state, char *text, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        text[i] = draw(state, 5) ? 'a' : 'b';
    text[n] = 0;
}

/* Where the text ends: before the stop string that is complete first, the longest of several. */
static size_t end_of(const char *text, size_t n, const struct text_list *stops, bool *stopped)
{
    *stopped = false;
    for (size_t end = 1; end <= n; end++) {
        size_t longest = 0;
        for (uint32_t i = 0; i < stops->n; i++) {
            const size_t length = strlen(stops->items[i]);
            if (length <= end && length > longest && !memcmp(text + end - length, stops->items[i], length))
                longest = length;
        }
        if (longest) {
            *stopped = true;
            return end - longest;
        }
    }
    return n;
}

static void check(const char *text, size_t n, const struct text_list *stops, uint64_t *state, uint32_t piece_max)
{
    char *printed = NULL;
    size_t n_printed, at = 0;
    bool stopped;
    const size_t end = end_of(text, n, stops, &stopped);
    FILE *stream = open_memstream(&printed, &n_printed);
    struct text_out out = {.stops = stops, .stream = stream};
    assert_non_null(stream);
    while (at < n) {
        size_t piece = 1 + draw(state, piece_max);
        piece = piece < n - at ? piece : n - at;
        assert_int_equal(text_out_push(&out, text + at, piece, NULL), MN_OK);
        at += piece;
        assert_int_equal(fflush(stream), 0);
        assert_true(n_printed <= end && !memcmp(printed, text, n_printed)); /* what was printed is never taken back */
    }
    text_out_finish(&out);
    fclose(stream);
    assert_int_equal(out.stopped, stopped);
    assert_int_equal(out.n, end);
    assert_int_equal(n_printed, end);
    assert_memory_equal(printed, text, end);
    text_out_free(&out);
    free(printed);
}

static void test_drawn_texts(void **state)
{
    (void)state;
    uint64_t seed = 7;
    uint32_t n_stopped = 0;
    for (int i = 0; i < N_TEXTS; i++) {
        char text[TEXT_MAX + 1], stops[N_STOPS][STOP_MAX + 1];
        const struct text_list list = {.items = {stops[0], stops[1], stops[2]}, .n = draw(&seed, N_STOPS + 1)};
        bool stopped;
        const uint32_t n = draw(&seed, TEXT_MAX + 1);
        draw_text(&seed, text, n);
        for (uint32_t k = 0; k < N_STOPS; k++)
            draw_text(&seed, stops[k], 1 + draw(&seed, STOP_MAX));
        end_of(text, n, &list, &stopped);
        n_stopped += stopped;
        check(text, n, &list, &seed, 1);
        check(text, n, &list, &seed, 7);
        check(text, n, &list, &seed, TEXT_MAX);
    }
    assert_true(n_stopped > N_TEXTS / 10 && n_stopped < N_TEXTS * 9 / 10);
}

static void test_comparisons_are_bounded(void **state)
{
    (void)state;
    enum { N_LONG = 20000, N_TEXT = 100000 };
    static char stop[N_LONG + 2];
    const struct text_list stops = {.items = {stop}, .n = 1};
    struct text_out out = {.stops = &stops};
    memset(stop, 'a', N_LONG);
    stop[N_LONG] = 'b';
    for (int i = 0; i < N_TEXT; i++)
        assert_int_equal(text_out_push(&out, "a", 1, NULL), MN_OK);
    assert_int_equal(out.n, N_TEXT);
    assert_false(out.stopped);
    assert_true(out.n_steps >= N_TEXT && out.n_steps <= 2 * N_TEXT);
    assert_int_equal(text_out_push(&out, "b", 1, NULL), MN_OK);
    assert_true(out.stopped && out.n == N_TEXT - N_LONG);
    text_out_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_drawn_texts),
        cmocka_unit_test(test_comparisons_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
