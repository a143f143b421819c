/* SWAG's moments. The variance is kept by itself (Welford, Technometrics 1962): the mean square
 * less the squared mean, in fp32, would lose a deviation that is a thousandth of its weight. */
#include "optimizer/optimizer.h"

void swag_collect(float *mean, float *variance, float *deviation, const float *m,
                  uint64_t snapshots, size_t count)
{
    float share = (float)(1.0 / (double)snapshots);
    bool first = snapshots == 1;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++) {
        float before = m[i] - mean[i];
        float moved = first ? m[i] : mean[i] + share * before;
        float after = m[i] - moved;
        variance[i] = first ? 0.0F : variance[i] + share * (before * after - variance[i]);
        mean[i] = moved;
        if (deviation) deviation[i] = after;
    }
}
