/** Functions of one float that the compiler vectorizes in loops. */
#ifndef VARIO_KERNELS_MATH_H
#define VARIO_KERNELS_MATH_H

#include "base/parameters.h"

#include <stdbool.h>
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

/** a b + c, rounded once. Every processor gives the same bits: where there is no such instruction
 * the product, which is exact in double, is added with a last bit that remembers what was rounded
 * away, so that rounding to float is right (Boldo and Melquiond, IEEE TC 2008). */
static inline float math_fma(float a, float b, float c)
{
#if defined(__FMA__) || !defined(__x86_64__)
    return __builtin_fmaf(a, b, c);
#else
    double product = (double)a * (double)b, sum = product + (double)c;
    double added = sum - product, lost = (product - (sum - added)) + ((double)c - added);
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    bool inexact = lost < 0.0 || lost > 0.0, away = (lost > 0.0) == (sum > 0.0);
    if (inexact && bits % 2 == 0) bits = away ? bits + 1 : bits - 1;
    memcpy(&sum, &bits, sizeof sum);
    return (float)sum;
#endif
}

/** 1/sqrt(x) of a positive normal number within 1.5 units in the last place; infinity counts as the
 * largest number, NaN stays NaN. A guess by halving the exponent, and a minimax
 * polynomial of what it leaves of 1 - x guess^2: a root and a quotient take three times as long. */
static inline float math_inverse_root(float x)
{
    float y = 3.40282347e+38F < x ? 3.40282347e+38F : x;
    uint32_t bits;
    memcpy(&bits, &y, sizeof bits);
    bits = 0x5f374700U - (bits >> 1);
    float root;
    memcpy(&root, &bits, sizeof root);
    float rest = math_fma(-(y * root), root, 1.0F); /* at most 0.0682 */
    float p = math_fma(rest, 0.275191287F, 0.313925112F);
    p = math_fma(rest, math_fma(rest, p, 0.374996765F), 0.499998368F);
    return math_fma(root * rest, p, root);
}

/** e^x: x = n ln 2 + r, |r| <= ln(2)/2, and a minimax polynomial of degree 5 in r. Relative error
 * at most 2e-7; 0 below -87 (a product with a subnormal number takes Intel's processors a hundred
 * times as long as another, and a masked attention weight is one), above 88 what 88 gives; NaN
 * stays NaN. */
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

/** The same for weights, which are 0 below -87: a masked one's products would be subnormal, and
 * take Intel's processors a hundred times as long as others. */
static inline float math_exp_weight(float x)
{
    float weight = math_exp(x);
    return x < -87.0F ? 0.0F : weight;
}

/** 1 / (1 + e^-x). */
static inline float math_sigmoid(float x)
{
    return 1.0F / (1.0F + math_exp(-x));
}

#endif
