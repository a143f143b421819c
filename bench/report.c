/* A row is a ratio where it has a bound: only ratios of one run are comparable between runs. */
#include "bench/report.h"

#include "io/files/json_text.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double report_median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_value);
    return count % 2 ? values[count / 2] : 0.5 * (values[count / 2 - 1] + values[count / 2]);
}

static double figure_of(const json_t *row)
{
    const json_t *ratio = json_object_get(row, "ratio");
    const json_t *figure = json_is_number(ratio) ? ratio : json_object_get(row, "measured");
    return json_is_number(figure) ? json_number_value(figure) : NAN;
}

static double figure_before(const report *r, const char *name)
{
    size_t i;
    json_t *row;
    json_array_foreach((json_t *)r->reference, i, row)
    {
        const char *other = json_string_value(json_object_get(row, "name"));
        if (other && strcmp(other, name) == 0) return figure_of(row);
    }
    return NAN;
}

static void print_row(const report *r, const report_row *row)
{
    if (r->count == 1)
        printf("%-58s %11s %-9s %10s %7s%s\n", "what", "measured", "", "bound", "ratio",
               r->reference ? "  before" : "");
    printf("%-58s %11.4g %-9s", row->name, row->measured, row->unit);
    if (isnan(row->bound))
        printf(" %10s %7s", "", "");
    else
        printf(" %10.4g %7.3f", row->bound, row->measured / row->bound);
    if (isnan(row->before))
        putchar('\n');
    else
        printf(" %7.3f\n", row->before);
    fflush(stdout);
}

void report_add(report *r, const char *name, double measured, const char *unit, double bound)
{
    if (r->count == REPORT_ROWS) return;
    report_row *row = &r->rows[r->count++];
    *row = (report_row){.measured = measured, .bound = bound, .before = figure_before(r, name)};
    snprintf(row->name, sizeof row->name, "%s", name);
    snprintf(row->unit, sizeof row->unit, "%s", unit);
    if (r->speaks && !r->json) print_row(r, row);
}

static json_t *rows_of(const report *r)
{
    json_t *all = json_array();
    for (size_t i = 0; i < r->count; i++) {
        const report_row *row = &r->rows[i];
        json_text_add(&all, json_pack("{s:s, s:o, s:s, s:o, s:o}", "name", row->name, "measured",
                                      json_text_number(row->measured), "unit", row->unit, "bound",
                                      json_text_number(row->bound), "ratio",
                                      json_text_number(row->measured / row->bound)));
    }
    return all;
}

status report_close(report *r)
{
    enum { FLAGS = JSON_INDENT(1) | JSON_REAL_PRECISION(6) };
    status result = STATUS_OK;
    if (r->speaks && (r->json || r->path)) {
        json_t *all = rows_of(r);
        if (r->json) result = json_text_print(stdout, json_incref(all), FLAGS);
        if (r->path && !result) result = json_text_write(r->path, json_incref(all), FLAGS);
        json_decref(all);
    }
    json_decref(r->reference);
    r->reference = NULL;
    return result;
}

status report_reference(report *r, const char *path)
{
    json_t *rows;
    status result = json_text_read(&rows, path, 0);
    if (result) return result;
    if (json_is_array(rows)) {
        r->reference = rows;
        return STATUS_OK;
    }
    json_decref(rows);
    return fail(STATUS_INPUT, "%s: an array of rows (vario bench --json) expected", path);
}
