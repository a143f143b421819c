#include "base/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool number_fits(const number_range *range, double value)
{
    if (range->ends & ENDS_OPEN_LEAST ? value <= range->least : value < range->least) return false;
    return range->ends & ENDS_OPEN_MOST ? value < range->most : value <= range->most;
}

void number_print_bound(double value, char text[NUMBER_TEXT])
{
    if (isinf(value))
        snprintf(text, NUMBER_TEXT, ".inf");
    else if (value >= 18446744073709551615.0 && value < 2e19)
        snprintf(text, NUMBER_TEXT, "2^64-1");
    else if (value == 4294967295.0)
        snprintf(text, NUMBER_TEXT, "2^32-1");
    else
        snprintf(text, NUMBER_TEXT, "%.10g", value);
}

void number_print_range(const number_range *range, char *text, size_t size)
{
    char least[NUMBER_TEXT], most[NUMBER_TEXT];
    number_print_bound(range->least, least);
    number_print_bound(range->most, most);
    snprintf(text, size, "%c%s, %s%c", range->ends & ENDS_OPEN_LEAST ? '(' : '[', least, most,
             range->ends & ENDS_OPEN_MOST ? ')' : ']');
}

void number_describe_range(const number_range *range, const char *what, char *text, size_t size)
{
    char least[NUMBER_TEXT], most[NUMBER_TEXT];
    number_print_bound(range->least, least);
    number_print_bound(range->most, most);
    snprintf(text, size, "%s %s %s and %s %s", what,
             range->ends & ENDS_OPEN_LEAST ? "above" : "of at least", least,
             range->ends & ENDS_OPEN_MOST ? "below" : "at most", most);
}

void number_print(double value, char *text, size_t size)
{
    if (isinf(value)) {
        snprintf(text, size, ".inf");
        return;
    }
    char plain[NUMBER_TEXT] = "";
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(plain, sizeof plain, "%.*g", digits, value);
        bool needs_no_exponent = fabs(value) >= 1e-4 && fabs(value) < 1e7 && strchr(plain, 'e');
        if (strtod(plain, NULL) == value && !needs_no_exponent) break; /* 60, not 6e+01 */
    }
    size_t mantissa = strcspn(plain, "e");
    bool bare = plain[mantissa] && !strchr(plain, '.');
    snprintf(text, size, "%.*s%s%s", (int)mantissa, plain, bare ? ".0" : "", plain + mantissa);
}
