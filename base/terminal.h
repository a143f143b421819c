/** Texts of others on a terminal: nothing in a name, a file or a model's words moves its cursor,
 * changes its colours or types for its user. Bytes below 0x20, 0x7f, the controls of C1 and what is
 * not UTF-8 are shown as \xNN. */
#ifndef VARIO_BASE_TERMINAL_H
#define VARIO_BASE_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum {
    TERMINAL_SHOWN = 12,  /**< bytes that one character is shown with, and a NUL, at most */
    TERMINAL_LINE = 8192, /**< bytes that terminal_print prints at most */
};

/** Show one character.
 *
 * @param shown  out: the character, or \xNN for each of its bytes
 * @param text   [left] bytes
 * @param left   at least 1
 * @return bytes that were taken
 */
size_t terminal_show(char shown[TERMINAL_SHOWN], const char *text, size_t left);

/** Show a sentence, of whole characters as far as there is room.
 *
 * @param out   out: [size] a string
 * @param size  at least 1
 * @param text  a string, which out does not overlap
 */
void terminal_sentence(char *out, size_t size, const char *text);

/** Print as fprintf does, what is printed being shown; newlines and tabs stay. */
void terminal_print(FILE *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** What a stream is for: bytes of a text that comes in pieces. */
typedef struct {
    FILE *out;
    bool raw;              /**< nobody looks on: bytes go out as they are */
    unsigned char part[4]; /**< of a character that is not whole yet */
    size_t count;
} terminal_stream;

/** Show a text on a stream if it leads to a terminal. Under mpirun, which gives every rank one,
 * that is always so. Zeroed but for out and raw is open, too. */
void terminal_open(terminal_stream *s, FILE *out);

/** Write a piece of it; newlines and tabs stay. */
void terminal_write(terminal_stream *s, const void *bytes, size_t size);

/** What was begun and not ended is shown. */
void terminal_close(terminal_stream *s);

#endif
