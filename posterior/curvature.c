#include "posterior/curvature.h"

#include <math.h>

void curvature_add(float *sums, const float *part, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++) sums[i] += part[i];
}

size_t curvature_finish(float *h, double scale, double min, size_t count, uint64_t *raised)
{
    uint64_t below = 0;
    size_t bad = count;
#pragma omp parallel for schedule(static) reduction(+ : below) reduction(min : bad)
    for (size_t i = 0; i < count; i++) {
        double value = scale * (double)h[i];
        below += value < min;
        h[i] = (float)(value < min ? min : value);
        if (!isfinite(h[i]) && i < bad) bad = i;
    }
    *raised += below;
    return bad;
}
