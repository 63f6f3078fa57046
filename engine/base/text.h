/* Text on its way to people: what is well-formed UTF-8, and what a terminal would act upon.
 *
 * Token text, names of files, keys and devices come from outside. A terminal obeys control characters in them (title,
 * clipboard, colours, answers typed for the user) and marks that turn the direction of writing let a line read as
 * another one. Those are shown, not sent: a character as \u and four hexadecimal digits, as in JSON, a byte that
 * belongs to no character as \x and two. They are C0 except newline and tab, DEL, C1, and the marks of the
 * bidirectional algorithm (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069). A pipe or a file gets the bytes
 * as they are.
 *
 * Owns: the one list of what is shown. Never: allocates. Thread-safety: stateless.
 */
#ifndef MUNINN_ENGINE_BASE_TEXT_H
#define MUNINN_ENGINE_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Length of the well-formed UTF-8 sequence at p, 1 to 4. 0 when there is none: then *bad_bytes is the length of the
 * longest prefix that could have become one (the unit that is replaced by one U+FFFD), at least 1. Needs n >= 1. */
size_t utf8_step(const unsigned char *p, size_t n, size_t *bad_bytes);

/* n without the beginning of a character at the end: so much of a stream can be shown before more of it comes. */
size_t utf8_whole(const char *bytes, size_t n);

/* The code point that a terminal would act upon and that stands at p, in a well-formed sequence; -1 when it is another
 * one. Newline and tab are among them here: where they are harmless, the caller lets them pass. */
int32_t text_control(const unsigned char *p);

/* The first character of `bytes`, or the first byte if that is none, as a terminal may have it; zero-terminated.
 * Returns how many bytes it stands for. Needs n >= 1. `one_line`: newline and tab are shown, too. */
enum { TEXT_SHOWN_BYTES = 8 };
size_t text_show(char shown[TEXT_SHOWN_BYTES], const char *bytes, size_t n, bool one_line);

/* Writes text: shown on a terminal, byte for byte elsewhere. */
void text_write(FILE *stream, const char *bytes, size_t n);
/* The same for a zero-terminated string. */
void text_puts(FILE *stream, const char *text);
/* What ends a cell of a Markdown table or begins markup. */
#define TEXT_MARKUP "|\\<[`"
/* A cell of a table: control characters of C0 are blanks, and `escape` stands in front of each of `escaped`. */
void text_write_cell(FILE *stream, const char *text, const char *escaped, char escape);

#endif
