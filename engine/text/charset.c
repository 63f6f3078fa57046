#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/text/charset.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAGES_BITS = 11, /* of a cache: 48 KiB */
    PATTERN_EXTRA = 16,
    CALL_STEPS = 32, /* one call of PCRE2 takes as long as so many steps of the regex */
    WEIGHT_BYTES = 32,
};

struct charset_page {
    const struct charset *set; /* NULL: empty */
    uint32_t number;
    uint64_t bits;
};

size_t utf8_encode(uint32_t c, char *out)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    const size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | c);
    return n;
}

/* [...]*+ or [^...]*+, case-less where that is wanted. */
static enum mn_status run_compile(pcre2_code **out, const char *members, size_t n_bytes, bool caseless, bool complement,
                                  pcre2_compile_context *context)
{
    int error;
    PCRE2_SIZE offset;
    const bool is_negated = members[1] == '^';
    const size_t skip = is_negated ? 2 : 1;
    char *text = malloc(n_bytes + PATTERN_EXTRA);
    if (!text)
        return MN_ERR_MEMORY;
    const char *head = is_negated != complement ? "[^" : "[";
    size_t n = strlen(head);
    memcpy(text, head, n);
    memcpy(text + n, members + skip, n_bytes - skip);
    n += n_bytes - skip;
    memcpy(text + n, "*+", 2);
    *out = pcre2_compile((PCRE2_SPTR)text, n + 2,
                         PCRE2_UTF | PCRE2_ANCHORED | PCRE2_NO_START_OPTIMIZE | (caseless ? PCRE2_CASELESS : 0), &error,
                         &offset, context);
    free(text);
    /* The whole pattern was compiled before its parts. */
    return *out ? MN_OK : MN_ERR_MEMORY;
}

/* Which of 64 characters from `first` on are members. Surrogates stand in no valid text. */
static enum mn_status page_read(uint64_t *bits, uint64_t *n_steps, const struct charset *set, uint32_t first,
                                pcre2_match_data *match)
{
    char text[4 * CHARSET_PAGE];
    size_t starts[CHARSET_PAGE + 1], n = 0;
    for (uint32_t i = 0; i < CHARSET_PAGE; i++) {
        const uint32_t c = first + i;
        starts[i] = n;
        n += utf8_encode(c >= 0xd800 && c <= 0xdfff ? 0xfffd : c, text + n);
    }
    starts[CHARSET_PAGE] = n;
    *bits = 0;
    *n_steps += (uint64_t)CHARSET_PAGE * set->weight;
    bool is_member = true;
    for (uint32_t i = 0; i < CHARSET_PAGE; is_member = !is_member) {
        const int result = pcre2_match(is_member ? set->members : set->others, (PCRE2_SPTR)text, n, starts[i],
                                       PCRE2_NO_UTF_CHECK, match, NULL);
        if (result < 0)
            return MN_ERR_MEMORY;
        *n_steps += CALL_STEPS;
        for (const size_t end = pcre2_get_ovector_pointer(match)[1]; i < CHARSET_PAGE && starts[i] < end; i++)
            *bits |= (uint64_t)is_member << i;
    }
    return MN_OK;
}

enum mn_status charset_init(struct charset *set, const char *members, size_t n_bytes, bool caseless,
                            struct pcre2_real_compile_context_8 *context, struct pcre2_real_match_data_8 *match)
{
    uint64_t n_steps = 0;
    *set = (struct charset){.weight = 1 + (uint32_t)(n_bytes / WEIGHT_BYTES)};
    enum mn_status status = run_compile(&set->members, members, n_bytes, caseless, false, context);
    if (!status)
        status = run_compile(&set->others, members, n_bytes, caseless, true, context);
    for (uint32_t page = 0; page < 2 && !status; page++)
        status = page_read(&set->ascii[page], &n_steps, set, page * CHARSET_PAGE, match);
    if (status)
        charset_destroy(set);
    return status;
}

void charset_destroy(struct charset *set)
{
    if (!set)
        return;
    pcre2_code_free(set->members);
    pcre2_code_free(set->others);
    *set = (struct charset){0};
}

static enum mn_status cache_reserve(struct charset_cache *cache)
{
    if (!cache->match)
        cache->match = pcre2_match_data_create(1, NULL);
    if (!cache->pages)
        cache->pages = calloc((size_t)1 << PAGES_BITS, sizeof *cache->pages);
    return cache->match && cache->pages ? MN_OK : MN_ERR_MEMORY;
}

enum mn_status charset_has(const struct charset *set, struct charset_cache *cache, uint32_t c, bool *is_member)
{
    if (c < 0x80) {
        *is_member = set->ascii[c / CHARSET_PAGE] >> c % CHARSET_PAGE & 1;
        return MN_OK;
    }
    if (!cache->pages || !cache->match) {
        enum mn_status status = cache_reserve(cache);
        if (status)
            return status;
    }
    const uint32_t number = c / CHARSET_PAGE;
    const uint32_t hash = (number + (uint32_t)((uintptr_t)set / sizeof *set) * 4099) * UINT32_C(2654435761);
    struct charset_page *page = &cache->pages[hash >> (32 - PAGES_BITS)];
    if (page->set != set || page->number != number) {
        uint64_t bits;
        enum mn_status status = page_read(&bits, &cache->n_steps, set, number * CHARSET_PAGE, cache->match);
        if (status)
            return status;
        *page = (struct charset_page){set, number, bits};
    }
    *is_member = page->bits >> c % CHARSET_PAGE & 1;
    return MN_OK;
}

void charset_cache_destroy(struct charset_cache *cache)
{
    if (!cache)
        return;
    free(cache->pages);
    pcre2_match_data_free(cache->match);
    *cache = (struct charset_cache){0};
}
