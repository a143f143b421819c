/** The posterior's standard deviation of one weight: one formula for all who need it. */
#ifndef VARIO_OPTIMIZER_DEVIATION_H
#define VARIO_OPTIMIZER_DEVIATION_H

#include "kernels/math.h"

/** 1 / sqrt(lambda (h + delta)) */
static inline float deviation(float h, float lambda, float delta)
{
    return math_inverse_root(lambda * (h + delta));
}

#endif
