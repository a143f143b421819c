/** What a job takes on a number of ranks: memory a rank and bytes a step, by the same arithmetic
 * that opens the arenas and posts the messages. */
#ifndef VARIO_TRAIN_PLAN_H
#define VARIO_TRAIN_PLAN_H

#include "train/estimator.h"

#include <stdio.h>

typedef struct {
    trainer_memory memory;      /**< bytes of this rank's arenas */
    uint64_t elements;          /**< parameters that it owns */
    uint64_t sent[BYTES_KINDS]; /**< bytes that this rank sends in one step (not skipped, without
                                     evaluation, checkpoint or logging) */
} plan;

/** One of a launch's ranks. */
typedef struct {
    size_t ranks, rank;
    size_t nodes; /**< whose ranks share memory; 0: nobody does */
    size_t place; /**< in its node */
} plan_rank;

/** A rank where ranks follow each other on so many nodes, as evenly as they fill. */
plan_rank plan_rank_of(size_t ranks, size_t rank, size_t nodes);

/** Plan one rank; not collective.
 * @param estimator  what a run with sensitivity.every is given
 * @return STATUS_OK or STATUS_NOMEM */
status plan_make(plan *out, const job *j, const plan_rank *of, dtype precision,
                 const loo_estimator *estimator);

/** Print a table over the stages, for rank 0 (which has the largest part) and for all ranks. */
status plan_print(FILE *out, const job *j, size_t ranks, size_t nodes, dtype precision, bool json,
                  const loo_estimator *estimator);

#endif
