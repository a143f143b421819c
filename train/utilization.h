/** How much of what the ranks' processors could multiply a run makes use of. */
#ifndef VARIO_TRAIN_UTILIZATION_H
#define VARIO_TRAIN_UTILIZATION_H

#include "io/jobs/job.h"
#include "runtime/placement.h"

/** GFLOP/s of matrix products that all ranks reach together; collective.
 *
 * Each node's sum is remembered (io/runs/ceilings.h) by its processors, ranks and threads,
 * instructions, oneDNN and precision. Where one is not known all ranks multiply at the same time,
 * as in training, for about 0.2 s: the best of a few short times counts, since a disturbed one says
 * nothing of what is possible.
 *
 * @param precision  of the products
 * @param p          of this rank
 * @return the same on all ranks; 0 when a rank cannot multiply in this precision */
double utilization_ceiling(const comm *c, dtype precision, const placement *p);

/** Share of the ceiling that a speed is: operations of the model in a step's work items, and none
 * that `recompute` repeats.
 * @param ceiling  GFLOP/s
 * @return NAN when ceiling is 0 */
double utilization_of(const job *j, double rows_per_second, double ceiling);

#endif
