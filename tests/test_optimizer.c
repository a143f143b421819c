/* The optimizers against independent implementations in double. */
#include "descent_fixture.h"
#include "kernels/kernels.h"
#include "noise_twin.h"
#include "optimizer/optimizer.h"
#include "optimizer/statistics.h"

#include <criterion/criterion.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    hessian_kind hessian;
    double lambda, delta, h0, beta2, alpha, xi;
    double scale; /* of the gradients */
    bool debias;
    bool nesterov;
} ivon_case;

static const ivon_case plain = {.hessian = HESSIAN_PRICE,
                                .lambda = 1e4,
                                .delta = 1e-3,
                                .h0 = 0.5,
                                .beta2 = 0.999,
                                .alpha = 0.05,
                                .xi = INFINITY,
                                .scale = 1.0,
                                .debias = true};

/* 100 steps, both implementations on trajectories of their own. */
static void check_ivon(ivon_case c, double tolerance)
{
    const hessian_kind hessian = c.hessian;
    static float m[COUNT], h[COUNT], g[COUNT], sigma[COUNT], theta[COUNT], g_sum[COUNT],
        f_sum[COUNT], piece[COUNT];
    static double dm[COUNT], dh[COUNT], dg[COUNT];
    const double lambda = c.lambda, delta = c.delta, h0 = c.h0, beta1 = 0.9, beta2 = c.beta2,
                 alpha = c.alpha, xi = c.xi;
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
                          .debias = c.debias,
                          .hessian = hessian,
                          .nesterov = c.nesterov};
        uint64_t clipped = 0, rescued = 0;
        ivon_sigma(sigma, h, lambda, delta, COUNT);
        for (size_t w = 0; w < ITEMS; w++) {
            noise_key key = {.seed = seed, .sample = (uint32_t)w, .step = (uint32_t)t};
            sample_weights(theta, DTYPE_F32, m, sigma, key, INDEX, COUNT);
            for (size_t i = 0; i < COUNT; i++)
                piece[i] = (float)(c.scale * slope((double)theta[i], i, w, t));
            gradient_piece added = {.values = piece, .scale = 1.0F, .key = key};
            accumulate_piece(g_sum, f_sum, w == 0, &added, hessian, INDEX, COUNT);
        }
        ivon_update(m, h, g, &(gradient_sums){.g = g_sum, .f = f_sum}, 1.0 / ITEMS, 1.0 / ITEMS,
                    &step, COUNT, &clipped, &rescued);
        uint64_t expected_clipped = 0;
        for (size_t i = 0; i < COUNT; i++) {
            double s = 1.0 / sqrt(lambda * (dh[i] + delta)), mean = 0.0, f = 0.0;
            for (size_t w = 0; w < ITEMS; w++) {
                double e =
                    redraw((noise_key){.seed = seed, .sample = (uint32_t)w, .step = (uint32_t)t},
                           INDEX + i, NULL);
                double x = c.scale * slope(dm[i] + s * e, i, w, t);
                mean += x / ITEMS;
                f += (hessian == HESSIAN_PRICE ? e * x / s : lambda * x * x) / ITEMS;
            }
            dg[i] = beta1 * dg[i] + (1.0 - beta1) * mean;
            dh[i] = beta2 * dh[i] + (1.0 - beta2) * f +
                    0.5 * pow(1.0 - beta2, 2) * pow(dh[i] - f, 2) / (dh[i] + delta);
            double momentum = c.debias ? dg[i] / (1.0 - pow(beta1, (double)(t + 1))) : dg[i];
            if (c.nesterov) momentum = beta1 * momentum + (1.0 - beta1) * mean;
            double change = (momentum + delta * dm[i]) / (dh[i] + delta);
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
    check_ivon(plain, 1e-5);
}

Test(ivon, gradsq_matches_double)
{
    ivon_case c = plain;
    c.hessian = HESSIAN_GRADSQ;
    check_ivon(c, 1e-5);
}

Test(ivon, clips_updates)
{
    ivon_case c = plain;
    c.xi = 0.05;
    check_ivon(c, 1e-5);
}

Test(ivon, without_debias_matches_double)
{
    ivon_case c = plain;
    c.debias = false;
    check_ivon(c, 1e-5);
}

Test(ivon, looking_ahead_matches_double)
{
    ivon_case c = plain;
    c.nesterov = true;
    check_ivon(c, 1e-5);
}

/* GPT-2's settings, where 1 - beta2 in fp32 would be off by 0.1% and a step moves h by few of its
 * last bits. Gradients are scaled so that h moves by about itself. */
Test(ivon, small_steps_of_h_match_double)
{
    ivon_case c = plain;
    c.lambda = 1e10;
    c.delta = 1e-6;
    c.h0 = 1e-3;
    c.beta2 = 0.99999;
    c.alpha = 1e-4;
    c.xi = 1.0;
    c.scale = 0.1;
    check_ivon(c, 1e-5);
}

/* One element's update with an estimate; h + delta must stay usable whatever it was. */
static float h_after(float h, float delta, float f_sum, uint64_t *rescued)
{
    float m = 0.0F, g = 0.0F, g_sum = 0.0F, sigma;
    uint64_t clipped = 0;
    ivon_step step = {.lambda = 1e10,
                      .delta = (double)delta,
                      .beta1 = 0.9,
                      .beta2 = 0.99999,
                      .xi = INFINITY,
                      .alpha = 1.0,
                      .updates = 1,
                      .hessian = HESSIAN_PRICE};
    ivon_update(&m, &h, &g, &(gradient_sums){.g = &g_sum, .f = &f_sum}, 1.0, 1.0, &step, 1,
                &clipped, rescued);
    ivon_sigma(&sigma, &h, 1e10, (double)delta, 1);
    cr_expect(isfinite(h) && h + delta > 0.0F && isfinite(sigma) && sigma > 0.0F && isfinite(m),
              "f_sum %g: h %g, sigma %g, m %g", (double)f_sum, (double)h, (double)sigma, (double)m);
    return h;
}

/* A wild estimate cannot spoil h + delta, and the count says when fp32 needed help. */
Test(ivon, keeps_the_precision_positive)
{
    static const float hopeless[] = {-1e30F, 1e30F, -1e20F, NAN, INFINITY, -INFINITY};
    uint64_t rescued = 0;
    for (size_t i = 0; i < sizeof hopeless / sizeof hopeless[0]; i++) {
        cr_expect_eq(h_after(1e-3F, 1e-6F, hopeless[i], &rescued), 1e-3F);
        cr_expect_eq(rescued, i + 1);
    }
    rescued = 0;
    cr_expect_gt(h_after(1e-3F, 1e-6F, -1e-3F, &rescued), 0.0F);
    cr_expect_eq(rescued, 0);
    /* h a last bit above -delta, with an estimate that wants h + delta halved */
    float delta = 1e-3F, h = nextafterf(-delta, 0.0F);
    double precision = (double)h + (double)delta;
    h_after(h, delta, (float)(-1e5 * precision / sqrt(1e10 * precision)), &rescued);
    /* squares that underflow, the same again and again: h stays above 0 */
    h = 1e-30F;
    for (int i = 0; i < 100; i++)
        h = h_after(h, 0.0F, (float)(-1e5 * (double)h / sqrt(1e10 * (double)h)), &rescued);
}

/* Slices longer than a thread's turn give the same bits with 1, 2 and 3 threads. */
Test(ivon, bits_do_not_depend_on_threads)
{
    enum { LONG = 10007 };
    float *state[2][5]; /* m, h, momentum, sigma, theta */
    float *g = calloc(LONG, sizeof *g), *f = calloc(LONG, sizeof *f);
    ivon_step step = {.lambda = 1e6,
                      .delta = 1e-3,
                      .beta1 = 0.9,
                      .beta2 = 0.99,
                      .xi = 1e-2,
                      .alpha = 0.1,
                      .updates = 3,
                      .debias = true};
    noise_key key = {.seed = 4, .sample = 1, .step = 2};
    uint64_t counts[2][2] = {{0}};
    for (int threads = 1; threads <= 3; threads++) {
        int at = threads > 1;
        for (int a = 0; a < 5; a++)
            if (threads <= 2) state[at][a] = calloc(LONG, sizeof(float));
        for (size_t i = 0; i < LONG; i++) {
            state[at][0][i] = (float)cos((double)i);
            state[at][1][i] = 0.5F + 0.4F * (float)sin((double)i);
            state[at][2][i] = 0.01F * (float)sin(2.0 * (double)i);
            g[i] = f[i] = 0.0F;
        }
        counts[at][0] = counts[at][1] = 0;
        omp_set_num_threads(threads);
        ivon_sigma(state[at][3], state[at][1], step.lambda, step.delta, LONG);
        sample_weights(state[at][4], DTYPE_F32, state[at][0], state[at][3], key, 3, LONG);
        gradient_piece piece = {.values = state[at][4], .scale = 0.3F, .key = key};
        accumulate_piece(g, f, false, &piece, HESSIAN_PRICE, 3, LONG);
        ivon_update(state[at][0], state[at][1], state[at][2], &(gradient_sums){.g = g, .f = f}, 1.0,
                    1.0, &step, LONG, &counts[at][0], &counts[at][1]);
        for (int a = 0; at && a < 5; a++)
            cr_expect_arr_eq(state[0][a], state[1][a], LONG * sizeof(float), "%d threads, array %d",
                             threads, a);
        if (at) cr_expect_arr_eq(counts[0], counts[1], sizeof counts[0]);
    }
    cr_expect_gt(counts[0][0], 0);
    cr_expect_lt(counts[0][0], LONG);
    for (int a = 0; a < 5; a++) {
        free(state[0][a]);
        free(state[1][a]);
    }
    free(g);
    free(f);
}

/* Pieces that an update adds on the way count as if they had been summed before, to the bit. */
Test(ivon, update_takes_pieces)
{
    enum { PIECES = 3, BEFORE = 2 };
    static float values[PIECES][COUNT], g[COUNT], f[COUNT], state[2][3][COUNT];
    static bf16 narrow[COUNT];
    gradient_piece pieces[PIECES];
    ivon_step step = {1e4, 1e-2, 0.5, 0.9, 0.9, 1e-2, 0.3, 2, true, HESSIAN_PRICE, true};
    for (size_t p = 0; p < PIECES; p++) {
        for (size_t i = 0; i < COUNT; i++) values[p][i] = (float)sin((double)(i + 7 * p));
        pieces[p] = (gradient_piece){
            .values = values[p], .scale = 0.3F, .key = {.seed = 4, .sample = (uint32_t)p}};
    }
    for (size_t i = 0; i < COUNT; i++) narrow[i] = (bf16)(0x3c00 + i % 512);
    pieces[2] = (gradient_piece){
        .values = narrow, .type = DTYPE_BF16, .scale = 1.0F, .key = {.seed = 4, .sample = 2}};
    for (int c = 0; c < 4; c++) {
        size_t before = c % 2 ? BEFORE : 0;
        uint64_t counts[2][2] = {{0}};
        step.hessian = c / 2 ? HESSIAN_GRADSQ : HESSIAN_PRICE;
        for (int to = 0; to < 2; to++) {
            for (size_t i = 0; i < COUNT; i++) {
                state[to][0][i] = (float)cos((double)i);
                state[to][1][i] = 0.5F + 0.4F * (float)sin((double)i);
                state[to][2][i] = 0.01F * (float)sin(2.0 * (double)i);
                g[i] = f[i] = NAN; /* what empty sums hold is not read */
            }
            size_t summed = to ? before : PIECES;
            for (size_t p = 0; p < summed; p++)
                accumulate_piece(g, f, p == 0, &pieces[p], step.hessian, INDEX, COUNT);
            gradient_sums sums = {.g = g,
                                  .f = f,
                                  .empty = summed == 0,
                                  .pieces = pieces + summed,
                                  .piece_count = PIECES - summed,
                                  .index = INDEX};
            ivon_update(state[to][0], state[to][1], state[to][2], &sums, 0.5, 0.5, &step, COUNT,
                        &counts[to][0], &counts[to][1]);
        }
        cr_expect_arr_eq(state[0], state[1], sizeof state[0], "case %d", c);
        cr_expect_arr_eq(counts[0], counts[1], sizeof counts[0]);
        cr_expect(isfinite(state[0][0][COUNT - 1]));
    }
}

/* The logged sums of the posterior, one element at a time. */
Test(ivon, statistics_match_the_formulas)
{
    const float h[3] = {0.5F, 0.25F, 2.0F}, f_sum[3] = {0.01F, -0.02F, 0.03F};
    const double lambda = 1e4, delta = 1e-2, beta2 = 0.9;
    double sigma = 0.0, bias = 0.0;
    posterior_sums sums = {.hessian_min = INFINITY};
    ivon_statistics(&sums, h, f_sum, 0.5, lambda, delta, beta2, HESSIAN_PRICE, 3);
    for (size_t i = 0; i < 3; i++) {
        double p = (double)h[i] + delta, s = pow(lambda * p, -0.5);
        sigma += s;
        bias += 0.05 * pow((double)h[i] - 0.5 * (double)f_sum[i] / s, 2) / p;
    }
    cr_expect_lt(fabs(sums.sigma / sigma - 1.0), 1e-12);
    cr_expect_lt(fabs(sums.bias / bias - 1.0), 1e-12);
    cr_expect_eq(sums.hessian, 2.75);
    cr_expect_eq(sums.hessian_min, 0.25);
}

/* Pieces in any cut add up to the same bits. */
Test(accumulate, bits_do_not_depend_on_the_cut)
{
    float piece[COUNT], g[2][COUNT] = {{0}}, f[2][COUNT] = {{0}};
    noise_key key = {.seed = 9, .sample = 2, .step = 5};
    for (size_t i = 0; i < COUNT; i++) piece[i] = (float)sin((double)i);
    for (size_t cut = COUNT, to = 0; to < 2; cut = 333, to++)
        for (size_t at = 0; at < COUNT; at += cut) {
            gradient_piece part = {.values = piece + at, .scale = 0.7F, .key = key};
            accumulate_piece(g[to] + at, f[to] + at, false, &part, HESSIAN_PRICE, 5 + at,
                             COUNT - at < cut ? COUNT - at : cut);
        }
    cr_expect_arr_eq(g[0], g[1], sizeof g[0]);
    cr_expect_arr_eq(f[0], f[1], sizeof f[0]);
}

/* What is added for each kind, from fp32 and bf16 pieces, with a clipping factor. */
Test(accumulate, adds_what_it_says)
{
    static float piece[COUNT], g[COUNT], f[COUNT];
    static bf16 narrow[COUNT];
    noise_key key = {.seed = 9, .sample = 2, .step = 5};
    for (size_t i = 0; i < COUNT; i++) { /* exact in bf16 */
        piece[i] = (float)((int)(i % 17) - 8) * 0.25F;
        uint32_t bits;
        memcpy(&bits, &piece[i], sizeof bits);
        narrow[i] = (bf16)(bits >> 16);
    }
    for (int c = 0; c < 12; c++) {
        int kind = c % 3, type = c / 3 % 2;
        bool first = c >= 6;
        for (size_t i = 0; i < COUNT; i++) g[i] = f[i] = 1.0F;
        hessian_kind hessian = kind == 1 ? HESSIAN_GRADSQ : HESSIAN_PRICE;
        gradient_piece added = {.values = type ? (void *)narrow : (void *)piece,
                                .type = type ? DTYPE_BF16 : DTYPE_F32,
                                .scale = 0.7F,
                                .key = key};
        accumulate_piece(g, kind == 2 ? NULL : f, first, &added, hessian, INDEX, COUNT);
        double before = first ? 0.0 : 1.0;
        for (size_t i = 0; i < COUNT; i++) {
            double x = 0.7 * (double)piece[i];
            double sum[3] = {before + redraw(key, INDEX + i, NULL) * x, before + x * x, 1.0};
            cr_expect_lt(fabs((double)g[i] - (before + x)), 5e-7);
            cr_expect_lt(fabs((double)f[i] - sum[kind]), 2e-6, "kind %d", kind);
        }
    }
}

/* Samples and initial weights of any cut are those of the whole. */
Test(sample, bits_do_not_depend_on_the_cut)
{
    static float m[COUNT], sigma[COUNT], whole[2][COUNT], part[2][COUNT];
    static bf16 narrow[2][COUNT];
    noise_key key = {.seed = 5, .stream = STREAM_POSTERIOR, .sample = 1};
    for (size_t i = 0; i < COUNT; i++) {
        m[i] = (float)sin((double)i);
        sigma[i] = 1e-3F;
    }
    sample_weights(whole[0], DTYPE_F32, m, sigma, key, INDEX, COUNT);
    sample_weights(narrow[0], DTYPE_BF16, m, sigma, key, INDEX, COUNT);
    initial_weights(whole[1], 1.0, 0.02, 5, INDEX, COUNT);
    for (size_t at = 0; at < COUNT; at += 77) {
        size_t n = COUNT - at < 77 ? COUNT - at : 77;
        sample_weights(part[0] + at, DTYPE_F32, m + at, sigma + at, key, INDEX + at, n);
        sample_weights(narrow[1] + at, DTYPE_BF16, m + at, sigma + at, key, INDEX + at, n);
        initial_weights(part[1] + at, 1.0, 0.02, 5, INDEX + at, n);
    }
    cr_expect_arr_eq(whole, part, sizeof whole);
    cr_expect_arr_eq(narrow[0], narrow[1], sizeof narrow[0]);
    for (size_t i = 0; i < COUNT; i++) {
        double z;
        noise_normals_reference(&z, (noise_key){.seed = 5, .stream = STREAM_INITIAL}, INDEX + i, 1);
        cr_expect_lt(fabs((double)whole[1][i] - (1.0 + 0.02 * z)), 2e-7);
    }
}

/* Without noise means are rounded to nearest, ties to even. */
Test(sample, means_are_rounded_to_nearest)
{
    const float m[5] = {0x1.00p0F, 0x1.01p0F, 0x1.03p0F, 0x1.010002p0F, -0x1.00fffep0F};
    const float expected[5] = {0x1.00p0F, 0x1.00p0F, 0x1.04p0F, 0x1.02p0F, -0x1.00p0F};
    bf16 rounded[5];
    float exact[5];
    sample_weights(rounded, DTYPE_BF16, m, NULL, (noise_key){.seed = 1}, 0, 5);
    sample_weights(exact, DTYPE_F32, m, NULL, (noise_key){.seed = 1}, 0, 5);
    for (int i = 0; i < 5; i++) cr_expect_eq(bf16_to_float(rounded[i]), expected[i], "%d", i);
    cr_expect_arr_eq(exact, m, sizeof exact);
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
