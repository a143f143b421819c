/** metrics.csv: its columns, written and read. */
#ifndef VARIO_IO_RUNS_METRICS_H
#define VARIO_IO_RUNS_METRICS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** One row; docs/metrics.md says what the columns are. NAN is an empty field. */
typedef struct {
    uint64_t step;   /**< finished steps */
    uint64_t tokens; /**< seen since step 0 */
    double seconds;  /**< since step 0, of training, over all legs */
    double train_loss, valid_loss, valid_loss_averaged, lr, grad_norm, grad_clip_fraction,
        update_clip_fraction, sigma_mean, hessian_min, hessian_mean, hessian_bias,
        tokens_per_second, model_flops_utilization;
    uint64_t bytes_sent; /**< by all ranks in the last step */
    double comm_fraction;
    /** since the row before, mean of the ranks */
    double seconds_sample, seconds_forward, seconds_backward, seconds_wait, seconds_update,
        seconds_data, seconds_checkpoint;
    double loo_loss; /**< estimated */
} metrics;

/** The first line, with its end. */
extern const char metrics_header[];

/** A column of a row as a number. @param column  its offset in metrics */
double metrics_value(const metrics *row, size_t column);

enum { METRICS_TIMES = 7 };

/** What the seconds of steps are spent on: seconds_sample to seconds_checkpoint, in that order. */
extern const struct metrics_time {
    const char *name; /**< one word */
    const char *what; /**< a few */
    size_t column;    /**< its offset in metrics */
} metrics_times[METRICS_TIMES];

/** Seconds of a row that went into one of metrics_times; 0 where the field is empty. */
double metrics_spent(const metrics *row, size_t part);

/** Print one row. */
void metrics_print(FILE *out, const metrics *row);

/** Whether a text begins with this version's header or an older one's, whose columns are the first
 * of the present ones.
 * @param size  out: of the line, with its end
 * @return STATUS_OK, or STATUS_INPUT naming the file (the message says what to do) */
status metrics_check_header(const char *text, size_t *size, const char *path);

typedef struct {
    metrics *rows; /**< [count] */
    size_t count;
    bool torn; /**< a last row that was not written whole, and is left out */
} metrics_table;

/** Read a file, which may be growing. Fields that an older version did not write are NAN, or 0
 * bytes.
 * @return STATUS_OK, STATUS_NOMEM, or STATUS_INPUT naming file and line; the table is then empty */
status metrics_read(metrics_table *t, const char *path);
void metrics_close(metrics_table *t);

#endif
