/* Character sets: the classes of a pre-tokenizer pattern, asked one character at a time.
 *
 * Owns: what PCRE2 compiled for one class, its answers for ASCII, and a cache of its answers for everything else.
 * Never: knows Unicode by itself: PCRE2 is asked, 64 characters at once, for what the cache does not have.
 * Thread-safety: `struct charset` is immutable after charset_init; every thread asks with its own cache.
 */
#ifndef MUNINN_ENGINE_TEXT_CHARSET_H
#define MUNINN_ENGINE_TEXT_CHARSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

struct pcre2_real_compile_context_8;
struct pcre2_real_match_data_8;

enum {
    CHARSET_PAGE = 64,       /* characters that are asked for at once */
    CHARSET_N_PAGES = 17408, /* 0x110000 / 64 */
};

/* Zeroed is a valid empty one for charset_destroy. */
struct charset {
    uint64_t ascii[2];
    struct pcre2_real_code_8 *members, *others; /* runs of members, runs of what is none */
    uint32_t weight;                            /* grows with the class: what asking takes does */
};

struct charset_page;

/* Zeroed is empty; its memory comes with the first character beyond ASCII. It knows sets by where they are: all that it
 * was asked about outlive it. */
struct charset_cache {
    struct charset_page *pages;
    struct pcre2_real_match_data_8 *match;
    uint64_t n_steps; /* what asking PCRE2 took so far, in the regex's steps */
};

/* The set of a class in PCRE2's spelling, brackets included. */
enum mn_status charset_init(struct charset *set, const char *members, size_t n_bytes, bool caseless,
                            struct pcre2_real_compile_context_8 *context, struct pcre2_real_match_data_8 *match);
void charset_destroy(struct charset *set);

/* MN_ERR_MEMORY when there is none for the cache; *is_member is unchanged then. */
enum mn_status charset_has(const struct charset *set, struct charset_cache *cache, uint32_t character, bool *is_member);
void charset_cache_destroy(struct charset_cache *cache);

/* Writes a character that is no surrogate; returns its bytes, at most 4. */
size_t utf8_encode(uint32_t character, char *out);

#endif
