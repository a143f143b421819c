/** Pages of vario: the style that all of them share, escaped text, pictures that are part of the
 * page. */
#ifndef VARIO_REPORT_HTML_H
#define VARIO_REPORT_HTML_H

#include <stdio.h>

/** Print the head, to <body>. @param title  text */
void html_begin(FILE *out, const char *title);
void html_end(FILE *out);

/** Print text, escaped; what no page may hold (control characters) as U+FFFD. */
void html_text(FILE *out, const char *text);

/** Print a table's cell with a number that programs read in full, people as `shown`, which
 * is HTML. NAN is a dash. */
void html_number(FILE *out, double value, const char *shown);

/** Print a picture of gnuplot's, as wide as its place, without what a second one on the page would
 * repeat: its ids, and the marks, which html_begin has for all.
 * @param svg    the whole file
 * @param label  text for those who do not see it */
void html_picture(FILE *out, const char *svg, const char *label);

#endif
