/** What `vario eval` says: JSON, lines for people, a table of rows, a picture. Rank 0 alone. */
#ifndef VARIO_REPORT_EVAL_REPORT_H
#define VARIO_REPORT_EVAL_REPORT_H

#include "analysis/ensemble.h"
#include "io/files/plot.h"

/** Examples of a model with one input and one value. */
typedef struct {
    size_t count;
    double *x, *y; /**< [count] */
} curve_points;

typedef struct {
    const ensemble *e;
    predictions mean, averaged; /**< averaged.points 0: there is no average */
    size_t bin_count;
    calibration_bin *mean_bins, *averaged_bins; /**< [bin_count] */
    prediction_scores at_mean;
    prediction_scores curve[PREDICTIONS_POINTS]; /**< the last is that of all members */
    curve_points rows, trained; /**< what was judged, and training examples; empty where inputs or
                                     values are several */
} evaluation;

/** The average over all members; at the mean where there is none. */
const prediction_scores *evaluation_average(const evaluation *v);

void evaluation_print(const evaluation *v);

/** @return STATUS_OK or STATUS_NOMEM */
status evaluation_print_json(const evaluation *v);

/** Write the JSON into the folder of the run that was evaluated, for `vario report`; not that of
 * several runs or of one of a run's checkpoints. A folder that cannot be written is warned of.
 * @return STATUS_OK or STATUS_NOMEM */
status evaluation_keep(const evaluation *v);

/** Write one row a token or example, of the average or else of the mean.
 * @return STATUS_OK, STATUS_NOMEM or STATUS_IO */
status evaluation_write_rows(const evaluation *v, const char *path);

/** Whether examples have one input and one value: a curve can be drawn. */
bool evaluation_has_curve(const ensemble *e);

/** Read the first `count` examples of the data; of training data not the one that is left out.
 * @return STATUS_OK, STATUS_INPUT or STATUS_NOMEM; points_close takes it then, too */
status points_read(curve_points *p, const dataset *data, const job *j, uint64_t count);
void points_close(curve_points *p);

/** Picture sizes for plot_open: reliability of the mean and of the average (of values both in one
 * panel), losses against members, the curve. */
size_t evaluation_panels(const ensemble *e);
enum { EVALUATION_PANEL = 430, EVALUATION_HEIGHT = 560 /**< pixels */ };

/** Reliability diagrams, losses against the number of members, and the curve. */
void evaluation_draw(const evaluation *v, plot *p);

#endif
