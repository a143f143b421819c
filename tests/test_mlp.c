/* Linear models and perceptrons against finite differences and their double-precision twin. */
#include "mlp_small.h"

#include <stdio.h>

static const noise_key noise = {.seed = 3, .stream = STREAM_DROPOUT, .sample = 2, .step = 5};

/* Sizes that fill no vector, single inputs and outputs, as many layers as there may be. */
static const mlp_config configs[] = {
    {.inputs = 5, .outputs = 3},
    {.inputs = 1, .outputs = 1, .bias = true, .loss = LOSS_GAUSSIAN, .noise_variance = 0.04},
    {.inputs = 16, .outputs = 16, .bias = true},
    {.inputs = 1,
     .outputs = 1,
     .hidden_count = 1,
     .hidden = {20},
     .bias = true,
     .loss = LOSS_GAUSSIAN,
     .noise_variance = 0.5},
    {.inputs = 2, .outputs = 2, .hidden_count = 2, .hidden = {20, 20}, .bias = true},
    {.inputs = 7, .outputs = 10, .hidden_count = 3, .hidden = {33, 1, 19}},
    {.inputs = 48,
     .outputs = 2,
     .hidden_count = 2,
     .hidden = {64, 32},
     .bias = true,
     .loss = LOSS_GAUSSIAN,
     .noise_variance = 2.0},
    {.inputs = 3,
     .outputs = 4,
     .hidden_count = MLP_HIDDEN,
     .hidden = {4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7},
     .bias = true},
};

enum { CONFIGS = sizeof configs / sizeof configs[0] };

/* Every configuration with every activation. */
static mlp_config variant(size_t number)
{
    mlp_config c = configs[number / 3];
    c.activation = (activation_kind)(number % 3);
    return c;
}

static double relative(const float *found, const double *expected, size_t count)
{
    double error = 0.0, norm = 0.0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)found[i] - expected[i];
        error += d * d;
        norm += expected[i] * expected[i];
    }
    return norm > 0.0 ? sqrt(error / norm) : sqrt(error);
}

static double twin_at(const void *context, const double *theta)
{
    double losses[MOST];
    return reference_mlp(context, theta, 7, losses, NULL, NULL);
}

/* A ReLU is not smooth, but so short a step meets no corner here. */
Test(mlp, reference_gradients_are_finite_differences)
{
    for (size_t v = 0; v < 3 * (CONFIGS - 1); v++) { /* so many layers leave next to nothing */
        fixture f;
        double losses[MOST];
        open_fixture(&f, variant(v), DTYPE_F32, 7);
        double *theta = widened(f.w.theta, f.w.p.count), *grad = calloc(f.w.p.count, sizeof *grad);
        reference_mlp(&f, theta, 7, losses, NULL, grad);
        check_twin(&f.w.p, theta, grad, twin_at, &f, 1e-6, 1e-5, 1e-1);
        free(theta);
        free(grad);
        close_fixture(&f);
    }
}

typedef struct {
    const fixture *f;
    float losses[MOST], *outputs;
    size_t rows;
} visited;

static void visit(void *context, size_t first, size_t rows, float *outputs)
{
    visited *v = context;
    size_t O = model_outputs(&v->f->config);
    cr_assert_eq(first, v->rows);
    memcpy(v->outputs + first * O, outputs, rows * O * sizeof *outputs);
    model_losses(v->losses + first, &v->f->config, &v->f->b, first, rows, outputs);
    v->rows += rows;
}

static visited predict(fixture *f, bool drop)
{
    visited v = {.f = f, .outputs = calloc(MOST * f->config.mlp.outputs, sizeof(float))};
    model_predict(f->m, &f->w.hooks, &f->b, drop, noise, visit, &v);
    cr_assert_eq(v.rows, f->b.sequences);
    return v;
}

/* fp32 differs from double by rounding: 1e-5 of the norm, times the layers that it passes. bf16
 * keeps 8 bits: 2^-9 = 0.2% an operand. */
static void check_model(mlp_config config, dtype precision, size_t rows, double tolerance)
{
    fixture f;
    double losses[MOST];
    open_fixture(&f, config, precision, rows);
    size_t O = config.outputs;
    double *theta = widened(f.w.theta, f.w.p.count), *grad = calloc(f.w.p.count, sizeof *grad);
    double *outputs = calloc(rows * O, sizeof *outputs);
    double expected = reference_mlp(&f, theta, rows, losses, outputs, grad);
    double found = model_backward(f.m, &f.w.hooks, &f.b, noise);
    cr_expect_lt(fabs(found - expected), tolerance * fabs(expected), "loss %.9g, %.9g expected",
                 found, expected);
    for (size_t i = 0; i < f.w.p.tensor_count; i++) {
        const tensor *t = &f.w.p.tensors[i];
        double error = relative(gradient_of(&f.w, i), grad + t->index, t->count);
        cr_expect_lt(error, tolerance, "%s of %zu x %zu, %zu rows: relative error %.3g", t->name,
                     t->shape[0], t->shape[1], rows, error);
    }
    visited v = predict(&f, false);
    cr_expect_lt(relative(v.outputs, outputs, rows * O), tolerance);
    cr_expect_lt(relative(v.losses, losses, rows), tolerance);
    free(v.outputs);
    free(theta);
    free(grad);
    free(outputs);
    close_fixture(&f);
}

Test(mlp, fp32_matches_reference)
{
    for (size_t v = 0; v < 3 * CONFIGS; v++) {
        check_model(variant(v), DTYPE_F32, MOST, 2e-4);
        check_model(variant(v), DTYPE_F32, 1, 2e-4);
        check_model(variant(v), DTYPE_F32, 13, 2e-4);
    }
}

Test(mlp, bf16_matches_reference)
{
    for (size_t v = 0; v < 3 * (CONFIGS - 1); v++) {
        if (variant(v).activation == ACTIVATION_RELU) continue; /* rounding moves its corners */
        check_model(variant(v), DTYPE_BF16, MOST, 4e-2);
        check_model(variant(v), DTYPE_BF16, 13, 4e-2);
    }
}

Test(mlp, order_and_initial_weights)
{
    model_config config = {.kind = MODEL_MLP,
                           .mlp = {.inputs = 6,
                                   .outputs = 3,
                                   .hidden_count = 1,
                                   .hidden = {8},
                                   .activation = ACTIVATION_RELU,
                                   .bias = true}};
    static const char *const names[] = {"layers.0.weight", "layers.0.bias", "layers.1.weight",
                                        "layers.1.bias"};
    const double deviations[] = {sqrt(2.0 / 6.0), 0.0, sqrt(1.0 / 8.0), 0.0};
    parameters p;
    cr_assert_eq(model_parameters(&p, &config), STATUS_OK);
    cr_expect_eq(p.unit_count, 2);
    cr_expect_eq(p.tensor_count, 4);
    cr_expect_eq(p.count, 6 * 8 + 8 + 8 * 3 + 3);
    for (size_t i = 0; i < 4; i++) {
        cr_expect_str_eq(p.tensors[i].name, names[i]);
        cr_expect_eq(p.tensors[i].unit, i / 2);
        cr_expect_eq(p.tensors[i].init_mean, 0.0);
        cr_expect_float_eq(p.tensors[i].init_deviation, deviations[i], 1e-15);
    }
    cr_expect_eq(p.tensors[2].shape[0], 8);
    cr_expect_eq(p.tensors[2].shape[1], 3);
    parameters_close(&p);
    config = (model_config){.kind = MODEL_LINEAR, .mlp = {.inputs = 4, .outputs = 1}};
    cr_assert_eq(model_parameters(&p, &config), STATUS_OK);
    cr_expect_eq(p.unit_count, 1);
    cr_expect_eq(p.tensor_count, 1);
    cr_expect_float_eq(p.tensors[0].init_deviation, 0.5, 1e-15);
    parameters_close(&p);
}

Test(mlp, activation_bytes_are_the_arenas)
{
    for (size_t v = 0; v < CONFIGS; v++)
        for (int way = 0; way < 4; way++) {
            model_shape shape = {.sequences = 9,
                                 .length = 1,
                                 .precision = way & 1 ? DTYPE_BF16 : DTYPE_F32,
                                 .training = way & 2};
            model_config config = {.kind = MODEL_MLP, .mlp = configs[v]};
            mlp *m;
            cr_assert_eq(mlp_open(&m, &configs[v], &shape), STATUS_OK);
            cr_expect_eq(m->arena.used, model_activation_bytes(&config, &shape));
            cr_expect_eq(m->arena.used, m->arena.capacity);
            mlp_close(&m);
            cr_expect_null(m);
        }
    model_shape shape = {.sequences = SIZE_MAX / 2, .length = 1, .training = true};
    mlp *m;
    cr_expect_eq(mlp_open(&m, &configs[4], &shape), STATUS_NOMEM);
    cr_expect_null(m);
    status_clear();
}

Test(mlp, flops_are_those_of_the_products)
{
    model_config config = {.kind = MODEL_MLP, .mlp = configs[5]};
    double expected = 4.0 * 7 * 33 + 6.0 * (33 * 1 + 1 * 19 + 19 * 10);
    cr_expect_eq(model_flops_per_row(&config, 1), expected);
}

static void check_calls(mlp_config config, dtype precision, const char *back, const char *forth)
{
    fixture f;
    config.dropout = 0.1;
    open_fixture(&f, config, precision, 13);
    recorder r;
    recorder_open(&r, &f.w);
    f.w.hooks = r.hooks;
    cr_expect(isfinite(model_backward(f.m, &f.w.hooks, &f.b, noise)));
    cr_expect_str_eq(r.calls, back);
    cr_expect_gt(r.polls, 0);
    r.calls[0] = '\0';
    visited v = predict(&f, true);
    cr_expect_str_eq(r.calls, forth);
    for (size_t n = 0; n < 13; n++) cr_expect(isfinite(v.losses[n]));
    free(v.outputs);
    recorder_close(&r);
    close_fixture(&f);
}

Test(mlp, hooks_are_called_in_order)
{
    for (int type = DTYPE_F32; type <= DTYPE_BF16; type++) {
        check_calls(configs[0], (dtype)type, "w0 g0 d0 ", "w0 ");
        check_calls(configs[3], (dtype)type, "w0 w1 g0 g1 d1 d0 ", "w0 w1 ");
        check_calls(configs[5], (dtype)type, "w0 w1 w2 w3 g0 g3 d3 w2 g2 d2 w1 g1 d1 d0 ",
                    "w0 w1 w2 w3 ");
    }
}

/* Without a backward pass layers share buffers. */
Test(mlp, evaluation_alone_gives_the_same_bits)
{
    for (size_t v = 0; v < 3 * CONFIGS; v++)
        for (int type = DTYPE_F32; type <= DTYPE_BF16; type++) {
            fixture f;
            open_fixture(&f, variant(v), (dtype)type, 13);
            visited first = predict(&f, false);
            model_close(&f.m);
            model_shape shape = {.sequences = MOST, .length = 1, .precision = (dtype)type};
            cr_assert_eq(model_open(&f.m, &f.config, &shape), STATUS_OK);
            visited second = predict(&f, false);
            cr_expect_arr_eq(first.outputs, second.outputs,
                             13 * f.config.mlp.outputs * sizeof(float));
            free(first.outputs);
            free(second.outputs);
            close_fixture(&f);
        }
}

static mlp_config dropping(activation_kind activation)
{
    mlp_config c = {.inputs = 4,
                    .outputs = 3,
                    .hidden_count = 2,
                    .hidden = {20, 30},
                    .activation = activation,
                    .bias = true,
                    .dropout = 0.3};
    return c;
}

/* The same key gives the same bits; another key another loss; evaluation knows no dropout unless it
 * is asked for. */
Test(mlp, dropout_repeats)
{
    fixture f, plain;
    mlp_config without = dropping(ACTIVATION_TANH);
    without.dropout = 0.0;
    noise_key other = noise;
    other.sample++;
    open_fixture(&f, dropping(ACTIVATION_TANH), DTYPE_F32, MOST);
    open_fixture(&plain, without, DTYPE_F32, MOST);
    double first = model_backward(f.m, &f.w.hooks, &f.b, noise);
    double elsewhere = model_backward(f.m, &f.w.hooks, &f.b, other);
    visited whole = predict(&f, false), dropped = predict(&f, true),
            expected = predict(&plain, true);
    cr_expect_eq(model_backward(f.m, &f.w.hooks, &f.b, noise), first);
    cr_expect_neq(first, elsewhere);
    cr_expect_arr_eq(whole.losses, expected.losses, sizeof whole.losses);
    double mean = 0.0;
    for (size_t n = 0; n < MOST; n++) mean += (double)dropped.losses[n] / MOST;
    cr_expect_float_eq(mean, first, 1e-6, "a prediction drops what training drops");
    free(whole.outputs);
    free(dropped.outputs);
    free(expected.outputs);
    close_fixture(&f);
    close_fixture(&plain);
}

Test(mlp, dropout_places_are_disjoint)
{
    mlp_config config = dropping(ACTIVATION_TANH);
    model_shape shape = {.sequences = 9, .length = 1, .training = true};
    mlp *m;
    cr_assert_eq(mlp_open(&m, &config, &shape), STATUS_OK);
    cr_expect_eq(mlp_dropout_index(m, 0), 0);
    cr_expect_eq(mlp_dropout_index(m, 1), 9 * 20);
    mlp_close(&m);
}

static double dropping_loss(const void *context)
{
    const fixture *f = context;
    return model_backward(f->m, &f->w.hooks, &f->b, noise);
}

Test(mlp, dropout_gradient_is_the_slope)
{
    for (int a = ACTIVATION_TANH; a <= ACTIVATION_GELU; a++) {
        fixture f;
        open_fixture(&f, dropping((activation_kind)a), DTYPE_F32, MOST);
        check_slopes(&f.w, dropping_loss, &f);
        close_fixture(&f);
    }
}
