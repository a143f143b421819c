/** Texts as JSON has them. */
#ifndef VARIO_IO_FILES_JSON_TEXT_H
#define VARIO_IO_FILES_JSON_TEXT_H

#include <stdio.h>

struct json_t;

/** Set a member of an object: NaN is no number and left out, infinity is null. */
void json_text_put(struct json_t *o, const char *key, double value);

/** Print a text in quotes, escaped; "" when it is not UTF-8. */
void json_text_print(FILE *out, const char *text);

/** Print any bytes in quotes: what is no UTF-8, and a NUL, as U+FFFD. */
void json_text_print_bytes(FILE *out, const char *bytes, size_t size);

#endif
