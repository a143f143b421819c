/* Squared sums by block, in an order that depends on nothing but the block. */
#include "optimizer/optimizer.h"

enum { LANES = 8 };

/* Element i is added to lane i mod 8, then the lanes in their order. */
static double squared_sum(const float *values, double scale, size_t count)
{
    double lanes[LANES] = {0.0}, sum = 0.0;
    size_t whole = count / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES)
        for (size_t lane = 0; lane < LANES; lane++) {
            double x = scale * (double)values[i + lane];
            lanes[lane] += x * x;
        }
    for (size_t i = whole; i < count; i++) {
        double x = scale * (double)values[i];
        lanes[i - whole] += x * x;
    }
    for (size_t lane = 0; lane < LANES; lane++) sum += lanes[lane];
    return sum;
}

void squared_blocks(double *sums, const float *values, double scale, size_t count)
{
    size_t blocks = (count + PARAMETER_BLOCK - 1) / PARAMETER_BLOCK;
#pragma omp parallel for schedule(static)
    for (size_t b = 0; b < blocks; b++) {
        size_t at = b * PARAMETER_BLOCK, left = count - at;
        sums[b] = squared_sum(values + at, scale, left < PARAMETER_BLOCK ? left : PARAMETER_BLOCK);
    }
}
