/* Variances of outputs against Jacobians by differences, quadratic forms against explicit
 * gradients, leave-one-out formulas against exact ones. */
#include "mlp_small.h"
#include "posterior/sensitivity.h"

enum { ROWS = 7 };

static const mlp_config configs[] = {
    {.inputs = 5, .outputs = 3},
    {.inputs = 1, .outputs = 1, .bias = true, .loss = LOSS_GAUSSIAN, .noise_variance = 0.04},
    {.inputs = 4, .outputs = 10, .hidden_count = 1, .hidden = {9}, .bias = true},
    {.inputs = 7, .outputs = 3, .hidden_count = 3, .hidden = {17, 1, 6}, .bias = true},
    {.inputs = 6,
     .outputs = 2,
     .hidden_count = 2,
     .hidden = {12, 8},
     .loss = LOSS_GAUSSIAN,
     .noise_variance = 2.0},
};

enum { CONFIGS = sizeof configs / sizeof configs[0] };

static float variance_of(size_t index)
{
    return 0.01F + (float)(index * 7 % 11) * 0.05F;
}

/* sum over weights of variance * (d output / d weight)^2, by central differences. */
static double *expected_variances(const fixture *f, double *theta)
{
    size_t count = ROWS * f->config.mlp.outputs;
    double *out = calloc(count, sizeof *out), *side[2], losses[ROWS], step = 1e-5;
    for (int i = 0; i < 2; i++) side[i] = calloc(count, sizeof *out);
    for (size_t k = 0; k < f->w.p.count; k++) {
        double kept = theta[k];
        for (int i = 0; i < 2; i++) {
            theta[k] = kept + (i ? -step : step);
            reference_mlp(f, theta, ROWS, losses, side[i], NULL);
        }
        theta[k] = kept;
        for (size_t i = 0; i < count; i++) {
            double slope = (side[0][i] - side[1][i]) / (2.0 * step);
            out[i] += (double)variance_of(k) * slope * slope;
        }
    }
    for (int i = 0; i < 2; i++) free(side[i]);
    return out;
}

/* The units' variances in the fp32 layout. */
static float **lay_out(const fixture *f)
{
    float **units = calloc(f->w.p.unit_count, sizeof *units);
    for (size_t u = 0; u < f->w.p.unit_count; u++)
        units[u] = aligned_alloc(64, f->w.gradients_layout.unit_bytes[u]);
    for (size_t i = 0; i < f->w.p.tensor_count; i++) {
        const tensor *t = &f->w.p.tensors[i];
        float *to = units[t->unit] + f->w.gradients_layout.tensor_offset[i] / sizeof(float);
        for (size_t e = 0; e < t->count; e++) to[e] = variance_of(t->index + e);
    }
    return units;
}

static void check_variances(mlp_config config, dtype precision, double tolerance)
{
    fixture f;
    open_fixture(&f, config, precision, ROWS);
    size_t count = ROWS * config.outputs;
    model_shape shape = {.sequences = MOST, .length = 1, .precision = precision, .variances = true};
    model *m = NULL;
    cr_assert_eq(model_open(&m, &f.config, &shape), STATUS_OK);
    float **units = lay_out(&f), outputs[count], found[count];
    double *theta = widened(f.w.theta, f.w.p.count), *expected = expected_variances(&f, theta);
    double values[count], losses[ROWS], max = 0.0;
    reference_mlp(&f, theta, ROWS, losses, values, NULL);
    const weight_spread spread = {.variances = (const float *const *)units};
    model_variances(m, &f.w.hooks, &spread, &f.b, outputs, found);
    for (size_t i = 0; i < count; i++) max = fmax(max, expected[i]);
    for (size_t i = 0; i < count; i++) {
        cr_expect_float_eq(outputs[i], values[i], tolerance * 10.0);
        cr_expect_lt(fabs((double)found[i] - expected[i]), tolerance * max,
                     "output %zu of %zu: variance %.7g, %.7g expected", i, count, (double)found[i],
                     expected[i]);
    }
    for (size_t u = 0; u < f.w.p.unit_count; u++) free(units[u]);
    free(units);
    free(theta);
    free(expected);
    model_close(&m);
    close_fixture(&f);
}

Test(sensitivity, variances_are_those_of_the_jacobian)
{
    for (size_t v = 0; v < CONFIGS; v++)
        for (int activation = 0; activation < 3; activation++) {
            mlp_config config = configs[v];
            config.activation = (activation_kind)activation;
            check_variances(config, DTYPE_F32, 2e-5);
            if (activation != ACTIVATION_RELU) check_variances(config, DTYPE_BF16, 4e-2);
        }
}

/* The derivatives of all outputs by a weight, by central differences. */
static void differences(const fixture *f, double *theta, size_t k, double *out)
{
    size_t count = ROWS * f->config.mlp.outputs;
    double side[2][count], losses[ROWS], kept = theta[k], step = 1e-5;
    for (int i = 0; i < 2; i++) {
        theta[k] = kept + (i ? -step : step);
        reference_mlp(f, theta, ROWS, losses, side[i], NULL);
    }
    theta[k] = kept;
    for (size_t i = 0; i < count; i++) out[i] = (side[0][i] - side[1][i]) / (2.0 * step);
}

/* sum over kl of variance_kl (Q_L' J Q_R)_kl^2 of a layer's weight; a NULL is the identity. */
static void add_in_bases(const fixture *f, double *theta, const tensor *t, const float *left,
                         const float *right, double *out)
{
    size_t a = t->shape[0], b = t->shape[1], count = ROWS * f->config.mlp.outputs;
    double *jacobian = calloc(a * b * count, sizeof *jacobian);
    for (size_t e = 0; e < a * b; e++) differences(f, theta, t->index + e, jacobian + e * count);
    for (size_t k = 0; k < a; k++)
        for (size_t l = 0; l < b; l++)
            for (size_t o = 0; o < count; o++) {
                double sum = 0.0;
                for (size_t i = 0; i < a; i++)
                    for (size_t j = 0; j < b; j++)
                        sum += (left ? (double)left[i * a + k] : (double)(i == k)) *
                               (right ? (double)right[j * b + l] : (double)(j == l)) *
                               jacobian[(i * b + j) * count + o];
                out[o] += (double)variance_of(t->index + k * b + l) * sum * sum;
            }
    free(jacobian);
}

/* Bases of some layers' sides; that they are no rotations matters to nobody here. */
static void check_bases(mlp_config config, size_t without)
{
    fixture f;
    open_fixture(&f, config, DTYPE_F32, ROWS);
    size_t layers = f.w.p.unit_count, count = ROWS * config.outputs;
    model_shape shape = {.sequences = MOST, .length = 1, .variances = true, .bases = true};
    model *m = NULL;
    cr_assert_eq(model_open(&m, &f.config, &shape), STATUS_OK);
    float **units = lay_out(&f), outputs[count], found[count];
    const float *left[layers], *right[layers];
    float *made = calloc(2 * layers, 32 * 32 * sizeof *made);
    double *theta = widened(f.w.theta, f.w.p.count), expected[count], max = 0.0;
    memset(expected, 0, sizeof expected);
    draw(made, 2 * layers * 32 * 32, 0.5, 9, false);
    for (size_t l = 0; l < layers; l++) {
        left[l] = (2 * l) % 3 == without ? NULL : made + 2 * l * 32 * 32;
        right[l] = (2 * l + 1) % 3 == without ? NULL : made + (2 * l + 1) * 32 * 32;
    }
    for (size_t i = 0; i < f.w.p.tensor_count; i++) {
        const tensor *t = &f.w.p.tensors[i];
        double slopes[count];
        if (t->dimensions == 2) add_in_bases(&f, theta, t, left[t->unit], right[t->unit], expected);
        for (size_t e = 0; t->dimensions == 1 && e < t->count; e++) {
            differences(&f, theta, t->index + e, slopes);
            for (size_t o = 0; o < count; o++)
                expected[o] += (double)variance_of(t->index + e) * slopes[o] * slopes[o];
        }
    }
    const weight_spread spread = {(const float *const *)units, left, right};
    model_variances(m, &f.w.hooks, &spread, &f.b, outputs, found);
    for (size_t i = 0; i < count; i++) max = fmax(max, expected[i]);
    for (size_t i = 0; i < count; i++)
        cr_expect_lt(fabs((double)found[i] - expected[i]), 2e-5 * max,
                     "output %zu of %zu: variance %.7g, %.7g expected", i, count, (double)found[i],
                     expected[i]);
    for (size_t u = 0; u < layers; u++) free(units[u]);
    free(units);
    free(made);
    free(theta);
    model_close(&m);
    close_fixture(&f);
}

Test(sensitivity, variances_of_directions)
{
    for (size_t v = 0; v < CONFIGS; v++)
        for (size_t without = v % 3; without <= 3; without += 3 - v % 3) { /* one of three, none */
            mlp_config config = configs[v];
            config.activation = ACTIVATION_TANH;
            check_bases(config, without);
        }
}

/* Dropout is for training: variances are of the whole network. */
Test(sensitivity, variances_know_no_dropout)
{
    mlp_config config = configs[3];
    config.dropout = 0.4;
    check_variances(config, DTYPE_F32, 2e-5);
}

Test(sensitivity, bytes_are_the_arenas)
{
    for (size_t v = 0; v < CONFIGS; v++)
        for (int way = 0; way < 4; way++) {
            model_shape shape = {.sequences = 9,
                                 .length = 1,
                                 .variances = true,
                                 .training = way % 2,
                                 .bases = way / 2};
            mlp *m;
            cr_assert_eq(mlp_open(&m, &configs[v], &shape), STATUS_OK);
            cr_expect_eq(m->arena.used, m->arena.capacity);
            cr_expect_eq(m->arena.used, mlp_activation_bytes(&configs[v], &shape));
            mlp_close(&m);
        }
}

/* Leaving row i out of ridge regression y = w x, in closed form: A = sum x^2 / s^2 + prior,
 * w = sum xy / (s^2 A), w_-i = (sum xy - x_i y_i) / s^2 / (A - x_i^2 / s^2). */
Test(sensitivity, regression_is_leave_one_out_to_first_order)
{
    enum { N = 40 };
    float x[N], y[N];
    double s2 = 0.3, precision = 1.5, moment = 0.0;
    initial_weights(x, 0.0, 1.0, 1, 0, N);
    initial_weights(y, 0.0, 1.0, 2, 0, N);
    for (size_t i = 0; i < N; i++) {
        precision += (double)x[i] * (double)x[i] / s2;
        moment += (double)x[i] * (double)y[i] / s2;
    }
    for (size_t i = 0; i < N; i++) {
        double xi = (double)x[i], e, leverage = xi * xi / (s2 * precision);
        float f = (float)(moment / precision * xi), v = (float)(xi * xi / precision);
        double left = (moment - xi * (double)y[i] / s2) / (precision - xi * xi / s2) * xi;
        sensitivity_score s = sensitivity_of_values(&e, &f, &v, &y[i], 1, s2);
        double exact = (left - (double)y[i]) * (left - (double)y[i]);
        double estimated = 2.0 * s2 * (s.loo_loss - 0.5 * log(2.0 * 3.14159265358979323846 * s2));
        cr_expect_float_eq(e, (double)f - (double)y[i], 1e-12);
        cr_expect_float_eq(s.sensitivity, fabs(e) * leverage, 1e-6);
        /* Exactly the error is e / (1 - leverage); what is left out is leverage^2. */
        cr_expect_lt(fabs(sqrt(estimated) - sqrt(exact)),
                     1.5 * fabs(e) * leverage * leverage + 1e-6);
    }
}

/* The change of the loss of a class has the sign of what training learned from it: never negative
 * for two classes, and the sensitivity is the change of the probability to first order. */
Test(sensitivity, classes)
{
    const float logits[] = {0.3F, -0.2F, 0.1F}, variances[] = {1e-4F, 2e-4F, 0.0F};
    double errors[3], sum = 0.0, p[3], change = 0.0;
    sensitivity_score s = sensitivity_of_class(errors, logits, variances, 3, 1);
    for (size_t c = 0; c < 3; c++) sum += exp((double)logits[c]);
    for (size_t c = 0; c < 3; c++) {
        p[c] = exp((double)logits[c]) / sum;
        cr_expect_float_eq(errors[c], p[c] - (c == 1), 1e-12);
        change += fabs(errors[c] * p[c] * (1.0 - p[c]) * (double)variances[c]);
    }
    cr_expect_eq(s.predicted, 0);
    cr_expect_eq(s.shown, 1);
    cr_expect_float_eq(s.p, p[1], 1e-12);
    cr_expect_float_eq(s.loss, -log(p[1]), 1e-12);
    cr_expect_float_eq(s.sensitivity, change, 1e-15);
    /* d loss = sum over c of e_c v_c e_c. */
    double slope = 0.0;
    for (size_t c = 0; c < 3; c++) slope += errors[c] * errors[c] * (double)variances[c];
    cr_expect_float_eq(s.loo_loss - s.loss, slope, 1e-7);
    cr_expect_gt(s.loo_loss, s.loss);
}

/* Logits beyond what exp() holds. */
Test(sensitivity, certain_classes_are_finite)
{
    const float logits[] = {1000.0F, -1000.0F}, variances[] = {5.0F, 5.0F};
    double errors[2];
    sensitivity_score right = sensitivity_of_class(errors, logits, variances, 2, 0);
    cr_expect_eq(right.loss, 0.0);
    cr_expect_eq(right.sensitivity, 0.0);
    sensitivity_score wrong = sensitivity_of_class(errors, logits, variances, 2, 1);
    cr_expect_eq(wrong.loss, 2000.0);
    cr_expect_eq(wrong.loo_loss, 2010.0);
}

/* The same bits with any number of threads. */
Test(sensitivity, form)
{
    enum { COUNT = 1000 };
    float g[COUNT], v[COUNT];
    double blocks[COUNT / PARAMETER_BLOCK + 1], expected = 0.0, first = 0.0;
    for (size_t i = 0; i < COUNT; i++) {
        g[i] = (float)i - 300.5F;
        v[i] = variance_of(i);
        expected += (double)g[i] * (double)g[i] * (double)v[i];
    }
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        double found = sensitivity_form(blocks, g, v, COUNT);
        if (threads == 1) first = found;
        cr_expect_float_eq(found, expected, 1e-9 * expected);
        cr_expect_eq(found, first);
    }
    cr_expect_eq(sensitivity_form(blocks, g, v, 0), 0.0);
}
