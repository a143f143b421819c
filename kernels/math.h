/** Functions of one float that the compiler vectorizes in loops. */
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

/** e^x: x = n ln 2 + r, |r| <= ln(2)/2, and a minimax polynomial of degree 5 in r. Relative error
 * at most 2e-7; below -87 gives about 0, above 88 what 88 gives; NaN stays NaN. */
static inline float math_exp(float x)
{
    float low = x > -87.0F ? x : -87.0F; /* in these forms they are single instructions */
    float y = low < 88.0F ? low : 88.0F;
    float shifted = y * 1.44269504F + 12582912.0F; /* n stands in the low bits */
    float n = shifted - 12582912.0F;
    float r = (y - n * 0.693359375F) + n * 2.12194440e-4F;
    float p =
        1.0F +
        r * (0.999999702F +
             r * (0.499991477F + r * (0.166676387F + r * (4.18981612e-2F + r * 8.29027221e-3F))));
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + 0x3f800000U; /* 2^n */
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    float result = p * scale;
    return x != x ? x : result;
}

/** 1 / (1 + e^-x). */
static inline float math_sigmoid(float x)
{
    return 1.0F / (1.0F + math_exp(-x));
}

#endif
