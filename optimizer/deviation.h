/** The posterior's standard deviation of one weight: one formula for all who need it. */
#ifndef VARIO_OPTIMIZER_DEVIATION_H
#define VARIO_OPTIMIZER_DEVIATION_H

#include <math.h>

/** 1 / sqrt(lambda (h + delta)) */
static inline float deviation(float h, float lambda, float delta)
{
    return 1.0F / sqrtf(lambda * (h + delta));
}

#endif
