/* Pieces of the page: pictures, sections, tables, notes. */
#include "report/report.h"
#include "train/progress.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* A page shows a picture between 370 and 500 pixels wide: with 11-pixel letters at 360 they are
 * legible on a telephone. Files are for slides and papers. */
enum { INLINE_WIDTH = 360, INLINE_HEIGHT = 262, FILE_WIDTH = 720, FILE_HEIGHT = 500 };

/* Those of io/files/plot_style.inc. */
static const char *const colours[] = {"#1f5fb4", "#d9730d", "#2e8540",
                                      "#b3261e", "#7b4fa3", "#777777"};
static const char *const dashes[] = {"none", "7 4", "2 3", "7 3 2 3", "9 3 2 3 2 3"};

enum { COLOURS = sizeof colours / sizeof colours[0], DASHES = sizeof dashes / sizeof dashes[0] };

const char *report_colour(size_t i)
{
    return colours[i % COLOURS];
}

int report_dash(size_t i)
{
    return (int)(i / COLOURS % DASHES) + 1;
}

static void set_label(FILE *commands, const char *axis, const char *text)
{
    fprintf(commands, "set %slabel ", axis);
    plot_quote(commands, text);
    fputc('\n', commands);
}

void report_axes(FILE *commands, const char *x, const char *y, bool log_x, bool log_y)
{
    set_label(commands, "x", x);
    set_label(commands, "y", y);
    fprintf(commands, "set xtics nomirror\nset ytics nomirror\nset border 3 lc rgb dark\n"
                      "set format x '%%g'\nset format y '%%g'\nset offsets 0, 0, graph 0.04, "
                      "graph 0.04\n");
    if (log_x) fprintf(commands, "set logscale x\nset format x '10^{%%L}'\n");
    if (log_y) fprintf(commands, "set logscale y\nset format y '10^{%%L}'\n");
}

void report_run_keys(FILE *commands, const report *r, bool alone)
{
    for (size_t i = 0; alone && r->count > 1 && i < r->count; i++) {
        fprintf(commands, ", NaN with lines lw 2 dt %d lc rgb '%s' title ", report_dash(i),
                report_colour(i));
        plot_quote(commands, r->runs[i].label);
        fprintf(commands, " noenhanced");
    }
}

static void prepare(FILE *commands)
{
    fprintf(commands, "set encoding utf8\nset samples 2\nset key tmargin center horizontal "
                      "Left reverse samplen 2\n");
}

static status draw_file(const report *r, const char *name, const char *ending, const char *title,
                        report_draw *draw, const void *what)
{
    char path[4096];
    plot p;
    if ((size_t)snprintf(path, sizeof path, "%s/%s.%s", r->pictures, name, ending) >= sizeof path)
        return fail(STATUS_INPUT, "%s: a shorter path expected", r->pictures);
    int rows = r->count > 1 ? (int)(r->count + 2) / 3 : 0; /* of the key */
    status result = plot_open(&p, path, FILE_WIDTH, FILE_HEIGHT + 18 * rows);
    if (result) return result;
    prepare(p.commands);
    fprintf(p.commands, "set title ");
    plot_quote(p.commands, title);
    fprintf(p.commands, " noenhanced\n");
    draw(p.commands, r, what, true);
    return plot_close(&p, true);
}

static status draw_inline(const report *r, const char *title, report_draw *draw, const void *what)
{
    plot p;
    char *svg = NULL;
    status result = plot_open(&p, NULL, INLINE_WIDTH, INLINE_HEIGHT);
    if (result) return result;
    prepare(p.commands);
    draw(p.commands, r, what, false);
    result = plot_take(&p, &svg);
    if (!result) html_picture(r->out, svg, title);
    free(svg);
    return result;
}

status report_picture(const report *r, const char *name, const char *title, const char *caption,
                      report_draw *draw, const void *what)
{
    fprintf(r->out, "<figure id=\"%s\"><figcaption><b>", name);
    html_text(r->out, title);
    fprintf(r->out, "</b>%s", *caption ? " <span>" : "");
    html_text(r->out, caption);
    fprintf(r->out, "%s</figcaption>\n", *caption ? "</span>" : "");
    status result = draw_inline(r, title, draw, what);
    fprintf(r->out, "</figure>\n");
    if (!result && r->pictures) result = draw_file(r, name, "png", title, draw, what);
    if (!result && r->pictures) result = draw_file(r, name, "svg", title, draw, what);
    return result;
}

void report_section(const report *r, const char *title)
{
    fprintf(r->out, "<h2>%s</h2>\n", title);
}

void report_grid(const report *r, bool begins)
{
    fputs(begins ? "<div class=\"figures\">\n" : "</div>\n", r->out);
}

void report_note(const report *r, const char *format, ...)
{
    char text[2 * STATUS_MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(r->out, "<p class=\"note\">");
    html_text(r->out, text);
    fprintf(r->out, "</p>\n");
}

void report_swatch(const report *r, size_t i)
{
    fprintf(r->out,
            "<svg class=\"swatch\" viewBox=\"0 0 36 10\" aria-hidden=\"true\"><path d=\"M0 5h36\" "
            "stroke=\"%s\" stroke-width=\"4\" stroke-dasharray=\"%s\"/></svg>",
            report_colour(i), dashes[report_dash(i) - 1]);
}

void report_table(const report *r)
{
    fprintf(r->out, "<div class=\"wide\"><table>\n<tr><th></th>");
    for (size_t i = 0; i < r->count; i++) {
        fprintf(r->out, "<th>");
        html_text(r->out, r->runs[i].label);
        fprintf(r->out, "</th>");
    }
    fprintf(r->out, "</tr>\n");
}

void report_table_end(const report *r)
{
    fprintf(r->out, "</table></div>\n");
}

void report_row(const report *r, const char *name)
{
    fprintf(r->out, "<tr><td>");
    html_text(r->out, name);
    fprintf(r->out, "</td>");
}

/* Grouped digits read faster. */
static void print_count(char *text, size_t size, double count)
{
    char digits[40];
    int n = snprintf(digits, sizeof digits, "%.0f", count);
    size_t at = 0;
    for (int i = 0; i < n && at + 8 < size; i++) {
        if (i > 0 && (n - i) % 3 == 0) at += (size_t)snprintf(text + at, size - at, "&#8239;");
        text[at++] = digits[i];
    }
    text[at] = '\0';
}

static void print_shown(char *text, size_t size, double value, report_shown as)
{
    switch (as) {
    case AS_COUNT: print_count(text, size, value); break;
    case AS_LOSS: snprintf(text, size, "%.4f", value); break;
    case AS_DURATION: progress_duration(text, size, value); break;
    case AS_ONE_DIGIT: snprintf(text, size, "%.1f", value); break;
    }
}

void report_numbers(const report *r, const report_number *rows, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        bool there = false;
        for (size_t i = 0; i < r->count; i++) there = there || !isnan(rows[k].value(&r->runs[i]));
        if (!there) continue;
        report_row(r, rows[k].name);
        for (size_t i = 0; i < r->count; i++) {
            char shown[120];
            double value = rows[k].value(&r->runs[i]);
            print_shown(shown, sizeof shown, value, rows[k].as);
            html_number(r->out, value, shown);
        }
        fprintf(r->out, "</tr>\n");
    }
}

void report_texts(const report *r, const char *name, report_text *print)
{
    report_row(r, name);
    for (size_t i = 0; i < r->count; i++) {
        char text[400] = "";
        print(text, sizeof text, &r->runs[i]);
        fprintf(r->out, "<td class=\"text\">");
        html_text(r->out, *text ? text : "–");
        fprintf(r->out, "</td>");
    }
    fprintf(r->out, "</tr>\n");
}

const metrics *report_last(const report_run *run)
{
    const metrics_table *t = &run->h.metrics;
    return t->count ? &t->rows[t->count - 1] : NULL;
}

int report_ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double report_column_median(const report_run *run, size_t offset)
{
    const metrics_table *t = &run->h.metrics;
    size_t n = 0;
    double median = NAN, *values = malloc((t->count + 1) * sizeof *values);
    for (size_t k = t->count > 1 ? 1 : 0; values && k < t->count; k++) {
        double value = metrics_value(&t->rows[k], offset);
        if (isfinite(value)) values[n++] = value;
    }
    if (n > 0) {
        qsort(values, n, sizeof *values, report_ascending);
        median = n % 2 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
    }
    free(values);
    return median;
}
