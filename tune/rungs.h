/** Successive halving (Jamieson and Talwalkar, AISTATS 2016), in the form of Li et al., "A System
 * for Massively Parallel Hyperparameter Tuning", MLSys 2020, algorithm 1: all runs go to the first
 * rung, the best 1/eta of them to the next, which has eta times the steps, and so on to the end.
 * Pure arithmetic. */
#ifndef VARIO_TUNE_RUNGS_H
#define VARIO_TUNE_RUNGS_H

#include <stddef.h>
#include <stdint.h>

enum { RUNGS = 64 /**< at most */ };

typedef struct {
    size_t count;
    uint64_t steps[RUNGS]; /**< rising, the last is the run's */
    size_t runs[RUNGS];    /**< how many go to each */
} tune_rungs;

/** The rungs of `runs` runs of `steps` steps: as many as eta divides the runs, but none below
 * `first` steps.
 * @param runs, steps  at least 1
 * @param eta          1: one rung, the end */
void rungs_make(tune_rungs *r, size_t runs, uint64_t eta, uint64_t first, uint64_t steps);

/** The best of a rung, in the order of their indices; of equal scores the first is the better one,
 * and one that is infinite is never among them.
 *
 * @param kept    out: [keep] indices
 * @param scores  [count] low ones are good
 * @return how many there are, at most keep */
size_t rungs_best(size_t *kept, size_t keep, const double *scores, size_t count);

#endif
