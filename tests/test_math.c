/* Functions of one float: rounded as they promise, with whatever instructions. */
#include "kernels/math.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>

static uint64_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
    return *state >> 32;
}

/* Of either sign, from 2^-27 to 2^23: sums overlap, and miss each other. */
static float draw(uint64_t *state)
{
    uint32_t bits = (uint32_t)next(state) & 0x807fffffU;
    bits |= (uint32_t)(100 + next(state) % 50) << 23;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The third operand near -a b, where almost all is cancelled, and at ties, among others. */
static float third(uint64_t *state, float a, float b, int i)
{
    float c = -(a * b);
    uint32_t bits;
    if (i % 3 == 0) return draw(state);
    if (i % 3 == 1) return ldexpf(-c, (int)(next(state) % 60) - 30);
    memcpy(&bits, &c, sizeof bits);
    bits += (uint32_t)(next(state) % 5) - 2;
    memcpy(&c, &bits, sizeof c);
    return c;
}

Test(math, fma_is_rounded_once)
{
    uint64_t state = 1;
    for (int i = 0; i < 1000000; i++) {
        float a = draw(&state), b = draw(&state), c = third(&state, a, b, i);
        float found = math_fma(a, b, c), expected = fmaf(a, b, c);
        cr_assert(found == expected, "%a %a %a: %a found, %a expected", (double)a, (double)b,
                  (double)c, (double)found, (double)expected);
    }
}

Test(math, inverse_root)
{
    double worst = 0.0;
    for (uint32_t bits = 0x00800000U; bits < 0x7f800000U; bits += 997) {
        float x;
        memcpy(&x, &bits, sizeof x);
        double expected = 1.0 / sqrt((double)x);
        worst = fmax(worst, fabs((double)math_inverse_root(x) - expected) / expected);
    }
    cr_expect_lt(worst, 1.1e-7);
    cr_expect_lt(math_inverse_root(INFINITY), 1e-19F);
    cr_expect(isnan(math_inverse_root(NAN)));
}

/* A masked score is -inf, and its weight nothing at all: no subnormal number, which would be slow.
 */
Test(math, exponential)
{
    double worst = 0.0;
    for (float x = -87.0F; x < 88.0F; x += 0.0007F)
        worst = fmax(worst, fabs((double)math_exp_weight(x) / exp((double)x) - 1.0));
    cr_expect_lt(worst, 2e-7);
    const float below[] = {-87.001F, -1000.0F, -FLT_MAX, -INFINITY};
    for (size_t i = 0; i < sizeof below / sizeof below[0]; i++)
        cr_expect_eq(math_exp_weight(below[i]), 0.0F);
    cr_expect_eq(math_exp(INFINITY), math_exp(88.0F));
    cr_expect(isnan(math_exp(NAN)));
}
