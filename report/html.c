/* gnuplot's SVG is taken apart by its lines' beginnings: nothing but what io/files/plot.c made
 * comes here. */
#include "report/html.h"

#include <math.h>
#include <string.h>

/* scripts/reproduce reads it, too. */
static const char style[] =
#include "report/html_style.inc"
    ;

/* Those of gnuplot's point types that pictures use: 6 and 7 are a ring and a disk. */
static const char marks[] =
    "<svg width=\"0\" height=\"0\" style=\"position:absolute\" aria-hidden=\"true\"><defs>"
    "<circle id=\"gpPt5\" stroke-width=\"0.242\" stroke=\"currentColor\" fill=\"none\" r=\"1\"/>"
    "<circle id=\"gpPt6\" fill=\"currentColor\" stroke=\"none\" r=\"1\"/></defs></svg>\n";

void html_begin(FILE *out, const char *title)
{
    fprintf(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                 "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
                 "<title>");
    html_text(out, title);
    fprintf(out, "</title>\n<style>\n%s</style>\n</head>\n<body>\n%s", style, marks);
}

void html_end(FILE *out)
{
    fprintf(out, "</body>\n</html>\n");
}

void html_text(FILE *out, const char *text)
{
    for (const char *c = text; *c; c++) {
        unsigned char byte = (unsigned char)*c;
        switch (byte) {
        case '&': fputs("&amp;", out); break;
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '"': fputs("&quot;", out); break;
        default:
            if (byte == 0x7f || (byte < ' ' && byte != '\n' && byte != '\r' && byte != '\t'))
                fputs("\xef\xbf\xbd", out);
            else
                fputc(byte, out);
        }
    }
}

void html_number(FILE *out, double value, const char *shown)
{
    fprintf(out, "<td>");
    if (isnan(value))
        fputs("&#8211;", out);
    else
        fprintf(out, "<data value=\"%.15g\">%s</data>", value, shown);
    fprintf(out, "</td>");
}

static void print_without_id(FILE *out, const char *line, size_t length)
{
    const char *id = strstr(line, " id=\"");
    if (!id || id >= line + length) {
        fwrite(line, 1, length, out);
        return;
    }
    const char *after = strchr(id + 5, '"');
    fwrite(line, 1, (size_t)(id - line), out);
    fwrite(after + 1, 1, (size_t)(line + length - after - 1), out);
}

/* The size of the picture is in the tag, which ends where the first line of "<g" begins. */
static const char *print_tag(FILE *out, const char *svg, const char *label)
{
    const char *box = strstr(svg, "viewBox=\""), *body = strstr(svg, "</defs>");
    if (!box || !body) return NULL;
    fprintf(out,
            "<svg class=\"drawn\" %.*s\" xmlns=\"http://www.w3.org/2000/svg\" "
            "xmlns:xlink=\"http://www.w3.org/1999/xlink\" role=\"img\" aria-label=\"",
            (int)strcspn(box + 9, "\"") + 9, box);
    html_text(out, label);
    fprintf(out, "\">\n<g>\n");
    return body + strlen("</defs>");
}

void html_picture(FILE *out, const char *svg, const char *label)
{
    const char *line = print_tag(out, svg, label);
    while (line && *line) {
        size_t length = strcspn(line, "\n");
        print_without_id(out, line, length);
        if (length > 0) fputc('\n', out);
        line += length + (line[length] == '\n');
    }
}
