#include "base/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool number_fits(const number_range *range, double value)
{
    if (range->ends & ENDS_OPEN_MIN ? value <= range->min : value < range->min) return false;
    return range->ends & ENDS_OPEN_MAX ? value < range->max : value <= range->max;
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
    char min[NUMBER_TEXT], max[NUMBER_TEXT];
    number_print_bound(range->min, min);
    number_print_bound(range->max, max);
    snprintf(text, size, "%c%s, %s%c", range->ends & ENDS_OPEN_MIN ? '(' : '[', min, max,
             range->ends & ENDS_OPEN_MAX ? ')' : ']');
}

void number_describe_range(const number_range *range, const char *what, char *text, size_t size)
{
    char min[NUMBER_TEXT], max[NUMBER_TEXT];
    number_print_bound(range->min, min);
    number_print_bound(range->max, max);
    snprintf(text, size, "%s %s %s and %s %s", what,
             range->ends & ENDS_OPEN_MIN ? "above" : "of at least", min,
             range->ends & ENDS_OPEN_MAX ? "below" : "at most", max);
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
