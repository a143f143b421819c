/** Pictures, drawn by gnuplot. Rank 0 alone calls these. */
#ifndef VARIO_IO_FILES_PLOT_H
#define VARIO_IO_FILES_PLOT_H

#include "base/status.h"

#include <stdbool.h>
#include <stdio.h>

typedef struct {
    FILE *commands; /**< write gnuplot's commands and inline data ($name << EOD) here */
    const char *path;
    char *text;
    size_t size;
} plot;

/** Begin a picture: terminal, size, font, grid, colours by name and line styles 1 to 6 are set, as
 * io/files/plot_style.inc says.
 *
 * @param path    ends in .png or .svg; the caller keeps it until plot_close; NULL: for plot_take
 * @param width   pixels
 * @param height  pixels
 * @return STATUS_OK, STATUS_INPUT (another ending) or STATUS_NOMEM
 */
status plot_open(plot *p, const char *path, int width, int height);

/** Print a text in gnuplot's single quotes, inside which it runs no command and knows no macro; a
 * control character becomes a blank. All texts that are not the program's own go through here. */
void plot_quote(FILE *commands, const char *text);

/** Print a file's name in them, so that a name like "|command" is a file's, too. */
void plot_quote_file(FILE *commands, const char *path);

/** Draw it: the file appears under its name when it is whole. Takes a plot that was not opened.
 * @param wanted  false throws it away, as after a failure
 * @return STATUS_OK, STATUS_INPUT (no gnuplot) or STATUS_IO (gnuplot failed, or the file) */
status plot_close(plot *p, bool wanted);

/** Draw a picture without a path, and close it.
 * @param svg  out: the file's text, the caller frees it
 * @return as plot_close, or STATUS_NOMEM */
status plot_take(plot *p, char **svg);

#endif
