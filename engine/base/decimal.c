#include "engine/base/decimal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/system.h"

enum { DIGITS_MAX = 64, INTEGER_DIGITS_MAX = 40 };
#define EXPONENT_MAX 1000000000L /* beyond every double; sums of two still fit */

int decimal_write(char text[DECIMAL_BYTES], double value)
{
    const struct number_locale scope = number_locale_begin();
    int n = 0;
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(text, DECIMAL_BYTES, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    number_locale_end(&scope);
    return n;
}

int decimal_write_float(char text[DECIMAL_BYTES], float value)
{
    const struct number_locale scope = number_locale_begin();
    int n = 0;
    for (int digits = 6; digits <= 9; digits++) {
        n = snprintf(text, DECIMAL_BYTES, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    number_locale_end(&scope);
    return n;
}

double decimal_read(const char *text, const char **end)
{
    char *behind;
    const struct number_locale scope = number_locale_begin();
    const double value = strtod(text, &behind);
    number_locale_end(&scope);
    if (end)
        *end = behind;
    return value;
}

double decimal_of_float(float value)
{
    char text[DECIMAL_BYTES];
    decimal_write_float(text, value);
    return decimal_read(text, NULL);
}

/* ---- one number, many texts ---- */

/* +-DIGITS x 10^exponent without zeros at either end; no digits: zero. */
struct parts {
    bool negative;
    char digits[DIGITS_MAX + 1];
    int n;
    long exponent;
};

static struct parts parts_of(const char *text)
{
    struct parts p = {.negative = *text == '-'};
    bool fraction = false;
    text += p.negative;
    for (; (*text >= '0' && *text <= '9') || *text == '.'; text++) {
        if (*text == '.') {
            fraction = true;
            continue;
        }
        p.exponent -= fraction;
        if ((p.n > 0 || *text != '0') && p.n < DIGITS_MAX)
            p.digits[p.n++] = *text;
    }
    if (*text == 'e' || *text == 'E') {
        const long given = strtol(text + 1, NULL, 10); /* saturates */
        p.exponent += given > EXPONENT_MAX ? EXPONENT_MAX : given < -EXPONENT_MAX ? -EXPONENT_MAX : given;
    }
    for (; p.n > 0 && p.digits[p.n - 1] == '0'; p.n--)
        p.exponent++;
    p.digits[p.n] = '\0';
    p.exponent = p.n ? p.exponent : 0;
    return p;
}

bool decimal_same(const char *a, const char *b)
{
    if (!strcmp(a, b))
        return true;
    const struct parts x = parts_of(a), y = parts_of(b);
    return x.negative == y.negative && x.exponent == y.exponent && !strcmp(x.digits, y.digits);
}

void decimal_name(const char *text, char *name, size_t name_bytes)
{
    const struct parts p = parts_of(text);
    const char *sign = p.negative ? "-" : "";
    if (p.n == 0)
        snprintf(name, name_bytes, "%s0", sign);
    else if (p.exponent >= 0 && p.n + p.exponent <= INTEGER_DIGITS_MAX)
        snprintf(name, name_bytes, "%s%s%.*s", sign, p.digits, (int)p.exponent,
                 "0000000000000000000000000000000000000000");
    else
        snprintf(name, name_bytes, "%s%se%ld", sign, p.digits, p.exponent);
}
