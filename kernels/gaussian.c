/* The Gaussian loss of a few values a row. */
#include "kernels/kernels.h"
#include "kernels/math.h"

#include <math.h>

static const double two_pi = 6.28318530717958647692;

void gaussian(float *losses, void *dvalues, dtype type, const float *values, const float *targets,
              size_t N, size_t O, double variance, double scale)
{
    double constant = 0.5 * (double)O * log(two_pi * variance);
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < N; n++) {
        double squares = 0.0;
        for (size_t i = n * O; i < (n + 1) * O; i++) {
            double difference = (double)values[i] - (double)targets[i];
            float slope = (float)(scale * difference / variance);
            squares += difference * difference;
            if (!dvalues) continue;
            if (type == DTYPE_BF16)
                ((bf16 *)dvalues)[i] = math_narrow(slope);
            else
                ((float *)dvalues)[i] = slope;
        }
        losses[n] = (float)(squares / (2.0 * variance) + constant);
    }
}
