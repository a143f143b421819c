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
    double seconds;  /**< since step 0, of training, over all restarts */
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

enum { METRICS_NAME = 40 };

/** The i-th column's name and a row's number there, NAN where it is empty.
 * @return false: there are fewer columns */
bool metrics_field(const metrics *row, size_t i, char name[METRICS_NAME], double *value);

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
 * of the present ones. A byte order mark before it and a carriage return at its end are what other
 * programs leave.
 * @param size     out: of the line, with its end
 * @param columns  out
 * @return STATUS_OK, or STATUS_INPUT naming the file (the message says what to do) */
status metrics_check_header(const char *text, size_t *size, size_t *columns, const char *path);

/** The lines below a header, with either end. Empty ones are passed over. */
typedef struct {
    const char *at, *end; /**< what is left */
    size_t number;        /**< of the line last found; 1, the header's, before the first */
    const char *line;     /**< the line last found */
    size_t length;        /**< without its end */
    bool torn;            /**< it has no end: it was not written whole */
} metrics_lines;

/** @return false: there is none left */
bool metrics_next_line(metrics_lines *l);

/** Read the row of a line. @return STATUS_OK, or STATUS_INPUT naming path and line */
status metrics_parse_row(metrics *row, const metrics_lines *l, size_t columns, const char *path);

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

/** Make a file ready for the rows of a run that goes on: it has the present columns, empty in rows
 * of an older version, and of its rows those up to `steps`. A row that is not whole, or whose step
 * does not rise with those of most others, goes to path.damaged.
 * @param seconds  out: `seconds` of the last row that stays, 0 for none
 * @param said     out: what was damaged or lost, by line, for the user; "": nothing was
 * @return STATUS_OK, STATUS_IO, STATUS_NOMEM, or STATUS_INPUT when the file has other columns, and
 *         is left as it is */
status metrics_resume(const char *path, uint64_t steps, double *seconds,
                      char said[STATUS_MESSAGE_SIZE]);

#endif
