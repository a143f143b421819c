/** Functions of one float that the compiler vectorizes in loops. Relative error about 1e-7. */
#ifndef VARIO_KERNELS_MATH_H
#define VARIO_KERNELS_MATH_H

#include "base/parameters.h"

#include <stdint.h>
#include <string.h>

static inline float math_widen(bf16 x)
{
    uint32_t bits = (uint32_t)x << 16;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

/** To nearest even; NaN stays NaN. */
static inline bf16 math_narrow(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t nan = (bits & 0x7fffffffU) > 0x7f800000U;
    uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
    return (bf16)(nan ? (bits >> 16) | 0x40U : rounded);
}

/** e^x: x = n ln 2 + r, |r| <= ln(2)/2, and a polynomial of degree 6. Below -87 gives about 0. */
static inline float math_exp(float x)
{
    float low = x > -87.0F ? x : -87.0F; /* in these forms they are single instructions */
    float y = low < 88.0F ? low : 88.0F;
    float n = (y * 1.44269504F + 12582912.0F) - 12582912.0F; /* rounds to an integer */
    float r = (y - n * 0.693359375F) + n * 2.12194440e-4F;
    float p =
        1.0F +
        r * (1.0F +
             r * (0.5F + r * (0.166666667F +
                              r * (4.16666667e-2F + r * (8.33333333e-3F + r * 1.38888889e-3F)))));
    uint32_t bits = (uint32_t)((int)n + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    float result = p * scale;
    return x != x ? x : result;
}

/** tanh x = 1 - 2 / (e^2x + 1). Absolute error about 1e-7. */
static inline float math_tanh(float x)
{
    return 1.0F - 2.0F / (math_exp(2.0F * x) + 1.0F);
}

#endif
