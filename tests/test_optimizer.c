/* The optimizers against independent implementations in double. */
#include "kernels/kernels.h"
#include "optimizer/optimizer.h"

#include <Random123/philox.h>
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 1000, ITEMS = 3, STEPS = 100, INDEX = 4321 };

/* docs/numerics.md's noise, on Random123's Philox and libm. */
static double redraw(uint64_t seed, uint32_t sample, uint32_t step, uint64_t i)
{
    philox4x32_ctr_t counter = {{(uint32_t)(i / 4), (uint32_t)(i / 4 >> 32), sample, step}};
    philox4x32_key_t k = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    philox4x32_ctr_t r = philox4x32(counter, k);
    size_t pair = i % 4 < 2 ? 0 : 2;
    double u = ((double)(r.v[pair] >> 9) + 0.5) / 8388608.0,
           v = (double)(r.v[pair + 1] >> 9) / 8388608.0;
    return sqrt(-2.0 * log(u)) * (i % 2 ? sin(2.0 * M_PI * v) : cos(2.0 * M_PI * v));
}

/* A fixed problem: item w of step t pulls element i to its target with its own curvature. */
static double slope(double theta, size_t i, size_t w, size_t t)
{
    double curvature = 0.5 + (double)(i % 10), target = 0.1 * (double)(i % 7) - 0.3;
    return curvature * (theta - target) + 0.01 * sin((double)(i + 13 * w + 29 * t));
}

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

/* 100 steps, both implementations on trajectories of their own. */
static void check_ivon(hessian_kind hessian, double xi, double tolerance)
{
    static float m[COUNT], h[COUNT], g[COUNT], sigma[COUNT], theta[COUNT], g_sum[COUNT],
        f_sum[COUNT], piece[COUNT];
    static double dm[COUNT], dh[COUNT], dg[COUNT];
    const double lambda = 1e4, delta = 1e-3, h0 = 0.5, beta1 = 0.9, beta2 = 0.999, alpha = 0.05;
    const uint64_t seed = 42;
    for (size_t i = 0; i < COUNT; i++) {
        m[i] = (float)(dm[i] = 0.25);
        h[i] = (float)(dh[i] = h0);
        g[i] = 0.0F;
        dg[i] = 0.0;
    }
    for (size_t t = 0; t < STEPS; t++) {
        ivon_step step = {.lambda = lambda,
                          .delta = delta,
                          .h0 = h0,
                          .beta1 = beta1,
                          .beta2 = beta2,
                          .xi = xi,
                          .alpha = alpha,
                          .updates = t + 1,
                          .debias = true,
                          .hessian = hessian};
        uint64_t clipped = 0, rescued = 0;
        memset(g_sum, 0, sizeof g_sum);
        memset(f_sum, 0, sizeof f_sum);
        ivon_sigma(sigma, h, lambda, delta, COUNT);
        for (size_t w = 0; w < ITEMS; w++) {
            noise_key key = {.seed = seed, .sample = (uint32_t)w, .step = (uint32_t)t};
            sample_weights(theta, DTYPE_F32, m, sigma, key, INDEX, COUNT);
            for (size_t i = 0; i < COUNT; i++) piece[i] = (float)slope((double)theta[i], i, w, t);
            accumulate_piece(g_sum, f_sum, piece, DTYPE_F32, 1.0F, hessian, key, INDEX, COUNT);
        }
        ivon_update(m, h, g, g_sum, f_sum, 1.0 / ITEMS, 1.0 / ITEMS, &step, COUNT, &clipped,
                    &rescued);
        uint64_t expected_clipped = 0;
        for (size_t i = 0; i < COUNT; i++) {
            double s = 1.0 / sqrt(lambda * (dh[i] + delta)), mean = 0.0, f = 0.0;
            for (size_t w = 0; w < ITEMS; w++) {
                double e = redraw(seed, (uint32_t)w, (uint32_t)t, INDEX + i);
                double x = slope(dm[i] + s * e, i, w, t);
                mean += x / ITEMS;
                f += (hessian == HESSIAN_PRICE ? e * x / s : lambda * x * x) / ITEMS;
            }
            dg[i] = beta1 * dg[i] + (1.0 - beta1) * mean;
            dh[i] = beta2 * dh[i] + (1.0 - beta2) * f +
                    0.5 * pow(1.0 - beta2, 2) * pow(dh[i] - f, 2) / (dh[i] + delta);
            double change =
                (dg[i] / (1.0 - pow(beta1, (double)(t + 1))) + delta * dm[i]) / (dh[i] + delta);
            if (fabs(change) > xi) expected_clipped++;
            dm[i] -= alpha * fmax(-xi, fmin(xi, change));
        }
        cr_expect_leq(llabs((long long)clipped - (long long)expected_clipped), 2);
        cr_expect_eq(rescued, 0);
    }
    cr_expect_lt(relative(m, dm), tolerance, "m: %.3g", relative(m, dm));
    cr_expect_lt(relative(h, dh), tolerance, "h: %.3g", relative(h, dh));
    cr_expect_lt(relative(g, dg), tolerance, "momentum: %.3g", relative(g, dg));
}

Test(ivon, price_matches_double)
{
    check_ivon(HESSIAN_PRICE, INFINITY, 1e-5);
}

Test(ivon, gradsq_matches_double)
{
    check_ivon(HESSIAN_GRADSQ, INFINITY, 1e-5);
}

Test(ivon, clips_updates)
{
    check_ivon(HESSIAN_PRICE, 0.05, 1e-5);
}

/* A wild estimate cannot make h + delta negative: in exact arithmetic it stays positive, and the
 * code says when fp32 needed help. */
Test(ivon, keeps_the_precision_positive)
{
    float m = 0.0F, h = 1e-3F, g = 0.0F, g_sum = 0.0F, f_sum = -1e30F;
    uint64_t clipped = 0, rescued = 0;
    ivon_step step = {.lambda = 1e10,
                      .delta = 1e-6,
                      .beta1 = 0.9,
                      .beta2 = 0.99999,
                      .xi = INFINITY,
                      .alpha = 1.0,
                      .updates = 1,
                      .hessian = HESSIAN_PRICE};
    ivon_update(&m, &h, &g, &g_sum, &f_sum, 1.0, 1.0, &step, 1, &clipped, &rescued);
    cr_expect_gt(h + 1e-6F, 0.0F);
    f_sum = NAN;
    ivon_update(&m, &h, &g, &g_sum, &f_sum, 1.0, 1.0, &step, 1, &clipped, &rescued);
    cr_expect_gt(h + 1e-6F, 0.0F);
    cr_expect_geq(rescued, 1);
}

/* Pieces in any cut add up to the same bits. */
Test(accumulate, bits_do_not_depend_on_the_cut)
{
    float piece[COUNT], g[2][COUNT] = {{0}}, f[2][COUNT] = {{0}};
    noise_key key = {.seed = 9, .sample = 2, .step = 5};
    for (size_t i = 0; i < COUNT; i++) piece[i] = (float)sin((double)i);
    accumulate_piece(g[0], f[0], piece, DTYPE_F32, 0.7F, HESSIAN_PRICE, key, 5, COUNT);
    for (size_t at = 0; at < COUNT; at += 333) {
        size_t n = COUNT - at < 333 ? COUNT - at : 333;
        accumulate_piece(g[1] + at, f[1] + at, piece + at, DTYPE_F32, 0.7F, HESSIAN_PRICE, key,
                         5 + at, n);
    }
    cr_expect_arr_eq(g[0], g[1], sizeof g[0]);
    cr_expect_arr_eq(f[0], f[1], sizeof f[0]);
}

/* Stochastic rounding to bf16 leaves the Hessian estimate of a quadratic right wherever m lies
 * between two bf16 numbers, though their step exceeds sigma. */
Test(sample, stochastic_rounding_keeps_the_hessian)
{
    enum { DRAWS = 400, WIDTH = 4096 };
    static const float means[] = {0.02F, 0.3F, 0.3007F, 0.7F, 1.2F};
    float *m = malloc(WIDTH * sizeof *m), *sigma = malloc(WIDTH * sizeof *sigma);
    float *z = malloc(WIDTH * sizeof *z);
    bf16 *theta = malloc(WIDTH * sizeof *theta);
    for (size_t c = 0; c < sizeof means / sizeof means[0]; c++) {
        double product = 0.0, shift = 0.0;
        for (size_t i = 0; i < WIDTH; i++) {
            m[i] = means[c];
            sigma[i] = 3.2e-4F;
        }
        for (uint32_t d = 0; d < DRAWS; d++) {
            noise_key key = {.seed = 1, .sample = d};
            sample_weights(theta, DTYPE_BF16, m, sigma, key, 0, WIDTH);
            for (size_t at = 0; at < WIDTH; at += NOISE_BLOCK)
                noise_normals(z + at, NULL, key, at, NOISE_BLOCK);
            for (size_t i = 0; i < WIDTH; i++) {
                double x = (double)bf16_to_float(theta[i]) - (double)m[i];
                product += x * (double)z[i] / 3.2e-4;
                shift += x;
            }
        }
        double n = (double)DRAWS * WIDTH;
        cr_expect_lt(fabs(product / n - 1.0), 0.03, "|m| = %g: %.4f of the Hessian",
                     (double)means[c], product / n);
        cr_expect_lt(fabs(shift / n), 2e-5, "|m| = %g: mean moved by %.2g", (double)means[c],
                     shift / n);
    }
    free(m);
    free(sigma);
    free(z);
    free(theta);
}

Test(adamw, matches_double)
{
    static float m[COUNT], a[COUNT], v[COUNT], g[COUNT];
    static double dm[COUNT], da[COUNT], dv[COUNT];
    for (size_t i = 0; i < COUNT; i++) m[i] = (float)(dm[i] = 0.25);
    for (size_t t = 0; t < STEPS; t++) {
        adamw_step step = {.beta1 = 0.9,
                           .beta2 = 0.95,
                           .epsilon = 1e-8,
                           .decay = 0.1,
                           .lr = 1e-2,
                           .updates = t + 1};
        for (size_t i = 0; i < COUNT; i++) {
            double x = slope(0.5, i, 0, t);
            g[i] = (float)(2.0 * x);
            da[i] = 0.9 * da[i] + 0.1 * x;
            dv[i] = 0.95 * dv[i] + 0.05 * x * x;
            double n = (double)(t + 1);
            dm[i] -= 1e-2 * (0.1 * dm[i] + da[i] / (1.0 - pow(0.9, n)) /
                                               (sqrt(dv[i] / (1.0 - pow(0.95, n))) + 1e-8));
        }
        adamw_update(m, a, v, g, 0.5, &step, COUNT);
    }
    cr_expect_lt(relative(m, dm), 1e-5, "m: %.3g", relative(m, dm));
    cr_expect_lt(relative(v, dv), 1e-5, "exp_avg_sq: %.3g", relative(v, dv));
}

Test(sgd, matches_double)
{
    static float m[COUNT], v[COUNT], g[COUNT];
    static double dm[COUNT], dv[COUNT];
    sgd_step step = {.momentum = 0.9, .decay = 1e-3, .lr = 1e-3};
    for (size_t i = 0; i < COUNT; i++) m[i] = (float)(dm[i] = 0.25);
    for (size_t t = 0; t < STEPS; t++) {
        for (size_t i = 0; i < COUNT; i++) {
            double x = slope(dm[i], i, 0, t);
            g[i] = (float)x;
            dv[i] = 0.9 * dv[i] + x + 1e-3 * dm[i];
            dm[i] -= 1e-3 * dv[i];
        }
        sgd_update(m, v, g, 1.0, &step, COUNT);
    }
    cr_expect_lt(relative(m, dm), 1e-5);
}

static void expect_near(double found, double expected)
{
    cr_expect_lt(fabs(found - expected), 1e-12 * fmax(1.0, fabs(expected)), "%.15g, %.15g expected",
                 found, expected);
}

Test(schedule, key_points)
{
    schedule s = {.kind = SCHEDULE_COSINE, .peak = 300.0, .final = 0.0, .warmup = 2000};
    expect_near(schedule_at(&s, 0, 100000), 0.15);
    expect_near(schedule_at(&s, 1999, 100000), 300.0);
    expect_near(schedule_at(&s, 51000, 100000), 150.0);
    s.kind = SCHEDULE_LINEAR;
    s.final = 100.0;
    expect_near(schedule_at(&s, 51000, 100000), 200.0);
    s.kind = SCHEDULE_CONSTANT;
    expect_near(schedule_at(&s, 99999, 100000), 300.0);
    s.kind = SCHEDULE_INVERSE_SQRT;
    expect_near(schedule_at(&s, 7999, 100000), 150.0);
    s = (schedule){.kind = SCHEDULE_WSD, .peak = 1.0, .final = 0.0, .warmup = 10, .decay = 20};
    expect_near(schedule_at(&s, 4, 100), 0.5);
    expect_near(schedule_at(&s, 79, 100), 1.0);
    expect_near(schedule_at(&s, 90, 100), 0.5);
    s = (schedule){.kind = SCHEDULE_STEPS,
                   .peak = 1.0,
                   .factor = 0.1,
                   .milestone_count = 2,
                   .milestones = {10, 20}};
    expect_near(schedule_at(&s, 9, 100), 1.0);
    expect_near(schedule_at(&s, 10, 100), 0.1);
    expect_near(schedule_at(&s, 25, 100), 0.01);
}

Test(norm, blocks_are_squared_sums)
{
    float values[600];
    double sums[3];
    for (size_t i = 0; i < 600; i++) values[i] = (float)(i % 5);
    squared_blocks(sums, values, 2.0, 600);
    for (size_t b = 0; b < 3; b++) {
        double expected = 0.0;
        for (size_t i = b * 256; i < 600 && i < (b + 1) * 256; i++)
            expected += 4.0 * (double)(i % 5) * (double)(i % 5);
        cr_expect_eq(sums[b], expected);
    }
}
