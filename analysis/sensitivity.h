/** Sensitivities of examples, sequences or tokens to their own presence in training, from the
 * posterior of a run: posterior/sensitivity.h has the formulas. */
#ifndef VARIO_ANALYSIS_SENSITIVITY_H
#define VARIO_ANALYSIS_SENSITIVITY_H

#include "train/estimator.h"

/** What one number is of. Examples are those of linear models and perceptrons; gpt2 has the others.
 */
typedef enum { PER_EXAMPLE, PER_SEQUENCE, PER_TOKEN } sensitivity_per;

typedef struct {
    uint64_t index; /**< example, window, or token (window * length + position) of the data */
    size_t label, predicted; /**< classes; of a token its target; else 0 */
    bool mislabelled;        /**< planted by data.mislabelled */
    bool left_out;           /**< by data.leave_out: training never saw it */
    double p;                /**< probability of the class, or of the token; else NaN */
    double error, variance;  /**< of sensitivity_score.shown; of a token p - 1 and, as of a
                                  sequence, the form g' diag(sigma^2) g of its summed loss */
    double sensitivity;      /**< of a sequence or token: the form */
    double loss, loo_loss;   /**< nats; of a sequence: a token */
} sensitivity_row;

/** Rows, in the order of the data, on rank 0 alone; the means on all ranks. */
typedef struct {
    uint64_t count;
    size_t outputs;        /**< of a row of details; 0 of gpt2 */
    sensitivity_row *rows; /**< [count] */
    float *details;        /**< (count, 2, outputs): errors, variances */
    double loss, loo_loss; /**< means of the rows that were not left out */
} sensitivity_table;

typedef struct sensitivity sensitivity;

/** For runs that estimate the leave-one-out loss as they train: per example, or per sequence. */
extern const loo_estimator sensitivity_estimator;

/** Bytes that a rank's sensitivity takes, to the byte. */
status sensitivity_bytes(const job *j, const sharding *owned, dtype precision, size_t *bytes);

/** Allocate beside a trainer that has a posterior (IVON's): a model of its own, and the variances
 * of all weights, whole on every rank whatever parallel.shard. Collective.
 * @param r  kept, must outlive *x */
status sensitivity_open(sensitivity **x, trainer *r, sensitivity_per per);
void sensitivity_close(sensitivity **x);

/** Sensitivities of `count` examples, windows or tokens from `first` on, at the trainer's present
 * mean and posterior; batch b on rank b mod P, the same bits whatever the number of ranks.
 * Collective.
 *
 * @param data  dataset_open's of the job; it has all of them
 * @param out   out: closed by the caller with sensitivity_table_close; empty on failure
 * @return STATUS_OK, STATUS_NOMEM or STATUS_INPUT (a bad token), the same on all ranks
 */
status sensitivity_run(sensitivity *x, const dataset *data, uint64_t first, uint64_t count,
                       sensitivity_table *out);

/** What leaving out the rows of a group together adds to their summed loss, after sensitivity_run,
 * to which the variances belong: the Newton step for all of them is mean + diag(sigma^2) g, g the
 * gradient of their summed loss. Examples: their loss there, less that at the mean, to which the
 * trainer returns. Of gpt2, as of single rows, to first order: g' diag(sigma^2) g. Collective.
 *
 * Every rank keeps 12 bytes a weight for it; the same bits whatever the number of ranks.
 *
 * @param group   rank 0: [count] group of row first + i, from 0; groups and above: none
 * @param groups  rank 0
 * @param added   rank 0: [groups] out, nats; NULL on other ranks
 * @return STATUS_OK, STATUS_NOMEM or STATUS_INPUT (a bad token), the same on all ranks
 */
status sensitivity_leave(sensitivity *x, const dataset *data, uint64_t first, uint64_t count,
                         const uint32_t *group, size_t groups, double *added);
void sensitivity_table_close(sensitivity_table *t);

#endif
