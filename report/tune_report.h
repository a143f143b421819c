/** What `vario tune` shows: one table, on a terminal, as CSV and as JSON, one picture, and the best
 * job of every optimizer. */
#ifndef VARIO_REPORT_TUNE_REPORT_H
#define VARIO_REPORT_TUNE_REPORT_H

#include "tune/board.h"

#include <stdio.h>

typedef struct {
    const board *b;
    board_line *lines; /**< [configurations] the best first */
    bool over;         /**< the time ended it before all was done */
} tune_report;

/** @return STATUS_OK or STATUS_NOMEM; to be closed in any case */
status tune_report_open(tune_report *r, const board *b, bool over);
void tune_report_close(tune_report *r);

/** Whether anything has a finite loss, which the first line then has. */
bool tune_report_has_best(const tune_report *r);

/** The table for people, and what it leaves out. */
void tune_report_print(FILE *out, const tune_report *r);

/** tune.csv in the folder. */
status tune_report_write(const tune_report *r);

/** The same as JSON. @param best  file of the best job, NULL: none */
status tune_report_json(FILE *out, const tune_report *r, const char *best);

/** best.yaml in the folder, best-OPTIMIZER.yaml of several: the jobs with the best values.
 * @param out  another file for the best of all, NULL: none */
status tune_report_write_best(const tune_report *r, const char *out);

/** tune.svg in the folder: losses over steps, and at the end over the keys' values. Where there are
 * none it is not drawn. */
status tune_report_draw(const tune_report *r);

#endif
