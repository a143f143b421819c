/** A posterior for a model that was trained without one: squared gradients at its mean, in one pass
 * through its training data. */
#ifndef VARIO_ANALYSIS_CURVATURE_H
#define VARIO_ANALYSIS_CURVATURE_H

#include "io/jobs/job.h"
#include "runtime/comm.h"

struct json_t;

typedef struct {
    const char *run;    /**< a run or one of its checkpoints; NULL: the weights are model.init's */
    uint64_t sequences; /**< sequences or examples of a batch, whose gradient is squared */
    uint64_t batches;   /**< the first so many in the order of training; 0: all whole ones */
    double ess;         /**< lambda; NaN: the tokens or examples of the training data */
    double decay;       /**< delta of matrices; NaN: see docs/posterior.md */
    double floor;       /**< least h + delta; NaN: delta */
    dtype precision;
    int threads; /**< a rank's, for the new checkpoint's facts */
    bool force;  /**< replace the checkpoints of a run of the new one's name */
    bool quiet;
} curvature_options;

typedef struct {
    struct json_t *details; /**< on rank 0: what was found, an object; the caller drops it */
    size_t parameters;
    uint64_t batches;
    double loss;         /**< mean over the batches, at the mean */
    double hessian_mean; /**< before h was raised */
    double share; /**< of it, what the mean gradient makes: 1/batches or little more at a minimum */
    double lambda, delta, floor;
    uint64_t raised; /**< elements whose h + delta was below the floor */
} curvature_report;

/** Write a run of ivon with the mean of a run and h of squared gradients; collective.
 *
 * Batch i is work item i of an epoch: the gradient at the mean of its mean loss, without clipping,
 * dropout or noise. The bytes of the result do not depend on the number of ranks.
 *
 * @param j       the run's job under the new run's name
 * @param report  out
 * @return STATUS_OK; STATUS_INPUT when the run has no checkpoint, fewer batches than wanted, or
 *         output/name is the run, is in use, or has checkpoints and force is not given;
 *         STATUS_NUMERIC when a gradient is not finite; STATUS_IO, STATUS_NOMEM. On failure nothing
 *         is written
 */
status curvature_run(const job *j, comm *c, const curvature_options *options,
                     curvature_report *report);

#endif
