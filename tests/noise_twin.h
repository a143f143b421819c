/* The noise of docs/numerics.md, written again on Random123's Philox and libm. */
#ifndef VARIO_TESTS_NOISE_TWIN_H
#define VARIO_TESTS_NOISE_TWIN_H

#include "kernels/noise.h"

#include <Random123/philox.h>
#include <math.h>

/* The normal of element i. @param word  out: its rounding word; may be NULL */
static double redraw(noise_key k, uint64_t i, uint32_t *word)
{
    philox4x32_ctr_t counter = {
        {(uint32_t)(i / 4), (uint32_t)(i / 4 >> 32) | k.stream << 24, k.sample, k.step}};
    philox4x32_key_t seed = {{(uint32_t)k.seed, (uint32_t)(k.seed >> 32)}};
    philox4x32_ctr_t r = philox4x32(counter, seed);
    size_t pair = i % 4 < 2 ? 0 : 2;
    double u = ((double)(r.v[pair] >> 9) + 0.5) / 8388608.0,
           v = (double)(r.v[pair + 1] >> 9) / 8388608.0;
    if (word) *word = r.v[i % 4];
    return sqrt(-2.0 * log(u)) * (i % 2 ? sin(2.0 * M_PI * v) : cos(2.0 * M_PI * v));
}

#endif
