/* Patterns: Oniguruma's regular expressions in the spelling of PCRE2.
 *
 * Owns: the translation, construct by construct.
 * Never: compiles or matches, changes what a pattern matches, guesses: what is not known to mean the same is refused.
 * Thread-safety: stateless.
 *
 * The Hugging Face library matches with Oniguruma. PCRE2 means other character sets by \s, \w, \b and \h, other things
 * by \v, (?m), [[...]] and a few more. So patterns are parsed, and every construct is either written out in terms both
 * libraries agree on or refused with its offset.
 */
#ifndef MUNINN_ENGINE_TEXT_PATTERN_H
#define MUNINN_ENGINE_TEXT_PATTERN_H

#include <stddef.h>

/* Writes the PCRE2 spelling of an Oniguruma pattern to a new zero-terminated string that the caller frees. NULL when
 * it cannot be translated: then *why says so and *at is the offset; *why is NULL when out of memory. */
char *pattern_translate(const char *pattern, size_t n_bytes, const char **why, size_t *at);

#endif
