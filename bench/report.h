/** Rows of a benchmark: each figure beside its bound. */
#ifndef VARIO_BENCH_REPORT_H
#define VARIO_BENCH_REPORT_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { REPORT_ROWS = 128, REPORT_TEXT = 80 };

typedef struct {
    char name[REPORT_TEXT], unit[16];
    double measured; /**< a median */
    double bound;    /**< NAN for none */
    double before;   /**< the reference's ratio, or its measured figure where there is no bound */
} report_row;

typedef struct {
    report_row rows[REPORT_ROWS];
    size_t count;
    bool speaks, json; /**< speaks: prints rows as they come, or all at the end as JSON */
    const char *path;  /**< where report_close writes the rows as JSON too, or NULL */
    void *reference;   /**< rows of an earlier run, or NULL */
} report;

/** Add a row; bound NAN for figures that have none. */
void report_add(report *r, const char *name, double measured, const char *unit, double bound);

/** Write the JSON array of all rows where it is wanted. @return STATUS_OK or STATUS_IO */
status report_close(report *r);

/** Take the figures of an earlier run (a file that --json wrote) to compare with.
 * @return STATUS_INPUT when the file is not one */
status report_reference(report *r, const char *path);

double report_median(double *values, size_t count);

#endif
