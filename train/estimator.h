/** What estimates the leave-one-out loss while a run trains (sensitivity.every). It stands above
 * the loop, which is given it: analysis/sensitivity.h has one. */
#ifndef VARIO_TRAIN_ESTIMATOR_H
#define VARIO_TRAIN_ESTIMATOR_H

#include "train/trainer.h"

typedef struct {
    double loss, loo_loss; /**< means over the same examples: seen, and each left out */
} loo_estimate;

typedef struct {
    /** Bytes that a rank takes, to the byte. */
    status (*bytes)(const job *j, const sharding *owned, dtype precision, size_t *bytes);
    /** Allocate beside a trainer, which outlives it; collective. */
    status (*open)(void **x, trainer *r);
    void (*close)(void **x);
    /** Of the first `count` examples or windows; collective, the same on all ranks. */
    status (*estimate)(void *x, const dataset *train, uint64_t count, loo_estimate *out);
} loo_estimator;

#endif
