/** Which bytes are text. */
#ifndef VARIO_BASE_UTF8_H
#define VARIO_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/** Bytes of the well-formed character that a text begins with, 0 when it begins with none.
 * @param left  bytes of the text, at least 1 */
size_t utf8_character(const unsigned char *text, size_t left);

/** Whether bytes are the beginning of a character that is not whole.
 * @param size  at least 1 */
bool utf8_begins(const unsigned char *text, size_t size);

/** Length of the longest beginning that is well-formed UTF-8. */
size_t utf8_valid(const unsigned char *text, size_t size);

/** Length of the longest beginning where no well-formed character begins. */
size_t utf8_invalid(const unsigned char *text, size_t size);

/** Bytes of a text, at most `most` of them, that end where no character is torn; `most` where all
 * that is torn is no character. */
size_t utf8_whole(const unsigned char *text, size_t size, size_t max);

/** Bytes of the byte order mark that a text begins with: 3 or 0. */
size_t utf8_mark(const char *text, size_t size);

#endif
