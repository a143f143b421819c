/** The font of the generated images: 7 x 9 dots a character, several styles of each. */
#ifndef VARIO_IO_EXAMPLES_GLYPH_FONT_H
#define VARIO_IO_EXAMPLES_GLYPH_FONT_H

#include <stdbool.h>

enum {
    FONT_WIDTH = 7,
    FONT_HEIGHT = 9,
    FONT_DIGITS = 10,
    FONT_DIGIT_STYLES = 3,
    FONT_LETTERS = 24, /**< A E F H J K L M N P R U V W X Y a d e f m n r u */
    FONT_LETTER_STYLES = 2,
};

/** The rows of a character, FONT_HEIGHT strings: a dot of ink is '#', at [row][*first + column].
 *
 * @param letters  a letter (in the order above), not a digit
 * @param style    below FONT_DIGIT_STYLES or FONT_LETTER_STYLES
 * @param first    out: column of the rows where the character begins
 */
const char *const *font_character(bool letters, unsigned character, unsigned style,
                                  unsigned *first);

#endif
