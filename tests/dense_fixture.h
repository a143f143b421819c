/* Cholesky's algorithm as textbooks have it, for matrices column after column, and how far numbers
 * are from those expected. */
#ifndef VARIO_TESTS_DENSE_FIXTURE_H
#define VARIO_TESTS_DENSE_FIXTURE_H

#include "mpi_fixture.h"

#include <math.h>

/* A = L L' in the lower triangle. */
static inline void reference_factor(double *a, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        for (size_t k = 0; k < j; k++)
            for (size_t i = j; i < n; i++) a[j * n + i] -= a[k * n + i] * a[k * n + j];
        double pivot = sqrt(a[j * n + j]);
        for (size_t i = j; i < n; i++) a[j * n + i] /= pivot;
    }
}

/* b becomes A^-1 b. */
static inline void reference_solve(const double *l, double *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i; j++) b[i] -= l[j * n + i] * b[j];
        b[i] /= l[i * n + i];
    }
    for (size_t i = n; i-- > 0;) {
        for (size_t j = i + 1; j < n; j++) b[i] -= l[i * n + j] * b[j];
        b[i] /= l[i * n + i];
    }
}

/* Largest difference, over the largest number that is expected. */
static inline double difference(const double *found, const double *expected, size_t count)
{
    double max = 0.0, scale = 0.0;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(found[i])) return INFINITY;
        max = fmax(max, fabs(found[i] - expected[i]));
        scale = fmax(scale, fabs(expected[i]));
    }
    return max / fmax(scale, 1e-300);
}

#define NEAR(found, expected, count, tolerance)                                                    \
    do {                                                                                           \
        double far_ = difference(found, expected, count);                                          \
        cr_expect(everywhere(far_ < (tolerance)), "%s: %g", #found, far_);                         \
    } while (0)

#endif
