/** A whole training run: open or resume, step, log, evaluate, save. */
#ifndef VARIO_TRAIN_TRAIN_H
#define VARIO_TRAIN_TRAIN_H

#include "io/jobs/job.h"
#include "runtime/comm.h"
#include "runtime/placement.h"
#include "train/estimator.h"

#include <stdbool.h>

typedef struct {
    bool fresh; /**< start over; refused when checkpoints would be lost, unless forced */
    bool force;
    bool quiet;
    bool json;      /**< rank 0 prints the result as JSON */
    uint64_t until; /**< pause after so many steps, with an evaluation and a checkpoint; 0: never */
    dtype precision; /**< in use: the job's, or fp32 where bf16 is missing */
    const placement *placement;
    const loo_estimator *estimator; /**< for sensitivity.every */
} train_options;

/** Train a job to its end, to a pause or to a stop; collective.
 * @return STATUS_OK (also when the run was there before), STATUS_STOPPED after a checkpoint,
 *         or a failure, the same on all ranks */
status train_run(const job *j, comm *c, const train_options *options);

#endif
