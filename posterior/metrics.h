/** What predictions are worth: scores, calibration, rankings, uncertainty, correlation.
 *
 * Pure functions on arrays; not collective. Sums run in double from the first element to the last,
 * so arrays that were gathered in the order of the examples give the same bits on any number of
 * ranks. A NaN makes every result NaN that depends on it. Logarithms are natural. docs/posterior.md
 * has the definitions.
 */
#ifndef VARIO_POSTERIOR_METRICS_H
#define VARIO_POSTERIOR_METRICS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { METRICS_BINS = 20 }; /**< of the calibration error, unless told otherwise */

#define METRICS_TPR 0.95 /**< where the false positive rate is read, unless told otherwise */

/** Probabilities of classes from a model's outputs. @param p  [count] out */
void metrics_softmax(double *p, const float *logits, size_t count);

/** The same of logits in place. */
void metrics_softmax_of(double *p, size_t count);

/** ln(e^a + e^b). */
double metrics_add_logarithms(double a, double b);

/** One predictive distribution against the class that was seen. */
typedef struct {
    size_t top;        /**< class of the largest probability, the first among equals */
    double confidence; /**< its probability */
    double nll;        /**< -ln p[target]; infinity where that probability is 0 */
    double brier;      /**< sum over classes of (p - [class is target])^2, from 0 to 2 */
    double entropy;    /**< metrics_entropy */
} prediction_score;

/** Score a predictive distribution.
 *
 * @param p        [classes] probabilities, not negative
 * @param classes  at least 1
 * @param target   below classes
 */
prediction_score metrics_score(const double *p, size_t classes, size_t target);

/** Entropy of p [classes], with 0 ln 0 = 0; never below 0. */
double metrics_entropy(const double *p, size_t classes);

/** Entropy of an averaged prediction, split into noise and disagreement. */
typedef struct {
    double predictive; /**< entropy of the average over posterior samples */
    double expected;   /**< average of the samples' entropies: noise in the data */
    double mutual;     /**< predictive - expected: what samples disagree about */
} entropy_parts;

/** Split the entropy of an average over posterior samples.
 *
 * Mutual information is never negative (entropy is concave); where rounding makes the difference
 * so, it is 0.
 *
 * @param average   [classes] the samples' mean probabilities
 * @param expected  the mean of the samples' metrics_entropy
 */
entropy_parts metrics_entropy_parts(const double *average, size_t classes, double expected);

/** Examples whose top confidence lies in one bin. */
typedef struct {
    size_t count;
    double confidence; /**< their mean confidence, NaN when there are none */
    double accuracy;   /**< share of them that is right, NaN when there are none */
} calibration_bin;

/** How far confidence can be trusted; all NaN without examples. */
typedef struct {
    double accuracy;   /**< share of the examples that is right */
    double confidence; /**< mean confidence */
    double ece;        /**< sum over bins of count / n |accuracy - confidence| */
} calibration;

/** Expected calibration error and its reliability diagram.
 *
 * Of B bins, bin b holds confidences in (b/B, (b+1)/B], its ends rounded to double: an upper end
 * belongs to its bin, a lower one to the bin before; 0 belongs to bin 0. Confidences that rounding
 * took past 1 belong to the last bin.
 * Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equations 3 and 5.
 *
 * @param bins        [bin_count] out
 * @param bin_count   at least 1
 * @param confidence  [count] top probabilities
 * @param right       [count] whether the top class was the target
 */
calibration metrics_calibrate(calibration_bin *bins, size_t bin_count, const double *confidence,
                              const bool *right, size_t count);

enum { METRICS_LEVELS = 19 }; /**< nominal coverages 1/20, 2/20, ..., 19/20 */

/** Nominal coverage k, from 0 to METRICS_LEVELS - 1: (k + 1)/20 rounded to double. */
double metrics_level(size_t k);

/** How often targets lie in the central intervals of Gaussian predictions.
 *
 * The interval of nominal coverage q reaches from quantile (1 - q)/2 to (1 + q)/2, its ends
 * included: it holds y where erf(|y - mean| / sqrt(2 variance)) <= q. Where a variance is 0 it is
 * the mean alone.
 * Source: Kuleshov, Fenner and Ermon, Accurate Uncertainties for Deep Learning Using Calibrated
 * Regression, ICML 2018, section 3, for central intervals.
 *
 * @param observed   [METRICS_LEVELS] out: shares of the targets; NaN of none
 * @param target     [count]
 * @param mean       [count]
 * @param variance   [count] not negative
 */
void metrics_cover(double *observed, const double *target, const double *mean,
                   const double *variance, size_t count);

/** Mean over the levels of |observed - nominal coverage|.
 * @param observed  [METRICS_LEVELS] */
double metrics_coverage_error(const double *observed);

/** How well a score tells positives from negatives. */
typedef struct {
    double auroc;           /**< chance that a positive scores above a negative, ties one half */
    double aupr;            /**< average precision of finding positives from the top */
    double aupr_negative;   /**< the same of finding negatives from the bottom */
    double fpr;             /**< false positive rate at the wanted true positive rate */
    double detection_error; /**< least (FPR + FNR) / 2 of any threshold, at most 0.5 */
} ranking;

/** Rank by a score that is higher for positives.
 *
 * Examples with equal scores pass a threshold together. The receiver operating characteristic is
 * the polyline from (0, 0) through (FPR, TPR) of every distinct score as threshold, to (1, 1); fpr
 * is the least FPR on it, linear between its points, whose TPR reaches tpr. Average precision is
 * the sum over distinct scores, falling, of (recall - recall before) precision, not interpolated.
 *
 * @param out       out; all NaN when positives or negatives are missing, or a score is NaN
 * @param score     [count] may be infinite
 * @param positive  [count]
 * @param tpr       above 0, at most 1
 * @return STATUS_OK or STATUS_NOMEM (out is all NaN then)
 */
status metrics_rank(ranking *out, const double *score, const bool *positive, size_t count,
                    double tpr);

/** Pearson's correlation, in [-1, 1]; NaN when x or y is constant or has fewer than 2 values. */
double metrics_pearson(const double *x, const double *y, size_t count);

/** Spearman's correlation: Pearson's of the ranks, equal values sharing the mean of theirs.
 *
 * @param rho  out; NaN when x or y is constant, holds NaN or has fewer than 2 values
 * @param x    [count] may hold infinities
 * @param y    [count] likewise
 * @return STATUS_OK or STATUS_NOMEM (rho is NaN then)
 */
status metrics_spearman(double *rho, const double *x, const double *y, size_t count);

/** Mean of values [count]; NaN of none. */
double metrics_mean(const double *values, size_t count);

/** Standard deviation of a sample, as of runs that differ by their seed: divisor count - 1; NaN of
 * fewer than 2 values. */
double metrics_deviation(const double *values, size_t count);

#endif
