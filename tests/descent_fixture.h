/* A fixed problem for optimizers. */
#ifndef VARIO_TESTS_DESCENT_FIXTURE_H
#define VARIO_TESTS_DESCENT_FIXTURE_H

#include <math.h>
#include <stddef.h>

enum { COUNT = 1000, ITEMS = 3, STEPS = 100, INDEX = 4321 };

/* Item w of step t pulls element i to its target with its own curvature. */
static double slope(double theta, size_t i, size_t w, size_t t)
{
    double curvature = 0.5 + (double)(i % 10), target = 0.1 * (double)(i % 7) - 0.3;
    return curvature * (theta - target) + 0.01 * sin((double)(i + 13 * w + 29 * t));
}

/* Distance of [COUNT] from what is expected, relative to that. */
static double relative(const float *found, const double *expected)
{
    double error = 0.0, norm = 0.0;
    for (size_t i = 0; i < COUNT; i++) {
        double d = (double)found[i] - expected[i];
        error += d * d;
        norm += expected[i] * expected[i];
    }
    return sqrt(error / norm);
}

#endif
