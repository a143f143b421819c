/* Sums of digits times powers of the base, from the first to the last that a double sees. */
#include "tune/points.h"

#include "kernels/noise.h"

enum { BASE_MAX = 19 };

static const uint32_t primes[POINTS_DIMENSIONS] = {2, 3, 5, 7, 11, 13, 17, BASE_MAX};

/* Fisher and Yates. */
static void permute(uint32_t *order, uint32_t count, uint64_t seed, uint32_t dimension,
                    uint32_t place)
{
    for (uint32_t i = 0; i < count; i++) order[i] = i;
    for (uint32_t i = count - 1; i > 0; i--) {
        uint32_t words[4];
        noise_words(words, seed, (const uint32_t[4]){dimension, place, i, 0});
        uint32_t k = (uint32_t)(((uint64_t)words[0] * (i + 1)) >> 32), other = order[k];
        order[k] = order[i];
        order[i] = other;
    }
}

static double halton(uint32_t base, uint64_t seed, uint32_t dimension, uint64_t index)
{
    uint32_t order[BASE_MAX];
    double sum = 0.0, unit = 1.0;
    for (uint32_t place = 0; 1.0 - unit / base < 1.0; place++, index /= base) {
        unit /= base;
        permute(order, base, seed, dimension, place);
        sum += unit * order[index % base];
    }
    return sum < 1.0 ? sum : 1.0 - 0x1p-53;
}

void points_halton(double *at, size_t dimensions, uint64_t seed, uint64_t index)
{
    for (size_t d = 0; d < dimensions; d++) at[d] = halton(primes[d], seed, (uint32_t)d, index);
}

double points_even(size_t i, size_t count)
{
    return count > 1 ? (double)i / (double)(count - 1) : 0.5;
}
