/** The dense answer that a run's posterior can be compared with: the Gaussian whose precision is
 * the whole Gauss-Newton matrix, by ScaLAPACK on all ranks. docs/exact.md derives the formulas.
 *
 * The unknowns theta are chosen weights, the others stay what they are. Outputs are taken as linear
 * in them, f = f_0 + J (theta - theta_0), which they are in the last layer. With N training
 * examples (of gpt2 tokens) and lambda, the effective sample size, it is
 *
 *     F(theta) = lambda/N sum of losses + 1/2 sum of prior_i theta_i^2
 *     Lambda   = lambda/N sum of J' H J + diag(prior)        at the mode, which minimizes F
 *
 * Collective, the same status on all ranks, unless it says otherwise.
 */
#ifndef VARIO_ANALYSIS_ORACLE_H
#define VARIO_ANALYSIS_ORACLE_H

#include "analysis/oracle_posterior.h"
#include "exact/matrix.h"

typedef struct {
    const char *tensors; /**< as jacobian_open's */
    double ess;          /**< lambda; NaN: the job's of ivon and bbb, of others N */
    double prior;      /**< of matrices; NaN: lambda weight_decay of a job of ivon or bbb, of others
                            an error */
    double bias_prior; /**< of 1-D tensors; NaN: 0, but of bbb, which has no other than matrices' */
    int threads;
    bool spectrum; /**< there will be oracle_spectrum or oracle_maximize: take memory for them */
} oracle_options;

typedef struct {
    trainer *r;
    const dataset *data;
    oracle_options options;
    exact_grid *grid;
    jacobian *x;
    size_t unknowns, outputs;
    bool classes, fixed; /**< fixed: of gpt2, whose mode is taken to be the run's mean */
    uint64_t count;      /**< N: training rows that were not left out */
    double ess, weight;  /**< lambda, lambda / N */
    const double *start; /**< [unknowns] jacobian_mean */
    double *prior, *mode, *diagonal; /**< [unknowns]; diagonal: of Lambda */
    double *step, *gradient;         /**< [unknowns] scratch */
    exact_matrix *precision;         /**< Lambda */
    exact_matrix *factor;            /**< its Cholesky factor */
    exact_matrix *spare;             /**< for spectra */
    size_t newton_steps;
    double loss;      /**< mean over the training rows, at the mode; NaN of gpt2 */
    double objective; /**< F at the mode */
    double log_determinant, log_evidence;
} oracle;

/** Allocate, after the memory was checked; reads nothing of the data yet.
 * @param data  training data, kept, as r is
 * @return STATUS_OK, STATUS_INPUT (no such tensors, no prior, not enough memory), STATUS_NOMEM,
 * STATUS_IO (no ScaLAPACK); oracle_close takes o either way */
status oracle_open(oracle *o, trainer *r, const dataset *data, const oracle_options *options);
/** Whether examples can be left out, or the evidence maximized, of this problem; not collective.
 * @return STATUS_OK or STATUS_INPUT */
status oracle_check(const oracle *o, bool leave_out, bool maximize, bool draws);

void oracle_close(oracle *o);

/** Find the mode by Newton's method, the precision there and its factor, and the log evidence.
 * @return STATUS_OK, STATUS_INPUT (the precision is singular, naming an unknown; a bad token),
 *         STATUS_NUMERIC (no mode was found), STATUS_NOMEM */
status oracle_find(oracle *o);

/** diag(Lambda^-1); the factor is lost. @param variances  [unknowns] out */
status oracle_variances(oracle *o, double *variances);

/** A run's Gaussian beside the exact one; distances in nats. Of a diagonal one directions are
 * single unknowns, and kl_basis is kl_diagonal. */
typedef struct {
    double mean_error;  /**< |mean - mode| / |mode| */
    double kl;          /**< KL(run || exact) = the three that follow */
    double kl_mean;     /**< of its mean */
    double kl_variance; /**< of its variances, the best in its directions q being 1/(q' Lambda q) */
    double kl_basis;    /**< of these best ones: of correlations between its directions */
    double kl_diagonal; /**< KL(best diagonal || exact), whose variances are 1/Lambda_ii */
    double kl_best;     /**< KL(run || best diagonal) */
    double quantiles[5]; /**< of sigma^2 q' Lambda q: 5, 25, 50, 75, 95% */
    double inverse;      /**< median of sigma^2 / (Lambda^-1)_ii */
} oracle_comparison;

/** @param mean       [unknowns] of the run's Gaussian
 * @param q          its covariance
 * @param variances  [unknowns] diag(Lambda^-1)
 * Collective. @return STATUS_OK or STATUS_NOMEM */
status oracle_compare(const oracle *o, const double *mean, const oracle_posterior *q,
                      const double *variances, oracle_comparison *out);

/** Distances from the posterior exp(-F) itself, which of classes is no Gaussian, in nats. */
typedef struct {
    double run;      /**< KL(run || posterior); NaN: it has none */
    double gaussian; /**< KL(exact Gaussian || posterior): of values 0 */
    double diagonal; /**< KL(best diagonal of that Gaussian || posterior) */
    double error;    /**< standard error of the posterior's normalizing constant, in nats: what all
                          three have in common */
} oracle_distances;

/** Distances by draws: F less half of the normals' squares, whose variance is 0 where F is
 * quadratic, averaged over each Gaussian, and the normalizing constant by importance sampling from
 * the exact Gaussian, a little wider, whose own constant, found from the same draws, is known (a
 * control variate). Before oracle_variances, which loses the factor.
 * @param q      the run's covariance around its mean; NULL: it has none
 * @param draws  pairs with opposite signs: an odd number is one more
 * @return STATUS_OK, STATUS_NOMEM, STATUS_INPUT (a bad row) */
status oracle_sample(oracle *o, const oracle_posterior *q, uint64_t draws, oracle_distances *out);

/** Where the evidence of a linear regression is largest, as a function of the prior's precision (of
 * what has one) and the noise variance; the exponent lambda/N is 1 for it. */
typedef struct {
    double prior, noise_variance, log_evidence;
    bool at_edge; /**< the prior is as far as was looked: there is no maximum between */
} oracle_maximum;

/** Only of values that are linear in the unknowns; needs options.spectrum.
 * @return STATUS_OK, STATUS_INPUT (of another problem), STATUS_NOMEM, STATUS_NUMERIC */
status oracle_maximize(oracle *o, oracle_maximum *out);

/** Eigenvalues, ascending, of the curvature (Lambda - prior)/lambda, in the units of h; needs
 * options.spectrum. The factor is lost.
 * @param values  [unknowns] out */
status oracle_spectrum(oracle *o, double *values);

/** How good predictions are on a data set. */
typedef struct {
    double nll, accuracy, ece, rmse, coverage_error; /**< NaN where it is not defined */
} oracle_score;

typedef enum {
    PREDICT_MODE,  /**< at the mode */
    PREDICT_EXACT, /**< averaged over the exact posterior */
    PREDICT_RUN,   /**< averaged over the run's */
    PREDICTIONS
} oracle_prediction;

/** Predictive distributions of linearized outputs: of values a Gaussian with variance s^2 + J V J',
 * of classes the mean over `samples` Gaussian draws of the outputs, the same normals for all.
 *
 * @param q       the run's covariance around its mean; NULL: it has none
 * @param scores  [PREDICTIONS] out, on all ranks
 * @return STATUS_OK, STATUS_NOMEM, STATUS_INPUT (a bad row) */
status oracle_predict(oracle *o, const dataset *data, const oracle_posterior *q, uint64_t samples,
                      oracle_score *scores);

/** A training example and what it would be without itself. */
typedef struct {
    double loss, loo_loss; /**< at the mode, and at the mode of all others' F (by one Newton step,
                                which is exact for values) */
    double moved;          /**< how far its prediction moves: |value|, or sum of probabilities */
} oracle_left_out;

/** Leave each training example out, by the inverse of the Gram matrix of all rows.
 *
 * S = 1 + X diag(prior)^-1 X', X the rows of sqrt(lambda/N) H^(1/2) J, has an order of N outputs;
 * what has no prior is projected out. The diagonal blocks of its inverse are 1 - X_i Lambda^-1
 * X_i', what an example leaves to the others.
 *
 * @param by_precision  by solving with the factor of Lambda instead, for comparison or where there
 *                      are fewer unknowns than rows
 * @param out           [dataset_count] out, the same on all ranks
 * @return STATUS_OK, STATUS_INPUT (not enough memory; gpt2), STATUS_NOMEM, STATUS_NUMERIC */
status oracle_leave_out(oracle *o, bool by_precision, oracle_left_out *out);

#endif
