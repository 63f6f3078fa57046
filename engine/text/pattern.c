#include "engine/text/pattern.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum {
    GROUPS_MAX = 64,    /* nesting */
    REPEATS_MAX = 1000, /* n in {n} */
};

/* Oniguruma's sets, as members of a PCRE2 class. PCRE2's own \s has U+180E as well, its own \w other marks. Below
 * U+0100 Oniguruma looks \w up in a Latin-1 table that has superscripts and fractions; inside a class it does not. */
#define SET_SPACE "\\t-\\r\\x{85}\\p{Z}"
#define SET_WORD_IN_CLASS "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define SET_WORD SET_WORD_IN_CLASS "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}"
#define SET_HEX "0-9A-Fa-f"
#define SET_DIGIT "\\p{Nd}"

struct translator {
    const char *pattern;
    size_t n, at;
    char *out;
    size_t n_out, capacity;
    const char *why; /* first reason to refuse */
    bool out_of_memory;
    bool can_repeat;  /* the item just written may take a quantifier */
    char last_letter; /* the literal ASCII letter just written, lower case, or 0 */
    unsigned depth;
    struct {
        bool caseless; /* of the text inside */
        bool is_look;  /* look-around: takes no quantifier */
    } groups[GROUPS_MAX];
};

/* What an escape or a class member means: one character, or a set. */
struct item {
    bool is_set;
    bool is_negated;  /* set only: the complement */
    bool is_property; /* set only: folding case would change it */
    uint32_t character;
    char members[96]; /* set only: inside of a class */
};

static bool refuse(struct translator *t, const char *why)
{
    if (!t->why)
        t->why = why;
    return false;
}

static bool put(struct translator *t, const char *text)
{
    size_t n = strlen(text);
    if (t->n_out + n + 1 > t->capacity) {
        size_t capacity = (t->n_out + n + 1) * 2;
        char *out = realloc(t->out, capacity);
        if (!out) {
            t->out_of_memory = true;
            return refuse(t, "out of memory");
        }
        t->out = out;
        t->capacity = capacity;
    }
    memcpy(t->out + t->n_out, text, n + 1);
    t->n_out += n;
    return true;
}

static bool put_number(struct translator *t, const char *before, uint32_t value, unsigned base, const char *after)
{
    char digits[12];
    size_t i = sizeof digits;
    digits[--i] = 0;
    do
        digits[--i] = "0123456789ABCDEF"[value % base];
    while ((value /= base) != 0);
    return put(t, before) && put(t, digits + i) && put(t, after);
}

static bool is_letter(uint32_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(uint32_t c)
{
    return c >= '0' && c <= '9';
}

/* Everything but letters and digits is written as a number, so that no character can be taken for syntax. */
static bool put_character(struct translator *t, uint32_t c)
{
    char text[2] = {(char)c, 0};
    return is_letter(c) || is_digit(c) ? put(t, text) : put_number(t, "\\x{", c, 16, "}");
}

static bool next_is(const struct translator *t, const char *text)
{
    size_t n = strlen(text);
    return t->n - t->at >= n && !memcmp(t->pattern + t->at, text, n);
}

/* Next character of the pattern. A malformed sequence is refused and stands for U+0000 until the caller notices. */
static uint32_t take_character(struct translator *t)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)t->pattern + t->at,
                                          (utf8proc_ssize_t)(t->n - t->at), &c);
    if (n <= 0) {
        t->at++;
        refuse(t, "not UTF-8");
        return 0;
    }
    t->at += (size_t)n;
    return (uint32_t)c;
}

static bool caseless(const struct translator *t)
{
    return t->groups[t->depth].caseless;
}

/* Properties by the names that published tokenizers use, spaces, '-' and '_' dropped, lower case. Scripts are written
 * with sc: because PCRE2 would otherwise mean script extensions. */
static const struct {
    const char *name, *pcre2;
} properties[] = {
    {"c", "C"},
    {"cc", "Cc"},
    {"cf", "Cf"},
    {"cn", "Cn"},
    {"co", "Co"},
    {"l", "L"},
    {"ll", "Ll"},
    {"lm", "Lm"},
    {"lo", "Lo"},
    {"lt", "Lt"},
    {"lu", "Lu"},
    {"m", "M"},
    {"mc", "Mc"},
    {"me", "Me"},
    {"mn", "Mn"},
    {"n", "N"},
    {"nd", "Nd"},
    {"nl", "Nl"},
    {"no", "No"},
    {"p", "P"},
    {"pc", "Pc"},
    {"pd", "Pd"},
    {"pe", "Pe"},
    {"pf", "Pf"},
    {"pi", "Pi"},
    {"po", "Po"},
    {"ps", "Ps"},
    {"s", "S"},
    {"sc", "Sc"},
    {"sk", "Sk"},
    {"sm", "Sm"},
    {"so", "So"},
    {"z", "Z"},
    {"zl", "Zl"},
    {"zp", "Zp"},
    {"zs", "Zs"},
    {"letter", "L"},
    {"mark", "M"},
    {"number", "N"},
    {"punctuation", "P"},
    {"symbol", "S"},
    {"separator", "Z"},
    {"lowercaseletter", "Ll"},
    {"uppercaseletter", "Lu"},
    {"titlecaseletter", "Lt"},
    {"decimalnumber", "Nd"},
    {"alphabetic", "Alphabetic"},
    {"han", "sc:Han"},
    {"hiragana", "sc:Hiragana"},
    {"katakana", "sc:Katakana"},
    {"hangul", "sc:Hangul"},
    {"latin", "sc:Latin"},
    {"greek", "sc:Greek"},
    {"cyrillic", "sc:Cyrillic"},
    {"arabic", "sc:Arabic"},
    {"hebrew", "sc:Hebrew"},
    {"thai", "sc:Thai"},
    {"devanagari", "sc:Devanagari"},
};

/* After \p or \P. */
static bool take_property(struct translator *t, struct item *item, bool negated)
{
    char name[32];
    size_t n = 0;
    if (!next_is(t, "{"))
        return refuse(t, "a property needs braces");
    t->at++;
    if (next_is(t, "^")) {
        negated = !negated;
        t->at++;
    }
    for (; t->at < t->n && t->pattern[t->at] != '}'; t->at++) {
        char c = t->pattern[t->at];
        if (c == ' ' || c == '-' || c == '_')
            continue;
        if (!is_letter((unsigned char)c) || n + 1 >= sizeof name)
            return refuse(t, "an unsupported property");
        name[n++] = (char)(c | 0x20);
    }
    if (t->at == t->n)
        return refuse(t, "a property without its closing brace");
    t->at++;
    name[n] = 0;
    for (size_t i = 0; i < sizeof properties / sizeof *properties; i++) {
        if (!strcmp(name, properties[i].name)) {
            /* \P is written into the member, so unlike \S it may stand inside a class. */
            *item = (struct item){.is_set = true, .is_property = true};
            strcpy(item->members, negated ? "\\P{" : "\\p{");
            strcat(item->members, properties[i].pcre2);
            strcat(item->members, "}");
            return true;
        }
    }
    return refuse(t, "an unsupported property");
}

static bool take_hex(struct translator *t, unsigned min_digits, unsigned max_digits, uint32_t *value)
{
    unsigned n = 0;
    *value = 0;
    for (; n < max_digits && t->at < t->n; n++, t->at++) {
        char c = t->pattern[t->at];
        if (is_digit((unsigned char)c))
            *value = *value * 16 + (uint32_t)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            *value = *value * 16 + (uint32_t)((c | 0x20) - 'a' + 10);
        else
            break;
    }
    return n >= min_digits || refuse(t, "too few hexadecimal digits");
}

static bool set_item(struct item *item, const char *members, bool negated, bool is_property)
{
    *item = (struct item){.is_set = true, .is_negated = negated, .is_property = is_property};
    strcpy(item->members, members);
    return true;
}

/* After a backslash: the escapes that mean the same inside and outside of a class. */
static bool take_escape(struct translator *t, struct item *item)
{
    if (t->at == t->n)
        return refuse(t, "a backslash at the end");
    uint32_t c = take_character(t);
    *item = (struct item){.character = c};
    switch (c) {
    case 't': item->character = '\t'; return true;
    case 'n': item->character = '\n'; return true;
    case 'r': item->character = '\r'; return true;
    case 'f': item->character = '\f'; return true;
    case 'v': item->character = '\v'; return true; /* PCRE2: all vertical space */
    case 'a': item->character = 7; return true;
    case 'e': item->character = 27; return true;
    case 's': return set_item(item, SET_SPACE, false, false);
    case 'S': return set_item(item, SET_SPACE, true, false);
    case 'd': return set_item(item, SET_DIGIT, false, false);
    case 'D': return set_item(item, SET_DIGIT, true, false);
    case 'w': return set_item(item, SET_WORD, false, true);
    case 'W': return set_item(item, SET_WORD, true, true);
    case 'h': return set_item(item, SET_HEX, false, false); /* PCRE2: horizontal space */
    case 'H': return set_item(item, SET_HEX, true, false);
    case 'p': return take_property(t, item, false);
    case 'P': return take_property(t, item, true);
    case 'u': return take_hex(t, 4, 4, &item->character);
    case 'x':
        if (next_is(t, "{")) {
            t->at++;
            if (!take_hex(t, 1, 8, &item->character) || !next_is(t, "}"))
                return refuse(t, "a malformed \\x{...}");
            t->at++;
            return true;
        }
        if (!take_hex(t, 1, 2, &item->character))
            return false;
        return item->character < 0x80 || refuse(t, "\\x80 and above name a byte, not a character");
    default: break;
    }
    return !(is_letter(c) || is_digit(c)) || refuse(t, "an unsupported escape");
}

static bool character_check(struct translator *t, uint32_t c)
{
    if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return refuse(t, "a number that is no character");
    /* Oniguruma folds some non-ASCII characters to several. */
    return c < 0x80 || !caseless(t) || refuse(t, "a non-ASCII character inside (?i:...)");
}

/* One member of a class, escapes included. */
static bool take_member(struct translator *t, struct item *item)
{
    if (t->at == t->n)
        return refuse(t, "a class without its closing bracket");
    if (next_is(t, "["))
        return refuse(t, "a class inside a class");
    if (next_is(t, "&&"))
        return refuse(t, "an intersection of classes");
    if (!next_is(t, "\\")) {
        *item = (struct item){.character = take_character(t)};
    } else if (t->at++, next_is(t, "b")) {
        t->at++;
        *item = (struct item){.character = 8};
    } else if (next_is(t, "w")) {
        t->at++;
        set_item(item, SET_WORD_IN_CLASS, false, true);
    } else if (!take_escape(t, item)) {
        return false;
    }
    if (item->is_set && item->is_negated)
        return refuse(t, "a negated escape inside a class");
    if (item->is_set && item->is_property && caseless(t))
        return refuse(t, "a property inside (?i:...)");
    return item->is_set || character_check(t, item->character);
}

/* After '['. */
static bool translate_class(struct translator *t)
{
    struct item low, high;
    put(t, "[");
    if (next_is(t, "^")) {
        t->at++;
        put(t, "^");
    }
    if (next_is(t, "]"))
        return refuse(t, "an empty class");
    for (bool first = true; !next_is(t, "]"); first = false) {
        bool bare_minus = next_is(t, "-");
        if (!take_member(t, &low))
            return false;
        /* A minus is itself at the ends, and between two characters a range; elsewhere the libraries differ. */
        bool last = next_is(t, "]");
        if (bare_minus && !first && !last)
            return refuse(t, "a '-' that is neither a range nor at an end of the class");
        if (low.is_set) {
            if (!put(t, low.members))
                return false;
            if (next_is(t, "-") && t->at + 1 < t->n && t->pattern[t->at + 1] != ']')
                return refuse(t, "a range that starts with a set");
            continue;
        }
        if (!put_character(t, low.character))
            return false;
        if (last || !next_is(t, "-") || (t->at + 1 < t->n && t->pattern[t->at + 1] == ']'))
            continue;
        t->at++;
        if (bare_minus || next_is(t, "-") || !take_member(t, &high))
            return refuse(t, "a range with '-' as an end");
        if (high.is_set || high.character < low.character)
            return refuse(t, "a range whose end is a set or lies before its start");
        if (!put(t, "-") || !put_character(t, high.character))
            return false;
    }
    t->at++;
    t->can_repeat = true;
    t->last_letter = 0;
    return put(t, "]");
}

static bool translate_literal(struct translator *t, uint32_t c)
{
    if (!character_check(t, c))
        return false;
    char letter = (char)(is_letter(c) ? c | 0x20 : 0), last = t->last_letter;
    /* Oniguruma folds these pairs to ligatures and sharp s. */
    if (caseless(t) && ((last == 'f' && (letter == 'f' || letter == 'i' || letter == 'l')) ||
                        (last == 's' && (letter == 's' || letter == 't'))))
        return refuse(t, "a pair of letters inside (?i:...) that folds to one character");
    t->can_repeat = true;
    t->last_letter = letter;
    return put_character(t, c);
}

/* After a backslash outside of a class. */
static bool translate_escape(struct translator *t)
{
    static const struct {
        const char *name, *pcre2;
    } anchors[] = {
        {"b", "(?:(?<=[" SET_WORD "])(?![" SET_WORD "])|(?<![" SET_WORD "])(?=[" SET_WORD "]))"},
        {"B", "(?:(?<=[" SET_WORD "])(?=[" SET_WORD "])|(?<![" SET_WORD "])(?![" SET_WORD "]))"},
        {"A", "\\A"},
        {"z", "\\z"},
        {"Z", "\\Z"},
    };
    struct item item;
    for (size_t i = 0; i < sizeof anchors / sizeof *anchors; i++) {
        if (next_is(t, anchors[i].name)) {
            t->at++;
            t->can_repeat = false;
            t->last_letter = 0;
            return put(t, anchors[i].pcre2);
        }
    }
    if (!take_escape(t, &item))
        return false;
    if (!item.is_set)
        return translate_literal(t, item.character);
    if (item.is_property && caseless(t))
        return refuse(t, "a property inside (?i:...)");
    t->can_repeat = true;
    t->last_letter = 0;
    return put(t, item.is_negated ? "[^" : "[") && put(t, item.members) && put(t, "]");
}

/* After '('. Captures are of no use here: every group is written without. */
static bool translate_group(struct translator *t)
{
    static const struct {
        const char *text;
        bool is_look;
    } kinds[] = {{"?:", false}, {"?>", false}, {"?=", true}, {"?!", true}, {"?<=", true}, {"?<!", true}};
    bool inner_caseless = caseless(t), is_look = false;
    const char *text = "?:";

    if (next_is(t, "*"))
        return refuse(t, "a verb or callout");
    if (next_is(t, "?i:") || next_is(t, "?-i:")) {
        inner_caseless = t->pattern[t->at + 1] == 'i';
        text = inner_caseless ? "?i:" : "?-i:";
        t->at += strlen(text);
    } else if (next_is(t, "?")) {
        text = NULL;
        for (size_t i = 0; !text && i < sizeof kinds / sizeof *kinds; i++) {
            if (next_is(t, kinds[i].text)) {
                text = kinds[i].text;
                is_look = kinds[i].is_look;
            }
        }
        if (!text)
            return refuse(t, "an unsupported kind of group");
        t->at += strlen(text);
    }
    if (++t->depth == GROUPS_MAX) {
        t->depth--;
        return refuse(t, "groups nested too deeply");
    }
    t->groups[t->depth].caseless = inner_caseless;
    t->groups[t->depth].is_look = is_look;
    t->can_repeat = false;
    t->last_letter = 0;
    return put(t, "(") && put(t, text);
}

/* At '{': true when this is an interval {n}, {n,}, {n,m} or {,m}; then t->at is behind it. Else a literal brace. */
static bool take_interval(struct translator *t, uint32_t *low, uint32_t *high, bool *is_exact, bool *has_high)
{
    size_t at = t->at + 1;
    uint32_t values[2] = {0, 0};
    size_t n_digits[2] = {0, 0};
    bool comma = false;
    for (; at < t->n && t->pattern[at] != '}'; at++) {
        char c = t->pattern[at];
        if (c == ',' && !comma) {
            comma = true;
        } else if (is_digit((unsigned char)c)) {
            if (values[comma] <= REPEATS_MAX) /* saturates above the limit */
                values[comma] = values[comma] * 10 + (uint32_t)(c - '0');
            n_digits[comma]++;
        } else {
            return false;
        }
    }
    if (at == t->n || n_digits[0] + n_digits[1] == 0)
        return false;
    *low = values[0];
    *high = comma ? values[1] : values[0];
    *is_exact = !comma;
    *has_high = !comma || n_digits[1];
    t->at = at + 1;
    return true;
}

/* At one of * + ? {. */
static bool translate_quantifier(struct translator *t)
{
    uint32_t low = 0, high = 0;
    bool is_exact = false, has_high = false, interval = next_is(t, "{");
    if (interval && !take_interval(t, &low, &high, &is_exact, &has_high)) {
        t->at++;
        return translate_literal(t, '{');
    }
    if (!t->can_repeat)
        return refuse(t, "a quantifier with nothing to repeat");
    if (interval) {
        if (low > REPEATS_MAX || high > REPEATS_MAX || (has_high && high < low))
            return refuse(t, "an interval out of range");
        if (next_is(t, "+") || (is_exact && next_is(t, "?")))
            return refuse(t, "a suffix that the libraries read differently");
        if (!put_number(t, "{", low, 10, ",") || (has_high && !put_number(t, "", high, 10, "")) || !put(t, "}"))
            return false;
    } else {
        char text[2] = {t->pattern[t->at++], 0};
        if (!put(t, text))
            return false;
    }
    t->can_repeat = false;
    t->last_letter = 0;
    if (next_is(t, "?") || next_is(t, "+")) {
        char text[2] = {t->pattern[t->at++], 0};
        return put(t, text);
    }
    return true;
}

static bool translate_one(struct translator *t)
{
    switch (t->pattern[t->at]) {
    case '\\': t->at++; return translate_escape(t);
    case '[': t->at++; return translate_class(t);
    case '(': t->at++; return translate_group(t);
    case '*':
    case '+':
    case '?':
    case '{': return translate_quantifier(t);
    case ')':
        if (!t->depth)
            return refuse(t, "an unmatched closing parenthesis");
        t->at++;
        t->can_repeat = !t->groups[t->depth--].is_look;
        t->last_letter = 0;
        return put(t, ")");
    case '.':
    case '|':
    case '^':
    case '$': {
        char text[2] = {t->pattern[t->at++], 0};
        t->can_repeat = text[0] == '.';
        t->last_letter = 0;
        return put(t, text);
    }
    default: return translate_literal(t, take_character(t));
    }
}

char *pattern_translate(const char *pattern, size_t n_bytes, const char **why, size_t *at)
{
    struct translator t = {.pattern = pattern, .n = n_bytes};
    put(&t, "");
    while (!t.why && t.at < t.n)
        translate_one(&t);
    if (!t.why && t.depth)
        refuse(&t, "a group without its closing parenthesis");
    if (!t.why)
        return t.out;
    free(t.out);
    *why = t.out_of_memory ? NULL : t.why;
    *at = t.at;
    return NULL;
}
