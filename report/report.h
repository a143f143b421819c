/** `vario report`: what its files share. A report is of some runs, in the order in which they were
 * named; every run has a colour of its own in all pictures. Rank 0 alone. */
#ifndef VARIO_REPORT_REPORT_H
#define VARIO_REPORT_REPORT_H

#include "io/files/plot.h"
#include "io/runs/history.h"
#include "report/html.h"

enum { REPORT_RUNS = 64 /**< at most */ };

/** How a value is spread over the weights of a layer: 5, 50 and 95 of 100 are below these. */
typedef struct {
    double low, median, high;
} spread;

/** Of the posterior of a run's newest checkpoint. */
typedef struct {
    size_t units;            /**< 0: there is none */
    spread *hessian, *sigma; /**< [units]; where matrices are taken whole of directions, of points
                                  NAN */
    spread *directions;      /**< [units] over the sides of its matrices, smallest, median and
                                  largest; NULL: there are no bases */
    uint64_t step;
} layer_spreads;

typedef struct {
    history h;
    const char *label; /**< the run's name, or where two have one name its path */
    layer_spreads layers;
    char no_layers[STATUS_MESSAGE_SIZE]; /**< why there are none, "" where there are */
    json_t *state;                       /**< state.json of the newest checkpoint, NULL for none */
    json_t *evaluation;                  /**< what `vario eval` left, NULL for nothing */
    json_t *samples;                     /**< what `vario generate --keep` left, an array */
} report_run;

typedef struct {
    FILE *out; /**< the page */
    report_run *runs;
    size_t count;
    const char *pictures; /**< directory for PNG and SVG files, NULL for none */
} report;

/** Draw a picture into the page, and as files where these are asked for.
 *
 * @param name     of the files, without ending
 * @param title    text above it
 * @param caption  text after the title, "" for none
 * @param draw     prints gnuplot's commands; `alone`: for a file, which no legend is beside
 * @return STATUS_OK, or what plot_close and plot_take say */
typedef void report_draw(FILE *commands, const report *r, const void *what, bool alone);
status report_picture(const report *r, const char *name, const char *title, const char *caption,
                      report_draw *draw, const void *what);

/** Begin a section, and a grid of pictures in one. */
void report_section(const report *r, const char *title);
void report_grid(const report *r, bool begins);

/** A sentence that a reader must see. */
void report_note(const report *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** The head of a table: a column a run. */
void report_table(const report *r);
void report_table_end(const report *r);

/** Begin a table's row with its name. */
void report_row(const report *r, const char *name);

/** Rows of numbers, one a run; rows that no run has a number for are left out. */
typedef enum { AS_COUNT, AS_LOSS, AS_DURATION, AS_ONE_DIGIT } report_shown;
typedef struct {
    const char *name;
    double (*value)(const report_run *run); /**< NAN for none */
    report_shown as;
} report_number;
void report_numbers(const report *r, const report_number *rows, size_t count);

/** A row of texts; "" is a dash. */
typedef void report_text(char *text, size_t size, const report_run *run);
void report_texts(const report *r, const char *name, report_text *print);

/** The colour of a run in gnuplot's words, and of a number. */
const char *report_colour(size_t i);

/** gnuplot's dash type of a run: colours come again with another one. */
int report_dash(size_t i);

/** The axes, and all that pictures have in common; labels are texts.
 * @param log_x, log_y  whether an axis is logarithmic */
void report_axes(FILE *commands, const char *x, const char *y, bool log_x, bool log_y);

/** After `plot`: entries for the runs, where a picture stands alone. */
void report_run_keys(FILE *commands, const report *r, bool alone);

/** What a run ended with, or has by now; NULL before its first row. */
const metrics *report_last(const report_run *run);

/** Order doubles for qsort. */
int report_ascending(const void *a, const void *b);

/** Median of a column (its offset in metrics) over a run's rows, without the first where there are
 * others: it has what happens once. NAN for none. */
double report_column_median(const report_run *run, size_t offset);

/** The picture of a run in legends, a short line. */
void report_swatch(const report *r, size_t i);

/** Curves of the posterior, and of speed, into a grid that has begun. */
status report_draw_posterior_curves(const report *r);
status report_draw_speed_curves(const report *r);

/** Read the spread of h and sigma over the layers of a run from its newest checkpoint, a
 * megabyte at a time. Where there is none, run->no_layers says why.
 * @return STATUS_OK or STATUS_NOMEM */
status report_read_layers(report_run *run);

/** Read how many directions the gradients of a layer's matrices take, as shares of all, from the
 * factors of the bases in optimizer.safetensors, which is verified.
 * @param directions  out: [unit_count] the caller frees them; NULL: there are no bases, or after a
 *                    failure */
status report_read_bases(spread **directions, const char *checkpoint, const runtime_settings *with,
                         const parameters *p);

/** The sections, in the page's order. */
void report_write_head(const report *r);
status report_write_curves(const report *r);
status report_write_layers(const report *r);
status report_write_speed(const report *r);
status report_write_scaling(const report *r);
status report_write_evaluation(const report *r);
void report_write_samples(const report *r);
status report_write_jobs(const report *r);

#endif
