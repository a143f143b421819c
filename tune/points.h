/** Where runs lie in the space of the keys: numbers from 0 to 1. Pure arithmetic. */
#ifndef VARIO_TUNE_POINTS_H
#define VARIO_TUNE_POINTS_H

#include <stddef.h>
#include <stdint.h>

/** A point of the scrambled Halton sequence: digits of the index in a prime base a dimension,
 * behind the point in reverse, each place with a random permutation of its own (Owen, "A randomized
 * Halton algorithm in R", 2017, arXiv:1706.02808). Permutations are noise of the seed.
 * @param at  out: [dimensions] in [0, 1)
 * @param dimensions  at most POINTS_DIMENSIONS */
void points_halton(double *at, size_t dimensions, uint64_t seed, uint64_t index);

enum { POINTS_DIMENSIONS = 8 };

/** Place i of `count` that lie evenly from 0 to 1, both ends among them; of one the middle. */
double points_even(size_t i, size_t count);

#endif
