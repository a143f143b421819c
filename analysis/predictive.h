/** The averaged prediction of several networks over a data set, and what it says of every row. */
#ifndef VARIO_ANALYSIS_PREDICTIVE_H
#define VARIO_ANALYSIS_PREDICTIVE_H

#include "posterior/metrics.h"
#include "train/trainer.h"

typedef enum {
    DRAW_MEAN,
    DRAW_SAMPLE,  /**< weights drawn from the posterior */
    DRAW_DROPOUT, /**< the mean's weights, hidden units dropped (Gal and Ghahramani, ICML 2016) */
} draw_kind;

/** One network of the average. */
typedef struct {
    trainer *r; /**< borrowed */
    draw_kind draw;
    uint32_t number; /**< of the sample or of the dropout */
    bool antithetic; /**< samples come in pairs: noise_key_of_sample */
} member;

/** Columns of what is known of a row that has a class, or a next token, as its target. */
enum {
    CLASS_NLL,
    CLASS_TARGET,
    CLASS_TOP, /**< the predicted class */
    CLASS_CONFIDENCE,
    CLASS_BRIER,
    CLASS_ENTROPY,  /**< of the average */
    CLASS_EXPECTED, /**< average entropy of the members */
    CLASS_MUTUAL,
    CLASS_COLUMNS
};

/** Columns of a row with values: two, then for output o those from VALUE_OF + o VALUE_STRIDE on. */
enum {
    VALUE_NLL,   /**< of the mixture of the members' Gaussians */
    VALUE_ERROR, /**< sum over outputs of (mean - target)^2 */
    VALUE_OF,
    VALUE_TARGET = 0,
    VALUE_MEAN,     /**< of the mixture */
    VALUE_VARIANCE, /**< of the mixture: the members' mean noise variance and VALUE_SPREAD */
    VALUE_SPREAD,   /**< variance of the members' means, divisor their number */
    VALUE_STRIDE
};

enum { PREDICTIONS_POINTS = 24 /**< at max: members 1, 2, 4, ... and all of them */ };

/** What averages of the first members say of every row, in the order of rows. */
typedef struct {
    bool classes;
    size_t outputs, length; /**< classes or values of a row; tokens of a sequence, 1 of examples */
    size_t columns, rows;   /**< 0 rows on ranks above 0 */
    size_t batch_rows;      /**< of a whole batch */
    size_t points;          /**< averages that were looked at; the last is of all members */
    size_t members[PREDICTIONS_POINTS];
    double *facts[PREDICTIONS_POINTS]; /**< (columns, rows) each, owned */
} predictions;

/** Predict with every member and average; collective, the same bits whatever the number of ranks.
 *
 * Batch b is rank b mod P's; members come one after another within a round of batches, so that
 * sums are kept of one batch: with more than one member, 8 bytes for each of its rows and outputs
 * (16 for values). Rank 0 keeps 8 bytes a row, column and point.
 *
 * Classes: probabilities are averaged, in double, in the order of members. Values: a mixture of
 * Gaussians. Sample s draws with noise_key_of_sample; dropout s of batch b with step
 * 1 + b.
 *
 * @param out      out; filled on rank 0; predictions_close frees it, after a failure too
 * @param members  [count] at least one; their jobs agree in everything that shapes a batch and its
 *                 outputs
 * @param batches  only the first ones, 0: all
 * @param curve    look at 1, 2, 4, ... members too
 * @return STATUS_OK, STATUS_INPUT (a bad token) or STATUS_NOMEM, the same on all ranks
 */
status predict(predictions *out, const member *members, size_t count, const dataset *data,
               uint64_t batches, bool curve);
void predictions_close(predictions *p);

/** A column [rows] of a point; rank 0. */
const double *predictions_column(const predictions *p, size_t point, size_t column);

/** Sums over the rows of one average; NAN for what its kind of targets does not have. */
typedef struct {
    size_t members;
    double nll; /**< mean, in nats; added up batch by batch as a validation's */
    double accuracy, brier, ece;
    double auroc; /**< of confidence as a predictor of being right */
    double entropy, expected, mutual;
    double rmse;                     /**< root of the mean over rows and outputs */
    double variance, spread;         /**< means over rows and outputs */
    double coverage[METRICS_LEVELS]; /**< of metrics_cover, over rows and outputs */
    double coverage_error;
} prediction_scores;

/** Score a point; rank 0.
 * @param bins  [bin_count] out: the reliability diagram (classes only)
 * @return STATUS_OK or STATUS_NOMEM */
status predictions_score(const predictions *p, size_t point, calibration_bin *bins,
                         size_t bin_count, prediction_scores *out);

#endif
