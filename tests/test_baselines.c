/* Bayes by backprop and SWAG against independent implementations in double. */
#include "descent_fixture.h"
#include "kernels/kernels.h"
#include "noise_twin.h"
#include "optimizer/optimizer.h"
#include "optimizer/statistics.h"
#include "optimizer/table.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static double adam(double *first, double *second, double g, double n)
{
    *first = 0.9 * *first + 0.1 * g;
    *second = 0.99 * *second + 0.01 * g * g;
    return *first / (1.0 - pow(0.9, n)) / (sqrt(*second / (1.0 - pow(0.99, n))) + 1e-8);
}

/* 100 steps, both implementations on trajectories of their own. */
Test(bbb, matches_double)
{
    static float m[COUNT], rho[COUNT], a[2][COUNT], v[2][COUNT], theta[COUNT], g_sum[COUNT],
        f_sum[COUNT], piece[COUNT];
    static double dm[COUNT], drho[COUNT], da[2][COUNT], dv[2][COUNT];
    const double lambda = 500.0, delta = 0.02, lr = 1e-2;
    for (size_t i = 0; i < COUNT; i++) {
        m[i] = (float)(dm[i] = 0.25);
        rho[i] = (float)(drho[i] = -3.0 + 0.5 * (double)(i % 4));
    }
    for (uint32_t t = 0; t < STEPS; t++) {
        for (uint32_t w = 0; w < ITEMS; w++) {
            noise_key key = {.seed = 42, .sample = w, .step = t};
            sample_weights_from_log(theta, DTYPE_F32, m, rho, key, INDEX, COUNT);
            for (size_t i = 0; i < COUNT; i++) piece[i] = (float)slope((double)theta[i], i, w, t);
            gradient_piece added = {.values = piece, .scale = 1.0F, .key = key};
            accumulate_piece(g_sum, f_sum, w == 0, &added, HESSIAN_PRICE, INDEX, COUNT);
        }
        bbb_step step = {lambda, delta, 0.9, 0.99, 1e-8, lr, t + 1};
        bbb_update(m, rho, (float *[]){a[0], a[1]}, (float *[]){v[0], v[1]}, g_sum, f_sum,
                   1.0 / ITEMS, 1.0 / ITEMS, &step, COUNT);
        for (size_t i = 0; i < COUNT; i++) {
            double sigma = exp(drho[i]), g = 0.0, f = 0.0;
            for (uint32_t w = 0; w < ITEMS; w++) {
                double e = redraw((noise_key){.seed = 42, .sample = w, .step = t}, INDEX + i, NULL);
                double x = slope(dm[i] + sigma * e, i, w, t);
                g += x / ITEMS;
                f += e * x / ITEMS;
            }
            double by_rho = lambda * sigma * f + lambda * delta * sigma * sigma - 1.0;
            dm[i] -= lr * adam(&da[0][i], &dv[0][i], g + delta * dm[i], t + 1.0);
            drho[i] -= lr * adam(&da[1][i], &dv[1][i], by_rho, t + 1.0);
        }
    }
    cr_expect_lt(relative(m, dm), 1e-5, "m: %.3g", relative(m, dm));
    cr_expect_lt(relative(rho, drho), 1e-5, "rho: %.3g", relative(rho, drho));
    cr_expect_lt(relative(v[1], dv[1]), 1e-4, "moments: %.3g", relative(v[1], dv[1]));
}

/* A loss of one weight that is no polynomial. */
static double loss_of(double theta)
{
    return log1p(exp(-3.0 * theta)) + 0.3 * theta * theta;
}

/* Mean loss under fixed noise + KL(N(m, e^2rho), N(0, 1/precision)) / lambda. */
static double objective(double m, double rho, const double *z, double lambda, double precision)
{
    double loss = 0.0, variance = exp(2.0 * rho);
    for (size_t w = 0; w < ITEMS; w++) loss += loss_of(m + exp(rho) * z[w]) / ITEMS;
    double kl = 0.5 * (precision * (variance + m * m) - 1.0 - log(precision * variance));
    return loss + kl / lambda;
}

/* With beta1 = 0 the first moments are the gradients themselves. */
Test(bbb, gradients_are_those_of_the_objective)
{
    const double lambda = 40.0, delta = 0.05, h = 1e-5;
    for (int c = 0; c < 12; c++) {
        double m = -1.0 + 0.7 * (c % 4), rho = -3.0 + 1.5 * (c / 4);
        double z[ITEMS] = {0.3 + 0.1 * c, -1.2, 2.0 - 0.2 * c}, g = 0.0, f = 0.0;
        for (size_t w = 0; w < ITEMS; w++) {
            double theta = m + exp(rho) * z[w];
            double slope_here = 0.6 * theta - 3.0 / (1.0 + exp(3.0 * theta));
            g += slope_here;
            f += z[w] * slope_here;
        }
        float fm = (float)m, frho = (float)rho, first[2] = {0}, second[2] = {0};
        float g_sum = (float)g, f_sum = (float)f;
        bbb_step step = {lambda, delta, 0.0, 0.9, 1e-8, 0.0, 1};
        bbb_update(&fm, &frho, (float *[]){&first[0], &first[1]},
                   (float *[]){&second[0], &second[1]}, &g_sum, &f_sum, 1.0 / ITEMS, 1.0 / ITEMS,
                   &step, 1);
        double p = lambda * delta;
        double by_m = objective(m + h, rho, z, lambda, p) - objective(m - h, rho, z, lambda, p);
        double by_rho = objective(m, rho + h, z, lambda, p) - objective(m, rho - h, z, lambda, p);
        cr_expect_float_eq((double)first[0], by_m / (2.0 * h), 1e-5, "m: %g, %g", (double)first[0],
                           by_m / (2.0 * h));
        cr_expect_float_eq((double)first[1] / lambda, by_rho / (2.0 * h), 1e-5, "rho: %g, %g",
                           (double)first[1] / lambda, by_rho / (2.0 * h));
    }
}

/* Regression on two correlated features, loss (1/2) theta' A theta - b theta: the best Gaussian
 * without correlations has m = (A + delta)^-1 b and sigma_i = 1/sqrt(lambda (A_ii + delta)). */
Test(bbb, finds_the_mean_field_optimum)
{
    enum { WEIGHTS = 2, DRAWS = 8, ALL = 6000 };
    const double A[2][2] = {{2.0, 0.9}, {0.9, 0.7}}, b[2] = {1.0, -0.5};
    const double lambda = 200.0, delta = 0.1;
    float m[2] = {0}, rho[2] = {-1.0F, -5.0F}, a[2][2] = {{0}}, v[2][2] = {{0}}, theta[2];
    float g_sum[2], f_sum[2], piece[2];
    for (uint32_t t = 0; t < ALL; t++) {
        for (uint32_t w = 0; w < DRAWS; w++) {
            noise_key key = {.seed = 3, .sample = w, .step = t};
            sample_weights_from_log(theta, DTYPE_F32, m, rho, key, 0, WEIGHTS);
            for (size_t i = 0; i < 2; i++)
                piece[i] = (float)(A[i][0] * (double)theta[0] + A[i][1] * (double)theta[1] - b[i]);
            gradient_piece added = {.values = piece, .scale = 1.0F, .key = key};
            accumulate_piece(g_sum, f_sum, w == 0, &added, HESSIAN_PRICE, 0, WEIGHTS);
        }
        double lr = 0.02 * (1.0 - (double)t / ALL);
        bbb_step step = {lambda, delta, 0.9, 0.999, 1e-8, lr, t + 1};
        bbb_update(m, rho, (float *[]){a[0], a[1]}, (float *[]){v[0], v[1]}, g_sum, f_sum,
                   1.0 / DRAWS, 1.0 / DRAWS, &step, WEIGHTS);
    }
    double p[2] = {A[0][0] + delta, A[1][1] + delta}, off = A[0][1];
    double determinant = p[0] * p[1] - off * off;
    double best[2] = {(p[1] * b[0] - off * b[1]) / determinant,
                      (p[0] * b[1] - off * b[0]) / determinant};
    for (size_t i = 0; i < 2; i++) {
        double sigma = 1.0 / sqrt(lambda * p[i]);
        cr_expect_float_eq((double)m[i], best[i], 0.02, "m: %g, %g", (double)m[i], best[i]);
        cr_expect_float_eq(exp((double)rho[i]) / sigma, 1.0, 0.03, "sigma: %g, %g",
                           exp((double)rho[i]), sigma);
    }
}

/* Estimates that fp32 cannot square leave everything finite. */
Test(bbb, wild_estimates_stay_finite)
{
    for (int sign = -1; sign <= 1; sign += 2) {
        float m = 1.0F, rho = 0.0F, a[2] = {0}, v[2] = {0}, g = 0.0F, f = (float)sign * 1e15F;
        bbb_step step = {1e20, 1e-3, 0.9, 0.999, 1e-8, 1e-3, 1};
        bbb_update(&m, &rho, (float *[]){&a[0], &a[1]}, (float *[]){&v[0], &v[1]}, &g, &f, 1.0, 1.0,
                   &step, 1);
        cr_expect(isfinite(rho) && isfinite(v[1]) && isfinite(m));
        cr_expect_eq(rho<0.0F, sign> 0);
    }
}

/* Samples are those of the deviations that others keep, in any cut. */
Test(bbb, samples_do_not_depend_on_the_cut)
{
    static float m[COUNT], rho[COUNT], sigma[COUNT], kept[COUNT], whole[COUNT], part[COUNT];
    noise_key key = {.seed = 5, .stream = STREAM_POSTERIOR, .sample = 1};
    double sum = 0.0;
    for (size_t i = 0; i < COUNT; i++) {
        m[i] = (float)sin((double)i);
        rho[i] = (float)(-4.0 + 3.0 * cos((double)i));
        sum += exp((double)rho[i]);
    }
    bbb_sigma(sigma, rho, COUNT);
    sample_weights(kept, DTYPE_F32, m, sigma, key, INDEX, COUNT);
    sample_weights_from_log(whole, DTYPE_F32, m, rho, key, INDEX, COUNT);
    for (size_t at = 0; at < COUNT; at += 77) {
        size_t n = COUNT - at < 77 ? COUNT - at : 77;
        sample_weights_from_log(part + at, DTYPE_F32, m + at, rho + at, key, INDEX + at, n);
    }
    cr_expect_arr_eq(whole, kept, sizeof whole);
    cr_expect_arr_eq(whole, part, sizeof whole);
    for (size_t i = 0; i < COUNT; i++) {
        double expected = (double)m[i] + exp((double)rho[i]) * redraw(key, INDEX + i, NULL);
        cr_expect_float_eq((double)whole[i], expected, 1e-6);
    }
    cr_expect_float_eq(bbb_sigma_sum(rho, COUNT), sum, 1e-9);
}

enum { RANK = 5, SNAPSHOTS = 17 };

/* Weights that move by a thousandth of their size, where a mean of squares in fp32 would have few
 * digits left. */
static float weight_at(size_t i, size_t s)
{
    return (float)(0.5 + 0.1 * sin((double)i) + 5e-4 * cos((double)(i * 7 + s * s)));
}

typedef struct {
    float mean[COUNT], variance[COUNT], deviations[RANK][COUNT];
    double d_mean[COUNT], d_variance[COUNT], d_deviations[RANK][COUNT];
} collection;

/* The first snapshots, into arrays that hold something else before; the twin adds them up anew. */
static void collect(collection *c, size_t snapshots)
{
    memset(c, 0x41, sizeof *c);
    for (size_t s = 0; s < snapshots; s++) {
        float m[COUNT];
        for (size_t i = 0; i < COUNT; i++) m[i] = weight_at(i, s);
        swag_collect(c->mean, c->variance, c->deviations[s % RANK], m, s + 1, COUNT);
        for (size_t i = 0; i < COUNT; i++) {
            double sum = 0.0, squares = 0.0;
            for (size_t k = 0; k <= s; k++) sum += (double)weight_at(i, k);
            c->d_mean[i] = sum / (double)(s + 1);
            for (size_t k = 0; k <= s; k++)
                squares += pow((double)weight_at(i, k) - c->d_mean[i], 2);
            c->d_variance[i] = squares / (double)(s + 1);
            c->d_deviations[s % RANK][i] = (double)m[i] - c->d_mean[i];
        }
    }
}

Test(swag, moments_match_double)
{
    static collection c;
    collect(&c, SNAPSHOTS);
    cr_expect_lt(relative(c.mean, c.d_mean), 2e-7);
    cr_expect_lt(relative(c.variance, c.d_variance), 1e-3, "%.3g",
                 relative(c.variance, c.d_variance));
    for (size_t k = 0; k < RANK; k++)
        cr_expect_lt(relative(c.deviations[k], c.d_deviations[k]), 1e-3);
}

static swag_moments moments_of(const collection *c, size_t columns, size_t at)
{
    swag_moments q = {.mean = c->mean + at,
                      .variance = c->variance + at,
                      .columns = columns,
                      .diagonal = columns == 0};
    for (size_t k = 0; k < columns; k++) q.deviations[k] = c->deviations[k] + at;
    return q;
}

/* Maddox et al., equation 1; with rank 0 SWAG-Diagonal. */
static void check_samples(size_t snapshots, size_t columns)
{
    static collection c;
    static float theta[COUNT], part[COUNT];
    noise_key key = {.seed = 77, .stream = STREAM_POSTERIOR, .sample = 6};
    collect(&c, snapshots);
    swag_moments q = moments_of(&c, columns, 0);
    sample_weights_swag(theta, DTYPE_F32, &q, key, INDEX, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        double shift = sqrt(c.d_variance[i]) * redraw(key, INDEX + i, NULL);
        if (columns) shift *= sqrt(0.5);
        for (size_t k = 0; columns > 1 && k < columns; k++)
            shift += c.d_deviations[k][i] * redraw(key, (UINT64_C(1) << 57) + k, NULL) /
                     sqrt(2.0 * (double)(columns - 1));
        cr_expect_float_eq((double)theta[i], c.d_mean[i] + shift, 2e-6, "%zu columns", columns);
    }
    for (size_t at = 0; at < COUNT; at += 77) {
        size_t n = COUNT - at < 77 ? COUNT - at : 77;
        q = moments_of(&c, columns, at);
        sample_weights_swag(part + at, DTYPE_F32, &q, key, INDEX + at, n);
    }
    cr_expect_arr_eq(theta, part, sizeof theta);
}

Test(swag, samples_match_double)
{
    check_samples(SNAPSHOTS, RANK);
    check_samples(SNAPSHOTS, 0);
    check_samples(3, 3);
    check_samples(1, 1); /* a point: no variance yet */
}

Test(lion, matches_double)
{
    static float m[COUNT], v[COUNT], g[COUNT];
    static double dm[COUNT], dv[COUNT];
    const double beta1 = 0.9, beta2 = 0.99, decay = 0.1, lr = 1e-3;
    const optimizer *row = optimizer_row(OPTIMIZER_LION);
    const optimizer_settings settings = {.beta1 = beta1, .beta2 = beta2};
    for (size_t i = 0; i < COUNT; i++) m[i] = (float)(dm[i] = 0.25);
    for (uint32_t t = 0; t < STEPS; t++) {
        for (size_t i = 0; i < COUNT; i++) g[i] = (float)slope(dm[i], i, 0, t);
        optimizer_update u = {.settings = &settings,
                              .decay = decay,
                              .lr = lr,
                              .updates = t + 1,
                              .mean = m,
                              .arrays = (float *[]){v},
                              .sums = &(gradient_sums){.g = g},
                              .g_scale = 0.5,
                              .count = COUNT};
        row->update(&u);
        for (size_t i = 0; i < COUNT; i++) {
            double x = 0.5 * (double)g[i], c = beta1 * dv[i] + (1.0 - beta1) * x;
            dm[i] -= lr * ((c > 0.0) - (c < 0.0) + decay * dm[i]);
            dv[i] = beta2 * dv[i] + (1.0 - beta2) * x;
        }
    }
    cr_expect_lt(relative(m, dm), 1e-5, "m: %.3g", relative(m, dm));
    cr_expect_lt(relative(v, dv), 1e-5, "momentum: %.3g", relative(v, dv));
}

/* Where momentum and gradient are 0 nothing but the decay moves a weight. */
Test(lion, stands_still_without_a_gradient)
{
    float m = 2.0F, v = 0.0F, g = 0.0F;
    const optimizer_settings settings = {.beta1 = 0.9, .beta2 = 0.99};
    optimizer_update u = {.settings = &settings,
                          .decay = 0.5,
                          .lr = 0.1,
                          .mean = &m,
                          .arrays = (float *[]){&v},
                          .sums = &(gradient_sums){.g = &g},
                          .g_scale = 1.0,
                          .count = 1};
    optimizer_row(OPTIMIZER_LION)->update(&u);
    cr_expect_float_eq(m, 2.0F - 0.05F * 2.0F, 1e-7);
    cr_expect_eq(v, 0.0F);
}
