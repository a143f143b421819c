/** Numbers as job files have them: their ranges and their text. */
#ifndef VARIO_BASE_NUMBER_H
#define VARIO_BASE_NUMBER_H

#include <stdbool.h>
#include <stddef.h>

/** Which ends of a range do not belong to it. */
typedef enum { ENDS_CLOSED, ENDS_OPEN_MIN, ENDS_OPEN_MAX, ENDS_OPEN } range_ends;

typedef struct {
    double min, max;
    range_ends ends;
} number_range;

enum { NUMBER_TEXT = 40 };

/** Whether a number lies in a range; NaN lies in none. */
bool number_fits(const number_range *range, double value);

/** A range to follow "expected": "a number above 0 and at most 1".
 * @param what  such as "a number" */
void number_describe_range(const number_range *range, const char *what, char *text, size_t size);

/** A range as documentation writes it: "(0, 1]". */
void number_print_range(const number_range *range, char *text, size_t size);

/** An end of a range. */
void number_print_bound(double value, char text[NUMBER_TEXT]);

/** The fewest digits that read back the same; with a point, since other readers of YAML take 1e+10
 * for text. Infinity is ".inf". */
void number_print(double value, char *text, size_t size);

#endif
