/* Element-wise arithmetic of whole matrices against twins in double. */
#include "kernels/kernels.h"
#include "matrix_fixture.h"
#include "noise_twin.h"
#include "optimizer/matrix.h"
#include "optimizer/optimizer.h"
#include "optimizer/statistics.h"

#include <criterion/criterion.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* Three matrices in the columns of a tensor, one alone, rows longer than a block of noise. */
enum { ROWS = 37, LONGEST = 700, TENSOR = ROWS * LONGEST, PLACES = 5 };

static const matrix_place places[PLACES] = {
    {.rows = ROWS, .columns = 23, .stride = 69, .index = 4321},
    {.rows = ROWS, .columns = 23, .stride = 69, .index = 4321 + 46},
    {.rows = ROWS, .columns = 300, .stride = 700, .index = 4400},
    {.rows = ROWS, .columns = 69, .stride = 69, .index = 4321},
    {.rows = ROWS, .columns = 256, .stride = 512, .index = 1024},
};

static const noise_key item = {.seed = 42, .sample = 2, .step = 9};

static size_t there(const matrix_place *p, size_t i)
{
    return i / p->columns * p->stride + i % p->columns;
}

/* A tensor of `value` everywhere but in the matrix. */
static bool untouched(const float *tensor_of, float value, const matrix_place *p)
{
    for (size_t i = 0; i < TENSOR; i++)
        if ((i % p->stride >= p->columns || i / p->stride >= p->rows) && tensor_of[i] != value)
            return false;
    return true;
}

Test(matrix, loads_and_moves)
{
    static float tensor_of[TENSOR], m[TENSOR], out[TENSOR], u[TENSOR];
    static bf16 narrow[TENSOR];
    draw(tensor_of, TENSOR, 1);
    convert(narrow, DTYPE_BF16, tensor_of, DTYPE_F32, TENSOR);
    draw(u, TENSOR, 2);
    for (size_t k = 0; k < PLACES; k++) {
        const matrix_place *p = &places[k];
        size_t count = p->rows * p->columns;
        matrix_load(out, tensor_of, DTYPE_F32, 0.5F, p);
        for (size_t i = 0; i < count; i++) cr_assert(out[i] == 0.5F * tensor_of[there(p, i)]);
        matrix_load(out, narrow, DTYPE_BF16, 0.5F, p);
        for (size_t i = 0; i < count; i++)
            cr_assert(out[i] == 0.5F * bf16_to_float(narrow[there(p, i)]));
        for (size_t i = 0; i < TENSOR; i++) m[i] = 3.0F;
        matrix_move(m, u, 0.1, 0.01, p);
        cr_expect(untouched(m, 3.0F, p));
        for (size_t i = 0; i < count; i++) {
            double expected = 3.0 - (0.01 * 3.0 + 0.1 * (double)u[i]);
            cr_assert_float_eq((double)m[there(p, i)], expected, 1e-6);
        }
    }
}

/* The noise is that of sample_weights to the bit, wherever a matrix lies. */
Test(matrix, draws_the_noise_of_its_elements)
{
    static float h[TENSOR], spread[TENSOR], zero[TENSOR], all[TENSOR], out[TENSOR];
    const double lambda = 100.0, delta = 0.01;
    for (size_t k = 0; k < PLACES; k++) {
        const matrix_place *p = &places[k];
        size_t count = p->rows * p->columns;
        draw(h, TENSOR, 3);
        for (size_t i = 0; i < TENSOR; i++) h[i] *= h[i];
        for (size_t i = 0; i < count; i++) spread[there(p, i)] = h[i];
        sample_weights_from_hessian(all, DTYPE_F32, zero, spread, lambda, delta, item, p->index,
                                    p->rows * p->stride);
        matrix_deviations(out, h, lambda, delta, p, item);
        for (size_t i = 0; i < count; i++) {
            double expected =
                redraw(item, p->index + there(p, i), NULL) / sqrt(lambda * ((double)h[i] + delta));
            cr_assert(out[i] == all[there(p, i)]);
            cr_assert_float_eq((double)out[i], expected, 1e-5 * (1.0 + fabs(expected)));
        }
    }
}

Test(matrix, rounds_as_sample_weights)
{
    static float m[TENSOR], d[TENSOR], sum[TENSOR], zero[TENSOR], theta[TENSOR];
    static bf16 all[TENSOR], narrow[TENSOR];
    draw(m, TENSOR, 4);
    draw(d, TENSOR, 5);
    for (size_t k = 0; k < PLACES; k++) {
        const matrix_place *p = &places[k];
        size_t count = p->rows * p->columns;
        for (size_t i = 0; i < TENSOR; i++) theta[i] = 3.0F;
        memcpy(sum, m, sizeof sum);
        for (size_t i = 0; i < count; i++) sum[there(p, i)] += d[i];
        matrix_sample(theta, DTYPE_F32, m, d, p, item);
        cr_expect(untouched(theta, 3.0F, p));
        for (size_t i = 0; i < count; i++) cr_assert(theta[there(p, i)] == sum[there(p, i)]);
        memset(narrow, 0x55, sizeof narrow);
        matrix_sample(narrow, DTYPE_BF16, m, d, p, item);
        sample_weights(all, DTYPE_BF16, sum, zero, item, p->index, p->rows * p->stride);
        for (size_t i = 0; i < p->rows * p->stride; i++)
            cr_assert_eq(narrow[i], i % p->stride < p->columns ? all[i] : 0x5555);
        for (size_t i = 0; i < count; i++) {
            uint32_t word, bits;
            redraw(item, p->index + there(p, i), &word);
            memcpy(&bits, &sum[there(p, i)], sizeof bits);
            cr_assert_eq(narrow[there(p, i)], (bits + ((word & 0x1ffU) << 7) + 64U) >> 16);
        }
    }
}

Test(matrix, adds_up_items)
{
    static float g[2][TENSOR], g_sum[TENSOR], f_sum[TENSOR], alone[TENSOR];
    draw(g[0], TENSOR, 6);
    draw(g[1], TENSOR, 7);
    for (size_t k = 0; k < PLACES; k++) {
        const matrix_place *p = &places[k];
        size_t count = p->rows * p->columns;
        for (size_t i = 0; i < count; i++) g_sum[i] = f_sum[i] = alone[i] = NAN;
        for (uint32_t w = 0; w < 2; w++) {
            noise_key key = {.seed = 42, .sample = w, .step = 9};
            matrix_accumulate(g_sum, f_sum, w == 0, g[w], p, key);
            matrix_accumulate(alone, NULL, w == 0, g[w], p, key);
        }
        for (size_t i = 0; i < count; i++) {
            double f = 0.0, size = 0.0;
            for (uint32_t w = 0; w < 2; w++) {
                noise_key key = {.seed = 42, .sample = w, .step = 9};
                double x = redraw(key, p->index + there(p, i), NULL) * (double)g[w][i];
                f += x;
                size += fabs(x);
            }
            cr_assert(g_sum[i] == g[0][i] + g[1][i] && alone[i] == g_sum[i]);
            cr_assert_float_eq((double)f_sum[i], f, 2e-6 * (size + 0.01));
        }
    }
}

enum { COUNT = 3000, STEPS = 50 };

/* 50 steps on a trajectory of its own; wild elements keep their h. */
static void check_evon(double clip, bool debias, bool nesterov)
{
    static float u[COUNT], h[COUNT], momentum[COUNT], mean[COUNT], g_sum[COUNT], f_sum[COUNT];
    static double dh[COUNT], dm[COUNT], du[COUNT];
    const double lambda = 50.0, delta = 0.02, beta1 = 0.9, beta2 = 0.98, scale = 0.25;
    double all_cut = 0.0, clipped_push = 0.0, sigma = 0.0, hessian = 0.0, min = INFINITY;
    for (size_t i = 0; i < COUNT; i++) {
        h[i] = 0.3F + 0.001F * (float)(i % 100);
        dh[i] = (double)h[i];
        momentum[i] = 0.0F;
        dm[i] = 0.0;
    }
    for (size_t t = 0; t < STEPS; t++) {
        draw(g_sum, COUNT, 100 + t);
        draw(f_sum, COUNT, 200 + t);
        draw(mean, COUNT, 300 + t);
        evon_step step = {.lambda = lambda,
                          .delta = delta,
                          .beta1 = beta1,
                          .beta2 = beta2,
                          .clip = clip,
                          .updates = t + 1,
                          .debias = debias,
                          .nesterov = nesterov};
        posterior_sums sums = {.hessian_min = INFINITY};
        evon_statistics(&sums, h, f_sum, scale, lambda, delta, beta2, clip, COUNT);
        uint64_t cut = 0, rescued = 0, expected_cut = 0;
        evon_update(u, h, momentum, mean, g_sum, f_sum, scale, scale, &step, COUNT, &cut, &rescued);
        clipped_push = sigma = hessian = 0.0;
        min = INFINITY;
        for (size_t i = 0; i < COUNT; i++) {
            double s = 1.0 / sqrt(lambda * (dh[i] + delta)), f = scale * (double)f_sum[i] / s;
            double limit = clip < INFINITY ? clip * dh[i] : INFINITY;
            expected_cut += fabs(f) > limit;
            f = fmax(-limit, fmin(limit, f));
            sigma += s;
            hessian += dh[i];
            min = fmin(min, dh[i]);
            clipped_push += 0.5 * (1.0 - beta2) * (dh[i] - f) * (dh[i] - f) / (dh[i] + delta);
            dh[i] = beta2 * dh[i] + (1.0 - beta2) * f +
                    0.5 * pow(1.0 - beta2, 2) * pow(dh[i] - f, 2) / (dh[i] + delta);
            double g = scale * (double)g_sum[i];
            dm[i] = beta1 * dm[i] + (1.0 - beta1) * g;
            double m = debias ? dm[i] / (1.0 - pow(beta1, (double)(t + 1))) : dm[i];
            if (nesterov) m = beta1 * m + (1.0 - beta1) * g;
            du[i] = (m + delta * (double)mean[i]) / (dh[i] + delta);
        }
        cr_expect_leq(llabs((long long)cut - (long long)expected_cut), 3);
        cr_expect_eq(rescued, 0);
        cr_expect_float_eq(sums.sigma, sigma, 1e-5 * sigma);
        cr_expect_float_eq(sums.hessian, hessian, 1e-5 * hessian);
        cr_expect_float_eq(sums.hessian_min, min, 1e-5);
        cr_expect_float_eq(sums.bias, clipped_push, 1e-5 * clipped_push);
        NEAR(h, dh, COUNT, 2e-6);
        NEAR(momentum, dm, COUNT, 2e-6);
        NEAR(u, du, COUNT, 2e-6);
        all_cut += (double)cut;
    }
    if (clip < INFINITY) cr_expect_gt(all_cut, 0.1 * COUNT * STEPS);
    if (!(clip < INFINITY)) cr_expect_eq(all_cut, 0.0);
}

Test(matrix, evon_matches_double)
{
    check_evon(INFINITY, true, false);
    check_evon(1.2, true, true);
    check_evon(1.2, false, false);
}

/* Without a cut h and momentum have the bits of IVON's. */
Test(matrix, evon_is_ivon_in_another_basis)
{
    static float u[COUNT], h[2][COUNT], momentum[2][COUNT], mean[COUNT], g[COUNT], f[COUNT];
    draw(g, COUNT, 1);
    draw(f, COUNT, 2);
    draw(mean, COUNT, 3);
    draw(momentum[0], COUNT, 4);
    memcpy(momentum[1], momentum[0], sizeof momentum[0]);
    for (size_t i = 0; i < COUNT; i++) h[0][i] = h[1][i] = 0.5F;
    f[7] = 3e38F;
    f[8] = NAN;
    h[0][9] = h[1][9] = -0.01F;
    uint64_t cut = 0, rescued[2] = {0, 0}, clipped = 0;
    ivon_step ivon = {.lambda = 1e3,
                      .delta = 0.01,
                      .beta1 = 0.9,
                      .beta2 = 0.99,
                      .xi = INFINITY,
                      .alpha = 1.0,
                      .updates = 3,
                      .debias = true};
    evon_step evon = {.lambda = 1e3,
                      .delta = 0.01,
                      .beta1 = 0.9,
                      .beta2 = 0.99,
                      .clip = INFINITY,
                      .updates = 3,
                      .debias = true};
    evon_update(u, h[0], momentum[0], mean, g, f, 0.5, 0.5, &evon, COUNT, &cut, &rescued[0]);
    ivon_update(mean, h[1], momentum[1], &(gradient_sums){.g = g, .f = f}, 0.5, 0.5, &ivon, COUNT,
                &clipped, &rescued[1]);
    cr_expect_eq(memcmp(h[0], h[1], sizeof h[0]), 0);
    cr_expect_eq(memcmp(momentum[0], momentum[1], sizeof momentum[0]), 0);
    cr_expect_eq(rescued[0], rescued[1]);
    cr_expect_geq(rescued[0], 3);
    cr_expect(h[0][7] == 0.5F && h[0][8] == 0.5F && h[0][9] == -0.01F);
    cr_expect_eq(cut, 0);
}

Test(matrix, soap_and_muon_match_double)
{
    static float u[COUNT], v[COUNT], momentum[COUNT], muon[2][COUNT], ahead[COUNT], g_sum[COUNT];
    static double du[COUNT], dv[COUNT], dm[COUNT], dahead[COUNT], dmuon[COUNT];
    const double beta1 = 0.95, beta2 = 0.97, epsilon = 0.01, scale = 0.25;
    for (size_t t = 0; t < STEPS; t++) {
        draw(g_sum, COUNT, 100 + t);
        soap_step step = {.beta1 = beta1, .beta2 = beta2, .epsilon = epsilon, .updates = t + 1};
        soap_update(u, v, momentum, g_sum, scale, &step, COUNT);
        for (size_t i = 0; i < COUNT; i++) {
            double g = scale * (double)g_sum[i];
            dm[i] = beta1 * dm[i] + (1.0 - beta1) * g;
            dv[i] = beta2 * dv[i] + (1.0 - beta2) * g * g;
            du[i] = dm[i] / (1.0 - pow(beta1, (double)(t + 1))) /
                    (sqrt(dv[i] / (1.0 - pow(beta2, (double)(t + 1)))) + epsilon);
            dmuon[i] = beta1 * dmuon[i] + (1.0 - beta1) * g;
            dahead[i] = beta1 * dmuon[i] + (1.0 - beta1) * g;
        }
        NEAR(momentum, dm, COUNT, 2e-6);
        NEAR(v, dv, COUNT, 2e-6);
        NEAR(u, du, COUNT, 2e-6);
        muon_update(ahead, muon[0], g_sum, scale, beta1, true, COUNT);
        NEAR(ahead, dahead, COUNT, 2e-6);
        muon_update(u, muon[1], g_sum, scale, beta1, false, COUNT);
        NEAR(u, dmuon, COUNT, 2e-6);
        NEAR(muon[0], dmuon, COUNT, 2e-6);
    }
}

/* Everything element-wise, in one row of numbers. */
static void all_elements(float *out, int threads)
{
    static float x[4][TENSOR];
    const matrix_place *p = &places[2];
    size_t count = p->rows * p->columns;
    uint64_t cut = 0, rescued = 0;
    omp_set_num_threads(threads);
    for (size_t i = 0; i < 4; i++) draw(x[i], TENSOR, 50 + i);
    for (size_t i = 0; i < TENSOR; i++) x[0][i] = 0.1F + fabsf(x[0][i]);
    matrix_deviations(out, x[0], 10.0, 0.1, p, item);
    matrix_sample(out + TENSOR, DTYPE_F32, x[1], out, p, item);
    matrix_sample(out + 2 * TENSOR, DTYPE_BF16, x[1], out, p, item);
    matrix_accumulate(out + 3 * TENSOR, out + 4 * TENSOR, true, x[2], p, item);
    evon_step evon = {.lambda = 10.0,
                      .delta = 0.1,
                      .beta1 = 0.9,
                      .beta2 = 0.9,
                      .clip = 1.5,
                      .updates = 2,
                      .debias = true};
    evon_update(x[3], x[0], x[1], x[3], out + 3 * TENSOR, out + 4 * TENSOR, 1.0, 1.0, &evon, count,
                &cut, &rescued);
    soap_step soap = {.beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8, .updates = 4};
    soap_update(out + 5 * TENSOR, x[0], x[1], x[2], 1.0, &soap, count);
    muon_update(out + 6 * TENSOR, x[1], x[2], 1.0, 0.9, true, count);
    matrix_move(x[2], x[3], 0.1, 0.1, p);
    for (size_t i = 0; i < 4; i++) memcpy(out + (7 + i) * TENSOR, x[i], sizeof x[i]);
    out[11 * TENSOR] = (float)cut;
}

Test(matrix, bits_do_not_depend_on_threads)
{
    enum { ALL = 11 * TENSOR + 1 };
    float *one = calloc(ALL, sizeof *one), *more = calloc(ALL, sizeof *more);
    all_elements(one, 1);
    for (int threads = 2; threads <= 3; threads++) {
        memset(more, 0, ALL * sizeof *more);
        all_elements(more, threads);
        cr_expect_eq(memcmp(one, more, ALL * sizeof *one), 0, "%d threads", threads);
    }
    free(one);
    free(more);
}
