/* Merging against plain formulas, and against what it promises: models of quadratic losses merge
 * into the minimum of their sum. */
#include "kernels/noise.h"
#include "posterior/merge.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <string.h>

enum { COUNT = 4 * NOISE_BLOCK, MODELS = 3 };

/* A base at 0 and models from 1. */
static float means[MODELS + 1][COUNT], hessians[MODELS + 1][COUNT];
static float m[COUNT], h[COUNT];
static merge_model base, models[MODELS];
static merge_counts counts;

static void draw(float *values, uint32_t sample, float offset, float scale, bool positive)
{
    const noise_key key = {.seed = 5, .stream = STREAM_TEXT, .sample = sample};
    for (size_t at = 0; at < COUNT; at += NOISE_BLOCK)
        noise_normals(values + at, NULL, key, at, NOISE_BLOCK);
    for (size_t i = 0; i < COUNT; i++)
        values[i] = offset + scale * (positive ? values[i] * values[i] : values[i]);
}

/* Means near each other, Hessians over some powers of ten, scales and deltas that all differ. */
static void set_up(void)
{
    for (uint32_t t = 0; t <= MODELS; t++) {
        draw(means[t], t, 0.0F, 0.3F, false);
        draw(hessians[t], 100 + t, 1e-6F, 1e-3F, true);
    }
    base = (merge_model){means[0], hessians[0], 1.0, 1e-4};
    for (size_t t = 0; t < MODELS; t++)
        models[t] = (merge_model){means[t + 1], hessians[t + 1], 0.5 + (double)t, 2e-4 * (double)t};
    counts = (merge_counts){0};
}

TestSuite(merge, .init = set_up);

static void expect_near(const float *found, const double *expected, double tolerance)
{
    for (size_t i = 0; i < COUNT; i++)
        cr_assert(fabs((double)found[i] - expected[i]) <= tolerance * (1e-3 + fabs(expected[i])),
                  "element %zu: %.9g expected, %.9g found", i, expected[i], (double)found[i]);
}

static void expect_all_good(void)
{
    cr_expect_eq(counts.bad, 0);
    cr_expect_eq(counts.negative, 0);
}

/* theta_0 + alpha sum H^-1 (s_0 H_0 + s_t H_t + delta_0) (theta_t - theta_0), written down again.
 */
static void check_onto_base(size_t model_count, double alpha)
{
    double expected_m[COUNT], expected_h[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        double whole = (double)hessians[0][i] + base.delta, moved = 0.0;
        for (size_t t = 0; t < model_count; t++)
            whole += alpha * models[t].scale * (double)models[t].h[i];
        for (size_t t = 0; t < model_count; t++)
            moved +=
                ((double)hessians[0][i] + models[t].scale * (double)models[t].h[i] + base.delta) /
                whole * ((double)models[t].m[i] - (double)means[0][i]);
        expected_m[i] = (double)means[0][i] + alpha * moved;
        expected_h[i] = whole - base.delta;
    }
    merge_values(m, h, MERGE_HESSIAN, &base, models, model_count, alpha, COUNT, &counts);
    expect_near(m, expected_m, 1e-6);
    expect_near(h, expected_h, 1e-6);
    expect_all_good();
}

Test(merge, two_models_onto_a_base)
{
    check_onto_base(2, 1.0);
}

Test(merge, three_models_onto_a_base)
{
    check_onto_base(3, 0.7);
}

/* Losses c_t/2 (theta - mu_t)^2 beside the base's p/2 (theta - theta_0)^2: fine-tuning ends at
 * theta_t, and all of them at once at what the merge says. */
Test(merge, finds_the_minimum_of_the_sum)
{
    double expected_m[COUNT], expected_h[COUNT];
    float tuned[MODELS][COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        double p = (double)hessians[0][i] + base.delta;
        double weight = p, sum = p * (double)means[0][i];
        for (size_t t = 0; t < MODELS; t++) {
            double c = models[t].scale * (double)models[t].h[i], mu = (double)models[t].m[i];
            tuned[t][i] = (float)((p * (double)means[0][i] + c * mu) / (p + c));
            weight += c;
            sum += c * mu;
        }
        expected_m[i] = sum / weight;
        expected_h[i] = weight - base.delta;
    }
    for (size_t t = 0; t < MODELS; t++) models[t].m = tuned[t];
    merge_values(m, h, MERGE_HESSIAN, &base, models, MODELS, 1.0, COUNT, &counts);
    expect_near(m, expected_m, 1e-4); /* the tuned weights are rounded, and weighed up to 1e3 */
    expect_near(h, expected_h, 1e-6);
}

/* One model onto its base is that model, to the bit. */
Test(merge, one_model)
{
    merge_values(m, h, MERGE_HESSIAN, &base, models, 1, 1.0, COUNT, &counts);
    cr_expect_arr_eq(m, means[1], sizeof m);
    for (size_t i = 0; i < COUNT; i++)
        cr_assert_float_eq(h[i], (double)hessians[0][i] + 0.5 * (double)hessians[1][i], 1e-9);
}

/* theta_0 + sum (h_t / sum h) (theta_t - theta_0), h standing for h + delta: the base cancels. */
Test(merge, no_base_is_any_base)
{
    double expected_m[COUNT], expected_h[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        double p0 = models[0].scale * ((double)models[0].h[i] + models[0].delta);
        double p1 = models[1].scale * ((double)models[1].h[i] + models[1].delta);
        double from = (double)means[0][i];
        expected_m[i] = from + p0 / (p0 + p1) * ((double)models[0].m[i] - from) +
                        p1 / (p0 + p1) * ((double)models[1].m[i] - from);
        expected_h[i] = p0 + p1 - models[0].delta;
    }
    merge_values(m, h, MERGE_HESSIAN, NULL, models, 2, 1.0, COUNT, &counts);
    expect_near(m, expected_m, 1e-6);
    expect_near(h, expected_h, 1e-6);
    expect_all_good();
}

Test(merge, no_base_three_models)
{
    double expected_m[COUNT], expected_h[COUNT];
    models[0].delta = 3e-4;
    for (size_t i = 0; i < COUNT; i++) {
        double sum = 0.0, weighted = 0.0;
        for (size_t t = 0; t < MODELS; t++) {
            double p = models[t].scale * ((double)models[t].h[i] + models[t].delta);
            sum += p;
            weighted += p * (double)models[t].m[i];
        }
        expected_m[i] = weighted / sum;
        expected_h[i] = sum - models[0].delta;
    }
    merge_values(m, h, MERGE_HESSIAN, NULL, models, MODELS, 1.0, COUNT, &counts);
    expect_near(m, expected_m, 1e-6);
    expect_near(h, expected_h, 1e-6);
}

static void plain_mean(double *expected)
{
    for (size_t i = 0; i < COUNT; i++)
        expected[i] =
            ((double)means[1][i] + (double)means[2][i] + (double)means[3][i]) / (double)MODELS;
}

/* Equal precisions: the mean, whatever they are. */
Test(merge, equal_hessians_give_the_mean)
{
    double expected[COUNT];
    plain_mean(expected);
    for (size_t t = 0; t < MODELS; t++) models[t] = (merge_model){means[t + 1], hessians[1], 1, 0};
    merge_values(m, h, MERGE_HESSIAN, NULL, models, MODELS, 1.0, COUNT, &counts);
    expect_near(m, expected, 1e-6);
    for (size_t i = 0; i < COUNT; i++) cr_assert_float_eq(h[i], 3.0 * (double)hessians[1][i], 1e-8);
    merge_values(m, h, MERGE_MEAN, NULL, models, MODELS, 1.0, COUNT, &counts);
    expect_near(m, expected, 1e-6);
    cr_expect_arr_eq(h, hessians[1], sizeof h); /* the precisions' mean */
}

/* A base that is sure of nothing leaves the mean of equal models, one that is sure of all leaves
 * task arithmetic. */
Test(merge, ends_of_the_base)
{
    double mean[COUNT], task[COUNT];
    float small[COUNT], large[COUNT];
    plain_mean(mean);
    for (size_t i = 0; i < COUNT; i++) {
        small[i] = 1e-12F;
        large[i] = 1e6F;
        task[i] = (double)means[0][i];
        for (size_t t = 0; t < MODELS; t++)
            task[i] += 0.5 * ((double)means[t + 1][i] - (double)means[0][i]);
    }
    for (size_t t = 0; t < MODELS; t++) models[t] = (merge_model){means[t + 1], hessians[1], 1, 0};
    base = (merge_model){means[0], small, 1.0, 0.0};
    merge_values(m, h, MERGE_HESSIAN, &base, models, MODELS, 0.5, COUNT, &counts);
    expect_near(m, mean, 1e-5);
    base.h = large;
    merge_values(m, h, MERGE_HESSIAN, &base, models, MODELS, 0.5, COUNT, &counts);
    expect_near(m, task, 1e-5);
}

/* Task arithmetic and the mean need no posterior, and make the same weights with one. */
Test(merge, without_posteriors)
{
    float other[COUNT];
    double mean[COUNT];
    merge_values(m, h, MERGE_TASK, &base, models, MODELS, 0.4, COUNT, &counts);
    double from = (double)means[0][7], moved = 0.0;
    for (size_t t = 1; t <= MODELS; t++) moved += (double)means[t][7] - from;
    cr_expect_float_eq(m[7], from + 0.4 * moved, 1e-6);
    float h_task = h[7];
    merge_values(other, h, MERGE_HESSIAN, &base, models, MODELS, 0.4, COUNT, &counts);
    cr_expect_eq(h[7], h_task); /* the posterior's precision is that of the hessian method */
    base.h = NULL;
    for (size_t t = 0; t < MODELS; t++) models[t].h = NULL;
    merge_values(other, NULL, MERGE_TASK, &base, models, MODELS, 0.4, COUNT, &counts);
    cr_expect_arr_eq(other, m, sizeof m);
    plain_mean(mean);
    merge_values(m, NULL, MERGE_MEAN, NULL, models, MODELS, 1.0, COUNT, &counts);
    expect_near(m, mean, 1e-6);
    expect_all_good();
}

/* An estimate below 0 is counted, counts as 0, and never takes the result's precision below the
 * base's. */
Test(merge, negative_estimates)
{
    models[0].delta = models[1].delta = 1e-4;
    for (size_t i = 0; i < COUNT; i++) hessians[0][i] = -0.99e-4F;
    for (size_t i = 0; i < COUNT; i++) hessians[1][i] = hessians[2][i] = i % 2 ? 1e-3F : -0.9e-4F;
    merge_values(m, h, MERGE_HESSIAN, &base, models, 2, 1.0, COUNT, &counts);
    cr_expect_eq(counts.bad, 0);
    cr_expect_eq(counts.negative, COUNT);
    for (size_t i = 0; i < COUNT; i++) cr_assert_geq(h[i], hessians[0][i]);
    /* Models that say nothing: task arithmetic. */
    cr_expect_float_eq(m[0], means[1][0] + means[2][0] - means[0][0], 1e-6);
}

Test(merge, models_that_agree)
{
    for (size_t t = 0; t < MODELS; t++) models[t].m = means[1];
    merge_values(m, h, MERGE_HESSIAN, NULL, models, MODELS, 1.0, COUNT, &counts);
    cr_expect_arr_eq(m, means[1], sizeof m);
    base.m = means[1];
    merge_values(m, h, MERGE_HESSIAN, &base, models, MODELS, 0.3, COUNT, &counts);
    cr_expect_arr_eq(m, means[1], sizeof m);
}

Test(merge, counts_what_no_posterior_can_hold)
{
    means[0][3] = NAN;
    means[2][4] = INFINITY;
    hessians[0][5] = -1e-4F; /* -delta */
    hessians[1][6] = NAN;
    hessians[3][7] = INFINITY;
    hessians[1][8] = 0.0F; /* delta of the first model is 0 */
    merge_values(m, h, MERGE_HESSIAN, &base, models, MODELS, 1.0, COUNT, &counts);
    cr_expect_eq(counts.bad, 6);
    /* Good models, and a result that is not. */
    set_up();
    means[0][3] = -FLT_MAX;
    means[1][3] = FLT_MAX;
    merge_values(m, NULL, MERGE_TASK, &base, models, 1, 2.0, COUNT, &counts);
    cr_expect_eq(counts.bad, 1);
}

/* Points say nothing of each other's weights, whatever h their neighbours have. */
Test(merge, points_count_alike)
{
    double expected[COUNT];
    base.h = NULL;
    for (size_t t = 0; t < MODELS; t++) models[t].h = NULL;
    merge_values(m, NULL, MERGE_HESSIAN, NULL, models, MODELS, 1.0, COUNT, &counts);
    for (size_t i = 0; i < COUNT; i++)
        expected[i] = ((double)means[1][i] + (double)means[2][i] + (double)means[3][i]) / 3.0;
    expect_near(m, expected, 1e-6);
    merge_values(m, NULL, MERGE_HESSIAN, &base, models, MODELS, 0.5, COUNT, &counts);
    for (size_t i = 0; i < COUNT; i++)
        expected[i] = (double)means[0][i] + 0.5 * (expected[i] - (double)means[0][i]);
    expect_near(m, expected, 1e-6);
    expect_all_good();
}
