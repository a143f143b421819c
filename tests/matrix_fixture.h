/* Numbers for matrices, and how far they are from those expected. */
#ifndef VARIO_TESTS_MATRIX_FIXTURE_H
#define VARIO_TESTS_MATRIX_FIXTURE_H

#include "kernels/noise.h"

#include <criterion/criterion.h>
#include <math.h>

static inline void draw(float *out, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i += NOISE_BLOCK)
        noise_normals(out + i, NULL, (noise_key){.seed = seed}, i,
                      count - i < NOISE_BLOCK ? count - i : NOISE_BLOCK);
}

static inline void widen(double *out, const float *in, size_t count)
{
    for (size_t i = 0; i < count; i++) out[i] = (double)in[i];
}

/* Distance in Frobenius' norm, over that of what is expected. */
static inline double far(const float *found, const double *expected, size_t count)
{
    double error = 0.0, norm = 0.0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)found[i] - expected[i];
        if (!isfinite(d)) return INFINITY;
        error += d * d;
        norm += expected[i] * expected[i];
    }
    return sqrt(error / fmax(norm, 1e-300));
}

#define NEAR(found, expected, count, tolerance)                                                    \
    do {                                                                                           \
        double far_ = far(found, expected, count);                                                 \
        cr_expect_lt(far_, tolerance, "%s: %g", #found, far_);                                     \
    } while (0)

#endif
