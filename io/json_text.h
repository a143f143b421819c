/** Texts as JSON has them. */
#ifndef VARIO_IO_JSON_TEXT_H
#define VARIO_IO_JSON_TEXT_H

#include <stdio.h>

/** Print a text in quotes, escaped; "" when it is not UTF-8. */
void json_text_print(FILE *out, const char *text);

#endif
